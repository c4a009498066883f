"""The distribution of the residuals, and a sample of the rows for pictures, from one pass over the rows."""

import numpy as np

from keras_linreg.inference.central_moments import CentralMoments
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.influence import standardized_residuals
from keras_linreg.inference.quantiles import EXACT_VALUES, Quantiles
from keras_linreg.inference.second_pass import Block
from keras_linreg.utils.types import Array

SAMPLE_ROWS = 5000


class ResidualDistribution:
    """Accumulates central moments and quantiles of the residuals, and their steps from row to row.

    Residuals are divided by the root of the scale first, so that no fourth power overflows.

    Args:
        estimate: of the fit.
        exact_values: so many residuals have exact quantiles (see `Quantiles`).

    Attributes:
        quantiles: of the residuals, a `Quantiles` an output.
        standardized_quantiles: of the standardised residuals.
    """

    def __init__(self, estimate: Estimate, exact_values: int = EXACT_VALUES):
        self._estimate = estimate
        self._unit = np.where(estimate.scale > 0, np.sqrt(estimate.scale), 1.0)
        self._moments = CentralMoments.from_values(np.zeros((0, len(self._unit))))
        self._squared_steps = np.zeros(len(self._unit))
        self._first: Array | None = None
        self._last: Array | None = None
        self.quantiles = [Quantiles(unit, exact_values) for unit in self._unit]
        self.standardized_quantiles = [Quantiles(1.0, exact_values) for _ in self._unit]

    def contribution(self, block: Block) -> tuple[Array, Array, CentralMoments, Array]:
        """Return the block's residuals, standardised residuals, moments and squared steps."""
        u = block.residuals / self._unit
        squared_steps = (np.diff(u, axis=0) ** 2).sum(axis=0)
        standardized = standardized_residuals(self._estimate, block)
        return block.residuals, standardized, CentralMoments.from_values(u), squared_steps

    def add(self, contribution: tuple[Array, Array, CentralMoments, Array]) -> None:
        """Add the next block, and the step from the last row before it to its first row."""
        residuals, standardized, moments, squared_steps = contribution
        if not len(residuals):
            return
        self._moments = self._moments.merge(moments)
        self._squared_steps += squared_steps
        self._join(residuals[0], residuals[-1])
        for j in range(len(self._unit)):
            self.quantiles[j].add(residuals[:, j])
            self.standardized_quantiles[j].add(standardized[:, j][np.isfinite(standardized[:, j])])

    def merge(self, other: "ResidualDistribution", first_row: int) -> None:
        """Add the rows of another, which come after these."""
        if other._first is None or other._last is None:
            return
        self._moments = self._moments.merge(other._moments)
        self._squared_steps += other._squared_steps
        self._join(other._first, other._last)
        for mine, theirs in zip(self.quantiles, other.quantiles, strict=True):
            mine.merge(theirs)
        for mine, theirs in zip(self.standardized_quantiles, other.standardized_quantiles, strict=True):
            mine.merge(theirs)

    def _join(self, first: Array, last: Array) -> None:
        """Add the step from the last row to the first of the next rows, whose last is given."""
        if self._last is not None:
            self._squared_steps += ((first - self._last) / self._unit) ** 2
        self._first = first if self._first is None else self._first
        self._last = last

    def mean(self) -> Array:
        """Return the means of the residuals `(k,)`."""
        return self._moments.mean * self._unit

    def std(self) -> Array:
        """Return the standard deviations of the residuals `(k,)`."""
        return np.sqrt(self._moments.second / (self._moments.count - 1)) * self._unit

    def skewness(self) -> Array:
        """Return the skewness of the residuals `(k,)`."""
        return self._moments.skewness()

    def kurtosis(self) -> Array:
        """Return the kurtosis of the residuals `(k,)`."""
        return self._moments.kurtosis()

    def durbin_watson(self) -> Array:
        """Return the Durbin-Watson statistics `(k,)`.

        ```python
        sum((residual[1:] - residual[:-1]) ** 2) / sum(residual**2)
        ```

        A step between independent residuals has twice their variance, so about 2 is expected. Below 2, a residual is
        like the one before it; above 2, it is the opposite.

        References:
            Durbin, Watson, "Testing for serial correlation in least squares regression" (1950).
        """
        moments = self._moments
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._squared_steps / (moments.second + moments.count * moments.mean**2)


class RowSample:
    """Accumulates rows drawn at random: each row is as likely as any other, and each pass draws the same rows.

    Every row gets a random key, and the rows of the smallest keys are kept. So a row's chance does not depend on its
    place, nor on the number of rows to come.

    Args:
        estimate: of the fit.
        most_rows: how many rows to keep.
        seed: of the keys; parts of the rows that are merged have different ones.
    """

    def __init__(self, estimate: Estimate, most_rows: int = SAMPLE_ROWS, seed: int = 0):
        self._estimate, self._most_rows = estimate, most_rows
        self._random = np.random.default_rng(seed)
        self._keys = np.zeros(0)
        self._sample: dict[str, Array] = {}

    def contribution(self, block: Block) -> dict[str, Array]:
        """Return the arrays of all rows of a block."""
        residuals_of_y = block.residuals if block.root_weight is None else block.residuals / block.root_weight
        return {
            "rows": block.row_numbers,
            "y": block.fitted + residuals_of_y,
            "fitted": block.fitted,
            "residuals": block.residuals,
            "standardized": standardized_residuals(self._estimate, block),
            "leverage": block.leverage,
        }

    def add(self, contribution: dict[str, Array]) -> None:
        """Keep the rows of the smallest keys among the rows so far and the next block's."""
        self._keep(self._random.random(len(contribution["rows"])), contribution)

    def merge(self, other: "RowSample", first_row: int) -> None:
        """Keep the rows of the smallest keys of both; the other's rows are counted from `first_row` on."""
        if other._sample:
            self._keep(other._keys, {**other._sample, "rows": other._sample["rows"] + first_row})

    def _keep(self, keys: Array, contribution: dict[str, Array]) -> None:
        if len(self._keys) == self._most_rows:
            is_candidate = keys < self._keys.max()
            keys = keys[is_candidate]
            contribution = {name: part[is_candidate] for name, part in contribution.items()}
        if self._sample:
            contribution = {name: np.concatenate([part, contribution[name]]) for name, part in self._sample.items()}
        keys = np.concatenate([self._keys, keys])
        chosen = np.sort(np.argsort(keys, kind="stable")[: self._most_rows])
        self._keys, self._sample = keys[chosen], {name: part[chosen] for name, part in contribution.items()}

    def result(self) -> dict[str, Array]:
        """Return `rows`, `y`, `fitted`, `residuals`, `standardized` and `leverage` of the sample, in order of rows."""
        return self._sample
