"""The condition of a triangular factor: how much its columns nearly depend on each other."""

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from keras_linreg.linalg.triangular import column_norms
from keras_linreg.utils.threads import one_blas_thread
from keras_linreg.utils.types import Array

EXACT_CONDITION = 300  # columns: singular values of so many take no time
POWER_STEPS = 12


def inflation_factors(factor: Array) -> Array:
    """Return the variance inflation factors `(r,)` of the columns of a triangular `(r, r)` factor.

    ```python
    norm(inv(factor)[j]) ** 2 * norm(factor[:, j]) ** 2
    ```

    It is 1 if column j is orthogonal to all others, and infinite if the factor is singular.
    """
    inverse, is_singular = lapack.dtrtri(factor / column_norms(factor))
    return np.full(len(factor), np.inf) if is_singular else np.einsum("ij,ij->i", inverse, inverse)


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
    vector, size = np.ones(len(matrix)) + 0.5 * np.cos(np.arange(len(matrix))), 0.0
    for _ in range(POWER_STEPS):
        vector = matrix.T @ (matrix @ (vector / np.linalg.norm(vector)))
        size = float(np.linalg.norm(vector))
    return size**0.5


def _singular_values(matrix: Array) -> Array:
    """Return the singular values, from the largest down."""
    with one_blas_thread():  # on a busy host, threads that wait for each other take fifty times as long
        return scipy.linalg.svdvals(matrix, check_finite=False)
