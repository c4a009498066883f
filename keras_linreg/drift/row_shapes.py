"""The third and fourth moments of columns, which the moments of a fit do not hold, beside the reduction of the rows."""

from typing import Any

import numpy as np
import scipy.sparse

from keras_linreg.inference.central_moments import CentralMoments
from keras_linreg.utils.threads import in_order, one_blas_thread
from keras_linreg.utils.types import Array

SLAB_NUMBERS = 2**15  # of a slab of rows: two copies stay in a core's cache
ENOUGH_ROWS = 2**16  # of a batch
SHARES = 8  # of the slabs, on however many threads: the bits do not depend on them
WORTH_THREADS = 2**17  # numbers; the reduction of the rows uses all cores, too

_Sums = tuple[Array, float, Array, int]  # of powers 1 to 4 of columns, and of weights; of residuals, and their count


def row_shapes(
    x: Any, y: Array | None, weights: Array | None, kernel: Array, bias: Array, units: tuple[Array, Array]
) -> tuple[CentralMoments, CentralMoments]:
    """Return the central moments of the columns of rows, `(p,)`, and of their residuals, `(k,)`.

    The third and the fourth powers cost as much as the cross-products of few columns. They serve for standard errors
    alone, which a part of many rows tells as well. So of more than 2**16 rows about so many are taken, in slabs of
    consecutive rows from all parts of the batch. A part shows fewer numbers from far out: of 500,000 t5 numbers in one
    batch, 6 % of the p-values of the variance are below 5 %, beside 5 % if all rows are taken.

    Args:
        x: `(n, p)`, dense or sparse.
        y: `(n, k)`, or None: then there are no residuals.
        weights: `(n,)`, or None. Columns are weighted by them. Residuals count alike, times the roots of the weights,
            which have one variance.
        kernel, bias: `(p, k)` and `(k,)`, of the fit.
        units: `(p,)` and `(k,)`, that columns and residuals are divided by, so that no power overflows.
    """
    rows, width = x.shape
    height = max(SLAB_NUMBERS // max(width, 1), 1)
    starts = list(range(0, rows, height))[:: max(-(-rows // ENOUGH_ROWS), 1)]
    shifts = _near_means(x, y, kernel, bias, height)
    factors = 1 / units[0], 1 / units[1]

    def of_share(some: list[int]) -> _Sums:
        with np.errstate(all="ignore"):  # powers of huge numbers overflow: such columns get no p-value
            return _sums(x, y, weights, kernel, bias, shifts, factors, [slice(start, start + height) for start in some])

    shares = [starts[i::SHARES] for i in range(SHARES)]
    is_worth_threads = len(starts) * height * width >= WORTH_THREADS
    with one_blas_thread():
        parts = list(in_order(of_share, shares) if is_worth_threads else map(of_share, shares))
    with np.errstate(all="ignore"):
        columns, total, residuals, count = (sum(part[1:], part[0]) for part in zip(*parts, strict=True))
        return _central(columns, shifts[0] * factors[0], total), _central(residuals, shifts[1] * factors[1], count)


def _near_means(x: Any, y: Array | None, kernel: Array, bias: Array, height: int) -> tuple[Array, Array]:
    """Return numbers near the means of columns and of residuals: powers of differences from them keep their digits."""
    some = _dense(x[: min(height, 256)])
    if not len(some):
        return np.zeros(x.shape[1]), np.zeros(kernel.shape[1])
    with np.errstate(all="ignore"):
        residuals = None if y is None else y[: len(some)] - bias - some @ kernel
        means = some.mean(axis=0), np.zeros(kernel.shape[1]) if residuals is None else residuals.mean(axis=0)
    return tuple(np.where(np.isfinite(mean), mean, 0.0) for mean in means)  # type: ignore[return-value]


def _sums(
    x: Any,
    y: Array | None,
    weights: Array | None,
    kernel: Array,
    bias: Array,
    shifts: tuple[Array, Array],
    factors: tuple[Array, Array],
    slabs: list[slice],
) -> _Sums:
    """Return the sums of powers of some slabs."""
    columns, residuals = np.zeros((4, len(kernel))), np.zeros((4, len(bias)))
    total, count = 0.0, 0
    for slab in slabs:
        rows = _dense(x[slab])
        heavy = np.ones(len(rows)) if weights is None else weights[slab]
        if y is not None:
            errors = (y[slab] - bias - rows @ kernel - shifts[1]) * factors[1]
            errors = errors if weights is None else errors * np.sqrt(heavy)[:, None]
            _add_powers(residuals, errors, np.ones(len(rows)))
            count += len(rows)
        differences = rows - shifts[0]
        differences *= factors[0]
        _add_powers(columns, differences, heavy)
        total += float(heavy.sum())
    return columns, total, residuals, count


def _add_powers(sums: Array, differences: Array, weights: Array) -> None:
    """Add the weighted sums of powers 1 to 4 of differences `(n, p)`, which are overwritten."""
    squares = differences * differences
    sums[0] += weights @ differences
    sums[1] += weights @ squares
    np.multiply(squares, differences, out=differences)
    sums[2] += weights @ differences
    np.multiply(squares, squares, out=squares)
    sums[3] += weights @ squares


def _central(sums: Array, shift: Array, total: float) -> CentralMoments:
    """Return central moments of sums of powers of differences from a point.

    A difference from the mean is a difference from the point, less `d`, the mean of these. The binomial theorem expands
    its powers.
    """
    if not total:
        return CentralMoments(0, shift, *np.zeros((3, len(shift))))
    first, second, third, fourth = sums
    d = first / total
    return CentralMoments(
        total,
        shift + d,
        second - total * d**2,
        third - 3 * d * second + 2 * total * d**3,
        fourth - 4 * d * third + 6 * d**2 * second - 3 * total * d**4,
    )


def _dense(rows: Any) -> Array:
    return rows.toarray() if scipy.sparse.issparse(rows) else np.asarray(rows, np.float64)
