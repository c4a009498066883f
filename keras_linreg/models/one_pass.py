"""The one pass of a fit: what happens to each batch that Keras's loop draws, and at the end of the data."""

import contextlib
import functools
import itertools
import time
from collections.abc import Iterator
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import CellMatrix, Prepared, Rows, SparseRows, Stream, default_output_names
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.row_order import RowOrder
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.checks import naming_columns
from keras_linreg.moments.moments import Moments
from keras_linreg.moments.sparse_rows import batches_by_number, written_out
from keras_linreg.solvers.refine import refine
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.training import loop
from keras_linreg.utils import keras_compat
from keras_linreg.utils.types import Batch
from keras_linreg.utils.warnings import warn_user

BATCH_NUMBERS = 2**25  # of a batch if the user names no size: large, and yet the progress bar moves
BATCH_HEIGHT = 64
PROGRESS_SHARE = 0.1  # of the time may be spent on the loss that the progress bar shows


class EndOfFiles(Exception):
    """The files have no more batches."""


class ModelOfPass(Protocol):
    """What a pass needs to know of its model, and what it does to it."""

    units: int
    built: bool
    stop_training: bool
    feature_names: list[str]
    metrics: list[keras.Metric]
    fitted: FittedMoments | None
    distribute_strategy: tf.distribute.Strategy

    def adopt_matrix(self, width: int) -> None:
        """Build the model on matrices of so many columns."""

    def new_accumulator(self, features: int) -> Accumulator:
        """Return what takes the batches."""

    def solve_pass(
        self, accumulator: Accumulator, moments: Moments, order: RowOrder | None, is_final: bool
    ) -> FittedMoments | None:
        """Return the moments of an accumulator solved; None if so few rows do not do."""

    def set_fitted(self, fitted: FittedMoments) -> None:
        """Set the weights to the solution of moments."""

    def get_metrics_result(self) -> dict[str, Any]:
        """Return loss and metrics."""

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the metrics."""


class OnePass:
    """Takes the batches of the first epoch into an accumulator, and gives the model their solution when it ends.

    Until then the model keeps its weights. Arrays in memory do not go through Keras's loop: it counts their batches.

    Args:
        model: to be fitted.
        data: to fit it on.
        batch_size, callbacks, verbose, steps_per_epoch: the user's.

    Attributes:
        metrics_are_lent: whether an evaluation, or an update of the pass's own, uses the model's metrics now.
        was_restored: whether a callback restored the moments of an earlier fit while this one began.
        loss: the mean squared error of the solution so far.
    """

    def __init__(
        self,
        model: ModelOfPass,
        data: Prepared,
        batch_size: int | None,
        callbacks: Any,
        verbose: str | int,
        steps_per_epoch: int | None = None,
    ):
        self.model = model
        self.data = data
        self.metrics_are_lent = False
        self.was_restored = False
        self.loss = 0.0
        self._output_names = data.output_names or default_output_names(model.units)
        self._rows = batch_rows(data, batch_size) if isinstance(data, Rows) else None
        self._batch_of = batches_by_number(data, self._rows) if isinstance(data, Rows) and self._rows else None
        has_parts = isinstance(data, Stream) and model.distribute_strategy.num_replicas_in_sync == 1
        self._open_parts = data.in_parts if has_parts and isinstance(data, Stream) else None
        self._parts: Iterator[list[Batch]] = iter(())  # of the present epoch
        self._accumulator: Accumulator | None = None
        self._order = RowOrder()
        self._fitted: FittedMoments | None = None  # once the data have ended
        self._has_metrics = False
        self._every_batch = loop.watch_single_batches(callbacks, kinds=("", "train_"))
        self._shows_progress = verbose in ("auto", 1, True)
        self._next_progress = 0.0
        self._batches = self._parts_read = 0
        self._has_begun = False
        self._is_exhausted = False
        self._batches_of_epoch = steps_per_epoch or self._number_of_batches()

    @property
    def is_finished(self) -> bool:
        """Whether the data have ended, and the model has their solution."""
        return self._fitted is not None

    @property
    def has_open_data(self) -> bool:
        """Whether rows wait for the end of their data."""
        return self._accumulator is not None

    @property
    def data_have_ended(self) -> bool:
        """Whether Keras draws no more batches in the first epoch."""
        is_complete = self._batches_of_epoch is not None and self._batches >= self._batches_of_epoch
        return self._is_exhausted or is_complete or self.model.stop_training

    def end_data(self) -> None:
        """Take note that the iterator has no more batches."""
        self._is_exhausted = True

    def _number_of_batches(self) -> int | None:
        """Return the number of batches of an epoch, or None if only its end tells."""
        if self._rows is not None:
            return -(-int(self.data.x.shape[0]) // self._rows)
        if isinstance(self.data.x, keras.utils.PyDataset):
            return self.data.x.num_batches
        cardinality = int(self.data.x.cardinality()) if isinstance(self.data.x, tf.data.Dataset) else -1
        return cardinality if cardinality >= 0 else None

    def batches(self) -> Any:
        """Return what Keras iterates over: a stream itself; for arrays and files, the numbers of their batches."""
        if self._open_parts is not None:
            count = self._number_of_batches()
            return _counting(2**62).filter(lambda _: True) if count is None else _counting(count)
        if self._rows is None:
            return self.data.x
        numbers = _counting(self._number_of_batches())
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        # A strategy cuts a batch into one part for each replica: one of them gets the number.
        return numbers if replicas == 1 else numbers.map(lambda i: tf.concat([[i], -tf.ones(replicas - 1, i.dtype)], 0))

    def take(self, batch: Any) -> None:
        """Take one batch; after the first epoch, only to update metrics.

        Raises:
            EndOfFiles: the files have no more batches.
        """
        if not self._has_begun:
            self._begin()
        parts = list(self._arrays_of(batch))
        self._batches += self._fitted is None
        for x, y, weight in parts:
            if not x.shape[0]:
                continue
            if self._fitted is None:
                self._add(x, y, weight)
            if self._has_metrics:
                for rows in written_out((x, y, weight)):
                    self._update_metrics(*rows)

    def _arrays_of(self, batch: Any) -> Iterator[Batch]:
        """Yield the parts of what Keras has drawn: a batch of each replica, or the number of a batch."""
        if self._open_parts is not None:
            if int(batch) == 0:
                self._parts = self._open_parts()
            parts = next(self._parts, None)
            if parts is None:
                raise EndOfFiles
            yield from parts
            return
        for part in self._batches_of_replicas(batch):
            yield self._dense(part) if self._batch_of is None else self._batch_of(int(part))

    def logs(self, with_new_loss: bool = False) -> dict[str, Any]:
        """Return loss and metrics of the rows so far.

        Args:
            with_new_loss: whether to compute the loss in any case; otherwise it is computed only if somebody sees it.
        """
        if self._fitted is None and self._accumulator is not None:
            began = time.monotonic()
            is_due = self._shows_progress and began >= self._next_progress
            if with_new_loss or self._every_batch or is_due:
                fitted = self._fitted_so_far()
                self.loss = fitted.solution.mean_squared_error if fitted else 0.0
                now = time.monotonic()
                self._next_progress = now + (now - began) / PROGRESS_SHARE
        if not self._has_metrics:
            return {"loss": self.loss}
        with self.lending_metrics():
            return {**self.model.get_metrics_result(), "loss": self.loss}

    def finish(self) -> None:
        """Solve the moments, and give the model its weights; once."""
        if self._fitted is not None:
            return
        if self._accumulator is None:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        accumulator = self._accumulator
        with naming_columns(self.model.feature_names, self._output_names, self.data):
            solved = self._solve(accumulator.result(), is_final=True)
            assert solved is not None  # all rows do
            fitted = self._refined(solved)
        fitted.solution.warn()
        is_complete = self._batch_of is not None and accumulator.rows == int(self.data.x.shape[0])
        if self.model.stop_training and not is_complete:
            warn_user(
                f"A callback stopped the fit in its first epoch: it is the fit of the {accumulator.rows} rows so far."
            )
        self.model.set_fitted(fitted)
        self._accumulator = None
        self._end(fitted)

    @contextlib.contextmanager
    def lending_metrics(self) -> Iterator[None]:
        """Lend the model's metrics for a moment, to an evaluation or to an update: the pass leaves them alone."""
        before, self.metrics_are_lent = self.metrics_are_lent, True
        try:
            yield
        finally:
            self.metrics_are_lent = before

    def _begin(self) -> None:
        self._has_begun = True
        self._has_metrics = len(self.model.metrics) > 1
        # BackupAndRestore alone sets an initial epoch. Then it has restored the result of the first epoch, too.
        if self.was_restored and keras_compat.initial_epoch(self.model):
            assert self.model.fitted is not None  # `was_restored` says so
            self._end(self.model.fitted)

    def _end(self, fitted: FittedMoments) -> None:
        self._fitted, self.loss = fitted, fitted.solution.mean_squared_error

    def _batches_of_replicas(self, batch: Any) -> list[Any]:
        """Return each replica's batch, or the numbers of batches of arrays."""
        if self.model.distribute_strategy.num_replicas_in_sync == 1:
            return [batch]
        local = self.model.distribute_strategy.experimental_local_results
        if self._batch_of is not None:
            return [number for replica in local(batch) for number in replica.numpy() if number >= 0]
        return list(zip(*(local(part) for part in batch), strict=True))

    def _dense(self, batch: Any) -> Batch:
        """Return a batch of a stream as arrays, and count it."""
        assert isinstance(self.data, Stream)  # rows in memory come by number
        self._parts_read += 1
        return self.data.dense(batch, self._parts_read - 1)

    def _add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> None:
        if self._accumulator is None:
            if not self.model.built:  # a dataset that did not tell its width
                self.model.adopt_matrix(x.shape[1])
            self._accumulator = self.model.new_accumulator(x.shape[1])
        with naming_columns(self.model.feature_names, self._output_names, self.data):
            self._accumulator.update(x, y, weight)
        self._order.add(x, y, weight)

    def _fitted_so_far(self) -> FittedMoments | None:
        """Return the solved moments of the rows so far, or None while all their weights are 0."""
        assert self._accumulator is not None  # some rows have been added
        with naming_columns(self.model.feature_names, self._output_names, self.data):
            statistics = self._accumulator.so_far()
        return self._solve(statistics) if statistics.nobs else None

    def _solve(self, statistics: Statistics, is_final: bool = False) -> FittedMoments | None:
        assert self._accumulator is not None
        names = self.model.feature_names, self._output_names
        missing = self.data.missing_rows(self._accumulator.rows, max(self._batches, self._parts_read))
        moments = Moments.of(self._accumulator, statistics, *names, missing)
        return self.model.solve_pass(self._accumulator, moments, self._order, is_final)

    def _refined(self, fitted: FittedMoments) -> FittedMoments:
        """Return the fit with the digits that further looks bring, if the data can be read again and need them."""
        reads_once = self._batch_of is None and not isinstance(self.data.x, tf.data.Dataset | keras.utils.PyDataset)
        statistics = fitted.moments.statistics
        if reads_once or not fitted.penalty.is_zero or not fitted.use_bias or statistics.is_double_double:
            return fitted

        def solve(candidate: Statistics) -> FittedMoments:
            solved = self._solve(candidate, is_final=True)
            assert solved is not None  # all rows do
            return solved

        refined = refine(statistics, lambda candidate: solve(candidate).solution, self._read_again)
        return fitted if refined is statistics else solve(refined)

    def _read_again(self) -> Iterator[Batch]:
        """Yield the batches of the first epoch once more."""
        if self._batch_of is not None:
            for number in range(self._batches):
                yield from written_out(self._batch_of(number))
        elif self._open_parts is not None:
            for parts in itertools.islice(self._open_parts(), self._batches):
                for part in parts:
                    yield from written_out(part)
        else:
            assert isinstance(self.data, Stream)
            for number, (_, *batch) in enumerate(itertools.islice(self.data.again(), self._batches)):
                # A PyDataset may return the same array again and again, and blocks are read ahead.
                yield tuple(None if p is None else p.copy() for p in self.data.dense(tuple(batch), number))

    def _update_metrics(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> None:
        fitted = self._fitted_so_far() if self._fitted is None else self._fitted
        if fitted is None:
            return
        y_pred = fitted.predict(x)
        with self.lending_metrics():
            self.model.compute_metrics(x, y.astype(np.float64), y_pred, weight)


@functools.lru_cache(maxsize=8)
def _counting(end: int) -> tf.data.Dataset:
    """Return the dataset of the numbers below `end`; to make one takes as long as to reduce some 50,000 rows."""
    options = tf.data.Options()
    options.autotune.enabled = False  # a range does not need the thread, which takes time to end
    return tf.data.Dataset.range(end).with_options(options)


def batch_rows(data: Rows, batch_size: Any) -> int:
    """Return the rows of a batch of arrays: the user's number, or a large one."""
    if batch_size is not None:
        return int(batch_size)
    if isinstance(data, SparseRows):
        return max(1, data.count)
    columns = len(data.x.parts) + 1 if isinstance(data.x, CellMatrix) else int(data.x.shape[1])
    return max(1, min(data.block_size, max(BATCH_NUMBERS // columns, BATCH_HEIGHT * columns)))
