"""Batches inside a graph: tensors on their way to the design, and the rows of a dataset without a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_linreg.data import columns as column_kinds
from keras_linreg.data.integers import INTEGERS_RULE, cast_exactly
from keras_linreg.data.schema import Schema
from keras_linreg.data.tables import match
from keras_linreg.utils.lazy import LazyModule

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")


ROWS_RULE = "`x`, `y` and `sample_weight` of a batch must have the same number of rows."
LEVELS_RULE = "must hold levels that the formula has seen in fit."
VALUE_RULE = "must have a value in each row."
FINITE_RULE = "of the formula must be finite."
WEIGHTS_RULE = "`sample_weight` must be finite and not negative."


def broken_rule(error: Exception) -> str | None:
    """Return the rule that a batch has broken inside a dataset's graph, with what was received; or None."""
    message = str(getattr(error, "message", ""))
    for rule in (ROWS_RULE, WEIGHTS_RULE, INTEGERS_RULE, LEVELS_RULE, FINITE_RULE):
        at = message.find(rule)
        if at >= 0:
            rest = message[at + len(rule) :].partition("\n")[0]
            received = re.sub(r"[\[\]]+", " ", rest.partition("{{")[0]).replace("Received:", "").split()
            subject = message[:at].rpartition("assertion failed: [")[2].replace("\\'", "'")
            return f"{subject}{rule} Received: {' '.join(received)}."
    return None


def inputs(x: Any, schema: Schema, names: Sequence[str] | None, dtype: str, takes_columns: bool) -> Any:
    """Return what the preprocessor, or the model, takes of a batch: a dict of tensors `[batch]`, or one matrix.

    Args:
        x: a dict of tensors, or one tensor.
        schema: the inputs of the model.
        names: to match a dict by, if it becomes a matrix; None for a matrix.
        dtype: of a matrix that is made of columns of several dtypes.
        takes_columns: whether the preprocessor takes columns.
    """
    if takes_columns:
        columns = match(x, schema.names) if isinstance(x, Mapping) else column_kinds.by_position(x, schema)
        return {c.name: column_kinds.as_declared(columns[c.name], c.dtype) for c in schema.inputs}
    if isinstance(x, Mapping):
        return _stacked(match(x, names or tuple(x)), schema, dtype)
    if x.shape.rank == 1:
        x = tf.expand_dims(x, -1)
    column_kinds.check_width(x.shape, schema)
    is_number = schema.inputs[0].dtype == "float32" and not isinstance(x, tf.SparseTensor)
    return cast_exactly(x, dtype, "`x`") if is_number and x.dtype in (tf.int64, tf.uint64) else x


def _stacked(columns: Mapping[str, Any], schema: Schema, dtype: str) -> Any:
    """Return the columns of a batch as a matrix `[batch, p]`."""
    for name, column in columns.items():
        if column.shape.rank not in (None, 1) and tuple(column.shape[1:]) != (1,):
            raise ValueError(
                f"Column {name!r} of `x` must be of shape (batch,) or (batch, 1). Received: {column.shape}."
            )
    dtype = "float64" if all(column.dtype == tf.float64 for column in columns.values()) else dtype
    dtype = dtype if schema.inputs[0].dtype == "float32" else schema.inputs[0].dtype
    flat = {name: c if c.shape.rank == 1 else tf.reshape(c, [-1]) for name, c in columns.items()}
    if dtype == "string":
        return tf.transpose(tf.stack(list(flat.values())))
    if len({column.dtype for column in flat.values()}) > 1 or dtype == "float64":
        flat = {name: cast_exactly(column, dtype, f"Column {name!r} of `x`") for name, column in flat.items()}
    return tf.transpose(tf.cast(tf.stack(list(flat.values())), dtype))  # faster than to interleave them


def checked_weights(sample_weight: Any, dtype: str, may_be_missing: bool) -> Any:
    """Return the weights of a batch as floats; a negative or infinite one ends the graph with an error."""
    weights = sample_weight if sample_weight.dtype.is_floating else tf.cast(sample_weight, dtype)
    is_good = tf.math.is_finite(weights) & (weights >= 0)
    if may_be_missing:
        is_good = is_good | tf.math.is_nan(weights)
    rule = [f"{WEIGHTS_RULE} Received:", weights]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_good), rule)]):
        return tf.identity(weights)


def check_same_rows(x: Any, y: Any, sample_weight: Any) -> Any:
    """Return `x`; parts of different numbers of rows end the graph with an error."""
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    dense = {name: part for name, part in parts.items() if part is not None and not isinstance(part, tf.SparseTensor)}
    static = {part.shape[0] for part in dense.values()}
    if len(dense) < 2 or (len(static) == 1 and None not in static):
        return x
    counts = {name: tf.shape(part)[0] for name, part in dense.items()}
    first = next(iter(counts.values()))
    are_same = tf.reduce_all([count == first for count in counts.values()])
    received: list[Any] = []
    for name, count in counts.items():
        received += [f"{name}:", count]
    rule = f"{ROWS_RULE} Received:"
    with tf.control_dependencies([tf.debugging.Assert(are_same, [rule, *received])]):
        return tf.nest.map_structure(tf.identity, x, expand_composites=True)


def drop_missing(x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Return the rows of a batch that have all values: of the design, of y, and a weight; all or none are dense."""
    parts = [part for part in (x, y, sample_weight) if part is not None and part.dtype.is_floating]
    bad = [tf.math.is_nan(part) for part in parts]
    by_row = [mask if mask.shape.rank == 1 else tf.reduce_any(mask, axis=range(1, mask.shape.rank)) for mask in bad]
    if not by_row:
        return x, y, sample_weight
    kept = ~tf.reduce_any(tf.stack(by_row), axis=0)
    if sample_weight is not None:
        kept = kept | (tf.reshape(sample_weight, [-1]) == 0)
    kept_parts = [None if part is None else tf.boolean_mask(part, kept) for part in (x, y, sample_weight)]
    return kept_parts[0], kept_parts[1], kept_parts[2]
