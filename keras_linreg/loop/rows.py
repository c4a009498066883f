"""The steps of data in memory: rows in their order, some steps at a time."""

import concurrent.futures
import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared
from keras_linreg.loop import blocks
from keras_linreg.loop.blocks import Loop


class Rows(Loop):
    """Takes the steps of a fit of data in memory.

    The rows of some steps at a time, a chunk, are brought into their order and floatx, while those before them are
    trained on; the user's array is not copied whole.

    Args:
        model: compiled and built, with its optimizer, loss and metrics.
        data: `(n, p)`, `(n,)` or `(n, units)`, and weights `(n,)` or `None`.
        batch_size: rows of a step; the last one of an epoch takes what is left.
        shuffle: whether each epoch has an order of its own.
        block: steps of a call.
    """

    resets_metrics = True

    def __init__(self, model, data: Prepared, batch_size: int, shuffle: bool, block: int):
        super().__init__(model, block)
        self._rows, self._size = int(data.x.shape[0]), batch_size
        self.steps = -(-self._rows // batch_size)
        self.given = {"x": nothing(), "y": None, "sample_weight": None}
        self.options = {"batch_size": None, "shuffle": False, "steps_per_epoch": self.steps}
        self._full = self._rows // batch_size
        self._parts = [None if part is None else _Part(part) for part in data.parts]
        self._chunk = max(1, min(block, self._full, blocks.CHUNK // (batch_size * int(data.x.shape[1]))))
        self._shuffle = shuffle and self.steps > 1  # the rows of a single step have no order
        self._order: np.ndarray | None = None
        self._kept: tuple | None = None  # the one chunk of small data in their own order
        self._done = 0

    def begin_epoch(self):
        """Begin with the first step."""
        self._done = 0

    def take(self, watch, iterator) -> dict[str, Any]:
        """Take the next block; Keras's iterator is not read."""
        if self._done == 0 and self._shuffle:
            self._order = tf.random.shuffle(tf.range(self._rows)).numpy()
        first, count = self._done, min(self.block, self.steps - self._done)
        self._done = (first + count) % self.steps
        self._take_watched(watch, first, count)
        return self.logs

    def _take(self, first: int, count: int) -> dict[str, tf.Tensor]:
        full = min(first + count, self._full)
        for start, arrays in self._chunks(first, full):
            logs = self._functions.of(self._size).block(arrays, min(self._chunk, full - start), fresh=start == 0)
        if full < first + count:
            logs = self._functions.single(self._of_rows(self._full * self._size, self._rows))
        return logs

    def _chunks(self, first: int, last: int) -> Iterator[tuple[int, tuple]]:
        """Yield the first step and the rows of each chunk of the full steps from one on, the next one under way."""
        if self._order is None and self._chunk == self._full and first == 0:
            if self._kept is None:
                self._kept = self._of_steps(0)
            yield 0, self._kept
            return
        starts = range(first, last, self._chunk)
        if len(starts) == 1:
            yield first, self._of_steps(first)
            return
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            coming = [pool.submit(self._of_steps, start) for start in starts[:1]]
            for start in starts:
                arrays = coming.pop().result()
                if start + self._chunk < last:
                    coming.append(pool.submit(self._of_steps, start + self._chunk))
                yield start, arrays

    def _of_steps(self, first: int) -> tuple:
        """Return the rows of a chunk's steps; of a size that is compiled for, filled up with rows that are not used."""
        return self._of_rows(first * self._size, (first + self._chunk) * self._size)

    def _of_rows(self, start: int, end: int) -> tuple:
        rows = slice(start, end) if self._order is None else self._order[start:end]
        return tuple(None if part is None else part.of(rows, end - start) for part in self._parts)


class _Part:
    """One array of the data, whose rows are given as Keras's adapter would: floating numbers in floatx."""

    def __init__(self, values):
        dtype = tf.as_dtype(values.dtype)
        self._dtype = tf.as_dtype(keras.config.floatx()) if dtype.is_floating else dtype
        self._values = values if tf.is_tensor(values) else np.asarray(values)

    def of(self, rows, count: int) -> tf.Tensor:
        """Return rows, by a slice or their numbers, and zeros up to so many."""
        if tf.is_tensor(self._values):
            found = tf.cast(
                self._values[rows] if isinstance(rows, slice) else tf.gather(self._values, rows), self._dtype
            )
            missing = count - int(found.shape[0])
            return tf.pad(found, [[0, missing], *[[0, 0]] * (found.shape.rank - 1)]) if missing else found
        found = self._values[rows] if isinstance(rows, slice) else self._values.take(rows, axis=0)
        with np.errstate(over="ignore"):  # the loss will tell
            found = np.asarray(found, self._dtype.as_numpy_dtype)
        if len(found) < count:
            found = np.concatenate([found, np.zeros((count - len(found), *found.shape[1:]), found.dtype)])
        return tf.convert_to_tensor(found)


@functools.cache
def nothing() -> tf.data.Dataset:
    """Return the endless dataset that Keras iterates over where nobody reads it."""
    options = tf.data.Options()
    options.autotune.enabled = False  # a thread of its own, that takes its time to end
    return tf.data.Dataset.range(1).repeat().with_options(options)
