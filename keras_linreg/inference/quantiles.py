"""Quantiles of a stream of values, in bounded memory."""

import math

import numpy as np
from numpy.typing import ArrayLike

from keras_linreg.utils.types import Array

EXACT_VALUES = 2**16
BINS = 2**16
REACH = 1e9
BIN_WIDTH = 2 * math.asinh(REACH) / BINS


class Quantiles:
    """Adds batches of values, and returns their quantiles: exact for few values, to a known error for many.

    Few values are stored. Once they are too many, they are counted in bins of equal width in `asinh(value / scale)`,
    and a quantile is interpolated within its bin. Near zero the bins are of equal width, far from zero of equal ratio:

    ```python
    value = scale * sinh(t)
    d(value) = scale * cosh(t) * dt = sqrt(scale**2 + value**2) * dt
    ```

    So a bin of width dt in t is at most `sqrt(2) * dt * max(scale, abs(value))` wide in values. With 65,536 bins for
    values up to 1e9 scales, dt is 6.5e-4, and a quantile is off by at most 0.1 % of the value or of the scale,
    whichever is larger. Beyond 1e9 scales only the extremes are known.

    Neither the order of the values nor their batches change the result.

    Args:
        scale: about the size of the values. A scale that is not positive counts as 1.
        exact_values: the number of values that are stored at most.

    Attributes:
        count: the number of values so far.
        smallest, largest: of the values so far.

    Example:
    >>> import numpy as np
    >>> from keras_linreg.inference.quantiles import Quantiles
    >>> quantiles = Quantiles(scale=1.0)
    >>> quantiles.add(np.arange(5.0))
    >>> quantiles.at([0.0, 0.5, 1.0])
    array([0., 2., 4.])
    """

    def __init__(self, scale: float, exact_values: int = EXACT_VALUES):
        self.scale = scale if scale > 0 else 1.0
        self.count = 0
        self.smallest, self.largest = math.inf, -math.inf
        self._exact_values = exact_values
        self._values: list[Array] | None = []  # None once values are counted in bins
        self._bins = np.zeros(0, int)

    def add(self, values: Array) -> None:
        """Add finite values `(n,)`."""
        if not len(values):
            return
        self.count += len(values)
        self.smallest, self.largest = min(self.smallest, values.min()), max(self.largest, values.max())
        if self._values is not None:
            self._values.append(values.copy())
            if self.count > self._exact_values:
                self._count_in_bins()
            return
        self._add_to_bins(values)

    def merge(self, other: "Quantiles") -> None:
        """Add the values of another, of the same scale."""
        if other._values is not None:
            for values in other._values:
                self.add(values)
            return
        self._count_in_bins()
        self.count += other.count
        self.smallest, self.largest = min(self.smallest, other.smallest), max(self.largest, other.largest)
        self._bins = self._bins + other._bins

    def _count_in_bins(self) -> None:
        """Count the values that are stored in bins, and from now on all others."""
        if self._values is not None:
            values, self._values, self._bins = self._values, None, np.zeros(BINS, int)
            for part in values:
                self._add_to_bins(part)

    def _add_to_bins(self, values: Array) -> None:
        bins = np.floor(np.arcsinh(values / self.scale) / BIN_WIDTH).astype(int) + BINS // 2
        self._bins += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)

    def at(self, probabilities: ArrayLike) -> Array:
        """Return the quantiles at probabilities `(m,)`, interpolated linearly between values; NaN if there are none."""
        probabilities = np.asarray(probabilities, np.float64)
        if not self.count:
            return np.full(probabilities.shape, np.nan)
        if self._values is not None:
            return np.quantile(np.concatenate(self._values), probabilities)
        values_below = np.concatenate([[0], np.cumsum(self._bins)])
        edges = np.sinh((np.arange(BINS + 1) - BINS // 2) * BIN_WIDTH) * self.scale
        edges[0], edges[-1] = min(edges[0], self.smallest), max(edges[-1], self.largest)
        quantiles = np.interp(probabilities * self.count, values_below, edges)
        return np.clip(quantiles, self.smallest, self.largest)

    def at_plotting_positions(self, probabilities: ArrayLike) -> Array:
        """Return the values `(m,)` to draw at probabilities: all values in order, if they are stored and as many."""
        if self._values is not None and np.size(probabilities) == self.count:
            return np.sort(np.concatenate(self._values))
        return self.at(probabilities)
