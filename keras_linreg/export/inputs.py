"""The inputs of a served graph: the columns of the training data, their specs, and the checks of a request."""

import contextlib
import dataclasses
import keyword
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Column, Reader, Schema, preprocessing
from keras_linreg.export.categories import KnownCategories
from keras_linreg.export.graph_names import scope_of

INPUT_DTYPES = ("float32", "float64")
LEVEL = "level"  # the name of the input of `predict_interval_at` beside the columns


class ServedInputs:
    """The inputs of a served graph: columns by name, or one matrix `features`.

    Args:
        reader: the model's reader, which makes a design of columns.
        schema: the columns that the model was trained on.
        input_dtype: the dtype of numbers in a request, `"float32"` or `"float64"`.

    Attributes:
        named: whether the inputs are columns by name.
        columns: the columns, each with the dtype in which a request holds it.
        argument_names: for each column the name of its argument inside TensorFlow.
        spec: a dict of `tf.TensorSpec` by column, or the one of the matrix.
        categories: those that the preprocessor knows.
    """

    def __init__(self, reader: Reader, schema: Schema, input_dtype: str):
        self._reader = reader
        self.named = schema.named
        self.columns = tuple(
            dataclasses.replace(c, dtype=input_dtype) if c.dtype == "float32" else c for c in schema.inputs
        )
        self.argument_names = argument_names(schema.names)
        specs = {
            c.name: tf.TensorSpec((None, *c.shape), c.dtype, name=self.argument_names[c.name]) for c in self.columns
        }
        self.spec: Any = specs if self.named else specs["features"]
        self.categories = KnownCategories(reader.preprocessor, self.columns)

    def specs_with_level(self) -> list[Any]:
        """Return the specs of the columns and of the input `level`."""
        level = tf.TensorSpec((None,), tf.float64, name=LEVEL)
        return [{**self.spec, LEVEL: level}] if self.named else [self.spec, level]

    def check_columns(self, inputs: Any) -> Any:
        """Return the columns, and refuse a request with columns of different lengths.

        A failing operation's name ends TensorFlow's error message, so its name holds the column and the rule. A reshape
        checks faster than a comparison of shapes, because it moves no number; and it accepts `[batch, 1]` too. But it
        takes `[2, 2]` for 4 rows.
        """
        if not self.named:
            return tf.ensure_shape(inputs, self.spec.shape)
        labels = {c.name: self._operation_name(c.name) for c in self.columns}
        first, *others = self.columns
        begin = labels[first.name]
        inputs = {**inputs, first.name: _with_static_shape(inputs[first.name])}
        count = tf.slice(tf.shape(inputs[first.name]), [0], [1], name=f"{begin}.must.have.rows")
        checked = {
            c.name: self._check_column(c, inputs[c.name], count, f"{labels[c.name]}.must", f"be.as.long.as.{begin}")
            for c in others
        }
        with tf.control_dependencies(_same_rows(list(inputs.values()), list(checked.values()))):
            value = self._check_column(first, inputs[first.name], count, f"{begin}.must", "have.one.value.for.each.row")
        return {first.name: value, **checked}

    def _check_column(self, column: Column, value: tf.Tensor, count: tf.Tensor, must: str, rule: str) -> tf.Tensor:
        """Return a column of `count` rows; an error's last words are `must` and the rule."""
        shape = count
        if column.shape:
            value = tf.ensure_shape(value, (None, *column.shape), name=f"{must}.have.the.shape.of.its.rows")
            value, shape = _with_static_shape(value), tf.concat([count, column.shape], 0)
        value = tf.reshape(value, shape, name=f"{must}.{rule}")
        if self._reader.preprocessor is not None:
            # TensorFlow's optimizer merges this reshape with one of the preprocessor, and so removes the check.
            value = _with_static_shape(value, (None, *column.shape))
        return value

    def check_level(self, level: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Return the levels, one for each of `rows` rows: NaN in place of a number outside of [0, 1].

        An error would fail the requests of other clients that a server has put into the same batch.
        """
        rule = "The input 'level' must hold as many numbers as there are rows. Received, and rows:"
        unknown = _with_static_shape(level)
        has_rows = tf.reduce_all(tf.equal(tf.shape(unknown), rows)) & tf.equal(tf.rank(unknown), 1)
        with tf.control_dependencies([_assert(has_rows, [rule, tf.shape(unknown), rows])]):
            return tf.where((level >= 0) & (level <= 1), level, tf.constant(np.nan, level.dtype))

    def design(self, columns: Any) -> tf.Tensor:
        """Return the design matrix `(n, p)` of checked columns: NaN in rows that the preprocessor would refuse."""
        inputs, is_refused = self.categories.replace_others(columns if self.named else {"features": columns})
        design = self._reader.graph_design(inputs if self.named else inputs["features"])
        return design if is_refused is None else tf.where(is_refused[:, None], np.nan, design)

    def _operation_name(self, column: str) -> str:
        """Return a name for the operations that check a column."""
        argument = self.argument_names[column]
        return column if argument == column else f"{argument}.{scope_of(column)}"


def build_preprocessor(preprocessor: keras.Layer | None, inputs: ServedInputs) -> None:
    """Call the preprocessor once: a preprocessor from a file builds its layers then, and cannot in a graph.

    Raises:
        ValueError: a layer still waits for `adapt`.
    """
    if preprocessor is None:
        return
    preprocessing.check_adapted(preprocessor)
    for rows in (0, 1):  # some layers refuse an empty batch, others the values of this row
        values = {
            c.name: tf.fill((rows, *c.shape), "" if c.dtype == "string" else tf.zeros((), c.dtype))
            for c in inputs.columns
        }
        with contextlib.suppress(tf.errors.OpError, ValueError):  # if neither works, the export itself fails
            inputs.design(values if inputs.named else values["features"])
            break


def argument_names(columns: tuple[str, ...]) -> dict[str, str]:
    """Return for each column a name that TensorFlow accepts as an argument: the column's own name if possible.

    TensorFlow refuses spaces, letters beyond ASCII, "self", Python's keywords, and names that differ only in case.
    """
    # `predict_interval_at` has the argument `level` beside the columns, unless a column has that name.
    folded = [name.lower() for name in columns] + [LEVEL] * (LEVEL not in columns)
    accepted = {
        name: bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name))
        and name != "self"
        and not keyword.iskeyword(name)
        and folded.count(name.lower()) == 1
        for name in columns
    }
    prefix = "column_"
    while any(name.startswith(prefix) for name in folded):
        prefix += "_"
    return {name: name if accepted[name] else f"{prefix}{i}" for i, name in enumerate(columns)}


def _same_rows(columns: list[tf.Tensor], checked: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return an operation, in a list, that fails if columns do not begin with one size; [] for a single column.

    A dataset of slices compares all columns at once and moves no number. It waits for the checks of single columns:
    their errors name the column.
    """
    if not checked:
        return []
    with tf.control_dependencies(checked):
        return [
            tf.raw_ops.TensorSliceDataset(
                components=columns,
                output_shapes=[None] * len(columns),
                name="each.column.must.be.of.shape.batch.or.batch.1",
            )
        ]


def _with_static_shape(value: tf.Tensor, shape: tuple[int | None, ...] | None = None) -> tf.Tensor:
    """Return the tensor with this static shape, by default an unknown one.

    TensorFlow removes a check if it infers the outcome from the static shape, and a server does not enforce that shape.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(shape))


def _assert(condition: tf.Tensor, message: list[Any]) -> tf.Operation:
    """Return an operation that fails with a message; `tf.debugging.Assert` adds a branch, which is slower."""
    return tf.raw_ops.Assert(condition=condition, data=[tf.convert_to_tensor(part) for part in message], summarize=8)
