"""How sure the coefficients are: covariances, tests and intervals, as functions of arrays."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
from scipy import special

from keras_linreg import factor
from keras_linreg.doubledouble import as_doubledouble, matmul
from keras_linreg.reduction import Statistics, blocks
from keras_linreg.solvers import TOLERANCES, Solution, about_zero
from keras_linreg.threads import in_order, one_blas_thread

BLOCK_NUMBERS = 2**17  # of a block of rows: it stays in a core's cache
INTERCEPT = "Intercept"
KEYS = ("mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper", "leverage")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """From rows of the p features to rows of an orthonormal basis of the design, of m coordinates.

    ```python
    z = concatenate([[level], (x - centre)[kept] @ inverse])  # level: with an intercept
    ```

    Over the rows of the fit, the weighted sum of `outer(z, z)` is the identity.

    Attributes:
        level: the root of one over the sum of the weights, `None` without an intercept.
        centre: `(2, p)`: the means, and what float64 cannot hold of them; zeros without an intercept.
        kept: mask `(p,)` of the columns that do not depend on others.
        inverse: `(r, r)`, upper triangular: of the factor of the kept columns.
        shares: `(r, d)`: what the d other columns are of the kept ones, centred.
        tolerance: of a column's size, what may be left of it where it depends on others.
        size: `(d,)`, of the columns that depend on others.
    """

    level: float | None
    centre: np.ndarray
    kept: np.ndarray
    inverse: np.ndarray
    shares: np.ndarray
    tolerance: float
    size: np.ndarray

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return the coordinates `(n, m)` of rows `(n, p)`."""
        start = 0 if self.level is None else 1
        z = np.empty((len(x), start + len(self.inverse)))
        if self.level is not None:
            z[:, 0] = self.level
        np.matmul(self.centred(x)[:, self._columns], self.inverse, out=z[:, start:])
        return z

    def centred(self, x: np.ndarray) -> np.ndarray:
        """Return the rows less the means, in float64."""
        moved = np.subtract(x, self.centre[0], dtype=np.float64)
        return moved - self.centre[1] if self.centre[1].any() else moved

    def are_determined(self, x: np.ndarray) -> np.ndarray:
        """Return the mask `(n,)` of rows for which the columns depend on each other as they do in the data."""
        if self.kept.all():
            return np.ones(len(x), bool)
        moved = self.centred(x)
        rest = np.abs(moved[:, ~self.kept] - moved[:, self.kept] @ self.shares)
        reach = np.abs(moved[:, self.kept]) @ np.abs(self.shares) + self.size
        return (rest <= 100 * self.tolerance * reach).all(axis=1)

    @property
    def _columns(self):
        return slice(None) if self.kept.all() else self.kept


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A least-squares solution as statistics sees it: P parameters (the intercept first), k outputs.

    Attributes:
        names: of the parameters.
        output_names: of the outputs.
        has_intercept: whether the first parameter is one.
        params: `(P, k)`.
        estimable: mask `(P,)`: the parameters that the data determine.
        root: `(P, m)`: `scale * root @ root.T` is the covariance of the parameters; `None` where a penalty has
            pulled them. Rows of zeros belong to columns that depend on others.
        null: `(P, d)`: directions in which the parameters make no difference to the data.
        units: `(P,)`: the size of each column of the design, so that the parameters can be compared.
        dropped: whether columns that depend on others are out of the model, rather than sharing in it.
        coordinates: of new rows; `None` where a penalty has pulled the parameters.
        nobs: the number of rows whose weight is not zero.
        rank: the number of parameters that are estimated.
        ssr, ess, tss: `(k,)`: the sums of squares of residuals, of what is explained, of both.
        log_weight: the sum of the logarithms of the weights.
        inflation: `(P,)`: variance inflation factors, NaN for the intercept and what is not estimable.
        condition_number: of the design, the column of ones counted, as it is.
        scaled_condition_number: of the design, centred (with an intercept) and scaled.
        digits: of the coefficients that are sure.
    """

    names: tuple[str, ...]
    output_names: tuple[str, ...]
    has_intercept: bool
    params: np.ndarray
    estimable: np.ndarray
    root: np.ndarray | None
    null: np.ndarray
    units: np.ndarray
    dropped: bool
    coordinates: Coordinates | None
    nobs: int
    rank: int
    ssr: np.ndarray
    ess: np.ndarray
    tss: np.ndarray
    log_weight: float
    inflation: np.ndarray
    condition_number: float
    scaled_condition_number: float
    digits: float

    @property
    def df_resid(self) -> int:
        """The degrees of freedom of the residuals."""
        return self.nobs - self.rank

    @property
    def df_model(self) -> int:
        """The degrees of freedom of the model, the intercept not counted."""
        return self.rank - self.has_intercept

    @property
    def scale(self) -> np.ndarray:
        """The variance of the residuals, `(k,)`; NaN where no degrees of freedom are left, or a penalty pulls."""
        known = self.df_resid > 0 and self.root is not None
        return self.ssr / self.df_resid if known else np.full(len(self.ssr), np.nan)


def estimate(statistics: Statistics, solution: Solution, dtype: str = "float64") -> Estimate:
    """Return what inference needs of a solution of `statistics`, whose features came in `dtype`."""
    use_bias = solution.bias is not None
    features, kept = len(solution.kernel), solution.kept
    r = statistics.factor if use_bias else about_zero(statistics)
    tss = _squares(r[:, features:])
    names = (INTERCEPT,) * use_bias + solution.feature_names
    params = solution.kernel if solution.bias is None else np.concatenate([solution.bias[None], solution.kernel])
    width = len(names)
    common: dict[str, Any] = {
        "names": names,
        "output_names": solution.output_names,
        "has_intercept": use_bias,
        "params": params,
        "dropped": solution.dependent == "drop",
        "nobs": solution.nobs,
        "rank": solution.rank,
        "ssr": solution.rss,
        "tss": tss,
        "log_weight": statistics.log_weight,
        "scaled_condition_number": solution.condition_number,
        "digits": solution.digits,
    }
    if solution.l2:
        return Estimate(
            **common,
            ess=tss - solution.rss,
            estimable=np.zeros(width, bool),
            root=None,
            null=np.zeros((width, 0)),
            units=np.ones(width),
            coordinates=None,
            inflation=np.full(width, np.nan),
            condition_number=math.nan,
        )
    count = int(kept.sum())
    if count < features:
        order = np.concatenate([np.flatnonzero(kept), np.flatnonzero(~kept), features + np.arange(len(tss))])
        r = factor.triangularise(r[:, order])
    upper, size = r[:count, :count], factor.column_norms(as_doubledouble(r).hi[:, :features])
    powers = np.frexp(size[:count])[1]  # inverted in units of each column's own size, lest anything overflow
    inverse = factor.back_substitute(factor.scaled(upper, -powers), np.eye(count))
    inverse = as_doubledouble(factor.scaled(inverse, -powers[:, None]))
    mean = statistics.mean[:features] if use_bias else as_doubledouble(np.zeros(features))
    shares = matmul(inverse, as_doubledouble(r[:count, count:features])) if count < features else inverse[:, :0]
    level = 1.0 / math.sqrt(float(statistics.weight.hi)) if use_bias else None
    root = np.zeros((width, count + use_bias))
    columns = use_bias + np.flatnonzero(kept)
    root[columns, use_bias:] = inverse.hi
    null = np.zeros((width, features - count))
    null[columns] = -shares.hi
    null[use_bias + np.flatnonzero(~kept), np.arange(features - count)] = 1.0
    if use_bias:
        root[0, 0] = level
        root[0, 1:] = -matmul(mean[kept][None], inverse).hi[0]
        null[0] = (matmul(mean[kept][None], shares) - mean[~kept][None]).hi[0]
    tolerance = TOLERANCES[dtype]
    spread = factor.column_norms(as_doubledouble(statistics.factor).hi[:, :features]) / math.sqrt(solution.nobs)
    units = np.concatenate([np.ones(int(use_bias)), np.hypot(spread, mean.hi)])
    units[units == 0] = 1.0
    coordinates = Coordinates(
        level=level,
        centre=np.stack([mean.hi, mean.lo]),
        kept=kept,
        inverse=inverse.hi,
        shares=shares.hi,
        tolerance=tolerance,
        size=units[use_bias:][~kept],
    )
    estimated = np.concatenate([np.ones(int(use_bias), bool), kept])
    estimable = estimated.copy()
    if solution.dependent == "min_norm":
        estimable &= _make_no_difference(np.eye(width), null, units, tolerance)
    inflation = np.full(width, np.nan)
    inflation[columns] = (size[:count] * factor.column_norms(inverse.hi.T)) ** 2
    inflation[~estimable] = np.nan
    return Estimate(
        **common,
        ess=_squares(r[:count, features:]),
        estimable=estimable,
        root=root,
        null=null,
        units=units,
        coordinates=coordinates,
        inflation=inflation,
        condition_number=_condition_number(as_doubledouble(upper).hi, mean.hi[kept], level, root[estimated]),
    )


def covariance(found: Estimate, meat: np.ndarray | None = None) -> np.ndarray:
    """Return the covariance of the parameters: `(P, P, k)`, NaN where there is none.

    ```python
    root @ (scale * eye(m) if meat is None else meat) @ root.T
    ```

    Args:
        found: the estimate.
        meat: `(m, m, k)`, in the coordinates of the estimate: the covariance of `z.T @ residual`.
    """
    if found.root is None:
        return np.full((len(found.names), len(found.names), len(found.ssr)), np.nan)
    middle = np.eye(found.root.shape[1])[:, :, None] * found.scale if meat is None else meat
    with np.errstate(over="ignore", invalid="ignore"):  # squares of what is just within float64
        result = np.einsum("im,mnk,jn->ijk", found.root, middle, found.root, optimize=True)
    result[~found.estimable] = np.nan
    result[:, ~found.estimable] = np.nan
    return result


def standard_errors(found: Estimate, meat: np.ndarray | None = None) -> np.ndarray:
    """Return the standard errors `(P, k)`: the roots of the diagonal of `covariance`."""
    result = np.full(found.params.shape, np.nan)
    if found.root is None:
        return result
    if meat is None:
        errors = factor.column_norms(found.root.T)[:, None] * np.sqrt(found.scale)
    else:
        moved = np.einsum("im,mnk->ink", found.root, meat)
        errors = np.sqrt(np.maximum(np.einsum("ink,in->ik", moved, found.root), 0.0))
    result[found.estimable] = errors[found.estimable]
    return result


def refuse_penalty(found: Estimate) -> None:
    """Refuse to say how sure coefficients are that a penalty has pulled."""
    if found.root is None:
        raise ValueError(
            "A penalised fit has no standard errors, tests or intervals: the penalty has pulled its coefficients by an "
            "amount that the data do not tell. Fit without `kernel_regularizer`, from the moments that are there: "
            "ExactLinearRegression.from_moments(model.moments)."
        )


def combinations(found: Estimate, matrix: np.ndarray) -> np.ndarray:
    """Return the roots `(q, m)` of linear combinations `(q, P)` of the parameters.

    Raises:
        ValueError: the data do not determine a combination; it names the columns.
    """
    refuse_penalty(found)
    if found.dropped:
        out = (matrix != 0) & ~found.estimable
    else:
        lost = ~_make_no_difference(matrix, found.null, found.units, found.coordinates.tolerance)  # type: ignore[union-attr]
        out = (matrix != 0) & lost[:, None]
    if out.any():
        names = [name for name, is_out in zip(found.names, out.any(axis=0), strict=True) if is_out]
        raise ValueError(
            f"The data do not determine {', '.join(names)}: there is nothing to test. Received: columns that depend on "
            "others, or on the intercept."
        )
    return matrix @ found.root


def wald(found: Estimate, matrix: np.ndarray, value: np.ndarray, meat: np.ndarray | None = None) -> np.ndarray:
    """Return the Wald statistics `(k,)` of `matrix @ params == value`: `(q, P)`, `(q,)`; chi-squared of q.

    Raises:
        ValueError: the restrictions are not independent, or the data do not determine what they restrict.
    """
    roots = combinations(found, matrix)
    if np.linalg.matrix_rank(matrix) < len(matrix):
        raise ValueError(
            "The restrictions must be independent. Received: one that follows from, or contradicts, others."
        )
    return _wald(found, roots, of_combinations(found, matrix) - value[:, None], meat)


def wald_of_all(found: Estimate, meat: np.ndarray | None = None) -> np.ndarray:
    """Return the Wald statistics `(k,)` of no column making a difference; chi-squared of `df_model`."""
    assert found.root is not None
    columns = (found.root != 0).any(axis=1)
    columns[: int(found.has_intercept)] = False
    return _wald(found, found.root[columns], _in_terms_of_kept(found)[columns], meat)


def of_combinations(found: Estimate, matrix: np.ndarray) -> np.ndarray:
    """Return what linear combinations `(q, P)` of the parameters are: `(q, k)`."""
    return matrix @ _in_terms_of_kept(found)


def _wald(found: Estimate, roots: np.ndarray, effect: np.ndarray, meat: np.ndarray | None) -> np.ndarray:
    # In units of each combination's own error, and in an orthonormal basis of them all, nothing is ill-conditioned
    # but what is in the data.
    norms = factor.column_norms(roots.T)
    basis, upper = np.linalg.qr((roots / norms[:, None]).T)
    with np.errstate(all="ignore"):
        effect = scipy.linalg.solve_triangular(upper, effect / norms[:, None], trans="T", check_finite=False)
        if meat is None:
            return (effect**2).sum(axis=0) / found.scale
        return np.array([_over(effect[:, j], basis.T @ meat[:, :, j] @ basis) for j in range(len(found.ssr))])


def intervals(found: Estimate, x: np.ndarray, level: float) -> dict[str, np.ndarray]:
    """Return, for rows `(n, p)`, the mean, its error and limits, the limits of an observation, and the leverage.

    ```python
    mean_se = sqrt(scale * leverage)
    mean_ci = mean -+ t * mean_se
    obs_ci = mean -+ t * sqrt(scale * (1 + leverage))
    ```

    Arrays are `(n, k)`, the leverage `(n,)`. Rows in which the columns do not depend on each other as in the data
    have NaN for all but the mean.
    """
    start = int(found.has_intercept)
    x = np.asarray(x, np.float64)
    mean = x @ found.params[start:] + (found.params[0] if start else 0.0)
    coordinates = found.coordinates
    assert coordinates is not None  # there is one where there is no penalty
    leverage = (coordinates.of(x) ** 2).sum(axis=1)
    leverage[~coordinates.are_determined(x)] = np.nan
    quantile = two_sided(level, found.df_resid)
    mean_se = np.sqrt(found.scale * leverage[:, None])
    reach = quantile * mean_se
    obs_reach = quantile * np.sqrt(found.scale * (1 + leverage[:, None]))
    values = (mean, mean_se, mean - reach, mean + reach, mean - obs_reach, mean + obs_reach, leverage)
    return dict(zip(KEYS, values, strict=True))


def intervals_by_block(found: Estimate, batches: Iterable[tuple], level: float) -> Iterator[dict[str, np.ndarray]]:
    """Yield the `intervals` of batches `(x, ...)`, block by block, on all cores."""
    with one_blas_thread():
        yield from in_order(lambda block: intervals(found, block[0], level), blocks(batches, BLOCK_NUMBERS))


def typical_rows(found: Estimate, reach: float = 2.5, count: int = 200) -> np.ndarray:
    """Return rows `(count, 1)` of a single feature, that many standard deviations each way of its mean (or of 0)."""
    assert found.coordinates is not None
    spread = (found.coordinates.level or 1 / math.sqrt(found.nobs)) / abs(found.coordinates.inverse[0, 0])
    return (found.coordinates.centre[0] + np.linspace(-reach, reach, count) * spread)[:, None]


def check_level(level) -> float:
    """Return a coverage; refuse what is not between 0 and 1."""
    try:
        good = 0 < float(level) < 1
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"`level` must be a coverage between 0 and 1, such as 0.95 (not an alpha). Received: level={level!r}."
        )
    return float(level)


def two_sided(level: float, df: float | None) -> float:
    """Return the quantile that t (of `df` degrees of freedom), or a normal variable, exceeds in size by 1 - level."""
    tail = (1 - level) / 2
    return float(-special.ndtri(tail) if df is None else -special.stdtrit(df, tail))


def p_of_t(t, df: float | None):
    """Return how likely a t of `df` degrees of freedom (normal: `None`) is so large in size, either way."""
    return 2 * (special.ndtr(-np.abs(t)) if df is None else special.stdtr(df, -np.abs(t)))


def p_of_f(f, df_num, df_denom):
    """Return how likely an F is so large."""
    return special.fdtrc(df_num, df_denom, f)


def p_of_chi2(value, df):
    """Return how likely a chi-squared is so large."""
    return special.chdtrc(df, value)


def log_likelihood(found: Estimate) -> np.ndarray:
    """Return the Gaussian log-likelihoods `(k,)`, the weights being precisions."""
    n = found.nobs
    with np.errstate(divide="ignore"):
        return -n / 2 * (np.log(2 * np.pi) + np.log(found.ssr / n) + 1) + found.log_weight / 2


def _in_terms_of_kept(found: Estimate) -> np.ndarray:
    """Return the parameters `(P, k)` with those of dependent columns moved to the columns that they depend on."""
    assert found.root is not None
    dependent = (found.root == 0).all(axis=1)
    return found.params - found.null @ found.params[dependent]


def _over(effect: np.ndarray, middle: np.ndarray) -> float:
    """Return `effect @ inv(middle) @ effect`; NaN where `middle` is singular, too few clusters being behind it."""
    size, vectors = np.linalg.eigh(middle)
    if not size[0] > 1e-12 * size[-1]:
        return math.nan
    return float(((vectors.T @ effect) ** 2 / size).sum())


def _make_no_difference(rows: np.ndarray, null: np.ndarray, units: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the mask of combinations `(q, P)` to which the directions `null`, `(P, d)`, make no difference."""
    size = (np.abs(rows) / units).max(axis=1)[:, None] * (np.abs(null) * units[:, None]).max(axis=0, initial=0.0)
    return (np.abs(rows @ null) <= 100 * tolerance * size).all(axis=1)


def _condition_number(upper: np.ndarray, mean: np.ndarray, level: float | None, root: np.ndarray) -> float:
    """Return the condition number of the design as it is, by the norms of its factor and of that's inverse."""
    if level is not None:
        whole = np.zeros((len(upper) + 1, len(upper) + 1))
        whole[0, 0], whole[0, 1:], whole[1:, 1:] = 1 / level, mean / level, upper
        upper = whole
    if not len(upper):
        return 1.0
    with np.errstate(all="ignore"):
        largest, inverse = (scipy.linalg.svdvals(a, check_finite=False)[0] for a in (upper, root))
    return float(largest * inverse)


def _squares(values) -> np.ndarray:
    values = as_doubledouble(values)
    return (values * values).sum(0).hi
