"""Serialized `tf.Example`s inside a graph: their columns, with defaults; integers are taken as numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_linreg.data import Column
from keras_linreg.utils.types import Array

INTEGERS_FOLLOW = r"\x12\C{1,3}\x1a"  # in a serialized Example, a feature's name, if the feature holds integers
HELD_AS = {"float64": "float32", "bool": "int64"}
LONGEST_NAMES = 10_000  # characters


class ExampleParser:
    """Parses the columns of serialized `tf.Example`s.

    A client writes a number as an integer wherever its language makes one of it: JSON's 59 becomes an int64, which
    TensorFlow's parser refuses for a float. And where a server batches requests, an error fails the requests of
    other clients, too. So integers of float columns are rewritten as floats first. That is slow, and rare: a regular
    expression finds out whether there are any. If it errs, a batch is only slower.

    Args:
        columns: the columns of a request. An Example holds float32, no float64, and booleans as integers.
        named: whether the Examples hold columns by name, rather than the one matrix `features`.
        defaults: for each column that an Example may lack, its value.
    """

    def __init__(self, columns: Sequence[Column], named: bool, defaults: Mapping[str, Array]):
        self._named = named
        dtypes = {column.name: HELD_AS.get(column.dtype, column.dtype) for column in columns}
        self._features = {
            column.name: tf.io.FixedLenFeature(column.shape, dtypes[column.name], defaults.get(column.name))
            for column in columns
        }
        self._booleans = [column.name for column in columns if column.dtype == "bool"]
        self._numbers = [name for name, dtype in dtypes.items() if dtype == "float32"]

    def parse(self, examples: tf.Tensor) -> Any:
        """Return the columns of serialized Examples `(n,)`: a dict of tensors, or the matrix."""
        examples = tf.ensure_shape(examples, [None])
        if self._numbers:
            has_integers = tf.strings.regex_full_match(examples, _pattern(self._numbers))
            examples = tf.cond(
                tf.reduce_any(has_integers), lambda: _integers_as_floats(examples, self._numbers), lambda: examples
            )
        columns = tf.io.parse_example(examples, self._features)
        columns |= {name: tf.cast(columns[name], tf.bool) for name in self._booleans}
        return columns if self._named else columns["features"]


def _pattern(names: Iterable[str]) -> str:
    """Return a regular expression of serialized Examples in which one of the features may hold integers.

    Of many names, it is that of any feature with integers: TensorFlow takes no expression of any length.
    """
    quoted = "|".join(re.sub(r"[^A-Za-z0-9\x80-\U0010ffff]", _quote, name) for name in names)
    return rf"\C*(?:{quoted if len(quoted) <= LONGEST_NAMES else ''}){INTEGERS_FOLLOW}\C*"


def _quote(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def _integers_as_floats(examples: tf.Tensor, names: Sequence[str]) -> tf.Tensor:
    """Return serialized Examples `(n,)` in which the integers of some features are floats."""
    _, features = _decode("Example", examples, "features")
    entry_counts, entries = _decode("Features", features[:, 0], "feature")
    _, keys, values = _decode("Features.FeatureEntry", entries, "key", "value")
    has_integers, lists = _decode("Feature", values[..., 0], "int64_list")
    counts, integers = _decode("Int64List", lists[..., 0], "value", dtype=tf.int64)
    one = tf.ones_like(counts)
    floats = _encode("Feature", one, float_list=_encode("FloatList", counts, value=tf.cast(integers, tf.float32)))
    is_rewritten = (has_integers[..., 0] > 0) & tf.reduce_any(tf.equal(keys, tf.constant(names)), axis=-1)
    values = tf.where(is_rewritten, floats, values[..., 0])
    entries = _encode("Features.FeatureEntry", tf.concat([one, one], axis=-1), key=keys[..., 0], value=values)
    features = _encode("Features", entry_counts, feature=entries)
    return _encode("Example", tf.ones_like(entry_counts), features=features)


def _decode(message: str, serialized: tf.Tensor, *fields: str, dtype: tf.DType = tf.string) -> tuple[tf.Tensor, ...]:
    """Return how often each message has each field, `(..., fields)`, and the values of each field, `(..., most)`."""
    sizes, values = tf.raw_ops.DecodeProtoV2(
        bytes=serialized,
        message_type=f"tensorflow.{message}",
        field_names=fields,
        output_types=[dtype] * len(fields),
    )
    return sizes, *values


def _encode(message: str, sizes: tf.Tensor, **fields: tf.Tensor) -> tf.Tensor:
    """Return serialized messages of fields; `sizes` `(..., fields)` tells how many values of each a message has."""
    repeated = sizes.shape.rank
    values = [value if value.shape.rank == repeated else value[..., None] for value in fields.values()]
    return tf.raw_ops.EncodeProto(
        sizes=sizes, values=values, field_names=list(fields), message_type=f"tensorflow.{message}"
    )
