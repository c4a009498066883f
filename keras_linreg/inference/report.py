"""RegressionReport: the coefficients of a fit, and how sure they are."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Self

from keras_linreg.inference import hypothesis_tests, report_plots, summary
from keras_linreg.inference.constraints import Restrictions
from keras_linreg.inference.distributions import check_level
from keras_linreg.inference.estimate import estimate_parameters
from keras_linreg.inference.hypothesis_tests import Comparison, TTest, WaldTest
from keras_linreg.inference.report_statistics import ReportStatistics
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.arguments import check_flag
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class RegressionReport(ReportStatistics):
    """Coefficients with standard errors, tests and intervals, and how well they fit; under statsmodels' names.

    Parameters run intercept first (named "Intercept"), then the columns. For one output, a statistic of the parameters
    is a pandas Series by parameter, and a statistic of the fit is a float. For k outputs they are a DataFrame with a
    column an output, and an array `(k,)`; `report.output(name)` is the report of one output. A figure that the data do
    not determine is NaN, and `notes` tells why.

    With a robust `cov_type`, or `"cluster"` or `"HAC"`, tests use the normal distribution, and F and the intervals use
    that covariance. The numbers are the same as in statsmodels' `OLS(...).fit(cov_type=...)`.

    Attributes:
        level: the coverage of the intervals that are printed.
        cov_type: `"nonrobust"`, `"HC0"` to `"HC3"`, `"cluster"` or `"HAC"`.
        names: P names.
        output_names: k names.
        params: the coefficients, by parameter.
        bse: their standard errors, by parameter.
        tvalues: coefficients divided by standard errors, by parameter.
        pvalues: the probability of a ratio so large, in either direction, if the coefficient is zero, by parameter.
        vif: variance inflation factors, by parameter; NaN for the intercept.
        rsquared, rsquared_adj: centred with an intercept, uncentred without.
        fvalue, f_pvalue: of all columns together.
        llf, aic, bic: the log-likelihood, and the criteria with P parameters counted.
        scale: the variance of the residuals, `ssr / df_resid`.
        ssr: the weighted sum of squared residuals.
        nobs: the number of rows whose weight is not zero.
        df_model, df_resid: degrees of freedom.
        condition_number: of the design as it is, with the column of ones.
        notes: the limits of these figures.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> x = np.arange(8.0)
    >>> y = np.array([1.1, 2.9, 5.2, 7.1, 8.8, 11.1, 12.9, 15.0])
    >>> report = klr.RegressionReport.from_moments(klr.Moments.from_data(x, y, feature_names=["hours"]))
    >>> print(report.params["hours"].round(3), report.bse["hours"].round(3))
    1.985 0.022
    >>> report.conf_int(level=0.9).loc["hours"].round(3).tolist()
    [1.942, 2.027]

    References:
        Greene, Econometric Analysis, chapters 3 to 5.
    """

    @classmethod
    def from_moments(
        cls,
        moments: Moments,
        level: float = 0.95,
        l2: float = 0.0,
        dependent: str = "drop",
        use_bias: bool = True,
    ) -> Self:
        """Return the report of the least-squares solution of moments. It needs neither a Keras model nor the data.

        Args:
            moments: of the data; `moments.select(...)` for some of the columns or outputs.
            level: the coverage of the intervals that are printed.
            l2, dependent, use_bias: as in `Moments.solve`.

        Raises:
            ValueError: `moments` is something else, or an argument is refused by `Moments.solve`.
        """
        if not isinstance(moments, Moments):
            raise ValueError(f"`moments` must be keras_linreg.Moments. Received: {type(moments).__name__}.")
        check_level(level)
        solution = moments.solve(l2, dependent, use_bias, warn=False)
        return cls(estimate_parameters(moments.statistics, solution, moments.dtype), float(level))

    def t_test(self, restrictions: Restrictions) -> TTest:
        """Test linear restrictions one by one.

        Args:
            restrictions: text in the parameters' names, "age = 0", "a = b, 2*c - d = 1"; or the name of a term of a
                formula, "C(city)", for all its parameters; a list of such texts; an array `(P,)` or `(q, P)`; or a
                tuple of such an array and the values `(q,)`.

        Raises:
            ValueError: a name does not exist, an equation is not linear, or the data do not determine a combination.

        Example:
        ```python
        report.t_test("bmi = s5")
        ```
        """
        return hypothesis_tests.t_test(self.estimate, self.meat, restrictions, self.df_of_t, self.level)

    def f_test(self, restrictions: Restrictions) -> WaldTest:
        """Test linear restrictions all at once, by F.

        Args:
            restrictions: as in `t_test`; they must be independent.
        """
        return self.wald_test(restrictions, use_f=True)

    def wald_test(self, restrictions: Restrictions, use_f: bool | None = None) -> WaldTest:
        """Test linear restrictions all at once.

        Args:
            restrictions: as in `t_test`; they must be independent.
            use_f: whether to use F or chi-squared; None: F if the covariance is not robust, as in statsmodels.
        """
        use_f = self.meat is None if use_f is None else check_flag("use_f", use_f)
        return hypothesis_tests.wald_test(self.estimate, self.meat, restrictions, self.df_of_f if use_f else None)

    def compare(self, restricted: "RegressionReport") -> Comparison:
        """Test this model against a model of the same data with fewer columns: by F, and by the likelihood ratio.

        Args:
            restricted: the report of `moments.select(features=[...])`, of `moments.select(features=[])` (the null
                model, of the intercept alone), or of a fit without intercept.

        Raises:
            ValueError: the other model is not nested in this one, or is of other data. It is nested if each of its
                estimated parameters is one of this model's, by name; of two columns that depend on each other it must
                keep the same.

        Example:
        ```python
        smaller = klr.RegressionReport.from_moments(model.moments.select(["age", "bmi"]))
        print(model.report().compare(smaller))
        ```
        """
        if not isinstance(restricted, RegressionReport):
            raise ValueError(f"`restricted` must be a RegressionReport. Received: {type(restricted).__name__}.")
        for report in (self, restricted):
            is_penalised = report.estimate.is_penalised
            if is_penalised or report.meat is not None:
                raise ValueError(
                    "Both models must be least squares with the nonrobust covariance; `f_test` compares by a robust "
                    f"one. Received: {'a penalised fit' if is_penalised else report.cov_type}."
                )
        return hypothesis_tests.compare(self.estimate, restricted.estimate)

    def to_frame(self) -> "pandas.DataFrame":
        """Return a frame with a row for each parameter; of several outputs, for each output and parameter."""
        return summary.frame(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain Python objects, ready for JSON; None for a number that is not finite."""
        return summary.plain_objects(self)

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(
        self, ax: "Axes | None" = None, intercept: bool = False, standardized: bool = False
    ) -> "Figure | SubFigure":
        """Draw the coefficients with their intervals, and return the Matplotlib Figure.

        Only coefficients of columns of one scale can be compared: a column of large numbers has a small coefficient.
        `standardized=True` brings all of them to one scale:

        ```python
        standardized_coefficient = coefficient * sd(column) / sd(y)
        ```

        Args:
            ax: the Axes to draw on, for one output; None makes a figure with a panel for each output.
            intercept: whether to draw the intercept, which often is of another size.
            standardized: whether to draw standard deviations of y for each standard deviation of a column. There is no
                intercept then.
        """
        check_flag("intercept", intercept)
        return report_plots.plot_coefficients(self, ax, intercept, check_flag("standardized", standardized))

    def plot_line(self, x: Data = None, y: Data = None, ax: "Axes | None" = None) -> "Figure | SubFigure":
        """Draw the line of a fit of one feature with its confidence and prediction bands, and return the Figure.

        Args:
            x, y: points to draw, `(n,)` and `(n,)` or `(n, k)`; None draws the line alone.
            ax: the Axes to draw on; None makes a figure.
        """
        return report_plots.plot_line(self, x, y, ax)

    def __str__(self) -> str:
        return summary.text(self)

    def __repr__(self) -> str:
        return summary.text(self)

    def _repr_html_(self) -> str:
        return summary.html_tables(self)
