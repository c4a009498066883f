"""OnePassModel: Keras's compile and fit of a model that reads the data once, and solves."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, Rows
from keras_linreg.data.arrow_source import data_of_fit
from keras_linreg.losses import SquaredError
from keras_linreg.models.call_arguments import check_call, validation_epochs
from keras_linreg.models.exact_checks import (
    STRATEGIES,
    check_callbacks,
    check_compile,
    check_strategy,
)
from keras_linreg.models.learning_fit import learning_fit
from keras_linreg.models.no_optimizer import NoOptimizer
from keras_linreg.models.one_pass import OnePass
from keras_linreg.models.pass_batches import EndOfFiles, batch_rows
from keras_linreg.models.solved_calls import SolvedCalls
from keras_linreg.moments.checks import check_memory
from keras_linreg.solvers import Penalty
from keras_linreg.training import divergence
from keras_linreg.utils import keras_compat
from keras_linreg.utils.types import Data

NO_OPTIMIZER = NoOptimizer()


class OnePassModel(keras_compat.BuildsMetricsItself, SolvedCalls):
    """A model of moments, whose `fit` makes them in one pass over the data.

    Abstract: a subclass says with which penalty the moments are solved.

    Args:
        penalty, dependent, **kwargs: as for `MomentsModel`.
    """

    def __init__(self, penalty: Penalty, dependent: str, **kwargs: Any):
        super().__init__(penalty, dependent, **kwargs)
        self._set_untracked("_pass", None)
        self._set_untracked("_has_built_metrics", False)
        self.compile()  # so that wrappers that want a compiled model take it

    @property
    def optimizer(self) -> NoOptimizer:
        """The optimizer: there is none, and this says so."""
        return NO_OPTIMIZER

    @optimizer.setter
    def optimizer(self, optimizer: None) -> None:
        """Ignore the None that `keras.Model.compile` sets."""

    def compile(
        self,
        optimizer: None = None,
        loss: Any = None,
        loss_weights: None = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose metrics. There is nothing else to choose, and no need to call this at all.

        Args:
            optimizer: must be `None`.
            loss: `None` or a mean squared error.
            loss_weights: must be `None`.
            metrics, weighted_metrics, run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as in
                `keras.Model.compile`.

        Raises:
            ValueError: an optimizer or another loss is given: least squares has neither.
        """
        check_compile(optimizer, loss, loss_weights)
        check_call(
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
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
        self._set_untracked("_has_built_metrics", False)

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
        shuffle: Any = True,
        class_weight: None = None,
        sample_weight: Data = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
        target: Any = None,
    ) -> keras.callbacks.History:
        """Read the data once, and set the weights to the least-squares solution.

        The first epoch reads the data (with `steps_per_epoch`, its first batches); later epochs change nothing.
        The loss in the logs is the mean squared error, without the penalty, of the solution of the rows so far.
        Metrics of the first epoch are computed batch by batch, with the solution so far, as Keras computes them with
        its weights so far; `evaluate` computes them with the final solution.

        Args:
            x: array `(n, p)` or `(n,)`, tensor, sparse tensor or matrix, frame, Series, dict of columns; or a
                `tf.data.Dataset`, `PyDataset` or generator of `(x, y)` or `(x, y, sample_weight)` batches. float64 is
                kept; other dtypes are accumulated in float64. Or the path, folder or glob of Parquet, CSV or Feather
                files, a dataset or reader of Arrow.
            y: array, Series or frame of shape `(n,)`, `(n, 1)` or `(n, units)`; `None` for a stream.
            batch_size: rows that callbacks see at a time; the answer does not depend on it. `None` takes large batches.
            validation_data: as `x`, or a tuple `(x, y)` or `(x, y, sample_weight)` of arrays.
            sample_weight: array `(n,)`, finite, not negative, not all zero; of files the name of a column. Weight 0 is
                the row left out.
            target: the name of the column of y, where x is a table or files; another word for `y="name"`.
            class_weight: must be `None`.
            shuffle: makes no difference.
            epochs, verbose, callbacks, validation_split, initial_epoch, steps_per_epoch, validation_steps,
                validation_batch_size, validation_freq: as in `keras.Model.fit`.

        Returns:
            The `keras.callbacks.History` of losses and metrics.

        Raises:
            ValueError: on data that cannot be fitted (names, shapes, types, NaN, infinity).
            MemoryError: the columns are too many for their cross-products.

        If an error or Ctrl-C ends the fit early, the model is as it was before.
        """
        options: dict[str, Any] = {
            "epochs": epochs,
            "verbose": verbose,
            "callbacks": callbacks,
            "initial_epoch": initial_epoch,
            "steps_per_epoch": steps_per_epoch,
            "validation_steps": validation_steps,
            "validation_freq": validation_freq,
        }
        check_call(**options, batch_size=batch_size, validation_split=validation_split, shuffle=shuffle)
        check_call(validation_batch_size=validation_batch_size)
        options["validation_freq"] = validation_epochs(validation_freq)
        x, y = data_of_fit(x, y, target, batch_size, shuffle=False)
        self._check_can_fit(callbacks, class_weight)
        before = self._state_of_fit()
        reader = self._reader(fitting=True)
        labels = self.labels_of_rows()
        data = reader.prepare(x, y, sample_weight, fitting=True, groups=labels, steps=steps_per_epoch)
        held_out: Prepared | None = None
        validation = None
        if validation_split and validation_data is None:
            data, held_out = data.split(validation_split)
        elif validation_data is not None:
            held_out = reader.prepare_packed(validation_data, steps=validation_steps)
        if reader.schema is not None:
            check_memory(len(reader.schema.feature_names) + self.units)
        try:
            self.adopt_schema(reader.schema)
            self.begin_pass(data)
            one_pass = OnePass(self, data, batch_size, callbacks, verbose, steps_per_epoch)
            self._set_untracked("_pass", one_pass)
            if held_out is not None:
                validation = self._keras_data(held_out, validation_batch_size or batch_size).x
            self._build_metrics()
            with divergence.explain_bad_batches(data), warnings.catch_warnings():
                if steps_per_epoch is None:  # the end of a generator is the end of the data
                    warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
                history = keras.Model.fit(
                    self, one_pass.source.for_keras(), validation_data=validation, shuffle=False, **options
                )
            if self._pass.has_open_data:
                raise RuntimeError(
                    "Keras ended the first epoch before the data: this version of Keras is not supported."
                )
        except BaseException:
            self._restore(before)
            raise
        finally:
            self._set_untracked("_pass", None)
            keras_compat.forget_initial_epoch(self)
        if not one_pass.is_finished:  # there were no epochs
            self._restore(before)
        return history

    def labels_of_rows(self) -> Data:
        """Return the labels that the reader is to read beside the rows of a fit; None for none."""
        return None

    def begin_pass(self, data: Prepared) -> None:
        """Make ready for the rows of a fit."""

    def _check_can_fit(self, callbacks: Any, class_weight: Any) -> None:
        """Refuse arguments of `fit` that an exact fit has no use for."""
        if self._pass is not None:
            raise RuntimeError("`fit` is running: it cannot be called from its own callbacks.")
        check_strategy(self.distribute_strategy)
        check_callbacks(callbacks)
        if class_weight is not None:
            raise ValueError(
                "`class_weight` must be None: a regression has no classes. Give `sample_weight`. "
                f"Received: class_weight={class_weight!r}."
            )

    def make_train_function(self, force: bool = False) -> None:
        """Let the pass take the batches that Keras's loop draws; a graph would gain nothing."""
        self.train_function = self._train_on_batches

    @property
    def has_built_metrics(self) -> bool:
        """Whether loss and metrics are built."""
        return self.built and self._has_built_metrics

    def _build_metrics(self) -> None:
        """Build loss and metrics on zeros: Keras would build them on the numbers of the batches."""
        if not self._has_built_metrics and (len(self.metrics) > 1 or isinstance(self.distribute_strategy, STRATEGIES)):
            zeros = np.zeros((1, self.units))
            with self._pass.lending_metrics():
                super().compute_loss(None, zeros, zeros, None)
                self.compute_metrics(None, zeros, zeros, None)
            self.reset_metrics()
            self._set_untracked("_has_built_metrics", True)

    def _train_on_batches(self, iterator: Iterator[Any]) -> dict[str, Any]:
        for count in range(self.steps_per_execution):
            if count and self._pass.has_open_data and self._pass.data_have_ended:
                break  # Keras fills the last execution up beyond `steps_per_epoch`
            try:
                self._pass.take(next(iterator))
            except (StopIteration, tf.errors.OutOfRangeError, EndOfFiles):
                self._pass.end_data()
                if count == 0:
                    raise StopIteration from None
                break
        return self._pass.logs()

    def get_metrics_result(self) -> dict[str, Any]:
        """Return loss and metrics. Keras asks for them at the end of the data: then the pass is solved.

        A callback may ask for them earlier: it gets those of the rows so far, and the pass goes on.
        """
        if self._pass is None or self._pass.metrics_are_lent:
            return super().get_metrics_result()
        if not (self._pass.is_finished or self._pass.data_have_ended):
            return self._pass.logs(with_new_loss=True)
        self._pass.finish()
        return {**super().get_metrics_result(), "loss": self._pass.loss}

    def load_own_variables(self, store: Any) -> None:
        """Set kernel, bias and moments from a file of weights; a callback may do so while a fit begins."""
        super().load_own_variables(store)
        if self._pass is not None:
            self._pass.was_restored = self.moments is not None

    def _keras_data(self, data: Prepared, batch_size: int | None) -> Prepared:
        if not isinstance(data, Rows):
            return data
        dataset = data.as_dataset(batch_rows(data, batch_size), "float64")
        return dataclasses.replace(data, x=dataset, y=None, sample_weight=None)

    def _lending_metrics(self) -> contextlib.AbstractContextManager[None]:
        return super()._lending_metrics() if self._pass is None else self._pass.lending_metrics()

    def _state_of_fit(self) -> tuple[Any, ...]:
        """Return all that a fit changes."""
        return self.built, self._schema, self._fitted, self.get_weights() if self.built else []

    def _restore(self, state: tuple[Any, ...]) -> None:
        """Undo what a fit that failed has changed."""
        was_built, schema, fitted, weights = state
        if was_built:
            self.set_weights(weights)
        elif self.built:
            self.unbuild()
        self.set_schema(schema)
        self._keep_fitted(fitted)
