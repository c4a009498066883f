"""The one pass of an exact fit: what is done with each batch that Keras's loop draws, and at the end of the data."""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, Schema, block_size, dense_batch, is_stream, output_names, parts_of
from keras_linreg.inference.fitted_moments import Fit
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.moments import Moments, naming
from keras_linreg.moments.reduce import Statistics
from keras_linreg.solvers import least_squares, refine
from keras_linreg.training import loop
from keras_linreg.utils.warnings import warn_user

BATCH_NUMBERS = 2**25  # of a batch where the user names no size: large, and yet the progress bar moves
BATCH_HEIGHT = 64
ENOUGH_DIGITS = 13.0
FURTHER_LOOKS = 2
PROGRESS_SHARE = 0.1  # of the time may go into the loss that the progress bar shows


class OnePass:
    """Takes the batches of the first epoch into an accumulator, and gives the model their solution when it ends.

    The model is not touched before. Arrays in memory do not go through Keras's loop: it counts their batches.

    Args:
        model: the `ExactLinearRegression`.
        data: what is fitted.
        y: the targets as the user gave them, which may have names.
        batch_size: the user's.
        callbacks: the user's.
        verbose: the user's.
    """

    def __init__(self, model, data: Prepared, y, batch_size, callbacks, verbose):
        self.model = model
        self.data = data
        self.aside = False  # whether the model's metrics are somebody else's for a moment
        self.was_restored = False  # moments came from a backup while callbacks began
        self.loss = 0.0
        self._output_names = output_names(y, model.units)
        self._rows = None if is_stream(data.x) else batch_rows(data, batch_size)
        self._part = None if self._rows is None else parts_of(data, self._rows)
        self._accumulator: Accumulator | None = None
        self._fit: Fit | None = None  # the final one
        self._has_metrics = False
        self._every_batch = loop.watch_batches(callbacks, kinds=("", "train_"))
        self._shown = verbose in ("auto", 1, True)
        self._next_look = 0.0
        self._batches = 0
        self._checked = False

    def batches(self):
        """Return what Keras is to iterate over: a stream itself, of arrays the numbers of the batches."""
        if self._rows is None:
            return self.data.x
        numbers = _counting(-(-int(self.data.x.shape[0]) // self._rows))
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        # A strategy cuts a batch into one part for each replica: one of them gets the number.
        return numbers if replicas == 1 else numbers.map(lambda i: tf.concat([[i], -tf.ones(replicas - 1, i.dtype)], 0))

    def take(self, batch) -> None:
        """Take one batch; after the first epoch, for metrics alone."""
        if not self._checked:
            self._begin()
        self._batches += self._fit is None
        for part in self._local(batch):
            x, y, weight = dense_batch(part) if self._part is None else self._part(int(part))
            if not len(x):
                continue
            if self._fit is None:
                self._add(x, y, weight)
            if self._has_metrics:
                self._measure(x, y, weight)

    def logs(self) -> dict:
        """Return loss and metrics of the rows so far; the loss is looked at only where somebody sees it."""
        if self._fit is None and self._accumulator is not None:
            began = time.monotonic()
            if self._every_batch or (self._shown and began >= self._next_look):
                so_far = self._so_far()
                self.loss = so_far.mean_squared_error if so_far else 0.0
                now = time.monotonic()
                self._next_look = now + (now - began) / PROGRESS_SHARE
        if not self._has_metrics:
            return {"loss": self.loss}
        with self.set_aside():
            return {**self.model.get_metrics_result(), "loss": self.loss}

    def finish(self) -> None:
        """Solve, and give the model its weights and moments; once."""
        if self._fit is not None:
            return
        if self._accumulator is None:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        accumulator = self._accumulator
        with naming(self.model.feature_names, self._output_names):
            fit = self._polished(self._fit_of(accumulator.result()))
        least_squares.warn(fit.solution)
        everything = self._part is not None and accumulator.rows == int(self.data.x.shape[0])
        if self.model.stop_training and not everything:
            warn_user(
                f"A callback stopped the fit in its first epoch: it is the fit of the {accumulator.rows} rows so far."
            )
        self.model._take(fit)
        self._accumulator = None
        self._end(fit)

    @property
    def finished(self) -> bool:
        """Whether the data have ended, and the model is their solution."""
        return self._fit is not None

    @contextlib.contextmanager
    def set_aside(self) -> Iterator[None]:
        """Leave the model's metrics to somebody else for a moment: an evaluation, an update."""
        was, self.aside = self.aside, True
        try:
            yield
        finally:
            self.aside = was

    def _begin(self) -> None:
        self._checked = True
        self._has_metrics = len(self.model.metrics) > 1
        # Only BackupAndRestore sets an epoch to begin with; it has put back what the first epoch left.
        if self.was_restored and self.model._initial_epoch:
            self._end(self.model._fit)

    def _end(self, fit: Fit) -> None:
        self._fit, self.loss = fit, fit.solution.mean_squared_error

    def _local(self, batch) -> list:
        """Return the batches of each replica."""
        if self.model.distribute_strategy.num_replicas_in_sync == 1:
            return [batch]
        local = self.model.distribute_strategy.experimental_local_results
        if self._part is not None:
            return [number for replica in local(batch) for number in replica.numpy() if number >= 0]
        return list(zip(*(local(part) for part in batch), strict=True))

    def _add(self, x, y, weight) -> None:
        if self._accumulator is None:
            if not self.model.built:  # a dataset that did not tell its width
                self.model._adopt(Schema.of_matrix(x.shape[1], self.model._given_names))
            self._accumulator = Accumulator(x.shape[1], self.model.units)
        with naming(self.model.feature_names, self._output_names):
            self._accumulator.update(x, y, weight)

    def _so_far(self) -> least_squares.Solution | None:
        """Return the solution of the rows so far, `None` while all their weights are 0."""
        assert self._accumulator is not None  # some rows have been added
        with naming(self.model.feature_names, self._output_names):
            statistics = self._accumulator.so_far()
        return self._fit_of(statistics).solution if statistics.nobs else None

    def _fit_of(self, statistics: Statistics) -> Fit:
        model = self.model
        assert self._accumulator is not None
        moments = Moments.of(self._accumulator, statistics, model.feature_names, self._output_names)
        return Fit(moments, model._l2, model.dependent, model.use_bias)

    def _polished(self, fit: Fit) -> Fit:
        """Return the fit after as many further looks at the data as pay, where they can be read again."""
        reads_once = self._part is None and not isinstance(self.data.x, tf.data.Dataset | keras.utils.PyDataset)
        if reads_once or self.model._l2 or not self.model.use_bias or fit.moments.statistics.exact:
            return fit
        last = 1.0
        for _ in range(FURTHER_LOOKS):
            statistics, solution = fit.moments.statistics, fit.solution
            if solution.digits >= ENOUGH_DIGITS or (~solution.kept & ~statistics.constant[: len(solution.kept)]).any():
                break
            try:
                found, step = refine.look(statistics, solution, self._again())
            except refine.OtherData:
                warn_user(
                    "A second look at the data, for the last digits, did not bring back the same rows (are they "
                    "augmented, or shuffled under steps_per_epoch?); it was discarded."
                )
                break
            amplified = least_squares.amplified(solution.condition_number, solution.unexplained)
            shrinks = step / last if last < 1.0 else min(1.0, 2.0**-53 * amplified)
            error = min(max(step * shrinks, 2.0**-53), step) / amplified
            fit, last = self._fit_of(dataclasses.replace(found, error=min(error, statistics.error))), step
        return fit

    def _again(self) -> Iterator[tuple]:
        """Yield the batches of the first epoch once more."""
        if self._part is not None:
            yield from (self._part(number) for number in range(self._batches))
        else:
            for _, *batch in itertools.islice(self.data.again(), self._batches):
                # What a PyDataset hands out may be one array again and again, and blocks are read ahead.
                yield tuple(None if part is None else part.copy() for part in dense_batch(tuple(batch)))

    def _measure(self, x, y, weight) -> None:
        solution = self._so_far() if self._fit is None else self._fit.solution
        if solution is None:
            return
        y_pred = x.astype(np.float64) @ solution.kernel
        y_pred = y_pred if solution.bias is None else y_pred + solution.bias
        with self.set_aside():
            self.model.compute_metrics(x, y.astype(np.float64), y_pred, weight)


@functools.lru_cache(maxsize=8)
def _counting(end: int) -> tf.data.Dataset:
    """Return the dataset of the numbers below `end`; to make one takes as long as to reduce some 50,000 rows."""
    options = tf.data.Options()
    options.autotune.enabled = False  # a thread that a range does not need, and that takes its time to end
    return tf.data.Dataset.range(end).with_options(options)


def batch_rows(data: Prepared, batch_size) -> int:
    """Return the rows of a batch of arrays: the user's number, or a large one."""
    if batch_size is not None:
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
            raise ValueError(f"`batch_size` must be a positive integer. Received: batch_size={batch_size!r}.")
        return int(batch_size)
    columns = int(data.x.shape[1])
    return max(1, min(block_size(data), max(BATCH_NUMBERS // columns, BATCH_HEIGHT * columns)))
