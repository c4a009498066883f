"""Quantiles of a stream in bounded memory."""

import math

import numpy as np

MOST_VALUES = 2**16  # that are kept as they are
BINS = 2**16
REACH = 1e9  # of the scale: beyond, only the extremes are known


class Quantiles:
    """Takes values, and gives their quantiles: exact of some 65,000, of more to a known error.

    Beyond, values are counted in bins of equal width in `asinh(value / scale)`: a quantile is off by at most 0.1 % of
    the value or of the scale, whichever is larger. The order of the values makes no difference.

    Args:
        scale: about the size of the values.

    Example:
    >>> import numpy as np
    >>> from keras_linreg.inference.quantiles import Quantiles
    >>> quantiles = Quantiles(scale=1.0)
    >>> quantiles.add(np.arange(5.0))
    >>> quantiles.at([0.0, 0.5, 1.0])
    array([0., 2., 4.])
    """

    def __init__(self, scale: float):
        self.scale = scale if scale > 0 else 1.0
        self.count = 0
        self.least, self.largest = math.inf, -math.inf
        self._values: list[np.ndarray] | None = []
        self._bins = np.zeros(0, int)
        self._width = 2 * math.asinh(REACH) / BINS

    def add(self, values: np.ndarray) -> None:
        """Take finite values `(n,)`."""
        if not len(values):
            return
        self.count += len(values)
        self.least, self.largest = min(self.least, values.min()), max(self.largest, values.max())
        if self._values is not None:
            self._values.append(values.copy())
            if self.count <= MOST_VALUES:
                return
            values, self._values = np.concatenate(self._values), None
            self._bins = np.zeros(BINS, int)
        places = np.floor(np.arcsinh(values / self.scale) / self._width).astype(int) + BINS // 2
        self._bins += np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)

    def at(self, probabilities) -> np.ndarray:
        """Return the quantiles at probabilities `(m,)`, interpolated linearly between values; NaN of no values."""
        probabilities = np.asarray(probabilities, np.float64)
        if not self.count:
            return np.full(probabilities.shape, np.nan)
        if self._values is not None:
            return np.quantile(np.concatenate(self._values), probabilities)
        below = np.concatenate([[0], np.cumsum(self._bins)])
        edges = np.sinh((np.arange(BINS + 1) - BINS // 2) * self._width) * self.scale
        edges[0], edges[-1] = min(edges[0], self.least), max(edges[-1], self.largest)
        quantiles = np.interp(probabilities * self.count, below, edges)
        return np.clip(quantiles, self.least, self.largest)

    def at_plotting_positions(self, probabilities) -> np.ndarray:
        """Return the values `(m,)` to draw at probabilities: as many as there are, all of them in order."""
        if self._values is not None and len(probabilities) == self.count:
            return np.sort(np.concatenate(self._values))
        return self.at(probabilities)
