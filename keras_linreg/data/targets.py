"""Targets and weights: `y` as `(n, units)` with the names of its outputs, `sample_weight` as `(n,)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.integers import check_rounding
from keras_linreg.data.kinds import is_scipy_sparse, is_tensor
from keras_linreg.data.tables import Table, as_native, as_table, is_table
from keras_linreg.data.values import read
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")


def read_targets(y: Data, units: int | None, dtype: str, known: Sequence[str] = ()) -> tuple[Any, tuple[str, ...]]:
    """Return `y` as numbers `(n, units)`, NaN for missing ones, and the names of its outputs, () if it has none.

    Args:
        y: an array, tensor, column or table.
        units: the number of outputs; None takes any.
        dtype: in which the model computes.
        known: the names of several outputs in the order of the model; a table is matched by them.

    Raises:
        ValueError: the targets are not numbers, or of another width, or of other names.
    """
    if isinstance(y, Mapping) and not is_scipy_sparse(y):
        raise ValueError(f"`y` must be one array, not a dict. Received: keys {list(y)}.")
    y = as_native(y, "y")
    if is_table(y):
        return _read_table(as_table(y, "y"), units, dtype, known)
    name = getattr(y, "name", None)
    array = read(y, "`y`").as_float()
    if not len(array.shape):
        raise ValueError("`y` must hold a target for each row of `x`. Received: a scalar.")
    check_units(tuple(array.shape), units)
    check_rounding(array, "`y`", dtype)
    # A loss written by hand would broadcast (n,) against (n, 1) to (n, n).
    if len(array.shape) == 1:
        array = tf.expand_dims(array, -1) if is_tensor(array) else array.reshape(-1, 1)
    return array, () if name in (None, "") or is_tensor(array) else (str(name),)


def _read_table(
    table: Table | None, units: int | None, dtype: str, known: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    assert table is not None  # a table has names
    columns = table.columns
    check_units((None, len(columns)), units)
    if len(known) > 1 and set(columns) != set(known):
        raise ValueError(f"`y` must have the outputs {list(known)}. Received: {list(columns)}.")
    columns = {name: columns[name] for name in (known if len(known) > 1 else columns)}
    if table.whole is not None and list(columns) == list(table.columns):
        arrays: list[np.ndarray] = list(table.whole.T)
        matrix = table.whole
    else:
        arrays = [read(column, f"Output {name!r} of `y`").as_float() for name, column in columns.items()]
        matrix = np.column_stack(arrays) if arrays else np.empty((0, 0))
    for name, array in zip(columns, arrays, strict=True):
        check_rounding(array, f"Output {name!r} of `y`", dtype)
    return matrix, tuple(columns)


def check_units(shape: tuple[int | None, ...], units: int | None) -> None:
    """Refuse the shape of a `y` whose width is known and is not `units`."""
    width = 1 if len(shape) == 1 else shape[-1]
    units = max(width or 1, 1) if units is None else units
    if len(shape) not in (1, 2) or width not in (units, None):
        raise ValueError(
            f"`y` must be of shape {'(n,) or (n, 1)' if units == 1 else f'(n, {units})'} for a model of units={units}. "
            f"Received: shape {shape}" + (f"; give the model units={width}." if len(shape) == 2 else ".")
        )


def read_weights(sample_weight: Data) -> np.ndarray | None:
    """Return `sample_weight` as numbers: finite and not negative, or NaN for a missing one.

    Raises:
        ValueError: a weight is negative or infinite.
    """
    if sample_weight is None:
        return None
    array = np.asarray(read(sample_weight, "`sample_weight`").as_float())
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise ValueError(f"`sample_weight` must be of shape (n,) or (n, 1). Received: shape {array.shape}.")
    bad = (array < 0) | np.isinf(array)
    if bad.any():
        row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
        raise ValueError(f"`sample_weight` must be finite and not negative. Received: {array[row]} in row {row}.")
    return array


def check_some_weight(sample_weight: np.ndarray | None) -> None:
    """Refuse weights that are zero for every row of a fit."""
    if sample_weight is not None and sample_weight.size and not sample_weight.any():
        raise ValueError("`sample_weight` must not be zero for every row: nothing would be fitted.")
