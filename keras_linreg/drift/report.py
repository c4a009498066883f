"""DriftReport: what has become of the columns and of the predictions since a fit."""

import dataclasses
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_linreg.data import MissingRows
from keras_linreg.drift import report_text
from keras_linreg.drift.column_tests import CONSTANT, ColumnDrift
from keras_linreg.drift.joint_tests import CovarianceChange, Leverage, MeansTest
from keras_linreg.drift.outcome_tests import OutcomeDrift

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class DriftReport:
    """What has become of the columns and of the predictions since a fit.

    Four families of tests: the means of the columns, their variances (p-values of both adjusted by Holm, each family at
    its own level), all means together, and each test of an output. Printed p-values of columns are the adjusted ones.

    Attributes:
        rows: the number of rows given.
        nobs, fit_nobs: the number of new rows that count, and of rows of the fit.
        missing: counts of rows without a value, by column.
        unseen: counts of rows with a category that the fit does not know, by column.
        columns: what has become of each column of the design (`ColumnDrift`).
        means: Hotelling's T-squared of all means (`MeansTest`).
        leverage: the mean leverage of the new rows, beside its expectation (`Leverage`).
        covariance: combinations of columns whose variance has changed most; None for too few rows.
        outcomes: of each output, if outcomes are known (`OutcomeDrift`).
    """

    rows: int
    nobs: int
    fit_nobs: int
    missing: MissingRows
    unseen: MissingRows
    columns: tuple[ColumnDrift, ...]
    means: MeansTest
    leverage: Leverage
    covariance: CovarianceChange | None
    outcomes: tuple[OutcomeDrift, ...]

    def alarms(self, level: float = 0.01) -> list[str]:
        """Return what has changed, a sentence each: tests whose (adjusted) p-value is below a level.

        Columns that were constant in the fit and are not any more, columns that stand still now, and columns without a
        value, or with an unseen category, in every row count as well.

        Example:
        >>> import numpy as np
        >>> import keras_linreg as klr
        >>> x = np.random.default_rng(0).normal(size=1000)
        >>> monitor = klr.DriftMonitor(klr.Moments.from_data(x, 2 * x, feature_names=["speed"]))
        >>> monitor.update(x + 1)
        >>> monitor.report().alarms()[0]
        "the mean of 'speed' has moved by 1.02 standard deviations"
        """
        return list(self._alarms(level))

    def _alarms(self, level: float) -> Iterator[str]:
        for counts, what in ((self.missing, "no value in any row"), (self.unseen, "an unknown category in each row")):
            for name, count in counts.columns.items():
                if count == self.rows:
                    yield f"{name!r} has {what}"
        for column in self.columns:
            if column.kind == CONSTANT and (column.shift or column.std):
                yield f"{column.name!r} was constant in the fit"
            if column.kind != CONSTANT and column.std == 0 and self.nobs > 1 and column.fit_std != 0:
                yield f"{column.name!r} has the same number in all rows"
            if column.shift_pvalue_holm < level:
                yield f"the mean of {column.name!r} has moved by {column.shift:.3g} standard deviations"
            if column.variance_pvalue_holm < level:
                yield f"the variance of {column.name!r} is {column.variance_ratio:.3g} times that of the fit"
        if self.means.pvalue < level:
            yield "the means have moved together"
        for output in self.outcomes:
            name = f" of {output.name!r}" * (len(self.outcomes) > 1)
            if output.calibration_pvalue < level:
                yield f"the predictions{name} are off by {output.calibration:.3g} on average"
            if output.scale_pvalue < level:
                yield f"the variance of the residuals{name} is {output.scale_ratio:.3g} times that of the fit"
            if output.chow_pvalue < level:
                yield f"the coefficients{name} have changed"

    def to_frame(self) -> "pandas.DataFrame":
        """Return a frame with a row for each column of the design."""
        import pandas  # slow to import

        rows = [dataclasses.asdict(column) for column in self.columns]
        index = pandas.Index([row["name"] for row in rows], name="column", dtype=object)
        return pandas.DataFrame(rows, index=index).drop(columns="name")

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain Python objects, ready for JSON; None for a number that is not finite."""
        return report_text.plain(dataclasses.asdict(self))

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(self, ax: "Axes | None" = None) -> "Figure | SubFigure":
        """Draw the shift of each column and the ratio of its variances, and return the Matplotlib Figure.

        Args:
            ax: the Axes to draw the shifts on; None makes a figure with two panels, of shifts and of ratios.
        """
        from keras_linreg import plots  # Matplotlib is slow to import

        names = [column.name for column in self.columns]
        shifts = [column.shift for column in self.columns]
        axes = [ax] if ax is not None else plots.figure(2, height=max(3.5, 0.3 * len(names) + 1))[1]
        plots.column_shifts(axes[0], names, shifts, [column.shift_pvalue_holm for column in self.columns])
        if len(axes) > 1:
            ratios = [column.variance_ratio if column.variance_ratio > 0 else math.nan for column in self.columns]
            plots.variance_ratios(axes[1], names, ratios, [column.variance_pvalue_holm for column in self.columns])
        return axes[0].figure

    def __str__(self) -> str:
        return report_text.text(self)

    def __repr__(self) -> str:
        return report_text.text(self)

    def _repr_html_(self) -> str:
        return report_text.html_tables(self)
