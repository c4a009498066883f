"""RegressionReport: what the data say of the coefficients, and how surely."""

import dataclasses
import json
import math
from typing import Any

import numpy as np

from keras_linreg import inference, tables
from keras_linreg.estimate import Estimate, estimated
from keras_linreg.hypotheses import Comparison, TTest, WaldTest
from keras_linreg.moments import Moments
from keras_linreg.restrictions import parse
from keras_linreg.solvers import FEW_DIGITS

GRID = 200  # points of a band
PERFECT = 1e-13  # of the sum of squares: what rounding alone leaves as residuals


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

    @classmethod
    def from_moments(cls, moments: Moments, level=0.95, l2=0.0, dependent="drop", use_bias=True) -> "RegressionReport":
        """Return the report of the least-squares solution of moments; no Keras model, and no data, are needed.

        Args:
            moments: of the data; `moments.select(...)` for some of the columns or outputs.
            level: the coverage of the intervals that are printed.
            l2, dependent, use_bias: as of `Moments.solve`.
        """
        inference.check_level(level)
        solution = moments.solve(l2, dependent, use_bias, warn=False)
        found = estimated(moments.statistics, solution, moments.dtype)
        return cls(found, float(level))

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
        return self._each(self.estimate.params.copy())

    @property
    def bse(self):
        """The standard errors `(P,)`."""
        return self._each(self._errors)

    @property
    def tvalues(self):
        """The coefficients over their standard errors `(P,)`."""
        return self._each(self._ratios)

    @property
    def pvalues(self):
        """The p-values `(P,)` of coefficients that are zero, two-sided."""
        return self._each(inference.p_of_t(self._ratios, self._df))

    @property
    def ssr(self):
        """The weighted sum of squared residuals."""
        return self._each(self.estimate.ssr.copy())

    @property
    def scale(self):
        """The variance of the residuals."""
        return self._each(self.estimate.scale)

    @property
    def rsquared(self):
        """The share of the sum of squares that is explained."""
        return self._each(self._rsquared)

    @property
    def rsquared_adj(self):
        """R-squared, adjusted for the degrees of freedom."""
        found = self.estimate
        if self._is_penalised or found.df_resid <= 0:
            return self._each(np.full(len(found.ssr), np.nan))
        return self._each(1 - (found.nobs - found.has_intercept) / found.df_resid * (1 - self._rsquared))

    @property
    def fvalue(self):
        """The F statistic of all columns together, by the covariance of this report."""
        return self._each(self._f)

    @property
    def f_pvalue(self):
        """The p-value of `fvalue`."""
        return self._each(inference.p_of_f(self._f, self.df_model, self._df_denom))

    @property
    def llf(self):
        """The Gaussian log-likelihood."""
        return self._each(self._likelihood)

    @property
    def aic(self):
        """Akaike's criterion."""
        return self._each(2 * self.estimate.rank - 2 * self._likelihood)

    @property
    def bic(self):
        """The Bayesian criterion of Schwarz."""
        return self._each(math.log(self.nobs) * self.estimate.rank - 2 * self._likelihood)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before the figures are believed."""
        found, notes = self.estimate, []
        if self._is_penalised:
            notes.append(
                "The fit is penalised: its coefficients are pulled towards zero by an amount that the data do not "
                "tell, so there are no standard errors, tests or intervals. ExactLinearRegression.from_moments("
                "model.moments).report() has those of the fit without the penalty."
            )
        lost = [name for name, there in zip(found.names, found.estimable, strict=True) if not there]
        if lost and not self._is_penalised:
            shown = ", ".join(lost[:8]) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
            notes.append(
                f"Aliased: {shown}. They depend on columns before them, or on the intercept, and are out of the model."
                if found.dropped
                else f"Not estimable: {shown}. Columns depend on each other, or on the intercept; these coefficients "
                "are those of the smallest kernel, one choice among many that fit as well."
            )
        if found.df_resid <= 0 and not self._is_penalised:
            notes.append(
                f"No degrees of freedom are left: {found.nobs} rows for {found.rank} coefficients. What the errors are "
                "like, the data do not tell."
            )
        elif (found.ssr <= PERFECT * found.tss).any():
            notes.append("The fit is perfect up to rounding: standard errors and tests are of the rounding.")
        if (found.tss == 0).any():
            notes.append("An output is constant: there is nothing to explain.")
        if self.groups is not None and self.groups <= self.df_model:
            notes.append(f"{self.groups} groups are too few to test {self.df_model} columns together.")
        if found.digits < FEW_DIGITS:
            notes.append(
                f"Only about {found.digits:.0f} digits of the coefficients are sure: columns are nearly dependent."
            )
        return tuple(notes)

    def conf_int(self, *, level=None):
        """Return the confidence limits of the coefficients, `(P, 2)`.

        Args:
            level: the coverage, between 0 and 1; `None`: that of the report.
        """
        level = self.level if level is None else inference.check_level(level)
        reach = inference.two_sided(level, self._df) * self._errors
        params = np.where(self.estimate.estimable[:, None], self.estimate.params, np.nan)
        return self._each(np.stack([params - reach, params + reach], axis=1))

    def cov_params(self):
        """Return the covariance of the coefficients, `(P, P)`."""
        return self._each(inference.covariance(self.estimate, self.meat))

    def output(self, name) -> "RegressionReport":
        """Return the report of one output, by its name or number."""
        names = self.output_names
        if name not in names and name not in range(len(names)):
            raise ValueError(f"`name` must be one of the outputs {list(names)}. Received: {name!r}.")
        j = names.index(name) if name in names else int(name)
        found = self.estimate
        one = {key: getattr(found, key)[j : j + 1] for key in ("ssr", "ess", "tss")}
        estimate = dataclasses.replace(found, output_names=(names[j],), params=found.params[:, j : j + 1], **one)
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
        matrix, value, texts = parse(restrictions, self.names)
        roots = inference.combinations(self.estimate, matrix)
        effect = inference.of_combinations(self.estimate, matrix)
        middle = np.eye(roots.shape[1])[:, :, None] * self.estimate.scale if self.meat is None else self.meat
        sd = np.sqrt(np.einsum("im,mnk,in->ik", roots, middle, roots, optimize=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (effect - value[:, None]) / sd
        effect, sd, t, p = (self._each(part) for part in (effect, sd, t, inference.p_of_t(t, self._df)))
        return TTest(texts, effect, sd, t, p, self._df, self.level)

    def f_test(self, restrictions) -> WaldTest:
        """Test linear restrictions all at once, by F; they are given as in `t_test`."""
        return self.wald_test(restrictions, use_f=True)

    def wald_test(self, restrictions, use_f=None) -> WaldTest:
        """Test linear restrictions all at once.

        Args:
            restrictions: as in `t_test`; they must be independent.
            use_f: by F, or by chi-squared; `None`: by F where the covariance is not robust, as in statsmodels.
        """
        matrix, value, texts = parse(restrictions, self.names)
        count = len(matrix)
        chi2 = inference.wald(self.estimate, matrix, value, self.meat)
        if self.meat is None if use_f is None else use_f:
            p = inference.p_of_f(chi2 / count, count, self._df_denom)
            return WaldTest(texts, "F", self._each(chi2 / count), self._each(p), count, self._df_denom)
        return WaldTest(texts, "chi2", self._each(chi2), self._each(inference.p_of_chi2(chi2, count)), count, None)

    def compare(self, restricted: "RegressionReport") -> Comparison:
        """Test this model against one of fewer columns, of the same data: by F, and by the likelihood ratio.

        Args:
            restricted: the report of `moments.select(features=[...])`, or of a fit without intercept.

        Raises:
            ValueError: the other is not nested in this one, or is of other data.

        Example:
        ```python
        smaller = klr.RegressionReport.from_moments(model.moments.select(["age", "bmi"]))
        print(model.report().compare(smaller))
        ```
        """
        mine = self.estimate
        if not isinstance(restricted, RegressionReport):
            raise ValueError(f"`restricted` must be a RegressionReport. Received: {type(restricted).__name__}.")
        theirs = restricted.estimate
        for report in (self, restricted):
            if report._is_penalised or report.meat is not None:
                raise ValueError(
                    "Both models must be least squares with the nonrobust covariance; `f_test` compares by a robust "
                    f"one. Received: {'a penalised fit' if report._is_penalised else report.cov_type}."
                )
        same = mine.output_names == theirs.output_names and mine.nobs == theirs.nobs
        if not same or abs(mine.log_weight - theirs.log_weight) > 1e-9 * (1 + abs(mine.log_weight)):
            raise ValueError(
                "Both models must be of the same rows and outputs. Received: "
                f"{theirs.nobs} rows of {', '.join(theirs.output_names)}, beside {mine.nobs} of "
                f"{', '.join(mine.output_names)}."
            )
        there, left = ({n for n, ok in zip(e.names, e.estimable, strict=True) if ok} for e in (mine, theirs))
        matrix = np.eye(len(mine.names))[[name in there - left for name in mine.names]]
        rule = "`restricted` must have some of this model's parameters, and fewer of them, on the same data."
        if left - there or not len(matrix) or len(matrix) != mine.rank - theirs.rank:
            raise ValueError(f"{rule} Received: {sorted(theirs.names)}, beside {sorted(mine.names)}.")
        difference = len(matrix)
        # What is explained more, rather than the difference of what is left, of which digits would be lost.
        gain = inference.wald(mine, matrix, np.zeros(difference)) * mine.scale
        if not np.allclose(mine.ssr + gain, theirs.ssr, rtol=1e-6, atol=0):
            raise ValueError(f"{rule} Received: a fit of other data.")
        with np.errstate(divide="ignore", invalid="ignore"):
            f, ratio = gain / difference / mine.scale, mine.nobs * np.log1p(gain / mine.ssr)
        f_p, ratio_p = inference.p_of_f(f, difference, mine.df_resid), inference.p_of_chi2(ratio, difference)
        f, f_p, ratio, ratio_p = (self._each(part) for part in (f, f_p, ratio, ratio_p))
        return Comparison(f, f_p, ratio, ratio_p, difference, mine.df_resid)

    # Shapes to go on with

    def to_frame(self):
        """Return a `pandas.DataFrame`: a row a parameter; of several outputs, a row an output and parameter."""
        import pandas  # slow to import

        frames = {}
        for name in self.output_names:
            one = self.output(name) if len(self.output_names) > 1 else self
            lower, upper = one.conf_int().T
            columns = {
                "params": one.params,
                "bse": one.bse,
                "tvalues": one.tvalues,
                "pvalues": one.pvalues,
                "ci_lower": lower,
                "ci_upper": upper,
                "vif": one.vif,
            }
            frames[name] = pandas.DataFrame(columns, index=pandas.Index(self.names, name="parameter"))
        return next(iter(frames.values())) if len(frames) == 1 else pandas.concat(frames, names=["output"])

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain Python objects, ready for JSON: what is not finite is `None`."""
        shared = ("nobs", "df_model", "df_resid", "condition_number", "cov_type", "level", "groups", "maxlags")
        figures = ("rsquared", "rsquared_adj", "fvalue", "f_pvalue", "llf", "aic", "bic", "scale", "ssr")
        outputs = {}
        for name in self.output_names:
            one = self.output(name)
            rows = one.to_frame().to_dict(orient="index")
            outputs[name] = {
                **{key: getattr(one, key) for key in figures},
                "coefficients": rows,
                "cov_params": one.cov_params().tolist(),
            }
        result = {key: getattr(self, key) for key in shared}
        return _plain({**result, "names": self.names, "notes": self.notes, "outputs": outputs})

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(self, ax=None):
        """Draw the coefficients with their intervals; return the Matplotlib Figure.

        Args:
            ax: the Axes to draw on, of one output; `None` makes a figure, a panel an output.
        """
        from keras_linreg import plots  # matplotlib is slow to import

        outputs = [self.output(j) for j in range(len(self.output_names))]
        axes = [ax] if ax is not None else plots.figure(len(outputs), height=max(4.5, 0.3 * len(self.names) + 1))[1]
        for panel, one in zip(axes, outputs, strict=True):
            plots.coefficients(panel, one.names, one.params, one.conf_int(), level=one.level)
            plots.title(panel, one.output_names[0])
        return axes[0].figure

    def plot_line(self, x=None, y=None, ax=None):
        """Draw the line of a fit of one feature, with its confidence and prediction bands; return the Figure.

        Args:
            x, y: points to draw, `(n,)` and `(n,)` or `(n, k)`; `None` draws the line alone.
            ax: the Axes to draw on; `None` makes a figure.
        """
        from keras_linreg import plots

        found = self.estimate
        inference.refuse_penalty(found)
        start = int(found.has_intercept)
        if len(self.names) != 1 + start:
            raise ValueError(f"`plot_line` draws a fit of one feature. Received: {len(self.names) - start} features.")
        if not found.estimable[-1]:
            raise ValueError(f"`plot_line` needs a feature that varies. Received: {self.names[-1]}, which is constant.")
        if x is None:
            x, y = [np.nan], np.full((1, len(self.output_names)), np.nan)
            grid = inference.typical_rows(found, GRID)
        else:
            x = np.asarray(x, np.float64).ravel()
            grid = np.linspace(x.min(), x.max(), GRID)[:, None]
        line = inference.intervals(found, grid, self.level)
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
        return tables.text(self)

    def __repr__(self) -> str:
        return tables.text(self)

    def _repr_html_(self) -> str:
        return tables.html(self)

    # What the properties are made of: k outputs last

    def _each(self, values):
        if values.shape[-1] > 1:
            return values
        return values[..., 0] if values.ndim > 1 else float(values[0])

    @property
    def _is_penalised(self) -> bool:
        return self.estimate.root is None

    @property
    def _df(self) -> int | None:
        """Of t; `None`: normal."""
        return None if self.meat is not None else self.df_resid

    @property
    def _df_denom(self) -> int:
        return self.df_resid if self.groups is None else self.groups - 1

    @property
    def _errors(self) -> np.ndarray:
        return inference.standard_errors(self.estimate, self.meat)

    @property
    def _ratios(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.estimate.params / self._errors

    @property
    def _rsquared(self) -> np.ndarray:
        found = self.estimate
        with np.errstate(divide="ignore", invalid="ignore"):
            return found.ess / found.tss

    @property
    def _f(self) -> np.ndarray:
        found = self.estimate
        if self._is_penalised or not found.df_model or found.df_resid <= 0:
            return np.full(len(found.ssr), np.nan)
        if self.meat is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                return found.ess / found.df_model / found.scale
        return inference.wald_of_all(found, self.meat) / found.df_model

    @property
    def _likelihood(self) -> np.ndarray:
        if self._is_penalised:
            return np.full(len(self.estimate.ssr), np.nan)
        return inference.log_likelihood(self.estimate)


def _plain(value):
    """Return an object as JSON knows it."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
