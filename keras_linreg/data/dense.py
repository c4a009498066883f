"""Prepared data as plain NumPy batches, for work with rows outside Keras's own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import is_sparse, is_sparse_tensor
from keras_linreg.data.packing import unpack_batch
from keras_linreg.data.prepared import Prepared, is_stream
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Batch, Data

if TYPE_CHECKING:
    import scipy.sparse as scipy_sparse
    import tensorflow as tf
else:
    tf, scipy_sparse = LazyModule("tensorflow"), LazyModule("scipy.sparse")

SPARSE_NUMBERS = 2**22  # of a block of sparse rows that is made dense


def dense_batches(prepared: Prepared) -> Iterator[Batch]:
    """Yield each batch once, as `dense_batch` returns it; arrays whole, sparse ones in blocks."""
    if is_stream(prepared.x):
        for batch in prepared.x:
            # A generator may yield the same array again and again, with new numbers in it.
            yield tuple(None if part is None else part.copy() for part in dense_batch(batch))
    else:
        yield from dense_parts(prepared, block_size(prepared))


def dense_batch(batch: Any) -> Batch:
    """Return `(x, y, sample_weight)` of a batch: `(n, p)`, `(n, k)`, `(n,)`, or None; floats keep their dtypes."""
    x, y, sample_weight = unpack_batch(batch)
    return _matrix(x), None if y is None else _matrix(y), _vector(sample_weight)


def block_size(prepared: Prepared) -> int:
    """Return how many rows of arrays to take at once: all; of a sparse matrix as many as are made dense at a time."""
    return SPARSE_NUMBERS // prepared.x.shape[1] + 1 if is_sparse(prepared.x) else int(prepared.x.shape[0])


def dense_parts(prepared: Prepared, batch_size: int) -> Iterator[Batch]:
    """Yield arrays in memory in batches of `batch_size` rows, without a copy."""
    batch = batches_by_number(prepared, batch_size)
    for number in range(-(-int(prepared.x.shape[0]) // batch_size)):
        yield batch(number)


def batches_by_number(prepared: Prepared, batch_size: int) -> Callable[[int], Batch]:
    """Return the function that takes a batch's number and returns the batch, for arrays in memory."""
    x = to_csr(prepared.x) if is_sparse(prepared.x) else np.asarray(prepared.x)
    y, weights = None if prepared.y is None else _matrix(prepared.y), _vector(prepared.sample_weight)

    def batch(number: int) -> Batch:
        rows = slice(number * batch_size, (number + 1) * batch_size)
        return _matrix(x[rows]), None if y is None else y[rows], None if weights is None else weights[rows]

    return batch


def as_dataset(prepared: Prepared, batch_size: int, dtype: str) -> tf.data.Dataset:
    """Return arrays in memory as a dataset of dense batches of one dtype; Keras would cast the arrays to floatx."""

    def batches() -> Iterator[Batch]:
        for parts in dense_parts(prepared, batch_size):
            yield tuple(part.astype(dtype) for part in parts if part is not None)

    shapes: list[tuple[int | None, ...]] = [(None, prepared.x.shape[1])]
    if prepared.y is not None:
        shapes.append((None, prepared.y.shape[1]))
    if prepared.sample_weight is not None:
        shapes.append((None,))
    specs = tuple(tf.TensorSpec(shape, dtype) for shape in shapes)
    count = -(-int(prepared.x.shape[0]) // batch_size)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=specs)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(1)


def to_csr(x: Data) -> Any:
    """Return a sparse tensor or matrix as SciPy's compressed sparse rows."""
    if not is_sparse_tensor(x):
        return x.tocsr()
    x = tf.sparse.reorder(x)
    row, column = x.indices.numpy().T
    values = tf.cast(x.values, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x.values  # SciPy has no others
    return scipy_sparse.csr_array((values.numpy(), (row, column)), shape=tuple(x.dense_shape.numpy()))


def _matrix(values: Data) -> np.ndarray:
    if is_sparse_tensor(values):
        values = tf.sparse.to_dense(tf.sparse.reorder(values))
    array = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    array = array if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array.astype(np.float64)
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _vector(values: Data) -> np.ndarray | None:
    return None if values is None else np.asarray(values, np.float64).reshape(-1)
