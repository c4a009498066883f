"""What every loop has: blocks of steps, and the very step at which a block went astray."""

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.training.loop.functions import Functions

CHUNK = 2**19  # numbers of the rows that are trained on at a time: they stay in the cache


class Loop(abc.ABC):
    """Takes the steps of one fit, or of its evaluations, a block of them at each call.

    Args:
        functions: that take the steps.
        block: steps of a call, as Keras counts them.
    """

    def __init__(self, functions: Functions, block: int):
        self.functions, self.block = functions, block
        self.evaluation: Loop | None = None  # what takes the steps of the evaluations between epochs
        self.logs: dict[str, Any] = {}
        self._begun = False
        self.aside = False  # whether the model's metrics are an evaluation's for a moment
        self.given: dict[str, Any] = {}  # what Keras is to iterate over instead of the data,
        self.options: dict[str, Any] = {}  # and how

    @property
    def validation(self) -> dict[str, Any]:
        """What Keras is to validate on instead of the data: one step, in which the evaluation takes all of its own."""
        return {} if self.evaluation is None else {"validation_data": self.evaluation.given["x"], "validation_steps": 1}

    @abc.abstractmethod
    def begin_epoch(self) -> bool:
        """Be told of an epoch's begin, or of a callback that resets the metrics; return whether the next step does."""

    @abc.abstractmethod
    def take(self, watch, iterator: Iterator) -> dict[str, Any]:
        """Take the next block; return loss and metrics since the epoch began.

        Args:
            watch: a `divergence.Watch`, which is shown the very step at which the loss stops being finite; or `None`.
            iterator: Keras's.

        Raises:
            StopIteration: where a stream has ended.
        """

    @abc.abstractmethod
    def _take(self, first: int, count: int) -> dict[str, tf.Tensor]:
        """Take steps from one on; return loss and metrics since the epoch began."""

    @abc.abstractmethod
    def _take_one(self, step: int) -> dict[str, tf.Tensor]:
        """Take one step without the compiler; return loss and metrics since the epoch began."""

    def _take_watched(self, watch, first: int, count: int) -> None:
        """Take steps; once more where the loss is not finite after them.

        Then they are taken one by one, and without the compiler: XLA makes NaN of some gradients at 0 that TensorFlow
        has (of roots, of norms).
        """
        if watch is None:
            self._note(self._take(first, count))
            return
        kept = watch.before_block(count)
        self._note(self._take(first, count))
        if not np.isfinite(self.logs["loss"]) or not self._has_begun_well(watch):
            watch.rewind(kept)
            for step in range(first, first + count):
                watch.before_block(1)
                self._note(self._take_one(step))
                watch.after_step(self.logs)
        watch.after_step(self.logs)

    def _has_begun_well(self, watch) -> bool:
        """Return whether the weights are finite after the first block, where they have left 0; later the loss tells."""
        begun, self._begun = self._begun, True
        return begun or all(bool(tf.reduce_all(tf.math.is_finite(weight.value))) for weight in watch.weights)

    def _note(self, logs: dict[str, tf.Tensor]) -> None:
        self.logs = {name: float(value) if value.shape.rank == 0 else value.numpy() for name, value in logs.items()}
