"""The steps of data that come in batches: some of them read ahead, and trained on in one call."""

import itertools
import time
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.training.loop import blocks
from keras_linreg.training.loop.blocks import Loop
from keras_linreg.training.loop.functions import Functions
from keras_linreg.training.loop.sources import Source

FIRST = 32  # steps that are read at first; then as many as take
PERIOD = 0.5  # seconds, so that the progress bar moves
SHORT = 8  # steps of one size in a row, below which they are taken one by one;
OFTEN = 32  # where there never are so many in a row, steps of that size altogether


class Stream(Loop):
    """Takes the steps of a stream.

    Keras counts them one by one: a call that finds its step taken already returns at once.

    Args:
        functions: that take the steps.
        source: what the batches are read from.
        columns: of the design.
        steps: of an epoch, `None` where nobody knows.
        block: steps of a call, as Keras counts them.
        exact: whether no step may be taken before Keras asks for it; otherwise some are read, and taken, ahead.
        worth: the steps after which to compile; of a stream without end that is known, its length shows only then.
    """

    def __init__(
        self,
        functions: Functions,
        source: Source,
        columns: int,
        steps: int | None,
        block: int,
        exact: bool,
        worth: int,
    ):
        super().__init__(functions, block)
        self._source, self._steps, self._exact, self._worth = source, steps, exact, worth
        self._height = max(1, blocks.CHUNK // columns)
        self._parts: list = []
        self._ends = np.zeros(1, int)  # of the steps that are read, in rows, from 0 on
        self._seen: dict[int, int] = {}  # steps, by their rows;
        self._compiled: dict[int, int] = {}  # how many at a time are compiled for
        self._pace = FIRST
        self._ahead = self._done = self._taken = 0

    def begin_epoch(self):
        """Begin to count."""
        self._ahead = self._done = 0
        return False

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
                logs = self.functions.of(int(size)).block(arrays, (0, alike), fresh=False)
            else:
                for step in range(first, first + alike):
                    logs = self.functions.single(self._rows(step, 1, int(size)))
            first += alike
        return logs

    def _take_one(self, step):
        return self.functions.single(self._rows(step, 1, int(np.diff(self._ends)[step])))

    def _chunk_of(self, size: int, alike: int) -> int:
        """Return the steps of a compiled call of steps of some rows, 0 where they are to be taken one by one."""
        if self._taken + alike < self._worth or not size:
            return 0
        most = max(1, self._height // size)
        if self._steps is not None:
            most = min(most, self._steps)
        if self._exact:
            most = min(most, self.block)
        self._seen[size] = self._seen.get(size, 0) + alike
        enough = alike >= SHORT or (most < SHORT and self._seen[size] >= OFTEN)
        if enough and alike > self._compiled.get(size, 0):
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
