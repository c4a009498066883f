"""Central moments of values that come in blocks: skewness and kurtosis in one pass."""

import dataclasses

import numpy as np

from keras_linreg.utils.types import Array


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CentralMoments:
    """The count and mean of values of k outputs, and sums of powers of their deviations from the mean.

    Attributes:
        count: n, or the sum of weights.
        mean: `(k,)`.
        second, third, fourth: `(k,)`: `sum((values - mean) ** power)`.
    """

    count: float
    mean: Array
    second: Array
    third: Array
    fourth: Array

    @classmethod
    def from_values(cls, values: Array) -> "CentralMoments":
        """Return the moments of values `(n, k)`; of no values they are zeros."""
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        deviations = values - mean
        return cls(len(values), mean, *((deviations**power).sum(axis=0) for power in (2, 3, 4)))

    def merge(self, other: "CentralMoments") -> "CentralMoments":
        """Return the moments of the values of both.

        The mean of all values lies between the two means. About that mean, each side's sums of powers are known (see
        `_about`), and they add up. Nothing is subtracted from anything large, as raw moments would need.

        References:
            Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
            moments" (2008), section 2.
        """
        count = self.count + other.count
        if not count:
            return self
        mean = self.mean + (other.mean - self.mean) * (other.count / count)
        sums = (mine + theirs for mine, theirs in zip(self._about(mean), other._about(mean), strict=True))
        return CentralMoments(count, mean, *sums)

    def skewness(self) -> Array:
        """Return `mean(deviation**3) / mean(deviation**2) ** 1.5`, `(k,)`; NaN if all values are equal."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.third / self.count / (self.second / self.count) ** 1.5

    def kurtosis(self) -> Array:
        """Return `mean(deviation**4) / mean(deviation**2) ** 2`, `(k,)`: 3 for a normal distribution."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.fourth / self.count / (self.second / self.count) ** 2

    def _about(self, point: Array) -> tuple[Array, Array, Array]:
        """Return the sums of the second, third and fourth powers of deviations from a point `(k,)`.

        A deviation from the point is a deviation from the mean plus `shift = mean - point`. The binomial theorem
        expands the power of that sum, and the first powers vanish, because deviations from the mean add up to zero.
        """
        n, shift = self.count, self.mean - point
        second = self.second + n * shift**2
        third = self.third + 3 * shift * self.second + n * shift**3
        fourth = self.fourth + 4 * shift * self.third + 6 * shift**2 * self.second + n * shift**4
        return second, third, fourth
