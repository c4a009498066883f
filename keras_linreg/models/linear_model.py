"""LinearModel: Keras's evaluate and predict for the linear layer, on all kinds of data."""

from typing import Any

import tensorflow as tf
from keras import ops

from keras_linreg.data import Prepared, written_out
from keras_linreg.models.layer import Linear
from keras_linreg.training import divergence, loop


class LinearModel(Linear):
    """A linear model that evaluates and predicts as Keras does, on more kinds of data, and faster.

    Abstract: a subclass says how it is fitted.
    """

    # In which numbers of arrays are predicted of; `None`: as Keras makes them, floats in floatx.
    dense_dtype: str | None = None

    # Evaluating, predicting

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        """Return loss and metrics as `keras.Model.evaluate` does, for every kind of data that `fit` takes.

        Steps on data in memory run in one compiled call, or as with Keras, by the same rules as those of `fit`.
        """
        asked = {"verbose": verbose, "callbacks": callbacks, "return_dict": return_dict, **kwargs}
        how = {"batch_size": batch_size, "steps": steps}
        if kwargs.get("_use_cached_eval_dataset"):  # fit's own call, on data that it has prepared
            with loop.evaluating(self):
                return super().evaluate(x, y, sample_weight=sample_weight, **how, **asked)
        self._check_compiled("evaluate")
        data = self._batched(self._prepare(x, y, sample_weight), batch_size)
        given = {"x": data.x, "y": data.y, "sample_weight": data.sample_weight}
        with loop.paused(self), divergence.naming_bad_batches(data):
            run = loop.plan_evaluation(self, data, how | asked)
            if run is not None:
                given, how = run.given, {"steps": run.steps}
            with loop.taking(self, run):
                return super().evaluate(**given, **how, **asked)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Return the predictions, an array of shape `(n, units)`, for every kind of `x` that `fit` takes.

        Without `batch_size` (or `steps`), batches of data in memory are as large as pays: predictions do not depend on
        them. With a callback that watches batches, a `predict_step` of a subclass's own, or `jit_compile`, they are
        Keras's 32 rows.
        """
        data = self._prepare(x, targets=False)
        asked = {"batch_size": batch_size, "steps": steps, "callbacks": callbacks}
        inputs = loop.plan_prediction(self, data, asked, self.dense_dtype)
        given = {"x": self._batched(data, batch_size).x} if inputs is None else inputs.given
        with loop.paused(self), loop.handing(self, inputs), divergence.naming_bad_batches(data):
            return super().predict(**asked | given, verbose=verbose)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Return loss and metrics of one batch, as `keras.Model.test_on_batch` does."""
        self._check_compiled("test_on_batch")
        data = self._prepare(x, y, sample_weight)
        with loop.paused(self):
            return super().test_on_batch(written_out(data.x), data.y, data.sample_weight, return_dict)

    def predict_on_batch(self, x):
        """Return the predictions for one batch, an array of shape `(n, units)`."""
        data = self._prepare(x, targets=False)
        with loop.handing(self, None):
            return super().predict_on_batch(written_out(data.x))

    def _batched(self, data: Prepared, batch_size) -> Prepared:
        """Return prepared data as Keras is given them; Keras cuts arrays into batches, and casts them to floatx."""
        return data

    def _check_compiled(self, method: str) -> None:
        """Raise an error if the model is not compiled."""
        if not self.compiled:
            raise ValueError(
                f"You must call `compile()` before `{method}()`. Received: {self.name!r}, which is not compiled."
            )

    # What Keras's loops call

    test_function: Any
    predict_function: Any

    def make_test_function(self, force=False):
        """Compile the test step as Keras does; a loop may take it in its place."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = loop.taken(self, self.test_function)

    def make_predict_function(self, force=False):
        """Compile the predict step as Keras does; its batches may be handed to it past Keras's iterator."""
        if self.predict_function is None or force:
            super().make_predict_function(force)
            self.predict_function = loop.handed(self, self.predict_function)

    def reset_metrics(self):
        """Reset loss and metrics as Keras does; a loop may do so itself, in its first step of an epoch."""
        run = loop.running(self)
        if run is None or run.aside or not tf.executing_eagerly() or not run.begin_epoch():
            super().reset_metrics()

    def get_metrics_result(self):
        """Return loss and metrics as Keras does, of the loop that takes the steps, if there is one."""
        run = loop.running(self)
        if run is None or run.aside or not tf.executing_eagerly():
            return super().get_metrics_result()
        return run.logs or super().get_metrics_result()

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Update the metrics and return their results, as `keras.Model.compute_metrics` does, for `y` of any rank."""
        if getattr(getattr(y, "shape", None), "rank", 0) is None:  # traced for (n,) and (n, 1) alike
            y = ops.reshape(y, ops.shape(y_pred))
        return super().compute_metrics(x, y, y_pred, sample_weight)
