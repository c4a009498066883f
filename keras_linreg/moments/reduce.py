"""From rows in memory to their statistics: in float64 at the speed of matrix products, or in double-double."""

import concurrent.futures
import itertools
from collections.abc import Callable

import numpy as np

from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import UNIT_ROUNDOFF, DoubleDouble, as_doubledouble, sqrt, two_sum
from keras_linreg.moments.checks import check_finite
from keras_linreg.sufficient_statistics import Statistics, empty
from keras_linreg.utils.threads import cores

BLOCK_NUMBERS = 160_000  # of a block of rows: it stays in a core's cache
WORTH_THREADS = 200_000
LANES = 8  # BLAS is up to twice as fast on rows whose length is a multiple of its vectors'
MAX_THREADS = 16
# Cross-products lose as many digits as the variance inflation has. They may lose two; beyond, reflections take over.
LARGEST_INFLATION = 100.0
SMALLEST_UNEXPLAINED = 1e-5  # the residual sum of squares loses as many digits as this has
FARTHEST_MEAN = 100.0  # squared distance of the mean from the shift, in variances


def reduce_rows(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, first_row: int = 0) -> Statistics:
    """Return the statistics of rows in memory, in float64.

    Centred blocks are multiplied, on all cores, if the columns are well conditioned; else Householder reflections
    reduce them.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        first_row: the number of the first of these rows among all rows, for errors.

    Raises:
        NotFinite: a number of x or y is NaN or infinite.
    """
    all_rows = x, y, weights
    x, y, weights = without_zero_weights(x, y, weights)
    width = x.shape[1] + y.shape[1]
    if not len(x):
        check_finite(*all_rows, first_row)
        return empty(width)
    constant = np.concatenate([_constant_columns(x), _constant_columns(y)])
    shift = np.concatenate([_number_near_mean(x), _number_near_mean(y)])
    with np.errstate(over="ignore", invalid="ignore"):
        result = _by_cross_products(x, y, weights, shift, constant)
        if result is None:
            check_finite(*all_rows, first_row)
            shift[~np.isfinite(shift)] = 0.0  # the mean of the largest numbers overflows
            result = _by_reflections(x, y, weights, shift)
    total, offset, r = result
    r[:, constant] = 0.0
    mean = DoubleDouble(*two_sum(shift, np.where(constant, 0.0, offset)))
    weight = as_doubledouble(total) if weights is None else DoubleDouble(weights).sum()
    log_weight = 0.0 if weights is None else float(np.log(weights).sum())
    return Statistics(len(x), weight, log_weight, mean, r, constant)


def reduce_in_double_double(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> Statistics:
    """Return the statistics of a few rows, computed in double-double: `(n, p)`, `(n, k)`, and `(n,)` or None.

    The rows are finite, and no weight is zero.
    """
    rows = np.concatenate([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1)
    constant = (rows == rows[:1]).all(axis=0)
    size = np.abs(rows).max(axis=0, initial=0.0)
    exponents = np.frexp(np.where(size > 0, size, 1.0))[1]
    columns = DoubleDouble(np.ldexp(rows, -exponents).T)
    weight = DoubleDouble(np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64))
    total = weight.sum()
    mean = (columns * weight).sum(-1) / total
    mean.hi[constant], mean.lo[constant] = columns.hi[constant, 0], 0.0
    centred = (columns - mean[:, None]) * sqrt(weight)
    return Statistics(
        nobs=len(rows),
        weight=total,
        log_weight=0.0 if weights is None else float(np.log(weight.hi).sum()),
        mean=mean.scaled(exponents),
        factor=triangular.gram_schmidt(centred)[0].scaled(exponents),
        constant=constant,
        error=UNIT_ROUNDOFF,
    )


def residual_norms(r: np.ndarray, features: int) -> np.ndarray:
    """Return the norm of each output's residuals: the root of its residual sum of squares, from its part of R."""
    return triangular.column_norms(r[features:, features:])


def _constant_columns(values: np.ndarray) -> np.ndarray:
    """Return the mask of columns whose minimum equals their maximum."""
    first = np.asarray(values[:64])
    varies = (first != first[0]).any(axis=0)
    for j in np.flatnonzero(~varies):
        varies[j] = (values[:, j] != first[0, j]).any()
    return ~varies


def _number_near_mean(values: np.ndarray) -> np.ndarray:
    """Return a number to subtract from each column: about its mean, 0 if that is near 0, a constant column's number."""
    first = np.asarray(values[:64], np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = first.mean(axis=0)
        near = np.where(np.abs(mean) <= first.std(axis=0), 0.0, mean)
    return np.where((first == first[0]).all(axis=0), first[0], near)


def _by_cross_products(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray, constant: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Return the sum of weights, the mean less `shift`, and R; or None if they would lose too many digits.

    `shift` is changed in place to the mean if it is too far from it.
    """
    width = len(shift)
    products = _over_rows(_cross_products, x, y, weights, shift)
    for _ in range(2):
        if not np.isfinite(products).all():
            return None
        total = products[width, width]
        offset = products[:width, width] / total
        centred = products[:width, :width] - total * np.outer(offset, offset)
        spread = np.diag(centred)
        if (total * offset**2 <= FARTHEST_MEAN * spread)[~constant].all():
            break
        # The first rows were not like the others: once more, about the mean itself.
        shift += np.where(constant, 0.0, offset)
        products = _over_rows(_cross_products, x, y, weights, shift)
    else:
        return None
    used = ~constant
    if (~((spread > 1e-250) & (spread < 1e250)))[used].any():
        return None
    r = _cholesky(centred, used, x.shape[1])
    return None if r is None else (total, offset, r)


def _cholesky(products: np.ndarray, used: np.ndarray, features: int) -> np.ndarray | None:
    """Return R of cross-products, zeros for unused columns; or None if the columns are ill-conditioned."""
    where = np.flatnonzero(used)
    count = int(used[:features].sum())
    scale = np.sqrt(np.diag(products)[where])
    try:
        r = np.linalg.cholesky(products[np.ix_(where, where)] / np.outer(scale, scale)).T
    except np.linalg.LinAlgError:
        return None
    if count and (triangular.inflation_factors(r[:count, :count]) > LARGEST_INFLATION).any():
        return None
    if (np.diag(r)[count:] ** 2 < SMALLEST_UNEXPLAINED).any():
        return None
    whole = np.zeros_like(products)
    whole[np.ix_(where, where)] = r * scale
    return whole


def _by_reflections(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the sum of weights, the mean less `shift`, and R, by Householder reflections of `[1 x y]`.

    The column of ones comes first, so its reflection takes the mean out of all other columns.
    """
    r = triangular.triangularise(_over_rows(_reflections, x, y, weights, shift))
    total = r[0, 0] ** 2 if weights is not None else float(len(x))
    return total, r[0, 1:] / r[0, 0], np.ascontiguousarray(r[1:, 1:])


def _over_rows(
    function: Callable[..., np.ndarray], x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray
) -> np.ndarray:
    """Return the cross-products or the factors of the rows, which the cores share: sums are added, factors stacked."""
    width = len(shift) + 1
    height = max(BLOCK_NUMBERS // width, 2 * width)
    threads = min(cores(), MAX_THREADS, -(-len(x) // height))
    if threads == 1 or x.size < WORTH_THREADS:
        return function(x, y, weights, shift, height)
    # NumPy's warning settings belong to a thread: the callers' do not reach these.
    quietly = np.errstate(over="ignore", invalid="ignore")(function)
    bounds = np.linspace(0, len(x), threads + 1).astype(int)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        shares = [
            pool.submit(quietly, x[a:b], y[a:b], None if weights is None else weights[a:b], shift, height)
            for a, b in itertools.pairwise(bounds)
        ]
        parts = [share.result() for share in shares]
    return np.sum(parts, axis=0) if function is _cross_products else np.concatenate(parts)


def _cross_products(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray, height: int
) -> np.ndarray:
    """Return the cross-products `(q + 1, q + 1)` of `[x y 1]`, shifted and weighted, block by block."""
    features, width = x.shape[1], len(shift) + 1
    padded = -(-width // LANES) * LANES
    products = np.zeros((padded, padded))
    height = min(height, len(x))
    rows = np.zeros((height, padded))
    is_shifted = shift[:features].any()
    rows[:, width - 1] = 1.0
    for start in range(0, len(x), height):
        n = min(height, len(x) - start)
        block = rows[:n]
        if is_shifted:
            np.subtract(x[start : start + n], shift[:features], out=block[:, :features])
        else:  # a copy is faster
            block[:, :features] = x[start : start + n]
        np.subtract(y[start : start + n], shift[features:], out=block[:, features : width - 1])
        if weights is not None:
            root = np.sqrt(weights[start : start + n])[:, None]
            block[:, : width - 1] *= root
            block[:, width - 1 : width] = root
        products += block.T @ block  # SciPy's dsyrk would be faster, but keeps all other threads waiting
    return products[:width, :width]


def _reflections(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, shift: np.ndarray, height: int
) -> np.ndarray:
    """Return the R of `[1 x y]`, shifted and weighted, block by block."""
    features = x.shape[1]
    width = len(shift) + 1
    r = np.zeros((0, width))
    for start in range(0, len(x), height):
        n = len(x[start : start + height])
        block = np.empty((len(r) + n, width), order="F")
        block[: len(r)] = r
        new = block[len(r) :]
        new[:, 0] = 1.0
        np.subtract(x[start : start + n], shift[:features], out=new[:, 1 : features + 1])
        np.subtract(y[start : start + n], shift[features:], out=new[:, features + 1 :])
        if weights is not None:
            new *= np.sqrt(weights[start : start + n])[:, None]
        r = triangular.householder(block)
    return r
