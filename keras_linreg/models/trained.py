"""TrainedModel: a linear model whose weights are trained step by step, by Keras's fit and train_on_batch."""

from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data import is_sparse, is_stream, split, written_out
from keras_linreg.losses import SquaredError
from keras_linreg.models.linear_model import LinearModel
from keras_linreg.training import divergence, loop


class TrainedModel(LinearModel):
    """A linear model that Keras's `fit` trains, on more kinds of data, and faster.

    Abstract: a subclass says what a step is, in `train_step`.
    """

    # Compiling

    @property
    def steps_per_execution(self):
        """The steps of one execution: what `compile` was given; in a loop, as many as that takes at once."""
        run = loop.running(self)
        return self._steps_per_execution if run is None else run.block

    @steps_per_execution.setter
    def steps_per_execution(self, steps):
        self._set_untracked("_steps_per_execution", steps)

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
        self._set_untracked("_loop_memory", loop.Memory(jit_compile is not False))
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

    def _compile_if_needed(self) -> None:
        """Compile with the defaults, unless the user has compiled the model."""
        if not self.compiled:
            with self.distribute_strategy.scope():
                self.compile()

    # Training

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
        self._compile_if_needed()
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
        self.adopt_schema(reader.schema)
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

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """Take one step on one batch, as `keras.Model.train_on_batch` does."""
        self._compile_if_needed()
        data = self._prepare(x, y, sample_weight)
        with loop.paused(self), divergence.watching(self, data, callbacks=None):
            return super().train_on_batch(written_out(data.x), data.y, data.sample_weight, class_weight, return_dict)

    # What Keras's loop calls

    train_function: Any

    def make_train_function(self, force=False):
        """Compile the train step as Keras does, and look at the loss of each call."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = loop.taken(self, divergence.watched(self, self.train_function), divergence.watch_of)

    def track_loss(self, loss, rows):
        """Add the loss of a batch of so many rows to the mean that `fit` reports."""
        # A strategy has divided the loss by its replicas, so that their gradients add up.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        loss = loss * replicas if replicas > 1 else loss
        next(metric for metric in self.metrics if metric.name == "loss").update_state(loss, sample_weight=rows)
