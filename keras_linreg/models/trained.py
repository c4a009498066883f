"""TrainedModel: a linear model whose weights are trained step by step, by Keras's fit and train_on_batch."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data import Prepared, Rows, SparseRows
from keras_linreg.data.arrow_source import ArrowSource, data_of_fit
from keras_linreg.losses import SquaredError
from keras_linreg.models.call_arguments import check_call, validation_epochs
from keras_linreg.models.learning_fit import learning_fit
from keras_linreg.models.linear_model import LinearModel, one_batch
from keras_linreg.training import divergence, loop
from keras_linreg.utils import keras_compat
from keras_linreg.utils.types import Data
from keras_linreg.utils.variable_names import shared_names

STEP_METHODS = (
    "call",
    "train_step",
    "test_step",
    "compute_loss",
    "compute_metrics",
    "track_loss",
    "get_metrics_result",
    "reset_metrics",
)


class TrainedModel(LinearModel):
    """A linear model that Keras's `fit` trains, on more kinds of data, and faster.

    Abstract: a subclass says what a step is, in `train_step`.
    """

    # Compiling

    @property
    def steps_per_execution(self) -> int:
        """The steps of one call, as in `compile`; while a loop runs, the steps of its blocks."""
        block_loop = loop.started_loop(self)
        return self._steps_per_execution if block_loop is None else block_loop.block_steps

    @steps_per_execution.setter
    def steps_per_execution(self, steps: int) -> None:
        self._set_untracked("_steps_per_execution", steps)

    def compile(
        self,
        optimizer: Any = None,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configure training; the defaults are `keras.optimizers.SGD(0.01)` and `keras_linreg.SquaredError()`.

        `fit` and `train_on_batch` compile a model with the defaults if it is not compiled.

        Args:
            optimizer: any Keras optimizer or its name.
            loss: any Keras loss, its name, or a function `(y_true, y_pred)`.
            loss_weights, metrics, weighted_metrics, run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as
                in `keras.Model.compile`.
        """
        check_call(
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        loss = SquaredError() if loss is None else loss
        self._set_untracked("step_cache", loop.StepCache(use_xla=jit_compile is not False))
        self._set_untracked("_compiled_with", {"loss": loss, "loss_weights": loss_weights})
        with shared_names():
            super().compile(
                optimizer=keras.optimizers.SGD(learning_rate=0.01) if optimizer is None else optimizer,
                loss=loss,
                loss_weights=loss_weights,
                metrics=metrics,
                weighted_metrics=weighted_metrics,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )

    @property
    def step_settings(self) -> dict[str, Any] | None:
        """All that a step depends on beside variables and data; `None` for a subclass, or a step of the user's."""
        is_own_class = keras_compat.is_package_class(type(self))
        if not is_own_class or any(name in vars(self) for name in STEP_METHODS):
            return None
        loss = self._compiled_with["loss"]
        return {
            **self._compiled_with,
            "loss of that name": keras.losses.get(loss) if isinstance(loss, str) else None,
            "metrics": self.metrics,
            "optimizer": self.optimizer,
            "kernel_regularizer": self.kernel_regularizer,
            "activity_regularizer": self.activity_regularizer,
            "dtype_policy": self.dtype_policy,
            "kind": type(self).__name__,
            "trainable": self.trainable,
            "units": self.units,
            "use_bias": self.use_bias,
        }

    @property
    def losses(self) -> list[Any]:
        """The penalties, in the dtype that Keras computes the loss in: it adds them up without a cast."""
        return [keras.ops.cast(penalty, keras.config.floatx()) for penalty in super().losses]

    def as_optimized(self, design: Any) -> Any:
        """Return a design, an array or of scipy.sparse, as the optimizer sees it: as it is."""
        return design

    def _compile_if_needed(self) -> None:
        if not self.compiled:
            with self.distribute_strategy.scope():  # the optimizer makes variables
                self.compile()

    # Training

    @learning_fit
    def fit(
        self,
        x: Data = None,
        y: Data = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Data = None,
        shuffle: bool | str = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Data = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
        target: Any = None,
    ) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does, with the same arguments, on more kinds of data, and faster if possible.

        Many steps, a block, run in one compiled call:

        - Arrays, frames, dicts and tensors: an epoch. An array is not copied whole; its rows are brought into order and
          into floatx a few megabytes at a time, or gathered inside the block. Columns of a frame or dict are put
          together once. Sparse rows are made dense a few megabytes at a time, if a step of them has at most a million
          numbers.
        - Datasets, PyDatasets and generators of dense batches: the steps of a few megabytes, or of half a second.
        - Evaluations of arrays between epochs: the whole evaluation.
        - With `steps_per_execution`: so many steps. If a callback (or your own KerasTuner tuner) watches batches: one.

        Keras's own loop runs wider sparse data, strategies, `run_eagerly`, arrays with `class_weight`,
        `steps_per_epoch` or `shuffle="batch"`, a subclass with its own `train_step` (in evaluations: `test_step`),
        steps of more than 32 million numbers, and fits that would end before a block is compiled. The results are the
        same, to rounding.

        Args:
            x: array `(n, p)` or `(n,)`, tensor, sparse tensor or matrix, frame, Series, dict of columns; or a
                `tf.data.Dataset`, `PyDataset` or generator of `(x, y)` or `(x, y, sample_weight)` batches. With a
                preprocessor, all that it takes: data in memory pass it once, as a whole; streams batch by batch. Or
                the path, folder or glob of Parquet, CSV or Feather files, a dataset or reader of Arrow: `shuffle`
                brings their row groups, and the rows of a buffer, into a random order.
            y: array, Series or frame of shape `(n,)`, `(n, 1)` or `(n, units)`; `None` for a stream.
            validation_data: as `x`, or a tuple `(x, y)` or `(x, y, sample_weight)` of arrays.
            sample_weight: array `(n,)`, finite, not negative, not all zero; of files the name of a column.
            target: the name of the column of y, where x is a table or files; another word for `y="name"`.
            batch_size, epochs, verbose, callbacks, validation_split, shuffle, class_weight, initial_epoch,
                steps_per_epoch, validation_steps, validation_batch_size, validation_freq: as in `keras.Model.fit`.

        Returns:
            The `keras.callbacks.History` of losses and metrics.

        Raises:
            ValueError: the data cannot be fitted (names, shapes, types, NaN, infinity); the model is as it was.
            FloatingPointError: the loss is not finite although the data are: the learning rate is too large. The
                weights are the last ones with a finite loss (with `steps_per_execution`, those before a call). A
                `keras.callbacks.TerminateOnNaN` ends the fit itself instead.
        """
        arguments: dict[str, Any] = {
            "batch_size": batch_size,
            "epochs": epochs,
            "verbose": verbose,
            "callbacks": callbacks,
            "validation_split": validation_split,
            "shuffle": shuffle,
            "class_weight": class_weight,
            "initial_epoch": initial_epoch,
            "steps_per_epoch": steps_per_epoch,
            "validation_steps": validation_steps,
            "validation_batch_size": batch_size if validation_batch_size is None else validation_batch_size,
            "validation_freq": validation_freq,
        }
        check_call(**arguments)
        x, y = data_of_fit(x, y, target, 32 if batch_size is None else batch_size, bool(shuffle))
        if isinstance(x, ArrowSource):
            arguments["batch_size"] = None  # its batches have their size
            if validation_split:
                raise ValueError(
                    "`validation_split` must be 0 where `x` are files: give `validation_data`, as "
                    f'("held_out/*.parquet", "target"). Received: {validation_split}.'
                )
        arguments["validation_freq"] = validation_epochs(validation_freq)
        self._compile_if_needed()
        old_schema, undo_build = self.schema, None if self.built else self._undo_build()
        data, train, held_out = self._prepare_fit(
            x, y, sample_weight, validation_split, validation_data, (steps_per_epoch, validation_steps)
        )
        with divergence.watch_fit(self, data, callbacks, old_schema, undo_build):
            block_loop = loop.plan_fit(self, train, arguments)
            if block_loop is not None and held_out is not None:
                block_loop.validation_loop = loop.plan_validation(self, held_out, arguments)
            arguments |= {
                "x": train.x,
                "y": train.y,
                "sample_weight": train.sample_weight,
                "shuffle": shuffle if data.can_shuffle else False,
                "validation_data": None if held_out is None else held_out.packed,
            }
            arguments |= {} if block_loop is None else block_loop.fit_arguments
            with loop.use_loop(self, block_loop), self._quiet_end_of_data(steps_per_epoch):
                return super().fit(**arguments)

    def _prepare_fit(
        self,
        x: Data,
        y: Data,
        sample_weight: Data,
        validation_split: float,
        validation_data: Data,
        steps: tuple[int | None, int | None],
    ) -> tuple[Prepared, Prepared, Prepared | None]:
        """Return all the data of a fit, the rows to train on, and the rows to validate on; build the model on them."""
        reader = self._reader(fitting=True)
        data = _in_one_array(reader.prepare(x, y, sample_weight, fitting=True, steps=steps[0]))
        held_out = (
            None if validation_data is None else _in_one_array(reader.prepare_packed(validation_data, steps=steps[1]))
        )
        if not self.built and reader.schema is not None and isinstance(data, Rows):
            # Now, because the loss would show them too late: a model cannot be unbuilt.
            divergence.refuse_bad_numbers(data, self.compute_dtype, reader.schema.feature_names)
        if self.jit_compile and isinstance(data, SparseRows):
            raise ValueError(
                "`jit_compile` must be False for a sparse `x`: XLA does not know sparse tensors. Received: True."
            )
        train = data
        if validation_split and held_out is None and isinstance(data, Rows) and not isinstance(data, SparseRows):
            train, held_out = data.split(validation_split)
        self.adopt_schema(reader.schema)
        return data, train, held_out

    def _undo_build(self) -> Callable[[], None]:
        """Return the function that leaves the model unbuilt, as it is now."""
        variables = None if self.optimizer.built else len(self.optimizer.variables)

        def undo() -> None:
            self.unbuild()
            self.set_schema(None)
            if variables is not None:
                keras_compat.unbuild_optimizer(self.optimizer, variables)
            # What has been compiled so far is of the old weights.
            self.train_function = self.test_function = self.predict_function = None
            self.step_cache.clear()

        return undo

    @contextlib.contextmanager
    def _quiet_end_of_data(self, steps_per_epoch: int | None) -> Iterator[None]:
        """Ignore that a stream has fewer batches than it says: those of rows without a value alone are left out."""
        with warnings.catch_warnings():
            if self.missing == "drop" and steps_per_epoch is None:
                warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
            yield

    def train_on_batch(
        self,
        x: Data,
        y: Data = None,
        sample_weight: Data = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Take one step on one batch, as `keras.Model.train_on_batch` does."""
        check_call(class_weight=class_weight, return_dict=return_dict)
        self._compile_if_needed()
        data = self._prepare(x, y, sample_weight)
        with loop.without_loop(self), divergence.watch_fit(self, data):
            return super().train_on_batch(one_batch(data), data.y, data.sample_weight, class_weight, return_dict)

    # What Keras's loop calls

    train_function: Any  # a function, or None until it is made

    def make_train_function(self, force: bool = False) -> None:
        """Compile the train step as Keras does, in a function that asks the active loop first, and watches the loss."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = loop.loop_train_function(self, self.train_function)

    def track_loss(self, loss: tf.Tensor, rows: tf.Tensor) -> None:
        """Add the loss of a batch of so many rows to the mean that `fit` reports."""
        # A strategy has divided the loss by its replicas, so that their gradients add up.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        loss = loss * replicas if replicas > 1 else loss
        next(metric for metric in self.metrics if metric.name == "loss").update_state(loss, sample_weight=rows)


def _in_one_array(data: Prepared) -> Prepared:
    """Return data whose rows can be drawn in any order: columns of a table are put together once."""
    return data.in_one_array() if isinstance(data, Rows) else data
