"""Refinement: the last digits of nearly dependent columns, from further looks at data that can be read again."""

import dataclasses
import math
import threading
from collections.abc import Callable, Iterable

import numpy as np

from keras_linreg.data.row_blocks import row_blocks, without_zero_weights
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul
from keras_linreg.linalg.slices import RELATIVE_ERROR, SlicedRows
from keras_linreg.solvers.solution import Solution
from keras_linreg.sufficient_statistics import Plane, Statistics
from keras_linreg.utils.threads import in_order, one_blas_thread
from keras_linreg.utils.types import Batch
from keras_linreg.utils.warnings import warn_user

BLOCK_NUMBERS = 2**18  # of blocks of half the size the interpreter's part takes as long as the numbers'
LONGEST_SUM = 2**11  # rows of a block: the longer a sum, the shorter must slices be
SAME_MEAN = 1e-9  # of a standard deviation: how far the mean of a further look may be off
FAR = 16.0  # standard deviations of a mean from 0: closer columns are cut into slices as they are
ENOUGH_DIGITS = 13.0
FURTHER_LOOKS = 2


class OtherRows(Exception):
    """A further look did not bring back the rows of the first."""


def refine(
    statistics: Statistics,
    solve: Callable[[Statistics], Solution],
    read_again: Callable[[], Iterable[Batch]],
) -> Statistics:
    """Return statistics whose least-squares solution has more digits, after as many further looks as pay.

    A look that does not bring back the same rows is discarded with a warning.

    Args:
        statistics: of the first look, in float64.
        solve: returns their least-squares solution, with an intercept.
        read_again: returns the batches `(x, y, sample_weight)` of the same rows, in any order.
    """
    for _ in range(FURTHER_LOOKS):
        solution = solve(statistics)
        is_full_rank = not (~solution.kept & ~statistics.constant[: len(solution.kept)]).any()
        if solution.digits_of_kernel >= ENOUGH_DIGITS or not is_full_rank:
            break
        try:
            statistics = correct(statistics, solution, read_again())
        except OtherRows:
            warn_user(
                "A second look at the data, for the last digits, did not bring back the same rows (are they "
                "augmented, or shuffled under steps_per_epoch?); it was discarded."
            )
            break
    return statistics


def correct(statistics: Statistics, solution: Solution, batches: Iterable[Batch]) -> Statistics:
    """Return statistics with a solution nearer to the exact one.

    Let w be the kernel that the factor R gave, with rounding errors. The exact kernel is `w + d`, and d solves the
    least-squares problem of the residuals, whose normal equations are

    ```python
    R.T @ R @ d == x.T @ (y - x @ w - bias)  # x and y less their means
    ```

    The right side is computed from the rows with twice float64's digits, because w almost solves the problem and
    everything cancels. R need only have a few digits: an error of it is a small part of a small step. These are the
    corrected semi-normal equations. So w becomes the plane of the statistics, and `inv(R.T)` times the right side is
    what it leaves.

    Args:
        statistics: of the first look, in float64, or of `correct`.
        solution: of `statistics`, with an intercept and without a penalty.
        batches: `(x, y, sample_weight)` of the same rows again, in any order.

    Raises:
        OtherRows: they are not the same rows.

    References:
        Björck, "Stability analysis of the method of seminormal equations for linear least squares problems" (1987).
    """
    kernel, kept = solution.kernel, solution.kept
    features = len(kernel)
    r = as_doubledouble(statistics.factor).hi
    spread = triangular.column_norms(r) / math.sqrt(float(statistics.weight.hi))
    sums = _sums(statistics, kernel, spread, batches)
    mean_of_residuals = sums.residuals / statistics.weight
    error_of_means = (sums.rows - sums.expected).hi / float(statistics.weight.hi)
    is_near = np.abs(error_of_means) <= SAME_MEAN * spread[:features]
    is_exact = np.abs(mean_of_residuals.hi) <= SAME_MEAN * (spread[features:] + np.abs(kernel).T @ spread[:features])
    if sums.nobs != statistics.nobs or not (is_near.all() and is_exact.all()):
        raise OtherRows
    gradient = (sums.products - sums.rows[:, None] * mean_of_residuals[None]).hi
    rest = np.zeros_like(kernel)
    rest[kept] = triangular.back_substitute(
        r[:features, :features][np.ix_(kept, kept)], gradient[kept], transposed=True
    )
    factor = r.copy()
    factor[:features, features:] = r[:features, :features] @ kernel + rest
    mean = statistics.mean.copy()
    mean[features:] = mean[features:] + mean_of_residuals
    plane = Plane(kernel.copy(), rest, RELATIVE_ERROR, RELATIVE_ERROR)
    return dataclasses.replace(statistics, mean=mean, factor=factor, plane=plane)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Weighted sums over rows.

    Attributes:
        nobs: the number of rows whose weight is not zero.
        rows: `(p,)`: of shifted x; what they are in the statistics is `expected`.
        residuals: `(k,)`: of the residuals of a kernel.
        products: `(p, k)`: of shifted x times residuals.
    """

    nobs: int
    rows: DoubleDouble
    residuals: DoubleDouble
    products: DoubleDouble
    expected: DoubleDouble

    def plus(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.nobs + other.nobs,
            self.rows + other.rows,
            self.residuals + other.residuals,
            self.products + other.products,
            self.expected,
        )


class _Memory(threading.local):
    """Memory of each thread for the slices of its blocks."""

    def __init__(self, features: int):
        self._slices = np.empty((2, 0, features))

    def of_rows(self, count: int) -> np.ndarray:
        """Return memory for at least so many rows."""
        if self._slices.shape[1] < count:
            self._slices = np.empty((2, count, self._slices.shape[2]))
        return self._slices


def _sums(statistics: Statistics, kernel: np.ndarray, spread: np.ndarray, batches: Iterable[Batch]) -> _Sums:
    """Return the sums over all rows, in double-double."""
    features, outputs = kernel.shape
    mean = statistics.mean
    shift = np.where(np.abs(mean.hi[:features]) > FAR * spread[:features], mean.hi[:features], 0.0)
    centre = mean[:features] - shift
    level = mean[features:] - matmul(centre[None], kernel)[0]
    expected = centre * statistics.weight

    memory = _Memory(features)

    def sums_of_block(block: Batch) -> _Sums:
        x, y, weights = without_zero_weights(*block)
        rows = SlicedRows(np.asarray(x), shift, memory.of_rows(len(x)))
        residuals = (DoubleDouble(np.asarray(y, np.float64)) - level[None]) - rows.times(kernel)
        if weights is not None:
            residuals = residuals.times(weights[:, None])
        total = rows.sum() if weights is None else rows.products_by(DoubleDouble(weights[:, None]))[0][:, 0]
        products, sums = rows.products_by(residuals)
        return _Sums(len(x), total, sums, products, expected)

    zeros = DoubleDouble(np.zeros((features, outputs)))
    total = _Sums(0, expected - expected, level - level, zeros, expected)
    numbers = min(BLOCK_NUMBERS, LONGEST_SUM * features)
    with one_blas_thread():
        for sums in in_order(sums_of_block, row_blocks(batches, numbers)):
            total = total.plus(sums)
    return total
