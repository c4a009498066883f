"""RegressionReport: what the data say of the coefficients, and how surely."""

import dataclasses
import json
import math
from typing import Any

import numpy as np

from keras_linreg.inference import covariance, frames, hypothesis_tests, notes, summary
from keras_linreg.inference.covariance import squeeze_outputs
from keras_linreg.inference.distributions import check_level, p_of_f, p_of_t, two_sided_quantile
from keras_linreg.inference.estimate import Estimate, estimate_parameters
from keras_linreg.inference.hypothesis_tests import Comparison, TTest, WaldTest
from keras_linreg.inference.intervals import intervals, typical_rows
from keras_linreg.inference.wald import wald_statistic_of_all
from keras_linreg.moments.moments import Moments

GRID = 200  # points of a band


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class RegressionReport:
    """Coefficients with standard errors, tests and intervals, and how well they fit; under statsmodels' names.

    Parameters run intercept first (named "Intercept"), then the columns. For one output the arrays are of the shapes
    below, and what is one number for the fit is a float; for k outputs there is one more axis of k, the last one, and
    `report.output(name)` is the report of one of them. What the data do not tell is NaN, and `notes` says why.

    With a robust `cov_type`, or `"cluster"` or `"HAC"`, tests are by the normal distribution, and F and intervals go by
    that covariance: the figures of statsmodels' `OLS(...).fit(cov_type=...)`.

    Attributes:
        level: the coverage of the intervals that are printed.
        cov_type: `"nonrobust"`, `"HC0"` to `"HC3"`, `"cluster"` or `"HAC"`.
        names: P names.
        output_names: k names.
        params, bse, tvalues, pvalues: `(P,)`: coefficients, their standard errors, the ratios, and how likely it is
            that ratios so large, either way, come about where there is no effect.
        vif: `(P,)`: variance inflation factors, NaN for the intercept.
        rsquared, rsquared_adj: centred with an intercept, uncentred without.
        fvalue, f_pvalue: of all columns together.
        llf, aic, bic: the log-likelihood, and the criteria with P parameters counted.
        scale: the variance of the residuals, `ssr / df_resid`.
        ssr: the weighted sum of squared residuals.
        nobs: the number of rows whose weight is not zero.
        df_model, df_resid: degrees of freedom.
        condition_number: of the design as it is, the column of ones counted.
        notes: what to know before any of this is believed.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> x = np.arange(8.0)
    >>> y = np.array([1.1, 2.9, 5.2, 7.1, 8.8, 11.1, 12.9, 15.0])
    >>> report = klr.RegressionReport.from_moments(klr.Moments.from_data(x, y))
    >>> report.params.round(3), report.bse.round(3)
    (array([1.067, 1.985]), array([0.091, 0.022]))
    >>> report.conf_int(level=0.9).round(3)
    array([[0.89 , 1.243],
           [1.942, 2.027]])

    References:
        Greene, Econometric Analysis, chapters 3 to 5.
    """

    estimate: Estimate
    level: float = 0.95
    cov_type: str = "nonrobust"
    meat: np.ndarray | None = None
    groups: int | None = None
    maxlags: int | None = None

    def __post_init__(self):
        if (self.meat is None) != (self.cov_type == "nonrobust"):
            raise ValueError(
                "`meat` must be given with a robust `cov_type`, and only with one: `ExactLinearRegression.report` does "
                f"so. Received: cov_type={self.cov_type!r}, meat={'None' if self.meat is None else 'an array'}."
            )

    @classmethod
    def from_moments(cls, moments: Moments, level=0.95, l2=0.0, dependent="drop", use_bias=True) -> "RegressionReport":
        """Return the report of the least-squares solution of moments; no Keras model, and no data, are needed.

        Args:
            moments: of the data; `moments.select(...)` for some of the columns or outputs.
            level: the coverage of the intervals that are printed.
            l2, dependent, use_bias: as of `Moments.solve`.
        """
        check_level(level)
        solution = moments.solve(l2, dependent, use_bias, warn=False)
        estimate = estimate_parameters(moments.statistics, solution, moments.dtype)
        return cls(estimate, float(level))

    # What is known of the fit

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
        """The degrees of freedom of the model: columns that are estimated, the intercept not counted."""
        return self.estimate.df_model

    @property
    def df_resid(self) -> int:
        """The degrees of freedom of the residuals."""
        return self.estimate.df_resid

    @property
    def condition_number(self) -> float:
        """The condition number of the design as it is, the column of ones counted."""
        return self.estimate.condition_number

    @property
    def vif(self) -> np.ndarray:
        """The variance inflation factors `(P,)`."""
        return self.estimate.inflation.copy()

    @property
    def params(self):
        """The coefficients `(P,)`, as the model has them."""
        return squeeze_outputs(self.estimate.params.copy())

    @property
    def bse(self):
        """The standard errors `(P,)`."""
        return squeeze_outputs(self._errors)

    @property
    def tvalues(self):
        """The coefficients over their standard errors `(P,)`."""
        return squeeze_outputs(self._ratios)

    @property
    def pvalues(self):
        """The p-values `(P,)` of coefficients that are zero, two-sided."""
        return squeeze_outputs(p_of_t(self._ratios, self._df))

    @property
    def ssr(self):
        """The weighted sum of squared residuals."""
        return squeeze_outputs(self.estimate.ssr.copy())

    @property
    def scale(self):
        """The variance of the residuals."""
        return squeeze_outputs(self.estimate.scale)

    @property
    def rsquared(self):
        """The share of the sum of squares that is explained."""
        return squeeze_outputs(self._rsquared)

    @property
    def rsquared_adj(self):
        """R-squared, adjusted for the degrees of freedom."""
        estimate = self.estimate
        if self._is_penalised or estimate.df_resid <= 0:
            return squeeze_outputs(np.full(len(estimate.ssr), np.nan))
        return squeeze_outputs(1 - (estimate.nobs - estimate.has_intercept) / estimate.df_resid * (1 - self._rsquared))

    @property
    def fvalue(self):
        """The F statistic of all columns together, by the covariance of this report."""
        return squeeze_outputs(self._f)

    @property
    def f_pvalue(self):
        """The p-value of `fvalue`."""
        return squeeze_outputs(p_of_f(self._f, self.df_model, self._df_denom))

    @property
    def llf(self):
        """The Gaussian log-likelihood."""
        return squeeze_outputs(self._likelihood)

    @property
    def aic(self):
        """Akaike's criterion."""
        return squeeze_outputs(2 * self.estimate.rank - 2 * self._likelihood)

    @property
    def bic(self):
        """The Bayesian criterion of Schwarz."""
        return squeeze_outputs(math.log(self.nobs) * self.estimate.rank - 2 * self._likelihood)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before the figures are believed."""
        return notes.of(self.estimate, self.groups)

    def conf_int(self, *, level=None):
        """Return the confidence limits of the coefficients, `(P, 2)`.

        Args:
            level: the coverage, between 0 and 1; `None`: that of the report.
        """
        level = self.level if level is None else check_level(level)
        reach = two_sided_quantile(level, self._df) * self._errors
        params = np.where(self.estimate.estimable[:, None], self.estimate.params, np.nan)
        return squeeze_outputs(np.stack([params - reach, params + reach], axis=1))

    def cov_params(self):
        """Return the covariance of the coefficients, `(P, P)`."""
        return squeeze_outputs(covariance.covariance(self.estimate, self.meat))

    def output(self, name) -> "RegressionReport":
        """Return the report of one output, by its name or number."""
        names = self.output_names
        if name not in names and name not in range(len(names)):
            raise ValueError(f"`name` must be one of the outputs {list(names)}. Received: {name!r}.")
        j = names.index(name) if name in names else int(name)
        whole = self.estimate
        one = {key: getattr(whole, key)[j : j + 1] for key in ("ssr", "ess", "tss")}
        estimate = dataclasses.replace(whole, output_names=(names[j],), params=whole.params[:, j : j + 1], **one)
        return dataclasses.replace(
            self, estimate=estimate, meat=None if self.meat is None else self.meat[:, :, j : j + 1]
        )

    # Tests

    def t_test(self, restrictions) -> TTest:
        """Test linear restrictions one by one.

        Args:
            restrictions: text in the parameters' names, "age = 0", "a = b, 2*c - d = 1", or a list of such; or an
                array `(P,)` or `(q, P)`; or a tuple of that and the values `(q,)`.

        Raises:
            ValueError: a name that there is not, what is not linear, what the data do not determine.

        Example:
        ```python
        report.t_test("bmi = s5")
        ```
        """
        return hypothesis_tests.t_test(self.estimate, self.meat, restrictions, self._df, self.level)

    def f_test(self, restrictions) -> WaldTest:
        """Test linear restrictions all at once, by F; they are given as in `t_test`."""
        return self.wald_test(restrictions, use_f=True)

    def wald_test(self, restrictions, use_f=None) -> WaldTest:
        """Test linear restrictions all at once.

        Args:
            restrictions: as in `t_test`; they must be independent.
            use_f: by F, or by chi-squared; `None`: by F where the covariance is not robust, as in statsmodels.
        """
        use_f = self.meat is None if use_f is None else use_f
        return hypothesis_tests.wald_test(self.estimate, self.meat, restrictions, self._df_denom if use_f else None)

    def compare(self, restricted: "RegressionReport") -> Comparison:
        """Test this model against one of fewer columns, of the same data: by F, and by the likelihood ratio.

        Args:
            restricted: the report of `moments.select(features=[...])`, or of a fit without intercept.

        Raises:
            ValueError: the other is not nested in this one, by the names of the columns that are estimated (of two that
                depend on each other it must keep the same), or is of other data.

        Example:
        ```python
        smaller = klr.RegressionReport.from_moments(model.moments.select(["age", "bmi"]))
        print(model.report().compare(smaller))
        ```
        """
        if not isinstance(restricted, RegressionReport):
            raise ValueError(f"`restricted` must be a RegressionReport. Received: {type(restricted).__name__}.")
        for report in (self, restricted):
            if report._is_penalised or report.meat is not None:
                raise ValueError(
                    "Both models must be least squares with the nonrobust covariance; `f_test` compares by a robust "
                    f"one. Received: {'a penalised fit' if report._is_penalised else report.cov_type}."
                )
        return hypothesis_tests.compare(self.estimate, restricted.estimate)

    # Shapes to go on with

    def to_frame(self):
        """Return a `pandas.DataFrame`: a row a parameter; of several outputs, a row an output and parameter."""
        return frames.frame(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain Python objects, ready for JSON: what is not finite is `None`."""
        return frames.plain(self)

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(self, ax=None, intercept=False):
        """Draw the coefficients with their intervals; return the Matplotlib Figure.

        Columns of one scale can be compared; of others, those of large numbers have small coefficients.

        Args:
            intercept: whether to draw the intercept too, which is mostly of another size.
            ax: the Axes to draw on, of one output; `None` makes a figure, a panel an output.
        """
        from keras_linreg import plots  # matplotlib is slow to import

        outputs = [self.output(j) for j in range(len(self.output_names))]
        axes = [ax] if ax is not None else plots.figure(len(outputs), height=max(4.5, 0.3 * len(self.names) + 1))[1]
        for panel, one in zip(axes, outputs, strict=True):
            first = int(one.estimate.has_intercept and not intercept and len(one.names) > 1)
            plots.coefficients(panel, one.names[first:], one.params[first:], one.conf_int()[first:], level=one.level)
            plots.title(panel, one.output_names[0])
        return axes[0].figure

    def plot_line(self, x=None, y=None, ax=None):
        """Draw the line of a fit of one feature, with its confidence and prediction bands; return the Figure.

        Args:
            x, y: points to draw, `(n,)` and `(n,)` or `(n, k)`; `None` draws the line alone.
            ax: the Axes to draw on; `None` makes a figure.
        """
        from keras_linreg import plots

        estimate = self.estimate
        estimate.unpenalised_coordinates()
        start = int(estimate.has_intercept)
        if len(self.names) != 1 + start:
            raise ValueError(f"`plot_line` draws a fit of one feature. Received: {len(self.names) - start} features.")
        if not estimate.estimable[-1]:
            raise ValueError(f"`plot_line` needs a feature that varies. Received: {self.names[-1]}, which is constant.")
        if (x is None) != (y is None):
            raise ValueError(f"`x` and `y` must be given together. Received: {'y' if x is None else 'x'} alone.")
        if x is None:
            x, y = [np.nan], np.full((1, len(self.output_names)), np.nan)
            grid = typical_rows(estimate, GRID)
        else:
            x = np.asarray(x, np.float64).ravel()
            grid = np.linspace(*_ends(x), GRID)[:, None]
        line = intervals(estimate, grid, self.level)
        ax = plots.figure()[1][0] if ax is None else ax
        one = self.output_names[0] if len(self.output_names) == 1 else None
        plots.fitted_line(
            *(ax, x, y, grid, line["mean"]),
            xlabel=self.names[-1],
            ylabel=one or "y",
            label=None if one else self.output_names,
            bands=line,
        )
        return ax.figure

    def __str__(self) -> str:
        return summary.text(self)

    def __repr__(self) -> str:
        return summary.text(self)

    def _repr_html_(self) -> str:
        return summary.html(self)

    # What the properties are made of: k outputs last

    @property
    def _is_penalised(self) -> bool:
        return self.estimate.is_penalised

    @property
    def _df(self) -> int | None:
        """Of t; `None`: normal."""
        return None if self.meat is not None else self.df_resid

    @property
    def _df_denom(self) -> int:
        return self.df_resid if self.groups is None else self.groups - 1

    @property
    def _errors(self) -> np.ndarray:
        return covariance.standard_errors(self.estimate, self.meat)

    @property
    def _ratios(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.estimate.params / self._errors

    @property
    def _rsquared(self) -> np.ndarray:
        estimate = self.estimate
        with np.errstate(divide="ignore", invalid="ignore"):
            return estimate.ess / estimate.tss

    @property
    def _f(self) -> np.ndarray:
        estimate = self.estimate
        if self._is_penalised or not estimate.df_model or estimate.df_resid <= 0:
            return np.full(len(estimate.ssr), np.nan)
        if self.meat is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                return estimate.ess / estimate.df_model / estimate.scale
        return wald_statistic_of_all(estimate, self.meat) / estimate.df_model

    @property
    def _likelihood(self) -> np.ndarray:
        if self._is_penalised:
            return np.full(len(self.estimate.ssr), np.nan)
        return covariance.log_likelihood(self.estimate)


def _ends(x: np.ndarray) -> tuple[float, float]:
    finite = x[np.isfinite(x)]
    if not finite.size:
        raise ValueError("`x` must have at least one finite number. Received: none.")
    return float(finite.min()), float(finite.max())
