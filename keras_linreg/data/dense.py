"""Prepared data as plain NumPy batches: what is done with rows outside Keras's own loop."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf

from keras_linreg.data.streams import Prepared, is_sparse, is_stream

SPARSE_NUMBERS = 2**22  # of a block of sparse rows written out


def dense_batches(prepared: Prepared) -> Iterator[tuple]:
    """Yield each batch once as `dense_batch` returns it; arrays whole, sparse ones in blocks."""
    if is_stream(prepared.x):
        for batch in prepared.x:
            # A generator may hand out one array again and again, with new numbers in it.
            yield tuple(None if part is None else part.copy() for part in dense_batch(batch))
    else:
        yield from dense_parts(prepared, block_size(prepared))


def dense_batch(batch) -> tuple:
    """Return `(x, y, sample_weight)` of a batch: `(n, p)`, `(n, k)`, `(n,)` or `None`; floats keep their dtypes."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    return _matrix(x), None if y is None else _matrix(y), _vector(sample_weight)


def block_size(prepared: Prepared) -> int:
    """Return how many rows of arrays to take at once: all, but of a sparse matrix, which is written out, some."""
    return SPARSE_NUMBERS // prepared.x.shape[1] + 1 if is_sparse(prepared.x) else int(prepared.x.shape[0])


def dense_parts(prepared: Prepared, batch_size: int) -> Iterator[tuple]:
    """Yield arrays in memory in batches of so many rows, without copying them."""
    part = parts_of(prepared, batch_size)
    for number in range(-(-int(prepared.x.shape[0]) // batch_size)):
        yield part(number)


def parts_of(prepared: Prepared, batch_size: int) -> Callable[[int], tuple]:
    """Return the function from a batch's number to the batch, of arrays in memory."""
    x = compressed(prepared.x) if is_sparse(prepared.x) else np.asarray(prepared.x)
    y, weights = None if prepared.y is None else _matrix(prepared.y), _vector(prepared.sample_weight)

    def part(number: int) -> tuple:
        rows = slice(number * batch_size, (number + 1) * batch_size)
        return _matrix(x[rows]), None if y is None else y[rows], None if weights is None else weights[rows]

    return part


def as_dataset(prepared: Prepared, batch_size: int, dtype: str) -> tf.data.Dataset:
    """Return arrays in memory as a dataset of dense batches of one dtype; Keras would cast the arrays to floatx."""

    def batches() -> Iterator[tuple]:
        for parts in dense_parts(prepared, batch_size):
            yield tuple(part.astype(dtype) for part in parts if part is not None)

    shapes: list[tuple] = [(None, prepared.x.shape[1])]
    if prepared.y is not None:
        shapes.append((None, prepared.y.shape[1]))
    if prepared.sample_weight is not None:
        shapes.append((None,))
    specs = tuple(tf.TensorSpec(shape, dtype) for shape in shapes)
    count = -(-int(prepared.x.shape[0]) // batch_size)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=specs)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(1)


def compressed(x):
    """Return a sparse tensor or matrix by its rows, as SciPy does (CSR)."""
    if not isinstance(x, tf.SparseTensor):
        return x.tocsr()
    x = tf.sparse.reorder(x)
    row, column = x.indices.numpy().T
    values = tf.cast(x.values, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x.values  # SciPy has no others
    return scipy.sparse.csr_array((values.numpy(), (row, column)), shape=tuple(x.dense_shape.numpy()))


def _matrix(values) -> np.ndarray:
    if isinstance(values, tf.SparseTensor):
        values = tf.sparse.to_dense(tf.sparse.reorder(values))
    array = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    array = array if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array.astype(np.float64)
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _vector(values) -> np.ndarray | None:
    return None if values is None else np.asarray(values, np.float64).reshape(-1)
