"""SolvedCalls: Keras's evaluate and predict of a model that has moments: once it is fitted, and in float64."""

import contextlib
from typing import Any

import numpy as np

from keras_linreg.inference.distributions import check_level
from keras_linreg.losses import SquaredError
from keras_linreg.models.exact_checks import USE_DESCENT
from keras_linreg.models.moments_model import MomentsModel
from keras_linreg.models.one_at_a_time import one_at_a_time
from keras_linreg.utils import keras_compat
from keras_linreg.utils.arguments import check_flag
from keras_linreg.utils.types import Data, PathLike


class SolvedCalls(MomentsModel):
    """A model of moments that evaluates and predicts.

    Abstract: a subclass says where the moments come from.
    """

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the mean squared error, in float64; Keras's own way casts any loss to floatx."""
        return SquaredError()(y, y_pred, sample_weight)

    def evaluate(
        self,
        x: Data = None,
        y: Data = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Data = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the mean squared error, without the penalty, and metrics, as `keras.Model.evaluate`, in float64."""
        options = {"steps": steps, "callbacks": callbacks, "return_dict": return_dict, **kwargs}
        if not keras_compat.is_call_of_fit(kwargs):
            self._check_fitted("evaluated")
        with one_at_a_time(self), self._lending_metrics():
            self._average_losses_in_float64()
            return super().evaluate(x, y, batch_size, verbose, sample_weight, **options)

    def predict_on_batch(self, x: Data) -> np.ndarray:
        """Return the predictions for one batch, a float64 array of shape `(n, units)`."""
        self._check_fitted("asked for predictions")
        return super().predict_on_batch(x)

    def test_on_batch(self, x: Data, y: Data = None, sample_weight: Data = None, return_dict: bool = False) -> Any:
        """Return loss and metrics of one batch, as `keras.Model.test_on_batch` does."""
        self._check_fitted("evaluated")
        self._average_losses_in_float64()
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def predict(
        self,
        x: Data,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Return the predictions, a float64 array of shape `(n, units)`, for every kind of `x` that `fit` takes."""
        self._check_fitted("asked for predictions")
        return super().predict(x, batch_size, verbose, steps, callbacks)

    def predict_to(
        self, source: Data, destination: PathLike, interval: bool = False, level: float = 0.95, columns: Any = ()
    ) -> int:
        """Write predictions for files into a Parquet file, with their intervals if asked; see `LinearRegression`."""
        self._check_fitted("asked for predictions")
        if check_flag("interval", interval):
            self._fitted_or_refuse().estimate_with_errors()
        return super().predict_to(source, destination, interval, check_level(level), columns)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: one batch is not the data.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{type(self).__name__} has no train_on_batch: its weights are the solution for all the data at once. Give "
            f"`fit` all batches, add up `Moments` of each, or: {USE_DESCENT}."
        )

    def _average_losses_in_float64(self) -> None:
        """Have `evaluate` average the losses of its batches in float64; `fit` does not need it."""
        keras_compat.average_losses_in_float64(self)

    def _lending_metrics(self) -> contextlib.AbstractContextManager[None]:
        """Lend the model's metrics to an evaluation."""
        return contextlib.nullcontext()
