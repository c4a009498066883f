"""Influence of each row of a fit, as data frames: from one more pass over the rows."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.inference.distributions import p_of_t
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.influence import cooks_distance, standardized_residuals, studentized_residuals
from keras_linreg.inference.labels import by_row
from keras_linreg.inference.second_pass import Block, has_leverage_one, read_blocks
from keras_linreg.linalg.triangular import column_norms
from keras_linreg.utils.types import Array, Batch

if TYPE_CHECKING:
    import pandas


MOST_OUTLIERS = 100  # that a test can show


def check_outlier_arguments(cutoff: float, n_max: int) -> None:
    """Refuse a cutoff that is no probability, and a number of rows that is not from 1 to 100."""
    if isinstance(cutoff, bool) or not isinstance(cutoff, int | float | np.number) or not 0 < cutoff <= 1:
        raise ValueError(f"`cutoff` must be a probability above 0. Received: cutoff={cutoff!r}.")
    if isinstance(n_max, bool) or not isinstance(n_max, int | np.integer) or not 1 <= n_max <= MOST_OUTLIERS:
        raise ValueError(f"`n_max` must be an integer from 1 to {MOST_OUTLIERS}. Received: n_max={n_max!r}.")


@dataclasses.dataclass(frozen=True, slots=True)
class RowsOfFit:
    """The rows of a fit, to be read once more.

    Attributes:
        estimate: of the fit.
        read: returns the batches `(x, y, sample_weight)` of the rows.
        labels: of the rows, a pandas Index or an array; None: their numbers.
        is_stream: whether the rows do not fit in memory.
    """

    estimate: Estimate
    read: Callable[[], Iterator[Batch]]
    labels: Any = None
    is_stream: bool = False

    def influence(self) -> "pandas.DataFrame | Iterator[pandas.DataFrame]":
        """Return the influence of each row, as `Diagnostics.influence` describes it."""
        frames = self._frames()
        if self.is_stream:
            return frames
        import pandas  # slow to import

        return pandas.concat(list(frames))

    def _frames(self) -> Iterator["pandas.DataFrame"]:
        for block in read_blocks(self.estimate, self.read()):
            numbers = block.row_numbers
            labels = numbers if self.labels is None else self.labels[numbers]
            yield by_row(influence_of_rows(self.estimate, block), labels, self.estimate.output_names)


@np.errstate(all="ignore")  # a row of leverage 1 has none of these figures: they are NaN
def influence_of_rows(estimate: Estimate, block: Block) -> dict[str, Array]:
    """Return the influence of the rows of a block, under statsmodels' names: `(n,)` or `(n, k)`.

    With row i left out, the parameters move by `root @ z[i] * residual[i] / (1 - leverage[i])`, where
    `root @ root.T` is the inverse of the cross-products. DFBETAS divide that by the standard error of the parameter,
    with the scale of the fit without the row. In terms of the studentised residual t, which divides by the same scale,

    ```python
    dfbetas = (z @ root.T) / norm(root) * t / sqrt(1 - leverage)
    dffits = t * sqrt(leverage / (1 - leverage))
    ```

    References:
        Belsley, Kuh, Welsch, Regression Diagnostics (1980), chapter 2; Cook (1977).
    """
    standardized = standardized_residuals(estimate, block)
    studentized = studentized_residuals(standardized, estimate.df_resid)
    leverage = np.where(has_leverage_one(estimate, block.leverage), np.nan, block.leverage)
    left = (1 - leverage)[:, None]
    moves = block.z @ estimate.root.T / column_norms(estimate.root.T)
    moves[:, ~estimate.estimable] = np.nan
    return {
        "hat_diag": block.leverage,
        "standard_resid": standardized,
        "student_resid": studentized,
        "cooks_d": cooks_distance(standardized, leverage, estimate.rank),
        "dffits": studentized * np.sqrt(leverage[:, None] / left),
        **{f"dfb_{name}": moves[:, [j]] * studentized / np.sqrt(left) for j, name in enumerate(estimate.names)},
    }


class Outliers:
    """Accumulates the rows of largest studentised residual, of each output.

    Args:
        estimate: of the fit.
        most_rows: how many rows to keep.
    """

    def __init__(self, estimate: Estimate, most_rows: int):
        self._estimate, self._most_rows = estimate, most_rows
        self._largest = [np.zeros((2, 0)) for _ in estimate.ssr]
        self.tested = 0

    def contribution(self, block: Block) -> tuple[int, list[Array]]:
        """Return the number of rows with a studentised residual, and the largest of them: `(2, rows)`, with numbers."""
        standardized = standardized_residuals(self._estimate, block)
        studentized = studentized_residuals(standardized, self._estimate.df_resid)
        is_known = np.isfinite(studentized).all(axis=1)
        numbers, known = block.row_numbers[is_known], studentized[is_known]
        parts = [self._largest_of(np.stack([numbers, column])) for column in known.T]
        return int(is_known.sum()), parts

    def add(self, contribution: tuple[int, list[Array]]) -> None:
        """Keep the largest of the rows so far and of the next block's."""
        self.tested += contribution[0]
        pairs = zip(self._largest, contribution[1], strict=True)
        self._largest = [self._largest_of(np.concatenate(pair, axis=1)) for pair in pairs]

    def merge(self, other: "Outliers", first_row: int) -> None:
        """Keep the largest of both; the other's rows are counted from `first_row` on."""
        self.add((other.tested, [figures + np.array([[first_row], [0]]) for figures in other._largest]))

    def result(self) -> dict[str, Array]:
        """Return `rows` `(m, k)`, their `student_resid`, and `unadj_p` and `bonf_p`: two-sided and by Bonferroni.

        ```python
        unadj_p = 2 * t_survival(abs(student_resid), df_resid - 1)
        bonf_p = min(1, rows_tested * unadj_p)
        ```

        References:
            Fox, Weisberg, An R Companion to Applied Regression, section 8.3; Cook, Weisberg (1982), section 2.2.2.
        """
        rows, studentized = np.stack(self._largest, axis=-1) if self._largest else np.zeros((2, 0, 0))
        p = np.asarray(p_of_t(studentized, max(self._estimate.df_resid - 1, 1)))
        return {
            "rows": rows.astype(int),
            "student_resid": studentized,
            "unadj_p": p,
            "bonf_p": np.minimum(1.0, p * self.tested),
        }

    def _largest_of(self, figures: Array) -> Array:
        return figures[:, np.lexsort((figures[0], -np.abs(figures[1])))[: self._most_rows]]
