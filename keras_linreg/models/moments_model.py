"""MomentsModel: a linear model whose weights are the solution of moments, and everything that the moments tell."""

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, Rows, preprocessing
from keras_linreg.inference import sandwich
from keras_linreg.inference.diagnostics import Diagnostics
from keras_linreg.inference.distributions import check_level
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.report import RegressionReport
from keras_linreg.inference.row_order import RowOrder, warn_of_other_order
from keras_linreg.models.centre import Centre
from keras_linreg.models.file_checks import check_moments
from keras_linreg.models.linear_model import LinearModel
from keras_linreg.models.saved import MOMENTS
from keras_linreg.moments.moments import Moments
from keras_linreg.solvers import Penalty, Solution
from keras_linreg.training import divergence
from keras_linreg.utils.types import Batch, Data, PathLike

ORDER = "order"  # in a file of weights, beside the moments: the fingerprint of the order of the rows

if TYPE_CHECKING:
    import pandas


class MomentsModel(LinearModel):
    """A linear model of moments: it reports, diagnoses, predicts with intervals, and saves its moments in its file.

    Abstract: a subclass says where the moments come from.

    Args:
        penalty: what is added to the mean squared error (`keras_linreg.solvers.Penalty`).
        dependent: the rule for dependent columns, as in `Moments.solve`.
        **kwargs: the arguments of every linear model.
    """

    trained_by_gradients = False
    array_dtype = prediction_dtype = "float64"

    def __init__(self, penalty: Penalty, dependent: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.dependent = dependent
        self._set_untracked("_penalty", penalty)
        self._set_untracked("_fitted", None)
        self._set_untracked("_centre", None)

    @classmethod
    def from_moments(
        cls,
        moments: Moments,
        kernel_regularizer: Any = None,
        dependent: str = "drop",
        use_bias: bool = True,
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
        model.set_schema(preprocessing.declared_schema(model.preprocessor, moments.feature_names))
        model.build((None, len(moments.feature_names)))
        if model.preprocessor is not None and not (model.schema and model.schema.named):
            model.set_schema(None)  # the first data tell which inputs the preprocessor takes
        model.set_fitted(fitted)
        return model

    @property
    def moments(self) -> Moments | None:
        """The moments of the last finished fit; `None` before there is one."""
        return None if self._fitted is None else self._fitted.moments

    @property
    def solution(self) -> Solution | None:
        """The solution of the moments with this model's penalty and rule; `None` without moments."""
        return None if self._fitted is None else self._fitted.solution

    @property
    def fitted(self) -> FittedMoments | None:
        """The moments of the last finished fit with all that follows from them; `None` before there is one."""
        return self._fitted

    def solve_moments(
        self, moments: Moments, order: RowOrder | None = None, saved_order: np.ndarray | None = None
    ) -> FittedMoments:
        """Return moments solved with this model's penalty and rule; the model is left as it is.

        Args:
            moments: of the data.
            order, saved_order: the order of their rows, or its fingerprint; None if it is not known.
        """
        return FittedMoments(moments, self._penalty, self.dependent, self.use_bias, order, saved_order)

    def set_fitted(self, fitted: FittedMoments) -> None:
        """Set the weights to the solution of moments, and keep the moments."""
        self.kernel.assign(fitted.solution.kernel)
        if self.bias is not None:
            self.bias.assign(fitted.solution.bias)
        self._keep_fitted(fitted)

    def _keep_fitted(self, fitted: FittedMoments | None) -> None:
        """Keep the moments that the weights are the solution of, and predict about their means."""
        self._set_untracked("_fitted", fitted)
        if self._centre is not None and self.bias is not None:
            if fitted is None:
                self._centre.forget()
            else:
                weights = self.kernel.numpy(), self.bias.numpy()
                self._centre.set(*fitted.centre(self.variable_dtype), *weights)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create kernel and bias, and the means that predictions are about."""
        super().build(input_shape)
        if self.use_bias:
            features, units = self.kernel.shape
            self._set_untracked("_centre", Centre(features, units, self.variable_dtype))

    @property
    def graph_modules(self) -> tuple[tf.Module, ...]:
        """The module of the means that predictions are about."""
        return () if self._centre is None else (self._centre,)

    def _linear(self, inputs: Any) -> Any:
        if self._centre is None or self.bias is None or isinstance(inputs, tf.SparseTensor):
            return super()._linear(inputs)
        return self._centre.predictions(inputs, self.kernel, self.bias)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if training is True and self._fitted is None:
            raise ValueError(
                f"{self.name!r} must be fitted before it is called with training=True: an outer model does not train "
                "it. Call its own `fit` first, or put a LinearRegression in its place."
            )
        return super().call(inputs)

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

    def predict_interval(self, x: Data, level: float = 0.95) -> "pandas.DataFrame":
        """Return predictions with their standard errors and limits, in float64, for every `x` that `predict` takes.

        Args:
            x: as in `predict`.
            level: the coverage, between 0 and 1.

        Returns:
            A DataFrame with the index of `x`: `mean`, `mean_se` (its standard error), `mean_ci_lower` and
            `mean_ci_upper` (confidence limits of the mean), `obs_ci_lower` and `obs_ci_upper` (prediction limits of an
            observation of weight 1), and `leverage`. Of several outputs, the columns are pairs of quantity and output;
            the leverage stands alone. A row without a value in a column is NaN. If in a row the columns do not depend
            on each other as they do in the data of the fit, all but the mean are NaN, with a warning.

        Raises:
            ValueError: the model is not fitted or is penalised, or no degrees of freedom are left.
        """
        level, fitted = check_level(level), self._fitted_or_refuse()
        fitted.estimate_with_errors()
        data = self._prepare(x, targets=False)
        with divergence.explain_bad_batches(data):
            return fitted.intervals(data.dense_batches(), level, data.labels if isinstance(data, Rows) else None)

    def score(self, x: Data, y: Data = None, sample_weight: Data = None) -> float:
        """Return R-squared of new data, as described for `LinearRegression.score`."""
        self._check_fitted("scored")
        return super().score(x, y, sample_weight)

    def export(self, filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        """Write the fitted model for serving, with its intervals, as described for `LinearRegression.export`."""
        self._check_fitted("exported")
        super().export(filepath, *args, **kwargs)

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Set kernel and bias; if they change, the moments are dropped, for the weights are not their solution."""
        before = self.get_weights()
        super().set_weights(weights)
        if not all(np.array_equal(old, new) for old, new in zip(before, self.get_weights(), strict=True)):
            self._keep_fitted(None)

    def save_own_variables(self, store: Any) -> None:
        """Write kernel, bias and moments to a file of weights."""
        super().save_own_variables(store)
        if self.moments is not None:
            for key, array in self.moments.to_arrays().items():
                store[MOMENTS + key] = array
            if self._fitted.fingerprint is not None:
                store[MOMENTS + ORDER] = self._fitted.fingerprint

    def load_own_variables(self, store: Any) -> None:
        """Set kernel, bias and moments from a file of weights; the file of a LinearRegression has no moments.

        Raises:
            ValueError: the moments are damaged, or of other columns than the model; the model stays as it is.
        """
        arrays = {key.removeprefix(MOMENTS): store[key] for key in list(store.keys()) if key.startswith(MOMENTS)}
        order = arrays.pop(ORDER, None)
        moments = Moments.from_arrays(arrays) if arrays else None
        if moments is not None:
            check_moments(moments, self.feature_names, self.units)
        super().load_own_variables(store)
        self._keep_fitted(None if moments is None else self.solve_moments(moments, None, order))

    def _check_names(self, feature_names: Sequence[str]) -> None:
        """Refuse two columns of one name, which a preprocessor may make: a report could not tell them apart."""
        twice = [name for name, count in collections.Counter(feature_names).items() if count > 1]
        if twice:
            raise ValueError(
                f"`preprocessor` must give each column of the design a name of its own. Received: {twice}."
            )

    def _moments_and_estimate(self) -> tuple[Moments | None, Estimate | None]:
        if self._fitted is None:
            return None, None
        return self._fitted.moments, self._fitted.estimate if self._fitted.has_errors else None

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

    def _check_fitted(self, action: str) -> None:
        """Refuse an action on a model that is not fitted; weights that were set count as a fit."""
        if self._fitted is None and not any(weight.numpy().any() for weight in self.weights):
            raise ValueError(f"The model must be fitted before it is {action}: call `fit` first.")
