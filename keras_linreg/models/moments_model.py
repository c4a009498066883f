"""MomentsModel: everything that the moments of a solved model tell."""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from keras_linreg.data import Prepared, Rows, preprocessor_columns
from keras_linreg.inference import sandwich
from keras_linreg.inference.contributions import Contributions
from keras_linreg.inference.diagnostics import Diagnostics
from keras_linreg.inference.distributions import check_level
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.report import RegressionReport
from keras_linreg.inference.row_order import RowOrder, warn_of_other_order
from keras_linreg.models.solved import SolvedModel
from keras_linreg.models.unseen import warn_of_unseen_categories
from keras_linreg.moments.moments import Moments
from keras_linreg.training import divergence
from keras_linreg.utils.types import Batch, Data, PathLike

if TYPE_CHECKING:
    import pandas


class MomentsModel(SolvedModel):
    """A linear model of moments: it reports, diagnoses, and predicts with intervals.

    Abstract: a subclass says where the moments come from.

    Args:
        penalty, dependent, **kwargs: as for `SolvedModel`.
    """

    @classmethod
    def from_moments(
        cls,
        moments: Moments,
        kernel_regularizer: Any = None,
        dependent: str = "drop",
        use_bias: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Return a fitted model of moments, without the data.

        Args:
            moments: `Moments`, merged or not; `moments.select(...)` for some of the columns or outputs.
            kernel_regularizer, dependent, use_bias, **kwargs: of the constructor.

        Raises:
            ValueError: `moments` is something else; or units or feature names are given beside them.
        """
        if not isinstance(moments, Moments):
            raise ValueError(f"`moments` must be keras_linreg.Moments. Received: {type(moments).__name__}.")
        if not moments.feature_names:
            raise ValueError(
                "`moments` must have at least one feature: a model predicts from columns. "
                "keras_linreg.RegressionReport.from_moments reports the null model. Received: no features."
            )
        extra = sorted({"units", "feature_names"} & set(kwargs))
        if extra:
            raise ValueError(
                f"Units and feature names are those of `moments`: `select` others there. Received: {extra}."
            )
        model = cls(
            units=len(moments.output_names),
            use_bias=use_bias,
            kernel_regularizer=kernel_regularizer,
            dependent=dependent,
            feature_names=list(moments.feature_names),
            **kwargs,
        )
        fitted = model.solve_moments(moments)
        fitted.solution.warn()
        model.set_schema(preprocessor_columns.declared_schema(model.preprocessor, moments.feature_names))
        model.build((None, len(moments.feature_names)))
        if model.preprocessor is not None and not (model.schema and model.schema.named):
            model.set_schema(None)  # the first data tell which inputs the preprocessor takes
        model.set_fitted(fitted)
        return model

    def summary(self, *args: Any, print_fn: Callable[[str], object] | None = None, **kwargs: Any) -> None:
        """Print Keras's summary of the layer, and where the coefficients are; arguments as in `keras.Model.summary`."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        print_line = print if print_fn is None else print_fn
        print_line(" Coefficients, standard errors and tests: print(model.report())")

    def report(
        self,
        level: float = 0.95,
        cov_type: str = "nonrobust",
        data: Data = None,
        groups: Data = None,
        maxlags: int | None = None,
    ) -> RegressionReport:
        """Return the coefficients with standard errors, tests and intervals; from the moments, without the data.

        Args:
            level: the coverage of the intervals, between 0 and 1.
            cov_type: `"nonrobust"`; or, from a second pass over `data`, `"HC0"` to `"HC3"` (unequal variances),
                `"cluster"` (rows that belong together), `"HAC"` (autocorrelation up to `maxlags` rows).
            data: the data of the fit, for a `cov_type` that needs them: `(x, y)`, `(x, y, sample_weight)` or a stream.
                Of a table, y and the weights may be names of its columns.
                They are read once, in bounded memory, and refused if they are other rows. `"nonrobust"` does not need
                them, but compares them with the fit if they are given.
            groups: a label for each row of `data`, `(n,)`, an iterable of batches of labels, or the name of a column
                of the table; for `"cluster"`.
            maxlags: integer, for `"HAC"`.

        Raises:
            ValueError: the model is not fitted, or the data are not those of the fit; with `data`, it is penalised, or
                no degrees of freedom are left.

        Warns:
            UserWarning: `"HAC"`, which depends on the order of the rows, gets them in another order than the fit.
        """
        level = check_level(level)
        sandwich.check_arguments(cov_type, data, groups, maxlags)
        fitted = self._fitted_or_refuse()
        if data is None:
            return fitted.report(level, cov_type)
        prepared, order = self._data_of_fit(data, groups), RowOrder()
        report = fitted.report(level, cov_type, order.watch(self._rows(prepared)), prepared.groups, maxlags)
        if cov_type == "HAC":
            warn_of_other_order("The HAC covariance", prepared, order, fitted.moments, fitted.fingerprint)
        return report

    def diagnose(self, data: Data, k: int = 10) -> Diagnostics:
        """Return the diagnostics of the fit: residuals, tests of its assumptions, influential rows.

        Args:
            data: the data of the fit, as in `report`: read once, in bounded memory.
            k: how many of the most influential rows to name.

        Raises:
            ValueError: the model is not fitted or is penalised, no degrees of freedom are left, or the data are not
                those of the fit.

        Warns:
            UserWarning: the rows come in another order than in the fit, on which Durbin-Watson depends.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"`k` must be a positive integer. Received: k={k!r}.")
        fitted = self._fitted_or_refuse()
        prepared, order = self._data_of_fit(data), RowOrder()
        labels, is_stream = (prepared.labels, False) if isinstance(prepared, Rows) else (None, True)
        reads = itertools.count()

        def read() -> Iterator[Batch]:
            if next(reads) == 0:
                return order.watch(self._rows(prepared))
            if not is_stream:
                return self._rows(prepared)
            if hasattr(data, "__next__"):
                raise ValueError(
                    "`data` must be data that can be read again: rows in memory, a tf.data.Dataset or a PyDataset. "
                    "Received: a generator, which `diagnose` has read."
                )
            return self._rows(self._data_of_fit(data))

        diagnostics = fitted.diagnose(read, int(k), labels, is_stream)
        warn_of_other_order("The Durbin-Watson statistic", prepared, order, fitted.moments, fitted.fingerprint)
        return diagnostics

    def predict_interval(
        self,
        x: Data,
        level: float = 0.95,
        cov_type: str = "nonrobust",
        data: Data = None,
        groups: Data = None,
        maxlags: int | None = None,
    ) -> "pandas.DataFrame":
        """Return predictions with their standard errors and limits, in float64, for every `x` that `predict` takes.

        Args:
            x: as in `predict`.
            level: the coverage, between 0 and 1.
            cov_type, data, groups, maxlags: as in `report`: a robust covariance needs the data of the fit once more.

        Returns:
            A DataFrame with the index of `x`: `mean`, `mean_se` (its standard error), `mean_ci_lower` and
            `mean_ci_upper` (confidence limits of the mean), `obs_ci_lower` and `obs_ci_upper` (prediction limits of an
            observation of weight 1), and `leverage`. Of several outputs, the columns are pairs of quantity and output;
            the leverage stands alone. A row without a value in a column is NaN. If in a row the columns do not depend
            on each other as they do in the data of the fit, all but the mean are NaN, with a warning. With a robust
            covariance there are no `obs_ci_lower` and `obs_ci_upper`: where variances differ, the fit does not know
            the variance of one observation.

        Raises:
            ValueError: the model is not fitted or is penalised, no degrees of freedom are left, or `data` are not
                those of the fit.
        """
        level, fitted = check_level(level), self._fitted_or_refuse()
        fitted.estimate_with_errors()
        meat = self.report(level, cov_type, data, groups, maxlags).meat
        rows = self._prepare(x, targets=False)
        with divergence.explain_bad_batches(rows):
            labels = rows.labels if isinstance(rows, Rows) else None
            return fitted.intervals(rows.dense_batches(), level, labels, meat)

    def explain(self, x: Data) -> "pandas.DataFrame":
        """Return what each column contributed to the predictions, in float64, for every `x` that `predict` takes.

        A column contributes its distance from the mean of the fit's data, times its coefficient. The columns that a
        FeatureSpace makes of one are summed up; a cross stands alone. Baseline and contributions add up to the
        prediction.

        Args:
            x: as in `predict`.

        Returns:
            A DataFrame with the index of `x`. Its columns are pairs: `("contributions", column)`; `("contribution_se",
            column)`, the standard errors, unless the fit is penalised or has no degrees of freedom left;
            `("baseline", "")`, the prediction at the means; `("predictions", "")`. Of several outputs, each has the
            output as third. A row without a value is NaN.

        Raises:
            ValueError: the model is not fitted.
        """
        fitted, data = self._fitted_or_refuse(), self._prepare(x, targets=False)
        labels = data.labels if isinstance(data, Rows) else None
        with divergence.explain_bad_batches(data):
            return fitted.explain(data.dense_batches(), self._groups(fitted), labels)

    def score(self, x: Data, y: Data = None, sample_weight: Data = None, target: Any = None) -> float:
        """Return R-squared of new data, as described for `LinearRegression.score`."""
        self._check_fitted("scored")
        return super().score(x, y, sample_weight, target)

    def export(self, filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        """Write the fitted model for serving, with its intervals, as described for `LinearRegression.export`."""
        self._check_fitted("exported")
        super().export(filepath, *args, **kwargs)

    def _prepare(self, x: Data, *args: Any, **kwargs: Any) -> Prepared:
        data = super()._prepare(x, *args, **kwargs)
        if self.moments is not None and self.preprocessor is not None:
            warn_of_unseen_categories(self.preprocessor, self.moments, data, x)
        return data

    def _moments_and_estimate(self) -> tuple[Moments | None, Estimate | None]:
        if self._fitted is None:
            return None, None
        return self._fitted.moments, self._fitted.estimate if self._fitted.has_errors else None

    def _contributions(self) -> Contributions | None:
        return None if self._fitted is None else self._fitted.contributions(self._groups(self._fitted))

    def _groups(self, fitted: FittedMoments) -> list[tuple[str, list[int]]]:
        return preprocessor_columns.output_groups(self.preprocessor, fitted.moments.feature_names)

    def _fitted_or_refuse(self) -> FittedMoments:
        if self._fitted is None:
            raise ValueError("The model must be fitted before it can estimate its errors: call `fit` first.")
        return self._fitted

    def _data_of_fit(self, data: Data, groups: Data = None) -> Prepared:
        """Return the data of the fit, which the user gives once more, prepared."""
        return self._reader().prepare_packed(data, "data", groups)

    def _rows(self, prepared: Prepared) -> Iterator[Batch]:
        with divergence.explain_bad_batches(prepared):
            yield from prepared.dense_batches()
