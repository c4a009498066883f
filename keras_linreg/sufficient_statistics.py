"""Statistics: all that least squares needs to know of some rows, and how the statistics of two sets of rows merge."""

import dataclasses

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import UNIT_ROUNDOFF, DoubleDouble, as_doubledouble, sqrt

FLOAT64_ROUNDOFF = 2.0**-53


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """Weighted means and cross-products of the q columns of `[x y]` over some rows.

    ```python
    factor.T @ factor == sum(weight * outer(row - mean, row - mean))
    ```

    Attributes:
        nobs: the number of rows whose weight is not zero.
        weight: the sum of the weights, a double-double scalar.
        log_weight: the sum of the weights' logarithms.
        mean: double-double `(q,)`.
        factor: upper triangular `(q, q)`, double-double or float64.
        constant: mask `(q,)`: the minimum of the column equals its maximum.
        error: the relative rounding error of the solution with an intercept and without a penalty.
    """

    nobs: int
    weight: DoubleDouble
    log_weight: float
    mean: DoubleDouble
    factor: DoubleDouble | np.ndarray
    constant: np.ndarray
    error: float = FLOAT64_ROUNDOFF

    @property
    def error_of_other_solutions(self) -> float:
        """The relative rounding error of every other solution: refinement corrects only the one of `error`."""
        return self.error if self.error <= UNIT_ROUNDOFF else max(self.error, FLOAT64_ROUNDOFF)

    @property
    def is_double_double(self) -> bool:
        """Whether the factor is in double-double."""
        return isinstance(self.factor, DoubleDouble)

    def uncentred_factor(self) -> triangular.Factor:
        """Return the factor of the columns themselves, not of their differences from the means.

        The cross-products about zero are those about the mean plus `weight * outer(mean, mean)`, so the factor gets
        one more row, `sqrt(weight) * mean`.
        """
        row = (sqrt(self.weight) * self.mean)[None]
        return triangular.stacked(self.factor, row if self.is_double_double else row.hi)


def empty(width: int) -> Statistics:
    """Return the statistics of no rows of `width` columns."""
    zero = DoubleDouble(np.zeros(()))
    return Statistics(0, zero, 0.0, DoubleDouble(np.zeros(width)), np.zeros((width, width)), np.zeros(width, bool))


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Return the statistics of the rows of both.

    With weights `W_a + W_b = W` and `d = mean_b - mean_a`, the mean of all rows is `mean_a + W_b / W * d`. About that
    mean the cross-products are

    ```python
    S = S_a + S_b + W_a * W_b / W * outer(d, d)
    ```

    because each part's rows are `mean_a - mean` (or `mean_b - mean`) away from it on average. A sum of cross-products
    is the cross-product of the factors stacked, so the factor of S is the triangular factor of three blocks of rows:
    `factor_a`, `factor_b` and the one row `sqrt(W_a * W_b / W) * d`. Nothing is subtracted from anything large.

    References:
        Chan, Golub, LeVeque, "Algorithms for computing the sample variance" (1983), equation 2.1, for sums of squares.
    """
    if not a.nobs or not b.nobs:
        return a if a.nobs else b
    weight = a.weight + b.weight
    difference = b.mean - a.mean
    # Weights may be of any size, but their product must not overflow: an even power of two brings them near 1.
    power = 2 * (int(np.frexp(weight.hi)[1]) // 2)
    scaled_a, scaled_b, scaled_sum = (total.scaled(-power) for total in (a.weight, b.weight, weight))
    between = (sqrt(scaled_a * scaled_b / scaled_sum) * difference).scaled(power // 2)
    if a.is_double_double and b.is_double_double:
        parts = [a.factor, b.factor, between[None]]
    else:
        parts = [as_doubledouble(part).hi for part in (a.factor, b.factor, between[None])]
    return Statistics(
        nobs=a.nobs + b.nobs,
        weight=weight,
        log_weight=a.log_weight + b.log_weight,
        mean=a.mean + scaled_b / scaled_sum * difference,
        factor=triangular.stacked(*parts),
        constant=a.constant & b.constant & (difference.hi == 0),
        error=max(a.error_of_other_solutions, b.error_of_other_solutions),
    )
