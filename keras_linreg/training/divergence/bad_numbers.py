"""Finds numbers in data, or in the weights before a fit, that are NaN, infinite, or too large for their dtype."""

import itertools
import time
from collections.abc import Sequence

import keras
import numpy as np

from keras_linreg.data import Prepared, Rows, first_bad, float_numbers, is_finite
from keras_linreg.data.missing import ADVICE
from keras_linreg.training.divergence.watch import Watch
from keras_linreg.utils.types import Data

MAX_SECONDS = 5.0  # an endless stream would otherwise be read again for as long as it was trained on


def find_in_data(data: Prepared, watch: Watch) -> str | None:
    """Read the training data again, for some seconds; return the error message for the first bad number, or `None`.

    Args:
        data: the training data.
        watch: of the fit; it knows how many batches the fit has seen.
    """
    names = watch.model.feature_names or []
    missing = data.missing_error(watch.model.feature_names) if isinstance(data, Rows) else None
    if missing is not None:
        return str(missing)
    deadline = time.monotonic() + MAX_SECONDS
    for number, x, y, sample_weight in itertools.islice(data.again(), 1 + watch.steps):
        if time.monotonic() > deadline:
            break
        message = _bad_number_message(number, x, y, sample_weight, watch.model.compute_dtype, names)
        if message:
            return message
    return None


def refuse_bad_numbers(data: Rows, dtype: str, names: Sequence[str]) -> None:
    """Check data in memory before a model is built on them.

    Args:
        data: rows in memory.
        dtype: the dtype in which the model computes.
        names: of the columns of `x`.

    Raises:
        ValueError: a number of `x` or `y` is NaN, infinite, or too large for its dtype.
    """
    x, y, sample_weight = data.parts
    with np.errstate(over="ignore"):
        if is_finite(x, dtype) and is_finite(y, keras.config.floatx()):
            return
        missing = data.missing_error(names)
        if missing is not None:
            raise missing
        message = _bad_number_message(None, x, y, sample_weight, dtype, names)
    if message:
        raise ValueError(message)


def find_in_start_weights(watch: Watch) -> str | None:
    """Return the error message for a weight that was NaN or infinite before the first step, or `None`."""
    names = watch.model.feature_names
    for variable, value in zip(watch.weights, watch.start, strict=True):
        is_bad = ~np.isfinite(float_numbers(value))
        if is_bad.any():
            index = np.unravel_index(int(np.argmax(is_bad)), is_bad.shape)
            column = f" of column {names[index[0]]!r}" if variable.name == "kernel" and names and index else ""
            return (
                "The weights must be finite before a fit. "
                f"Received: {np.asarray(value)[index]} in {variable.name!r}{column}."
            )
    return None


def _bad_number_message(
    batch: int | None, x: Data, y: Data, sample_weight: Data, dtype: str, names: Sequence[str]
) -> str | None:
    """Return the error message for the first bad number of a batch, or `None`.

    Args:
        batch: its number; `None` if it is all the data.
        x, y, sample_weight: of the batch.
        dtype: the dtype in which the model computes.
        names: of the columns of `x`.
    """
    for name, array in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        place = first_bad(array, dtype if name == "x" else keras.config.floatx())
        if place is None:
            continue
        row, column, value = place
        where = f"row {row}" if batch is None else f"row {row} of batch {batch}"
        if name == "x":
            where = f"column {names[column]!r}, {where}"
        if value == "nan":
            return f"`{name}` has no value in {where}: {ADVICE}"
        return f"`{name}` must be finite. Received: {value} in {where}."
    return None
