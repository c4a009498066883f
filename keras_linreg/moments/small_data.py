"""A few rows, reduced in double-double arithmetic."""

import numpy as np

from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.cholesky import cholesky
from keras_linreg.linalg.double_double import UNIT_ROUNDOFF, DoubleDouble, sqrt, two_sum
from keras_linreg.linalg.slices import cross_products
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.utils.threads import one_blas_thread

# Cross-products lose digits of double-doubles, too. Beyond these limits columns are orthogonalised one by one.
LARGEST_INFLATION = 1e8
SMALLEST_UNEXPLAINED = 1e-10


def reduce_in_double_double(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> Statistics:
    """Return the statistics of a few rows, computed in double-double: `(n, p)`, `(n, k)`, and `(n,)` or None.

    The rows are finite, and no weight is zero.
    """
    rows = np.concatenate([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1)
    constant = (rows == rows[:1]).all(axis=0)
    size = np.abs(rows).max(axis=0, initial=0.0)
    exponents = np.frexp(np.where(size > 0, size, 1.0))[1]
    rows = np.ldexp(rows, -exponents)
    with one_blas_thread():
        if weights is None:
            total, mean, factor, error = _unweighted(rows, x.shape[1], constant)
        else:
            total, mean, factor, error = _weighted(rows, np.asarray(weights, np.float64), x.shape[1], constant)
    mean.hi[constant], mean.lo[constant] = rows[0, constant], 0.0
    return Statistics(
        nobs=len(rows),
        weight=total,
        log_weight=0.0 if weights is None else float(np.log(weights).sum()),
        mean=mean.scaled(exponents),
        factor=factor.scaled(exponents),
        constant=constant,
        error=error,
    )


Reduced = tuple[DoubleDouble, DoubleDouble, DoubleDouble, float]


def _unweighted(rows: np.ndarray, features: int, constant: np.ndarray) -> Reduced:
    """Return the number of rows, their mean, their factor, and its relative rounding error.

    Rows are shifted by their mean in float64, so that of cross-products about the exact mean next to nothing differs.
    """
    total, shift = DoubleDouble(float(len(rows))), rows.mean(axis=0)
    shifted = DoubleDouble(*two_sum(rows, -shift))
    shifted.hi[:, constant], shifted.lo[:, constant] = 0.0, 0.0
    exponents = np.frexp(np.abs(shifted.hi).max(axis=0))[1]
    products, sums = cross_products(shifted.scaled(-exponents))
    offset = sums / total
    found = _factor(products - offset[:, None] * sums[None], features, exponents, ~constant)
    mean = offset.scaled(exponents) + shift
    if found is None:
        centred = shifted - offset.scaled(exponents)[None]
        return total, mean, triangular.gram_schmidt(centred.T)[0], UNIT_ROUNDOFF
    return total, mean, *found


def _weighted(rows: np.ndarray, weights: np.ndarray, features: int, constant: np.ndarray) -> Reduced:
    """Return the sum of the weights, and the rest as `_unweighted`."""
    weight = DoubleDouble(weights)
    total = weight.sum()
    columns = DoubleDouble(rows)
    mean = columns.times(weights[:, None]).sum(0) / total
    centred = (columns - mean[None]) * sqrt(weight)[:, None]
    centred.hi[:, constant], centred.lo[:, constant] = 0.0, 0.0
    exponents = np.frexp(np.abs(centred.hi).max(axis=0))[1]
    found = _factor(cross_products(centred.scaled(-exponents))[0], features, exponents, ~constant)
    if found is None:
        return total, mean, triangular.gram_schmidt(centred.T)[0], UNIT_ROUNDOFF
    return total, mean, *found


def _factor(
    products: DoubleDouble, features: int, exponents: np.ndarray, used: np.ndarray
) -> tuple[DoubleDouble, float] | None:
    """Return the factor of cross-products, and its relative rounding error; or None if they are ill-conditioned.

    Args:
        products: `(q, q)`, of columns in units of `2**exponents`.
        features: the number of columns of x.
        exponents: `(q,)`.
        used: mask `(q,)` of the columns that are not constant.
    """
    where, count = np.flatnonzero(used), int(used[:features].sum())
    if not len(where):
        return None
    some = products[np.ix_(where, where)]
    halves = np.frexp(np.sqrt(np.maximum(np.diag(some.hi), 0.0)))[1]
    r = cholesky(some.scaled(-(halves[:, None] + halves)))
    if r is None:
        return None
    inflation = condition.inflation_factors(r.hi[:count, :count]).max(initial=1.0)
    left = (np.diag(r.hi)[count:] / triangular.column_norms(r.hi)[count:]) ** 2
    if not (inflation <= LARGEST_INFLATION and (left >= SMALLEST_UNEXPLAINED).all()):
        return None
    whole = DoubleDouble(np.zeros((len(used), len(used))))
    whole[np.ix_(where, where)] = r.scaled(halves + exponents[where])
    return whole, UNIT_ROUNDOFF * float(np.sqrt(inflation))
