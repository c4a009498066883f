"""What a stream's batches are read from, some at a time: Keras's iterator, or a PyDataset itself."""

import abc
import random
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Source(abc.ABC):
    """What batches are read from.

    Args:
        errors: where to note what is wrong with a batch, for the error of the fit.
    """

    def __init__(self, errors: list[str]):
        self._errors = errors
        self._number = 0

    @abc.abstractmethod
    def read(self, iterator, steps: int, rows: int) -> tuple[list, np.ndarray]:
        """Return `x`, `y` and weights or `None` of the next batches, one after another, and the rows of each.

        Args:
            iterator: Keras's of this epoch.
            steps: how many batches at most.
            rows: how many rows at most, unless the first batch has more.
        """

    def _sizes(self, sizes: np.ndarray) -> np.ndarray:
        """Return the rows of batches, of which those of each part, `(batches, parts)`, must be as many."""
        different = (sizes != sizes[:, :1]).any(axis=1)
        if different.any():
            batch = int(np.argmax(different))
            why = (
                f"Batch {self._number + batch}: `x`, `y` and `sample_weight` must have the same number of rows. "
                f"Received: {', '.join(map(str, sizes[batch]))} rows."
            )
            self._errors.append(why)
            raise ValueError(why)
        self._number += len(sizes)
        return sizes[:, 0]


class Iterated(Source):
    """Batches that Keras's iterator gives."""

    def __init__(self, errors: list[str]):
        super().__init__(errors)
        self._iterator: Any = None
        self._next: Any = None

    def read(self, iterator, steps, rows):
        """Read what Keras would."""
        if iterator is not self._iterator:
            self._iterator, self._next, self._number = iterator, iterator.get_next_as_optional(), 0
        if not self._next.has_value():
            return [], np.zeros(0, int)
        self._next, sizes, parts = _read(iterator, self._next, tf.constant(steps), tf.constant(rows))
        return _three(keras.tree.pack_sequence_as(iterator.element_spec, parts)), self._sizes(sizes.numpy())


@tf.function(autograph=False)
def _read(iterator, following, steps, rows):
    """Return the batch that follows, the rows of those before it, and them; to read one ahead spares a branch each."""
    specs = keras.tree.flatten(iterator.element_spec)
    found = [
        tf.TensorArray(spec.dtype, 0, dynamic_size=True, infer_shape=False, element_shape=spec.shape) for spec in specs
    ]

    def more(step, taken, last, following, *_):
        return (step < steps) & ((taken + last <= rows) | (step == 0)) & following.has_value()

    def body(step, taken, last, following, sizes, *found):
        batch = keras.tree.flatten(following.get_value())
        counts = tf.stack([tf.shape(part)[0] for part in batch])
        written = [array.write(step, part) for array, part in zip(found, batch, strict=True)]
        last = counts[0]
        return step + 1, taken + last, last, iterator.get_next_as_optional(), sizes.write(step, counts), *written

    sizes = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=(len(specs),))
    zero = tf.constant(0)
    _, _, _, following, sizes, *found = tf.while_loop(
        more, body, [zero, zero, zero, following, sizes, *found], parallel_iterations=1
    )
    return following, sizes.stack(), [array.concat() for array in found]


class Indexed(Source):
    """Batches of a PyDataset, read here: by Keras's way each costs several times as much as a step.

    Args:
        batches: with `num_batches` known.
        shuffle: whether each epoch has an order of its own.
        errors: where to note what is wrong with a batch.
    """

    def __init__(self, batches: keras.utils.PyDataset, shuffle: bool, errors: list[str]):
        super().__init__(errors)
        self._batches, self._shuffle = batches, shuffle
        self._order: list[int] = []
        self._at = 0
        self._iterator: Any = None

    def read(self, iterator, steps, rows):
        """Read by number; Keras's iterator only tells that an epoch begins."""
        if iterator is not self._iterator:
            self._iterator, self._at, self._number = iterator, 0, 0
            self._order = list(range(self._batches.num_batches))
            if self._shuffle:
                random.shuffle(self._order)  # as Keras does, from the same numbers
        found: list[list] = []
        left = rows
        while self._at < len(self._order) and len(found) < steps and (not found or left >= len(found[-1][0])):
            # A copy: it may hand out one array again and again.
            batch = self._batches[self._order[self._at]]
            found.append([part.copy() if isinstance(part, np.ndarray) else part for part in _three(batch)])
            left -= len(found[-1][0])
            self._at += 1
        if not found:
            return [], np.zeros(0, int)
        sizes = np.array([[len(part) for part in batch if part is not None] for batch in found])
        return [_joined(parts) for parts in zip(*found, strict=True)], self._sizes(sizes)


def _three(batch) -> list:
    return list(keras.utils.unpack_x_y_sample_weight(batch))


def _joined(parts):
    if parts[0] is None or len(parts) == 1:
        return parts[0]
    return tf.concat(parts, 0) if tf.is_tensor(parts[0]) else np.concatenate(parts)
