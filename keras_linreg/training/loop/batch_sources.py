"""BatchSource: reads batches of a stream ahead, from Keras's iterator or from a PyDataset itself."""

import abc
import random
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.utils.types import Batch


class BatchSource(abc.ABC):
    """Reads batches of a stream.

    Args:
        errors: the list of errors in the data; the fit raises the first one.
    """

    def __init__(self, errors: list[str]):
        self._errors = errors
        self._batches_read = 0

    @abc.abstractmethod
    def read(self, iterator: Any, max_batches: int, max_rows: int) -> tuple[list, np.ndarray]:
        """Read the next batches.

        Args:
            iterator: Keras's iterator of this epoch.
            max_batches: how many batches at most.
            max_rows: how many rows at most, unless the first batch has more.

        Returns:
            `x`, `y` and weights or `None`, each with the rows of all batches; and the rows of each batch.
        """

    def _check_sizes(self, sizes: np.ndarray) -> np.ndarray:
        """Return the rows of each batch.

        Args:
            sizes: the rows of each array of each batch, `(batches, arrays)`.

        Raises:
            ValueError: the arrays of a batch have different numbers of rows.
        """
        different = (sizes != sizes[:, :1]).any(axis=1)
        if different.any():
            batch = int(np.argmax(different))
            message = (
                f"Batch {self._batches_read + batch}: `x`, `y` and `sample_weight` must have the same number of rows. "
                f"Received: {', '.join(map(str, sizes[batch]))} rows."
            )
            self._errors.append(message)
            raise ValueError(message)
        self._batches_read += len(sizes)
        return sizes[:, 0]


class IteratorSource(BatchSource):
    """Reads batches from Keras's iterator."""

    def __init__(self, errors: list[str]):
        super().__init__(errors)
        self._iterator: Any = None
        self._next_batch: Any = None  # a tf.experimental.Optional

    def read(self, iterator: Any, max_batches: int, max_rows: int) -> tuple[list, np.ndarray]:
        """Read the next batches of the iterator."""
        if iterator is not self._iterator:
            self._iterator, self._next_batch, self._batches_read = iterator, iterator.get_next_as_optional(), 0
        if not self._next_batch.has_value():
            return [], np.zeros(0, int)
        self._next_batch, sizes, arrays = _read_batches(
            iterator, self._next_batch, tf.constant(max_batches), tf.constant(max_rows)
        )
        batch = keras.tree.pack_sequence_as(iterator.element_spec, arrays)
        return _unpack(batch), self._check_sizes(sizes.numpy())


@tf.function(autograph=False)
def _read_batches(iterator: Any, next_batch: Any, max_batches: tf.Tensor, max_rows: tf.Tensor) -> tuple:
    """Read `next_batch` and those after it.

    One batch is always read ahead: so the loop needs no branch for the end of the data, and that saves time.

    Returns:
        The batch after the last one read, as an Optional; the rows of each array of each batch, `(batches, arrays)`;
        and the arrays, each with the rows of all batches.
    """
    specs = keras.tree.flatten(iterator.element_spec)
    arrays = [
        tf.TensorArray(spec.dtype, 0, dynamic_size=True, infer_shape=False, element_shape=spec.shape) for spec in specs
    ]

    def has_more(number: tf.Tensor, rows: tf.Tensor, last_rows: tf.Tensor, next_batch: Any, *_: Any) -> tf.Tensor:
        # The next batch is expected to have as many rows as the last one.
        return (number < max_batches) & ((rows + last_rows <= max_rows) | (number == 0)) & next_batch.has_value()

    def body(number: tf.Tensor, rows: tf.Tensor, _: tf.Tensor, next_batch: Any, sizes: Any, *arrays: Any) -> tuple:
        batch = keras.tree.flatten(next_batch.get_value())
        counts = tf.stack([tf.shape(part)[0] for part in batch])
        arrays = tuple(array.write(number, part) for array, part in zip(arrays, batch, strict=True))
        sizes = sizes.write(number, counts)
        return number + 1, rows + counts[0], counts[0], iterator.get_next_as_optional(), sizes, *arrays

    sizes = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=(len(specs),))
    zero = tf.constant(0)
    _, _, _, next_batch, sizes, *arrays = tf.while_loop(
        has_more, body, [zero, zero, zero, next_batch, sizes, *arrays], parallel_iterations=1
    )
    return next_batch, sizes.stack(), [array.concat() for array in arrays]


class PyDatasetSource(BatchSource):
    """Reads the batches of a PyDataset by their numbers: Keras's own way takes several times as long as a step.

    Args:
        batches: a PyDataset whose `num_batches` is known.
        shuffle: whether each epoch has an order of its own.
        errors: the list of errors in the data.
    """

    def __init__(self, batches: keras.utils.PyDataset, shuffle: bool, errors: list[str]):
        super().__init__(errors)
        self._batches, self._shuffle = batches, shuffle
        self._order: list[int] = []
        self._position = 0
        self._iterator: Any = None

    def read(self, iterator: Any, max_batches: int, max_rows: int) -> tuple[list, np.ndarray]:
        """Read the next batches by number; a new iterator of Keras only means that an epoch begins."""
        if iterator is not self._iterator:
            self._iterator, self._position, self._batches_read = iterator, 0, 0
            self._order = list(range(self._batches.num_batches))
            if self._shuffle:
                random.shuffle(self._order)  # the random numbers that Keras would use
        batches: list[list] = []
        rows_left = max_rows
        while self._position < len(self._order) and len(batches) < max_batches:
            if batches and rows_left < len(batches[-1][0]):
                break
            batch = _unpack(self._batches[self._order[self._position]])
            # A copy: the PyDataset may fill the same array again for the next batch.
            batches.append([part.copy() if isinstance(part, np.ndarray) else part for part in batch])
            rows_left -= len(batches[-1][0])
            self._position += 1
        if not batches:
            return [], np.zeros(0, int)
        sizes = np.array([[len(part) for part in batch if part is not None] for batch in batches])
        return [_concatenate(parts) for parts in zip(*batches, strict=True)], self._check_sizes(sizes)


def _unpack(batch: Batch) -> list:
    return list(keras.utils.unpack_x_y_sample_weight(batch))


def _concatenate(parts: tuple) -> Any:
    if parts[0] is None or len(parts) == 1:
        return parts[0]
    return tf.concat(parts, 0) if tf.is_tensor(parts[0]) else np.concatenate(parts)
