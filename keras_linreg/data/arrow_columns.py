"""Columns of a record batch that are numbers already: they are read where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_linreg.data.column_matrix import ColumnMatrix
from keras_linreg.data.integers import check_rounding
from keras_linreg.data.missing import nan_mask
from keras_linreg.data.prepared import Rows

PLAIN_TYPES = frozenset(
    ["float", "double", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)  # of Arrow, whose numbers lie in memory as NumPy has them


def plain_rows(
    batch: Any,
    features: Sequence[str],
    targets: Sequence[str],
    weight: str | None,
    missing: str = "error",
    dtype: str = "float64",
) -> Rows | None:
    """Return the rows of a record batch without a copy; None if they need more than that, and `Reader.rows` knows how.

    They need more if a column is of another type, holds nulls, or, where rows without a value are dropped, NaN. NaN and
    infinity are otherwise left to the reduction to find.

    Args:
        batch: a pyarrow RecordBatch.
        features, targets, weight: names of its columns; `weight` may be None.
        missing: "error" or "drop".
        dtype: of the design, unless all of its columns are float64.

    Raises:
        ValueError: float64 does not hold an integer.
    """
    weights = [] if weight is None else [weight]
    columns = [_plain(batch.column(batch.schema.get_field_index(name))) for name in (*features, *targets, *weights)]
    if not batch.num_rows or any(column is None for column in columns):
        return None
    x, y = columns[: len(features)], columns[len(features) : len(features) + len(targets)]
    own = np.asarray(columns[-1], np.float64) if weights else None
    if own is not None and not (np.isfinite(own).all() and (own >= 0).all()):
        return None
    if missing == "drop" and any(nan_mask(column) is not None for column in (*x, *y)):
        return None
    for name, column in zip(features, x, strict=True):
        check_rounding(column, f"Column {name!r} of `x`", dtype)
    for column in y:
        check_rounding(column, "`y`", dtype)
    outputs = y[0].reshape(-1, 1) if len(y) == 1 else np.column_stack(y)
    outputs = outputs if outputs.dtype.kind == "f" else outputs.astype(np.float64)
    is_double = all(column.dtype == np.float64 for column in x)
    return Rows(ColumnMatrix(x, "float64" if is_double else dtype), outputs, own)


def _plain(column: Any) -> Any:
    """Return the numbers of an Arrow array without a copy, or None."""
    if str(column.type) not in PLAIN_TYPES or column.null_count:
        return None
    return column.to_numpy(zero_copy_only=True)
