"""The one pass of a fit: what happens to each batch that Keras's loop draws, and at the end of the data."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, default_output_names
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.row_order import RowOrder
from keras_linreg.models.pass_batches import PassBatches
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.checks import naming_columns
from keras_linreg.moments.moments import Moments
from keras_linreg.moments.sparse_rows import written_out
from keras_linreg.solvers.refine import refine
from keras_linreg.solvers.solution import Solution
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.training import loop
from keras_linreg.utils import keras_compat
from keras_linreg.utils.threads import limit_threads
from keras_linreg.utils.warnings import warn_user

PROGRESS_SHARE = 0.1  # of the time may be spent on the loss that the progress bar shows


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

    Until then the model keeps its weights.

    Args:
        model: to be fitted.
        data: to fit it on.
        batch_size, callbacks, verbose, steps_per_epoch: the user's.

    Attributes:
        metrics_are_lent: whether an evaluation, or an update of the pass's own, uses the model's metrics now.
        was_restored: whether a callback restored the moments of an earlier fit while this one began.
        loss: the mean squared error of the solution so far.
        source: the batches.
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
        self.source = PassBatches(data, batch_size, model.distribute_strategy)
        self._accumulator: Accumulator | None = None
        self._order = RowOrder()
        self._fitted: FittedMoments | None = None  # once the data have ended
        self._has_metrics = False
        self._every_batch = loop.watch_single_batches(callbacks, kinds=("", "train_"))
        self._shows_progress = verbose in ("auto", 1, True)
        self._next_progress = 0.0
        self._batches = 0
        self._has_begun = False
        self._is_exhausted = False
        self._batches_of_epoch = steps_per_epoch or self.source.count

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

    def take(self, batch: Any) -> None:
        """Take one batch; after the first epoch, only to update metrics.

        Raises:
            EndOfFiles: the files have no more batches.
        """
        if not self._has_begun:
            self._begin()
        parts = list(self.source.arrays_of(batch))
        self._batches += self._fitted is None
        for x, y, weight in parts:
            if not x.shape[0]:
                continue
            if self._fitted is None:
                self._add(x, y, weight)
            if self._has_metrics:
                for rows in written_out((x, y, weight)):
                    self._update_metrics(*rows)

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
        is_complete = self.source.in_memory and accumulator.rows == int(self.data.x.shape[0])
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

    def _add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> None:
        if self._accumulator is None:
            if not self.model.built:  # a dataset that did not tell its width
                self.model.adopt_matrix(x.shape[1])
            self._accumulator = self.model.new_accumulator(x.shape[1])
        names = naming_columns(self.model.feature_names, self._output_names, self.data)
        with names, limit_threads(self.source.pace.threads):
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
        missing = self.data.missing_rows(self._accumulator.rows, max(self._batches, self.source.batches_read))
        moments = Moments.of(self._accumulator, statistics, *names, missing)
        return self.model.solve_pass(self._accumulator, moments, self._order, is_final)

    def _refined(self, fitted: FittedMoments) -> FittedMoments:
        """Return the fit with the digits that further looks bring, if the data can be read again and need them."""
        statistics = fitted.moments.statistics
        if (
            not self.source.reads_again
            or not fitted.penalty.is_zero
            or not fitted.use_bias
            or statistics.is_double_double
        ):
            return fitted

        def solve(candidate: Statistics) -> FittedMoments:
            solved = self._solve(candidate, is_final=True)
            assert solved is not None  # all rows do
            return solved

        def solution(candidate: Statistics) -> Solution:
            return fitted.solution if candidate is statistics else solve(candidate).solution

        refined = refine(statistics, solution, lambda: self.source.again(self._batches))
        return fitted if refined is statistics else solve(refined)

    def _update_metrics(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> None:
        fitted = self._fitted_so_far() if self._fitted is None else self._fitted
        if fitted is None:
            return
        y_pred = fitted.predict(x)
        with self.lending_metrics():
            self.model.compute_metrics(x, y.astype(np.float64), y_pred, weight)
