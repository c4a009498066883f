"""A few rows, reduced in double-double arithmetic."""

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import UNIT_ROUNDOFF, DoubleDouble, sqrt
from keras_linreg.sufficient_statistics import Statistics


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
