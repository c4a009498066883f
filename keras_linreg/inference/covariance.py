"""The covariance of the parameters, their standard errors, and the likelihood."""

from typing import Any

import numpy as np

from keras_linreg.inference.estimate import Estimate
from keras_linreg.linalg import triangular


def covariance(estimate: Estimate, meat: np.ndarray | None = None) -> np.ndarray:
    """Return the covariance of the parameters: `(P, P, k)`, NaN for parameters that have none.

    ```python
    root @ (scale * eye(m) if meat is None else meat) @ root.T
    ```

    Args:
        estimate: of the fit.
        meat: `(m, m, k)`: the covariance of `z.T @ residual`, z being the coordinates of the rows; None if the
            residuals have equal variances and are independent.
    """
    if estimate.is_penalised:
        return np.full((len(estimate.names), len(estimate.names), len(estimate.ssr)), np.nan)
    bread = estimate.root
    middle = np.eye(bread.shape[1])[:, :, None] * estimate.scale if meat is None else meat
    with np.errstate(over="ignore", invalid="ignore"):  # squares of numbers that are just within float64
        result = np.einsum("im,mnk,jn->ijk", bread, middle, bread, optimize=True)
    result[~estimate.estimable] = np.nan
    result[:, ~estimate.estimable] = np.nan
    return result


def standard_errors(estimate: Estimate, meat: np.ndarray | None = None) -> np.ndarray:
    """Return the standard errors `(P, k)`: the roots of the diagonal of `covariance`."""
    result = np.full(estimate.params.shape, np.nan)
    if estimate.is_penalised:
        return result
    if meat is None:
        errors = triangular.column_norms(estimate.root.T)[:, None] * np.sqrt(estimate.scale)
    else:
        half = np.einsum("im,mnk->ink", estimate.root, meat)
        errors = np.sqrt(np.maximum(np.einsum("ink,in->ik", half, estimate.root), 0.0))
    result[estimate.estimable] = errors[estimate.estimable]
    return result


def log_likelihood(estimate: Estimate) -> np.ndarray:
    """Return the Gaussian log-likelihoods `(k,)`; weights are precisions."""
    n = estimate.nobs
    with np.errstate(divide="ignore"):
        return -n / 2 * (np.log(2 * np.pi) + np.log(estimate.ssr / n) + 1) + estimate.log_weight / 2


def squeeze_outputs(values: np.ndarray) -> Any:
    """Return figures `(..., k)`; for one output without the last axis, and a single figure as a float."""
    if values.shape[-1] > 1:
        return values
    return values[..., 0] if values.ndim > 1 else float(values[0])
