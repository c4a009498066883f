"""LinearModel: what every linear model of this package shares around its train step."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_linreg import divergence, export, loop
from keras_linreg.data import Prepared, Reader, Schema, checked_names, is_sparse, is_stream, preprocessing, split
from keras_linreg.inference import check_level
from keras_linreg.losses import SquaredError

MOMENTS = "moments_"  # begins the names of what a file of weights holds of an exact model's moments


class LinearModel(keras.Model):
    """The layer x @ kernel + bias as a Keras model: its data, its names, its preprocessor, saving and export.

    Abstract: a subclass says how it is trained.
    """

    trained_by_gradients = True  # whether an optimizer, an outer model's too, is to move the weights

    def __init__(
        self,
        units=1,
        use_bias=True,
        kernel_initializer="zeros",
        bias_initializer="zeros",
        kernel_regularizer=None,
        feature_names=None,
        preprocessor=None,
        **kwargs,
    ):
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
            raise ValueError(f"`units` must be a positive integer. Received: units={units!r}.")
        preprocessing.check(preprocessor)
        super().__init__(**kwargs)
        self.units = int(units)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        # Keras would track a layer that is set the plain way, and train it; and wrap a list.
        self._keep("_preprocessor", preprocessor)
        self._keep("_given_names", checked_names(feature_names))
        self._keep("_schema", None)
        self._keep("_watch", None)
        self._keep("_functions", {})
        self._keep("_short_fits", {})
        self._keep("_may_be_compiled", True)
        self.bias = None
        self.supports_masking = True

    def _keep(self, name, value):
        """Set an attribute that is no state of the layer."""
        object.__setattr__(self, name, value)

    @property
    def preprocessor(self):
        """The FeatureSpace, layer or model from the user's columns to the design, or `None`."""
        return self._preprocessor

    @property
    def feature_names(self):
        """The names of the design's columns, in the kernel's order: a list, `None` before the model is built."""
        return None if self._schema is None else list(self._schema.feature_names)

    @property
    def schema(self):
        """The inputs that the model was built on (`keras_linreg.data.Schema`), `None` before it is built."""
        return self._schema

    # The layer

    def build(self, input_shape):
        """Create kernel and bias for inputs of shape `(batch, features)`, or `(batch,)` for one feature."""
        width = 1 if len(input_shape) == 1 else input_shape[-1]
        if width is None:
            raise ValueError(f"The number of columns of `x` must be known. Received: shape {tuple(input_shape)}.")
        if self._schema is None:
            if self._given_names and len(self._given_names) != width:
                raise ValueError(
                    f"`feature_names` must name each of the {width} columns of the design. "
                    f"Received: {list(self._given_names)}."
                )
            self._keep("_schema", Schema.of_matrix(width, self._given_names))
        self._keep("_width", width)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(width, self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            trainable=self.trained_by_gradients,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                trainable=self.trained_by_gradients,
            )
        self.built = True

    def call(self, inputs):
        """Return `inputs @ kernel + bias`, of shape `(batch, units)`; the preprocessor is not part of it."""
        if len(inputs.shape) == 1:
            inputs = ops.expand_dims(inputs, -1)
        if inputs.shape[-1] not in (None, self.kernel.shape[0]):
            raise ValueError(
                f"`x` must have the {self.kernel.shape[0]} columns that {self.name!r} was built on. "
                f"Received: shape {tuple(inputs.shape)}."
            )
        y_pred = ops.matmul(inputs, self.kernel)
        return y_pred if self.bias is None else ops.add(y_pred, self.bias)

    def compute_output_shape(self, input_shape):
        """Return the shape of the predictions for inputs of `input_shape`."""
        return (*(input_shape if len(input_shape) == 1 else input_shape[:-1]), self.units)

    # Compiling

    @property
    def steps_per_execution(self):
        """The steps of one execution: what `compile` was given; in a loop, as many as that takes at once."""
        run = loop.running(self)
        return self._steps_per_execution if run is None else run.block

    @steps_per_execution.setter
    def steps_per_execution(self, steps):
        self._keep("_steps_per_execution", steps)

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
        """Configure training; `compile()` alone takes `keras.optimizers.SGD(0.01)` and `keras_linreg.SquaredError()`.

        Args:
            optimizer: any Keras optimizer or its name.
            loss: any Keras loss, its name, or a function `(y_true, y_pred)`.
            loss_weights, metrics, weighted_metrics, run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as
                in `keras.Model.compile`.
        """
        self._keep("_functions", {})
        self._keep("_short_fits", {})
        self._keep("_may_be_compiled", jit_compile is not False)
        super().compile(
            optimizer=keras.optimizers.SGD(learning_rate=0.01) if optimizer is None else optimizer,
            loss=SquaredError() if loss is None else loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )

    def compile_from_config(self, config):
        """Compile as the saved model was; Keras leaves it out where a class has a `compile` of its own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    # Data

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
        """Train as `keras.Model.fit` does, with the same arguments, on more kinds of data, and faster where it can.

        Blocks of steps run in one compiled call. Of arrays, frames, dicts and tensors: an epoch; an array is not copied
        whole (columns of a frame or dict are put together once): its rows are brought into their order and floatx a few
        megabytes at a time, or gathered in the loop; sparse rows are written out so, where a step of them makes no more
        than a million numbers. Of datasets, PyDatasets and generators of dense batches: what a few megabytes hold of
        them, or half a second brings. Of an evaluation of arrays between epochs: all. Where a callback (or a KerasTuner
        tuner of your own) watches batches: one; with `steps_per_execution`: as many.

        Keras's own loop takes the steps of wider sparse data, strategies, `run_eagerly`, arrays with `class_weight`,
        `steps_per_epoch` or `shuffle="batch"`, a `train_step` (in evaluations a `test_step`) of a subclass's own, steps
        of more than 32 million numbers, and fits that would end before they were compiled. The results are the same, to
        rounding.

        Args:
            x: array `(n, p)` or `(n,)`, tensor, sparse tensor or matrix, frame, Series, dict of columns; or a
                `tf.data.Dataset`, `PyDataset` or generator of `(x, y)` or `(x, y, sample_weight)` batches. With a
                preprocessor, whatever that takes: data in memory pass it once, whole; streams batch by batch.
            y: array, Series or frame of shape `(n,)`, `(n, 1)` or `(n, units)`; `None` for a stream.
            validation_data: as `x`, or a tuple `(x, y)` or `(x, y, sample_weight)` of arrays.
            sample_weight: array `(n,)`, finite, not negative, not all zero.
            batch_size, epochs, verbose, callbacks, validation_split, shuffle, class_weight, initial_epoch,
                steps_per_epoch, validation_steps, validation_batch_size, validation_freq: as in `keras.Model.fit`.

        Returns:
            The `keras.callbacks.History` of losses and metrics.

        Raises:
            ValueError: on data that cannot be fitted (names, shapes, types, NaN, infinity); the model is as it was.
            FloatingPointError: when the loss stops being finite on finite data: the learning rate is too large. The
                weights are the last ones whose loss was finite (with `steps_per_execution`, from before a call). A
                `keras.callbacks.TerminateOnNaN` ends the fit in its own way instead.
        """
        self._assert_compile_called("fit")
        reader = self._reader(fitting=True)
        data = reader.prepare(x, y, sample_weight, fitting=True)
        held_out = None if validation_data is None else prepare_data(reader, validation_data)
        if not self.built and reader.schema is not None and data.y is not None:
            # Once built, a model cannot be unbuilt when the loss tells.
            divergence.refuse_bad_numbers(data, self.compute_dtype, reader.schema.feature_names)
        if self.jit_compile and is_sparse(data.x):
            raise ValueError(
                "`jit_compile` must be False for a sparse `x`, of which XLA knows nothing. Received: True."
            )
        rows = data
        if validation_split and held_out is None and not (is_stream(data.x) or is_sparse(data.x)):
            rows, held_out = split(data, validation_split)
        known = self._schema
        self._adopt(reader.schema)
        options = {
            "batch_size": batch_size,
            "epochs": epochs,
            "verbose": verbose,
            "callbacks": callbacks,
            "shuffle": shuffle,
            "class_weight": class_weight,
            "initial_epoch": initial_epoch,
            "steps_per_epoch": steps_per_epoch,
        }
        with divergence.watching(self, data, callbacks, known):
            run = loop.plan(self, rows, options)
            given = {"x": rows.x, "y": rows.y, "sample_weight": rows.sample_weight}
            options["shuffle"] = shuffle if data.can_shuffle else False
            validation = {
                "validation_split": validation_split,
                "validation_data": None if held_out is None else held_out.packed,
                "validation_steps": validation_steps,
                "validation_batch_size": validation_batch_size or batch_size,
                "validation_freq": validation_freq,
            }
            if run is not None and held_out is not None:
                run.evaluation = loop.plan_validation(self, held_out, options | validation)
            if run is not None:
                given, options, validation = given | run.given, options | run.options, validation | run.validation
            with loop.taking(self, run):
                return super().fit(**given, **options, **validation)

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
        self._assert_compile_called("evaluate")
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
        inputs = loop.plan_prediction(self, data, asked, self._dense_dtype)
        given = {"x": self._batched(data, batch_size).x} if inputs is None else inputs.given
        with loop.paused(self), loop.handing(self, inputs), divergence.naming_bad_batches(data):
            return super().predict(**asked | given, verbose=verbose)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """Take one step on one batch, as `keras.Model.train_on_batch` does."""
        self._assert_compile_called("train_on_batch")
        data = self._prepare(x, y, sample_weight)
        with loop.paused(self), divergence.watching(self, data, callbacks=None):
            return super().train_on_batch(data.x, data.y, data.sample_weight, class_weight, return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Return loss and metrics of one batch, as `keras.Model.test_on_batch` does."""
        self._assert_compile_called("test_on_batch")
        data = self._prepare(x, y, sample_weight)
        with loop.paused(self):
            return super().test_on_batch(data.x, data.y, data.sample_weight, return_dict)

    def predict_on_batch(self, x):
        """Return the predictions for one batch, an array of shape `(n, units)`."""
        data = self._prepare(x, targets=False)
        with loop.handing(self, None):
            return super().predict_on_batch(data.x)

    def report(self, *args, **kwargs):
        """Refuse: weights that were descended to have no standard errors."""
        raise self._has_no_errors("report")

    def predict_interval(self, *args, **kwargs):
        """Refuse: weights that were descended to have no standard errors."""
        raise self._has_no_errors("predict_interval")

    def diagnose(self, *args, **kwargs):
        """Refuse: weights that were descended to have no standard errors."""
        raise self._has_no_errors("diagnose")

    def _has_no_errors(self, method: str) -> ValueError:
        return ValueError(
            f"`{method}` must be called on a model that was fitted exactly: weights that gradient descent has stopped "
            "at have no standard errors. Fit keras_linreg.ExactLinearRegression on the same data, or take "
            "keras_linreg.RegressionReport.from_moments(keras_linreg.Moments.from_data(x, y)). "
            f"Received: a {type(self).__name__}."
        )

    def _reader(self, fitting: bool = False) -> Reader:
        # A model of nameless columns learns their names from the data that it is fitted on, built already or not.
        known = None if fitting and self._is_nameless else self._schema
        return Reader(self.units, self._array_dtype, self._given_names, self._preprocessor, known)

    @property
    def _is_nameless(self) -> bool:
        return not (self._schema is None or self._schema.named or self._given_names or self._preprocessor)

    @property
    def _array_dtype(self) -> str:
        return keras.config.floatx()

    @property
    def _dense_dtype(self) -> str | None:
        """In which numbers of arrays are predicted of, `None` for what Keras makes of them: floats in floatx."""
        return None

    def _prepare(self, x, y=None, sample_weight=None, targets=True):
        reader = self._reader()
        data = reader.prepare(x, y, sample_weight, targets)
        self._adopt(reader.schema)
        return data

    def _batched(self, data: Prepared, batch_size) -> Prepared:
        """Return prepared data as Keras is given them; Keras cuts arrays into batches, and casts them to floatx."""
        return data

    def _adopt(self, schema):
        """Build the model on what was learned of the data, or take over the names if it is built."""
        if schema is None:
            return
        if self.built:
            width = len(schema.feature_names)
            if width != self._width:
                raise ValueError(
                    f"`x` must have the {self._width} columns that the model was built on. Received: {width} columns."
                )
            self._keep("_schema", schema)
        else:
            self._keep("_schema", schema)
            with self.distribute_strategy.scope():
                self.build((None, len(schema.feature_names)))

    # Training

    train_function: Any
    test_function: Any
    predict_function: Any

    def make_train_function(self, force=False):
        """Compile the train step as Keras does, and look at the loss of each call."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = loop.taken(self, divergence.watched(self, self.train_function), watched=True)

    def make_test_function(self, force=False):
        """Compile the test step as Keras does; a loop may take it in its place."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = loop.taken(self, self.test_function, watched=False)

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

    @property
    def _calls_are_ours(self) -> bool:
        """Whether the layer is known to return none of what it is given, as a subclass's own `call` may."""
        return type(self).call.__module__.startswith("keras_linreg.")

    @property
    def _steps_are_ours(self) -> bool:
        """Whether the train step is known to be one that compiles."""
        return False

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Update the metrics and return their results, as `keras.Model.compute_metrics` does, for `y` of any rank."""
        if getattr(getattr(y, "shape", None), "rank", 0) is None:  # traced for (n,) and (n, 1) alike
            y = ops.reshape(y, ops.shape(y_pred))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def track_loss(self, loss, rows):
        """Add the loss of a batch of so many rows to the mean that `fit` reports."""
        # A strategy has divided the loss by its replicas, so that their gradients add up.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        loss = loss * replicas if replicas > 1 else loss
        next(metric for metric in self.metrics if metric.name == "loss").update_state(loss, sample_weight=rows)

    # Saving

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "feature_names": None if self._given_names is None else list(self._given_names),
            "preprocessor": keras.saving.serialize_keras_object(self._preprocessor),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return a model with the arguments that `get_config` returned."""
        given = config.get("preprocessor")
        preprocessor = keras.saving.deserialize_keras_object(given, custom_objects=custom_objects)
        return cls(**{**config, "preprocessor": preprocessor})

    def get_build_config(self):
        """Return what the model learned of its inputs when it was built."""
        if not self.built:
            return None
        return {
            "input_shape": [None, self._width],
            "schema": None if self._schema is None else self._schema.to_config(),
        }

    def build_from_config(self, config):
        """Build the model on the inputs that `get_build_config` returned."""
        if config:
            if config.get("schema"):
                self._keep("_schema", Schema.from_config(config["schema"]))
            self.build(tuple(config["input_shape"]))
            if self.compiled and self.optimizer is not None:
                self.optimizer.build(self.trainable_variables)  # so that saved weights find its variables

    def load_own_variables(self, store):
        """Set kernel and bias; what an exact model's file holds besides is passed over."""
        own = [key for key in list(store.keys()) if not key.startswith(MOMENTS)]
        super().load_own_variables({key: store[key] for key in own})

    # Serving

    def export(
        self,
        filepath,
        format="tf_saved_model",
        verbose=None,
        input_signature=None,
        input_dtype="float32",
        level=0.95,
        **kwargs,
    ):
        """Write the model for serving, as one SavedModel (or in another format of `keras.Model.export`).

        Signatures, each of a batch of rows:

        - `serving_default`: what the model was trained on, `features` `[batch, p]` or one input `[batch]` a column, by
          its own name ("fixed acidity", "größe") -> `predictions`, float32 `[batch, units]`.
        - `examples`: serialized `tf.Example`s of the columns, or of `features` -> `predictions`.
        - `regress`, of one unit: the same as `inputs` -> `outputs`, float32 `[batch]`; for the Regress call.
        - `predict_interval`, of an exact fit: as `serving_default` -> `mean`, `mean_se`, `mean_ci_lower`,
          `mean_ci_upper`, `obs_ci_lower`, `obs_ci_upper`, `leverage`, as `ExactLinearRegression.predict_interval`
          returns them, in float32. A leverage above 3 * rank / nobs, or above the largest of the training data, says
          that a row lies far from what the model has seen.
        - `predict_interval_at`: the same with a `level`, float64 `[batch]`.

        Columns are strings or integers where the preprocessor takes such. Beside the graph, `keras_linreg.json` says
        what the model takes, what it was trained on, and a hash of its files.

        Args:
            filepath: the folder to write; what it held is replaced once everything is written.
            format: `"tf_saved_model"`, or one of Keras's others (`"onnx"`, `"openvino"`, `"litert"`), which go their
                own way: one input, the design (without the preprocessor), and predictions.
            verbose: whether to print what the signatures take (default: yes).
            input_signature: for Keras's other formats only.
            input_dtype: in which numbers are taken, `"float32"` or `"float64"`; `tf.Example` holds float32 alone.
            level: the coverage of `predict_interval`, between 0 and 1.
            **kwargs: for Keras's other formats only.

        Raises:
            ValueError: when the model has not been built.

        Warns:
            UserWarning: an exact fit was of float64 columns that float32 would spoil.
        """
        if not self.built or self._schema is None:
            raise ValueError("The model must be built before it is exported: fit it first, or call it on some data.")
        export.check_input_dtype(input_dtype)
        level = check_level(level)
        if format != "tf_saved_model":
            if (input_dtype, level) != ("float32", 0.95):
                raise ValueError(
                    "`input_dtype` and `level` apply to format='tf_saved_model' alone. "
                    f"Received: input_dtype={input_dtype!r}, level={level}, format={format!r}."
                )
            self(ops.zeros((1, self._width), self.compute_dtype))  # Keras wants to have seen a call
            return super().export(filepath, format, verbose, input_signature, **kwargs)
        if input_signature is not None or kwargs:
            raise ValueError(
                "`input_signature` and further arguments do not apply to format='tf_saved_model': the signature is "
                f"made of the columns the model was trained on. Received: input_signature={input_signature}, {kwargs}."
            )
        options = {"input_dtype": input_dtype, "level": level, "verbose": verbose is None or bool(verbose)}
        export.write(self, filepath, *self._what_it_learned(), **options)

    def _what_it_learned(self) -> tuple:
        """Return moments and estimate, each of them `None` where it is not known."""
        return None, None


def prepare_data(reader: Reader, data, argument: str = "validation_data") -> Prepared:
    """Return the user's data, a stream or a tuple, prepared."""
    if isinstance(data, (tuple, list)) and len(data) == 1 and is_stream(data[0]):
        data = data[0]
    if isinstance(data, (tuple, list)):
        if len(data) not in (2, 3):
            raise ValueError(
                f"`{argument}` must be (x, y), (x, y, sample_weight) or a stream. Received: {len(data)} elements."
            )
        return reader.prepare(*data)
    if not is_stream(data):
        raise ValueError(
            f"`{argument}` must be (x, y), (x, y, sample_weight) or a stream. Received: {type(data).__name__}."
        )
    return reader.prepare(data)
