"""Where data, or the weights that a fit began with, are NaN, infinite, or too large for their dtype."""

import itertools
import time

import keras
import numpy as np

from keras_linreg.data import Prepared, finite_part, first_bad, is_finite
from keras_linreg.training.divergence.watch import Watch

SECONDS_TO_LOOK = 5.0  # an endless stream is not read again for as long as it was trained on


def in_data(data: Prepared, watch: Watch) -> str | None:
    """Look for NaN and infinity in the data that the fit has seen, for some seconds; return where they are."""
    seen = 1 + watch.steps
    deadline = time.monotonic() + SECONDS_TO_LOOK
    for number, x, y, sample_weight in itertools.islice(data.again(), seen):
        if time.monotonic() > deadline:
            break
        why = _bad_batch(number, x, y, sample_weight, watch.model.compute_dtype, watch.model.feature_names)
        if why:
            return why
    return None


def refuse_bad_numbers(data: Prepared, dtype: str, names) -> None:
    """Refuse NaN and infinity in data in memory, before anything is built on them."""
    _, x, y, sample_weight = next(data.again())
    with np.errstate(over="ignore"):
        good = is_finite(x, dtype) and is_finite(y, keras.config.floatx())
        why = None if good else _bad_batch(None, x, y, sample_weight, dtype, names)
    if why:
        raise ValueError(why)


def in_weights(model, watch: Watch) -> str | None:
    """Return which weight was NaN or infinite before the first step."""
    for variable, value in zip(watch.weights, watch.start, strict=True):
        bad = ~np.isfinite(finite_part(value))
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad)), bad.shape)
            names = model.feature_names
            of = f" of column {names[at[0]]!r}" if variable.name == "kernel" and names and at else ""
            return (
                f"The weights must be finite before a fit. Received: {np.asarray(value)[at]} in {variable.name!r}{of}."
            )
    return None


def _bad_batch(number, x, y, sample_weight, dtype: str, names) -> str | None:
    """Return what is not finite in a batch, or in all the data where there is no number."""
    for name, array in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        place = first_bad(array, dtype if name == "x" else keras.config.floatx())
        if place is None:
            continue
        row, column, value = place
        where = f"row {row}" if number is None else f"row {row} of batch {number}"
        if name == "x":
            return f"`x` must be finite. Received: {value} in column {names[column]!r}, {where}."
        return f"`{name}` must be finite. Received: {value} in {where}."
    return None
