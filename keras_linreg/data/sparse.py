"""Sparse rows as SciPy's compressed sparse rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_linreg.data.kinds import is_sparse_tensor
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import scipy.sparse as scipy_sparse
    import tensorflow as tf
else:
    tf, scipy_sparse = LazyModule("tensorflow"), LazyModule("scipy.sparse")


def to_csr(x: Data) -> Any:
    """Return a sparse tensor or matrix as SciPy's compressed sparse rows."""
    if not is_sparse_tensor(x):
        return x.tocsr()
    x = tf.sparse.reorder(x)
    row, column = x.indices.numpy().T
    values = tf.cast(x.values, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x.values  # SciPy has no others
    return scipy_sparse.csr_array((values.numpy(), (row, column)), shape=tuple(x.dense_shape.numpy()))
