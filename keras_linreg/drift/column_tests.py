"""Tests of single columns: has the mean moved, has the variance changed?

Both samples are random: the rows of the fit, n1 with means m1 and variances v1, and the new rows, n2 with m2 and v2.

**Means** of numbers are compared by Welch's t, which lets the variances differ:

```python
t = (m2 - m1) / sqrt(v1 / n1 + v2 / n2)
```

An indicator (a column of zeros and ones) has the variance `m * (1 - m)`. If its mean has not moved, neither has its
variance, so the mean m of all rows tells both: `z = (m2 - m1) / sqrt(m * (1 - m) * (1 / n1 + 1 / n2))`. The square of z
is Pearson's chi-squared of the table of two by two.

**Variances** are compared by the logarithm of their ratio. With the excess kurtosis k, the relative variance of a
sample variance is `(k + 2) / n` in the limit, so

```python
z = log(v2 / v1) / sqrt((k + 2) * (1 / n1 + 1 / n2))
```

is normal; where tails are heavy, k is uncertain, and z is taken for Student's t. The F test takes k for 0, and cries
wolf with heavy tails. The variance of an indicator is told by its mean.

P-values are adjusted by Holm, over the means of all columns and over all variances. `level_errors` tells where a level
cannot be held; then there is a reason in place of a p-value.

References:
    Welch, "The generalization of 'Student's' problem when several different population variances are involved" (1947);
    Pearson, "On the criterion..." (1900); Layard, "Robust large-sample tests for homogeneity of variances" (1973).
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from keras_linreg.drift import level_errors
from keras_linreg.drift.fit import Fit, effective_rows
from keras_linreg.drift.level_errors import FEWEST_ROWS, Shape
from keras_linreg.drift.seen import Seen
from keras_linreg.inference.distributions import p_of_t
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.utils.types import Array

INDICATOR = 1e-9  # the part of the variance of an indicator that rounding may change
NUMBER, INDICATOR_KIND, CONSTANT = "number", "indicator", "constant"


@dataclasses.dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What has become of a column.

    Attributes:
        name: of the column of the design.
        kind: "number"; "indicator", of zeros and ones; or "constant", in the rows of the fit.
        fit_mean, mean: of the rows of the fit, and of the new rows.
        fit_std, std: their standard deviations.
        shift: the difference of the means in standard deviations of the fit.
        shift_pvalue, shift_pvalue_holm: of the test of the means, alone and among all columns; NaN where not given.
        variance_ratio: the variance of the new rows, divided by that of the fit.
        variance_pvalue, variance_pvalue_holm: of the test of the variances.
        shift_reason, variance_reason: why there is no p-value; empty where there is one.
    """

    name: str
    kind: str
    fit_mean: float
    mean: float
    fit_std: float
    std: float
    shift: float
    shift_pvalue: float
    shift_pvalue_holm: float
    variance_ratio: float
    variance_pvalue: float
    variance_pvalue_holm: float
    shift_reason: str
    variance_reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column of both samples: effective sizes, means, variances, and the shape of the new rows' distribution."""

    name: str
    rows_of_fit: float
    rows: float
    fit_mean: float
    difference: float
    fit_variance: float
    variance: float
    is_constant: bool
    shape: Shape

    @property
    def mean(self) -> float:
        """The mean of the new rows."""
        return self.fit_mean + self.difference

    @property
    def kind(self) -> str:
        """The kind of the column, by the rows of the fit and the new ones."""
        if self.is_constant:
            return CONSTANT
        n1, n2 = self.rows_of_fit, self.rows
        both = (self.fit_mean, self.fit_variance, n1), (self.mean, self.variance, n2)
        return INDICATOR_KIND if all(_is_of_indicator(*part) for part in both) else NUMBER


def _is_of_indicator(mean: float, variance: float, rows: float) -> bool:
    """Return whether a column of this mean and variance holds zeros and ones."""
    if rows <= 1:
        return rows == 0 or min(abs(mean), abs(mean - 1)) <= INDICATOR
    expected = mean * (1 - mean) * rows / (rows - 1)
    return -INDICATOR <= mean <= 1 + INDICATOR and abs(variance - expected) <= INDICATOR * max(variance, expected)


def columns_of(fit: Fit, seen: Seen) -> list[Column]:
    """Return the columns of the design, in both samples."""
    before, now = fit.moments.statistics, seen.features
    p = len(fit.kernel)
    n1, n2 = effective_rows(before), seen.effective_rows
    difference = (now.mean - before.mean[:p]).hi
    variances = column_variances(before, n1)[:p], column_variances(now, n2)
    shapes = shapes_of(seen)
    return [
        Column(
            name=fit.moments.feature_names[j],
            rows_of_fit=n1,
            rows=n2,
            fit_mean=float(before.mean.hi[j]),
            difference=float(difference[j]),
            fit_variance=float(variances[0][j]),
            variance=float(variances[1][j]),
            is_constant=bool(before.constant[j]),
            shape=shapes[j],
        )
        for j in range(p)
    ]


def column_variances(statistics: Statistics, rows: float) -> Array:
    """Return the variances of columns, of so many rows of one weight."""
    norms = triangular.column_norms(as_doubledouble(statistics.factor).hi)
    size = rows if math.isfinite(rows) else float(statistics.nobs)
    with np.errstate(all="ignore"):
        return norms**2 / float(statistics.weight.hi) * np.float64(size) / np.float64(size - 1)


def shapes_of(seen: Seen) -> list[Shape]:
    """Return skewness and excess kurtosis of the columns; those of an awkward column where no rows were seen."""
    if not seen.columns.count:
        return [Shape()] * len(seen.columns.mean)
    return [
        Shape(float(g), float(k - 3)) for g, k in zip(seen.columns.skewness(), seen.columns.kurtosis(), strict=True)
    ]


def column_drifts(fit: Fit, seen: Seen) -> tuple[ColumnDrift, ...]:
    """Return the drift of each column."""
    columns = columns_of(fit, seen)
    means = _family(columns, mean_test)
    variances = _family(columns, variance_test)
    drifts = []
    for column, mean, variance in zip(columns, means, variances, strict=True):
        std = math.sqrt(column.fit_variance) if column.fit_variance >= 0 else math.nan
        with np.errstate(all="ignore"):
            shift = float(np.divide(column.difference, std)) if column.difference else 0.0
            ratio = float(np.divide(column.variance, column.fit_variance))
        drifts.append(
            ColumnDrift(
                name=column.name,
                kind=column.kind,
                fit_mean=column.fit_mean,
                mean=column.mean,
                fit_std=std,
                std=math.sqrt(column.variance) if column.variance >= 0 else math.nan,
                shift=shift if column.rows else math.nan,
                shift_pvalue=mean[0],
                shift_pvalue_holm=mean[1],
                variance_ratio=ratio,
                variance_pvalue=variance[0],
                variance_pvalue_holm=variance[1],
                shift_reason=mean[2],
                variance_reason=variance[2],
            )
        )
    return tuple(drifts)


def _family(columns: list[Column], test: Callable[[Column, int], tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Return p-value, adjusted p-value and reason of each column."""
    tests = max(1, sum(not reason_without_test(column) for column in columns))
    results = [(math.nan, reason) if (reason := reason_without_test(c)) else test(c, tests) for c in columns]
    adjusted = level_errors.holm(np.array([p for p, _ in results]))
    return [(p, float(q), reason) for (p, reason), q in zip(results, adjusted, strict=True)]


def reason_without_test(column: Column) -> str:
    """Return why nothing can be tested of a column, or nothing."""
    if column.rows == 0:
        return "no rows yet"
    if not math.isfinite(column.rows_of_fit):
        return "the rows of the fit have different weights"
    if not math.isfinite(column.rows):
        return "the rows have different weights, and only their moments are known"
    if column.is_constant:
        return "constant in the fit, and other numbers now" if column.difference or column.variance else "constant"
    if min(column.rows, column.rows_of_fit) < FEWEST_ROWS:
        return f"fewer than {FEWEST_ROWS} rows"
    if not (math.isfinite(column.difference) and math.isfinite(column.variance)):
        return "its numbers are too large"
    return ""


def mean_test(column: Column, tests: int) -> tuple[float, str]:
    """Return the p-value of the difference of the means, or the reason why there is none."""
    n1, n2, v1, v2 = column.rows_of_fit, column.rows, column.fit_variance, column.variance
    if column.kind == INDICATOR_KIND:
        share = (n1 * column.fit_mean + n2 * column.mean) / (n1 + n2)
        pooled = share * (1 - share)
        shape = Shape((1 - 2 * share) / math.sqrt(pooled), 1 / pooled - 6)
        error = level_errors.error_of_standardized_mean(level_errors.of_difference(shape, n2, n1), tests)
        if abs(error) > level_errors.TOLERATED:
            return math.nan, f"too rare: some {level_errors.rows_needed(n2, error):,} rows are needed"
        z = column.difference / math.sqrt(pooled * (1 / n1 + 1 / n2))
        return float(p_of_t(np.asarray(z), None)), ""
    if v2 == 0:
        return math.nan, "all rows have the same number now"
    shape = column.shape
    if not (math.isfinite(shape.skewness) and math.isfinite(shape.kurtosis)):
        return math.nan, "its numbers are too large or too small for their fourth powers"
    error = level_errors.error_of_studentized_mean(level_errors.of_difference(shape, n2, n1), tests)
    if abs(error) > level_errors.TOLERATED:
        return math.nan, f"too skewed: some {level_errors.rows_needed(n2, error):,} rows are needed"
    of_fit, of_rows = v1 / n1, v2 / n2
    total = of_fit + of_rows
    df = 1 / ((of_fit / total) ** 2 / (n1 - 1) + (of_rows / total) ** 2 / (n2 - 1))
    return float(p_of_t(np.asarray(column.difference / math.sqrt(total)), df)), ""


def variance_test(column: Column, tests: int) -> tuple[float, str]:
    """Return the p-value of the ratio of the variances, or the reason why there is none."""
    if column.kind == INDICATOR_KIND:
        return math.nan, "an indicator's mean tells its variance"
    return variance_ratio_test(
        column.variance / column.fit_variance, column.shape.kurtosis, column.rows, column.rows_of_fit
    )


def variance_ratio_test(ratio: float, kurtosis: float, rows: float, rows_of_fit: float) -> tuple[float, str]:
    """Return the p-value of a ratio of variances by Layard's test, or the reason why there is none.

    Args:
        ratio: of two unbiased variances.
        kurtosis: the excess kurtosis of the new rows.
        rows, rows_of_fit: the sizes of the samples; for residuals, the degrees of freedom of the fit.
    """
    if not ratio > 0:
        return math.nan, "all rows have the same number now"
    if not math.isfinite(kurtosis):
        return math.nan, "its numbers are too large or too small for their fourth powers"
    needed = level_errors.rows_for_variance(kurtosis)
    if min(rows, rows_of_fit) < needed:
        few = "of the fit " * (rows_of_fit < needed)
        return (
            math.nan,
            f"tails too heavy, or too few rows {few}for its variance: some {math.ceil(needed):,} are needed",
        )
    z = math.log(ratio) / math.sqrt((kurtosis + 2) * (1 / rows + 1 / rows_of_fit))
    df = level_errors.df_for_variance(kurtosis, min(rows, rows_of_fit))
    return float(p_of_t(np.asarray(z), df)), ""
