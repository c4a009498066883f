"""Triangular factors: from rows to R, in float64 by LAPACK or in double-double, and back to coefficients.

Throughout, R is square and upper triangular over the columns of `[x y]`, and `R.T @ R` is their cross-product.
"""

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, concatenate, sqrt

Factor = DoubleDouble | np.ndarray


def triangularise(rows):
    """Return the square R of `rows`, an array `(n, q)` of float64 (Householder, LAPACK) or of double-doubles."""
    if isinstance(rows, DoubleDouble):
        return gram_schmidt(rows.T)[0]
    return householder(np.array(rows, order="F"))


def householder(rows: np.ndarray) -> np.ndarray:
    """Return the square R of an `(n, q)` array in Fortran order, which is overwritten; a column of zeros has no row."""
    width = rows.shape[1]
    there = rows.any(axis=0)
    if not there.all():
        # LAPACK would leave in that row what belongs to the columns after it.
        factor = np.zeros((width, width))
        factor[np.ix_(there, there)] = householder(np.asfortranarray(rows[:, there]))
        return factor
    reduced = lapack.dgeqrf(rows, overwrite_a=1)[0]
    factor = np.zeros((width, width))
    height = min(width, rows.shape[0])
    factor[:height] = np.triu(reduced[:height])
    return factor


def gram_schmidt(columns, tolerance=None, candidates: int = 0):
    """Return R, which columns were kept, and the orthonormal directions of those, by modified Gram-Schmidt.

    Its R is as good as Householder's, also for the columns that are only there to be projected (Björck 1967).

    Args:
        columns: `(q, n)`, float64 or double-double: the columns as rows.
        tolerance: a column of which no more than this part of its norm is left is passed over: no direction of it is
            taken from the columns after it. `None` keeps all.
        candidates: how many columns, the first ones, the tolerance applies to.

    Returns:
        R, `(q, q)`, with a row of zeros for a column passed over; a mask `(q,)`; the directions, `(q, n)`.
    """
    exact = isinstance(columns, DoubleDouble)
    width = len(columns)
    size = np.abs(columns.hi if exact else columns).max(axis=1, initial=0.0)
    exponents = np.frexp(np.where(size > 0, size, 1.0))[1]  # a square must neither overflow nor vanish
    columns = scaled(columns, -exponents[:, None])
    whole = sqrt((columns * columns).sum(-1))
    whole = whole.hi if exact else whole
    factor = DoubleDouble(np.zeros((width, width))) if exact else np.zeros((width, width))
    kept = np.ones(width, bool)
    directions = columns.copy()
    columns = columns.copy()
    for j in range(width):
        left = sqrt((columns[j] * columns[j]).sum(-1))
        size = left.hi if exact else left
        directions[j] = columns[j] * 0.0
        if tolerance is not None and j < candidates and size <= tolerance * whole[j]:
            kept[j] = False
            continue
        if size == 0:
            continue
        factor[j, j] = left
        directions[j] = columns[j] / left
        if j + 1 < width:
            shares = (columns[j + 1 :] * directions[j]).sum(-1)
            factor[j, j + 1 :] = shares
            columns[j + 1 :] = columns[j + 1 :] - shares[:, None] * directions[j]
    return scaled(factor, exponents), kept, directions


def back_substitute(factor, right, transposed: bool = False):
    """Return the solution of `factor @ solution = right`: `(r, r)` upper triangular, `(r, k)`.

    In float64 also of the `transposed` factor.
    """
    if not isinstance(factor, DoubleDouble):
        return scipy.linalg.solve_triangular(factor, right, trans="T" if transposed else "N", check_finite=False)
    right = as_doubledouble(right)
    solution = DoubleDouble(np.zeros(right.shape))
    for i in reversed(range(len(factor))):
        known = (factor[i, i + 1 :][:, None] * solution[i + 1 :]).sum(0)
        solution[i] = (right[i] - known) / factor[i, i]
    return solution


def smallest(factor, right):
    """Return the solution of smallest norm of `factor @ solution = right`: `(r, p)` of full rank r <= p, `(r, k)`."""
    if not isinstance(factor, DoubleDouble):
        basis, upper = np.linalg.qr(factor.T)
        return basis @ scipy.linalg.solve_triangular(upper, right, trans="T", check_finite=False)
    upper, _, directions = gram_schmidt(factor)
    solution = DoubleDouble(np.zeros(right.shape))
    for i in range(len(upper)):
        known = (upper[:i, i][:, None] * solution[:i]).sum(0)
        solution[i] = (right[i] - known) / upper[i, i]
    return (directions.T[:, :, None] * solution[None]).sum(1)


def inverse_norms(factor: np.ndarray) -> np.ndarray:
    """Return for each column of a triangular `(r, r)` factor the norm of its row of the inverse, times its own norm.

    That is the square root of the column's variance inflation factor: 1 where it is orthogonal to all others.
    """
    norms = column_norms(factor)
    inverse, failed = lapack.dtrtri(factor / norms)
    return np.full(len(factor), np.inf) if failed else np.sqrt((inverse**2).sum(axis=1))


def condition_number(factor: np.ndarray) -> float:
    """Return the condition number of a full-rank triangular factor with its columns scaled to norm 1."""
    if not len(factor):
        return 1.0
    singular = scipy.linalg.svdvals(factor / column_norms(factor), check_finite=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else np.inf


def column_norms(factor: np.ndarray) -> np.ndarray:
    """Return the norms of the columns, without overflow."""
    size = np.abs(factor).max(axis=0, initial=0.0)
    size = np.where(size > 0, size, 1.0)
    return size * np.sqrt(((factor / size) ** 2).sum(axis=0))


def stacked(*parts):
    """Return the R of several factors, or of rows, one below the other."""
    return triangularise(concatenate(parts))


def scaled(values: Factor, exponents) -> Factor:
    """Return the numbers times `2**exponents`, exactly."""
    return values.scaled(exponents) if isinstance(values, DoubleDouble) else np.ldexp(values, exponents)
