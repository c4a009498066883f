"""Influence: how much single rows move a fit, from their residuals and leverages.

The residuals of all rows are `(identity - Z @ Z.T) @ errors`, with orthonormal Z. So the variance of a single residual
is `scale * (1 - leverage)`: a row of high leverage pulls the fit to itself. Residuals divided by the root of that
variance are alike, and can be compared from row to row.
"""

import numpy as np

from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.second_pass import Block, has_leverage_one
from keras_linreg.utils.types import Array

FIGURES = ("rows", "cooks_distance", "resid_studentized", "leverage", "residuals", "fitted")


def standardized_residuals(estimate: Estimate, block: Block) -> Array:
    """Return the internally studentised residuals `(n, k)`; NaN in a row of leverage 1.

    ```python
    residual / sqrt(scale * (1 - leverage))
    ```
    """
    left = np.where(has_leverage_one(estimate, block.leverage), np.nan, 1 - block.leverage)
    return block.residuals / np.sqrt(estimate.scale * left[:, None])


def studentized_residuals(standardized: Array, df_resid: int) -> Array:
    """Return the externally studentised residuals: divided by the scale of the fit without the row.

    Without the row, the sum of squares is smaller by `residual**2 / (1 - leverage)`. In terms of standardised residuals
    r that is

    ```python
    scale_without_row = scale * (df_resid - r**2) / (df_resid - 1)
    studentized = r * sqrt(scale / scale_without_row)
    ```

    They are NaN if only one degree of freedom is left.
    """
    if df_resid <= 1:
        return np.full(standardized.shape, np.nan)
    return standardized * np.sqrt((df_resid - 1) / (df_resid - standardized**2))


def cooks_distance(standardized: Array, leverage: Array, rank: int) -> Array:
    """Return Cook's distances `(n, k)`: how far the fitted values of all rows move if one row is left out.

    Without row i the coefficients move so that the fitted values move by `Z @ z[i] * residual[i] / (1 - leverage[i])`.
    The squared length of that, divided by `rank * scale`, is

    ```python
    standardized**2 * leverage / (1 - leverage) / rank
    ```

    References:
        Cook, "Detection of influential observation in linear regression" (1977).
    """
    return standardized**2 / rank * (leverage / (1 - leverage))[:, None]


class InfluentialRows:
    """Accumulates the rows of largest Cook's distance, of each output.

    Args:
        estimate: of the fit.
        most_rows: how many rows to keep.

    Attributes:
        exact_rows: the number of rows of leverage 1 so far; they have no distance and are left out.
    """

    def __init__(self, estimate: Estimate, most_rows: int):
        self.exact_rows = 0
        self._estimate, self._most_rows = estimate, most_rows
        self._largest = [np.zeros((len(FIGURES), 0)) for _ in estimate.ssr]

    def contribution(self, block: Block) -> tuple[int, list[Array]]:
        """Return the number of rows of leverage 1, and the largest of the others: for each output `(figures, rows)`."""
        estimate = self._estimate
        standardized = standardized_residuals(estimate, block)
        distance = cooks_distance(standardized, block.leverage, estimate.rank)
        distance[~np.isfinite(distance)] = 0.0  # the fit is perfect to the last bit
        studentized = studentized_residuals(standardized, estimate.df_resid)
        is_exact = has_leverage_one(estimate, block.leverage)
        largest = []
        for j in range(len(estimate.ssr)):
            figures = (
                block.row_numbers,
                distance[:, j],
                studentized[:, j],
                block.leverage,
                block.residuals[:, j],
                block.fitted[:, j],
            )
            largest.append(self._largest_of(np.stack(figures)[:, ~is_exact]))
        return int(is_exact.sum()), largest

    def add(self, contribution: tuple[int, list[Array]]) -> None:
        """Keep the largest of the rows so far and of the next block's."""
        exact_rows, largest = contribution
        self.exact_rows += exact_rows
        pairs = zip(self._largest, largest, strict=True)
        self._largest = [self._largest_of(np.concatenate(pair, axis=1)) for pair in pairs]

    def merge(self, other: "InfluentialRows", first_row: int) -> None:
        """Keep the largest of both; the other's rows are counted from `first_row` on."""
        row_numbers = np.array([first_row, *[0] * (len(FIGURES) - 1)])[:, None]
        self.add((other.exact_rows, [figures + row_numbers for figures in other._largest]))

    def result(self) -> dict[str, Array]:
        """Return arrays `(m, k)`, the most influential rows first, under `FIGURES`."""
        figures = dict(zip(FIGURES, np.stack(self._largest, axis=-1), strict=True))
        return {**figures, "rows": figures["rows"].astype(int)}

    def _largest_of(self, figures: Array) -> Array:
        """Return the columns of the largest distances; among equal ones, the first rows."""
        rows, distance = figures[0], figures[1]
        return figures[:, np.lexsort((rows, -distance))[: self._most_rows]]
