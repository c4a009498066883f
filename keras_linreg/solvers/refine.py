"""Refinement: the last digits of nearly dependent columns, from further looks at data that can be read again."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np

from keras_linreg.data.row_blocks import row_blocks, without_zero_weights
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul, two_sum
from keras_linreg.solvers.solution import Solution
from keras_linreg.solvers.solve import amplification
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF, Statistics
from keras_linreg.utils.threads import in_order
from keras_linreg.utils.types import Batch
from keras_linreg.utils.warnings import warn_user

BLOCK_NUMBERS = 2**17
SAME_MEAN = 1e-9  # of a standard deviation: how far the mean of a further look may be off
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
    last_step = 1.0
    for _ in range(FURTHER_LOOKS):
        solution = solve(statistics)
        is_full_rank = not (~solution.kept & ~statistics.constant[: len(solution.kept)]).any()
        if solution.digits >= ENOUGH_DIGITS or not is_full_rank:
            break
        try:
            corrected, step = correct(statistics, solution, read_again())
        except OtherRows:
            warn_user(
                "A second look at the data, for the last digits, did not bring back the same rows (are they "
                "augmented, or shuffled under steps_per_epoch?); it was discarded."
            )
            break
        # A step is about as large as the error before it. The next one would be smaller by the same ratio again.
        amplified = amplification(solution.scaled_condition_number, solution.unexplained)
        ratio = step / last_step if last_step < 1.0 else min(1.0, FLOAT64_ROUNDOFF * amplified)
        error = min(max(step * ratio, FLOAT64_ROUNDOFF), step) / amplified
        statistics, last_step = dataclasses.replace(corrected, error=min(error, statistics.error)), step
    return statistics


def correct(statistics: Statistics, solution: Solution, batches: Iterable[Batch]) -> tuple[Statistics, float]:
    """Return statistics with a solution nearer to the exact one, and the size of the step, as a part of the kernel.

    Let w be the kernel that the factor R gave, with rounding errors. The exact kernel is `w + d`, and d solves the
    least-squares problem of the residuals, whose normal equations are

    ```python
    R.T @ R @ d == x.T @ (y - x @ w - bias)  # x and y less their means
    ```

    The right side is computed from the rows in double-double, because w almost solves the problem and everything
    cancels. Two triangular solves with R give d. They need few digits: an error of theirs is a small part of a small
    step. These are the corrected semi-normal equations. Then the factor is given the columns of y that belong to the
    corrected kernel, so that whoever solves it gets `w + d`.

    Args:
        statistics: of the first look, in float64, or of `correct`.
        solution: of `statistics`, with an intercept and without a penalty.
        batches: `(x, y, sample_weight)` of the same rows again, in any order.

    Raises:
        OtherRows: they are not the same rows.

    References:
        Björck, "Stability analysis of the method of seminormal equations for linear least squares problems" (1987).
    """
    features, kept = len(solution.kernel), solution.kept
    r = as_doubledouble(statistics.factor)
    spread = triangular.column_norms(r.hi) / math.sqrt(float(statistics.weight.hi))
    sums = DoubleDouble(np.zeros((features + len(solution.rss), len(solution.rss) + 1)))
    rows = 0

    def sums_of_block(block: Batch) -> tuple[int, DoubleDouble]:
        x, y, weights = without_zero_weights(*block)
        return len(x), _residual_products(x, y, weights, statistics.mean, solution.kernel)

    for count, block_sums in in_order(sums_of_block, row_blocks(batches, BLOCK_NUMBERS)):
        rows, sums = rows + count, sums + block_sums
    mean_error = sums[:, -1] / statistics.weight
    if rows != statistics.nobs or not (np.abs(mean_error.hi) <= SAME_MEAN * spread).all():
        raise OtherRows
    # The mean was rounded, too: its error must not count as a residual of every row.
    residual = mean_error[features:] - (mean_error[:features, None] * solution.kernel).sum(0)
    gradient = sums[:features, :-1] - sums[:features, -1:] * residual[None]
    upper = r.hi[:features, :features][np.ix_(kept, kept)]
    step = np.zeros_like(solution.kernel)
    half = triangular.back_substitute(upper, gradient.hi[kept], transposed=True)
    step[kept] = triangular.back_substitute(upper, half)
    kernel = DoubleDouble(*two_sum(solution.kernel, step))
    factor = r.copy()
    factor[:features, features:] = matmul(r[:features, :features], kernel)
    scale = spread[:features, None]
    size = float(np.linalg.norm(step * scale)) / max(float(np.linalg.norm(solution.kernel * scale)), 1e-300)
    return dataclasses.replace(statistics, mean=statistics.mean + mean_error, factor=factor), size


def _residual_products(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, mean: DoubleDouble, kernel: np.ndarray
) -> DoubleDouble:
    """Return `[x y].T @ [residual 1]`, weighted, about the means: `(p + k, k + 1)`; the part of y by residuals is 0."""
    features, outputs = kernel.shape
    rows = DoubleDouble(np.concatenate([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1).T)
    columns = rows - mean[:, None]
    weighted = columns if weight is None else columns.times(np.asarray(weight, np.float64))
    sums = DoubleDouble(np.zeros((features + outputs, outputs + 1)))
    sums[:, -1] = weighted.sum(-1)
    for j in range(outputs):
        residual = columns[features + j] - columns[:features].times(kernel[:, j][:, None]).sum(0)
        sums[:features, j] = (weighted[:features] * residual).sum(-1)
    return sums
