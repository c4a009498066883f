"""DriftMonitor: watches new rows, and compares them with the rows of a fit, by moments alone."""

import contextlib
from typing import Any, Self

from keras_linreg.data import Schema, preprocessor_columns
from keras_linreg.drift import monitor_bytes
from keras_linreg.drift.column_tests import column_drifts
from keras_linreg.drift.fit import Fit, MonitoredModel
from keras_linreg.drift.joint_tests import covariance_change, hotelling, mean_leverage
from keras_linreg.drift.outcome_tests import outcome_drifts
from keras_linreg.drift.reading import RowReader
from keras_linreg.drift.report import DriftReport
from keras_linreg.drift.seen import Seen, see_moments, see_rows
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.moments.checks import NotFinite, naming_columns
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.types import Batch, Data


class DriftMonitor:
    """Watches the rows that a model is asked about, and tells whether they are still like the rows of its fit.

    It keeps moments, and no row: its size does not depend on the number of rows. Monitors of one fit add up, over
    servers and days, and travel as bytes. From `Moments` it needs neither Keras nor TensorFlow.

    Each test's null hypothesis is that the new rows are drawn from the population of the fit's rows, which are a sample
    as well. The report gives a p-value only where the test holds its level of 5 % for such columns and so many rows;
    elsewhere it says why not, and how many rows would do.

    Args:
        fit: a fitted `ExactLinearRegression` or `ElasticNetRegression`, whose names and preprocessor the new rows are
            read by; or `Moments`, solved by least squares with an intercept.

    Raises:
        ValueError: `fit` has no moments. A model trained by gradient descent has none: give
            `Moments.from_data(x, y)` of its data.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(1000, 2))
    >>> monitor = klr.DriftMonitor(klr.Moments.from_data(x, x.sum(axis=1) + rng.normal(size=1000)))
    >>> monitor.update(rng.normal(size=(500, 2)) + [0, 0.5])
    >>> report = monitor.report()
    >>> [column.name for column in report.columns if column.shift_pvalue_holm < 0.01]
    ['x1']
    """

    def __init__(self, fit: MonitoredModel | Moments):
        if isinstance(fit, Moments):
            self._start(Fit.of(FittedMoments(fit)), preprocessor_columns.declared_schema(None, fit.feature_names), None)
            return
        fitted = getattr(fit, "fitted", None)
        if not isinstance(fitted, FittedMoments):
            what = "a model that is not fitted" if hasattr(fit, "fitted") else type(fit).__name__
            raise ValueError(
                "`fit` must be a fitted ExactLinearRegression or ElasticNetRegression, or Moments. Of a model that was "
                f"trained by gradient descent, give Moments.from_data(x, y) of its data. Received: {what}."
            )
        self._start(Fit.of(fitted), fit.schema, fit.preprocessor)

    def _start(self, fit: Fit, schema: Schema | None, preprocessor: Any) -> None:
        if not fit.moments.feature_names or not fit.moments.nobs:
            raise ValueError("`fit` must have at least one feature, and rows. Received: none.")
        constant = fit.moments.statistics.constant
        self._fit = fit
        self._reader: RowReader | None = RowReader(fit.moments.output_names, schema, preprocessor, constant)
        self._seen = Seen.nothing(*fit.kernel.shape)

    def update(self, x: Data, y: Data = None, sample_weight: Data = None) -> None:
        """Take new rows. If an error ends it, the monitor is as it was before.

        Rows without a value, and rows with a category that a formula does not know and cannot take, are counted and
        left out. Batches of some thousand rows take the least time for each row.

        Args:
            x: what `predict` takes: arrays, tables, dicts of columns, files; or a stream of batches `x`, `(x, y)` or
                `(x, y, sample_weight)`. Columns with names are matched by them, in any order.
            y: the outcomes, `(n,)` or `(n, k)`, or the name of a column; NaN where they are not known yet (of a row
                all outputs are known, or none counts). None: none is known. A formula takes them from `x`, if it has
                the columns.
            sample_weight: array `(n,)`, finite and not negative, or the name of a column.

        Raises:
            ValueError: the columns are not those of the fit, a number is infinite, or lengths differ.
        """
        if self._reader is None:
            raise ValueError(
                "This monitor came out of bytes, and its model has a preprocessor: rows are read by it. Give the model "
                "to `DriftMonitor.from_bytes(data, model)`. `update_moments`, `+` and `report` do without."
            )
        new = Seen.nothing(*self._fit.kernel.shape)
        for batch in self._reader.batches(x, y, sample_weight):
            new += self._see(self._reader, batch)
        self._seen += new

    def _see(self, reader: RowReader, batch: Batch) -> Seen:
        """Return what a batch tells; it is read once more if it turns out to have missing values."""
        fit = self._fit.moments
        for drops in (False, True):
            rows = reader.read(batch, drops)
            new = Seen.nothing(*self._fit.kernel.shape)
            try:
                with naming_columns(fit.feature_names, fit.output_names) if drops else contextlib.nullcontext():
                    if rows.batch[0].shape[0]:
                        new = see_rows(self._fit, rows.batch, rows.known)
            except NotFinite:
                continue
            break
        return new.counting(rows.missing, rows.unseen)

    def update_moments(self, moments: Moments) -> None:
        """Take the moments of new rows with their outcomes, such as `klr.spark.moments` or `Moments.from_arrow` return.

        Moments tell means and covariances. Tests of variances need fourth moments as well, which only rows tell.

        Args:
            moments: of the features and outputs of the fit, in any order.

        Raises:
            ValueError: the features or outputs are others.
        """
        if not isinstance(moments, Moments):
            raise ValueError(f"`moments` must be keras_linreg.Moments. Received: {type(moments).__name__}.")
        fit = self._fit.moments
        for what in ("feature_names", "output_names"):
            expected, given = getattr(fit, what), getattr(moments, what)
            if set(expected) != set(given):
                raise ValueError(f"`moments` must have the {what} {list(expected)}. Received: {list(given)}.")
        self._seen += see_moments(self._fit, moments.select(fit.feature_names, fit.output_names))

    def __add__(self, other: "DriftMonitor") -> "DriftMonitor":
        """Return a monitor that has seen the rows of both.

        Raises:
            ValueError: they watch the rows of different fits.
        """
        if not isinstance(other, DriftMonitor):
            return NotImplemented
        if self.fingerprint != other.fingerprint:
            raise ValueError(
                "Monitors can be added where they compare with the same fit: the same moments, solved alike. "
                f"Received: fits {self.fingerprint[:12]} and {other.fingerprint[:12]}."
            )
        total = DriftMonitor.__new__(type(self))
        total._fit, total._reader = self._fit, self._reader or other._reader
        total._seen = self._seen + other._seen
        return total

    def __radd__(self, other: object) -> Any:
        """Let `sum` start from its 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    @property
    def fingerprint(self) -> str:
        """A hash of the fit: monitors of the same fit have the same."""
        return self._fit.fingerprint

    @property
    def rows(self) -> int:
        """The number of rows so far, those that were left out included."""
        return self._seen.missing.rows

    def report(self) -> DriftReport:
        """Return what has become of the columns and of the predictions."""
        fit, seen = self._fit, self._seen
        return DriftReport(
            rows=seen.missing.rows,
            nobs=seen.features.nobs,
            fit_nobs=fit.moments.nobs,
            missing=seen.missing,
            unseen=seen.unseen,
            columns=column_drifts(fit, seen),
            means=hotelling(fit, seen),
            leverage=mean_leverage(fit, seen),
            covariance=covariance_change(fit, seen),
            outcomes=outcome_drifts(fit, seen),
        )

    def to_bytes(self) -> bytes:
        """Return the monitor as bytes, for a message or a file: without pickles, with a SHA-256.

        A preprocessor does not travel with it.

        Example:
        >>> import numpy as np
        >>> import keras_linreg as klr
        >>> monitor = klr.DriftMonitor(klr.Moments.from_data(np.arange(50.0), np.arange(50.0) ** 2))
        >>> monitor.update(np.arange(40.0))
        >>> (klr.DriftMonitor.from_bytes(monitor.to_bytes()) + monitor).rows
        80
        """
        has_preprocessor = self._reader is None or self._reader.preprocessor is not None
        return monitor_bytes.to_bytes(self._fit, self._seen, has_preprocessor)

    @classmethod
    def from_bytes(cls, data: bytes, model: MonitoredModel | None = None) -> Self:
        """Return the monitor that `to_bytes` made bytes of.

        Args:
            data: the bytes.
            model: the model of the fit, if it has a preprocessor and `update` is to take rows.

        Raises:
            ValueError: the bytes are something else, or have been changed or cut since; or the model is another.
        """
        fit, seen, has_preprocessor = monitor_bytes.from_bytes(data)
        monitor = cls.__new__(cls)
        monitor._start(fit, preprocessor_columns.declared_schema(None, fit.moments.feature_names), None)
        if model is not None:
            own = cls(model)
            if own.fingerprint != fit.fingerprint:
                raise ValueError(
                    "`model` must be the one that the monitor was made of. "
                    f"Received: fits {fit.fingerprint[:12]} in the bytes and {own.fingerprint[:12]} in the model."
                )
            monitor._reader = own._reader
        elif has_preprocessor:
            monitor._reader = None
        monitor._seen = seen
        return monitor

    def __repr__(self) -> str:
        return (
            f"<DriftMonitor of {len(self._fit.moments.feature_names)} columns: {self.rows} rows beside "
            f"{self._fit.moments.nobs} of the fit>"
        )
