"""BlockLoop: runs blocks of steps, and finds the step at which a block diverged."""

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.training.divergence.watch import Watch
from keras_linreg.training.loop.step_functions import StepFunctions


class BlockLoop(abc.ABC):
    """Runs the steps of one fit, or of its evaluations, a block of steps in each call.

    Keras's own loop counts the epochs and calls the callbacks. Instead of a step, it calls `run_next_block`.

    Args:
        functions: the compiled steps of the model.
        block_steps: the steps of a block, as Keras counts them.

    Attributes:
        validation_loop: the loop of the evaluations between epochs, or `None` if Keras runs them.
        logs: loss and metrics since the epoch began.
        is_suspended: whether Keras runs an evaluation between epochs now, with the model's own metrics.
    """

    def __init__(self, functions: StepFunctions, block_steps: int):
        self.functions, self.block_steps = functions, block_steps
        self.validation_loop: BlockLoop | None = None
        self.logs: dict[str, Any] = {}
        self.is_suspended = False
        self._has_begun = False

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """The arguments of `fit` that this loop replaces, because it reads the data itself."""
        if self.validation_loop is None:
            return {}
        # Keras counts one step, in which the validation loop runs all steps.
        return {"validation_data": self.validation_loop.fit_arguments["x"], "validation_steps": 1}

    @abc.abstractmethod
    def begin_epoch(self) -> bool:
        """Prepare for an epoch, or for metrics that a callback resets; return whether the next block resets them."""

    @abc.abstractmethod
    def run_next_block(self, iterator: Iterator, watch: Watch | None) -> dict[str, Any]:
        """Run the next block of the epoch; return loss and metrics since the epoch began.

        Args:
            iterator: Keras's iterator over the data.
            watch: the watch over the weights; it sees the first step with a loss that is not finite.

        Raises:
            StopIteration: a stream has ended.
        """

    @abc.abstractmethod
    def run_steps(self, first: int, count: int) -> dict[str, tf.Tensor]:
        """Run `count` steps from step `first` on, compiled; return loss and metrics since the epoch began."""

    @abc.abstractmethod
    def run_step_without_xla(self, step: int) -> dict[str, tf.Tensor]:
        """Run one step, without XLA; return loss and metrics since the epoch began."""

    def _run_watched_steps(self, first: int, count: int, watch: Watch | None) -> None:
        """Run steps and set `logs`; if the loss is not finite after them, rewind and run them one by one.

        The second run is without XLA: for some functions (roots, norms) XLA computes a gradient of NaN at 0, but
        TensorFlow a finite one.
        """
        if watch is None:
            self._set_logs(self.run_steps(first, count))
            return
        state = watch.before_block(count)
        self._set_logs(self.run_steps(first, count))
        if not np.isfinite(self.logs["loss"]) or not self._first_block_is_finite(watch):
            watch.rewind(state)
            for step in range(first, first + count):
                watch.before_block(1)
                self._set_logs(self.run_step_without_xla(step))
                watch.after_step(self.logs)
        watch.after_step(self.logs)

    def _first_block_is_finite(self, watch: Watch) -> bool:
        """Return whether the first block, in which the weights leave 0, left them finite; true for later blocks.

        After the first block, the loss of the next one shows a weight that is not finite.
        """
        has_begun, self._has_begun = self._has_begun, True
        return has_begun or all(bool(tf.reduce_all(tf.math.is_finite(weight.value))) for weight in watch.weights)

    def _set_logs(self, logs: dict[str, tf.Tensor]) -> None:
        self.logs = {name: float(value) if value.shape.rank == 0 else value.numpy() for name, value in logs.items()}
