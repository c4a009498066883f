"""The arguments of compile, fit, evaluate and predict, checked before anything changes: Keras uses many as they are."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_linreg.utils.arguments import check_choice, check_count, check_flag, check_share, is_integer
from keras_linreg.utils.keras_compat import callback_list

LISTS = (list, tuple, set, frozenset, range, np.ndarray)


def check_call(**arguments: Any) -> None:
    """Check those of the arguments of Keras's methods that have a rule; the others pass.

    Raises:
        ValueError: one breaks its rule; the message names it.
    """
    for argument, value in arguments.items():
        if argument in _RULES:
            _RULES[argument](argument, value)


def _check_number_of_epochs(argument: str, value: object) -> None:
    check_count(argument, value, least=0, optional=False)


def _check_steps(argument: str, value: object) -> None:
    check_count(argument, value, optional=False)


def _check_verbose(argument: str, value: object) -> None:
    check_choice(argument, value, ("auto", 0, 1, 2))


def _check_shuffle(argument: str, value: object) -> None:
    check_choice(argument, value, (True, False, "batch"))


def _check_jit(argument: str, value: object) -> None:
    check_choice(argument, value, ("auto", True, False))


def validation_epochs(validation_freq: Any) -> Any:
    """Return a checked `validation_freq` as Keras takes it: an int or a list."""
    return list(validation_freq) if isinstance(validation_freq, LISTS) else int(validation_freq)


def _check_validation_freq(argument: str, value: Any) -> None:
    epochs = list(value) if isinstance(value, LISTS) else [value]
    if not all(is_integer(epoch) and epoch >= 1 for epoch in epochs):
        raise ValueError(
            f"`{argument}` must be a positive integer, or a list of the epochs after which to validate. "
            f"Received: {argument}={value!r}."
        )


def _check_class_weight(argument: str, value: object) -> None:
    is_dict = isinstance(value, Mapping) and all(
        is_integer(label) and isinstance(weight, int | float | np.number) and math.isfinite(weight) and weight >= 0
        for label, weight in value.items()
    )
    if value is not None and not is_dict:
        raise ValueError(
            f"`{argument}` must be a dict of a weight for each integer label, or None. Received: {argument}={value!r}."
        )


def _check_callbacks(argument: str, value: object) -> None:
    for callback in callback_list(value):
        if not hasattr(callback, "set_model") or isinstance(callback, type):
            raise ValueError(f"`{argument}` must be keras.callbacks.Callback objects. Received: {callback!r}.")


_RULES: dict[str, Callable[[str, Any], object]] = {
    "batch_size": check_count,
    "validation_batch_size": check_count,
    "steps_per_epoch": check_count,
    "validation_steps": check_count,
    "steps": check_count,
    "epochs": _check_number_of_epochs,
    "initial_epoch": _check_number_of_epochs,
    "validation_split": check_share,
    "validation_freq": _check_validation_freq,
    "verbose": _check_verbose,
    "shuffle": _check_shuffle,
    "class_weight": _check_class_weight,
    "callbacks": _check_callbacks,
    "return_dict": check_flag,
    "steps_per_execution": _check_steps,
    "run_eagerly": check_flag,
    "jit_compile": _check_jit,
    "auto_scale_loss": check_flag,
}
