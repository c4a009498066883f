"""Programs that models share: a traced step without its model, called with another model's variables.

To trace and compile a step takes half a second, and leaves megabytes that TensorFlow never frees. Two models of the
same settings and shapes trace the same program, but for the variables that it reads and writes. So a program is kept
under the settings, with the place of each of its variables among the variables of the model. Another model of the same
settings calls it with its own variables in these places.

The settings must be complete: a program of other settings would train the wrong model in silence. They are the state of
the loss, the metrics, the optimizer with its schedule, the regularizer and the dtype policy: all attributes of these
objects, not `get_config()`, which may leave one out; and the penalty and the constraint that a user may have given a
variable. Only objects of Keras's own classes, and our loss, are known so well. A user's class, function, or step keeps
its program private: it may depend on anything.
"""

import collections
import threading
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.losses import SquaredError
from keras_linreg.utils import keras_compat
from keras_linreg.utils.variable_names import build_optimizer

MOST_PROGRAMS = 256  # the one that was not used for longest is forgotten first
PARTS_OF_KERAS = ("losses", "metrics", "optimizers", "regularizers", "constraints", "dtype_policies", "trainers")

Program = Callable[..., dict[str, tf.Tensor]]


class SharingModel(Protocol):
    """A model whose steps may be shared.

    Attributes:
        step_settings: all that its steps depend on beside its variables, or None to keep its programs private.
    """

    units: int
    compute_dtype: str
    optimizer: Any
    metrics: Any
    variables: Any
    trainable_variables: Any

    @property
    def step_settings(self) -> Mapping[str, Any] | None:
        """All that the steps depend on beside the variables, or None."""

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the metrics."""


class NotShareable(Exception):
    """A setting is not known by its attributes alone."""


_programs: collections.OrderedDict[Hashable, tuple[Any, list[int]]] = collections.OrderedDict()
_lock = threading.Lock()


def shared_program(model: SharingModel, key: Hashable, trace: Callable[[], Any]) -> Program:
    """Return the program of a model's step, from another model of the same settings if there is one.

    Args:
        model: built and compiled.
        key: what the program depends on beside the settings: the step, shapes and dtypes of its arguments.
        trace: traces the program with the model's own variables; returns a concrete function of TensorFlow.
    """
    try:
        _settings_key(model, _variables_of(model))  # only metrics of Keras are built on zeros
        _build_metrics(model)
        variables = _variables_of(model)
        whole_key = key, _settings_key(model, variables), _specs(model, variables)
    except NotShareable:
        return trace()
    with _lock:
        entry = _programs.get(whole_key)
        if entry is None:
            concrete = trace()
            places = {id(variable.value.handle): place for place, variable in enumerate(variables)}
            known = [places[id(handle)] for handle in concrete.captured_inputs if id(handle) in places]
            if len(known) < len(concrete.captured_inputs) or len(_variables_of(model)) != len(variables):
                return concrete  # it reads something else, or has made variables
            entry = _programs[whole_key] = keras_compat.program_without_variables(concrete), known
            while len(_programs) > MOST_PROGRAMS:
                _programs.popitem(last=False)
        _programs.move_to_end(whole_key)
    program, captured = entry
    return keras_compat.program_with_variables(program, [variables[place].value.handle for place in captured])


def forget_programs() -> None:
    """Forget all shared programs; models that use one keep it.

    `keras.backend.clear_session()` does not: KerasTuner calls it before each trial, and each would compile anew.
    """
    with _lock:
        _programs.clear()


def _build_metrics(model: SharingModel) -> None:
    """Let the metrics make their variables, as the first step would; the mean of the losses is left alone."""
    unbuilt = [metric for metric in model.metrics if not getattr(metric, "built", True)]
    if not unbuilt:
        return
    zeros = tf.zeros((1, model.units), model.compute_dtype)
    try:
        model.compute_metrics(None, zeros, zeros)
    except Exception as error:  # a metric that does not take zeros
        raise NotShareable from error
    finally:
        for metric in unbuilt:
            metric.reset_state()


def _variables_of(model: SharingModel) -> list[keras.Variable]:
    """Return the variables that a step may read or write, in an order that models of the same settings share."""
    build_optimizer(model)
    optimizer = model.optimizer
    variables = [*model.variables, *(() if optimizer is None else optimizer.variables)]
    inner = getattr(optimizer, "inner_optimizer", None)
    variables += [] if inner is None else inner.variables
    variables += [variable for metric in model.metrics for variable in metric.variables]
    return list({id(variable): variable for variable in variables}.values())


def _specs(model: SharingModel, variables: Sequence[keras.Variable]) -> Hashable:
    """Return all that a step depends on of the variables, but their values.

    Raises:
        NotShareable: it cannot be told.
    """
    return tuple(
        (
            *(tuple(variable.shape), str(variable.dtype), variable.trainable, variable.value.device),
            variable.overwrite_with_gradient,
            _state(variable.constraint, {}),
            "own" if _is_own_method(variable.regularizer, model) else _state(variable.regularizer, {}),
        )
        for variable in variables
    )


def _is_own_method(function: Any, model: SharingModel) -> bool:
    """Return whether a function is a method of the model: the settings tell all that it reads."""
    return isinstance(function, types.MethodType) and function.__self__ is model


def _settings_key(model: SharingModel, variables: Sequence[keras.Variable]) -> Hashable:
    """Return the state of everything that a step depends on beside the variables' values.

    Raises:
        NotShareable: it cannot be told.
    """
    settings = model.step_settings
    if settings is None:
        raise NotShareable
    places = {id(variable): place for place, variable in enumerate(variables)}
    backend = (
        keras.config.floatx(),
        keras.config.epsilon(),
        tf.config.experimental.tensor_float_32_execution_enabled(),
    )
    return backend, tuple((name, _state(value, places)) for name, value in settings.items())


def _state(value: Any, places: Mapping[int, int]) -> Hashable:
    """Return a hashable value that tells two states apart: numbers by value and type, variables by their place.

    Raises:
        NotShareable: the value is of a class that is not known.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return type(value).__name__, repr(value)  # nan equals itself so, and 0.0 is not -0.0
    if isinstance(value, keras.Variable):
        if id(value) not in places:
            raise NotShareable
        return "variable", places[id(value)]
    if isinstance(value, list | tuple):
        return "sequence", *(_state(part, places) for part in value)
    if isinstance(value, Mapping):
        return "mapping", *((_state(name, places), _state(part, places)) for name, part in value.items())
    if isinstance(value, np.generic):
        return "number", value.dtype.str, value.tobytes()
    if isinstance(value, types.FunctionType):
        if keras_compat.part_of_keras(value) not in PARTS_OF_KERAS or value.__closure__:
            raise NotShareable  # a user's function may read anything
        return "function", value
    if type(value) is not SquaredError and keras_compat.part_of_keras(type(value)) not in PARTS_OF_KERAS:
        raise NotShareable
    state = keras_compat.state_of_instance(value)
    return "instance", type(value), *((name, _state(part, places)) for name, part in sorted(state.items()))
