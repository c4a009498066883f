"""StreamLoop: blocks of steps on data that come in batches; some batches are read ahead and run in one call."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.training.divergence.watch import Watch
from keras_linreg.training.loop.batch_sources import BatchSource
from keras_linreg.training.loop.block_loop import BlockLoop
from keras_linreg.training.loop.settings import LoopSettings
from keras_linreg.training.loop.step_functions import StepFunctions


class StreamLoop(BlockLoop):
    """Runs blocks of steps on a stream.

    Keras counts the steps one by one. If a step has been run ahead, the call returns at once.

    Args:
        functions: the compiled steps of the model.
        source: reads the batches.
        columns: of the design.
        steps_per_epoch: `None` if nobody knows.
        block_steps: steps of a block, as Keras counts them.
        may_run_ahead: whether a call may run more steps than Keras has counted.
        compile_after_steps: steps to run before the first block is compiled.
        settings: how many batches are read at a time, and when a batch size is compiled.
    """

    def __init__(
        self,
        functions: StepFunctions,
        source: BatchSource,
        columns: int,
        steps_per_epoch: int | None,
        block_steps: int,
        may_run_ahead: bool,
        compile_after_steps: int,
        settings: LoopSettings,
    ):
        super().__init__(functions, block_steps)
        self._source, self._steps_per_epoch, self._may_run_ahead = source, steps_per_epoch, may_run_ahead
        self._compile_after_steps, self._settings = compile_after_steps, settings
        self._max_rows = max(1, settings.chunk_numbers // columns)
        self._batches_at_a_time = settings.first_read_batches
        # The batches in memory: x, y and weights with the rows of all, and the row at which each step ends.
        self._arrays: list = []
        self._row_ends = np.zeros(1, int)
        # By batch size: how many steps have come, and how many a compiled block holds.
        self._steps_seen: dict[int, int] = {}
        self._steps_compiled: dict[int, int] = {}
        self._steps_ahead = self._steps_in_epoch = self._steps_in_all = 0

    def begin_epoch(self) -> bool:
        """Begin to count the steps of an epoch; return False: the blocks do not reset the metrics."""
        self._steps_ahead = self._steps_in_epoch = 0
        return False

    def run_next_block(self, iterator: Iterator, watch: Watch | None) -> dict[str, Any]:
        """Run the next block of the epoch, unless it has been run ahead; return loss and metrics."""
        if self._steps_ahead:
            self._steps_ahead -= 1
            return self.logs
        count = 0
        while count < self.block_steps and (steps := self._read(iterator, self._max_batches(count))):
            self._run_watched_steps(0, steps, watch)
            count += steps
        if not count:
            raise StopIteration
        self._steps_ahead = max(0, count - self.block_steps)
        self._steps_in_epoch += count
        self._steps_in_all += count
        return self.logs

    def _max_batches(self, count: int) -> int:
        """Return how many batches may be read, after `count` steps of this block."""
        batches = self._batches_at_a_time if self._may_run_ahead else self.block_steps - count
        if self._steps_per_epoch is None:
            return batches
        return min(batches, self._steps_per_epoch - self._steps_in_epoch - count)

    def _read(self, iterator: Iterator, max_batches: int) -> int:
        """Read the next batches; return how many there were."""
        if max_batches <= 0:
            return 0
        began = time.monotonic()
        self._arrays, sizes = self._source.read(iterator, max_batches, self._max_rows)
        seconds_per_batch = max(1e-9, time.monotonic() - began) / max(1, len(sizes))
        self._batches_at_a_time = max(1, min(self._max_rows, int(self._settings.read_seconds / seconds_per_batch)))
        self._row_ends = np.concatenate([[0], np.cumsum(sizes)])
        return len(sizes)

    def run_steps(self, first: int, count: int) -> dict[str, tf.Tensor]:
        """Run `count` steps from step `first` on, compiled if that pays; return loss and metrics."""
        logs: dict[str, tf.Tensor] = {}
        sizes = np.diff(self._row_ends)[first : first + count]
        for size, group in itertools.groupby(map(int, sizes)):
            steps = len(list(group))
            block_steps = self._compiled_steps(size, steps)
            if block_steps:
                arrays = self._rows_of(first, steps, block_steps * size)
                logs = self.functions.block_of(size).run(arrays, (0, steps), reset=False)
            else:
                for step in range(first, first + steps):
                    logs = self.functions.run_one_step(self._rows_of(step, 1, size))
            first += steps
        return logs

    def run_step_without_xla(self, step: int) -> dict[str, tf.Tensor]:
        """Run one step, without XLA; return loss and metrics since the epoch began."""
        return self.functions.run_one_step(self._rows_of(step, 1, int(np.diff(self._row_ends)[step])))

    def _compiled_steps(self, size: int, steps: int) -> int:
        """Return how many steps the compiled block of a batch size holds, or 0 to run the steps one by one.

        Args:
            size: rows of each step.
            steps: how many steps of that size come now, in a row.
        """
        if self._steps_in_all + steps < self._compile_after_steps or not size:
            return 0
        largest = max(1, self._max_rows // size)
        if self._steps_per_epoch is not None:
            largest = min(largest, self._steps_per_epoch)
        if not self._may_run_ahead:
            largest = min(largest, self.block_steps)
        self._steps_seen[size] = self._steps_seen.get(size, 0) + steps
        row, total = self._settings.compile_after_row, self._settings.compile_after_total
        is_frequent = steps >= row or (largest < row and self._steps_seen[size] >= total)
        if is_frequent and steps > self._steps_compiled.get(size, 0):
            self._steps_compiled[size] = max(largest, steps)
        compiled = self._steps_compiled.get(size, 0)
        return compiled if steps <= compiled else 0

    def _rows_of(self, first: int, steps: int, rows: int) -> tuple:
        """Return `x`, `y` and weights of steps from `first` on, with zeros up to so many rows."""
        start, end = self._row_ends[first], self._row_ends[first + steps]
        return tuple(None if array is None else _padded(array, start, end, rows) for array in self._arrays)


def _padded(array: Any, start: int, end: int, rows: int) -> tf.Tensor:
    """Return the rows from `start` to `end`, with zeros up to so many rows."""
    part = array if (start, end) == (0, len(array)) else array[start:end]
    missing = rows - (end - start)
    if not missing:
        return tf.convert_to_tensor(part)
    if tf.is_tensor(part):
        return tf.pad(part, [[0, missing], *[[0, 0]] * (part.shape.rank - 1)])
    return tf.convert_to_tensor(np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)]))
