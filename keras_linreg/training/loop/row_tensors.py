"""RowTensors: rows of `x`, `y` or the weights as tensors, in the dtype that Keras's adapter would give them."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import LazyMatrix, is_sparse, to_csr
from keras_linreg.utils.types import Data

ALIGNMENT = 64  # bytes: TensorFlow shares memory that begins at a multiple of it

Rows = slice | np.ndarray  # of an array, as a slice or as row numbers


def row_tensors(values: Data, dtype: str | None = None) -> "RowTensors":
    """Return the rows of an array, tensor, sparse tensor or sparse matrix as tensors.

    Args:
        values: `(n,)` or `(n, columns)`.
        dtype: the dtype of the tensors; by default floatx for floating numbers, and the same dtype for others.
    """
    return SparseRowTensors(values, dtype) if is_sparse(values) else RowTensors(values, dtype)


class RowTensors:
    """Rows of a dense array or tensor as tensors.

    Args:
        values: `(n,)` or `(n, columns)`.
        dtype: as in `row_tensors`.
    """

    def __init__(self, values: Data, dtype: str | None = None):
        values_dtype = tf.as_dtype(values.dtype)
        self._dtype = tf.as_dtype(dtype or (keras.config.floatx() if values_dtype.is_floating else values_dtype))
        self._values = values if tf.is_tensor(values) or isinstance(values, LazyMatrix) else np.asarray(values)

    def shared_tensors(self) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Return the first few rows as a copy and the others in the array's own memory, or `None` if it cannot be done.

        TensorFlow shares memory that begins at certain addresses only, and few arrays begin at one. But a later row
        often does.
        """
        values = self._values
        if not isinstance(values, np.ndarray) or not (values.flags.c_contiguous and values.flags.writeable):
            return None
        if values.dtype != self._dtype.as_numpy_dtype or values.dtype.kind not in "fiu":
            return None
        for first in range(min(ALIGNMENT, len(values))):
            if values[first:].ctypes.data % ALIGNMENT == 0:
                body = tf.experimental.dlpack.from_dlpack(values[first:].__dlpack__())
                return tf.constant(values[: max(1, first)]), body
        return None

    def new_buffer(self, count: int) -> np.ndarray | None:
        """Return an empty array for `count` rows that a tensor can share, or `None` if this dtype cannot be shared."""
        dtype = np.dtype(self._dtype.as_numpy_dtype)
        if tf.is_tensor(self._values) or dtype.kind not in "fiu":
            return None
        shape = count, *self._values.shape[1:]
        size = math.prod(shape) * dtype.itemsize
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        return memory[start : start + size].view(dtype).reshape(shape)

    def tensor(self, rows: Rows, count: int, buffer: np.ndarray | None = None) -> tf.Tensor:
        """Return a tensor of `count` rows: first `rows`, then rows of any numbers.

        Args:
            rows: at most `count` rows.
            count: the rows of the tensor.
            buffer: of `new_buffer`: memory for the tensor, which the next call may overwrite.
        """
        if buffer is not None:
            self._fill(buffer, rows)
            return tf.experimental.dlpack.from_dlpack(buffer[:count].__dlpack__())
        if tf.is_tensor(self._values):
            tensor = self._values[rows] if isinstance(rows, slice) else tf.gather(self._values, rows)
            tensor = tf.cast(tensor, self._dtype)
            missing = count - int(tensor.shape[0])
            return tf.pad(tensor, [[0, missing], *[[0, 0]] * (tensor.shape.rank - 1)]) if missing else tensor
        array = np.zeros((count, *self._values.shape[1:]), self._dtype.as_numpy_dtype)
        self._fill(array, rows)
        return tf.convert_to_tensor(array)

    def _fill(self, buffer: np.ndarray, rows: Rows) -> None:
        """Write rows into the first rows of a buffer."""
        values, count = self._values, _count(rows)
        with np.errstate(over="ignore"):  # the loss shows an overflow
            if isinstance(rows, slice) or isinstance(values, LazyMatrix) or not values.flags.c_contiguous:
                buffer[:count] = values[rows]
            elif values.dtype == buffer.dtype:
                np.take(values, rows, axis=0, out=buffer[:count], mode="clip")  # the other modes copy first
            else:
                buffer[:count] = values.take(rows, axis=0)


class SparseRowTensors(RowTensors):
    """Rows of a sparse `x` as dense tensors, in floatx or another dtype."""

    def __init__(self, values: Data, dtype: str | None = None):
        self._dtype = tf.as_dtype(dtype or keras.config.floatx())
        self._values = self._csr = to_csr(values)

    def shared_tensors(self) -> None:
        """Return `None`: there is no dense memory to share."""

    def _fill(self, buffer: np.ndarray, rows: Rows) -> None:
        with np.errstate(over="ignore"):
            buffer[: _count(rows)] = self._csr[rows].toarray()


def _count(rows: Rows) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)
