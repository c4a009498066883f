"""How sure the coefficients are: covariances, tests and intervals, as functions of arrays."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.linalg
from scipy import special

from keras_linreg.inference.estimate import Estimate, make_no_difference
from keras_linreg.linalg import triangular
from keras_linreg.moments.reduce import blocks
from keras_linreg.utils.threads import in_order, one_blas_thread

BLOCK_NUMBERS = 2**17  # of a block of rows: it stays in a core's cache
KEYS = ("mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper", "leverage")


def per_output(values: np.ndarray):
    """Return figures whose last axis is the outputs', without that axis where there is one output."""
    if values.shape[-1] > 1:
        return values
    return values[..., 0] if values.ndim > 1 else float(values[0])


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
        errors = triangular.column_norms(found.root.T)[:, None] * np.sqrt(found.scale)
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
        lost = ~make_no_difference(matrix, found.null, found.units, found.coordinates.tolerance)  # type: ignore[union-attr]
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
    norms = triangular.column_norms(roots.T)
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


def typical_rows(found: Estimate, count: int, reach: float = 2.5) -> np.ndarray:
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
