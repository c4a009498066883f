"""The defaults of columns that a `tf.Example` may lack."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_linreg.data import Column
from keras_linreg.export.training_data import means_and_deviations
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.types import Array

MEAN = "mean"
Defaults: TypeAlias = Mapping[str, Any] | str | None


def resolve(
    defaults: Defaults, columns: Sequence[Column], named: bool, means: Mapping[str, float] | None
) -> dict[str, Array]:
    """Return the default of each column that has one, in the dtype and shape of a request.

    Args:
        defaults: from names of columns to values; `"mean"` for the means of the training data; None for no defaults.
        columns: the columns of a request.
        named: whether they are columns by name, rather than the one matrix `features`.
        means: the means of the training data by column, or None if they are unknown.

    Raises:
        ValueError: a name is no column, a value is none of its column, or the means are unknown.
    """
    if defaults is None:
        return {}
    if isinstance(defaults, str):
        return _means(defaults, columns, named, means)
    if not isinstance(defaults, Mapping):
        raise ValueError(
            "`defaults` must be a dict of values by column, 'mean', or None. "
            f"Received: defaults={defaults!r} of type {type(defaults).__name__}."
        )
    known = {column.name: column for column in columns}
    unknown = [name for name in defaults if name not in known]
    if unknown:
        raise ValueError(f"`defaults` must have columns of the model, {list(known)}, as keys. Received: {unknown}.")
    return {name: _value(known[name], value) for name, value in defaults.items()}


def column_means(moments: Moments | None, has_preprocessor: bool) -> dict[str, float] | None:
    """Return the means of the columns of a request, or None if they are unknown: moments are of the design."""
    if moments is None or has_preprocessor:
        return None
    means = means_and_deviations(moments)[0].tolist()
    return dict(zip(moments.feature_names, means, strict=False))


def to_json(defaults: Mapping[str, Array]) -> dict[str, Any]:
    """Return defaults for a JSON file: None for NaN, which JSON does not have."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(part) for part in value]
        if isinstance(value, bytes):
            return value.decode(errors="backslashreplace")
        return None if isinstance(value, float) and math.isnan(value) else value

    return {name: plain(value.tolist()) for name, value in defaults.items()}


def _means(
    defaults: str, columns: Sequence[Column], named: bool, means: Mapping[str, float] | None
) -> dict[str, Array]:
    """Return the means as defaults."""
    if defaults != MEAN:
        raise ValueError(f"`defaults` must be a dict of values by column, 'mean', or None. Received: {defaults!r}.")
    if means is None:
        raise ValueError(
            "`defaults` must be a dict of values by column where the means of the columns are unknown: a fit by "
            "gradient descent does not keep them, and those of an exact fit are of its preprocessor's columns. "
            "Received: 'mean'."
        )
    if not named:
        return {columns[0].name: _value(columns[0], list(means.values()))}
    return {column.name: _value(column, means[column.name]) for column in columns}


def _value(column: Column, value: Any) -> Array:
    """Return the default of a column as its requests hold it."""
    kind = {"string": "texts", "int64": "integers", "bool": "booleans"}.get(column.dtype, "numbers")
    rule = f"`defaults` must have {kind} of shape {column.shape} for {column.name!r}. Received:"
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    is_right = array.dtype.kind in {"texts": "US", "integers": "iu", "booleans": "b", "numbers": "iuf"}[kind]
    if kind == "texts" and array.dtype.kind == "O":
        is_right = all(isinstance(part, str | bytes) for part in array.ravel())
    if not is_right or array.shape != column.shape:
        raise ValueError(f"{rule} {value!r}.")
    if kind == "texts":
        encoded = [part if isinstance(part, bytes) else str(part).encode() for part in array.ravel().tolist()]
        return np.array(encoded, object).reshape(column.shape)
    with np.errstate(over="ignore"):
        converted = array.astype(np.float32 if kind == "numbers" else np.int64)  # an Example holds no booleans
    if kind == "numbers" and (np.isinf(converted).any()):
        raise ValueError(f"{rule} {value!r}, which float32 does not hold.")
    if kind == "integers" and not np.array_equal(converted, array):
        raise ValueError(f"{rule} {value!r}, which int64 does not hold.")
    return converted
