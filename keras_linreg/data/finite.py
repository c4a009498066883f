"""NaN, infinity, and numbers too large for their dtype: whether there are any, and where the first is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_linreg.data.kinds import is_scipy_sparse, is_sparse_tensor
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")


def is_finite(array: Data, dtype: str | None = None) -> bool:
    """Return whether every number of an array is finite; None and strings are.

    Args:
        array: dense or sparse.
        dtype: in which the numbers must be finite, too; or None.
    """
    values = float_numbers(array)
    target = None if dtype is None else tf.as_dtype(dtype)
    if target is not None and target.size < values.itemsize and values.size:
        largest = max(-values.min(), values.max())
        return bool(np.isfinite(largest) and largest <= float(target.max))
    # A sum reads the numbers once, without a temporary. Each number is looked at only if the sum is not finite.
    return bool(np.isfinite(values.sum(dtype=np.float64)) or np.isfinite(values).all())


def first_bad(array: Data, dtype: str | None = None) -> tuple[int, int, str] | None:
    """Return row, column and text of the first number that is not finite, or None.

    Args:
        array: dense or sparse.
        dtype: in which the numbers must be finite, too; or None.
    """
    array = array.tocoo() if is_scipy_sparse(array) else array
    values = float_numbers(array)
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(values if dtype is None else values.astype(tf.as_dtype(dtype).as_numpy_dtype))
    if not bad.any():
        return None
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    shown = f"{values[at]}" if not np.isfinite(values[at]) else f"{values[at]:g} (too large for {dtype})"
    if is_sparse_tensor(array):
        row, column = np.asarray(array.indices)[at[0]]
    elif is_scipy_sparse(array):
        row, column = array.row[at[0]], array.col[at[0]]
    else:
        row, column = at[0], at[-1] if len(at) > 1 else 0
    return int(row), int(column), shown


def float_numbers(array: Data) -> np.ndarray:
    """Return the floating-point numbers of a dense or sparse array; integers and strings are always finite."""
    if array is None:
        return np.zeros(0)
    if is_sparse_tensor(array):
        array = array.values
    elif is_scipy_sparse(array):
        array = array.data
    array = np.asarray(array)
    if array.dtype.kind == "V" or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return array if array.dtype.kind == "f" else np.zeros(0)
