"""Mean and standard deviation of a stream of numbers."""

import math

import numpy as np


class Spread:
    """The mean and the standard deviation, with the divisor n, of numbers that come in batches.

    Of two sets of V and W numbers, with means a and b and sums of squares about them, the sum about the common mean is

    ```python
    squares_a + squares_b + V * W / (V + W) * (a - b) ** 2
    ```

    Attributes:
        mean: of the numbers so far; NaN is left out.

    Example:
    >>> spread = Spread()
    >>> spread.add(np.array([1.0, 3.0]))
    >>> spread.mean, spread.deviation
    (2.0, 1.0)
    """

    def __init__(self) -> None:
        self.mean = 0.0
        self._count, self._squares = 0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Take a batch `(n,)`."""
        with np.errstate(all="ignore"):
            if not np.isfinite(values.sum()):
                values = values[np.isfinite(values)]
        if not len(values):
            return
        mean = float(values.mean())
        rest = values - mean
        total, between = self._count + len(values), mean - self.mean
        self._squares += float(rest @ rest) + between**2 * self._count * len(values) / total
        self.mean += between * len(values) / total
        self._count = total

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(self._squares / max(self._count, 1))
