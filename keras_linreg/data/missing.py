"""Rows without a value: how many they are, in which columns, and the rows that are left without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_linreg.data.kinds import is_sparse, is_tensor
from keras_linreg.data.sparse import to_csr
from keras_linreg.data.values import row_name
from keras_linreg.utils.types import Data

RULES = ("error", "drop")
SHOWN_COLUMNS = 8
ADVICE = "drop them (missing='drop') or fill them in."


def check_rule(missing: str) -> str:
    """Return the rule for missing values.

    Raises:
        ValueError: there is no such rule.
    """
    if missing not in RULES:
        raise ValueError(f"`missing` must be one of {list(RULES)}. Received: missing={missing!r}.")
    return missing


@dataclasses.dataclass(frozen=True, slots=True)
class MissingRows:
    """Counts of rows without a value in a column that is needed.

    Attributes:
        rows: the number of rows that were given.
        missing: the number of them without a value.
        columns: how many rows have no value in a column, by its name; a row may count in several.

    Example:
    >>> str(MissingRows(600, 36, {"area": 30, "city": 6}))
    "36 of 600 rows have no value in 'area' (30) or 'city' (6)"
    """

    rows: int
    missing: int
    columns: dict[str, int]

    def __add__(self, other: MissingRows) -> MissingRows:
        """Return the counts of the rows of both."""
        names = [*self.columns, *(name for name in other.columns if name not in self.columns)]
        columns = {name: self.columns.get(name, 0) + other.columns.get(name, 0) for name in names}
        return MissingRows(self.rows + other.rows, self.missing + other.missing, columns)

    def __str__(self) -> str:
        shown = [f"{name!r} ({count:,})" for name, count in self.columns.items()]
        if len(shown) > SHOWN_COLUMNS:
            shown = [*shown[:SHOWN_COLUMNS], f"{len(shown) - SHOWN_COLUMNS} more columns"]
        where = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
        have = "row has" if self.rows == 1 else "rows have"
        return f"{self.missing:,} of {self.rows:,} {have} no value in {where}"


@dataclasses.dataclass(frozen=True, slots=True)
class MissingMask:
    """Which rows have no value.

    Attributes:
        rows: mask `(n,)`.
        counts: how many, by column.
    """

    rows: np.ndarray
    counts: MissingRows

    def error(self, labels: Any = None) -> ValueError:
        """Return the error for data that may not have such rows; `labels` are those of the rows, or None."""
        first = row_name(labels, int(np.argmax(self.rows)))
        return ValueError(f"{self.counts}: {ADVICE} The first is {first}.")


def find(masks: Mapping[str, np.ndarray | None], weights: np.ndarray | None = None) -> MissingMask | None:
    """Return the rows without a value, or None if there are none.

    Args:
        masks: `(n,)`, by the name of the column; None for a column of which each row has a value.
        weights: `(n,)` or None; a row of weight zero needs no values.
    """
    used = None if weights is None else ~(np.ravel(weights) == 0)
    total: np.ndarray | None = None
    columns: dict[str, int] = {}
    for name, mask in masks.items():
        if mask is None or not mask.any():
            continue
        mask = mask if used is None else mask & used
        count = int(mask.sum())
        if count:
            columns[name] = columns.get(name, 0) + count
            total = mask if total is None else total | mask
    if total is None:
        return None
    return MissingMask(total, MissingRows(len(total), int(total.sum()), columns))


def nan_masks(values: Data, names: Sequence[str]) -> dict[str, np.ndarray | None]:
    """Return the masks `(n,)` of NaN in the columns of `(n, p)` or `(n,)`, or the channels of `(n, ..., p)`, by name.

    A matrix that has none is read once.
    """
    if values is None:
        return {}
    if is_sparse(values):
        return _nan_masks_of_sparse(values, names)
    array = np.asarray(values) if is_tensor(values) else values
    if array.dtype.kind not in "fV" and array.dtype.name != "bfloat16":
        return {}
    columns = [array[..., i] for i in range(array.shape[-1])] if len(array.shape) > 1 else [array]
    return {name: nan_mask(column) for name, column in zip(names, columns, strict=True)}


def nan_mask(column: Any) -> np.ndarray | None:
    """Return the mask of NaN in a column, or None if it has none."""
    column = np.asarray(column)
    if column.dtype.name == "bfloat16":
        column = column.astype(np.float32)
    if column.dtype.kind != "f":
        return None
    with np.errstate(all="ignore"):
        if not np.isnan(column.sum(dtype=np.float64)):  # a sum is read once, without a temporary
            return None
    mask = np.isnan(column)
    return mask.reshape(len(mask), -1).any(axis=1)


def _nan_masks_of_sparse(values: Any, names: Sequence[str]) -> dict[str, np.ndarray | None]:
    matrix = to_csr(values).tocoo()
    bad = np.isnan(matrix.data)
    masks: dict[str, np.ndarray | None] = {}
    for column in np.unique(matrix.col[bad]).tolist():
        mask = np.zeros(matrix.shape[0], bool)
        mask[matrix.row[bad & (matrix.col == column)]] = True
        masks[names[column]] = mask
    return masks


def keep_rows(values: Any, kept: np.ndarray) -> Any:
    """Return the rows of an array, tensor or sparse matrix under a mask."""
    if values is None:
        return None
    if is_sparse(values):
        return to_csr(values)[kept]
    if is_tensor(values):
        import tensorflow as tf

        return tf.boolean_mask(values, kept)
    return values[kept]
