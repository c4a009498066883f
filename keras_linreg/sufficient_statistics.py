"""Statistics: all that least squares needs to know of some rows, and how the statistics of two sets of rows merge."""

import contextlib
import dataclasses
from typing import Any

import numpy as np
import scipy.linalg

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul, sqrt

FLOAT64_ROUNDOFF = 2.0**-53
DOUBLE_DOUBLE_ERROR = 2.0**-90  # at most, of a factor in double-double
PENALTIES = (1e-10, 1e-7, 1e-5, 1e-3, 1e-1)  # of columns of norm 1
PENALISED_STEPS = 3
DEPENDENT = 1e-10
WITHOUT_PLANE = 100.0  # rounding errors of y in a factor that has no plane
LARGEST_TERMS = 4.0  # the norm of all terms of a provisional fit, as a part of that of y


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A provisional fit, and what it leaves: cross-products of residuals keep digits that those of y would lose.

    It is centring, about a plane instead of a point. With `R` the factor of the p columns of x,

    ```python
    factor[:, p:] == R @ kernel + rest
    solution == kernel + inv(R) @ rest
    ```

    so a rounding error of R or of `rest` counts as a part of the small step from the plane to the solution.

    Attributes:
        kernel: `(p, k)`.
        rest: `(p, k)`: the part of the residuals of the plane that the columns of x explain.
        error: the rounding error of residuals, as a part of the norm of y and of all terms of `x @ kernel`.
        sum_error: the rounding error of sums of products by residuals, as a part of the norm of the residuals.
    """

    kernel: np.ndarray
    rest: np.ndarray
    error: float
    sum_error: float = FLOAT64_ROUNDOFF


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
        error: the relative rounding error of the factor.
        plane: a provisional fit that holds more digits of the solution with an intercept and without a penalty than
            the factor does; None if the factor holds them all.
    """

    nobs: int
    weight: DoubleDouble
    log_weight: float
    mean: DoubleDouble
    factor: DoubleDouble | np.ndarray
    constant: np.ndarray
    error: float = FLOAT64_ROUNDOFF
    plane: Plane | None = None

    @property
    def error_of_other_solutions(self) -> float:
        """The relative rounding error of solutions without intercept, or of some of the columns.

        Files of version 0.1.0 hold factors of double-doubles with an `error` that is true of one solution alone.
        """
        return self.error if self.error <= DOUBLE_DOUBLE_ERROR else max(self.error, FLOAT64_ROUNDOFF)

    @property
    def is_double_double(self) -> bool:
        """Whether the factor is in double-double."""
        return isinstance(self.factor, DoubleDouble)

    def with_outputs_scaled(self, exponents: np.ndarray) -> "Statistics":
        """Return the statistics of outputs times `2**exponents`, `(k,)`, exactly; for a float64 factor."""
        units = np.concatenate([np.zeros(len(self.constant) - len(exponents), int), exponents])
        plane = self.plane
        if plane is not None:
            kernel, rest = (np.ldexp(part, exponents) for part in (plane.kernel, plane.rest))
            plane = dataclasses.replace(plane, kernel=kernel, rest=rest)
        factor = triangular.scaled(as_doubledouble(self.factor).hi, units)
        return dataclasses.replace(self, mean=self.mean.scaled(units), factor=factor, plane=plane)

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
    root = sqrt(scaled_a * scaled_b / scaled_sum).scaled(power // 2)
    merged = Statistics(
        nobs=a.nobs + b.nobs,
        weight=weight,
        log_weight=a.log_weight + b.log_weight,
        mean=a.mean + scaled_b / scaled_sum * difference,
        factor=np.zeros(0),
        constant=a.constant & b.constant & (difference.hi == 0),
        error=max(a.error_of_other_solutions, b.error_of_other_solutions),
    )
    if a.is_double_double and b.is_double_double:
        factor = triangular.stacked(a.factor, b.factor, (root * difference)[None])
        return dataclasses.replace(merged, factor=factor)
    planes = [part.plane for part in (a, b) if part.plane is not None]
    if not planes:
        upper, lower = (as_doubledouble(part).hi for part in (a.factor, b.factor))
        return dataclasses.replace(merged, factor=triangular.merged(upper, lower, (root * difference).hi))
    kernel = (planes[0] if len(planes) == 1 or a.nobs >= b.nobs else planes[1]).kernel
    (upper, *errors_a), (lower, *errors_b) = (_factor_of_residuals(part, kernel) for part in (a, b))
    features = len(kernel)
    difference[features:] = difference[features:] - matmul(difference[None, :features], as_doubledouble(kernel))[0]
    r = triangular.merged(upper, lower, (root * difference).hi)
    return dataclasses.replace(merged, **about_plane(r, kernel, *map(max, errors_a, errors_b)))


def about_plane(r: np.ndarray, kernel: np.ndarray, error: float, sum_error: float = FLOAT64_ROUNDOFF) -> dict[str, Any]:
    """Return the fields `factor` and `plane` of statistics, with the plane moved towards the solution.

    Args:
        r: `(q, q)`: the factor of `[x, y - x @ kernel]`.
        kernel: `(p, k)`: of the plane.
        error, sum_error: as in `Plane`.
    """
    features = len(kernel)
    upper, rest = r[:features, :features], r[:features, features:]
    moved = provisional_kernel(r, kernel)
    rest = rest - upper @ (moved - kernel)
    factor = r.copy(order="K")
    factor[:features, features:] = upper @ moved + rest
    return {"factor": factor, "plane": Plane(moved, rest, error, sum_error)}


def provisional_kernel(r: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return a kernel near the solution whose terms are not much larger than y.

    The solution itself may consist of huge coefficients that cancel, where these rows hardly determine it. The
    residuals of such a plane would be rounding errors. So as much of a penalty is added as keeps the terms small.

    Args:
        r: `(q, q)`: the factor of `[x, y - x @ kernel]`.
        kernel: `(p, k)`: to start from.
    """
    features = len(kernel)
    upper, rest = r[:features, :features], r[:features, features:]
    norms = triangular.column_norms(upper)
    norms[norms == 0] = 1.0
    y = np.hypot(np.linalg.norm(upper @ kernel + rest, axis=0), triangular.column_norms(r[features:, features:]))
    largest = LARGEST_TERMS * y + np.linalg.norm(kernel * norms[:, None], axis=0)
    unit = upper / norms
    unit[:, np.abs(np.diag(unit)) <= DEPENDENT] = 0.0  # a column that depends on others gets no weight
    gram = unit.T @ unit
    diagonal = np.diag(gram).copy()
    for penalty in PENALTIES:
        np.fill_diagonal(gram, diagonal + penalty)
        with contextlib.suppress(np.linalg.LinAlgError):
            factor = scipy.linalg.cho_factor(gram)
            scaled = np.zeros_like(kernel)
            for _ in range(PENALISED_STEPS):  # what is well determined converges, and the penalty no longer matters
                scaled += scipy.linalg.cho_solve(factor, unit.T @ (rest - unit @ scaled))
            moved = kernel + scaled / norms[:, None]
            if (np.linalg.norm(moved * norms[:, None], axis=0) <= largest).all():
                return moved
    return kernel


def _factor_of_residuals(statistics: Statistics, kernel: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the float64 factor of `[x, y - x @ kernel]`, and `error` and `sum_error` of a plane of this kernel."""
    features, plane = len(kernel), statistics.plane
    factor = as_doubledouble(statistics.factor)
    r = factor.hi.copy(order="K")
    if plane is not None:
        r[:features, features:] = plane.rest + r[:features, :features] @ (plane.kernel - kernel)
        return r, plane.error, plane.sum_error
    if statistics.is_double_double:
        explained = matmul(factor[:features, :features], as_doubledouble(kernel))
        r[:features, features:] = (factor[:features, features:] - explained).hi
        return r, FLOAT64_ROUNDOFF / 8, FLOAT64_ROUNDOFF
    r[:features, features:] -= r[:features, :features] @ kernel
    return r, WITHOUT_PLANE * statistics.error, FLOAT64_ROUNDOFF
