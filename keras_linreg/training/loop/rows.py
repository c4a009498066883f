"""The steps of data in memory: rows in their order, some steps at a time."""

import concurrent.futures
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared
from keras_linreg.training.loop import blocks
from keras_linreg.training.loop.blocks import Loop
from keras_linreg.training.loop.functions import Functions
from keras_linreg.training.loop.parts import nothing, part_of

GATHERED = 2**14  # numbers of a step, beyond which its rows are gathered in the loop


class Rows(Loop):
    """Takes the steps of data in memory, without a copy of the user's array.

    The rows of some steps at a time, a chunk, are brought into their order and floatx, while those before them are
    trained on. Rows of large steps are gathered inside the compiled loop instead, from memory that is shared with the
    user's array: to write them once more would take longer than to train on them.

    Args:
        functions: that take the steps.
        data: `(n, p)`, `(n,)` or `(n, units)`, and weights `(n,)` or `None`.
        batch_size: rows of a step; the last one of an epoch takes what is left.
        shuffle: whether each epoch has an order of its own.
        block: steps of a call.
    """

    def __init__(self, functions: Functions, data: Prepared, batch_size: int, shuffle: bool, block: int):
        super().__init__(functions, block)
        self._rows, self._size = int(data.x.shape[0]), batch_size
        self.steps = -(-self._rows // batch_size)
        self.given = {"x": nothing(), "y": None, "sample_weight": None}
        self.options = {"batch_size": None, "shuffle": False, "steps_per_epoch": self.steps}
        self._full = self._rows // batch_size
        self._parts = [None if part is None else part_of(part) for part in data.parts]
        self._chunk = max(1, min(block, self._full, blocks.CHUNK // (batch_size * int(data.x.shape[1]))))
        self._shuffle = shuffle and self.steps > 1  # the rows of a single step have no order
        self._order: np.ndarray | None = None
        columns = int(data.x.shape[1])
        is_small = not self._shuffle and self._rows * columns <= blocks.CHUNK  # and kept in its order
        self._shared = self._share() if batch_size * columns > GATHERED and not is_small else None
        self._numbers = None if self._shared is None else tf.range(self._rows)
        self._rooms: list[list[np.ndarray | None]] = []
        self._kept: tuple | None = None  # the one chunk of small data in their own order
        self._done = 0

    def begin_epoch(self):
        """Return whether the next step is the first one."""
        return self._done == 0

    def take(self, watch, iterator) -> dict[str, Any]:
        """Take the next block; Keras's iterator is not read."""
        if self._done == 0 and self._shuffle:
            self._numbers = tf.random.shuffle(tf.range(self._rows))
            self._order = self._numbers.numpy()
        first, count = self._done, min(self.block, self.steps - self._done)
        self._done = (first + count) % self.steps
        self._take_watched(watch, first, count)
        return self.logs

    def _take(self, first: int, count: int) -> dict[str, tf.Tensor]:
        full = min(first + count, self._full)
        function = self.functions.of(self._size).block
        if self._shared is not None and first < full:
            logs = function(self._shared, (first, full), fresh=first == 0, order=self._numbers)
        else:
            for start, arrays in self._chunks(first, full):
                logs = function(arrays, (0, min(self._chunk, full - start)), fresh=start == 0)
        if full < first + count:
            logs = self.functions.single(self._of_rows(self._full * self._size, self._rows))
        return logs

    def _take_one(self, step):
        if step == 0:
            self.functions.reset_metrics()
        rows = step * self._size, min((step + 1) * self._size, self._rows)
        return self.functions.single(self._of_rows(*rows))

    def _share(self) -> tuple | None:
        shared = [None if part is None else part.shared() for part in self._parts]
        return (
            None
            if any(part and not pieces for part, pieces in zip(self._parts, shared, strict=True))
            else tuple(shared)
        )

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
        if not self._rooms:
            rows = self._chunk * self._size
            self._rooms = [[None if part is None else part.room(rows) for part in self._parts] for _ in range(2)]
        # One room is trained on while the other is filled.
        rooms = itertools.cycle(self._rooms)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            coming = [pool.submit(self._of_steps, start, next(rooms)) for start in starts[:1]]
            for start in starts:
                arrays = coming.pop().result()
                if start + self._chunk < last:
                    coming.append(pool.submit(self._of_steps, start + self._chunk, next(rooms)))
                yield start, arrays

    def _of_steps(self, first: int, rooms=(None, None, None)) -> tuple:
        """Return the rows of a chunk's steps; of a size that is compiled for, filled up with rows that are not used."""
        return self._of_rows(first * self._size, (first + self._chunk) * self._size, rooms)

    def _of_rows(self, start: int, end: int, rooms=(None, None, None)) -> tuple:
        rows = slice(start, min(end, self._rows)) if self._order is None else self._order[start:end]
        parts = zip(self._parts, rooms, strict=True)
        return tuple(None if part is None else part.of(rows, end - start, room) for part, room in parts)
