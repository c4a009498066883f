"""ArrayLoop: blocks of steps on data in memory, a chunk of rows at a time, or step by step where that is faster."""

import concurrent.futures
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared
from keras_linreg.training.divergence.watch import Watch
from keras_linreg.training.loop.block_loop import BlockLoop
from keras_linreg.training.loop.placeholder import placeholder_dataset
from keras_linreg.training.loop.row_tensors import row_tensors
from keras_linreg.training.loop.settings import LoopSettings
from keras_linreg.training.loop.step_functions import StepFunctions

NO_BUFFERS = (None, None, None)  # for `x`, `y` and weights


class ArrayLoop(BlockLoop):
    """Runs blocks of steps on data in memory, without a copy of the user's array.

    A chunk is the rows of some steps. A thread brings the rows of the next chunk into the order of the epoch, and into
    floatx, while the steps of this chunk run. Rows of large steps are gathered inside the compiled block instead, from
    memory that is shared with the user's array: to copy them would take longer than to train on them.

    Args:
        functions: the compiled steps of the model.
        data: `x` of shape `(n, p)`, `y` of shape `(n,)` or `(n, units)`, weights of shape `(n,)` or `None`.
        batch_size: rows of a step; the last step of an epoch has the rest.
        shuffle: whether each epoch has an order of its own.
        block_steps: steps of a block.
        compiles: whether XLA compiles a block as a whole. If not, a block runs one step after the other.
        settings: the size of a chunk, and the size of the steps whose rows are gathered.

    Attributes:
        compiles: as above.
    """

    def __init__(
        self,
        functions: StepFunctions,
        data: Prepared,
        batch_size: int,
        shuffle: bool,
        block_steps: int,
        compiles: bool,
        settings: LoopSettings,
    ):
        super().__init__(functions, block_steps)
        self._row_count, self._batch_size, self.compiles = int(data.x.shape[0]), batch_size, compiles
        columns = int(data.x.shape[1])
        self._steps = -(-self._row_count // batch_size)
        self._full_steps = self._row_count // batch_size
        self._arrays = [None if part is None else row_tensors(part) for part in data.parts]
        self._chunk_steps = max(1, min(block_steps, self._full_steps, settings.chunk_numbers // (batch_size * columns)))
        self._shuffle = shuffle and self._steps > 1  # the rows of a single step have no order
        self._order: np.ndarray | None = None  # of the rows in this epoch; None: as they are
        fits_in_cache = not self._shuffle and self._row_count * columns <= settings.chunk_numbers
        gathers = compiles and batch_size * columns > settings.gather_above_numbers and not fits_in_cache
        self._shared_arrays = self._share_arrays() if gathers else None
        self._order_tensor = None if self._shared_arrays is None else tf.range(self._row_count)
        self._buffers: list[list[np.ndarray | None]] = []
        self._only_chunk: tuple | None = None  # kept if one chunk holds all rows, in their own order
        self._next_step = 0

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """The arguments of `fit` that let Keras count the steps of this loop."""
        return {
            "x": placeholder_dataset(),
            "y": None,
            "sample_weight": None,
            "batch_size": None,
            "shuffle": False,
            "steps_per_epoch": self._steps,
            **super().fit_arguments,
        }

    @property
    def evaluate_arguments(self) -> dict[str, Any]:
        """The arguments of `evaluate` that let Keras count the steps of this loop."""
        return {"x": placeholder_dataset(), "y": None, "sample_weight": None, "batch_size": None, "steps": self._steps}

    def begin_epoch(self) -> bool:
        """Return whether the next step is the first one of an epoch: its block resets the metrics."""
        return self._next_step == 0

    def run_next_block(self, iterator: Iterator, watch: Watch | None) -> dict[str, Any]:
        """Run the next block of the epoch, without Keras's iterator; return loss and metrics."""
        if self._next_step == 0 and self._shuffle:
            self._order = _draw_order(self._row_count)
            if self._shared_arrays is not None:
                self._order_tensor = tf.constant(self._order)
        first, count = self._next_step, min(self.block_steps, self._steps - self._next_step)
        self._next_step = (first + count) % self._steps
        self._run_watched_steps(first, count, watch)
        return self.logs

    def run_steps(self, first: int, count: int) -> dict[str, tf.Tensor]:
        """Run `count` steps from step `first` on; return loss and metrics since the epoch began."""
        if not self.compiles:
            return [self.run_step_without_xla(step) for step in range(first, first + count)][-1]
        end = min(first + count, self._full_steps)
        run_block = self.functions.block_of(self._batch_size).run
        if self._shared_arrays is not None and first < end:
            logs = run_block(self._shared_arrays, (first, end), reset=first == 0, order=self._order_tensor)
        else:
            for start, tensors in self._chunks(first, end):
                logs = run_block(tensors, (0, min(self._chunk_steps, end - start)), reset=start == 0)
        if end < first + count:  # the last step has fewer rows
            logs = self.functions.run_one_step(self._tensors(self._full_steps * self._batch_size, self._row_count))
        return logs

    def run_step_without_xla(self, step: int) -> dict[str, tf.Tensor]:
        """Run one step, without XLA; return loss and metrics since the epoch began."""
        if step == 0:
            self.functions.reset_metrics()
        start, end = step * self._batch_size, min((step + 1) * self._batch_size, self._row_count)
        return self.functions.run_one_step(self._tensors(start, end))

    def _share_arrays(self) -> tuple | None:
        """Return `x`, `y` and weights as tensors in the user's memory, or `None` if one of them cannot be shared."""
        shared = [None if array is None else array.shared_tensors() for array in self._arrays]
        if any(array and not pair for array, pair in zip(self._arrays, shared, strict=True)):
            return None
        return tuple(shared)

    def _chunks(self, first: int, end: int) -> Iterator[tuple[int, tuple]]:
        """Yield each chunk of the full steps from `first` to `end`: its first step, and its rows."""
        if self._order is None and self._chunk_steps == self._full_steps and first == 0:
            if self._only_chunk is None:
                self._only_chunk = self._chunk(0)
            yield 0, self._only_chunk
            return
        starts = range(first, end, self._chunk_steps)
        if len(starts) > 1:
            yield from self._chunks_read_ahead(starts)
        elif starts:
            yield first, self._chunk(first)

    def _chunks_read_ahead(self, starts: range) -> Iterator[tuple[int, tuple]]:
        """Yield each chunk while a thread fills the buffers of the next one."""
        if not self._buffers:
            rows = self._chunk_steps * self._batch_size
            self._buffers = [
                [None if array is None else array.new_buffer(rows) for array in self._arrays] for _ in range(2)
            ]
        buffers = itertools.cycle(self._buffers)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._chunk, starts[0], next(buffers))
            for start, following in itertools.zip_longest(starts, starts[1:]):
                tensors = coming.result()
                if following is not None:
                    coming = pool.submit(self._chunk, following, next(buffers))
                yield start, tensors

    def _chunk(self, first: int, buffers: Sequence[np.ndarray | None] = NO_BUFFERS) -> tuple:
        """Return the rows of the chunk that begins with step `first`, filled up to the size that is compiled."""
        size = self._batch_size
        return self._tensors(first * size, (first + self._chunk_steps) * size, buffers)

    def _tensors(self, start: int, end: int, buffers: Sequence[np.ndarray | None] = NO_BUFFERS) -> tuple:
        """Return `x`, `y` and weights of the rows from `start` to `end` in the order of the epoch."""
        rows = slice(start, min(end, self._row_count)) if self._order is None else self._order[start:end]
        pairs = zip(self._arrays, buffers, strict=True)
        return tuple(None if array is None else array.tensor(rows, end - start, buffer) for array, buffer in pairs)


def _draw_order(count: int) -> np.ndarray:
    """Return the numbers of rows in an order that follows the seed of TensorFlow, as the shuffle of Keras does.

    `tf.random.shuffle` would leave a kernel of 30 kB in the process for each call after `keras.utils.set_random_seed`.
    """
    seeds = [seed for seed in tf.compat.v1.get_seed(None) if seed is not None]
    return np.random.default_rng([seed % 2**64 for seed in seeds] or None).permutation(count).astype(np.int32)
