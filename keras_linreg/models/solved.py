"""SolvedModel: a linear model whose weights are the solution of moments, and what can be asked of it."""

from collections.abc import Iterator

import numpy as np

from keras_linreg.data import dense_batches, preprocessing
from keras_linreg.inference import covariance, sandwich
from keras_linreg.inference.diagnostics import Diagnostics
from keras_linreg.inference.fitted_moments import Fit
from keras_linreg.inference.report import RegressionReport
from keras_linreg.models.layer import MOMENTS
from keras_linreg.models.linear_model import LinearModel
from keras_linreg.moments.moments import Moments
from keras_linreg.solvers import least_squares
from keras_linreg.training import divergence


class SolvedModel(LinearModel):
    """A linear model of moments: it reports, diagnoses, predicts with intervals, and is saved with what it knows.

    Abstract: a subclass says where the moments come from.

    Args:
        l2: the penalty, as of `Moments.solve`.
        dependent: the rule for dependent columns, as of `Moments.solve`.
        **kwargs: of every linear model.
    """

    trained_by_gradients = False
    array_dtype = dense_dtype = "float64"

    def __init__(self, l2: float, dependent: str, **kwargs):
        super().__init__(**kwargs)
        self.dependent = dependent
        self._keep("_l2", l2)
        self._keep("_fit", None)

    @classmethod
    def from_moments(cls, moments, kernel_regularizer=None, dependent="drop", use_bias=True, **kwargs):
        """Return a fitted model of moments, without the data.

        Args:
            moments: `Moments`, merged or not; `moments.select(...)` for some of the columns or outputs.
            kernel_regularizer, dependent, use_bias, **kwargs: of the constructor.
        """
        if not isinstance(moments, Moments):
            raise ValueError(f"`moments` must be keras_linreg.Moments. Received: {type(moments).__name__}.")
        given = sorted({"units", "feature_names"} & set(kwargs))
        if given:
            raise ValueError(
                f"Units and feature names are those of `moments`: `select` others there. Received: {given}."
            )
        model = cls(
            units=len(moments.output_names),
            use_bias=use_bias,
            kernel_regularizer=kernel_regularizer,
            dependent=dependent,
            feature_names=list(moments.feature_names),
            **kwargs,
        )
        fit = Fit(moments, model._l2, dependent, model.use_bias)
        least_squares.warn(fit.solution)
        model._keep("_schema", preprocessing.declared_schema(model.preprocessor, moments.feature_names))
        model.build((None, len(moments.feature_names)))
        if model.preprocessor is not None and not model.schema.named:
            model._keep("_schema", None)  # what the preprocessor takes is learned from the first data
        model._take(fit)
        return model

    @property
    def moments(self) -> Moments | None:
        """What the data of the last finished fit said; `None` before there is one."""
        return None if self._fit is None else self._fit.moments

    @property
    def solution(self) -> least_squares.Solution | None:
        """The solution of the moments under this model's penalty and rule; `None` where there are no moments."""
        return None if self._fit is None else self._fit.solution

    def call(self, inputs, training=None):
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if training is True and self._fit is None:
            raise ValueError(
                f"{self.name!r} must be fitted before it is called with training=True: an outer model does not train "
                "it. Call its own `fit` first, or put a LinearRegression in its place."
            )
        return super().call(inputs)

    def report(self, level=0.95, cov_type="nonrobust", data=None, groups=None, maxlags=None) -> RegressionReport:
        """Return what the data said of the coefficients, and how surely; from the moments, without the data.

        Args:
            level: the coverage of the intervals, between 0 and 1.
            cov_type: `"nonrobust"`; or, from a second pass over `data`, `"HC0"` to `"HC3"` (unequal variances),
                `"cluster"` (rows that belong together), `"HAC"` (autocorrelation up to `maxlags` rows).
            data: what the model was fitted on, for a `cov_type` that needs it: `(x, y)`, `(x, y, sample_weight)` or a
                stream, read once in bounded memory, and refused where its rows are others. `"nonrobust"` needs none,
                and compares them where they are given.
            groups: a label for each row of `data`, `(n,)`, or an iterable of batches of labels; for `"cluster"`.
            maxlags: integer, for `"HAC"`.

        Raises:
            ValueError: the model is not fitted, or the data are not those of the fit; with `data`, it is penalised, or
                no degrees of freedom are left.
        """
        level = covariance.check_level(level)
        sandwich.check(cov_type, data, groups, maxlags)
        return self._solved().report(level, cov_type, None if data is None else self._rows_of(data), groups, maxlags)

    def diagnose(self, data, k=10) -> Diagnostics:
        """Return what the rows say of the fit: residuals, tests of what was assumed, influential rows.

        Args:
            data: what the model was fitted on, as in `report`: read once, in bounded memory.
            k: how many of the most influential rows to name.

        Raises:
            ValueError: the model is not fitted or is penalised, no degrees of freedom are left, or the data are not
                those of the fit.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"`k` must be a positive integer. Received: k={k!r}.")
        return self._solved().diagnose(self._rows_of(data), int(k))

    def predict_interval(self, x, level=0.95) -> dict[str, np.ndarray]:
        """Return predictions with their standard errors and limits, in float64, for every `x` that `predict` takes.

        Args:
            x: as in `predict`.
            level: the coverage, between 0 and 1.

        Returns:
            A dict of arrays `(n,)`, of several outputs `(n, units)`: `mean`, `mean_se` (its standard error),
            `mean_ci_lower` and `mean_ci_upper` (confidence limits of the mean), `obs_ci_lower` and `obs_ci_upper`
            (prediction limits of an observation of weight 1); and `leverage`, always `(n,)`. Rows in which columns do
            not depend on each other as they do in the data of the fit have NaN for all but the mean, with a warning.

        Raises:
            ValueError: the model is not fitted or is penalised, or no degrees of freedom are left.
        """
        level, fit = covariance.check_level(level), self._solved()
        fit.with_errors()
        data = self._prepare(x, targets=False)
        with divergence.naming_bad_batches(data):
            return fit.intervals(dense_batches(data), level)

    def export(self, filepath, *args, **kwargs):
        """Write the fitted model for serving, with its intervals, as described for `LinearRegression.export`."""
        self._check_fitted("exported")
        return super().export(filepath, *args, **kwargs)

    def set_weights(self, weights):
        """Set kernel and bias; moments that they are not the solution of are dropped."""
        before = self.get_weights()
        super().set_weights(weights)
        if not all(np.array_equal(old, new) for old, new in zip(before, self.get_weights(), strict=True)):
            self._keep("_fit", None)

    def save_own_variables(self, store):
        """Write kernel, bias and moments."""
        super().save_own_variables(store)
        if self.moments is not None:
            for key, array in self.moments.to_arrays().items():
                store[MOMENTS + key] = array

    def load_own_variables(self, store):
        """Set kernel, bias and moments; weights of another model come without moments."""
        held = {key.removeprefix(MOMENTS): store[key] for key in list(store.keys()) if key.startswith(MOMENTS)}
        moments = Moments.from_arrays(held) if held else None
        super().load_own_variables(store)
        self._keep("_fit", None if moments is None else Fit(moments, self._l2, self.dependent, self.use_bias))

    def _what_it_learned(self) -> tuple:
        if self._fit is None:
            return None, None
        return self._fit.moments, self._fit.estimate if self._fit.has_errors else None

    def _take(self, fit: Fit) -> None:
        """Become the model of a fit."""
        self.kernel.assign(fit.solution.kernel)
        if self.bias is not None:
            self.bias.assign(fit.solution.bias)
        self._keep("_fit", fit)

    def _solved(self) -> Fit:
        if self._fit is None:
            raise ValueError("The model must be fitted before it can say how sure it is: call `fit` first.")
        return self._fit

    def _rows_of(self, data) -> Iterator[tuple]:
        """Yield the batches of the data of the fit, given once more."""
        prepared = self._reader().prepare_packed(data, "data")
        with divergence.naming_bad_batches(prepared):
            yield from dense_batches(prepared)

    def _check_fitted(self, what: str) -> None:
        if self._fit is None and not any(weight.numpy().any() for weight in self.weights):
            raise ValueError(f"The model must be fitted before it is {what}: call `fit` first.")
