"""Wald statistics of linear combinations of the parameters."""

import math

import numpy as np
import scipy.linalg

from keras_linreg.inference.estimate import Estimate, are_determined
from keras_linreg.linalg import triangular
from keras_linreg.utils.text import visible


def roots_of_combinations(estimate: Estimate, matrix: np.ndarray) -> np.ndarray:
    """Return the roots `(q, m)` of the covariance of linear combinations `(q, P)` of the parameters.

    Raises:
        ValueError: the fit is penalised; or the data do not determine a combination. It names the columns.
    """
    tolerance = estimate.unpenalised_coordinates().tolerance
    if estimate.dropped:
        undetermined = (matrix != 0) & ~estimate.estimable
    else:
        rows = ~are_determined(matrix, estimate.null, estimate.units, tolerance)
        undetermined = (matrix != 0) & rows[:, None]
    if undetermined.any():
        names = [name for name, lost in zip(estimate.names, undetermined.any(axis=0), strict=True) if lost]
        raise ValueError(
            f"The data do not determine {', '.join(map(visible, names))}: there is nothing to test. Received: columns "
            "that depend on others, or on the intercept."
        )
    return matrix @ estimate.root


def values_of_combinations(estimate: Estimate, matrix: np.ndarray) -> np.ndarray:
    """Return the values `(q, k)` of linear combinations `(q, P)` of the parameters."""
    return matrix @ _in_terms_of_kept(estimate)


def wald_statistic(
    estimate: Estimate, matrix: np.ndarray, value: np.ndarray, meat: np.ndarray | None = None
) -> np.ndarray:
    """Return the Wald statistics `(k,)` of `matrix @ params == value`, chi-squared of q degrees of freedom.

    Args:
        estimate: of the fit.
        matrix, value: `(q, P)` and `(q,)`.
        meat: as in `covariance.covariance`.

    Raises:
        ValueError: the restrictions are not independent, or the data do not determine a restricted combination.
    """
    roots = roots_of_combinations(estimate, matrix)
    if np.linalg.matrix_rank(matrix) < len(matrix):
        raise ValueError(
            "The restrictions must be independent. Received: one that follows from, or contradicts, others."
        )
    return _wald(estimate, roots, values_of_combinations(estimate, matrix) - value[:, None], meat)


def wald_statistic_of_all(estimate: Estimate, meat: np.ndarray | None = None) -> np.ndarray:
    """Return the Wald statistics `(k,)` of all columns together, chi-squared of `df_model` degrees of freedom."""
    columns = (estimate.root != 0).any(axis=1)
    columns[: int(estimate.has_intercept)] = False
    return _wald(estimate, estimate.root[columns], _in_terms_of_kept(estimate)[columns], meat)


def _wald(estimate: Estimate, roots: np.ndarray, effect: np.ndarray, meat: np.ndarray | None) -> np.ndarray:
    """Return `effect @ inv(roots @ middle @ roots.T) @ effect` of each output.

    Each combination is divided by its own error, and they all are expressed in an orthonormal basis. Then only the
    data themselves can be ill-conditioned.
    """
    norms = triangular.column_norms(roots.T)
    basis, upper = np.linalg.qr((roots / norms[:, None]).T)
    with np.errstate(all="ignore"):
        effect = scipy.linalg.solve_triangular(upper, effect / norms[:, None], trans="T", check_finite=False)
        if meat is None:
            return (effect**2).sum(axis=0) / estimate.scale
        outputs = range(len(estimate.ssr))
        return np.array([_inverse_form(effect[:, j], basis.T @ meat[:, :, j] @ basis) for j in outputs])


def _in_terms_of_kept(estimate: Estimate) -> np.ndarray:
    """Return the parameters `(P, k)`, the weight of dependent columns moved to the columns that they depend on."""
    dependent = (estimate.root == 0).all(axis=1)
    return estimate.params - estimate.null @ estimate.params[dependent]


def _inverse_form(effect: np.ndarray, middle: np.ndarray) -> float:
    """Return `effect @ inv(middle) @ effect`; NaN if `middle` is singular, because there are too few clusters."""
    size, vectors = np.linalg.eigh(middle)
    if not size[0] > 1e-12 * size[-1]:
        return math.nan
    return float(((vectors.T @ effect) ** 2 / size).sum())
