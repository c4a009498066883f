"""The steps of data that come in batches: some of them read ahead, and trained on in one call."""

import abc
import itertools
import random
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.loop import blocks
from keras_linreg.loop.blocks import Loop

FIRST = 32  # steps that are read at first; then as many as take
PERIOD = 0.5  # seconds, so that the progress bar moves
SHORT = 8  # steps of one size in a row, below which they are taken one by one


class Stream(Loop):
    """Takes the steps of a fit of a stream.

    Keras counts them one by one: a call that finds its step taken already returns at once.

    Args:
        model: compiled and built.
        source: what the batches are read from.
        columns: of the design.
        steps: of an epoch, `None` where nobody knows.
        block: steps of a call, as Keras counts them.
        exact: whether no step may be taken before Keras asks for it; otherwise some are read, and taken, ahead.
        worth: the steps after which to compile; of a stream without end that is known, its length shows only then.
    """

    def __init__(self, model, source: "Source", columns: int, steps: int | None, block: int, exact: bool, worth: int):
        super().__init__(model, block)
        self._source, self._steps, self._exact, self._worth = source, steps, exact, worth
        self._height = max(1, blocks.CHUNK // columns)
        self._parts: list = []
        self._ends = np.zeros(1, int)  # of the steps that are read, in rows, from 0 on
        self._compiled: dict[int, int] = {}  # steps that are compiled for, by the rows of a step
        self._pace = FIRST
        self._ahead = self._done = self._taken = 0

    def begin_epoch(self):
        """Begin to count."""
        self._ahead = self._done = 0

    def take(self, watch, iterator) -> dict[str, Any]:
        """Take the next block."""
        if self._ahead:
            self._ahead -= 1
            return self.logs
        count = 0
        while count < self.block and (found := self._read(iterator, self._wanted(count))):
            self._take_watched(watch, 0, found)
            count += found
        if not count:
            raise StopIteration
        self._ahead = max(0, count - self.block)
        self._done += count
        self._taken += count
        return self.logs

    def _wanted(self, count: int) -> int:
        """Return how many steps may be read after so many of this block."""
        wanted = self.block - count if self._exact else self._pace
        return wanted if self._steps is None else min(wanted, self._steps - self._done - count)

    def _read(self, iterator, wanted: int) -> int:
        """Read so many steps at most; return how many there were."""
        if wanted <= 0:
            return 0
        began = time.monotonic()
        self._parts, sizes = self._source.read(iterator, wanted, self._height)
        seconds = max(1e-9, time.monotonic() - began)
        self._pace = max(1, min(self._height, int(PERIOD * max(1, len(sizes)) / seconds)))
        self._ends = np.concatenate([[0], np.cumsum(sizes)])
        return len(sizes)

    def _take(self, first: int, count: int) -> dict[str, tf.Tensor]:
        logs: dict[str, tf.Tensor] = {}
        sizes = np.diff(self._ends)[first : first + count]
        for size, group in itertools.groupby(sizes):
            alike = len(list(group))
            chunk = self._chunk_of(int(size), alike)
            if chunk:
                arrays = self._rows(first, alike, chunk * int(size))
                logs = self._functions.of(int(size)).block(arrays, (0, alike), fresh=False)
            else:
                for step in range(first, first + alike):
                    logs = self._functions.single(self._rows(step, 1, int(size)))
            first += alike
        return logs

    def _chunk_of(self, size: int, alike: int) -> int:
        """Return the steps of a compiled call of steps of some rows, 0 where they are to be taken one by one."""
        if self._taken + alike < self._worth or not size:
            return 0
        most = max(1, self._height // size)
        if self._steps is not None:
            most = min(most, self._steps)
        if self._exact:
            most = min(most, self.block)
        if alike > self._compiled.get(size, 0) and alike >= min(SHORT, most):
            self._compiled[size] = max(most, alike)
        chunk = self._compiled.get(size, 0)
        return chunk if alike <= chunk else 0

    def _rows(self, first: int, steps: int, rows: int) -> tuple:
        """Return the rows of steps, and zeros up to so many."""
        start, end = self._ends[first], self._ends[first + steps]
        return tuple(None if part is None else _filled(part, start, end, rows) for part in self._parts)


def _filled(part, start: int, end: int, rows: int):
    found = part if (start, end) == (0, len(part)) else part[start:end]
    missing = rows - (end - start)
    if not missing:
        return tf.convert_to_tensor(found)
    if tf.is_tensor(found):
        return tf.pad(found, [[0, missing], *[[0, 0]] * (found.shape.rank - 1)])
    return tf.convert_to_tensor(np.concatenate([found, np.zeros((missing, *found.shape[1:]), found.dtype)]))


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
    """Read batches; the one that follows was read when the last one was taken: to ask for it costs nothing here."""
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
