"""What each signature of a served model takes, checks and returns, as TensorFlow functions."""

import contextlib
import dataclasses
import keyword
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import Schema, preprocessing
from keras_linreg.export.intervals import AMPLIFICATION, Intervals, float32_holds
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.keras_compat import is_ours

INPUT_DTYPES = ("float32", "float64")
LEVEL = "level"


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """A signature: its function, and the spec of what that takes (one tensor, or a dict of columns)."""

    function: Callable
    specs: list


class Door:
    """What comes in at the door of a served graph: the columns that the model was trained on.

    Args:
        reader: of the model (`keras_linreg.data.Reader`).
        schema: the columns.
        input_dtype: in which numbers come, `"float32"` or `"float64"`.
    """

    def __init__(self, reader, schema: Schema, input_dtype: str):
        self._reader = reader
        self.named = schema.named
        self.columns = tuple(
            dataclasses.replace(c, dtype=input_dtype) if c.dtype == "float32" else c for c in schema.inputs
        )
        self.safe = safe_names(schema.names)
        specs = {c.name: tf.TensorSpec((None, *c.shape), c.dtype, name=self.safe[c.name]) for c in self.columns}
        self.spec: Any = specs if self.named else specs["features"]

    def with_level(self) -> list:
        """Return the specs of the columns and of the input `level`."""
        level = tf.TensorSpec((None,), tf.float64, name=LEVEL)
        return [{**self.spec, LEVEL: level}] if self.named else [self.spec, level]

    def parse(self, examples):
        """Return the columns that serialized `tf.Example`s hold; such hold no float64."""
        kinds = {"float64": "float32"}
        wanted = {c.name: tf.io.FixedLenFeature(c.shape, kinds.get(c.dtype, c.dtype)) for c in self.columns}
        found = tf.io.parse_example(tf.ensure_shape(examples, [None]), wanted)
        return found if self.named else found["features"]

    def checked(self, inputs):
        """Return the columns, each with one row for each of the first one's; what has not is refused.

        The operation that refuses a column is called after it: TensorFlow's message ends with that name. To reshape is
        cheaper than to look at the shapes, for no number is moved; so numbers may come as `[batch, 1]`, too.
        """
        if not self.named:
            return tf.ensure_shape(inputs, self.spec.shape)
        label = {c.name: self._label(c.name) for c in self.columns}
        first = self.columns[0].name
        inputs = {**inputs, first: _hidden(inputs[first])}
        count = tf.slice(tf.shape(inputs[first]), [0], [1], name=f"{label[first]}.must.have.rows")
        found = {}
        for c in self.columns:
            value, shape, must = inputs[c.name], count, f"{label[c.name]}.must"
            if c.shape:
                value = _hidden(tf.ensure_shape(value, (None, *c.shape), name=f"{must}.have.the.shape.of.its.rows"))
                shape = tf.concat([count, c.shape], 0)
            rule = "have.one.value.for.each.row" if c.name == first else f"be.as.long.as.{label[first]}"
            value = tf.reshape(value, shape, name=f"{must}.{rule}")
            # A preprocessor may reshape as well, and TensorFlow's optimizer would do that alone.
            found[c.name] = value if self._reader.preprocessor is None else _hidden(value, (None, *c.shape))
        return found

    def _label(self, name: str) -> str:
        """Return what to call an operation by that refuses a column."""
        return name if self.safe[name] == name else f"{self.safe[name]}.{preprocessing.scope_of(name)}"

    def checked_level(self, level, rows):
        """Return the level of each of so many rows, refused where it is no coverage; NaN passes."""
        rule = "The input 'level' must hold as many numbers as there are rows. Received, and rows:"
        loose = _hidden(level)
        fits = tf.reduce_all(tf.equal(tf.shape(loose), rows)) & tf.equal(tf.rank(loose), 1)
        size = _refuse_unless(fits, [rule, tf.shape(loose), rows])
        rule = "The input 'level' must be a coverage between 0 and 1, such as 0.95. Received:"
        good = _refuse_unless(~tf.reduce_any((level < 0) | (level > 1)), [rule, level])
        with tf.control_dependencies([size, good]):
            return tf.identity(level)

    def design(self, inputs):
        """Return the design matrix `(n, p)` of columns that were checked."""
        return self._reader.graph_design(inputs)


def spread(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted means and standard deviations `(q,)` of features and outputs."""
    statistics = moments.statistics
    norms = triangular.column_norms(as_doubledouble(statistics.factor).hi)
    return statistics.mean.hi, norms / np.sqrt(float(statistics.weight.hi))


class Single(tf.Module):
    """The predictions of a float64 model in float32, for a model to which that makes no difference."""

    def __init__(self, model):
        super().__init__()
        self._kernel = tf.Variable(model.kernel.numpy().astype(np.float32))
        self._bias = tf.Variable(np.zeros(model.units) if model.bias is None else model.bias.numpy(), dtype=tf.float32)

    def __call__(self, design, training=False):
        """Return `design @ kernel + bias`."""
        return tf.nn.bias_add(tf.matmul(design, self._kernel), self._bias)

    @staticmethod
    def is_enough(model, input_dtype: str, moments: Moments | None) -> bool:
        """Return whether float32 loses no more than it does by holding the answer, but for a factor of some units.

        ```python
        (abs(bias) + sum(root_mean_square(x) * abs(kernel))) <= 8 * root_mean_square(y_pred)
        ```
        """
        if moments is None or model.preprocessor is not None or input_dtype != "float32":
            return False
        if not is_ours(model, "call"):
            return False
        means, deviations = (part[: len(moments.feature_names)] for part in spread(moments))
        kernel = model.kernel.numpy()
        bias = np.zeros(model.units) if model.bias is None else model.bias.numpy()
        terms = np.abs(bias) + np.hypot(means, deviations) @ np.abs(kernel)
        explained = as_doubledouble(moments.statistics.factor).hi[: len(kernel), : len(kernel)] @ kernel
        size = np.hypot(
            means @ kernel + bias, np.linalg.norm(explained, axis=0) / np.sqrt(float(moments.statistics.weight.hi))
        )
        return bool((terms <= AMPLIFICATION * size).all()) and float32_holds(kernel, bias, means, deviations)


def endpoints(
    model, door: Door, intervals: Intervals | None, level: float, single: Single | None = None
) -> dict[str, Endpoint]:
    """Return the signatures of a model, the one that a server takes by default first, under its name in Keras.

    Args:
        model: the layer `design @ kernel + bias`.
        door: what comes in.
        intervals: of the fit, `None` where the model has none.
        level: of `predict_interval`.
        single: the predictions in float32, where that is enough.
    """
    predict = single or model

    def predictions(inputs):
        return tf.cast(predict(door.design(inputs), training=False), tf.float32)

    def serve(inputs):
        return {"predictions": predictions(door.checked(inputs))}

    def examples(examples):
        return {"predictions": predictions(door.parse(examples))}

    def regress(inputs):
        return {"outputs": tf.squeeze(predictions(door.parse(inputs)), 1)}

    serialized = {name: tf.TensorSpec((None,), tf.string, name=name) for name in ("examples", "inputs")}
    found = {
        "serve": Endpoint(serve, [door.spec]),
        "examples": Endpoint(examples, [serialized["examples"]]),
    }
    if model.units == 1:
        found["regress"] = Endpoint(regress, [serialized["inputs"]])
    if intervals is None:
        return found
    at_level, at_any = intervals.at(level), intervals.at_any()

    def design_of(inputs):
        return tf.cast(door.design(door.checked(inputs)), intervals.dtype)

    def predict_interval(inputs):
        return at_level(design_of(inputs))

    def at_of_matrix(inputs, level):
        design = design_of(inputs)
        return at_any(design, door.checked_level(level, tf.shape(design)[0]))

    def at_of_columns(inputs):
        level = inputs[LEVEL]
        return at_of_matrix({name: value for name, value in inputs.items() if name != LEVEL}, level)

    found["predict_interval"] = Endpoint(predict_interval, [door.spec])
    if LEVEL not in door.safe:
        found["predict_interval_at"] = Endpoint(at_of_columns if door.named else at_of_matrix, door.with_level())
    return found


def check_preprocessor(model, door: Door) -> None:
    """Refuse a preprocessor that waits for `adapt`, and build what was loaded from a file, which a graph could not."""
    if model.preprocessor is None:
        return
    preprocessing.check_adapted(model.preprocessor)
    for rows in (0, 1):  # there are layers that take no empty batch, and such as know not every value
        values = {
            c.name: tf.fill((rows, *c.shape), "" if c.dtype == "string" else tf.zeros((), c.dtype))
            for c in door.columns
        }
        with contextlib.suppress(tf.errors.OpError, ValueError):  # the graph will tell
            door.design(values if door.named else values["features"])
            break


def _hidden(value, shape=None):
    """Return a tensor of whose shape TensorFlow knows no more than this: what it knows, it takes for granted."""
    return tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(shape))


def _refuse_unless(good, message: list):
    """Return the operation that fails with a message; tf.debugging.Assert would branch, which takes longer."""
    return tf.raw_ops.Assert(condition=good, data=[tf.convert_to_tensor(part) for part in message], summarize=8)


def safe_names(names: tuple[str, ...]) -> dict[str, str]:
    """Return for each column a name that TensorFlow takes as the argument of a signature: its own where it can be.

    TensorFlow refuses spaces, letters beyond ASCII, "self", Python's keywords, and names that differ only in case.
    """
    # The level of predict_interval_at stands beside them; a column of that very name has no such signature.
    folded = [name.lower() for name in names] + [LEVEL] * (LEVEL not in names)
    fits = {
        name: bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name))
        and name != "self"
        and not keyword.iskeyword(name)
        and folded.count(name.lower()) == 1
        for name in names
    }
    prefix = "column_"
    while any(name.startswith(prefix) for name in folded):
        prefix += "_"
    return {name: name if fits[name] else f"{prefix}{i}" for i, name in enumerate(names)}
