"""A model's weights over a fit, and the sign that it went astray: a loss that is not finite."""

import functools
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_linreg.utils.model_context import PerModel


class NonFiniteLoss(Exception):
    """The loss of a call of the train function was NaN or infinite."""


class Watch:
    """Remembers the weights of a model over a fit, and the optimizer's state before it, so that they can be put back.

    Put back are the weights before the last call whose loss was finite: those of the call that failed may be finite and
    yet too large for any loss.

    A loss of NaN or infinity is the one sign of every trouble, bad data included, and the only one looked for: it costs
    a read of each weight and one comparison a call of the train function, whatever the size of the data.
    """

    def __init__(self, model: keras.Model, schema=None):
        self.model = model
        self.schema = schema or model.schema
        self.weights = model.weights
        self._reads = [reader_of(variable) for variable in self.weights]
        self.optimizer_variables = model.optimizer.variables if model.optimizer.built else []
        self.start = self.latest = self.previous = self._read()
        self.optimizer_start = [reader_of(variable)() for variable in self.optimizer_variables]
        self.calls = 0  # of the train function, or single steps
        self.steps = 0
        self._changed: list = []
        self._reads_of_all: list = []

    def before_step(self) -> None:
        """Keep the weights of the last two calls."""
        self.previous, self.latest = self.latest, self._read()
        self.calls += 1
        self.steps += self.model.steps_per_execution

    def after_step(self, logs) -> None:
        """Stop the fit where the loss, a mean since the epoch began, is not finite."""
        loss = logs.get("loss") if isinstance(logs, dict) else None
        if loss is not None and not math.isfinite(loss):
            raise NonFiniteLoss(str(float(loss)))

    def before_block(self, steps: int) -> tuple:
        """Do as `before_step`, and return all that steps change, to `rewind` to."""
        changed = [*self.weights, *self.optimizer_variables, *self.model.metrics_variables]
        if len(changed) != len(self._changed):
            self._changed, self._reads_of_all = changed, [reader_of(variable) for variable in changed]
        kept = self.latest, self.previous, self.calls, self.steps
        values = [read() for read in self._reads_of_all]
        self.previous, self.latest = self.latest, values[: len(self.weights)]
        self.calls += 1
        self.steps += steps
        return values, *kept

    def rewind(self, kept: tuple) -> None:
        """Make everything what it was before a block."""
        values, self.latest, self.previous, self.calls, self.steps = kept
        _assign(self._changed, values)

    def restore_start(self) -> None:
        """Make the model what it was before the fit."""
        self.model.set_schema(self.schema)
        _assign(self.weights, self.start)
        _assign(self.optimizer_variables, self.optimizer_start)

    def restore_finite(self) -> None:
        """Give the model the last weights of a finite loss; the optimizer's moments, which went astray, start over."""
        _assign(self.weights, self.previous)
        for variable, value in zip(self.optimizer_variables, self.optimizer_start, strict=True):
            if variable.name != "learning_rate":  # the user's, or a callback's
                variable.assign(value)

    def _read(self) -> list[tf.Tensor]:
        return [read() for read in self._reads]


watches = PerModel[Watch]("watches")
watch_of = watches.of


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def reader_of(variable: keras.Variable) -> Callable[[], tf.Tensor]:
    """Return a function that reads a variable; what it returns is not changed by later steps."""
    value = variable.value
    if type(value).__name__ == "ResourceVariable":
        # The op itself: the methods around it cost more than the read, and this is done at every step.
        return functools.partial(tf.raw_ops.ReadVariableOp, resource=value.handle, dtype=value.dtype)
    return functools.partial(tf.identity, value)


def watched(model: keras.Model, function: Callable) -> Callable:
    """Return Keras's train function with the model's watch, if it has one, around each call."""

    def train_function(iterator):
        watch = watch_of(model)
        if watch is None:
            return function(iterator)
        watch.before_step()
        logs = function(iterator)
        watch.after_step(logs)
        return logs

    return train_function
