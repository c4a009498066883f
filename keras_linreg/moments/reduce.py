"""From rows in memory to their statistics: in float64 as fast as the machine multiplies, or in double-double."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import UNIT_ROUNDOFF, DoubleDouble, as_doubledouble, sqrt, two_sum
from keras_linreg.utils.threads import cores

BLOCK_NUMBERS = 160_000  # of a block of rows: it stays in a core's cache
WORTH_THREADS = 200_000
LANES = 8  # BLAS is up to twice as fast on rows whose length is a multiple of its vectors'
MAX_THREADS = 16
# Cross-products lose as many digits as the variance inflation has: two, here, and then Householder takes over.
LARGEST_INFLATION = 100.0
SMALLEST_UNEXPLAINED = 1e-5  # the residual sum of squares loses as many digits as this has
FARTHEST_MEAN = 100.0  # squared distance of the mean from the shift, in variances
LARGEST = 1e298  # means and norms, of which error-free products do not overflow


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """Weighted means and cross-products of the q columns of `[x y]` over some rows.

    `factor.T @ factor` is the sum over rows of `weight * outer(row - mean, row - mean)`.

    Attributes:
        nobs: the number of rows whose weight is not zero.
        weight: the sum of the weights, a double-double scalar.
        log_weight: the sum of the weights' logarithms.
        mean: double-double `(q,)`.
        factor: upper triangular `(q, q)`, double-double or float64.
        constant: mask `(q,)`: the minimum of a column is its maximum.
        error: the relative rounding error that the solution sees, with intercept and without penalty.
    """

    nobs: int
    weight: DoubleDouble
    log_weight: float
    mean: DoubleDouble
    factor: DoubleDouble | np.ndarray
    constant: np.ndarray
    error: float = 2.0**-53

    @property
    def error_elsewhere(self) -> float:
        """The rounding error that other solutions see: further looks polish for one."""
        return self.error if self.error <= UNIT_ROUNDOFF else max(self.error, 2.0**-53)

    @property
    def exact(self) -> bool:
        """Whether the factor is held in double-double."""
        return isinstance(self.factor, DoubleDouble)


def without_zeros(x, y, weights) -> tuple:
    """Return the rows whose weight is not zero; weights that are all 1 are none."""
    if weights is None:
        return x, y, None
    weights = np.asarray(weights, np.float64)
    if (weights == 0).any():
        used = weights != 0
        x, y, weights = x[used], y[used], weights[used]
    return x, y, None if (weights == 1).all() else weights


def blocks(batches: Iterable[tuple], numbers: int) -> Iterator[tuple]:
    """Yield `(x, y, weights)`, of which the last ones may be `None`, in parts whose x has about so many numbers."""
    for x, y, weights in batches:
        height = max(1, numbers // x.shape[1])
        for start in range(0, len(x), height):
            rows = slice(start, start + height)
            yield tuple(None if part is None else part[rows] for part in (x, y, weights))


def nothing(width: int) -> Statistics:
    """Return the statistics of no rows."""
    zero = DoubleDouble(np.zeros(()))
    return Statistics(0, zero, 0.0, DoubleDouble(np.zeros(width)), np.zeros((width, width)), np.zeros(width, bool))


def norms_of_rest(r: np.ndarray, features: int) -> np.ndarray:
    """Return the norm of what the features leave of each output: the root of its residual sum of squares."""
    return triangular.column_norms(r[features:, features:])


def reduce(x, y, weights=None, first_row: int = 0) -> Statistics:
    """Return the statistics of rows in memory, in float64: `(n, p)`, `(n, k)`, `(n,)`.

    Cross-products of centred blocks, on all cores, where the columns are well conditioned; Householder reflections
    where they are not.
    """
    given = x, y, weights
    x, y, weights = without_zeros(x, y, weights)
    width = x.shape[1] + y.shape[1]
    if not len(x):
        check_finite(*given, first_row)
        return nothing(width)
    constant = np.concatenate([_constant(x), _constant(y)])
    shift = np.concatenate([_typical(x), _typical(y)])
    with np.errstate(over="ignore", invalid="ignore"):
        found = _by_cross_products(x, y, weights, shift, constant)
        if found is None:
            check_finite(*given, first_row)
            shift[~np.isfinite(shift)] = 0.0  # the mean of the largest numbers overflows
            found = _by_reflections(x, y, weights, shift)
    total, offset, r = found
    r[:, constant] = 0.0
    mean = DoubleDouble(*two_sum(shift, np.where(constant, 0.0, offset)))
    if weights is not None:
        total = DoubleDouble(weights).sum()
    log_weight = 0.0 if weights is None else float(np.log(weights).sum())
    return Statistics(len(x), as_doubledouble(total), log_weight, mean, r, constant)


def _constant(values) -> np.ndarray:
    """Return the mask of columns whose minimum is their maximum."""
    varies = (values[:64] != values[0]).any(axis=0)
    for j in np.flatnonzero(~varies):
        varies[j] = (values[:, j] != values[0, j]).any()
    return ~varies


def _typical(values) -> np.ndarray:
    """Return a number near each column's mean to subtract: 0 where that is near enough, the constant of a constant."""
    first = np.asarray(values[:64], np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = first.mean(axis=0)
        near = np.where(np.abs(mean) <= first.std(axis=0), 0.0, mean)
    return np.where((first == first[0]).all(axis=0), first[0], near)


def _by_cross_products(x, y, weights, shift, constant):
    """Return the sum of weights, the mean beyond `shift` and R; `None` where they would have lost too many digits.

    `shift` itself is moved where it is not near the mean.
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
    """Return R of cross-products, with rows and columns of zeros for columns not used; `None` if ill-conditioned."""
    where = np.flatnonzero(used)
    count = int(used[:features].sum())
    scale = np.sqrt(np.diag(products)[where])
    try:
        r = np.linalg.cholesky(products[np.ix_(where, where)] / np.outer(scale, scale)).T
    except np.linalg.LinAlgError:
        return None
    if count and (triangular.inverse_norms(r[:count, :count]) ** 2 > LARGEST_INFLATION).any():
        return None
    if (np.diag(r)[count:] ** 2 < SMALLEST_UNEXPLAINED).any():
        return None
    whole = np.zeros_like(products)
    whole[np.ix_(where, where)] = r * scale
    return whole


def _by_reflections(x, y, weights, shift):
    """Return the sum of weights, the mean beyond `shift` and R, by Householder reflections of `[1 x y]`."""
    folded = triangular.triangularise(_over_rows(_reflections, x, y, weights, shift))
    # The first column takes the mean out of the others, exactly as far as it goes.
    total = folded[0, 0] ** 2 if weights is not None else float(len(x))
    return total, folded[0, 1:] / folded[0, 0], np.ascontiguousarray(folded[1:, 1:])


def _over_rows(function, x, y, weights, shift) -> np.ndarray:
    """Return what `function` makes of the rows, shared out over the cores: sums are added, factors stacked."""
    width = len(shift) + 1
    height = max(BLOCK_NUMBERS // width, 2 * width)
    threads = min(cores(), MAX_THREADS, -(-len(x) // height))
    if threads == 1 or x.size < WORTH_THREADS:
        return function(x, y, weights, shift, height)
    # A thread does not know how its caller has set NumPy's warnings.
    quietly = np.errstate(over="ignore", invalid="ignore")(function)
    bounds = np.linspace(0, len(x), threads + 1).astype(int)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        shares = [
            pool.submit(quietly, x[a:b], y[a:b], None if weights is None else weights[a:b], shift, height)
            for a, b in itertools.pairwise(bounds)
        ]
        parts = [share.result() for share in shares]
    return np.sum(parts, axis=0) if function is _cross_products else np.concatenate(parts)


def _cross_products(x, y, weights, shift, height: int) -> np.ndarray:
    """Return the cross-products `(q + 1, q + 1)` of `[x y 1]`, shifted and weighted, block by block."""
    features, width = x.shape[1], len(shift) + 1
    padded = -(-width // LANES) * LANES
    products = np.zeros((padded, padded))
    height = min(height, len(x))
    rows = np.zeros((height, padded))
    moved = shift[:features].any()
    rows[:, width - 1] = 1.0
    for start in range(0, len(x), height):
        n = min(height, len(x) - start)
        block = rows[:n]
        if moved:
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


def _reflections(x, y, weights, shift, height: int) -> np.ndarray:
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


def exactly(x, y, weights=None) -> Statistics:
    """Return the statistics of a few rows, everything in double-double: `(n, p)`, `(n, k)`, `(n,)`."""
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


def check_finite(x, y, weights, first_row: int) -> None:
    """Refuse a number that is not finite, but in a row of weight 0."""
    for name, values in (("x", x), ("y", y)):
        good = np.isfinite(np.asarray(values, np.float64))
        if weights is not None:
            good |= (np.asarray(weights) == 0)[:, None]
        if not good.all():
            row, column = (int(i) for i in np.argwhere(~good)[0])
            raise NotFinite(name, column, first_row + row, float(values[row, column]))


def check_held(statistics: Statistics, features: int) -> None:
    """Refuse columns whose mean, or norm about it, is too large to be multiplied without error."""
    parts = np.vstack([as_doubledouble(statistics.factor).hi, statistics.mean.hi])
    bad = ~(np.abs(parts) < LARGEST).all(axis=0)
    if bad.any():
        column = int(np.argmax(bad))
        raise TooLarge(*("x", column) if column < features else ("y", column - features))


class TooLarge(ValueError):
    """A column of x or y has a norm that is too large; it knows which."""

    def __init__(self, what: str, column: int):
        super().__init__(f"Column {column} of `{what}` must have a norm below {LARGEST:.0e}.")
        self.what, self.column = what, column


class NotFinite(ValueError):
    """A number of x or y is NaN or infinite; it knows where."""

    def __init__(self, what: str, column: int, row: int, value: float):
        super().__init__(f"`{what}` must be finite. Received: {value} in column {column}, row {row}.")
        self.what, self.column, self.row, self.value = what, column, row, value
