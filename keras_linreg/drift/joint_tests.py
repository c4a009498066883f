"""Tests and figures of all columns together: Hotelling's T-squared, the mean leverage, the change of the covariance."""

import dataclasses
import math

import numpy as np

from keras_linreg.drift import level_errors
from keras_linreg.drift.column_tests import CONSTANT, columns_of, reason_without_test
from keras_linreg.drift.fit import Fit, effective_rows
from keras_linreg.drift.seen import Seen
from keras_linreg.inference.distributions import p_of_f
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.utils.types import Array

MOST_EIGENVALUES = 3
SHOWN_COLUMNS = 2


@dataclasses.dataclass(frozen=True, slots=True)
class MeansTest:
    """Hotelling's T-squared of the means of all independent columns.

    Attributes:
        columns: how many columns are independent.
        t_squared: the statistic; NaN where not given.
        fvalue, df_num, df_denom: T-squared as an F statistic.
        pvalue: of F; NaN where its level cannot be held.
        reason: why there is no p-value.
    """

    columns: int
    t_squared: float
    fvalue: float
    df_num: int
    df_denom: float
    pvalue: float
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Leverage:
    """The mean leverage of the new rows by the fit, beside the mean in the fit itself, p / n."""

    mean: float
    expected: float
    ratio: float


@dataclasses.dataclass(frozen=True, slots=True)
class Direction:
    """A combination of columns whose variance has changed.

    Attributes:
        ratio: its variance in the new rows, divided by that in the fit.
        columns: the columns that go with it most, with their correlations in the fit, the first one's positive.
    """

    ratio: float
    columns: dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class CovarianceChange:
    """How the covariance of the independent columns has changed: described, not tested.

    Attributes:
        largest, smallest: the directions in which the variance has grown and shrunk most.
        without_change: the least and the largest ratio that samples of these sizes show without any change, about.
    """

    largest: tuple[Direction, ...]
    smallest: Direction
    without_change: tuple[float, float]


def hotelling(fit: Fit, seen: Seen) -> MeansTest:
    """Return the test that no mean of the independent columns has moved.

    In coordinates in which the rows of the fit have the covariance of the identity, with d the difference of the means
    and S the pooled covariance of both samples,

    ```python
    t_squared = d @ inv(S) @ d / (1 / n1 + 1 / n2)
    F = t_squared * (n1 + n2 - p - 1) / (p * (n1 + n2 - 2))
    ```

    is F with p and `n1 + n2 - p - 1` degrees of freedom, for normal rows of one covariance. The null hypothesis is that
    both samples come from one population: a change of the covariance alone makes the test reject more often, too. For
    other rows the variance of T-squared is larger by the excess kurtosis of the coordinates over `2 * n`, for which
    the columns' own stands.

    References:
        Hotelling, "The generalization of Student's ratio" (1931); Anderson, An Introduction to Multivariate Statistical
        Analysis (2003), section 5.3.4.
    """
    coordinates = fit.centred_estimate.coordinates
    assert coordinates is not None  # it is not penalised
    columns = [column for column, is_kept in zip(columns_of(fit, seen), coordinates.kept, strict=True) if is_kept]
    p, none = len(columns), (math.nan, math.nan)
    n1, n2 = effective_rows(fit.moments.statistics), seen.effective_rows
    reasons = [reason_without_test(column) for column in columns if column.kind != CONSTANT] or ["no columns"]
    df = n1 + n2 - p - 1
    if any(reasons) or not df > 0:
        return MeansTest(p, *none, p, df, math.nan, next(filter(None, reasons), "fewer rows than columns"))
    d, before, now = _in_coordinates(fit, seen)
    shares = np.sqrt([(n1 - 1) / (n1 + n2 - 2), (n2 - 1) / (n1 + n2 - 2)])
    pooled = triangular.triangularise(np.concatenate([before * shares[0], now * shares[1]]))
    t_squared = float(np.square(np.asarray(triangular.back_substitute(pooled, d, transposed=True))).sum()) / (
        1 / n1 + 1 / n2
    )
    f = t_squared * df / (p * (n1 + n2 - 2))
    kurtosis = np.mean([level_errors.of_difference(column.shape, n2, n1).kurtosis for column in columns])
    error = level_errors.error_of_quadratic_form(p, float(kurtosis) / 2)
    reason = "" if abs(error) <= level_errors.TOLERATED else "columns too rare or with tails too heavy for so few rows"
    return MeansTest(p, t_squared, f, p, df, math.nan if reason else float(p_of_f(np.asarray(f), p, df)), reason)


def mean_leverage(fit: Fit, seen: Seen) -> Leverage:
    """Return the mean leverage of the new rows.

    The mean of `sum(z**2)` over rows, z their coordinates, is the trace of their mean square: the scatter about the
    means, and the square of the means' own distance from the fit.
    """
    estimate, now = fit.estimate, seen.features
    expected = estimate.rank / float(fit.moments.statistics.weight.hi)
    if not now.nobs:
        return Leverage(math.nan, expected, math.nan)
    coordinates = estimate.coordinates
    assert coordinates is not None  # it is not penalised
    scatter = as_doubledouble(now.factor).hi[:, coordinates.kept] @ coordinates.inverse
    mean = float(np.square(scatter).sum()) / float(now.weight.hi) + leverage_of_means(fit, seen)
    return Leverage(mean, expected, mean / expected)


def leverage_of_means(fit: Fit, seen: Seen) -> float:
    """Return the leverage of the means of the new rows: of one row that has them."""
    coordinates = fit.estimate.coordinates
    assert coordinates is not None  # it is not penalised
    return float(np.square(coordinates.of(seen.features.mean.hi[None])).sum())


def covariance_change(fit: Fit, seen: Seen) -> CovarianceChange | None:
    """Return how the covariance has changed; None if there are no columns, or too few rows to tell.

    The eigenvalues of `inv(S1) @ S2` are the ratios of variances of combinations of columns. Samples of finite size
    spread them: without a change they lie, in the limit of many columns and rows, between

    ```python
    ((1 - sqrt(a + b - a * b)) / (1 - b)) ** 2 and ((1 + sqrt(a + b - a * b)) / (1 - b)) ** 2
    ```

    with `a = p / n2` and `b = p / n1`.

    References:
        Wachter, "The limiting empirical measure of multiple discriminant ratios" (1980).
    """
    coordinates = fit.centred_estimate.coordinates
    assert coordinates is not None  # it is not penalised
    kept = np.flatnonzero(coordinates.kept)
    n1, n2 = float(fit.moments.nobs), float(seen.features.nobs)
    p = len(kept)
    if not p or n2 <= 1 or n1 <= p + 1:
        return None
    _, before, now = _in_coordinates(fit, seen)
    _, sizes, rows = np.linalg.svd(now)
    ratios, directions = (sizes[::-1] / before[0, 0]) ** 2, rows[::-1].T  # the smallest first
    upper = triangular.triangularise(as_doubledouble(fit.moments.statistics.factor).hi[:, kept])
    correlations = (upper.T @ directions) / triangular.column_norms(upper)[:, None]

    def direction(i: int) -> Direction:
        most = np.argsort(-np.abs(correlations[:, i]), kind="stable")[:SHOWN_COLUMNS]
        sign = math.copysign(1.0, correlations[most[0], i])  # a direction has no sign: the first column goes with it
        names = {fit.moments.feature_names[kept[j]]: sign * float(correlations[j, i]) for j in most}
        return Direction(float(ratios[i]), names)

    a, b = p / n2, p / n1
    root = math.sqrt(a + b - a * b)
    limits = (max(1 - root, 0.0) / (1 - b)) ** 2, ((1 + root) / (1 - b)) ** 2
    order = range(p - 1, max(p - 1 - MOST_EIGENVALUES, -1), -1)
    return CovarianceChange(tuple(direction(i) for i in order), direction(0), limits)


def _in_coordinates(fit: Fit, seen: Seen) -> tuple[Array, Array, Array]:
    """Return the difference of the means and the factors of both covariances, in coordinates of the fit's rows."""
    coordinates, before, now = fit.centred_estimate.coordinates, fit.moments.statistics, seen.features
    assert coordinates is not None  # it is not penalised
    kept, p = coordinates.kept, len(coordinates.kept)
    difference = (now.mean - before.mean[:p]).hi[kept] @ coordinates.inverse
    factor = as_doubledouble(now.factor).hi[:, kept] @ coordinates.inverse

    def scale(weight: float, rows: float) -> float:
        return math.sqrt(rows / weight / (rows - 1))

    of_fit = np.eye(int(kept.sum())) * scale(float(before.weight.hi), float(before.nobs))
    return difference, of_fit, factor * scale(float(now.weight.hi), float(now.nobs))
