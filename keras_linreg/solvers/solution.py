"""Solution: the coefficients that a solver found, and how they came about."""

import dataclasses

import numpy as np

from keras_linreg.data import MissingRows
from keras_linreg.solvers.penalty import Penalty
from keras_linreg.utils.warnings import warn_user

FEW_DIGITS = 6.0
SHOWN_NAMES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Solution:
    """The coefficients that minimise the mean squared error plus the penalty.

    Attributes:
        kernel: float64 `(p, k)`, 0 for a column that was dropped.
        bias: float64 `(k,)`, or `None` without an intercept.
        feature_names: the names of the kernel's p rows.
        output_names: the names of its k columns.
        kept: mask `(p,)`: the columns that do not depend on those before them, or on the bias.
        rank: the number of coefficients that the data determine, the bias included.
        rss: float64 `(k,)`, the weighted sum of squared residuals.
        nobs: the number of rows whose weight is not zero.
        rows: the number of rows given.
        penalty: what was added to the mean squared error (`keras_linreg.solvers.Penalty`).
        dependent: the rule for dependent columns, `"drop"` or `"min_norm"`.
        scaled_condition_number: of the kept columns, centred (with a bias) and scaled to norm 1.
        unexplained: the norm of the residuals divided by the norm of what the (centred) columns explain, the penalty
            included in both.
        digits: `(P, k)`, intercept first: so many decimal digits of each parameter agree with the exact solution of the
            numbers given, relative to the parameter or, if that is larger, to its standard error; at most 15.
        fewest_digits: the smallest of them, parameters left out that are zero beside the others.
        digits_of_kernel: the digits of the kernel as a whole, in the columns' own scales, relative to the kernel or, if
            that is larger, to its standard error.
        missing: counts of the rows that were dropped for want of a value, by column; `None` if there were none.
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    kept: np.ndarray
    rank: int
    rss: np.ndarray
    nobs: int
    rows: int
    penalty: Penalty
    dependent: str
    scaled_condition_number: float
    unexplained: float
    digits: np.ndarray
    fewest_digits: float
    digits_of_kernel: float
    missing: MissingRows | None = None

    @property
    def l2(self) -> float:
        """The weight of the squared kernel in the penalty."""
        return self.penalty.l2

    @property
    def mean_squared_error(self) -> float:
        """The training loss: squared residuals, averaged over all rows given and over the outputs."""
        return float(self.rss.sum() / (self.rows * len(self.rss)))

    @property
    def dependent_names(self) -> tuple[str, ...]:
        """The names of the columns that depend on those before them, or on the bias."""
        return tuple(name for name, kept in zip(self.feature_names, self.kept, strict=True) if not kept)

    def warn(self) -> None:
        """Warn of dependent columns, by name, and of few digits."""
        names = self.dependent_names
        if names:
            shown = ", ".join(repr(name) for name in names[:SHOWN_NAMES])
            shown += f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
            others = "the bias or " if self.bias is not None else ""
            advice = ""
            if self.dependent == "min_norm":
                consequence = "the kernel of smallest norm was taken"
            else:
                consequence = "they have weight 0; the others, and the predictions on these data, do not need them"
                if self.rank + len(names) > self.nobs:
                    advice = (
                        " There are more coefficients than rows: a penalty, or dependent='min_norm', may suit them."
                    )
            warn_user(
                f"{len(names)} of {len(self.kept)} columns depend on {others}columns before them: {shown}; "
                f"{consequence}.{advice}"
            )
        if self.fewest_digits < FEW_DIGITS:
            warn_user(
                f"Only about {self.fewest_digits:.0f} digits of the coefficients are sure: the columns are nearly "
                f"dependent (condition number {self.scaled_condition_number:.1e}). Rescaling does not help; fewer "
                "columns do, or a penalty."
            )
