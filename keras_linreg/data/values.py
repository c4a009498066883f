"""Columns and matrices on their way to the design: of which kind they are, and what a preprocessor may be given."""

from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from keras_linreg.data import streams
from keras_linreg.data.arrays import FLOAT32_INTEGERS
from keras_linreg.data.schema import Schema


def only_element(data):
    """Return the array in a list or tuple of one, which Keras takes for a model of one input or output."""
    if isinstance(data, (list, tuple)) and len(data) == 1 and len(getattr(data[0], "shape", ())) > 0:
        return data[0]
    return data


def by_position(x, schema: Schema) -> dict[str, Any]:
    """Return the columns of a matrix under the names that the model knows, in that order."""
    matrix = x if isinstance(x, pd.DataFrame) or tf.is_tensor(x) else np.asarray(x)
    if not len(matrix.shape):
        raise ValueError("`x` must have one row for each observation. Received: a scalar.")
    check_width(matrix.shape, schema)
    if len(matrix.shape) == 1:
        return {schema.names[0]: matrix}
    take = matrix.iloc if isinstance(matrix, pd.DataFrame) else matrix
    return {name: take[:, i] for i, name in enumerate(schema.names)}


def check_width(shape, schema: Schema) -> None:
    """Refuse a matrix of another number of columns than the model was built on, where the number is known."""
    if isinstance(shape, tf.TensorShape) and shape.rank is None:
        return
    width = 1 if len(shape) == 1 else shape[-1]
    expected = len(schema.inputs) if schema.named else schema.inputs[0].shape[-1]
    if width is not None and expected is not None and width != expected:
        names = f" {list(schema.names)}" if schema.named else ""
        raise ValueError(
            f"`x` must have the {expected} columns that the model was built on{',' + names if names else ''}. "
            f"Received: shape {tuple(shape)}."
        )


def as_tensor(matrix):
    """Return strings as a tensor: Keras's layers take no object array."""
    return tf.constant(matrix) if isinstance(matrix, np.ndarray) and matrix.dtype.kind == "O" else matrix


def check_finite(values, names) -> None:
    """Refuse NaN and infinity in what a preprocessor is to be fitted on; name the column and the row."""
    if streams.is_finite(values):
        return
    place = streams.first_bad(values)
    if place is not None:
        row, column, value = place
        name = names[column] if len(names) > 1 else names[0]
        raise ValueError(f"`x` must be finite. Received: {value} in column {name!r}, row {row}.")


def check_whole(values, name: str) -> None:
    """Refuse a number that is no integer, or missing, where the preprocessor takes integer codes."""
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


def are_beyond_float32(values) -> bool:
    """Return whether integers are of a size of which float32 does not hold all; of a spec nobody knows."""
    symbolic = tf.is_tensor(values) and not tf.executing_eagerly()
    if isinstance(values, tf.TypeSpec) or symbolic or streams.is_sparse(values):
        return False
    array = np.asarray(values)
    whole = array.dtype.kind in "iu" and array.size  # integers of pandas with some missing are objects
    return bool(whole and max(int(array.max()), -int(array.min())) > FLOAT32_INTEGERS)


def as_codes(matrix, name: str):
    """Return a matrix in int64; refuse what is no integer."""
    if tf.is_tensor(matrix):
        return tf.cast(matrix, tf.int64)
    check_whole(matrix, name)
    return np.asarray(matrix, np.int64)


def row_shape(values) -> tuple[int, ...]:
    """Return the shape of one row of a column, () for one number."""
    shape = tuple(getattr(values, "shape", None) or np.shape(values))[1:]
    return () if shape == (1,) else shape


def is_text(values) -> bool:
    """Return whether data, or the spec of some, are strings or categories named by strings."""
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, tf.DType):
        return dtype == tf.string
    if isinstance(dtype, pd.CategoricalDtype):
        return not pd.api.types.is_numeric_dtype(dtype.categories.dtype)
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return dtype.kind in "UST"
    return dtype is not None and not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype))


def own_dtype(values) -> str:
    """Return "string", "int64" or "float32", after what the values are themselves."""
    if is_text(values):
        return "string"
    dtype = values.dtype
    whole = dtype.is_integer if isinstance(dtype, tf.DType) else pd.api.types.is_integer_dtype(dtype)
    return "int64" if whole else "float32"


def no_targets(kind: type) -> ValueError:
    """Return the error for a stream whose batches hold no `y`."""
    return ValueError(
        "Each batch of `x` must be a tuple (x, y) or (x, y, sample_weight): a linear regression needs targets. "
        f"Received: batches of type {kind.__name__} without `y`."
    )
