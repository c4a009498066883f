"""Columns and matrices on their way to the design: their kinds, and the checks of what a preprocessor takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.finite import first_bad
from keras_linreg.data.integers import check_whole, largest_integer
from keras_linreg.data.kinds import is_sparse, is_tensor, is_tensor_dtype, is_tensor_shape, is_type_spec
from keras_linreg.data.schema import Schema
from keras_linreg.data.tables import as_series, is_column
from keras_linreg.data.values import is_text_column
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
else:
    keras, tf = LazyModule("keras"), LazyModule("tensorflow")


def only_element(data: Data) -> Data:
    """Return the array in a list or tuple of one, as Keras takes it for a model of one input or output."""
    if isinstance(data, (list, tuple)) and len(data) == 1 and len(getattr(data[0], "shape", ())) > 0:
        return data[0]
    return data


def by_position(matrix: Any, schema: Schema) -> dict[str, Any]:
    """Return the columns of a matrix under the names that the model knows, in that order."""
    if not len(matrix.shape):
        raise ValueError("`x` must have one row for each observation. Received: a scalar.")
    check_width(matrix.shape, schema)
    if len(matrix.shape) == 1:
        return {schema.names[0]: matrix}
    return {name: matrix[:, i] for i, name in enumerate(schema.names)}


def check_width(shape: Any, schema: Schema) -> None:
    """Refuse a matrix whose number of columns is known, and is not the number that the model was built on."""
    if is_tensor_shape(shape) and shape.rank is None:
        return
    width = 1 if len(shape) == 1 else shape[-1]
    expected = len(schema.inputs) if schema.named else schema.inputs[0].shape[-1]
    if width is not None and expected is not None and width != expected:
        names = f" {list(schema.names)}" if schema.named else ""
        raise ValueError(
            f"`x` must have the {expected} columns that the model was built on{',' + names if names else ''}. "
            f"Received: shape {tuple(shape)}."
        )


def check_same_rows(columns: Mapping[str, Any]) -> None:
    """Refuse columns of different lengths."""
    lengths = {name: int(column.shape[0]) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The columns of `x` must have the same number of rows. Received: {lengths}.")


def as_tensor(matrix: Data) -> Data:
    """Return strings as a tensor: Keras's layers take no object array."""
    return tf.constant(matrix) if isinstance(matrix, np.ndarray) and matrix.dtype.kind == "O" else matrix


def check_no_infinity(values: Data, names: Sequence[str]) -> None:
    """Refuse infinity in the input of a preprocessor, before a fit; name the column and the row."""
    place = first_bad(values)
    if place is not None:
        row, column, value = place
        name = names[column] if len(names) > 1 else names[0]
        raise ValueError(f"`x` must be finite. Received: {value} in column {name!r}, row {row}.")


def as_declared(tensor: tf.Tensor, dtype: str) -> tf.Tensor:
    """Return a column in the dtype that the model takes it in; float32 stands for floatx."""
    if dtype == "float32":
        return tf.cast(tensor, keras.config.floatx())
    return tf.cast(tensor, dtype) if dtype != "string" else tensor


def are_beyond_float32(values: Data) -> bool:
    """Return whether some integers are so large that float32 rounds them; False for a spec, which does not tell."""
    symbolic = is_tensor(values) and not tf.executing_eagerly()
    if is_type_spec(values) or symbolic or is_sparse(values):
        return False
    if is_column(values):
        values = values.drop_nulls().to_numpy()
    return largest_integer(np.asarray(values)) > 2**24


def as_codes(matrix: Data, name: str) -> Data:
    """Return a matrix in int64; refuse numbers that are no integers."""
    if is_tensor(matrix):
        return tf.cast(matrix, tf.int64)
    check_whole(matrix, name)
    return np.asarray(matrix, np.int64)


def row_shape(values: Data) -> tuple[int, ...]:
    """Return the shape of one row of a column, () for one number."""
    shape = tuple(getattr(values, "shape", None) or np.shape(values))[1:]
    return () if shape == (1,) else shape


def is_text(values: Data) -> bool:
    """Return whether data, or their spec, are strings or categories named by strings."""
    values = as_series(values)
    if is_column(values):
        return is_text_column(values)
    dtype: Any = getattr(values, "dtype", None)
    if is_tensor_dtype(dtype):
        return dtype == tf.string
    array = np.asarray(values) if dtype is None or dtype == np.dtype(object) else None
    if array is not None and array.dtype.kind == "O":
        return any(isinstance(value, str | bytes) for value in array.ravel())
    return (dtype if array is None else array.dtype).kind in "UST"


def own_dtype(values: Data) -> str:
    """Return the kind of the values: "string", "int64", or "float32" for all other numbers."""
    values = as_series(values)
    if is_text(values):
        return "string"
    if is_column(values):
        return "int64" if values.dtype.is_integer() else "float32"
    dtype: Any = values.dtype if hasattr(values, "dtype") else np.asarray(values).dtype
    whole = dtype.is_integer if is_tensor_dtype(dtype) else dtype.kind in "iu"
    return "int64" if whole else "float32"
