"""SolvedModel: a linear model whose weights are the solution of moments: how it keeps, predicts and saves them."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import Reader, default_output_names
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.row_order import RowOrder
from keras_linreg.models.centre import Centre
from keras_linreg.models.file_checks import check_moments
from keras_linreg.models.linear_model import LinearModel
from keras_linreg.models.saved import MOMENTS
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.moments import Moments
from keras_linreg.solvers import Penalty, Solution

ORDER = "order"  # in a file of weights, beside the moments: the fingerprint of the order of the rows


class SolvedModel(LinearModel):
    """A linear model that keeps the moments that its weights are the solution of, in its file, too.

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

    def new_accumulator(self, features: int) -> Accumulator:
        """Return what takes the batches of a fit."""
        return Accumulator(features, self.units)

    def solve_pass(
        self, accumulator: Accumulator, moments: Moments, order: RowOrder | None, is_final: bool
    ) -> FittedMoments | None:
        """Return the fit of the batches that an accumulator took; None if so few rows do not do.

        Args:
            accumulator: of the batches.
            moments: of them.
            order: the order of their rows.
            is_final: whether they are all rows; if not, it is for the progress bar.
        """
        return self.solve_moments(moments, order)

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

    @property
    def is_plain_float32(self) -> bool:
        """False: predictions go through the means of the fit."""
        return False

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if training is True and self._fitted is None:
            raise ValueError(
                f"{self.name!r} must be fitted before it is called with training=True: an outer model does not train "
                "it. Call its own `fit` first, or put a LinearRegression in its place."
            )
        return super().call(inputs)

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

    def _reader(self, fitting: bool = False) -> Reader:
        """Return the reader of the user's data; the moments know the names of several outputs."""
        reader = super()._reader(fitting)
        if not fitting and reader.schema is not None and self.moments is not None:
            names = self.moments.output_names
            if len(names) > 1 and names != default_output_names(len(names)):
                reader.schema = dataclasses.replace(reader.schema, output_names=names)
        return reader

    def _check_fitted(self, action: str) -> None:
        """Refuse an action on a model that is not fitted; weights that were set count as a fit."""
        if self._fitted is None and not any(weight.numpy().any() for weight in self.weights):
            raise ValueError(f"The model must be fitted before it is {action}: call `fit` first.")
