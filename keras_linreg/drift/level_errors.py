"""How far the level of a test is off for data that are not normal: what decides whether a p-value is given.

A test of means holds its level for normal data. For others it holds it in the limit of many rows. The Edgeworth
expansion tells the error before the limit, from the skewness and the kurtosis of the data. Where the error may be more
than `TOLERATED` of a level of 5 %, the report gives the number of rows that would do in place of a p-value.

Skewness and kurtosis are those of the new rows: under the null hypothesis the rows of the fit have the same, and the
moments of a fit hold none.
"""

import dataclasses
import math

import numpy as np
from scipy import special

from keras_linreg.utils.types import Array

LEVEL = 0.05
TOLERATED = 0.005  # of the level of the family, 5 %
FEWEST_ROWS = 30  # fewer do not tell how skewed a column is
FEWEST_FOR_VARIANCE = 200
ROWS_BY_KURTOSIS = 300.0  # rows for each squared unit of the excess kurtosis + 2: see `rows_for_variance`
UNKNOWN_SKEWNESS, UNKNOWN_KURTOSIS = 5.0, 40.0  # taken for columns of which only means and covariances are known


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """Skewness and excess kurtosis of a column."""

    skewness: float = UNKNOWN_SKEWNESS
    kurtosis: float = UNKNOWN_KURTOSIS


def of_difference(shape: Shape, rows: float, rows_of_fit: float) -> Shape:
    """Return skewness and excess kurtosis of the difference of two means, of samples of these sizes.

    The third and the fourth cumulant of the mean of n rows are those of a row, divided by n**2 and n**3. Those of a
    difference are the difference and the sum.
    """
    variance = 1 / rows + 1 / rows_of_fit
    third = (1 / rows**2 - 1 / rows_of_fit**2) / variance**1.5
    fourth = (1 / rows**3 + 1 / rows_of_fit**3) / variance**2
    return Shape(shape.skewness * third, shape.kurtosis * fourth)


def error_of_studentized_mean(shape: Shape, tests: int) -> float:
    """Return by how much a family of two-sided t tests exceeds its level of 5 %, by Bonferroni, to second order.

    With the skewness g and the excess kurtosis k of the numerator, the probability that the studentised mean lies
    beyond x is that of Student's t and

    ```python
    2 * normal_density(x) * x * (g**2 * (x**4 + 2 * x**2 - 3) / 18 - k * (x**2 - 3) / 12)
    ```

    References:
        Hall, The Bootstrap and Edgeworth Expansion (1992), section 2.6, equation 2.42.
    """
    x = quantile(tests)
    term = shape.skewness**2 * (x**4 + 2 * x**2 - 3) / 18 - shape.kurtosis * (x**2 - 3) / 12
    return tests * 2 * _density(x) * x * term


def error_of_standardized_mean(shape: Shape, tests: int) -> float:
    """Return the same for a mean whose variance is known, as that of an indicator under the null hypothesis is.

    References:
        Hall (1992), section 2.3, equation 2.17.
    """
    x = quantile(tests)
    term = shape.kurtosis * (x**3 - 3 * x) / 24 + shape.skewness**2 * (x**5 - 10 * x**3 + 15 * x) / 72
    return tests * 2 * _density(x) * term


def error_of_quadratic_form(df: int, inflation: float) -> float:
    """Return the same for a sum of squares that has `df` degrees of freedom, and a variance larger by a part.

    A multiple of chi-squared with the same mean and variance takes its place.

    Args:
        df: the degrees of freedom.
        inflation: the variance divided by `2 * df`, less 1.

    References:
        Box, Watson, "Robustness to non-normality of regression tests" (1962).
    """
    share = max(1 + inflation, 1e-3)
    limit = float(special.chdtri(df, LEVEL))
    return float(special.chdtrc(df / share, limit / share)) - LEVEL


def rows_for_variance(kurtosis: float) -> float:
    """Return how many rows a test of a variance needs, if the column's excess kurtosis is so large.

    The relative variance of a sample variance is `(kurtosis + 2) / n`. The kurtosis is an estimate itself: the heavier
    the tails, the more rows it takes, and samples without a number from far out in the tails show a small kurtosis
    together with a small variance. Simulations tell how many rows do for each unit of `(kurtosis + 2) ** 2`: with 300
    no more than 5 % of the monitors of normal, exponential and t5 columns raise a false alarm, within sampling error,
    whatever the number of rows. A normal column needs 1,200 rows, an exponential one 19,200.
    """
    return max(FEWEST_FOR_VARIANCE, ROWS_BY_KURTOSIS * (kurtosis + 2) ** 2)


def rows_needed(rows: float, error: float) -> int:
    """Return about how many rows hold the level; an error is in inverse proportion to the number of rows."""
    needed = max(rows * abs(error) / TOLERATED, FEWEST_ROWS)
    power = 10 ** max(math.floor(math.log10(needed)) - 1, 0)
    return int(math.ceil(needed / power) * power)


def quantile(tests: int) -> float:
    """Return the number that a normal statistic exceeds, in either direction, with the level divided by the tests."""
    return float(-special.ndtri(LEVEL / tests / 2))


def holm(p_values: Array) -> Array:
    """Return p-values of a family, adjusted so that a false alarm among all of them has the level of one.

    The smallest is multiplied by the number of tests, the next by one less, and none may be smaller than those before.
    NaN stays NaN, and does not count.

    References:
        Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
