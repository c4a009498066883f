"""From statistics to a solution: the problem in units that cannot overflow, its minimum, and how many digits it has."""

import math

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul
from keras_linreg.solvers.least_squares import NO_PENALTY
from keras_linreg.solvers.penalty import Penalty, Problem
from keras_linreg.solvers.solution import Solution
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF, Statistics

# Of a column's norm, what columns before it must leave of it for it to be independent: more than its own rounding.
TOLERANCES = {"float64": 1e-10, "float32": 1e-6, "bfloat16": 1e-2, "float16": 1e-2}
DEPENDENT = ("drop", "min_norm")
MOST_DIGITS = 15.0


def check_dependent(dependent: str) -> str:
    """Return the rule for dependent columns.

    Raises:
        ValueError: there is no such rule.
    """
    if dependent not in DEPENDENT:
        raise ValueError(f"`dependent` must be one of {list(DEPENDENT)}. Received: dependent={dependent!r}.")
    return dependent


def solve(
    statistics: Statistics,
    rows: int,
    feature_names: tuple[str, ...],
    output_names: tuple[str, ...],
    dtype: str = "float64",
    penalty: Penalty = NO_PENALTY,
    dependent: str = "drop",
    use_bias: bool = True,
) -> Solution:
    """Return the solution of the rows that `statistics` describe.

    ```python
    minimise  sum(weight * square(y - x @ kernel - bias)) / (rows * units) + penalty(kernel)
    ```

    The bias is never penalised, so at the minimum it is `mean(y) - mean(x) @ kernel`, and the kernel minimises the
    same sum over rows less their means. That is why the factor of centred columns is all that a solver needs.

    Args:
        statistics: of the rows.
        rows: how many rows were given, those of weight zero included.
        feature_names, output_names: p and k names.
        dtype: the coarsest dtype of x. A column depends on those before it when no more than a tolerance of its norm
            is left of it: 1e-10 for float64, 1e-6 for float32, 1e-2 for bfloat16.
        penalty: what is added to the mean squared error.
        dependent: `"drop"` gives a dependent column weight 0; `"min_norm"` takes the smallest kernel.
        use_bias: whether to fit an intercept.
    """
    features = len(feature_names)
    factor = statistics.factor if use_bias else statistics.uncentred_factor()
    exponents = np.frexp(triangular.column_norms(as_doubledouble(factor).hi))[1]
    problem = Problem(
        factor=triangular.scaled(factor, -exponents),
        exponents=exponents,
        rows=rows,
        outputs=len(output_names),
        constant=statistics.constant[:features] if use_bias else np.zeros(features, bool),
        tolerance=TOLERANCES[dtype],
        dependent=dependent,
    )
    minimum = penalty.solve(problem)
    kernel, r = as_doubledouble(minimum.kernel), as_doubledouble(problem.factor)
    explained = matmul(r[:, :features], kernel)
    rss = _column_squares(explained - r[:, features:])
    # Noise explains some of y by chance: a kernel that explains no more has no digits to lose.
    by_chance = rss.hi / max(statistics.nobs, 1)
    unexplained = _largest_root(rss.hi + minimum.penalty, _column_squares(explained).hi + minimum.penalty + by_chance)
    kernel = kernel.scaled(exponents[features:] - exponents[:features, None])
    mean = statistics.mean[None]
    bias = (mean[:, features:] - matmul(mean[:, :features], kernel))[0] if use_bias else None
    with np.errstate(over="ignore"):
        rss = rss.scaled(2 * exponents[features:])
    is_refinable = penalty.is_zero and use_bias
    return Solution(
        kernel=kernel.hi,
        bias=None if bias is None else bias.hi,
        feature_names=feature_names,
        output_names=output_names,
        kept=minimum.kept,
        rank=int(minimum.kept.sum()) + int(use_bias),
        rss=rss.hi,
        nobs=statistics.nobs,
        rows=rows,
        penalty=penalty,
        dependent=dependent,
        scaled_condition_number=minimum.condition_number,
        unexplained=unexplained,
        digits=digits(
            minimum.sensitivity,
            unexplained,
            statistics.error if is_refinable else statistics.error_of_other_solutions,
        ),
    )


def amplification(condition: float, unexplained: float) -> float:
    """Return by how much coefficients amplify a rounding error of the factor, at most.

    A relative error of the factor changes the fitted values by its share of `norm(y)`, and the residuals turn into
    changes of the kernel by the square of the condition number:

    ```python
    condition * (1 + condition * norm(residuals) / norm(fitted))
    ```

    times a small constant.

    References:
        Wedin, "Perturbation theory for pseudo-inverses" (1973); Björck, Numerical Methods for Least Squares Problems
        (1996), theorem 1.4.6.
    """
    return 8 * condition * (1 + condition * unexplained)


def digits(condition: float, unexplained: float, error: float) -> float:
    """Return how many digits a relative error of the factor leaves of the coefficients."""
    lost = error * amplification(condition, unexplained) + FLOAT64_ROUNDOFF
    return float(np.clip(-math.log10(lost), 0.0, MOST_DIGITS)) if math.isfinite(lost) else 0.0


def _largest_root(over: np.ndarray, under: np.ndarray) -> float:
    """Return the root of the largest of the ratios; 0 over 0 is 0."""
    ratios = np.divide(over, under, out=np.where(over > 0, np.inf, 0.0), where=under > 0)
    return math.sqrt(ratios.max(initial=0.0))


def _column_squares(values: DoubleDouble) -> DoubleDouble:
    return (values * values).sum(0)
