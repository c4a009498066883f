"""Frames, dicts, arrays and tensors in memory: named columns, numbers, targets, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import (
    is_categorical_dtype,
    is_frame,
    is_ragged_tensor,
    is_scipy_sparse,
    is_series,
    is_sparse_tensor,
    is_tensor,
)
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data
from keras_linreg.utils.warnings import warn_user

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf
else:
    tf, pd = LazyModule("tensorflow"), LazyModule("pandas")

FLOAT32_INTEGERS = 2**24  # float32 holds every integer up to here, and not the next


def named_columns(x: Data) -> dict[str, Any] | None:
    """Return the columns of a frame, a dict or a named Series by name, or None if `x` has no names."""
    if is_series(x):
        return {x.name: x} if isinstance(x.name, str) else None
    if is_frame(x):
        names = list(x.columns)
        strings = [isinstance(name, str) for name in names]
        if isinstance(x.columns, pd.MultiIndex):
            raise ValueError(f"The columns of `x` must have one level, joined to one name each. Received: {names}.")
        if names == list(range(len(names))):
            return None  # pandas's own numbering, of a matrix
        if not any(strings):
            x = x.set_axis([str(name) for name in names], axis=1)
            return named_columns(x)
        if not all(strings):
            raise ValueError(f"The columns of `x` must be named by strings. Received: columns={names}.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"The columns of `x` must have distinct names. Received more than once: {twice}.")
        return {name: x[name] for name in names}
    if isinstance(x, Mapping):
        unnamed = [name for name in x if not isinstance(name, str)]
        if unnamed:
            raise ValueError(f"The keys of `x` must be strings, the names of columns. Received: {unnamed}.")
        return {name: v if hasattr(v, "dtype") else np.asarray(v) for name, v in x.items()}
    return None


def match(columns: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return `columns` in the order of `names`; a column missing or never seen is an error that names it."""
    missing = [name for name in names if name not in columns]
    extra = [name for name in columns if name not in names]
    if missing or extra:
        parts = [f"missing: {missing}"] * bool(missing) + [f"not among the model's columns: {extra}"] * bool(extra)
        raise ValueError(
            f"`x` must have exactly the columns that the model knows, {list(names)}, in any order. "
            f"Received columns {list(columns)} ({'; '.join(parts)})."
        )
    return {name: columns[name] for name in names}


def to_array(values: Data, description: str, strings: bool = False) -> Any:
    """Return `values` as a NumPy array or tensor that Keras takes: of numbers, or of strings if they are allowed.

    Args:
        values: an array, tensor, sparse tensor or matrix, Series, frame or list.
        description: of the values, for errors, such as "column 'age' of `x`".
        strings: whether strings are allowed, because a preprocessor takes them.
    """
    if is_ragged_tensor(values):
        raise ValueError(f"{description} must have rows of one length. Received: a ragged tensor.")
    if np.ma.is_masked(values):
        raise ValueError(
            f"{description} must have no masked values: fill them in, or leave those rows out. Received: a mask."
        )
    if is_tensor(values) or is_scipy_sparse(values):  # Keras takes these itself
        values = _by_rows(values)
        if getattr(values, "dtype", None) == tf.string and not strings:
            raise _not_numeric(values, description)
        return values
    if is_frame(values):
        dtypes = set(values.dtypes)
        if len(dtypes) == 1 and isinstance(next(iter(dtypes)), np.dtype) and next(iter(dtypes)).kind in "fiub":
            return values.to_numpy()
        columns = [to_array(values.iloc[:, i], description, strings) for i in range(values.shape[1])]
        return np.stack(columns, axis=1) if columns else np.empty(values.shape, np.float64)
    if is_series(values):
        values = _series_to_array(values)
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{description} must have rows of one length. Received: {type(values).__name__}.") from None
    if array.dtype.kind in "fiub" or array.dtype.name == "bfloat16":
        return array.astype(np.float64) if array.dtype.itemsize > 8 else array
    if array.dtype.kind in "OUST":
        flat = array.ravel()
        text = [isinstance(v, (str, bytes)) for v in flat]
        if flat.size and all(text):
            if strings:
                return array.astype(object)
        elif strings and any(text):
            raise ValueError(
                f"{description} holds missing values or numbers beside strings; fill them in first, for example with "
                "'missing'. "
                f"Received: {flat[text.index(False)]!r} in row {text.index(False)}."
            )
        elif not any(text):
            try:
                return array.astype(np.float64)
            except (TypeError, ValueError):
                pass
    raise _not_numeric(array, description)


def _by_rows(values: Data) -> Data:
    """Return a tensor or sparse matrix; a sparse one row after row, as Keras's adapter assumes it to be."""
    if is_sparse_tensor(values):
        rows = np.asarray(values.indices)[:, 0]
        return values if (rows[1:] >= rows[:-1]).all() else tf.sparse.reorder(values)
    return values.tocsr() if hasattr(values, "tocsr") else values


def _series_to_array(series: pd.Series) -> np.ndarray:
    """Return a Series of numbers or text as an array; nullable and categorical ones, too; a missing number is NaN."""
    if is_categorical_dtype(series.dtype):
        numbers = pd.api.types.is_numeric_dtype(series.cat.categories.dtype)
        series = series.astype(np.float64 if numbers and series.hasnans else series.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(series.dtype) or pd.api.types.is_numeric_dtype(series.dtype):
        if series.hasnans:
            return series.to_numpy(dtype=np.float64, na_value=np.nan)
        return series.to_numpy(dtype=getattr(series.dtype, "numpy_dtype", None))
    return series.to_numpy(dtype=object) if pd.api.types.is_string_dtype(series.dtype) else series.to_numpy()


def _not_numeric(array: Data, description: str) -> ValueError:
    example = np.asarray(array).ravel()[:1]
    return ValueError(
        f"{description} must be numeric: only numbers can be fitted without a preprocessor that takes strings or "
        f"categories, such as a keras.utils.FeatureSpace. Received dtype {array.dtype}"
        + (f", {example[0]!r} for example." if example.size else ".")
    )


def stack(columns: Mapping[str, Any], dtype: str) -> np.ndarray:
    """Return named columns, each `(n,)` or `(n, 1)`, as one `(n, p)` matrix; integers that this rounds bring a warning.

    Columns of float64 alone stay float64 (Keras's own adapter then casts them to floatx); others become `dtype`.
    """
    arrays = {}
    for name, values in columns.items():
        array = np.asarray(to_array(values, f"Column {name!r} of `x`"))
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise ValueError(f"Column {name!r} of `x` must be of shape (n,) or (n, 1). Received: shape {array.shape}.")
        warn_of_rounding(array, name, dtype)
        arrays[name] = array
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The columns of `x` must have the same number of rows. Received: {lengths}.")
    if any(array.dtype != np.float64 for array in arrays.values()):
        out = np.empty((next(iter(lengths.values())), len(arrays)), dtype)
    else:
        out = np.empty((next(iter(lengths.values())), len(arrays)), np.float64)
    for i, array in enumerate(arrays.values()):
        out[:, i] = array
    return out


def warn_of_rounding(array: Data, name: str, dtype: str) -> None:
    """Warn of integers that do not fit the 24 bits of float32, if `dtype` has no more."""
    if (
        dtype in ("float64", "int64")
        or not isinstance(array, np.ndarray)
        or array.dtype.kind not in "iu"
        or not array.size
    ):
        return
    if max(int(array.max()), -int(array.min())) > FLOAT32_INTEGERS:
        warn_user(
            f"Column {name!r} holds integers beyond 2**24, which {dtype} rounds: neighbouring values become equal. "
            "Subtract an offset, or scale the column."
        )


def targets(y: Data, units: int | None, dtype: str) -> Any:
    """Return `y` as a numeric array of shape `(n, units)`; of any width if `units` is `None`."""
    if isinstance(y, Mapping):
        raise ValueError(f"`y` must be one array, not a dict. Received: keys {list(y)}.")
    y = to_array(y, "`y`")
    if not len(y.shape):
        raise ValueError("`y` must hold a target for each row of `x`. Received: a scalar.")
    check_units(tuple(y.shape), units)
    warn_of_rounding(y, "y", dtype)
    # A loss written by hand would broadcast (n,) against (n, 1) to (n, n).
    if len(y.shape) == 1:
        y = tf.expand_dims(y, -1) if is_tensor(y) else y.reshape(-1, 1)
    return y


def check_units(shape: tuple[int | None, ...], units: int | None) -> None:
    """Refuse the shape of a `y` whose width is known and is not `units`."""
    width = 1 if len(shape) == 1 else shape[-1]
    units = max(width or 1, 1) if units is None else units
    if len(shape) not in (1, 2) or width not in (units, None):
        raise ValueError(
            f"`y` must be of shape {'(n,) or (n, 1)' if units == 1 else f'(n, {units})'} for a model of units={units}. "
            f"Received: shape {shape}" + (f"; give the model units={width}." if len(shape) == 2 else ".")
        )


def weights(sample_weight: Data, fitting: bool = False) -> np.ndarray | None:
    """Return `sample_weight` as a numeric array: finite, not negative, and not all zero if they are those of a fit."""
    if sample_weight is None:
        return None
    array = np.asarray(to_array(sample_weight, "`sample_weight`"))
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise ValueError(f"`sample_weight` must be of shape (n,) or (n, 1). Received: shape {array.shape}.")
    bad = ~(array >= 0) | np.isinf(array)  # NaN is not >= 0 either
    if bad.any():
        row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
        raise ValueError(f"`sample_weight` must be finite and not negative. Received: {array[row]} in row {row}.")
    if fitting and array.size and not array.any():
        raise ValueError("`sample_weight` must not be zero for every row: nothing would be fitted.")
    return array


def check_lengths(x: Data, y: Data, sample_weight: Data, empty: bool = False) -> None:
    """Refuse arrays of different lengths, and data without rows unless they may be `empty`, as a batch may."""
    lengths = {
        name: int(array.shape[0])
        for name, array in (("x", x), ("y", y), ("sample_weight", sample_weight))
        if array is not None
    }
    if not lengths["x"] and not empty:
        raise ValueError("`x` must have at least one row. Received: none.")
    if len(set(lengths.values())) > 1:
        raise ValueError(f"`x`, `y` and `sample_weight` must have the same number of rows. Received: {lengths}.")
