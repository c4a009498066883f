"""Columns and matrices on their way to the design: their kinds, and checks of what a preprocessor takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.arrays import FLOAT32_INTEGERS
from keras_linreg.data.finite import first_bad, is_finite
from keras_linreg.data.kinds import (
    is_categorical_dtype,
    is_frame,
    is_sparse,
    is_tensor,
    is_tensor_dtype,
    is_tensor_shape,
    is_type_spec,
)
from keras_linreg.data.schema import Schema
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import keras
    import pandas as pd
    import tensorflow as tf
else:
    keras, tf, pd = LazyModule("keras"), LazyModule("tensorflow"), LazyModule("pandas")


def only_element(data: Data) -> Data:
    """Return the array in a list or tuple of one, as Keras takes it for a model of one input or output."""
    if isinstance(data, (list, tuple)) and len(data) == 1 and len(getattr(data[0], "shape", ())) > 0:
        return data[0]
    return data


def by_position(x: Data, schema: Schema) -> dict[str, Any]:
    """Return the columns of a matrix under the names that the model knows, in that order."""
    matrix: Any = x if is_frame(x) or is_tensor(x) else np.asarray(x)
    if not len(matrix.shape):
        raise ValueError("`x` must have one row for each observation. Received: a scalar.")
    check_width(matrix.shape, schema)
    if len(matrix.shape) == 1:
        return {schema.names[0]: matrix}
    take: Any = matrix.iloc if is_frame(matrix) else matrix
    return {name: take[:, i] for i, name in enumerate(schema.names)}


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


def as_tensor(matrix: Data) -> Data:
    """Return strings as a tensor: Keras's layers take no object array."""
    return tf.constant(matrix) if isinstance(matrix, np.ndarray) and matrix.dtype.kind == "O" else matrix


def check_finite(values: Data, names: Sequence[str]) -> None:
    """Refuse NaN and infinity in the input of a preprocessor, before a fit; name the column and the row."""
    if is_finite(values):
        return
    place = first_bad(values)
    if place is not None:
        row, column, value = place
        name = names[column] if len(names) > 1 else names[0]
        raise ValueError(f"`x` must be finite. Received: {value} in column {name!r}, row {row}.")


def check_whole(values: Data, name: str) -> None:
    """Refuse a number that is missing or no integer, in a column that the preprocessor takes as codes."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        bad = ~(array == np.floor(array)) | np.isinf(array)
        if bad.any():
            row = int(np.argmax(bad.ravel()))
            raise ValueError(
                f"Column {name!r} of `x` must hold integers: the preprocessor takes them as codes. "
                f"Received: {array.ravel()[row]} in row {row}."
            )


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
    array = np.asarray(values)
    whole = array.dtype.kind in "iu" and array.size  # integers of pandas with some missing are objects
    return bool(whole and max(int(array.max()), -int(array.min())) > FLOAT32_INTEGERS)


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
    dtype: Any = getattr(values, "dtype", None)
    if is_tensor_dtype(dtype):
        return dtype == tf.string
    if is_categorical_dtype(dtype):
        return not pd.api.types.is_numeric_dtype(dtype.categories.dtype)
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return dtype.kind in "UST"
    return dtype is not None and not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype))


def own_dtype(values: Data) -> str:
    """Return the kind of the values: "string", "int64", or "float32" for all other numbers."""
    if is_text(values):
        return "string"
    dtype = values.dtype
    whole = dtype.is_integer if is_tensor_dtype(dtype) else pd.api.types.is_integer_dtype(dtype)
    return "int64" if whole else "float32"


def no_targets(kind: type) -> ValueError:
    """Return the error for a stream whose batches hold no `y`."""
    return ValueError(
        "Each batch of `x` must be a tuple (x, y) or (x, y, sample_weight): a linear regression needs targets. "
        f"Received: batches of type {kind.__name__} without `y`."
    )
