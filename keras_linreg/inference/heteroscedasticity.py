"""Tests of equal variances: Breusch-Pagan's and White's, from regressions of the squared residuals.

If the variance of the errors is the same in all rows, nothing explains the squared residuals. Both tests regress them
on an intercept and other terms: Breusch-Pagan on the columns of the design, White on the columns, their squares and
their products. With n rows and the R-squared of that regression,

```python
lm = n * rsquared
```

is chi-squared with as many degrees of freedom as there are terms (Koenker's form, which does not need normal errors).
The F statistic of the regression tests the same.

The regression needs no pass of its own: its moments are accumulated like the moments of any other fit.

References:
    Breusch, Pagan, "A simple test for heteroscedasticity and random coefficient variation" (1979); Koenker, "A note on
    studentizing a test for heteroscedasticity" (1981); White, "A heteroskedasticity-consistent covariance matrix
    estimator and a direct test for heteroskedasticity" (1980).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_linreg.inference.distributions import p_of_chi2, p_of_f
from keras_linreg.inference.estimate import Estimate, estimate_parameters
from keras_linreg.inference.second_pass import Block
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.solvers import solve
from keras_linreg.sufficient_statistics import Statistics, empty, merge
from keras_linreg.utils.types import Array

MOST_WHITE_TERMS = 300


class LagrangeMultiplierTest(NamedTuple):
    """Whether the squared residuals depend on the columns: of one output floats, of k outputs arrays `(k,)`."""

    lm: Any
    lm_pvalue: Any
    fvalue: Any
    f_pvalue: Any
    df: int

    def map(self, function: Callable[[Any], Any]) -> "LagrangeMultiplierTest":
        """Return the test with a function of each figure; the degrees of freedom stay."""
        return LagrangeMultiplierTest(
            function(self.lm), function(self.lm_pvalue), function(self.fvalue), function(self.f_pvalue), self.df
        )


class SquaredResidualRegressions:
    """Accumulates the regressions of the squared residuals on the columns, and on their squares and products.

    The columns enter as orthonormal coordinates. These span the same space as the columns, and their products the same
    space as the columns' products, so the tests are the same, and no digits are lost.

    Args:
        estimate: of the fit.

    Attributes:
        white_terms: the number of columns, squares and products.
        has_columns: whether there are columns to test.
        has_white_terms: whether White's terms are few enough: at most 300, and fewer than the residual degrees of
            freedom allow.
    """

    def __init__(self, estimate: Estimate):
        self._estimate = estimate
        width, outputs = estimate.df_model, len(estimate.ssr)
        self.white_terms = width * (width + 3) // 2
        self.has_columns = width > 0
        is_white_small = self.white_terms <= MOST_WHITE_TERMS and self.white_terms < estimate.nobs - 1
        self.has_white_terms = self.has_columns and is_white_small
        self._columns = _Regression(width, outputs) if self.has_columns else None
        self._white = _Regression(self.white_terms, outputs) if self.has_white_terms else None

    def contribution(self, block: Block) -> tuple[Array, Array | None, Array]:
        """Return the columns `(n, m)`, White's terms, and the squared residuals `(n, k)` in units of the scale."""
        estimate = self._estimate
        z = block.z if block.root_weight is None else block.z / block.root_weight
        columns = z[:, int(estimate.has_intercept) :] * math.sqrt(estimate.nobs)
        squares = block.residuals**2 / np.where(estimate.scale > 0, estimate.scale, 1.0)
        if not self.has_white_terms:
            return columns, None, squares
        first, second = np.triu_indices(columns.shape[1])
        return columns, np.concatenate([columns, columns[:, first] * columns[:, second]], axis=1), squares

    def add(self, contribution: tuple[Array, Array | None, Array]) -> None:
        """Add the rows of the next block to both regressions."""
        columns, white_terms, squares = contribution
        if self._columns is not None and len(squares):
            self._columns.add(columns, squares)
        if self._white is not None and white_terms is not None and len(squares):
            self._white.add(white_terms, squares)

    def merge(self, other: "SquaredResidualRegressions", first_row: int) -> None:
        """Add the rows of another to both regressions."""
        for mine, theirs in ((self._columns, other._columns), (self._white, other._white)):
            if mine is not None and theirs is not None:
                mine.merge(theirs)

    def breusch_pagan(self) -> LagrangeMultiplierTest | None:
        """Return the test of the columns, its figures `(k,)`; None if there are no columns."""
        return None if self._columns is None else self._columns.test_of_all_terms()

    def white(self) -> LagrangeMultiplierTest | None:
        """Return the test of the columns, their squares and products, its figures `(k,)`; None if they are too many."""
        return None if self._white is None else self._white.test_of_all_terms()


class _Regression:
    """Accumulates the moments of a regression of squared residuals; those of parts of the rows merge."""

    def __init__(self, features: int, outputs: int):
        self._features, self._outputs = features, outputs
        self._accumulator = Accumulator(features, outputs)
        self._merged, self._rows = empty(features + outputs), 0

    def add(self, terms: Array, squares: Array) -> None:
        """Add rows."""
        self._accumulator.update(terms, squares)
        self._rows += len(terms)

    def merge(self, other: "_Regression") -> None:
        """Add the rows of another."""
        self._merged = merge(self._merged, other.statistics())
        self._rows += other._rows

    def statistics(self) -> Statistics:
        """Return the statistics of all rows."""
        own = self._accumulator.result()
        return merge(self._merged, own) if self._merged.nobs else own

    def __getstate__(self) -> dict[str, Any]:
        """Return the statistics alone: an accumulator keeps rows."""
        return {
            **self.__dict__,
            "_accumulator": Accumulator(self._features, self._outputs),
            "_merged": self.statistics(),
        }

    def test_of_all_terms(self) -> LagrangeMultiplierTest:
        """Return the Lagrange multiplier and F tests of all terms."""
        statistics = self.statistics()
        names = tuple(str(j) for j in range(self._features)), tuple(str(j) for j in range(self._outputs))
        solution = solve(statistics, self._rows, *names)
        estimate = estimate_parameters(statistics, solution)
        df = estimate.df_model
        with np.errstate(invalid="ignore", divide="ignore"):
            lm = estimate.nobs * estimate.ess / estimate.tss
            f = estimate.ess / df / estimate.scale
        return LagrangeMultiplierTest(lm, p_of_chi2(lm, df), f, p_of_f(f, df, estimate.df_resid), df)
