"""Integers that a floating-point dtype does not hold: refused, or warned of, by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.values import EXACT_INTEGERS
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data
from keras_linreg.utils.warnings import warn_user

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")

FLOAT32_INTEGERS = 2**24  # float32 holds every integer up to here, and not the next
INTEGERS_RULE = "must hold integers that float64 holds exactly."
OFFSET_ADVICE = "Subtract an offset, as in column - column.min(), before the numbers become floats."


def largest_integer(array: np.ndarray) -> int:
    """Return the largest absolute value of integers; 0 of an array of other numbers."""
    if array.dtype.kind not in "iu" or not array.size:
        return 0
    return max(int(array.max()), -int(array.min()))


def check_rounding(array: Data, name: str, dtype: str) -> None:
    """Refuse integers that float64 rounds; warn of integers that `dtype` rounds, if it has fewer digits.

    Args:
        array: of any dtype; only integers are looked at.
        name: of the column, for the message, such as "Column 'time' of `x`".
        dtype: of the numbers that the integers become.

    Raises:
        ValueError: `dtype` is float64 and does not hold an integer.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or dtype == "int64":
        return
    largest = largest_integer(array)
    if largest > EXACT_INTEGERS and dtype == "float64":
        floats = array.astype(np.float64)
        fits = floats < float(np.iinfo(array.dtype).max)  # the way back overflows beyond
        rounded = ~fits | (np.where(fits, floats, 0.0).astype(array.dtype) != np.where(fits, array, 0))
        if rounded.any():
            row = int(np.argmax(rounded.reshape(len(rounded), -1).any(axis=1)))
            raise ValueError(
                f"{name} {INTEGERS_RULE} {OFFSET_ADVICE} "
                f"Received: {np.ravel(array[row])[0]} in row {row}, which is beyond 2**53."
            )
    elif largest > FLOAT32_INTEGERS and dtype != "float64":
        warn_user(
            f"{name} holds integers beyond 2**24, which {dtype} rounds: neighbouring values become equal. "
            "Subtract an offset, or scale the column."
        )


def check_whole(values: Data, name: str) -> None:
    """Refuse a number that is missing or no integer, in a column that the preprocessor takes as codes."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        bad = ~(array == np.floor(array)) | np.isinf(array)
        if bad.any():
            row = int(np.argmax(bad.ravel()))
            raise ValueError(
                f"Column {name!r} of `x` must hold integers: the preprocessor takes them as codes. "
                f"Received: {array.ravel()[row]} in row {row}."
            )


def cast_exactly(tensor: Any, dtype: str, name: str) -> Any:
    """Return integers of a graph as floats; an integer that float64 does not hold ends the graph with an error."""
    if dtype != "float64" or tensor.dtype not in (tf.int64, tf.uint64):
        return tf.cast(tensor, dtype)
    floats = tf.cast(tensor, tf.float64)
    is_exact = tf.reduce_all(tf.cast(floats, tensor.dtype) == tensor) & tf.reduce_all(tf.abs(floats) < 2.0**63)
    rule = f"{name} {INTEGERS_RULE} Received: integers beyond 2**53. {OFFSET_ADVICE}"
    with tf.control_dependencies([tf.debugging.Assert(is_exact, [rule])]):
        return tf.identity(floats)
