"""Triangular factors: from rows to R, in float64 by LAPACK or in double-double, and from R to coefficients.

R is the square, upper triangular factor of the columns `[x y]`: `R.T @ R` is their cross-product. It holds all that
least squares needs of the rows, and has only the root of the cross-product's condition number.
"""

from typing import Any, TypeAlias, overload

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from keras_linreg.linalg.double_double import UNIT_ROUNDOFF, DoubleDouble, as_doubledouble, concatenate, matmul, sqrt
from keras_linreg.utils.threads import one_blas_thread
from keras_linreg.utils.types import Array

Factor: TypeAlias = DoubleDouble | Array
NEWTON_STEPS = 8
SMALL_STEP, SHRINKING = 2.0**-60, 1e-3
SMALLEST_SQUARE, LARGEST_SQUARE = 1e-200, 1e200  # of a column: squares of its numbers neither underflow nor overflow
MERGED_COLUMNS = 32  # of a block of reflections when factors merge


@overload
def triangularise(rows: Array) -> Array: ...
@overload
def triangularise(rows: DoubleDouble) -> DoubleDouble: ...
def triangularise(rows: Factor) -> Factor:
    """Return the square R of rows `(n, q)`, by Householder in float64 and by Gram-Schmidt in double-double."""
    if isinstance(rows, DoubleDouble):
        return gram_schmidt(rows.T)[0]
    is_nonzero = rows.any(axis=1)  # factors of fewer rows than columns have rows of zeros
    if is_nonzero.any() and not is_nonzero.all():
        rows = rows[is_nonzero]
    with one_blas_thread():  # on a busy host, threads that wait for each other take many times as long
        return householder(np.array(rows, order="F"))


def householder(rows: Array) -> Array:
    """Return the square R of `(n, q)` rows in Fortran order, which are overwritten; a zero column has a zero row in R.

    Reflection j turns the rest of column j into a multiple of the unit vector e_j. If that rest is zero, LAPACK
    reflects nothing, and row j of R holds a row of the later columns as it is. The cross-products are still right. But
    a solver that drops column j together with row j would lose this part of the later columns. So columns of zeros are
    left out, and their rows of R are zero.
    """
    width = rows.shape[1]
    is_nonzero = rows.any(axis=0)
    factor = np.zeros((width, width))
    if not is_nonzero.all():
        factor[np.ix_(is_nonzero, is_nonzero)] = householder(np.asfortranarray(rows[:, is_nonzero]))
        return factor
    reduced = lapack.dgeqrf(rows, overwrite_a=1)[0]
    height = min(width, rows.shape[0])
    factor[:height] = np.triu(reduced[:height])
    return factor


@overload
def gram_schmidt(columns: Array, tolerance: float | None = None, candidates: int = 0) -> tuple[Array, Array, Array]: ...
@overload
def gram_schmidt(
    columns: DoubleDouble, tolerance: float | None = None, candidates: int = 0
) -> tuple[DoubleDouble, Array, DoubleDouble]: ...
def gram_schmidt(columns: Factor, tolerance: float | None = None, candidates: int = 0) -> tuple[Factor, Array, Factor]:
    """Return R, the mask of kept columns, and their orthonormal directions, by modified Gram-Schmidt.

    Step j divides the rest of column j by its norm, which gives direction j. Then it subtracts this direction from all
    later columns at once:

    ```python
    factor[j, j] = norm(columns[j])
    direction = columns[j] / factor[j, j]
    factor[j, j + 1 :] = columns[j + 1 :] @ direction
    columns[j + 1 :] -= outer(factor[j, j + 1 :], direction)
    ```

    If columns nearly depend on each other, rounding errors spoil the right angles between the directions. R does not
    suffer: even in rounded arithmetic, the steps are Householder's steps on the same columns with a square of zeros
    above them. So R is as accurate as Householder's R. If the last columns are y, their part of R is as accurate, too.

    A column that depends on earlier columns leaves only rounding errors. Divided by their norm, they would give a
    direction without meaning, and R would count a part of the later columns in that direction. So the column is
    dropped: its row of R is zero, and nothing is subtracted from the later columns. Its column of R stays, and tells
    how it depends on the kept columns.

    Args:
        columns: `(q, n)`, float64 or double-double: each row is a column of the matrix.
        tolerance: a column is dropped if no more than this part of its norm is left of it. None keeps all columns.
        candidates: the tolerance applies to so many columns, the first ones.

    Returns:
        R, `(q, q)`; the mask `(q,)` of kept columns; the directions `(q, n)`, zero for a dropped column.

    References:
        Björck, "Solving linear least squares problems by Gram-Schmidt orthogonalization" (1967); Björck, Paige, "Loss
        and recapture of orthogonality in the modified Gram-Schmidt algorithm" (1992), for the columns of zeros.
    """
    exponents = np.frexp(_largest(columns))[1]  # so that squares neither overflow nor underflow
    # DoubleDouble and float64 arrays have the same operations, but no type in common: hence Any.
    remaining: Any = scaled(columns, -exponents[:, None])
    width = len(columns)
    original_norms = as_doubledouble(_norms(remaining)).hi
    factor: Any = _zeros((width, width), like=columns)
    directions: Any = _zeros(columns.shape, like=columns)
    kept = np.ones(width, bool)
    for j in range(width):
        norm = _norms(remaining[j])
        size = float(as_doubledouble(norm).hi)
        if tolerance is not None and j < candidates and size <= tolerance * original_norms[j]:
            kept[j] = False
            continue
        if size == 0:
            continue
        factor[j, j] = norm
        directions[j] = remaining[j] / norm
        if j + 1 < width:
            shares = (remaining[j + 1 :] * directions[j]).sum(-1)
            factor[j, j + 1 :] = shares
            remaining[j + 1 :] = remaining[j + 1 :] - shares[:, None] * directions[j]
    return scaled(factor, exponents), kept, directions


def back_substitute(factor: Factor, right: Factor, transposed: bool = False) -> Factor:
    """Return the solution of `factor @ solution = right`.

    The last equation has one unknown. Each equation above it has one unknown more, so the last row comes first:

    ```python
    solution[i] = (right[i] - factor[i, i + 1 :] @ solution[i + 1 :]) / factor[i, i]
    ```

    The result is the exact solution for a factor that differs by at most r roundings in each element.

    Args:
        factor: `(r, r)`, upper triangular, without zeros on its diagonal.
        right: `(r, k)`.
        transposed: whether to solve `factor.T @ solution = right`; in float64 only.

    References:
        Higham, Accuracy and Stability of Numerical Algorithms (2002), theorem 8.5.
    """
    if not isinstance(factor, DoubleDouble):
        return scipy.linalg.solve_triangular(factor, right, trans="T" if transposed else "N", check_finite=False)
    right = as_doubledouble(right)
    found = _refined_solution(factor, right)
    if found is not None:
        return found
    solution = DoubleDouble(np.zeros(right.shape))
    for i in reversed(range(len(factor))):
        known = (factor[i, i + 1 :][:, None] * solution[i + 1 :]).sum(0)
        solution[i] = (right[i] - known) / factor[i, i]
    return solution


def _refined_solution(factor: DoubleDouble, right: DoubleDouble) -> DoubleDouble | None:
    """Return the solution of `factor @ solution = right` by steps in float64; None if they do not converge at once.

    Only what a solution leaves of the right side needs more digits than float64 has.
    """
    solution = DoubleDouble(np.zeros(right.shape))
    rest, size = right, np.inf
    for _ in range(NEWTON_STEPS):
        step = scipy.linalg.solve_triangular(factor.hi, rest.hi, check_finite=False)
        solution = solution + step
        sizes = np.abs(step).max(axis=0, initial=0.0)
        if not (sizes <= size).all():
            return None
        largest = np.abs(solution.hi).max(axis=0, initial=0.0)
        if (np.abs(step) <= SMALL_STEP * np.abs(solution.hi) + UNIT_ROUNDOFF * largest).all():
            return solution
        rest, size = right - matmul(factor, solution), SHRINKING * sizes
    return None


def inverse(factor: Factor) -> Factor:
    """Return the inverse of an upper triangular factor `(r, r)` without zeros on its diagonal."""
    if isinstance(factor, DoubleDouble) or not len(factor):
        return back_substitute(factor, np.eye(len(factor)))
    return lapack.dtrtri(factor)[0]


def min_norm_solution(factor: Factor, right: Factor) -> Factor:
    """Return the solution of smallest norm of `factor @ solution = right`.

    With orthonormal `Q` and `factor.T = Q @ U`, every solution has the same part in the span of Q, namely `Q @ z` with
    `U.T @ z = right`. A part at right angles to Q only makes it longer, so `Q @ z` is the shortest. U.T is lower
    triangular: its first equation has one unknown, and forward substitution gives z.

    Args:
        factor: `(r, p)`, with r <= p independent rows.
        right: `(r, k)`.

    References:
        Golub, Van Loan, Matrix Computations (2013), section 5.6.2.
    """
    if not isinstance(factor, DoubleDouble):
        basis, triangle = np.linalg.qr(factor.T)
        return basis @ scipy.linalg.solve_triangular(triangle, right, trans="T", check_finite=False)
    upper, _, directions = gram_schmidt(factor)
    right = as_doubledouble(right)
    z = DoubleDouble(np.zeros(right.shape))
    for i in range(len(upper)):
        known = (upper[:i, i][:, None] * z[:i]).sum(0)
        z[i] = (right[i] - known) / upper[i, i]
    return (directions.T[:, :, None] * z[None]).sum(1)


def column_norms(factor: Array) -> Array:
    """Return the norms of the columns, without overflow."""
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->j", factor, factor)
    if ((squares > SMALLEST_SQUARE) & (squares < LARGEST_SQUARE)).all():
        return np.sqrt(squares)
    size = _largest(factor.T)
    return size * np.sqrt(((factor / size) ** 2).sum(axis=0))


def stacked(*parts: Factor) -> Factor:
    """Return the R of several factors, or of rows, one below the other."""
    return triangularise(concatenate(parts))


def merged(upper: Array, lower: Array, row: Array) -> Array:
    """Return the R of two float64 factors `(q, q)` and a row `(q,)`, one below the other.

    The zeros below both diagonals are known, so it takes a third of the work of `stacked`. As in `householder`,
    columns of zeros are left out.
    """
    is_nonzero = (np.diag(upper) != 0) | (np.diag(lower) != 0) | (row != 0)
    if not is_nonzero.all():
        is_nonzero |= upper.any(axis=0) | lower.any(axis=0)
    if not is_nonzero.all():
        factor = np.zeros_like(upper)
        if is_nonzero.any():
            used = np.ix_(is_nonzero, is_nonzero)
            factor[used] = merged(upper[used], lower[used], row[is_nonzero])
        return factor
    r = np.array(upper, order="F")  # LAPACK leaves the zeros below its diagonal
    with one_blas_thread():
        for below, height in ((lower, len(r)), (row[None], 0)):
            below = np.array(below, order="F")
            r = lapack.dtpqrt(height, min(MERGED_COLUMNS, len(r)), r, below, overwrite_a=1, overwrite_b=1)[0]
    return r


@overload
def scaled(values: Array, exponents: Array) -> Array: ...
@overload
def scaled(values: DoubleDouble, exponents: Array) -> DoubleDouble: ...
def scaled(values: Factor, exponents: Array) -> Factor:
    """Return the numbers times `2**exponents`, exactly."""
    return values.scaled(exponents) if isinstance(values, DoubleDouble) else np.ldexp(values, exponents)


def _norms(rows: Factor) -> Factor:
    """Return the norm of each row, or of one row."""
    squares: Any = rows * rows
    return sqrt(squares.sum(-1))


def _largest(rows: Factor) -> Array:
    """Return the largest size in each row `(q, n)`; 1 for a row of zeros."""
    size = np.abs(rows.hi if isinstance(rows, DoubleDouble) else rows).max(axis=1, initial=0.0)
    return np.where(size > 0, size, 1.0)


def _zeros(shape: tuple[int, ...], like: Factor) -> Factor:
    return DoubleDouble(np.zeros(shape)) if isinstance(like, DoubleDouble) else np.zeros(shape)
