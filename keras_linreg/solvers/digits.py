"""Digits: how many decimal digits of each coefficient agree with the exact solution of the numbers given."""

import dataclasses

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF, Statistics

MOST_DIGITS = 15.0
FACTOR_ERRORS = 8.0  # roundings of the factor that count at their worst
STEP_ERRORS = 4.0  # the same, of the step from a plane
SUM_ERRORS = 100.0  # the same, of sums of products, which average out over the rows
BASIS_ERRORS = 8.0  # the same, of nearly dependent columns in a better basis
ORDINARY_CONDITION = 10.0  # up to here the rows are multiplied as they are, beyond in a better basis
NEGLIGIBLE = 1e-8  # a coefficient that moves the fitted values by no more than this part is zero beside the others


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RoundingError:
    """How far rounding errors may move coefficients.

    A rounding error moves the fitted values by a vector of some size. Coefficient j follows by no more than that size
    times the norm of row j of `inv(R)`, which is also its standard error over sigma. So nearly dependent columns, and
    an intercept far from the data, lose as many digits as their standard errors say.

    Attributes:
        size: `(k,)`: of the move of the fitted values.
        roots: `(p,)`: the norms of the rows of `inv(R)`.
        root_of_bias: the same of the intercept.
        condition: the condition number of R with columns of norm 1.
    """

    size: np.ndarray
    roots: np.ndarray
    root_of_bias: float
    condition: float


def rounding_error(
    statistics: Statistics,
    upper: np.ndarray,
    mean: np.ndarray,
    terms: np.ndarray,
    residuals: np.ndarray,
    error: float,
    step: np.ndarray | None,
) -> RoundingError:
    """Return how far rounding errors may move the coefficients of the columns that are kept.

    A relative error of R moves the fitted values by its part of all terms `x[:, j] * kernel[j]`; the residuals turn into
    another move, condition times as large. Of a solution about a plane only the step from the plane suffers from R:
    small, and by the square of the condition while rows are multiplied as they are.

    Args:
        statistics: of the rows.
        upper: `(r, r)`: R of the kept columns.
        mean: `(r,)`: their means.
        terms: `(k,)`: the norm of y and of all terms.
        residuals: `(k,)`: their norms.
        error: the relative rounding error of R.
        step: `(r, k)`: from the plane to the solution; None if there is no plane.

    References:
        Wedin, "Perturbation theory for pseudo-inverses" (1973); Björck, Numerical Methods for Least Squares Problems
        (1996), theorem 1.4.6.
    """
    norms = triangular.column_norms(upper)
    inverse, condition = triangular.inverse_and_condition(upper / norms)
    roots = triangular.column_norms(inverse.T) / norms if len(upper) else norms
    level = 1.0 / np.sqrt(float(statistics.weight.hi))
    root_of_bias = float(np.hypot(level, np.linalg.norm(mean / norms @ inverse)))
    if step is None or statistics.plane is None:
        size = FACTOR_ERRORS * error * (terms + condition * residuals)
    else:
        growth = STEP_ERRORS * condition * min(condition, ORDINARY_CONDITION)
        random = (SUM_ERRORS + BASIS_ERRORS * condition) * residuals / np.sqrt(max(statistics.nobs, 1))
        moved = np.linalg.norm(upper @ step, axis=0)
        size = FLOAT64_ROUNDOFF * (growth * moved + random) + statistics.plane.error * terms
    return RoundingError(size, roots, root_of_bias, condition)


def promised_digits(values: np.ndarray, errors: np.ndarray, standard_errors: np.ndarray) -> np.ndarray:
    """Return how many decimal digits of values are right, relative to the larger of value and standard error.

    Args:
        values: any shape, float64: their own rounding is added to the errors.
        errors: how far they may be off.
        standard_errors: 0 where there are none.
    """
    errors = errors + FLOAT64_ROUNDOFF * np.abs(values)
    sizes = np.maximum(np.abs(values), standard_errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = -np.log10(errors / sizes)
    digits = np.where(errors == 0, MOST_DIGITS, np.where(np.isfinite(digits), digits, 0.0))
    return np.clip(digits, 0.0, MOST_DIGITS)
