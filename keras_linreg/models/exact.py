"""ExactLinearRegression: fit reads the data once, and solves."""

import contextlib
import dataclasses
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, as_dataset, is_stream, split
from keras_linreg.losses import SquaredError
from keras_linreg.models.exact_checks import (
    BY_DESCENT,
    CARRIED,
    check_callbacks,
    check_compile,
    check_strategy,
    penalty_of,
)
from keras_linreg.models.one_pass import OnePass, batch_rows
from keras_linreg.models.solved import SolvedModel
from keras_linreg.moments.accumulator import check_memory
from keras_linreg.solvers import least_squares
from keras_linreg.training import divergence


@keras.saving.register_keras_serializable(package="keras_linreg")
class ExactLinearRegression(SolvedModel):
    """Linear regression as a Keras model, whose `fit` is the least-squares solution itself.

    ```python
    y_pred = x @ kernel + bias
    kernel, bias = argmin(mean(sample_weight * square(y - y_pred)) + l2 * sum(square(kernel)))
    ```

    One pass over the data, in float64 whatever `keras.config.floatx()` is: no learning rate, no `compile`, memory that
    does not depend on the number of rows. It takes all the data that `LinearRegression` takes. Later epochs change
    nothing. What the pass leaves behind is `moments`: they merge, are saved with the model, and can be solved again.

    To go on with more data, add moments; `fit`, on a loaded model too, starts anew:

    ```python
    model = klr.ExactLinearRegression.from_moments(loaded.moments + klr.Moments.from_data(x, y))
    ```

    Inside another model it is the layer `x @ kernel + bias` with weights that are fitted, not trained.

    Args:
        units: positive int, the number of outputs.
        use_bias: whether to fit an intercept.
        kernel_regularizer: `keras.regularizers.L2` or `None`; the bias is never penalised.
        feature_names: a name for each column of the design; `None` takes them from the data (frames, dicts), from the
            preprocessor, or calls them x0, x1, ...
        preprocessor: an adapted `keras.utils.FeatureSpace`, a Keras layer or model from the user's columns to the
            design.
        dependent: what to do about a column that depends on those before it, or on the bias: `"drop"` gives it weight
            0, `"min_norm"` takes the smallest kernel. Either way a warning names it.
        **kwargs: `name` and `dtype` (`"float64"`), as for every Keras model.

    Attributes:
        kernel: variable of shape `(features, units)`.
        bias: variable of shape `(units,)`, or `None`.
        moments: the `Moments` of the last finished fit, `None` before.
        solution: the `Solution` of it: coefficients, rank, residual sum of squares, digits.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> x = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 5.0], [4.0, 2.0]])
    >>> model = klr.ExactLinearRegression()
    >>> history = model.fit(x, 3 * x[:, 0] - x[:, 1] + 2, verbose=0)
    >>> model.kernel.numpy().ravel(), model.bias.numpy()
    (array([ 3., -1.]), array([2.]))
    """

    def __init__(
        self,
        units=1,
        use_bias=True,
        kernel_regularizer=None,
        feature_names=None,
        preprocessor=None,
        dependent="drop",
        **kwargs,
    ):
        regularizer = keras.regularizers.get(kernel_regularizer)
        l2 = penalty_of(regularizer)
        least_squares.check_dependent(dependent)
        super().__init__(
            l2=l2,
            dependent=dependent,
            units=units,
            use_bias=use_bias,
            kernel_regularizer=regularizer,
            feature_names=feature_names,
            preprocessor=preprocessor,
            **{**kwargs, "dtype": kwargs.get("dtype") or "float64"},
        )
        if (self.compute_dtype, self.variable_dtype) not in (("float64", "float64"), ("float32", "float32")):
            raise ValueError(f"`dtype` must be 'float64' or 'float32'. Received: dtype={kwargs['dtype']!r}.")
        self._keep("_pass", None)
        self._keep("_primed", False)

    def compile(
        self,
        optimizer=None,
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ):
        """Choose metrics; there is nothing else to choose, and no need to call this at all.

        Args:
            optimizer: must be `None`.
            loss: `None` or a mean squared error.
            loss_weights: must be `None`.
            metrics, weighted_metrics, run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as in
                `keras.Model.compile`.

        Raises:
            ValueError: an optimizer or another loss: least squares has neither.
        """
        check_compile(optimizer, loss, loss_weights)
        keras.Model.compile(
            self,
            optimizer=None,
            loss=SquaredError(),
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self._keep("_primed", False)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Read the data once, and set the weights to the least-squares solution.

        The data are those of the first epoch (with `steps_per_epoch`, its first batches); later epochs change nothing.
        The loss in the logs is the mean squared error, without the penalty, of the solution of the rows so far.
        Metrics of the first epoch are taken batch by batch with the solution so far, as Keras takes them with the
        weights so far; `evaluate` takes them with the final one.

        Args:
            x: array `(n, p)` or `(n,)`, tensor, sparse tensor or matrix, frame, Series, dict of columns; or a
                `tf.data.Dataset`, `PyDataset` or generator of `(x, y)` or `(x, y, sample_weight)` batches. float64 is
                kept; other dtypes are accumulated in float64.
            y: array, Series or frame of shape `(n,)`, `(n, 1)` or `(n, units)`; `None` for a stream.
            batch_size: rows that callbacks see at a time; the answer does not depend on it. `None` takes large ones.
            validation_data: as `x`, or a tuple `(x, y)` or `(x, y, sample_weight)` of arrays.
            sample_weight: array `(n,)`, finite, not negative, not all zero. Weight 0 is the row left out.
            class_weight: must be `None`.
            shuffle: makes no difference.
            epochs, verbose, callbacks, validation_split, initial_epoch, steps_per_epoch, validation_steps,
                validation_batch_size, validation_freq: as in `keras.Model.fit`.

        Returns:
            The `keras.callbacks.History` of losses and metrics.

        Raises:
            ValueError: on data that cannot be fitted (names, shapes, types, NaN, infinity).
            MemoryError: the columns are too many for their cross-products.

        Whatever ends it early, an error, Ctrl-C, leaves the model as it was before.
        """
        if self._pass is not None:
            raise RuntimeError("`fit` is running: it cannot be called from its own callbacks.")
        if not self.compiled:
            self.compile()
        check_strategy(self.distribute_strategy)
        check_callbacks(callbacks)
        if class_weight is not None:
            raise ValueError("`class_weight` must be None: a regression has no classes. Give `sample_weight`.")
        before = self._state()
        reader = self._reader(fitting=True)
        data = reader.prepare(x, y, sample_weight, fitting=True)
        held_out: Prepared | None = None
        validation = None
        if validation_split and validation_data is None:
            data, held_out = split(data, validation_split)
        elif validation_data is not None:
            held_out = reader.prepare_packed(validation_data)
        if reader.schema is not None:
            check_memory(len(reader.schema.feature_names) + self.units)
        try:
            self._adopt(reader.schema)
            run = OnePass(self, data, y, batch_size, callbacks, verbose)
            self._keep("_pass", run)
            if held_out is not None:
                validation = self._batched(held_out, validation_batch_size or batch_size).x
            self._prime()
            with divergence.naming_bad_batches(data), warnings.catch_warnings():
                if steps_per_epoch is None:  # the end of a generator is the end of the data
                    warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
                history = keras.Model.fit(
                    self,
                    run.batches(),
                    epochs=epochs,
                    verbose=verbose,
                    callbacks=callbacks,
                    validation_data=validation,
                    shuffle=False,
                    initial_epoch=initial_epoch,
                    steps_per_epoch=steps_per_epoch,
                    validation_steps=validation_steps,
                    validation_freq=validation_freq,
                )
        except BaseException:
            self._restore(before)
            raise
        finally:
            self._keep("_pass", None)
            self._initial_epoch = None  # where BackupAndRestore left it, the next fit would begin there too
        if not run.finished:  # no epoch was asked for
            self._restore(before)
        return history

    def make_train_function(self, force=False):
        """Let the pass take the batches that Keras's loop draws; a graph would gain nothing."""
        self.train_function = self._train_on_batches

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the mean squared error, in float64; Keras's own way casts any loss to floatx."""
        return SquaredError()(y, y_pred, sample_weight)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Private: under a strategy Keras takes the mean of a batch over the replicas here, to build metrics by, which
        # fails where they have not the same number of rows. They are built already.
        if not (self.built and self._primed):
            super()._maybe_symbolic_build(iterator, data_batch)

    def _prime(self) -> None:
        """Build loss and metrics, by zeros: Keras would build them by what it iterates over."""
        if not self._primed and (len(self.metrics) > 1 or isinstance(self.distribute_strategy, CARRIED)):
            zeros = np.zeros((1, self.units))
            with self._pass.set_aside():
                super().compute_loss(None, zeros, zeros, None)
                self.compute_metrics(None, zeros, zeros, None)
            self.reset_metrics()
            self._keep("_primed", True)

    def _train_on_batches(self, iterator):
        for count in range(self.steps_per_execution):
            try:
                batch = next(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                if count == 0:
                    raise
                break
            self._pass.take(batch)
        return self._pass.logs()

    def get_metrics_result(self):
        """Return loss and metrics; Keras asks at the end of an epoch, which is when the pass ends and is solved."""
        if self._pass is None or self._pass.aside:
            return super().get_metrics_result()
        self._pass.finish()
        return {**super().get_metrics_result(), "loss": self._pass.loss}

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
        """Return the mean squared error, without the penalty, and metrics, as `keras.Model.evaluate`, in float64."""
        options = {"steps": steps, "callbacks": callbacks, "return_dict": return_dict, **kwargs}
        if not kwargs.get("_use_cached_eval_dataset"):  # fit's own call
            self._check_fitted("evaluated")
        self._take_losses_in_float64()
        with contextlib.nullcontext() if self._pass is None else self._pass.set_aside():
            return super().evaluate(x, y, batch_size, verbose, sample_weight, **options)

    def predict_on_batch(self, x):
        """Return the predictions for one batch, a float64 array of shape `(n, units)`."""
        self._check_fitted("asked for predictions")
        return super().predict_on_batch(x)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Return loss and metrics of one batch, as `keras.Model.test_on_batch` does."""
        self._check_fitted("evaluated")
        self._take_losses_in_float64()
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Return the predictions, a float64 array of shape `(n, units)`, for every kind of `x` that `fit` takes."""
        self._check_fitted("asked for predictions")
        return super().predict(x, batch_size, verbose, steps, callbacks)

    def train_on_batch(self, x=None, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """Refuse: a batch is no fit.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "ExactLinearRegression has no train_on_batch: its weights are the solution for all the data at once. Give "
            f"`fit` all batches, add up `Moments` of each, or: {BY_DESCENT}."
        )

    def get_config(self):
        """Return the constructor's arguments."""
        config = super().get_config()
        del config["kernel_initializer"], config["bias_initializer"]
        return {**config, "dependent": self.dependent}

    def load_own_variables(self, store):
        """Set kernel, bias and moments; weights of another model come without moments."""
        super().load_own_variables(store)
        if self._pass is not None:
            self._pass.was_restored = self.moments is not None

    def _batched(self, data: Prepared, batch_size) -> Prepared:
        if is_stream(data.x):
            return data
        return dataclasses.replace(
            data, x=as_dataset(data, batch_rows(data, batch_size), "float64"), y=None, sample_weight=None
        )

    def _take_losses_in_float64(self) -> None:
        """Have `evaluate` take the mean of the losses of its batches in float64; a fit has no need of it."""
        if not self.compiled:
            self.compile()
        if self._loss_tracker.dtype != "float64":
            # Private: Keras has no way to say in which dtype this mean is taken; its own loses half the digits.
            with self.distribute_strategy.scope():
                self._keep("_loss_tracker", keras.metrics.Mean(name="loss", dtype="float64"))

    def _state(self) -> tuple:
        """Return what a fit changes."""
        return self.built, self._schema, self._fit, self.get_weights() if self.built else []

    def _restore(self, state: tuple) -> None:
        """Undo what a fit that failed has changed."""
        built, schema, fit, weights = state
        if built:
            self.set_weights(weights)
        elif self.built:
            # Keras can only build. Its tracker lets variables go, and takes new ones once it is unlocked.
            self._tracker.unlock()
            del self.kernel
            if self.use_bias:
                del self.bias
                self.bias = None
            self.built = False
        self._keep("_schema", schema)
        self._keep("_fit", fit)
