"""Estimate: a solution as statistics sees it, with the parameters that the data determine and their covariance."""

import dataclasses
import math
from typing import Any

import numpy as np

from keras_linreg.data import MissingRows
from keras_linreg.inference.coordinates import Coordinates
from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul
from keras_linreg.linalg.triangular import Factor
from keras_linreg.moments.checks import INTERCEPT
from keras_linreg.solvers import TOLERANCES, Solution
from keras_linreg.sufficient_statistics import Statistics


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A least-squares solution as statistics sees it: P parameters (the intercept first), k outputs.

    Attributes:
        names: of the parameters.
        output_names: of the outputs.
        has_intercept: whether the first parameter is one.
        is_penalised: whether a penalty has pulled the parameters, so that they have no covariance.
        params: `(P, k)`.
        mean_of_outputs: `(2, k)`: the means of y, and the part of them that float64 cannot hold; zeros without an
            intercept. A fit with intercept goes through the means.
        estimable: mask `(P,)`: the parameters that the data determine.
        root: `(P, m)`: `scale * root @ root.T` is the covariance of the parameters. Rows of columns that depend on
            others are zero; a penalised estimate has no columns.
        null: `(P, d)`: directions that change the parameters and none of the fitted values.
        units: `(P,)`: the size of each column of the design, by which parameters can be compared.
        deviations: `(P,)` and `(k,)`: the standard deviations of the design's columns and of the outputs, divided by n;
            zero for the intercept.
        dropped: whether columns that depend on others are out of the model, rather than sharing in it.
        coordinates: of new rows; `None` for a penalised estimate.
        nobs: the number of rows whose weight is not zero.
        rank: the number of parameters that are estimated.
        ssr, ess, tss: `(k,)`: the residual, explained and total sums of squares.
        log_weight: the sum of the logarithms of the weights.
        centred_tss: `(k,)`: the total sums of squares about the mean, of a fit without intercept whose columns span the
            constant; None for any other.
        inflation: `(P,)`: variance inflation factors, NaN for the intercept and for parameters that are not estimable.
        condition_number: of the design as it is, the column of ones included.
        scaled_condition_number: of the design, centred (with an intercept) and scaled.
        digits: `(P, k)`: so many decimal digits of each parameter are sure.
        fewest_digits: the smallest of them, parameters left out that are zero beside the others.
        dtype: in which the features came.
        missing: counts of the rows that were dropped for want of a value; None if there were none.
    """

    names: tuple[str, ...]
    output_names: tuple[str, ...]
    has_intercept: bool
    is_penalised: bool
    params: np.ndarray
    mean_of_outputs: np.ndarray
    estimable: np.ndarray
    root: np.ndarray
    null: np.ndarray
    units: np.ndarray
    deviations: tuple[np.ndarray, np.ndarray]
    dropped: bool
    coordinates: Coordinates | None
    nobs: int
    rank: int
    ssr: np.ndarray
    ess: np.ndarray
    tss: np.ndarray
    log_weight: float
    centred_tss: np.ndarray | None
    inflation: np.ndarray
    condition_number: float
    scaled_condition_number: float
    digits: np.ndarray
    fewest_digits: float
    dtype: str
    missing: MissingRows | None = None

    @property
    def df_resid(self) -> int:
        """The degrees of freedom of the residuals."""
        return self.nobs - self.rank

    @property
    def df_model(self) -> int:
        """The degrees of freedom of the model, without the intercept."""
        return self.rank - self.has_intercept

    @property
    def scale(self) -> np.ndarray:
        """The variance of the residuals, `(k,)`; NaN if no degrees of freedom are left, or the fit is penalised."""
        is_known = self.df_resid > 0 and not self.is_penalised
        return self.ssr / self.df_resid if is_known else np.full(len(self.ssr), np.nan)

    def unpenalised_coordinates(self) -> Coordinates:
        """Return the coordinates of new rows.

        Raises:
            ValueError: the fit is penalised.
        """
        if self.coordinates is None:
            raise ValueError(
                "A penalised fit has no standard errors, tests or intervals: the penalty has pulled its coefficients "
                "towards zero, and the data do not tell how far. Fit without `kernel_regularizer`, from the moments "
                "of this fit: ExactLinearRegression.from_moments(model.moments, preprocessor=model.preprocessor)."
            )
        return self.coordinates


def estimate_parameters(statistics: Statistics, solution: Solution, dtype: str = "float64") -> Estimate:
    """Return the estimate of a solution.

    The design is `[1 x]`, and `R` the factor of the kept columns of x less their means. In the parameters
    `(b + mean @ w, w)` the design is orthogonal between the first column and the others, and its factor is
    `diag(sqrt(W), R)` with W the sum of the weights. So the covariance of these parameters is
    `scale * diag(1 / W, inv(R) @ inv(R).T)`. The parameters that a user reads are `(b, w)`. They follow by subtracting
    `mean @ w` from the first. That gives the root of their covariance:

    ```python
    root = [[1 / sqrt(W), -mean @ inv(R)],
            [0,           inv(R)        ]]
    ```

    No cross-product is inverted, and an offset of the columns costs no digits.

    A column d that depends on the kept ones is `x_d = x_kept @ shares + constant`, with `shares = inv(R) @ R_d`. To
    move weight from it to the others changes no fitted value. These moves are the directions `null`.

    Args:
        statistics: of the rows.
        solution: of the statistics.
        dtype: in which the features came.

    References:
        Golub, Van Loan, Matrix Computations, section 5.3; Greene, Econometric Analysis, chapter 4.
    """
    use_bias, features = solution.bias is not None, len(solution.kernel)
    factor = statistics.factor if use_bias else statistics.uncentred_factor()
    tss = _column_squares(factor[:, features:])
    shared = _fields_of_every_fit(statistics, solution, tss, dtype)
    if not solution.penalty.is_zero:
        return _penalised_estimate(shared, tss - solution.rss)
    kept, count = solution.kept, int(solution.kept.sum())
    r = _kept_columns_first(factor, kept)
    size = triangular.column_norms(as_doubledouble(r).hi[:, :features])
    inverse = _inverse(r[:count, :count], size[:count])
    shares = matmul(inverse, as_doubledouble(r[:count, count:features])) if count < features else inverse[:, :0]
    mean = statistics.mean[:features] if use_bias else as_doubledouble(np.zeros(features))
    level = 1.0 / math.sqrt(float(statistics.weight.hi)) if use_bias else None
    root, null = _root_and_null(inverse, shares, mean, level, kept)
    units = np.concatenate([np.ones(int(use_bias)), np.hypot(shared["deviations"][0][use_bias:], mean.hi)])
    units[units == 0] = 1.0
    coordinates = Coordinates(
        level=level,
        centre=np.stack([mean.hi, mean.lo]),
        kept=kept,
        inverse=inverse.hi,
        shares=shares.hi,
        tolerance=TOLERANCES[dtype],
        size=units[use_bias:][~kept],
    )
    estimated = np.concatenate([np.ones(int(use_bias), bool), kept])
    estimable = estimated.copy()
    if solution.dependent == "min_norm":
        estimable &= are_determined(np.eye(len(units)), null, units, coordinates.tolerance)
    inflation = np.full(len(units), np.nan)
    inflation[use_bias + np.flatnonzero(kept)] = (size[:count] * triangular.column_norms(inverse.hi.T)) ** 2
    inflation[~estimable] = np.nan
    upper = as_doubledouble(r).hi[:count, :count]
    centred_squares = _column_squares(statistics.factor[:, features:])
    return Estimate(
        **shared,
        ess=_column_squares(r[:count, features:]),
        centred_tss=None if use_bias or not spans_constant(statistics, kept, dtype) else centred_squares,
        estimable=estimable,
        root=root,
        null=null,
        units=units,
        coordinates=coordinates,
        inflation=inflation,
        condition_number=_condition_number(upper, mean.hi[kept], level, root[estimated]),
    )


def are_determined(combinations: np.ndarray, null: np.ndarray, units: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the mask of combinations `(q, P)` that no direction of `null`, `(P, d)`, changes."""
    largest = (np.abs(combinations) / units).max(axis=1)
    size = largest[:, None] * (np.abs(null) * units[:, None]).max(axis=0, initial=0.0)
    return (np.abs(combinations @ null) <= 100 * tolerance * size).all(axis=1)


def spans_constant(statistics: Statistics, kept: np.ndarray, dtype: str) -> bool:
    """Return whether a combination of the kept columns is the same in each row, as that of a full set of dummies is.

    With A the factor of the centred columns, m their means times the root of the weight, and both in units of the
    columns' own norms, the columns explain all of the constant but the share `1 / (1 + m @ inv(A.T @ A) @ m)`.
    """
    positions = np.flatnonzero(kept)
    a = as_doubledouble(statistics.factor).hi[:, positions]
    m = statistics.mean.hi[positions] * math.sqrt(float(statistics.weight.hi))
    norms = np.hypot(triangular.column_norms(a), m)
    if not len(positions) or not (norms > 0).all():
        return False
    _, s, v = np.linalg.svd(a / norms, full_matrices=False)
    return bool((np.abs(v @ (m / norms)) * TOLERANCES[dtype] >= s).any())


def _fields_of_every_fit(statistics: Statistics, solution: Solution, tss: np.ndarray, dtype: str) -> dict[str, Any]:
    """Return the fields that penalised and unpenalised estimates have in common."""
    has_intercept = solution.bias is not None
    bias = [] if solution.bias is None else [solution.bias[None]]
    features = len(solution.kernel)
    mean = statistics.mean[features:]
    deviation = triangular.column_norms(as_doubledouble(statistics.factor).hi) / math.sqrt(solution.nobs)
    return {
        "names": (INTERCEPT,) * has_intercept + solution.feature_names,
        "output_names": solution.output_names,
        "has_intercept": has_intercept,
        "is_penalised": not solution.penalty.is_zero,
        "params": np.concatenate([*bias, solution.kernel]),
        "mean_of_outputs": np.stack([mean.hi, mean.lo]) * has_intercept,
        "deviations": (np.concatenate([np.zeros(int(has_intercept)), deviation[:features]]), deviation[features:]),
        "dropped": solution.dependent == "drop",
        "nobs": solution.nobs,
        "rank": solution.rank,
        "ssr": solution.rss,
        "tss": tss,
        "log_weight": statistics.log_weight,
        "scaled_condition_number": solution.scaled_condition_number,
        "digits": solution.digits,
        "fewest_digits": solution.fewest_digits,
        "dtype": dtype,
        "missing": solution.missing,
    }


def _penalised_estimate(shared: dict[str, Any], ess: np.ndarray) -> Estimate:
    width = len(shared["names"])
    return Estimate(
        **shared,
        ess=ess,
        centred_tss=None,
        estimable=np.zeros(width, bool),
        root=np.zeros((width, 0)),
        null=np.zeros((width, 0)),
        units=np.ones(width),
        coordinates=None,
        inflation=np.full(width, np.nan),
        condition_number=math.nan,
    )


def _kept_columns_first(factor: Factor, kept: np.ndarray) -> Factor:
    """Return the factor of the columns `[x_kept x_dependent y]`."""
    if kept.all():
        return factor
    features = len(kept)
    order = [np.flatnonzero(kept), np.flatnonzero(~kept), np.arange(features, factor.shape[1])]
    return triangular.triangularise(factor[:, np.concatenate(order)])


def _inverse(upper: Factor, size: np.ndarray) -> DoubleDouble:
    """Return the inverse of a triangular factor; in units of the columns' own sizes, so that nothing overflows."""
    exponents = np.frexp(size)[1]
    inverse = triangular.inverse(triangular.scaled(upper, -exponents))
    return as_doubledouble(triangular.scaled(inverse, -exponents[:, None]))


def _root_and_null(
    inverse: DoubleDouble, shares: DoubleDouble, mean: DoubleDouble, level: float | None, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the root of the covariance `(P, m)`, and the directions `(P, d)` that change no fitted value."""
    start, count, features = 0 if level is None else 1, len(inverse), len(kept)
    columns = start + np.flatnonzero(kept)
    root = np.zeros((start + features, start + count))
    root[columns, start:] = inverse.hi
    null = np.zeros((start + features, features - count))
    null[columns] = -shares.hi
    null[start + np.flatnonzero(~kept), np.arange(features - count)] = 1.0
    if level is not None:
        root[0, 0] = level
        root[0, 1:] = -matmul(mean[kept][None], inverse).hi[0]
        null[0] = (matmul(mean[kept][None], shares) - mean[~kept][None]).hi[0]
    return root, null


def _condition_number(upper: np.ndarray, mean: np.ndarray, level: float | None, root: np.ndarray) -> float:
    """Return the condition number of the design as it is: the norm of its factor times the norm of the inverse."""
    if level is not None:
        whole = np.zeros((len(upper) + 1, len(upper) + 1))
        whole[0, 0], whole[0, 1:], whole[1:, 1:] = 1 / level, mean / level, upper
        upper = whole
    if not len(upper):
        return 1.0
    with np.errstate(all="ignore"):
        return condition.largest_singular_value(upper) * condition.largest_singular_value(root)


def _column_squares(values: Factor) -> np.ndarray:
    values = as_doubledouble(values)
    return (values * values).sum(0).hi
