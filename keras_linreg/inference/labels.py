"""Results with labels: pandas objects by parameter, output and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Array

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

LIMITS = ("lower", "upper")


def by_parameter(values: Array, names: Sequence[str], output_names: Sequence[str], title: str) -> Any:
    """Return figures `(P, k)` as a Series by parameter; of several outputs as a DataFrame, a column an output."""
    index = pd.Index(names, name="parameter", dtype=object)
    if len(output_names) == 1:
        return pd.Series(values[:, 0], index=index, name=title)
    return pd.DataFrame(values, index=index, columns=pd.Index(output_names, name="output", dtype=object))


def by_pair(
    values: Array, rows: Sequence[str], columns: Sequence[str], output_names: Sequence[str], title: str
) -> pd.DataFrame:
    """Return figures `(P, q, k)` as a DataFrame `(P, q)`; of several outputs its columns are pairs with the output.

    Args:
        values: the figures.
        rows: P names of parameters.
        columns: q names.
        output_names: k names.
        title: of the columns.
    """
    index = pd.Index(rows, name="parameter", dtype=object)
    if len(output_names) == 1:
        return pd.DataFrame(values[:, :, 0], index=index, columns=pd.Index(columns, name=title, dtype=object))
    pairs = pd.MultiIndex.from_product([columns, output_names], names=[title, "output"])
    return pd.DataFrame(values.reshape(len(values), -1), index=index, columns=pairs)


def by_row(figures: Mapping[str, Array], labels: Any, output_names: Sequence[str]) -> pd.DataFrame:
    """Return figures of rows as a DataFrame by the rows' labels.

    Args:
        figures: arrays `(n, k)`, or `(n,)` of a figure that the outputs share, by name.
        labels: of the rows: a pandas Index or an array; None: 0, 1, ...
        output_names: k names. Of several outputs, the columns are pairs of figure and output; the output of a shared
            figure is "".
    """
    index = labels if labels is None or isinstance(labels, pd.Index) else pd.Index(labels)
    if len(output_names) == 1:
        columns = {name: part if part.ndim == 1 else part[:, 0] for name, part in figures.items()}
        return pd.DataFrame(columns, index=index)
    pairs, parts = [], []
    for name, part in figures.items():
        pairs += [(name, "")] if part.ndim == 1 else [(name, output) for output in output_names]
        parts += [part] if part.ndim == 1 else list(part.T)
    columns_of_pairs = pd.MultiIndex.from_tuples(pairs, names=["quantity", "output"])
    return pd.DataFrame(np.column_stack(parts), index=index, columns=columns_of_pairs)


def labels_of(numbers: Array, labels: Any) -> Array:
    """Return the labels of rows by their numbers, in an array of the same shape."""
    if labels is None:
        return numbers
    chosen = labels[np.ravel(numbers)]
    if isinstance(labels, pd.MultiIndex):
        array = np.empty(len(chosen), object)
        array[:] = list(chosen)
    else:
        array = np.asarray(chosen)
    return array.reshape(np.shape(numbers))
