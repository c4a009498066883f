"""Digits: how many decimal digits of each coefficient agree with the exact solution of the numbers given.

Rounding errors move the fitted values by a vector of some size. Coefficient j follows by no more than that size times
the norm of row j of `inv(R)`, which is also its standard error over sigma. So nearly dependent columns, and an
intercept far from the data, lose as many digits as their standard errors say.

The size is estimated, not bounded: most rounding errors are random, and of those a bound would be true and useless. The
constants below were set on problems that were solved in rational arithmetic, so that no claim is above the truth.
"""

import dataclasses

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.condition import inverse_and_condition
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.solvers.penalty import Minimum, Problem
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF, Statistics

MOST_DIGITS = 15.0
FACTOR_ERRORS = 64.0  # roundings of the factor that count at their worst
STEP_ERRORS = 4.0  # the same, of the step from a plane
SUM_ERRORS = 200.0  # the same, of sums of products, which average out over the rows
BASIS_ERRORS = 8.0  # the same, of nearly dependent columns in a better basis
COLUMN_ERRORS = 8.0  # the same, of columns as they are, which depend on each other
ORDINARY_INFLATION = 100.0  # up to here the rows are multiplied as they are, beyond in a better basis,
CONDITION_OF_BASIS = 10.0  # whose condition number is no more than this
NEGLIGIBLE = 1e-8  # a parameter that moves the fitted values by no more than this part is zero beside the others


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Sureness:
    """How sure a solution is.

    Attributes:
        condition_number: of the kept columns, scaled to norm 1.
        digits: `(P, k)`, intercept first: of each parameter.
        fewest_digits: the smallest of them, parameters left out that are zero beside the others.
        digits_of_kernel: of the kernel as a whole, in the columns' own scales.
    """

    condition_number: float
    digits: np.ndarray
    fewest_digits: float
    digits_of_kernel: float


def sureness(
    statistics: Statistics,
    problem: Problem,
    minimum: Minimum,
    bias: np.ndarray | None,
    kernel: np.ndarray,
    squares: np.ndarray,
    error: float,
    step: np.ndarray | None,
) -> Sureness:
    """Return how sure a solution is.

    Args:
        statistics: of the rows.
        problem, minimum: what was solved, and where it is smallest.
        bias, kernel: `(k,)` or None, and `(p, k)`: the solution in the problem's units.
        squares: `(k,)`: the sum of squares of what is left of y, and what the penalty adds to it.
        error: the relative rounding error of the factor.
        step: `(p, k)`: from the plane of the statistics to the kernel; None if they have none.
    """
    features, kept, starts = problem.features, minimum.kept, 0 if bias is None else 1
    norms = triangular.column_norms(as_doubledouble(problem.factor).hi)
    norms[norms == 0] = 1.0
    mean = np.ldexp(statistics.mean.hi, -problem.exponents)
    upper = as_doubledouble(minimum.upper).hi
    scale = triangular.column_norms(upper)
    inverse, condition = inverse_and_condition(upper / scale)
    roots = np.zeros(starts + features)
    lengths = triangular.column_norms(inverse.T)  # roots of the variance inflation factors
    roots[starts:][kept] = lengths / scale
    is_turned = bool((lengths**2 > ORDINARY_INFLATION).any())
    of_basis = min(condition, CONDITION_OF_BASIS) if is_turned else condition
    explained = np.linalg.norm(kernel * norms[:features, None], axis=0)
    terms, residuals = np.hypot(explained, norms[features:]), np.sqrt(squares)
    move = None if step is None else STEP_ERRORS * condition * of_basis * np.linalg.norm(upper @ step[kept], axis=0)
    worst_sums = BASIS_ERRORS * condition + (0.0 if is_turned else COLUMN_ERRORS * condition**2)
    sizes = _moves(statistics, condition, terms, residuals, error, move, worst_sums)
    errors = np.outer(roots, sizes)
    if minimum.condition_of_rows is not None:
        errors[starts:] = _errors_of_smallest_kernel(problem, minimum, kernel, condition, squares, error)
    values, zeros = kernel, NEGLIGIBLE * explained / norms[:features, None]
    if bias is not None:
        roots[0] = np.hypot(
            1 / np.sqrt(float(statistics.weight.hi)), np.linalg.norm(mean[:features][kept] / scale @ inverse)
        )
        errors[0] = roots[0] * sizes + np.abs(mean[:features]) @ (errors[1:] * (minimum.condition_of_rows is not None))
        of_bias = NEGLIGIBLE * (np.abs(mean[features:]) + np.abs(mean[:features]) @ np.abs(kernel))
        values, zeros = np.vstack([bias, kernel]), np.vstack([of_bias, zeros])
    freedom = statistics.nobs - int(kept.sum()) - starts
    standard_errors = np.outer(roots, np.sqrt(squares / freedom) if freedom > 0 else 0 * squares)
    together = np.maximum(explained / norms[:features, None], standard_errors[starts:])
    return Sureness(
        condition,
        promised_digits(values, errors, standard_errors),
        float(promised_digits(np.maximum(np.abs(values), zeros), errors, standard_errors).min(initial=MOST_DIGITS)),
        float(promised_digits(together, errors[starts:], together).min(initial=MOST_DIGITS)),
    )


def promised_digits(values: np.ndarray, errors: np.ndarray, standard_errors: np.ndarray) -> np.ndarray:
    """Return how many decimal digits of values are right, relative to the larger of value and standard error.

    Args:
        values: of any shape: as float64s they are rounded once more.
        errors: how far they may be off.
        standard_errors: 0 where there are none.
    """
    errors = errors + FLOAT64_ROUNDOFF * np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = -np.log10(errors / np.maximum(np.abs(values), standard_errors))
    digits = np.where(errors == 0, MOST_DIGITS, np.where(np.isfinite(digits), digits, 0.0))
    return np.clip(digits, 0.0, MOST_DIGITS)


def _moves(
    statistics: Statistics,
    condition: float,
    terms: np.ndarray,
    residuals: np.ndarray,
    error: float,
    step: np.ndarray | None,
    worst_sums: float,
) -> np.ndarray:
    """Return how far rounding errors move the fitted values, `(k,)`.

    A relative error of R moves them by its part of all terms `x[:, j] * kernel[j]`; the residuals turn into another
    move, condition times as large. Of a solution about a plane, only the step from the plane suffers from R.

    Args:
        statistics, error: as in `sureness`.
        condition: the condition number of R, of the kept columns.
        terms: `(k,)`: the norm of y and of all terms.
        residuals: `(k,)`: their norms.
        step: `(k,)`: how far the step from a plane moves the fitted values, times the roundings that count; or None.
        worst_sums: roundings of sums of products that count because columns depend on each other.

    References:
        Wedin, "Perturbation theory for pseudo-inverses" (1973); Björck, Numerical Methods for Least Squares Problems
        (1996), theorem 1.4.6.
    """
    plane = statistics.plane
    if step is None or plane is None:
        return FACTOR_ERRORS * error * (terms + condition * residuals)
    of_sums = (SUM_ERRORS + worst_sums) / np.sqrt(max(statistics.nobs, 1))
    return FLOAT64_ROUNDOFF * step + plane.sum_error * of_sums * residuals + plane.error * terms


def _errors_of_smallest_kernel(
    problem: Problem, minimum: Minimum, kernel: np.ndarray, condition: float, squares: np.ndarray, error: float
) -> np.ndarray:
    """Return the errors of the coefficients of the smallest kernel, `(p, k)`: it is that sure as a whole.

    It is the smallest in the user's units, and what it is found from has a condition number of its own.
    """
    condition = max(condition, minimum.condition_of_rows or 1.0)
    features, factor = problem.features, as_doubledouble(problem.factor).hi
    explained = np.linalg.norm(factor[:, :features] @ kernel, axis=0)
    unexplained = np.divide(np.sqrt(squares), explained, out=np.zeros_like(squares), where=explained > 0)
    lost = FACTOR_ERRORS * error * condition * (1 + condition * unexplained)
    lengths = np.linalg.norm(np.ldexp(kernel, -problem.x_exponents[:, None]), axis=0)
    return np.ldexp(lost * lengths, problem.x_exponents[:, None])
