"""Checks of a user's arguments: counts, flags, shares. Each error names the argument, the rule and the value."""

import math
from collections.abc import Collection

import numpy as np

BEYOND = 2**63  # integers from here on are none for TensorFlow


def is_integer(value: object) -> bool:
    """Return whether a value is an integer, of Python or NumPy, and not a boolean."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_count(argument: str, value: object, least: int = 1, optional: bool = True) -> None:
    """Refuse a value that is no integer of at least `least` (nor None, if it is optional).

    Raises:
        ValueError: it is none.
    """
    if (value is None and optional) or (is_integer(value) and least <= value < BEYOND):  # type: ignore[operator]
        return
    rule = "a positive integer" if least == 1 else f"an integer of at least {least}"
    rule += " below 2**63" * (is_integer(value) and value >= BEYOND)  # type: ignore[operator]
    raise ValueError(f"`{argument}` must be {rule}{' or None' * optional}. Received: {argument}={value!r}.")


def check_flag(argument: str, value: object) -> bool:
    """Return True or False; a text such as "no" would count as True.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{argument}` must be True or False. Received: {argument}={value!r}.")
    return bool(value)


def check_choice(argument: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is not one of a few.

    Raises:
        ValueError: it is none of them.
    """
    is_plain = value is None or isinstance(value, str | int | np.integer | np.bool_)
    if not (is_plain and value in choices):
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"`{argument}` must be one of {listed}. Received: {argument}={value!r}.")


def check_share(argument: str, value: object) -> None:
    """Refuse a value that is no number from 0 up to, but not including, 1.

    Raises:
        ValueError: it is none.
    """
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or not math.isfinite(value) or not 0 <= value < 1:  # type: ignore[arg-type, operator]
        raise ValueError(f"`{argument}` must be a number in [0, 1). Received: {argument}={value!r}.")


def check_seconds(argument: str, value: object) -> None:
    """Refuse a value that is no finite number of seconds, 0 or more.

    Raises:
        ValueError: it is none.
    """
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise ValueError(f"`{argument}` must be a number of seconds, 0 or more. Received: {argument}={value!r}.")
