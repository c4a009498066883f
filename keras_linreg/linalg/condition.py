"""The condition of a triangular factor: how much its columns nearly depend on each other."""

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from keras_linreg.linalg.triangular import column_norms
from keras_linreg.utils.threads import one_blas_thread
from keras_linreg.utils.types import Array

EXACT_CONDITION = 300  # columns: singular values of so many take no time
POWER_STEPS = 12
MARGIN = 2.0  # between what the power method finds of a square, and what there is


def inflation_factors(factor: Array) -> Array:
    """Return the variance inflation factors `(r,)` of the columns of a triangular `(r, r)` factor.

    ```python
    norm(inv(factor)[j]) ** 2 * norm(factor[:, j]) ** 2
    ```

    It is 1 if column j is orthogonal to all others, and infinite if the factor is singular.
    """
    if not len(factor):  # LAPACK prints a complaint
        return np.ones(0)
    inverse, is_singular = lapack.dtrtri(factor / column_norms(factor))
    return np.full(len(factor), np.inf) if is_singular else np.einsum("ij,ij->i", inverse, inverse)


def is_inflated(factor: Array, largest: float, columns: int | None = None) -> bool:
    """Return whether a column's variance inflation factor is above a limit.

    The inverse of the smallest singular value, squared, is above all of them. Of many columns it is found by the power
    method, with a margin for what the method may miss; where that is not below the limit, the inverse tells.

    Args:
        factor: `(r, r)`, triangular.
        largest: the limit.
        columns: only so many of the first columns count; None for all.
    """
    columns = len(factor) if columns is None else columns
    if columns > EXACT_CONDITION:
        upper, size = np.asfortranarray(factor), 0.0
        norms, vector = column_norms(factor), _start(len(factor))
        with np.errstate(all="ignore"):  # of a singular factor
            for _ in range(POWER_STEPS):
                vector[columns:] = 0.0
                half = blas.dtrsv(upper, norms * (vector / np.linalg.norm(vector)), trans=1)
                half[columns:] = 0.0
                vector = norms * blas.dtrsv(upper, half)
                size = float(np.linalg.norm(vector))
        if MARGIN * size <= largest:
            return False
    return not (inflation_factors(factor[:columns, :columns]) <= largest).all()


def scaled_condition_number(factor: Array) -> float:
    """Return the condition number of a full-rank factor, its columns scaled to norm 1."""
    if not len(factor):
        return 1.0
    singular = _singular_values(factor / column_norms(factor))
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else np.inf


def inverse_and_condition(factor: Array) -> tuple[Array, float]:
    """Return the inverse of a triangular factor, and its condition number.

    The condition number of many columns is a lower bound, to some percent: singular values would take as long as all
    the rest of a fit.
    """
    if not len(factor):
        return np.zeros((0, 0)), 1.0
    inverse, is_singular = lapack.dtrtri(factor)
    if is_singular:
        return np.full_like(factor, np.inf), np.inf
    if len(factor) <= EXACT_CONDITION:
        singular = _singular_values(factor)
        return inverse, float(singular[0] / singular[-1]) if singular[-1] > 0 else np.inf
    return inverse, largest_singular_value(factor) * largest_singular_value(inverse)


def largest_singular_value(matrix: Array) -> float:
    """Return the largest singular value; of many columns a lower bound, to some percent, by the power method."""
    if len(matrix) <= EXACT_CONDITION:
        return float(_singular_values(matrix)[0])
    vector, size = _start(len(matrix)), 0.0
    for _ in range(POWER_STEPS):
        vector = matrix.T @ (matrix @ (vector / np.linalg.norm(vector)))
        size = float(np.linalg.norm(vector))
    return size**0.5


def _start(count: int) -> Array:
    """Return a vector to start the power method with."""
    return np.ones(count) + 0.5 * np.cos(np.arange(count))


def _singular_values(matrix: Array) -> Array:
    """Return the singular values, from the largest down."""
    with one_blas_thread():  # on a busy host, threads that wait for each other take fifty times as long
        return scipy.linalg.svdvals(matrix, check_finite=False)
