"""Rows of a table on their way through a preprocessor that reads tables: which count, and which it learns from."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_linreg.data.missing import find, nan_masks
from keras_linreg.data.table_preprocessor import TableInputs, TablePreprocessor, has_response
from keras_linreg.data.tables import Table, as_table
from keras_linreg.data.targets import read_targets, read_weights
from keras_linreg.utils.types import Data


def read_table(preprocessor: TablePreprocessor, x: Any, weight: np.ndarray | None, targets: bool) -> TableInputs:
    """Return the rows of a table; those of weight zero may hold anything.

    Args:
        preprocessor: reads the table.
        x: the table.
        weight: `(n,)`, or None.
        targets: whether y is needed, if it comes out of the table.

    Raises:
        ValueError: `x` is no table.
    """
    if not isinstance(x, Table):
        raise not_a_table(x)
    inputs = preprocessor.read(x, targets and has_response(preprocessor))
    has_weights = weight is not None and len(weight) == inputs.rows
    return inputs.ignoring(np.ravel(weight) == 0) if has_weights else inputs  # type: ignore[arg-type]


def counting_rows(inputs: TableInputs, weight: np.ndarray | None) -> TableInputs:
    """Return the rows whose weight is not zero: one of weight zero is one left out."""
    return inputs if weight is None else inputs.keep(np.ravel(weight) != 0)


def complete_rows(
    preprocessor: TablePreprocessor, batch: tuple[Data, Data, Data], units: int | None, missing: str
) -> TableInputs:
    """Return the rows of a batch that count and have all values, to learn from.

    Args:
        preprocessor: reads the batch's table.
        batch: `(x, y, sample_weight)`, arrays or tables.
        units: the number of outputs of the model, or None.
        missing: the rule for rows without a value, "error" or "drop".

    Raises:
        ValueError: a row lacks a value, and the rule refuses it.
    """
    table = as_table(batch[0])
    if table is None:
        raise not_a_table(batch[0])
    weight = read_weights(batch[2])
    inputs = read_table(preprocessor, table, weight, targets=True)
    masks = inputs.all_masks() | nan_masks(weight, ["sample_weight"])
    if batch[1] is not None:
        masks |= nan_masks(read_targets(batch[1], units, "float64")[0], ["y"] * (units or 1))
    found = find(masks, weight)
    if found is not None and missing == "error":
        raise found.error(table.labels)
    counts = np.ones(inputs.rows, bool) if weight is None else np.ravel(weight) != 0
    return inputs.keep(counts if found is None else counts & ~found.rows)


def not_a_table(x: Any) -> ValueError:
    """Return the error for data without names of columns."""
    return ValueError(
        "`x` must be a table or a dict of columns, for the formula to find its columns by name. "
        f"Received: {type(x).__name__}."
    )
