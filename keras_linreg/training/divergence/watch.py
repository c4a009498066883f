"""Watch: keeps a model's weights during a fit, and notices a loss that is not finite."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data import Schema
from keras_linreg.training.divergence.watched_model import WatchedModel
from keras_linreg.utils.keras_compat import variable_reader
from keras_linreg.utils.model_context import ModelContext


class NonFiniteLoss(Exception):
    """The loss is NaN or infinite after a call of the train function."""


class Watch:
    """Keeps a model's weights during a fit, and the optimizer's state before it, so that they can be restored.

    The watch notices trouble by a loss of NaN or infinity alone: bad data lead to it, too. So it costs a read of each
    weight and one comparison in each call of the train function, however large the data are.

    It restores the weights before the last call whose loss was finite. The weights before the call that failed may be
    finite, and yet too large for a finite loss.

    Args:
        model: built, with its optimizer.
        schema: the inputs that the model took before this fit; by default those that it takes now.

    Attributes:
        start: the values of `weights` before the fit.
        calls: calls of the train function so far, or single steps.
        steps: steps so far.
    """

    def __init__(self, model: WatchedModel, schema: Schema | None = None):
        self.model = model
        self.schema = schema or model.schema
        self.weights = model.weights
        self.optimizer_variables = model.optimizer.variables if model.optimizer.built else []
        self._weight_readers = [variable_reader(variable) for variable in self.weights]
        # The values before the fit, before the last call, and before the call ahead of it.
        self.start = self._latest = self._previous = self._read_weights()
        self._optimizer_start = [variable_reader(variable)() for variable in self.optimizer_variables]
        self.calls = 0
        self.steps = 0
        self._changing_variables: list[keras.Variable] = []
        self._changing_readers: list[Callable[[], tf.Tensor]] = []

    def before_call(self) -> None:
        """Keep the weights before a call of Keras's train function."""
        self._previous, self._latest = self._latest, self._read_weights()
        self.calls += 1
        self.steps += self.model.steps_per_execution

    def after_step(self, logs: Any) -> None:
        """Raise `NonFiniteLoss` if the loss, a mean since the epoch began, is not finite."""
        loss = logs.get("loss") if isinstance(logs, dict) else None
        if loss is not None and not math.isfinite(loss):
            raise NonFiniteLoss(str(float(loss)))

    def before_block(self, steps: int) -> tuple:
        """Keep the weights before a block of steps; return the state of all variables, for `rewind`."""
        variables = [*self.weights, *self.optimizer_variables, *self.model.metrics_variables]
        if len(variables) != len(self._changing_variables):
            self._changing_variables = variables
            self._changing_readers = [variable_reader(variable) for variable in variables]
        counters = self._latest, self._previous, self.calls, self.steps
        values = [read() for read in self._changing_readers]
        self._previous, self._latest = self._latest, values[: len(self.weights)]
        self.calls += 1
        self.steps += steps
        return values, *counters

    def rewind(self, state: tuple) -> None:
        """Undo a block: restore the state that `before_block` has returned."""
        values, self._latest, self._previous, self.calls, self.steps = state
        _assign(self._changing_variables, values)

    def restore_start(self) -> None:
        """Restore the model as it was before the fit."""
        self.model.set_schema(self.schema)
        _assign(self.weights, self.start)
        _assign(self.optimizer_variables, self._optimizer_start)

    def restore_finite(self) -> None:
        """Restore the weights before the last call with a finite loss.

        The optimizer gets its state before the fit, because its momentum has diverged, too; but it keeps the learning
        rate, which the user or a callback has set.
        """
        _assign(self.weights, self._previous)
        for variable, value in zip(self.optimizer_variables, self._optimizer_start, strict=True):
            if variable.name != "learning_rate":
                variable.assign(value)

    def _read_weights(self) -> list[tf.Tensor]:
        return [read() for read in self._weight_readers]


_watches = ModelContext[Watch]("watches")
active_watch = _watches.get
use_watch = _watches.use


def with_watch(model: WatchedModel, keras_function: Callable[..., Any]) -> Callable[..., Any]:
    """Return Keras's train function, with the model's active watch around each call."""

    def train_function(iterator: Iterator) -> Any:
        watch = active_watch(model)
        if watch is None:
            return keras_function(iterator)
        watch.before_call()
        logs = keras_function(iterator)
        watch.after_step(logs)
        return logs

    return train_function


def _assign(variables: Iterable[keras.Variable], values: Iterable[tf.Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
