"""Batches and sparse rows as plain NumPy arrays, for work with rows outside Keras's own loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.column_matrix import LazyMatrix
from keras_linreg.data.integers import check_rounding
from keras_linreg.data.kinds import is_scipy_sparse, is_sparse_tensor
from keras_linreg.data.packing import unpack_batch
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Batch, Data

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")


def dense_batch(batch: Any) -> Batch:
    """Return `(x, y, sample_weight)` of a batch: `(n, p)`, `(n, k)`, `(n,)`, or None; floats keep their dtypes."""
    x, y, sample_weight = unpack_batch(batch)
    return dense_matrix(x), None if y is None else dense_matrix(y, "y"), dense_vector(sample_weight)


def dense_matrix(values: Data, argument: str = "x") -> Any:
    """Return values as a float array `(n, p)`; a LazyMatrix stays one.

    Raises:
        ValueError: float64 rounds an integer.
    """
    if isinstance(values, LazyMatrix):
        return values
    if is_sparse_tensor(values):
        values = tf.sparse.to_dense(tf.sparse.reorder(values))
    array = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        check_rounding(array, f"`{argument}`", "float64")
        array = array.astype(np.float64)
    return array.reshape(-1, 1) if array.ndim == 1 else array


def dense_vector(values: Data) -> np.ndarray | None:
    """Return weights as a float64 array `(n,)`."""
    return None if values is None else np.asarray(values, np.float64).reshape(-1)


def to_dense(x: Data) -> Data:
    """Return a SciPy sparse matrix as a dense array, and anything else as it is."""
    return x.toarray() if is_scipy_sparse(x) else x
