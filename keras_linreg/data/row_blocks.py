"""Batches of rows in blocks of a size that a core's cache holds."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_linreg.utils.types import Batch


def row_blocks(batches: Iterable[Batch], numbers: int) -> Iterator[Batch]:
    """Yield the rows of batches `(x, y, sample_weight)` in blocks.

    Args:
        batches: of arrays `(n, p)`, `(n, k)` and `(n,)`; `y` and the weights may be None.
        numbers: about how many numbers the x of a block has.
    """
    for x, y, weights in batches:
        height = max(1, numbers // x.shape[1])
        for start in range(0, len(x), height):
            rows = slice(start, start + height)
            yield tuple(None if part is None else np.asarray(part[rows]) for part in (x, y, weights))


def without_zero_weights(x: Any, y: np.ndarray, weights: np.ndarray | None) -> Batch:
    """Return the rows whose weight is not zero; return None for weights that are all 1."""
    if weights is None:
        return x, y, None
    weights = np.asarray(weights, np.float64)
    if (weights == 0).any():
        used = weights != 0
        x, y, weights = x[used], y[used], weights[used]
    return x, y, None if (weights == 1).all() else weights
