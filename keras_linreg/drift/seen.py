"""What a monitor has seen: moments, shapes and counts of rows, which add up."""

import dataclasses

import numpy as np

from keras_linreg.data import MissingRows
from keras_linreg.drift.fit import Fit, effective_rows
from keras_linreg.drift.row_shapes import row_shapes
from keras_linreg.inference.central_moments import CentralMoments
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.moments import Moments
from keras_linreg.sufficient_statistics import Statistics, empty, merge
from keras_linreg.utils.types import Array, Batch

NO_ROWS = MissingRows(0, 0, {})


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What rows have left behind.

    Attributes:
        labelled: the moments of rows whose outcomes are known, or None.
        unlabelled: the moments of the others, outcomes of zero in place of theirs, or None.
        columns: central moments of the columns, in units of the fit, of all or some of the rows.
        residuals: central moments of the residuals of rows with outcomes, in units of the fit.
        squared_weight: the sum of the squares of the weights; NaN if it is not known.
        missing: counts of rows without a value.
        unseen: counts of rows with a category that the fit does not know.
    """

    labelled: Moments | None
    unlabelled: Moments | None
    columns: CentralMoments
    residuals: CentralMoments
    squared_weight: float = 0.0
    missing: MissingRows = NO_ROWS
    unseen: MissingRows = NO_ROWS

    @classmethod
    def nothing(cls, features: int, outputs: int) -> "Seen":
        """Return no rows."""
        columns, residuals = (CentralMoments.from_values(np.zeros((0, width))) for width in (features, outputs))
        return cls(None, None, columns, residuals)

    def __add__(self, other: "Seen") -> "Seen":
        with np.errstate(all="ignore"):  # powers of huge numbers overflow: such columns get no p-value
            columns, residuals = self.columns.merge(other.columns), self.residuals.merge(other.residuals)
        return Seen(
            _sum(self.labelled, other.labelled),
            _sum(self.unlabelled, other.unlabelled),
            columns,
            residuals,
            self.squared_weight + other.squared_weight,
            self.missing + other.missing,
            self.unseen + other.unseen,
        )

    def counting(self, missing: MissingRows, unseen: MissingRows) -> "Seen":
        """Return the same with more counts."""
        return dataclasses.replace(self, missing=self.missing + missing, unseen=self.unseen + unseen)

    @property
    def features(self) -> Statistics:
        """The statistics of the columns of all rows, `(p,)`."""
        whole = empty(len(self.columns.mean))
        for moments in (self.labelled, self.unlabelled):
            if moments is not None:
                whole = merge(whole, of_columns(moments))
        return whole

    @property
    def effective_rows(self) -> float:
        """How many rows of one weight tell the means as well; NaN if it is not known."""
        weight = float(self.features.weight.hi)
        return weight**2 / self.squared_weight if weight else 0.0


def of_columns(moments: Moments) -> Statistics:
    """Return the statistics of the features alone, in float64."""
    p, old = len(moments.feature_names), moments.statistics
    return dataclasses.replace(
        old,
        mean=old.mean[:p],
        factor=as_doubledouble(old.factor).hi[:p, :p],
        constant=old.constant[:p],
        error=old.error_of_other_solutions,
        plane=None,
    )


def see_rows(fit: Fit, batch: Batch, known: Array | None) -> Seen:
    """Return what rows leave behind.

    Args:
        fit: that they are compared with.
        batch: `(x, y, weights)`: the design, the outcomes or None, the weights, not zero, or None.
        known: mask `(n,)` of rows whose outcomes are known; None: all, or none if y is None.
    """
    x, y, weights = batch
    p, k = fit.kernel.shape
    if known is not None and not known.all():
        others = see_rows(fit, (x[~known], None, None if weights is None else weights[~known]), None)
        if not known.any():
            return others
        return see_rows(fit, (x[known], y[known], None if weights is None else weights[known]), None) + others
    accumulator = Accumulator(p, k)
    outcomes = np.broadcast_to(0.0, (x.shape[0], k)) if y is None else y  # takes no memory, and no time to look through
    names = fit.moments.feature_names, fit.moments.output_names
    accumulator.update(x, outcomes, weights)
    moments = Moments.of(accumulator, accumulator.so_far(), *names)
    columns, residuals = row_shapes(x, y, weights, fit.kernel, fit.bias, fit.units)
    squared_weight = float(x.shape[0]) if weights is None else float(weights @ weights)
    labelled, unlabelled = (None, moments) if y is None else (moments, None)
    return Seen(labelled, unlabelled, columns, residuals, squared_weight)


def see_moments(fit: Fit, moments: Moments) -> Seen:
    """Return what moments tell; there are no third and fourth moments in them."""
    rows = effective_rows(moments.statistics)
    squared_weight = float(moments.statistics.weight.hi) ** 2 / rows if rows else 0.0
    nothing = Seen.nothing(*fit.kernel.shape)
    missing = moments.missing or MissingRows(moments.rows, 0, {})
    return dataclasses.replace(nothing, labelled=moments, squared_weight=squared_weight, missing=missing)


def _sum(a: Moments | None, b: Moments | None) -> Moments | None:
    return (a or b) if a is None or b is None else a + b
