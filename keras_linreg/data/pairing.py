"""Rows of x, y, weights and groups that belong together: equal labels if pandas gives them some, and equal numbers."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from keras_linreg.data.arrow import check_columns
from keras_linreg.data.row_labels import different_labels
from keras_linreg.data.tables import Table, is_column, row_labels
from keras_linreg.utils.types import Data


def common_labels(parts: Mapping[str, Data]) -> Any:
    """Return the pandas Index that the parts of a call have, or None if none of them has one.

    Args:
        parts: x, y, weights, groups by the names of their arguments; None for those that there are not.

    Raises:
        ValueError: two of them have different labels.
    """
    first, labels = "", None
    for name, part in parts.items():
        own = None if part is None else row_labels(part)
        if own is None:
            continue
        if labels is None:
            first, labels = f"`{name}`", own
        elif not own.equals(labels):
            raise different_labels(first, labels, f"`{name}`", own)
    return labels


def take_named(table: Table, parts: Mapping[str, Data], columns: Collection[str]) -> tuple[Any, ...]:
    """Return the table without the columns that other arguments name, and then each argument, a column for its name.

    Args:
        table: the user's `x`.
        parts: the other arguments of a call, such as `y`: data, or the name of a column of the table.
        columns: those that the model takes: they stay in the table, whoever names them.
    """
    named = {argument: part for argument, part in parts.items() if isinstance(part, str)}
    for argument, name in named.items():
        check_columns(argument, [name], list(table.columns), "x")
    found = [table.columns[named[argument]] if argument in named else part for argument, part in parts.items()]
    return table.without(set(named.values()) - set(columns)), *found


def check_no_names(x: Data, parts: Mapping[str, Data]) -> None:
    """Refuse the name of a column where the user's `x` has none.

    Args:
        x: no table.
        parts: the other arguments of a call.
    """
    for argument, part in parts.items():
        if isinstance(part, str):
            raise ValueError(
                f"`{argument}` must be values, or the name of a column where `x` is a table, or files by one path or "
                f"glob. Received: {argument}={part!r} beside x of type {type(x).__name__}, without names of columns."
            )


def check_lengths(lengths: Mapping[str, int], empty: bool = False) -> None:
    """Refuse parts of different lengths, and data without rows unless they may be `empty`, as a batch may."""
    if not lengths["x"] and not empty:
        raise ValueError("`x` must have at least one row. Received: none.")
    if len(set(lengths.values())) > 1:
        names = [f"`{name}`" for name in lengths]
        raise ValueError(
            f"{', '.join(names[:-1])} and {names[-1]} must have the same number of rows. Received: {dict(lengths)}."
        )


def keep_groups(groups: Data, kept: np.ndarray) -> Any:
    """Return the labels of the rows under a mask.

    Raises:
        ValueError: there is not one label for each row.
    """
    groups = groups.to_list() if is_column(groups) else groups
    if isinstance(groups, Iterator):
        groups = [label for batch in groups for label in batch]
    elif isinstance(groups, list | tuple) and len(groups) and np.ndim(groups[0]):
        groups = [label for batch in groups for label in np.ravel(batch)]
    if np.shape(groups)[:1] != (len(kept),):
        raise ValueError(
            f"`groups` must have a label for each row of `data`. Received: {np.shape(groups)} labels, {len(kept)} rows."
        )
    if isinstance(groups, list | tuple):
        return [label for label, is_kept in zip(groups, kept, strict=True) if is_kept]
    return np.asarray(groups)[kept]
