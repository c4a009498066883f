"""FittedMoments: moments, their solution, and all that statistics says of them."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.row_blocks import row_blocks
from keras_linreg.inference import sandwich
from keras_linreg.inference.contributions import Contributions, Groups, split
from keras_linreg.inference.diagnose import diagnose
from keras_linreg.inference.diagnostics import Diagnostics
from keras_linreg.inference.estimate import Estimate, estimate_parameters
from keras_linreg.inference.intervals import BLOCK_NUMBERS, intervals_by_block
from keras_linreg.inference.labels import by_row
from keras_linreg.inference.report import RegressionReport
from keras_linreg.inference.row_influence import RowsOfFit
from keras_linreg.inference.row_order import RowOrder
from keras_linreg.linalg.double_double import DoubleDouble, matmul
from keras_linreg.moments.moments import Moments
from keras_linreg.solvers import NO_PENALTY, Penalty, Solution
from keras_linreg.utils.types import Batch, Data
from keras_linreg.utils.warnings import warn_user

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True, eq=False)
class FittedMoments:
    """Moments, solved with a penalty and a rule. Each figure is computed once, when it is first asked for.

    Attributes:
        moments: of the data.
        penalty, dependent, use_bias: as in `Moments.solve_with`.
        order: the order of the rows of the fit, or None if it is not known.
        saved_order: the fingerprint of that order, from a file.
    """

    moments: Moments
    penalty: Penalty = NO_PENALTY
    dependent: str = "drop"
    use_bias: bool = True
    order: RowOrder | None = None
    saved_order: np.ndarray | None = None

    @functools.cached_property
    def fingerprint(self) -> np.ndarray | None:
        """The fingerprint of the order of the rows of the fit, or None if it is not known."""
        return self.saved_order if self.order is None else self.order.fingerprint(self.moments)

    @functools.cached_property
    def solution(self) -> Solution:
        """The solution of the moments."""
        return self.moments.solve_with(self.penalty, self.dependent, self.use_bias)

    @functools.cached_property
    def estimate(self) -> Estimate:
        """The solution as statistics sees it."""
        return estimate_parameters(self.moments.statistics, self.solution, self.moments.dtype)

    def centre(self, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
        """Return the means of x in a dtype, `(p,)`, and the fitted values there, `(k,)`; for a fit with intercept."""
        solution, mean = self.solution, self.moments.statistics.mean
        features = len(solution.kernel)
        centre = mean.hi[:features].astype(dtype).astype(np.float64)
        level = mean[features:] + matmul((DoubleDouble(centre) - mean[:features])[None], solution.kernel)[0]
        return centre, level.hi

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the predictions `(n, k)` of rows `(n, p)`, in float64."""
        x = np.asarray(x, np.float64)
        if not self.use_bias:
            return x @ self.solution.kernel
        centre, level = self.centre()
        return (x - centre) @ self.solution.kernel + level

    @property
    def has_errors(self) -> bool:
        """Whether the variance of the errors can be estimated: there is no penalty, and degrees of freedom are left."""
        return not self.estimate.is_penalised and self.estimate.df_resid > 0

    def estimate_with_errors(self) -> Estimate:
        """Return the estimate.

        Raises:
            ValueError: the fit is penalised, or no degrees of freedom are left.
        """
        estimate = self.estimate
        estimate.unpenalised_coordinates()
        if estimate.df_resid <= 0:
            raise ValueError(
                "There must be more rows than coefficients: these data do not tell the variance of the errors. "
                f"Received: {estimate.nobs} rows, {estimate.rank} coefficients."
            )
        return estimate

    def contributions(self, groups: Groups) -> Contributions:
        """Return the contributions of groups of columns of the design to predictions."""
        features, kernel = len(self.solution.kernel), self.solution.kernel
        mean = self.moments.statistics.mean
        at_means = mean[features:] if self.use_bias else matmul(mean[:features][None], kernel)[0]
        centre = np.stack([mean.hi[:features], mean.lo[:features]])
        return split(self.estimate, centre, kernel, at_means.hi, groups, self.has_errors)

    def explain(self, batches: Iterable[Batch], groups: Groups, labels: Any = None) -> "pandas.DataFrame":
        """Return what groups of columns contribute to the predictions of rows, as described for `MomentsModel`."""
        contributions = self.contributions(groups)
        parts = [contributions.of(block[0]) for block in row_blocks(batches, BLOCK_NUMBERS)]
        if not parts:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return contributions.frame(whole, labels, self.moments.output_names)

    def report(
        self,
        level: float,
        cov_type: str,
        batches: Iterable[Batch] | None = None,
        groups: Data = None,
        maxlags: int | None = None,
    ) -> RegressionReport:
        """Return the report.

        Args:
            level, cov_type, groups, maxlags: as in `ExactLinearRegression.report`.
            batches: `(x, y, sample_weight)` of the data once more, for a covariance that needs them.
        """
        meat, count = None, None
        if batches is not None:
            meat, count = sandwich.meat(self.estimate_with_errors(), batches, cov_type, groups, maxlags)
        return RegressionReport(self.estimate, level, cov_type, meat, count, maxlags)

    def diagnose(
        self, read: Callable[[], Iterator[Batch]], most_rows: int, labels: Any = None, is_stream: bool = False
    ) -> Diagnostics:
        """Return the diagnostics, from one more pass over the data.

        Args:
            read: returns the batches `(x, y, sample_weight)` of the data, each time from the first.
            most_rows: how many influential rows to name.
            labels: of the rows; None: their numbers.
            is_stream: whether the rows do not fit in memory.
        """
        return diagnose(RowsOfFit(self.estimate_with_errors(), read, labels, is_stream), most_rows)

    def intervals(
        self, batches: Iterable[Batch], level: float, labels: Any = None, meat: np.ndarray | None = None
    ) -> "pandas.DataFrame":
        """Return the predictions of rows with errors and limits, under the keys of `inference.intervals`.

        Args:
            batches: `(x, ...)` of the rows.
            level: the coverage of the limits.
            labels: of the rows; None: 0, 1, ...
            meat: of a robust covariance, as in `inference.covariance`; or None.

        Returns:
            A frame by row. Of several outputs its columns are pairs of quantity and output, but for the leverage.
        """
        estimate = self.estimate_with_errors()
        parts = list(intervals_by_block(estimate, batches, level, meat))
        if not parts:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        undetermined = int((np.isnan(whole["leverage"]) & np.isfinite(whole["mean"]).all(axis=1)).sum())
        if undetermined:
            warn_user(
                f"{undetermined} rows of `x` have no interval: in the data of the fit, columns depend on others, or on "
                "the intercept, and in these rows they do not."
            )
        return by_row(whole, labels, self.moments.output_names)
