"""The rows of one array of the data: `x`, `y` or the weights."""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import compressed, is_sparse

ALIGNED = 64  # bytes, as TensorFlow wants its memory


def part_of(values, dtype: str | None = None) -> "Part":
    """Return the rows of an array, tensor, sparse tensor or sparse matrix."""
    return Sparse(values, dtype) if is_sparse(values) else Part(values, dtype)


class Part:
    """One array of the data, whose rows are given as Keras's adapter would: floating numbers in floatx.

    Args:
        values: the array or tensor.
        dtype: in which all numbers are given instead.
    """

    def __init__(self, values, dtype: str | None = None):
        own = tf.as_dtype(values.dtype)
        self._dtype = tf.as_dtype(dtype or (keras.config.floatx() if own.is_floating else own))
        self._values = values if tf.is_tensor(values) else np.asarray(values)

    def shared(self) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Return the first few rows, and the others in the array's own memory; `None` where tensors cannot share it.

        TensorFlow takes memory from certain addresses on, and few arrays begin at one.
        """
        values = self._values
        if tf.is_tensor(values) or not (values.flags.c_contiguous and values.flags.writeable):
            return None
        if values.dtype != self._dtype.as_numpy_dtype or values.dtype.kind not in "fiu":
            return None
        for first in range(min(ALIGNED, len(values))):
            if values[first:].ctypes.data % ALIGNED == 0:
                body = tf.experimental.dlpack.from_dlpack(values[first:].__dlpack__())
                return tf.constant(values[: max(1, first)]), body
        return None

    def room(self, count: int) -> np.ndarray | None:
        """Return an array for so many rows that a tensor can share, `None` where there is none."""
        dtype = np.dtype(self._dtype.as_numpy_dtype)
        if tf.is_tensor(self._values) or dtype.kind not in "fiu":
            return None
        shape = count, *self._values.shape[1:]
        size = math.prod(shape) * dtype.itemsize
        memory = np.empty(size + ALIGNED, np.uint8)
        start = -memory.ctypes.data % ALIGNED
        return memory[start : start + size].view(dtype).reshape(shape)

    def of(self, rows, count: int, room: np.ndarray | None = None) -> tf.Tensor:
        """Return rows, by a slice or their numbers, and anything up to so many; in the room, if there is one."""
        if room is not None:
            self._fill(room, rows)
            return tf.experimental.dlpack.from_dlpack(room[:count].__dlpack__())
        if tf.is_tensor(self._values):
            found = tf.cast(
                self._values[rows] if isinstance(rows, slice) else tf.gather(self._values, rows), self._dtype
            )
            missing = count - int(found.shape[0])
            return tf.pad(found, [[0, missing], *[[0, 0]] * (found.shape.rank - 1)]) if missing else found
        found = np.zeros((count, *self._values.shape[1:]), self._dtype.as_numpy_dtype)
        self._fill(found, rows)
        return tf.convert_to_tensor(found)

    def _fill(self, room: np.ndarray, rows) -> None:
        values = self._values
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        with np.errstate(over="ignore"):  # the loss will tell
            if isinstance(rows, slice) or not values.flags.c_contiguous:
                room[:count] = values[rows]
            elif values.dtype == room.dtype:
                np.take(values, rows, axis=0, out=room[:count], mode="clip")  # the mode that needs no copy
            else:
                room[:count] = values.take(rows, axis=0)


class Sparse(Part):
    """A sparse `x`, whose rows are written out in floatx, or another dtype."""

    def __init__(self, values, dtype: str | None = None):
        self._dtype = tf.as_dtype(dtype or keras.config.floatx())
        self._values = compressed(values)

    def shared(self) -> None:
        """Return `None`: the rows are nowhere yet."""

    def _fill(self, room, rows):
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        with np.errstate(over="ignore"):
            room[:count] = self._values[rows].toarray()


@functools.cache
def nothing() -> tf.data.Dataset:
    """Return the endless dataset that Keras iterates over where nobody reads it."""
    options = tf.data.Options()
    options.autotune.enabled = False  # a thread of its own, that takes its time to end
    return tf.data.Dataset.range(1).repeat().with_options(options)
