"""Fit: moments, how they are solved, and all that statistics says of them."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from keras_linreg.inference import covariance, diagnostics, sandwich
from keras_linreg.inference.diagnostics import Diagnostics
from keras_linreg.inference.estimate import Estimate, estimated
from keras_linreg.inference.report import RegressionReport
from keras_linreg.moments.moments import Moments
from keras_linreg.solvers.least_squares import Solution
from keras_linreg.utils.warnings import warn_user


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """What the data said, solved under a penalty and a rule; figures are reckoned when they are asked for, once.

    Attributes:
        moments: of the data.
        l2, dependent, use_bias: as of `Moments.solve`.
    """

    moments: Moments
    l2: float = 0.0
    dependent: str = "drop"
    use_bias: bool = True

    @functools.cached_property
    def solution(self) -> Solution:
        """The solution of the moments."""
        return self.moments.solve(self.l2, self.dependent, self.use_bias, warn=False)

    @functools.cached_property
    def estimate(self) -> Estimate:
        """The solution as statistics sees it."""
        return estimated(self.moments.statistics, self.solution, self.moments.dtype)

    @property
    def has_errors(self) -> bool:
        """Whether the data tell what the errors are like: without a penalty, and with degrees of freedom left."""
        return self.estimate.root is not None and self.estimate.df_resid > 0

    def with_errors(self) -> Estimate:
        """Return the estimate where the data tell what the errors are like.

        Raises:
            ValueError: the fit is penalised, or no degrees of freedom are left.
        """
        found = self.estimate
        covariance.refuse_penalty(found)
        if found.df_resid <= 0:
            raise ValueError(
                "There must be more rows than coefficients: what the errors are like, these data do not tell. "
                f"Received: {found.nobs} rows, {found.rank} coefficients."
            )
        return found

    def report(
        self, level: float, cov_type: str, batches: Iterable[tuple] | None = None, groups=None, maxlags=None
    ) -> RegressionReport:
        """Return the report; `batches` of the data once more, `(x, y, sample_weight)`, where it takes them."""
        meat, count = None, None
        if batches is not None:
            meat, count = sandwich.meat(self.with_errors(), batches, cov_type, groups, maxlags)
        return RegressionReport(self.estimate, level, cov_type, meat, count, maxlags)

    def diagnose(self, batches: Iterable[tuple], most_rows: int) -> Diagnostics:
        """Return the diagnostics, by one more pass over the data, `(x, y, sample_weight)`."""
        return diagnostics.diagnose(self.with_errors(), batches, most_rows)

    def intervals(self, batches: Iterable[tuple], level: float) -> dict[str, np.ndarray]:
        """Return the predictions of rows, batches of `(x, ...)`, with errors and limits, under `inference.KEYS`.

        Arrays are `(n,)`, of several outputs `(n, k)`; the leverage is always `(n,)`.
        """
        found = self.with_errors()
        parts = list(covariance.intervals_by_block(found, batches, level))
        if not parts:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        whole = {key: np.concatenate([part[key] for part in parts]) for key in covariance.KEYS}
        undetermined = int((np.isnan(whole["leverage"]) & np.isfinite(whole["mean"]).all(axis=1)).sum())
        if undetermined:
            warn_user(
                f"{undetermined} rows of `x` have no interval: in the data of the fit, columns depend on others, or on "
                "the intercept, and in these rows they do not."
            )
        return {key: part if key == "leverage" else covariance.per_output(part) for key, part in whole.items()}
