"""LinearModel: the layer under Keras's fit, evaluate and predict."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_linreg.data import Prepared, is_sparse, is_stream, split, written_out
from keras_linreg.losses import SquaredError
from keras_linreg.models.layer import Linear
from keras_linreg.training import divergence, loop


class LinearModel(Linear):
    """A linear model that Keras's loops fit, evaluate and predict with, on more kinds of data, and faster.

    Abstract: a subclass says what a step is.
    """

    # In which numbers of arrays are predicted of; `None`: as Keras makes them, floats in floatx.
    dense_dtype: str | None = None

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
        self._keep("_loop_memory", loop.Memory(jit_compile is not False))
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

    # Fitting, evaluating, predicting

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
        held_out = None if validation_data is None else reader.prepare_packed(validation_data)
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
        inputs = loop.plan_prediction(self, data, asked, self.dense_dtype)
        given = {"x": self._batched(data, batch_size).x} if inputs is None else inputs.given
        with loop.paused(self), loop.handing(self, inputs), divergence.naming_bad_batches(data):
            return super().predict(**asked | given, verbose=verbose)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """Take one step on one batch, as `keras.Model.train_on_batch` does."""
        self._assert_compile_called("train_on_batch")
        data = self._prepare(x, y, sample_weight)
        with loop.paused(self), divergence.watching(self, data, callbacks=None):
            return super().train_on_batch(written_out(data.x), data.y, data.sample_weight, class_weight, return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Return loss and metrics of one batch, as `keras.Model.test_on_batch` does."""
        self._assert_compile_called("test_on_batch")
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

    # What Keras's loops call

    train_function: Any
    test_function: Any
    predict_function: Any

    def make_train_function(self, force=False):
        """Compile the train step as Keras does, and look at the loss of each call."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = loop.taken(self, divergence.watched(self, self.train_function), divergence.watch_of)

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

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Private: Keras builds loss and metrics here, by what it iterates over, which a loop's is not.
        run = loop.running(self)
        example = None if run is None or run.aside else run.example()
        if example is not None:
            iterator, data_batch = None, example
        super()._maybe_symbolic_build(iterator, data_batch)

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

    def track_loss(self, loss, rows):
        """Add the loss of a batch of so many rows to the mean that `fit` reports."""
        # A strategy has divided the loss by its replicas, so that their gradients add up.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        loss = loss * replicas if replicas > 1 else loss
        next(metric for metric in self.metrics if metric.name == "loss").update_state(loss, sample_weight=rows)
