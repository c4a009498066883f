"""The x and y of a picture, from any data that `fit` takes."""

import itertools
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import tensorflow as tf

from keras_linreg.data.kinds import is_dataset, is_py_dataset, is_sparse, is_sparse_tensor, is_stream
from keras_linreg.data.sparse import to_csr
from keras_linreg.data.tables import as_native
from keras_linreg.utils.types import Data

STREAM_ROWS = 20  # times the rows of the picture: so many rows of a dataset are read, and the sample is drawn from them


def separate(x: Data, y: Data, max_rows: int) -> tuple[Any, Any]:
    """Return x and y apart.

    Args:
        x: the features; a tuple `(x, y)`; a table with the column `y`; or a dataset or PyDataset of `(x, y)`.
        y: the observed values; the name of a column of `x`; None if `x` holds them.
        max_rows: the largest number of rows to draw.

    Raises:
        ValueError: `x` is a stream that can be read only once, holds no y, or has no column of this name.
    """
    if is_stream(x):
        if y is not None:
            raise ValueError(f"`y` must be None where `x` is a dataset, which holds y. Received: {type(y).__name__}.")
        return _first_rows(x, STREAM_ROWS * max_rows)
    if isinstance(x, tuple) and y is None:
        if len(x) not in (2, 3):
            raise ValueError(f"A tuple `x` must be (x, y) or (x, y, sample_weight). Received: {len(x)} elements.")
        return x[0], x[1]
    if y is None:
        raise ValueError("`y` must be given: `x` is no dataset, and no tuple (x, y). Received: y=None.")
    return _take_column(x, y) if isinstance(y, str) else (x, y)


def _take_column(x: Data, name: str) -> tuple[Any, Any]:
    """Return a table without one column, and this column."""
    if isinstance(x, dict) and name in x:
        return {key: column for key, column in x.items() if key != name}, x[name]
    table = x if isinstance(x, dict) else as_native(x, "x")
    table = nw.from_native(table, pass_through=True)
    if not isinstance(table, nw.DataFrame) or name not in table.columns:
        names = list(x) if isinstance(x, dict) else list(getattr(table, "columns", ()))
        raise ValueError(f"`y` must be a column of `x`, {names}. Received: {name!r}.")
    return table.drop(name).to_native(), table[name].to_native()


def _first_rows(stream: Any, rows: int) -> tuple[Any, Any]:
    """Return x and y of the first batches of a stream that can be read again."""
    if is_dataset(stream):
        batches = iter(stream)
    elif is_py_dataset(stream):
        count = stream.num_batches
        batches = (stream[i] for i in (itertools.count() if count is None else range(count)))
    else:
        raise ValueError(
            "`x` must be data that can be read again: the picture would take rows from the fit. Received: "
            f"{type(stream).__name__}; give FitPlot some rows as arrays."
        )
    taken: list[Any] = []
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError(f"`x` must be a dataset of (x, y). Received elements: {type(batch).__name__}.")
        taken.append(batch[:2])
        rows -= len(batch[1])
        if rows <= 0:
            break
    if not taken:
        raise ValueError("`x` must be a dataset with rows. Received: an empty one.")
    features, targets = zip(*taken, strict=True)
    return _concatenate(features), _concatenate(targets)


def _concatenate(parts: Any) -> Any:
    """Return the rows of all parts: arrays, tensors, sparse tensors, or dicts of these."""
    if isinstance(parts[0], dict):
        return {name: _concatenate([part[name] for part in parts]) for name in parts[0]}
    if is_sparse_tensor(parts[0]):
        return tf.sparse.concat(0, list(parts))
    return tf.concat(parts, 0) if tf.is_tensor(parts[0]) else np.concatenate([np.asarray(part) for part in parts])


def without_sparse(x: Any) -> Any:
    """Return a matrix of one column as dense, another sparse one as SciPy's rows, which can be selected."""
    if not is_sparse(x):
        return x
    rows = to_csr(x)
    return rows.toarray() if rows.shape[1] == 1 else rows
