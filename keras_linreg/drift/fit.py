"""The fit that a monitor compares rows with: its moments, how they were solved, and how rows are read for it."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from keras_linreg.data import Schema
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.linalg.double_double import DoubleDouble, matmul
from keras_linreg.moments.moments import Moments
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.utils.types import Array

EQUAL_WEIGHTS = 1e-9


class MonitoredModel(Protocol):
    """A fitted model of moments: the attributes that a monitor asks for."""

    @property
    def fitted(self) -> FittedMoments | None:
        """The moments of the fit, and their solution."""

    @property
    def schema(self) -> Schema | None:
        """The columns that the model takes."""

    @property
    def preprocessor(self) -> Any:
        """The layer from the columns to the design, or None."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """The fit of a model, or of moments.

    Attributes:
        moments: of the fit's rows.
        kernel, bias: `(p, k)` and `(k,)`, of its predictions; without an intercept the bias is zero.
        ssr: `(k,)`: the residual sums of squares.
        use_bias, dependent: as in `Moments.solve`.
        is_penalised: whether a penalty has pulled the kernel.
    """

    moments: Moments
    kernel: Array
    bias: Array
    ssr: Array
    use_bias: bool
    dependent: str
    is_penalised: bool

    @classmethod
    def of(cls, fitted: FittedMoments) -> "Fit":
        """Return the fit of solved moments."""
        solution = fitted.solution
        bias = np.zeros(len(solution.rss)) if solution.bias is None else solution.bias
        is_penalised = not fitted.penalty.is_zero
        return cls(fitted.moments, solution.kernel, bias, solution.rss, fitted.use_bias, fitted.dependent, is_penalised)

    @functools.cached_property
    def estimate(self) -> Estimate:
        """The least-squares estimate of the moments, whatever the penalty: it knows the coordinates of rows."""
        return FittedMoments(self.moments, dependent=self.dependent, use_bias=self.use_bias).estimate

    @functools.cached_property
    def centred_estimate(self) -> Estimate:
        """The estimate with an intercept: its coordinates are those of rows less their means."""
        if self.use_bias:
            return self.estimate
        return FittedMoments(self.moments, dependent=self.dependent, use_bias=True).estimate

    @property
    def scale(self) -> Array:
        """The variance of the residuals, `(k,)`; NaN without degrees of freedom."""
        df = self.estimate.df_resid
        return self.ssr / df if df > 0 else np.full(len(self.ssr), np.nan)

    @functools.cached_property
    def units(self) -> tuple[Array, Array]:
        """The standard deviations of the columns and of the residuals, `(p,)` and `(k,)`; 1 in place of zero."""
        deviations, scale = self.estimate.deviations[0][int(self.use_bias) :], np.sqrt(self.scale)
        return np.where(deviations > 0, deviations, 1.0), np.where(scale > 0, scale, 1.0)

    @property
    def predictions_at_means(self) -> DoubleDouble:
        """The predictions at the means of the columns, double-double `(k,)`."""
        mean, p = self.moments.statistics.mean, len(self.kernel)
        return mean[p:] if self.use_bias else matmul(mean[:p][None], self.kernel)[0]

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the moments and of how they were solved: monitors of one fit have the same."""
        settings = f"{self.use_bias} {self.dependent} {self.is_penalised}"
        return hashlib.sha256(self.moments.to_bytes() + settings.encode()).hexdigest()

    def fields(self) -> dict[str, Any]:
        """Return all but the moments, as plain objects."""
        return {
            "kernel": self.kernel.tolist(),
            "bias": self.bias.tolist(),
            "ssr": self.ssr.tolist(),
            "use_bias": self.use_bias,
            "dependent": self.dependent,
            "is_penalised": self.is_penalised,
        }

    @classmethod
    def from_fields(cls, moments: Moments, fields: Mapping[str, Any]) -> "Fit":
        """Return the fit that `fields` took apart.

        Raises:
            ValueError: the numbers are not of these columns.
        """
        p, k = len(moments.feature_names), len(moments.output_names)
        kernel, bias, ssr = (np.asarray(fields[key], np.float64) for key in ("kernel", "bias", "ssr"))
        if (kernel.shape, bias.shape, ssr.shape) != ((p, k), (k,), (k,)):
            raise ValueError("the coefficients are not those of the columns")
        flags = bool(fields["use_bias"]), str(fields["dependent"]), bool(fields["is_penalised"])
        return cls(moments, kernel, bias, ssr, *flags)


def effective_rows(statistics: Statistics) -> float:
    """Return how many rows of one weight tell the means as well: n for equal weights, NaN where that is not known.

    Weights are equal where their geometric mean is their arithmetic mean.
    """
    n, weight = statistics.nobs, float(statistics.weight.hi)
    if not n:
        return 0.0
    spread = np.log(weight / n) - statistics.log_weight / n
    return float(n) if spread <= EQUAL_WEIGHTS * max(1.0, abs(np.log(weight / n))) else np.nan
