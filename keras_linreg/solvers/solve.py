"""From statistics to a solution: the problem in units that cannot overflow, its minimum, and how many digits it has."""

import dataclasses
import math

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul
from keras_linreg.linalg.triangular import Factor
from keras_linreg.solvers.digits import sureness
from keras_linreg.solvers.least_squares import NO_PENALTY
from keras_linreg.solvers.penalty import Minimum, Penalty, Problem
from keras_linreg.solvers.solution import Solution
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.utils.threads import one_blas_thread

# Of a column's norm, what columns before it must leave of it for it to be independent: more than its own rounding.
TOLERANCES = {"float64": 1e-10, "float32": 1e-6, "bfloat16": 1e-2, "float16": 1e-2}
PENALISED_ERRORS = 8.0  # times as many rounding errors: rows of very different sizes are made triangular
DEPENDENT = ("drop", "min_norm")


def check_dependent(dependent: str) -> str:
    """Return the rule for dependent columns.

    Raises:
        ValueError: there is no such rule.
    """
    if dependent not in DEPENDENT:
        raise ValueError(f"`dependent` must be one of {list(DEPENDENT)}. Received: dependent={dependent!r}.")
    return dependent


@one_blas_thread()  # on a busy host, threads that wait for each other take many times as long
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
    step = None
    minimum = _about_plane(problem, statistics) if penalty.is_zero and use_bias else None
    if minimum is None:
        minimum = penalty.solve(problem)
    else:
        step = as_doubledouble(minimum.kernel).hi
    kernel = as_doubledouble(minimum.kernel)
    if step is not None:
        kernel = kernel + _scaled_plane(statistics, exponents)[0]
    explained = _product(problem.factor, kernel)
    rss = _column_squares(_residuals(statistics, problem, explained, step))
    mean = statistics.mean.scaled(-exponents)[None]
    bias = (mean[:, features:] - matmul(mean[:, :features], kernel))[0] if use_bias else None
    sure = sureness(
        statistics,
        problem,
        minimum,
        None if bias is None else bias.hi,
        kernel.hi,
        rss.hi + minimum.penalty,
        _error_of_factor(statistics, penalty, use_bias),
        step,
    )
    with np.errstate(over="ignore"):
        rss_in_units = rss.scaled(2 * exponents[features:]).hi
    return Solution(
        kernel=kernel.scaled(exponents[features:] - exponents[:features, None]).hi,
        bias=None if bias is None else bias.scaled(exponents[features:]).hi,
        feature_names=feature_names,
        output_names=output_names,
        kept=minimum.kept,
        rank=int(minimum.kept.sum()) + int(use_bias),
        rss=rss_in_units,
        nobs=statistics.nobs,
        rows=rows,
        penalty=penalty,
        dependent=dependent,
        scaled_condition_number=sure.condition_number,
        unexplained=_unexplained(statistics, rss.hi, explained, minimum.penalty),
        digits=sure.digits,
        fewest_digits=sure.fewest_digits,
        digits_of_kernel=sure.digits_of_kernel,
    )


def _error_of_factor(statistics: Statistics, penalty: Penalty, use_bias: bool) -> float:
    """Return the relative rounding error of the factor that a problem was solved with."""
    if not penalty.is_zero:
        return PENALISED_ERRORS * statistics.error_of_other_solutions
    return statistics.error if use_bias else statistics.error_of_other_solutions


def _unexplained(statistics: Statistics, rss: np.ndarray, explained: DoubleDouble, penalty: np.ndarray) -> float:
    """Return the norm of the residuals divided by the norm of what is explained, the penalty included in both."""
    by_chance = rss / max(statistics.nobs, 1)  # noise explains some of y: a kernel that explains no more is not small
    return _largest_root(rss + penalty, _column_squares(explained).hi + penalty + by_chance)


def _product(factor: Factor, kernel: DoubleDouble) -> DoubleDouble:
    """Return the columns of x in a factor times a kernel, in the arithmetic of the factor."""
    features = len(kernel)
    if isinstance(factor, DoubleDouble):
        return matmul(factor[:, :features], kernel)
    return as_doubledouble(factor[:, :features] @ kernel.hi)


def _about_plane(problem: Problem, statistics: Statistics) -> Minimum | None:
    """Return the step from the plane of statistics to the solution, or None if they have none that serves.

    A column that depends on others is to have weight 0, or a share, and a plane has given it some other weight.
    """
    if statistics.plane is None:
        return None
    features, plain = problem.features, as_doubledouble(problem.factor).hi
    is_dependent = np.abs(np.diag(plain)) <= problem.tolerance * triangular.column_norms(plain)
    if statistics.plane.kernel[is_dependent[:features]].any():
        return None
    factor = np.array(problem.factor)
    factor[:features, features:] = _scaled_plane(statistics, problem.exponents)[1]
    minimum = NO_PENALTY.solve(dataclasses.replace(problem, factor=factor))
    return None if statistics.plane.kernel[~minimum.kept].any() else minimum


def _scaled_plane(statistics: Statistics, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and rest of the plane, in the units of a problem."""
    assert statistics.plane is not None
    features = len(statistics.plane.kernel)
    kernel = np.ldexp(statistics.plane.kernel, exponents[:features, None] - exponents[features:])
    return kernel, np.ldexp(statistics.plane.rest, -exponents[features:])


def _residuals(
    statistics: Statistics, problem: Problem, explained: DoubleDouble, step: np.ndarray | None
) -> DoubleDouble:
    """Return the rows of the factor that the kernel leaves of y, `(p + k, k)`: their squares add up to the rss."""
    features, factor = problem.features, as_doubledouble(problem.factor)
    residuals = explained - factor[:, features:]
    if step is not None:
        rest = _scaled_plane(statistics, problem.exponents)[1]
        residuals[:features] = factor.hi[:features, :features] @ step - rest
    return residuals


def _largest_root(over: np.ndarray, under: np.ndarray) -> float:
    """Return the root of the largest of the ratios; 0 over 0 is 0."""
    ratios = np.divide(over, under, out=np.where(over > 0, np.inf, 0.0), where=under > 0)
    return math.sqrt(ratios.max(initial=0.0))


def _column_squares(values: DoubleDouble) -> DoubleDouble:
    return (values * values).sum(0)
