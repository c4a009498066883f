"""A further look at data that can be read again: the last digits of coefficients of nearly dependent columns."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul, two_sum
from keras_linreg.moments.reduce import Statistics, blocks, without_zeros
from keras_linreg.solvers.least_squares import Solution
from keras_linreg.utils.threads import in_order

BLOCK_NUMBERS = 2**17
SAME_MEAN = 1e-9  # of a standard deviation: how far the mean of a second look may be off


class OtherData(Exception):
    """A further look did not bring back the rows of the first."""


def look(statistics: Statistics, solution: Solution, batches: Iterable[tuple]) -> tuple[Statistics, float]:
    """Return statistics whose solution is nearer to the exact one, and the size of the step, as a part of the kernel.

    ```python
    residual = y - x @ kernel - bias  # in double-double, as the sums are
    step = solve(R.T @ R, x.T @ residual)
    ```

    The corrected semi-normal equations (Björck 1987), with intercept and without penalty.

    Args:
        statistics: of the first look, in float64, or of `look`.
        solution: of `statistics`.
        batches: `(x, y, sample_weight)` of the same rows again, in any order.

    Raises:
        OtherData: they are not the same rows.
    """
    features, kept = len(solution.kernel), solution.kept
    r = as_doubledouble(statistics.factor)
    spread = triangular.column_norms(r.hi) / math.sqrt(float(statistics.weight.hi))
    sums = DoubleDouble(np.zeros((features + len(solution.rss), len(solution.rss) + 1)))
    rows = 0

    def of_block(block: tuple) -> tuple[int, DoubleDouble]:
        x, y, weights = without_zeros(*block)
        return len(x), _sums(x, y, weights, statistics.mean, solution.kernel)

    for count, found in in_order(of_block, blocks(batches, BLOCK_NUMBERS)):
        rows, sums = rows + count, sums + found
    apart = sums[:, -1] / statistics.weight
    if rows != statistics.nobs or not (np.abs(apart.hi) <= SAME_MEAN * spread).all():
        raise OtherData
    # The mean was rounded too; what it is off by does not belong to the columns.
    residual = apart[features:] - (apart[:features, None] * solution.kernel).sum(0)
    gradient = sums[:features, :-1] - sums[:features, -1:] * residual[None]
    upper = r.hi[:features, :features][np.ix_(kept, kept)]
    step = np.zeros_like(solution.kernel)
    step[kept] = triangular.back_substitute(
        upper, triangular.back_substitute(upper, gradient.hi[kept], transposed=True)
    )
    kernel = DoubleDouble(*two_sum(solution.kernel, step))
    held = r.copy()
    held[:features, features:] = matmul(r[:features, :features], kernel)
    scale = spread[:features, None]
    size = float(np.linalg.norm(step * scale)) / max(float(np.linalg.norm(solution.kernel * scale)), 1e-300)
    return dataclasses.replace(statistics, mean=statistics.mean + apart, factor=held), size


def _sums(x, y, weight, mean: DoubleDouble, kernel: np.ndarray) -> DoubleDouble:
    """Return `[x y].T @ [residual 1]`, weighted, about the means: `(p + k, k + 1)`, the part below x left at zero."""
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
