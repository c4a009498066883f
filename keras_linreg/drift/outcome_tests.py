"""Tests of outcomes: are the predictions right on average, as precise as in the fit, by the same coefficients?

With r the residuals of the fit's predictions for n2 new rows, and h the leverage of the rows by the fit:

**Calibration in the large.** The mean of r is zero if the fit still holds. Its variance has two parts, that of n2 new
errors and that of the fit's own coefficients at the mean row:

```python
t = mean(r) / sqrt(var(r) / n2 + scale * leverage_of_means)
```

with Welch's degrees of freedom, because both variances are estimates.

**Residual variance.** About its mean, r has the variance `scale * (1 + mean(h) - leverage_of_means)`. The ratio to it
is tested as the variance of a column is, by Layard's test with the kurtosis of r, and the degrees of freedom of the fit
in place of n1.

**Coefficients.** Chow's F compares one fit of all rows with two fits, one of each sample:

```python
q = rank1 + rank2 - rank
F = (ssr - ssr1 - ssr2) / q / ((ssr1 + ssr2) / (n1 + n2 - rank1 - rank2))
```

With fewer new rows than coefficients this is his second test, of predictions. It takes the variance of the errors for
the same in both samples. For errors that are not normal, the variance of the numerator is larger by the excess kurtosis
of the errors times `sum(h2**2) / (2 * q)`, with h2 the leverage of the new rows in their own fit; for columns with the
excess kurtosis k_j, `sum(h2**2)` is about `(sum(k_j) + q * (q + 2)) / n2`.

References:
    Chow, "Tests of equality between sets of coefficients in two linear regressions" (1960); Cox, "Two further
    applications of a model for binary regression" (1958), of calibration; Box, Watson (1962).
"""

import dataclasses
import math

import numpy as np

from keras_linreg.drift import level_errors
from keras_linreg.drift.column_tests import shapes_of, variance_ratio_test
from keras_linreg.drift.fit import Fit
from keras_linreg.drift.joint_tests import leverage_of_means, mean_leverage
from keras_linreg.drift.level_errors import FEWEST_ROWS, Shape
from keras_linreg.drift.seen import Seen
from keras_linreg.inference.distributions import p_of_f, p_of_t
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble, matmul
from keras_linreg.moments.moments import Moments
from keras_linreg.solvers import NO_PENALTY
from keras_linreg.utils.types import Array

PENALISED = "a penalised fit does not tell how sure its coefficients are"


@dataclasses.dataclass(frozen=True, slots=True)
class OutcomeDrift:
    """What has become of the predictions of an output. P-values are NaN where a level cannot be held.

    Attributes:
        name: of the output.
        rows: whose outcomes are known.
        calibration: the mean residual.
        calibration_se, calibration_pvalue, calibration_reason: its standard error; the test that it is zero.
        scale, fit_scale: the variance of the residuals of the new rows, and of the fit.
        scale_ratio: their ratio, less what the fit's own errors add to the new rows.
        scale_pvalue, scale_reason: of the test that it is one.
        chow, chow_df, chow_pvalue, chow_reason: the test that all coefficients are the same, an F statistic.
    """

    name: str
    rows: int
    calibration: float
    calibration_se: float
    calibration_pvalue: float
    calibration_reason: str
    scale: float
    fit_scale: float
    scale_ratio: float
    scale_pvalue: float
    scale_reason: str
    chow: float
    chow_df: tuple[int, int]
    chow_pvalue: float
    chow_reason: str


def outcome_drifts(fit: Fit, seen: Seen) -> tuple[OutcomeDrift, ...]:
    """Return the drift of each output, of the rows whose outcomes are known; () if there are none."""
    labelled = seen.labelled
    if labelled is None or not labelled.nobs:
        return ()
    of_labelled = dataclasses.replace(seen, unlabelled=None)
    now, p, n = labelled.statistics, len(fit.kernel), labelled.nobs
    weight, scale = float(now.weight.hi), fit.scale
    mean_difference = now.mean[:p] - fit.moments.statistics.mean[:p]
    means = (now.mean[p:] - fit.predictions_at_means - matmul(mean_difference[None], fit.kernel)[0]).hi
    factor = as_doubledouble(now.factor).hi
    sums = triangular.column_norms(factor[:, p:] - factor[:, :p] @ fit.kernel) ** 2
    of_means = leverage_of_means(fit, of_labelled)
    spread = 1 + (mean_leverage(fit, of_labelled).mean - of_means) * weight / n
    shapes, chow = _shapes_of_residuals(seen), _Chow.of(fit, labelled)
    drifts = []
    for j, name in enumerate(fit.moments.output_names):
        variance = float(sums[j]) / (n - 1) if n > 1 else math.nan
        ratio = variance / (float(scale[j]) * spread) if scale[j] > 0 else math.nan
        of_fit = float(scale[j]) * of_means
        error, p_calibration, calibration = _calibration(fit, float(means[j]), variance / weight, of_fit, shapes[j], n)
        p_scale, same_scale = _scale_test(fit, ratio, shapes[j], n)
        p_chow, same_coefficients = chow.test(j, shapes[j], seen, n)
        drifts.append(
            OutcomeDrift(
                name=name,
                rows=n,
                calibration=float(means[j]),
                calibration_se=error,
                calibration_pvalue=p_calibration,
                calibration_reason=calibration,
                scale=variance,
                fit_scale=float(scale[j]),
                scale_ratio=ratio,
                scale_pvalue=p_scale,
                scale_reason=same_scale,
                chow=chow.f(j),
                chow_df=(chow.restrictions, chow.df_resid),
                chow_pvalue=p_chow,
                chow_reason=same_coefficients,
            )
        )
    return tuple(drifts)


def _shapes_of_residuals(seen: Seen) -> list[Shape]:
    residuals = seen.residuals
    if not residuals.count:
        return [Shape()] * len(residuals.mean)
    pairs = zip(residuals.skewness(), residuals.kurtosis(), strict=True)
    return [Shape(float(skewness), float(kurtosis) - 3) for skewness, kurtosis in pairs]


def _reason_without_test(fit: Fit, n: int) -> str:
    if fit.is_penalised:
        return PENALISED
    if fit.estimate.df_resid <= 0:
        return "the fit has no degrees of freedom"
    return "" if n >= FEWEST_ROWS else f"fewer than {FEWEST_ROWS} rows with outcomes"


def _calibration(
    fit: Fit, mean: float, of_rows: float, of_fit: float, shape: Shape, n: int
) -> tuple[float, float, str]:
    """Return the standard error of the mean residual, the p-value, and the reason if there is none."""
    total = of_rows + of_fit
    reason = _reason_without_test(fit, n)
    if reason or not total > 0:
        error = math.nan if fit.is_penalised or not total >= 0 else math.sqrt(total)
        return error, math.nan, reason or "the residuals are zero"
    if not (math.isfinite(shape.skewness) and math.isfinite(shape.kurtosis)):
        return math.sqrt(total), math.nan, "the residuals are too large or too small for their fourth powers"
    of_difference = level_errors.of_difference(shape, n, fit.moments.nobs)
    error = level_errors.error_of_studentized_mean(of_difference, 1)
    if abs(error) > level_errors.TOLERATED:
        needed = level_errors.rows_needed(n, error)
        return math.sqrt(total), math.nan, f"residuals too skewed: some {needed:,} rows are needed"
    df = 1 / ((of_rows / total) ** 2 / (n - 1) + (of_fit / total) ** 2 / fit.estimate.df_resid)
    return math.sqrt(total), float(p_of_t(np.asarray(mean / math.sqrt(total)), df)), ""


def _scale_test(fit: Fit, ratio: float, shape: Shape, n: int) -> tuple[float, str]:
    reason = _reason_without_test(fit, n)
    if reason or math.isnan(ratio):
        return math.nan, reason or "the residuals of the fit are zero"
    return variance_ratio_test(ratio, shape.kurtosis, n, fit.estimate.df_resid)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Chow:
    """One fit for all rows, against one for each sample.

    Attributes:
        more: `(k,)`: the residual sum of squares that one fit for all leaves more.
        left: `(k,)`: the sum that the two fits leave.
        restrictions, df_resid: the degrees of freedom of F.
    """

    more: Array
    left: Array
    restrictions: int
    df_resid: int

    @classmethod
    def of(cls, fit: Fit, labelled: Moments) -> "_Chow":
        """Return the sums of squares; the moments of both samples add up, and nothing else is needed."""
        one, two, both = (
            moments.solve_with(NO_PENALTY, fit.dependent, fit.use_bias)
            for moments in (fit.moments, labelled, fit.moments + labelled)
        )
        left = one.rss + two.rss
        more = np.maximum(both.rss - left, 0.0)
        return cls(more, left, one.rank + two.rank - both.rank, one.nobs + two.nobs - one.rank - two.rank)

    def f(self, j: int) -> float:
        """Return F of output j; NaN without degrees of freedom."""
        if self.restrictions <= 0 or self.df_resid <= 0 or not self.left[j] > 0:
            return math.nan
        return float(self.more[j] / self.restrictions / (self.left[j] / self.df_resid))

    def test(self, j: int, errors: Shape, seen: Seen, n: int) -> tuple[float, str]:
        """Return the p-value of F, or the reason why there is none."""
        q, f = self.restrictions, self.f(j)
        if math.isnan(f):
            return math.nan, "no degrees of freedom are left" if self.left[j] > 0 else "the residuals are zero"
        if n < FEWEST_ROWS:
            return math.nan, f"fewer than {FEWEST_ROWS} rows with outcomes"
        kurtoses = [column.kurtosis for column in shapes_of(seen) if math.isfinite(column.kurtosis)]
        squared_leverages = (sum(kurtoses) + q * (q + 2)) / n
        inflation = errors.kurtosis * squared_leverages / (2 * q)
        error = level_errors.error_of_quadratic_form(q, inflation) if math.isfinite(inflation) else math.inf
        if abs(error) > level_errors.TOLERATED:
            return math.nan, "errors too far from normal for so few rows"
        return float(p_of_f(np.asarray(f), q, self.df_resid)), ""
