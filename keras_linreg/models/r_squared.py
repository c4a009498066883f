"""R-squared of data that were not fitted, in one pass over their batches."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from keras_linreg.utils.types import Array, Batch

BLOCK_ROWS = 2**16  # predicted at a time


def r_squared(batches: Iterable[Batch], predict: Callable[[Array], Array]) -> float:
    """Return R-squared, averaged over the outputs; NaN if an output does not vary.

    The total sum of squares is about the mean of all rows. Of two parts of the rows, with weights V and W, means a and
    b, and sums of squares about these means, the sum about the common mean is

    ```python
    squares_a + squares_b + V * W / (V + W) * (a - b) ** 2
    ```

    Args:
        batches: `(x, y, sample_weight)` of the data.
        predict: returns the predictions `(n, k)` for rows `(n, p)`.

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """
    total_weight, mean, total, residual = 0.0, 0.0, 0.0, 0.0  # the last three become arrays (k,)
    for x, y, sample_weight in batches:
        for start in range(0, len(x), BLOCK_ROWS):
            rows: Any = slice(start, start + BLOCK_ROWS)
            if sample_weight is not None and not sample_weight[rows].all():
                rows = start + np.flatnonzero(sample_weight[rows])  # a row of weight 0 may hold NaN: it is one left out
            target = np.asarray(y[rows], np.float64)
            weights = np.ones((len(target), 1)) if sample_weight is None else sample_weight[rows][:, None]
            weight = float(weights.sum())
            if not weight:
                continue
            residual = residual + (weights * (target - predict(x[rows])) ** 2).sum(axis=0)
            block_mean = (weights * target).sum(axis=0) / weight
            between = total_weight * weight / (total_weight + weight) * (block_mean - mean) ** 2
            total = total + (weights * (target - block_mean) ** 2).sum(axis=0) + between
            total_weight += weight
            mean = mean + (block_mean - mean) * weight / total_weight
    if not total_weight:
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(np.asarray(total) > 0, 1 - np.asarray(residual) / total, np.nan)
    return float(shares.mean())
