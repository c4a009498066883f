"""The statistics of a report: coefficients, errors, tests of zero, and how well the model fits."""

import dataclasses
import math
from typing import Any, Self

import numpy as np

from keras_linreg.inference import covariance
from keras_linreg.inference.covariance import squeeze_outputs
from keras_linreg.inference.distributions import check_level, p_of_f, p_of_t, two_sided_quantile
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.labels import LIMITS, by_pair, by_parameter
from keras_linreg.inference.notes import notes_on
from keras_linreg.inference.wald import wald_statistic_of_all
from keras_linreg.utils.types import Array


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReportStatistics:
    """The statistics of a `RegressionReport`, which describes them.

    A statistic of the parameters is a Series, of several outputs a DataFrame. A statistic of the fit is a float, of
    several outputs an array. Hence the return types Any.

    Attributes:
        estimate: of the fit.
        level: the coverage of the intervals that are printed.
        cov_type: `"nonrobust"`, or the name of the covariance that `meat` makes.
        meat: `(m, m, k)`: as in `keras_linreg.inference.covariance`.
        groups: the number of groups of a clustered covariance.
        maxlags: the number of lags of a HAC covariance.
    """

    estimate: Estimate
    level: float = 0.95
    cov_type: str = "nonrobust"
    meat: Array | None = None
    groups: int | None = None
    maxlags: int | None = None

    def __post_init__(self) -> None:
        if (self.meat is None) != (self.cov_type == "nonrobust"):
            received = None if self.meat is None else "an array"
            raise ValueError(
                "`meat` must be given with a robust `cov_type`, and only with one: `ExactLinearRegression.report` "
                f"computes it. Received: cov_type={self.cov_type!r}, meat={received}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, "Intercept" first."""
        return self.estimate.names

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return self.estimate.output_names

    @property
    def nobs(self) -> int:
        """The number of rows whose weight is not zero."""
        return self.estimate.nobs

    @property
    def df_model(self) -> int:
        """The degrees of freedom of the model: the number of estimated columns, without the intercept."""
        return self.estimate.df_model

    @property
    def df_resid(self) -> int:
        """The degrees of freedom of the residuals."""
        return self.estimate.df_resid

    @property
    def condition_number(self) -> float:
        """The condition number of the design as it is, with the column of ones."""
        return self.estimate.condition_number

    @property
    def vif(self) -> Any:
        """The variance inflation factors, a Series by parameter; the outputs share them."""
        return by_parameter(self.estimate.inflation[:, None].copy(), self.names, ("",), "vif")

    @property
    def params(self) -> Any:
        """The coefficients by parameter, as the model has them."""
        return self._by_parameter(self.estimate.params.copy(), "params")

    @property
    def bse(self) -> Any:
        """The standard errors by parameter."""
        return self._by_parameter(self._standard_errors, "bse")

    @property
    def tvalues(self) -> Any:
        """The coefficients divided by their standard errors, by parameter."""
        return self._by_parameter(self._t, "tvalues")

    @property
    def pvalues(self) -> Any:
        """The two-sided p-values of the hypotheses that a coefficient is zero, by parameter."""
        return self._by_parameter(p_of_t(self._t, self.df_of_t), "pvalues")

    @property
    def ssr(self) -> Any:
        """The weighted sum of squared residuals."""
        return squeeze_outputs(self.estimate.ssr.copy())

    @property
    def scale(self) -> Any:
        """The variance of the residuals, `ssr / df_resid`."""
        return squeeze_outputs(self.estimate.scale)

    @property
    def rsquared(self) -> Any:
        """The explained share of the sum of squares."""
        return squeeze_outputs(self._rsquared)

    @property
    def rsquared_adj(self) -> Any:
        """R-squared, adjusted for the degrees of freedom."""
        estimate = self.estimate
        if estimate.is_penalised or estimate.df_resid <= 0:
            return squeeze_outputs(np.full(len(estimate.ssr), np.nan))
        return squeeze_outputs(1 - (estimate.nobs - estimate.has_intercept) / estimate.df_resid * (1 - self._rsquared))

    @property
    def fvalue(self) -> Any:
        """The F statistic of all columns together, by the covariance of this report."""
        return squeeze_outputs(self._f)

    @property
    def f_pvalue(self) -> Any:
        """The p-value of `fvalue`."""
        return squeeze_outputs(p_of_f(self._f, self.df_model, self.df_of_f))

    @property
    def llf(self) -> Any:
        """The Gaussian log-likelihood."""
        return squeeze_outputs(self._log_likelihood)

    @property
    def aic(self) -> Any:
        """Akaike's information criterion, `2 * parameters - 2 * llf`."""
        return squeeze_outputs(2 * self.estimate.rank - 2 * self._log_likelihood)

    @property
    def bic(self) -> Any:
        """Schwarz's Bayesian information criterion, `log(nobs) * parameters - 2 * llf`."""
        return squeeze_outputs(math.log(self.nobs) * self.estimate.rank - 2 * self._log_likelihood)

    @property
    def notes(self) -> tuple[str, ...]:
        """The limits of these figures, a sentence or two each."""
        return notes_on(self.estimate, self.groups)

    @property
    def df_of_t(self) -> int | None:
        """The degrees of freedom of t tests; None for the normal distribution, which robust covariances use."""
        return None if self.meat is not None else self.df_resid

    @property
    def df_of_f(self) -> int:
        """The denominator's degrees of freedom of F tests."""
        return self.df_resid if self.groups is None else self.groups - 1

    def conf_int(self, *, level: float | None = None) -> Any:
        """Return the confidence limits of the coefficients: a DataFrame by parameter with the columns "lower", "upper".

        Of several outputs, the columns are pairs of limit and output.

        Args:
            level: the coverage, between 0 and 1; None: the report's `level`.
        """
        level = self.level if level is None else check_level(level)
        return by_pair(self._limits(level), self.names, LIMITS, self.output_names, "limit")

    def _limits(self, level: float) -> Array:
        reach = two_sided_quantile(level, self.df_of_t) * self._standard_errors
        params = np.where(self.estimate.estimable[:, None], self.estimate.params, np.nan)
        return np.stack([params - reach, params + reach], axis=1)

    def cov_params(self) -> Any:
        """Return the covariance of the coefficients: a DataFrame by parameter and parameter.

        Of several outputs, the columns are pairs of parameter and output.
        """
        values = covariance.covariance(self.estimate, self.meat)
        return by_pair(values, self.names, self.names, self.output_names, "parameter")

    def output(self, name: str | int) -> Self:
        """Return the report of one output.

        Args:
            name: the name of the output, or its number.
        """
        names = self.output_names
        if name not in names and name not in range(len(names)):
            raise ValueError(f"`name` must be one of the outputs {list(names)}. Received: {name!r}.")
        j = names.index(name) if name in names else int(name)
        estimate = dataclasses.replace(
            self.estimate,
            output_names=(names[j],),
            params=self.estimate.params[:, j : j + 1],
            mean_of_outputs=self.estimate.mean_of_outputs[:, j : j + 1],
            deviations=(self.estimate.deviations[0], self.estimate.deviations[1][j : j + 1]),
            digits=self.estimate.digits[:, j : j + 1],
            ssr=self.estimate.ssr[j : j + 1],
            ess=self.estimate.ess[j : j + 1],
            tss=self.estimate.tss[j : j + 1],
            centred_tss=None if self.estimate.centred_tss is None else self.estimate.centred_tss[j : j + 1],
        )
        meat = None if self.meat is None else self.meat[:, :, j : j + 1]
        return dataclasses.replace(self, estimate=estimate, meat=meat)

    def outputs(self) -> list[Self]:
        """Return the reports of all outputs, one each."""
        return [self.output(j) for j in range(len(self.output_names))]

    def coefficients(self) -> dict[str, Array]:
        """Return the figures of each parameter of a single output as arrays `(P,)`, by the names of `to_frame`."""
        limits = self._limits(self.level)
        return {
            "params": self.estimate.params[:, 0],
            "bse": self._standard_errors[:, 0],
            "tvalues": self._t[:, 0],
            "pvalues": p_of_t(self._t, self.df_of_t)[:, 0],
            "ci_lower": limits[:, 0, 0],
            "ci_upper": limits[:, 1, 0],
            "vif": self.estimate.inflation,
        }

    def _by_parameter(self, values: Array, title: str) -> Any:
        return by_parameter(values, self.names, self.output_names, title)

    # Below, the last axis of every array is the outputs.

    @property
    def _standard_errors(self) -> Array:
        return covariance.standard_errors(self.estimate, self.meat)

    @property
    def _t(self) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.estimate.params / self._standard_errors

    @property
    def _rsquared(self) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.estimate.ess / self.estimate.tss

    @property
    def _f(self) -> Array:
        """The F statistic: the explained variance per column over the scale, or the Wald statistic per column."""
        estimate = self.estimate
        if estimate.is_penalised or not estimate.df_model or estimate.df_resid <= 0:
            return np.full(len(estimate.ssr), np.nan)
        if self.meat is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                return estimate.ess / estimate.df_model / estimate.scale
        return wald_statistic_of_all(estimate, self.meat) / estimate.df_model

    @property
    def _log_likelihood(self) -> Array:
        if self.estimate.is_penalised:
            return np.full(len(self.estimate.ssr), np.nan)
        return covariance.log_likelihood(self.estimate)
