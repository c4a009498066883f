"""ExactLinearRegression: fit reads the data once, and solves."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_linreg import alerts, diagnostics, divergence, inference, residuals, robust, solvers
from keras_linreg.accumulate import check_memory
from keras_linreg.base import MOMENTS, LinearModel, prepare_data
from keras_linreg.data import (
    Column,
    Prepared,
    Schema,
    as_dataset,
    default_names,
    dense_batches,
    is_stream,
    preprocessing,
    split,
)
from keras_linreg.diagnostics import Diagnostics
from keras_linreg.estimate import Estimate, estimated
from keras_linreg.losses import SquaredError, is_mean_squared_error
from keras_linreg.moments import Moments
from keras_linreg.onepass import OnePass, batch_rows
from keras_linreg.report import RegressionReport

CARRIED = (tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy)
BY_DESCENT = "LinearRegression, trained by gradient descent, takes it"


@keras.saving.register_keras_serializable(package="keras_linreg")
class ExactLinearRegression(LinearModel):
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

    trained_by_gradients = False

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
        l2 = _penalty_of(regularizer)
        solvers.check_dependent(dependent)
        super().__init__(
            units=units,
            use_bias=use_bias,
            kernel_regularizer=regularizer,
            feature_names=feature_names,
            preprocessor=preprocessor,
            **{**kwargs, "dtype": kwargs.get("dtype") or "float64"},
        )
        if (self.compute_dtype, self.variable_dtype) not in (("float64", "float64"), ("float32", "float32")):
            raise ValueError(f"`dtype` must be 'float64' or 'float32'. Received: dtype={kwargs['dtype']!r}.")
        self.dependent = dependent
        self._keep("_l2", l2)
        self._keep("_moments", None)
        self._keep("_solution", None)
        self._keep("_estimate", None)
        self._keep("_pass", None)
        self._keep("_primed", False)

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
        solution = moments.solve(model._l2, dependent, model.use_bias)
        model._keep("_schema", _schema_of(moments, model.preprocessor))
        model.build((None, len(moments.feature_names)))
        if model.preprocessor is not None and not model.schema.named:
            model._keep("_schema", None)  # what the preprocessor takes is learned from the first data
        model._take(moments, solution)
        return model

    @property
    def moments(self) -> Moments | None:
        """What the data of the last finished fit said; `None` before there is one."""
        return self._moments

    @property
    def solution(self) -> solvers.Solution | None:
        """The solution of the moments under this model's penalty and rule; `None` where there are no moments."""
        if self._solution is None and self._moments is not None:
            solution = self._moments.solve(self._l2, self.dependent, self.use_bias, warn=False)  # fit gave them
            self._keep("_solution", solution)
        return self._solution

    def call(self, inputs, training=None):
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if training is True and self._moments is None:
            raise ValueError(
                f"{self.name!r} must be fitted before it is called with training=True: an outer model does not train "
                "it. Call its own `fit` first, or put a LinearRegression in its place."
            )
        return super().call(inputs)

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
        if optimizer is not None:
            raise ValueError(
                f"`optimizer` must be None: the exact solution is computed, not descended to; {BY_DESCENT}. "
                f"Received: optimizer={optimizer!r}."
            )
        if not (loss is None or is_mean_squared_error(loss)) or loss_weights is not None:
            raise ValueError(
                f"`loss` must be the mean squared error, without loss weights; any other loss: {BY_DESCENT}. "
                f"Received: loss={loss!r}, loss_weights={loss_weights!r}."
            )
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
        _check_strategy(self.distribute_strategy)
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
            held_out = prepare_data(reader, validation_data)
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

    def set_weights(self, weights):
        """Set kernel and bias; moments that they are not the solution of are dropped."""
        before = self.get_weights()
        super().set_weights(weights)
        if not all(np.array_equal(old, new) for old, new in zip(before, self.get_weights(), strict=True)):
            self._keep("_moments", None)
            self._keep("_solution", None)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Return the predictions, a float64 array of shape `(n, units)`, for every kind of `x` that `fit` takes."""
        self._check_fitted("asked for predictions")
        return super().predict(x, batch_size, verbose, steps, callbacks)

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
            ValueError: the model is not fitted, or the data are not those of the fit.
        """
        level = inference.check_level(level)
        robust.check(cov_type, data, groups, maxlags)
        found, meat, count = self._estimated(), None, None
        if data is not None:
            meat, count = robust.meat(self._with_errors(), self._rows_of(data), self._slack, cov_type, groups, maxlags)
        return RegressionReport(found, level, cov_type, meat, count, maxlags)

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
        found = self._with_errors()
        return diagnostics.diagnose(found, self._rows_of(data), self._slack, int(k))

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
        level, found = inference.check_level(level), self._with_errors()
        data = self._prepare(x, targets=False)
        with divergence.naming_bad_batches(data):
            parts = list(inference.intervals_by_block(found, dense_batches(data), level))
        if not parts:
            raise ValueError("`x` must hold at least one batch. Received: none.")
        whole = {key: np.concatenate([part[key] for part in parts]) for key in inference.KEYS}
        undetermined = int((np.isnan(whole["leverage"]) & np.isfinite(whole["mean"]).all(axis=1)).sum())
        if undetermined:
            alerts.warn(
                f"{undetermined} rows of `x` have no interval: in the data of the fit, columns depend on others, or on "
                "the intercept, and in these rows they do not."
            )
        return {key: part[:, 0] if part.ndim > 1 and self.units == 1 else part for key, part in whole.items()}

    def train_on_batch(self, x=None, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """Refuse: a batch is no fit.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "ExactLinearRegression has no train_on_batch: its weights are the solution for all the data at once. Give "
            f"`fit` all batches, add up `Moments` of each, or: {BY_DESCENT}."
        )

    def export(self, filepath, *args, **kwargs):
        """Write the fitted model for serving, with its intervals, as described for `LinearRegression.export`."""
        self._check_fitted("exported")
        return super().export(filepath, *args, **kwargs)

    def _what_it_learned(self) -> tuple:
        if self._moments is None:
            return None, None
        found = self._estimated()
        return self._moments, found if found.root is not None and found.df_resid > 0 else None

    def get_config(self):
        """Return the constructor's arguments."""
        config = super().get_config()
        del config["kernel_initializer"], config["bias_initializer"]
        return {**config, "dependent": self.dependent}

    def save_own_variables(self, store):
        """Write kernel, bias and moments."""
        super().save_own_variables(store)
        if self._moments is not None:
            for key, array in self._moments.to_arrays().items():
                store[MOMENTS + key] = array

    def load_own_variables(self, store):
        """Set kernel, bias and moments; weights of another model come without moments."""
        held = {key.removeprefix(MOMENTS): store[key] for key in list(store.keys()) if key.startswith(MOMENTS)}
        moments = Moments.from_arrays(held) if held else None
        super().load_own_variables(store)
        self._keep("_moments", moments)
        self._keep("_solution", None)
        if self._pass is not None:
            self._pass.was_restored = moments is not None

    def _take(self, moments: Moments, solution: solvers.Solution) -> None:
        """Become the model of a solution."""
        self.kernel.assign(solution.kernel)
        if self.bias is not None:
            self.bias.assign(solution.bias)
        self._keep("_moments", moments)
        self._keep("_solution", solution)

    def _estimated(self) -> Estimate:
        solution = self.solution
        if solution is None or self._moments is None:
            raise ValueError("The model must be fitted before it can say how sure it is: call `fit` first.")
        if self._estimate is None or self._estimate[0] is not solution:
            found = estimated(self._moments.statistics, solution, self._moments.dtype)
            self._keep("_estimate", (solution, found))
        return self._estimate[1]

    def _with_errors(self) -> Estimate:
        """Return the estimate where the data tell what the errors are like; refuse others."""
        found = self._estimated()
        inference.refuse_penalty(found)
        if found.df_resid <= 0:
            raise ValueError(
                "There must be more rows than coefficients: what the errors are like, these data do not tell. "
                f"Received: {found.nobs} rows, {found.rank} coefficients."
            )
        return found

    @property
    def _slack(self) -> float:
        return residuals.slack_of(self._moments.dtype, self._estimated().scaled_condition_number)

    def _rows_of(self, data) -> Iterator[tuple]:
        """Yield the batches of the data of the fit, given once more."""
        prepared = prepare_data(self._reader(), data, "data")
        with divergence.naming_bad_batches(prepared):
            yield from dense_batches(prepared)

    @property
    def _array_dtype(self) -> str:
        return "float64"

    @property
    def _dense_dtype(self) -> str:
        return "float64"

    def _batched(self, data: Prepared, batch_size) -> Prepared:
        if is_stream(data.x):
            return data
        return dataclasses.replace(
            data, x=as_dataset(data, batch_rows(data, batch_size), "float64"), y=None, sample_weight=None
        )

    def _check_fitted(self, what: str) -> None:
        if self._moments is None and not any(weight.numpy().any() for weight in self.weights):
            raise ValueError(f"The model must be fitted before it is {what}: call `fit` first.")

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
        return self.built, self._schema, self._moments, self._solution, self.get_weights() if self.built else []

    def _restore(self, state: tuple) -> None:
        """Undo what a fit that failed has changed."""
        built, schema, moments, solution, weights = state
        self._keep("_schema", schema)
        self._keep("_moments", moments)
        self._keep("_solution", solution)
        if built:
            super().set_weights(weights)
        elif self.built:
            # Keras can only build. Its tracker lets variables go, and takes new ones once it is unlocked.
            self._tracker.unlock()
            del self.kernel
            if self.use_bias:
                del self.bias
                self.bias = None
            self.built = False


def _schema_of(moments: Moments, preprocessor) -> Schema:
    """Return the inputs of a model that has seen no data: what a preprocessor declares, or columns with names."""
    names = moments.feature_names
    declared = preprocessing.input_names(preprocessor)
    if declared:
        dtypes = preprocessing.input_dtypes(preprocessor)
        return Schema(tuple(Column(name, dtypes[name]) for name in declared), True, names)
    if preprocessor is not None or names == default_names(len(names)):
        return Schema.of_matrix(len(names), names)
    return Schema(tuple(Column(name, "float32") for name in names), True, names)


def _penalty_of(regularizer) -> float:
    if regularizer is None:
        return 0.0
    kind = type(regularizer)
    if kind is keras.regularizers.L2 or (kind is keras.regularizers.L1L2 and not float(regularizer.l1)):
        return solvers.check_penalty(regularizer.l2)
    raise ValueError(
        f"`kernel_regularizer` must be keras.regularizers.L2, or None; any other: {BY_DESCENT}. "
        f"Received: kernel_regularizer={regularizer!r}."
    )


def _check_strategy(strategy: tf.distribute.Strategy) -> None:
    default = type(strategy).__name__ == "_DefaultDistributionStrategy"
    if not default and not isinstance(strategy, CARRIED):
        raise ValueError(
            "`fit` runs without a strategy or under MirroredStrategy. On several machines, take "
            "keras_linreg.Moments.from_data of each one's rows, add them up, and call "
            f"ExactLinearRegression.from_moments. Received: {type(strategy).__name__}."
        )
