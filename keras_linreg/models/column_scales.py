"""Centers and scales of columns and targets, in one pass over batches."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from keras_linreg.utils.types import Batch

CONSTANT = 1e-7  # a column whose deviation is a smaller share of its size does not vary, as far as float32 can tell


@dataclasses.dataclass(frozen=True, slots=True)
class ColumnScales:
    """Centers and scales.

    Attributes:
        center, scale: of the columns, `(p,)`.
        target_center: of the targets, `(k,)`.
        target_scale: of all targets together.
    """

    center: np.ndarray
    scale: np.ndarray
    target_center: np.ndarray
    target_scale: float


def column_scales(batches: Iterable[Batch], is_centered: bool) -> ColumnScales:
    """Return weighted means and standard deviations; or, not centered, zeros and root mean squares.

    Batches merge by the update of Chan, Golub and LeVeque (1983), which does not cancel:

    ```python
    mean += (batch_mean - mean) * batch_weight / weight
    squares += batch_squares + (batch_mean - mean) ** 2 * old_weight * batch_weight / weight
    ```

    Args:
        batches: `x` `(n, p)`, `y` `(n, k)`, `sample_weight` `(n,)` or None. A number that is not finite makes its
            column one that does not vary: the fit will name it.
        is_centered: whether to take means off.
    """
    total, mean, squares, width = 0.0, np.zeros(1), np.zeros(1), 0
    for x, y, sample_weight in batches:
        width = x.shape[1]
        rows = np.column_stack([x, y]).astype(np.float64, copy=False)
        weights = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, np.float64).ravel()
        weight = float(weights.sum())
        if not weight > 0:
            continue
        batch_mean = weights @ rows / weight if is_centered else np.zeros(rows.shape[1])
        shift = batch_mean - mean
        squares = squares + weights @ np.square(rows - batch_mean) + shift**2 * (total * weight / (total + weight))
        total += weight
        mean = mean + shift * (weight / total)
    size, deviation = np.abs(mean), np.sqrt(squares / max(total, np.finfo(float).tiny))
    varies = np.isfinite(deviation) & np.isfinite(mean) & (deviation > CONSTANT * size)
    mean = np.where(np.isfinite(mean), mean, 0.0)
    scale = np.where(varies, deviation, 1.0)
    target = float(np.sqrt(np.mean(np.where(varies, deviation, 0.0)[width:] ** 2)))
    return ColumnScales(mean[:width], scale[:width], mean[width:], target if target > 0 else 1.0)
