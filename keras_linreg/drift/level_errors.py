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
LIGHT_TAILS, NEARLY_NORMAL = -0.8, 1.2  # excess kurtosis, at most: see `rows_for_variance`
FEWEST_FOR_LIGHT_TAILS, FEWEST_FOR_VARIANCE, FEWEST_FOR_HEAVY_TAILS = 200, 1500, 40_000
ROWS_BY_KURTOSIS, ROWS_BY_HEAVY_KURTOSIS = 300.0, 140.0  # rows for each squared unit of the excess kurtosis + 2
ROWS_BY_DF = 8.0  # the same for each degree of freedom: see `df_for_variance`
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

    The relative variance of a sample variance is `(kurtosis + 2) / n`, so the error of the level before the limit goes
    with `(kurtosis + 2) ** 2 / n`. But the kurtosis is an estimate itself. A sample that happens to have no number from
    far out in the tails shows a small kurtosis together with a small variance: were a column with heavy tails tested
    where its kurtosis looks small, up to a half of these tests would reject. So three kinds of columns are told apart,
    with gaps between their sizes that samples of another kind do not cross:

    - lighter tails than a normal column's, such as a uniform one's: some 200 rows;
    - nearly normal: 1,500 rows. No sample of so many exponential or t5 numbers looks nearly normal;
    - heavier tails: 40,000 rows, and more for a kurtosis above 15.

    Simulations of 2,000 samples set the numbers: normal, uniform, exponential, Laplace, lognormal (0.5) and t5 columns
    have a p-value in nearly all samples of so many rows, and in nearly none of fewer; 4 to 6 % of the p-values are
    below 5 %. A column without a fourth moment, such as t3, has one only by chance, about one sample in a thousand; a
    t4 column, at the border, rejects too often. Far out the level of heavy tails is less exact: of 20,000 t5 numbers
    0.6 % of the p-values would be below 0.25 %.
    """
    squared = (kurtosis + 2) ** 2
    if kurtosis <= LIGHT_TAILS:
        return max(FEWEST_FOR_LIGHT_TAILS, ROWS_BY_KURTOSIS * squared)
    if kurtosis <= NEARLY_NORMAL:
        return max(FEWEST_FOR_VARIANCE, ROWS_BY_KURTOSIS * squared)
    return max(FEWEST_FOR_HEAVY_TAILS, ROWS_BY_HEAVY_KURTOSIS * squared)


def df_for_variance(kurtosis: float, rows: float) -> float | None:
    """Return the degrees of freedom of the test of a variance; None for a normal statistic.

    The kurtosis of heavy tails is itself uncertain, and Student's t allows for it as it does for an estimated variance.
    The number is set by the same simulations as `rows_for_variance`.
    """
    return None if kurtosis <= NEARLY_NORMAL else rows / (ROWS_BY_DF * (kurtosis + 2) ** 2)


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
