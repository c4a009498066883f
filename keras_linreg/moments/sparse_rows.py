"""Sparse rows, reduced without writing out their zeros."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from keras_linreg.data import CellMatrix, Prepared, Rows, SparseRows, to_csr
from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.double_double import DoubleDouble
from keras_linreg.moments.checks import NotFinite
from keras_linreg.sufficient_statistics import (
    FLOAT64_ROUNDOFF,
    LARGEST_TERMS,
    Plane,
    Statistics,
    provisional_kernel,
)
from keras_linreg.utils.types import Batch

WRITTEN_NUMBERS = 2**22  # of sparse rows that are written out at a time
DENSEST = 0.1  # with more numbers than this part that are not zero, BLAS is faster on rows that are written out
LARGEST_INFLATION = 1e6  # cross-products lose as many digits as the variance inflation has
FARTHEST_MEAN = 16.0  # squared distance of the mean from zero, in variances
SMALLEST_PIVOT = 1e-8  # of a column of norm 1: less is rounding errors, and the rows must tell what it is
NEGLIGIBLE = 1e-12  # what is left in the rows of a column that depends on others, as a part of its norm
MOST_DEPENDENT = 8  # columns that the rows are asked about, one by one


def batches_to_reduce(prepared: Prepared) -> Iterator[Any]:
    """Yield the batches of prepared data once; a sparse matrix whole, as SciPy's compressed sparse rows."""
    if isinstance(prepared, SparseRows):
        yield batches_by_number(prepared, max(prepared.count, 1))(0)
    else:
        yield from prepared.dense_batches()


def batches_by_number(prepared: Rows, batch_size: int) -> Callable[[int], Any]:
    """Return the function that takes a batch's number and returns the batch; sparse rows stay sparse."""
    if not isinstance(prepared, SparseRows):
        return prepared.batches_by_number(batch_size)
    x = to_csr(prepared.x)
    others = Rows(np.zeros((prepared.count, 1)), prepared.y, prepared.sample_weight).batches_by_number(batch_size)
    return lambda number: (x[number * batch_size : (number + 1) * batch_size], *others(number)[1:])


def written_out(batch: Any) -> Iterator[Batch]:
    """Yield a batch, its rows dense: of sparse rows, and of rows of factors, some at a time."""
    x, y, weights = batch
    if not (scipy.sparse.issparse(x) or isinstance(x, CellMatrix)):
        yield batch
        return
    height = WRITTEN_NUMBERS // max(x.shape[1], 1) + 1
    for start in range(0, x.shape[0], height):
        part = slice(start, start + height)
        dense = np.asarray(x[part]) if isinstance(x, CellMatrix) else x[part].toarray()
        yield dense, *(None if values is None else values[part] for values in (y, weights))


def is_worth_sparse(x: Any) -> bool:
    """Return whether cross-products of a sparse matrix are faster by its non-zeros."""
    return x.nnz <= DENSEST * x.shape[0] * x.shape[1]


def reduce_sparse(x: Any, y: np.ndarray, weights: np.ndarray | None, first_row: int = 0) -> Statistics | None:
    """Return the statistics of sparse rows, or None if cross-products about zero would lose too many digits.

    The cross-products of sparse rows are sparse work, and to centre them is a correction of rank one. Its rounding
    errors count as little as in `moments.reduce`: y enters as residuals of a provisional fit.

    Args:
        x, y, weights: SciPy's compressed sparse rows `(n, p)`, arrays `(n, k)`, and `(n,)` or None.
        first_row: the number of the first of these rows among all rows, for errors.

    Raises:
        NotFinite: a number of x is NaN or infinite.
    """
    x, y, weights = without_zero_weights(x, y, weights)
    if not x.shape[0]:
        return None
    x = scipy.sparse.csr_array(x, dtype=np.float64)
    x.sum_duplicates()
    if not np.isfinite(x.data).all():
        raise _not_finite(x, first_row)
    y = np.asarray(y, np.float64)
    if not np.isfinite(y).all():
        return None
    heavy = np.ones(x.shape[0]) if weights is None else weights
    total = DoubleDouble(heavy).sum()
    weight, weighted = float(total.hi), x.multiply(heavy[:, None]).tocsr()
    mean, mean_y = np.asarray(x.T @ heavy) / weight, np.asarray(heavy @ y) / weight
    products = (x.T @ weighted).toarray()
    products -= np.outer(weight * mean, mean)
    constant = _constant_columns(x)
    spread = np.where(constant, 1.0, np.diag(products))
    if not ((weight * mean**2 <= FARTHEST_MEAN * spread) | constant).all() or not (spread > 0).all():
        return None
    norms = np.sqrt(spread)
    products /= norms
    products /= norms[:, None]
    upper, error = _upper(x, heavy, mean, products, constant)
    if upper is None:
        return None
    upper *= norms
    right = np.asarray(weighted.T @ (y - mean_y))
    kernel = _kernel(upper, right, heavy, y - mean_y)
    residuals = y - mean_y - (x @ kernel - mean @ kernel)
    rest, of_residuals = _reduced_residuals(x, mean, heavy, weight, residuals, upper)
    features, outputs = x.shape[1], y.shape[1]
    r = np.zeros((features + outputs, features + outputs))
    r[:features, :features], r[:features, features:] = upper, rest
    r[features:, features:] = of_residuals[0]
    means = DoubleDouble(np.concatenate([mean, mean_y + of_residuals[1]]))
    means.hi[:features][constant] = x[[0]].toarray()[0, constant]
    constant_y = (y == y[:1]).all(axis=0)
    means.hi[features:][constant_y], r[:, features:][:, constant_y] = y[0, constant_y], 0.0
    kernel[:, constant_y], rest[:, constant_y] = 0.0, 0.0
    log_weight = 0.0 if weights is None else float(np.log(weights).sum())
    r[:features, features:] += upper @ kernel
    plane = Plane(kernel, rest, 8 * FLOAT64_ROUNDOFF)
    constants = np.concatenate([constant, constant_y])
    return Statistics(x.shape[0], total, log_weight, means, r, constants, error, plane)


def _not_finite(x: Any, first_row: int) -> NotFinite:
    position = int(np.flatnonzero(~np.isfinite(x.data))[0])
    row = int(np.searchsorted(x.indptr, position, side="right")) - 1
    return NotFinite("x", int(x.indices[position]), first_row + row, float(x.data[position]))


def _constant_columns(x: Any) -> np.ndarray:
    """Return the mask of columns whose minimum equals their maximum."""
    return x.min(axis=0).toarray().ravel() == x.max(axis=0).toarray().ravel()


def _upper(
    x: Any, heavy: np.ndarray, mean: np.ndarray, products: np.ndarray, constant: np.ndarray
) -> tuple[np.ndarray | None, float]:
    """Return the factor of columns of norm 1, and its relative error; None if they are ill-conditioned.

    A pivot that is no larger than rounding errors may belong to a column that depends on others. What the others leave
    of its rows tells: next to nothing, and the column gets a row of zeros; or more, and cross-products do not do.
    """
    found = _independent_factor(products, np.flatnonzero(~constant))
    if found is None:
        return None, 0.0
    upper, dependent = found
    where = np.setdiff1d(np.flatnonzero(~constant), dependent)
    factor = upper if len(where) == len(upper) else upper[np.ix_(where, where)]
    inflation = float(condition.inflation_factors(factor).max(initial=1.0))
    if not inflation <= LARGEST_INFLATION:
        return None, 0.0
    scales = np.sqrt(np.asarray(x.multiply(x).T @ heavy) - heavy.sum() * mean**2) if dependent else mean
    for column in dependent:
        shares = scipy.linalg.cho_solve((factor, False), products[where, column]) / scales[where]
        left = x[:, [column]].toarray()[:, 0] - mean[column]
        left -= (x[:, where] @ shares - mean[where] @ shares) * scales[column]
        if np.sqrt(heavy @ left**2) > NEGLIGIBLE * scales[column]:
            return None, 0.0
        upper[where, column] = scipy.linalg.solve_triangular(factor, products[where, column], trans="T")
        upper[np.arange(len(upper)) > column, column] = 0.0
    return upper, FLOAT64_ROUNDOFF * np.sqrt(inflation)


def _independent_factor(products: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, list[int]] | None:
    """Return the factor of independent columns, and the numbers of dependent ones; None if there are too many of these.

    Where a pivot is next to nothing, its column is left out, and what the columns before it leave of the products of
    the later ones is factored on.

    Args:
        products: `(p, p)`: of columns of norm 1.
        where: the columns to factor.
    """
    upper, dependent = np.zeros_like(products), []
    left = products if len(where) == len(products) else products[np.ix_(where, where)]
    while len(where):
        factor, failed = scipy.linalg.lapack.dpotrf(left.T, clean=1)  # LAPACK copies a transpose faster
        small = np.flatnonzero(np.diag(factor)[: failed - 1 if failed else None] ** 2 < SMALLEST_PIVOT)
        count = int(small[0]) if len(small) else failed - 1 if failed else len(where)
        factor, done, later = factor[:count, :count], where[:count], where[count + 1 :]
        upper[np.ix_(done, done)] = factor
        if count < len(where):
            dependent.append(int(where[count]))
            if len(dependent) > MOST_DEPENDENT:
                return None
            rows = scipy.linalg.solve_triangular(factor, left[:count, count + 1 :], trans="T", check_finite=False)
            upper[np.ix_(done, later)] = rows
            left = left[count + 1 :, count + 1 :] - rows.T @ rows
        where = later
    return upper, dependent


def _kernel(upper: np.ndarray, right: np.ndarray, heavy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a provisional kernel `(p, k)`; 0 for columns that depend on others."""
    features, outputs = right.shape
    used = np.diag(upper) > 0
    independent = upper if used.all() else upper[np.ix_(used, used)]
    part = np.asarray(triangular.back_substitute(independent, right[used], transposed=True))
    kernel = np.zeros_like(right)
    kernel[used] = triangular.back_substitute(independent, part)
    terms = np.linalg.norm(kernel * triangular.column_norms(upper)[:, None], axis=0)
    if (terms**2 <= LARGEST_TERMS**2 * (heavy @ np.square(y))).all():
        return kernel
    r = np.zeros((features + outputs, features + outputs))
    r[:features, :features] = np.where(used, upper, 0.0)
    r[:features, features:][used] = part
    left = heavy @ np.square(y) - np.square(part).sum(axis=0)
    r[features:, features:] = np.diag(np.sqrt(np.maximum(left, 0.0)))
    return provisional_kernel(r, np.zeros_like(right))


def _reduced_residuals(
    x: Any, mean: np.ndarray, heavy: np.ndarray, weight: float, residuals: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return what the columns explain of residuals, `(p, k)`; the factor of the others, and the residuals' mean."""
    level = heavy @ residuals / weight
    residuals = (residuals - level) * np.sqrt(heavy)[:, None]
    right = np.asarray(x.T @ (residuals * np.sqrt(heavy)[:, None]))
    right -= np.outer(mean, np.sqrt(heavy) @ residuals)
    used = np.diag(upper) > 0
    rest = np.zeros_like(right)
    rest[used] = triangular.back_substitute(upper[np.ix_(used, used)], right[used], transposed=True)
    products = residuals.T @ residuals - rest.T @ rest
    try:
        factor = np.linalg.cholesky(products).T
    except np.linalg.LinAlgError:
        factor = np.diag(np.sqrt(np.maximum(np.diag(products), 0.0)))
    return rest, (factor, level)
