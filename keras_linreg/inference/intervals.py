"""Predictions with their standard errors, confidence and prediction limits, and leverage."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from keras_linreg.data.row_blocks import row_blocks
from keras_linreg.inference.distributions import two_sided_quantile
from keras_linreg.inference.estimate import Estimate
from keras_linreg.utils.threads import in_order, one_blas_thread
from keras_linreg.utils.types import Batch

BLOCK_NUMBERS = 2**17  # of a block of rows: it stays in a core's cache
KEYS = ("mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper", "leverage")
ROBUST_KEYS = ("mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "leverage")


def intervals(estimate: Estimate, x: np.ndarray, level: float, meat: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return predictions and limits of rows, under `KEYS`; with a robust covariance under `ROBUST_KEYS`.

    ```python
    mean_se = sqrt(scale * leverage)
    mean_ci = mean -+ t * mean_se
    obs_ci = mean -+ t * sqrt(scale * (1 + leverage))
    ```

    A robust covariance makes `mean_se = sqrt(z @ meat @ z)` of the row's coordinates z, and its limits are of the
    normal distribution. It has no limits of an observation: these need the variance of its own error.

    Args:
        estimate: of the fit, without a penalty.
        x: rows `(n, p)`.
        level: the coverage of the limits.
        meat: of a robust covariance, as in `inference.covariance`; or None.

    Returns:
        Arrays `(n, k)`, the leverage `(n,)`. If in a row the columns do not depend on each other as they do in the
        data, all but the mean are NaN.
    """
    x = np.asarray(x, np.float64)
    coordinates = estimate.unpenalised_coordinates()
    centred = coordinates.centred(x)
    mean = centred @ estimate.params[int(estimate.has_intercept) :] + estimate.mean_of_outputs[0]
    z = coordinates.of_centred(centred)
    leverage = (z**2).sum(axis=1)
    leverage[~coordinates.keep_dependence(x)] = np.nan
    if meat is not None:
        variances = [((z @ meat[:, :, output]) * z).sum(axis=1) for output in range(meat.shape[2])]
        mean_se = np.sqrt(np.maximum(np.stack(variances, axis=1), 0.0))
        mean_se[np.isnan(leverage)] = np.nan
        reach = two_sided_quantile(level, None) * mean_se
        return dict(zip(ROBUST_KEYS, (mean, mean_se, mean - reach, mean + reach, leverage), strict=True))
    quantile = two_sided_quantile(level, estimate.df_resid)
    mean_se = np.sqrt(estimate.scale * leverage[:, None])
    reach = quantile * mean_se
    obs_reach = quantile * np.sqrt(estimate.scale * (1 + leverage[:, None]))
    values = (mean, mean_se, mean - reach, mean + reach, mean - obs_reach, mean + obs_reach, leverage)
    return dict(zip(KEYS, values, strict=True))


def intervals_by_block(
    estimate: Estimate, batches: Iterable[Batch], level: float, meat: np.ndarray | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the `intervals` of batches `(x, y, sample_weight)`, block by block, computed on all cores."""
    with one_blas_thread():
        yield from in_order(
            lambda block: intervals(estimate, block[0], level, meat), row_blocks(batches, BLOCK_NUMBERS)
        )


def typical_rows(estimate: Estimate, count: int, reach: float = 2.5) -> np.ndarray:
    """Return rows `(count, 1)` of a single feature, that many standard deviations each way of its mean (or of 0)."""
    coordinates = estimate.unpenalised_coordinates()
    spread = (coordinates.level or 1 / math.sqrt(estimate.nobs)) / abs(coordinates.inverse[0, 0])
    return (coordinates.centre[0] + np.linspace(-reach, reach, count) * spread)[:, None]
