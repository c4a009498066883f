"""Tables of every library as named columns: pandas, polars, pyarrow, duckdb, dicts of columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import (
    is_duckdb_relation,
    is_frame,
    is_record_batch,
    is_scipy_sparse,
    is_series,
    is_tensor,
    is_type_spec,
)
from keras_linreg.data.row_labels import different_labels
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    import pandas as pd
else:
    nw, pd = LazyModule("narwhals.stable.v2"), LazyModule("pandas")

PLAIN_MODULES = ("numpy", "builtins", "collections", "scipy", "tensorflow", "keras", "torch")


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Named columns of rows.

    Attributes:
        columns: by name. Columns of a library's table are narwhals Series. Those of a dict are arrays, tensors, lists,
            or the specs of a dataset.
        labels: the pandas Index of the rows, or None.
        whole: the matrix of all columns in their order, if the table holds it as one array; or None.
    """

    columns: dict[str, Any]
    labels: Any = None
    whole: np.ndarray | None = None

    def without(self, names: Iterable[str | None]) -> Table:
        """Return the table without some of its columns."""
        left = {name: column for name, column in self.columns.items() if name not in names}
        return self if len(left) == len(self.columns) else Table(left, self.labels)


def as_table(data: Data, argument: str = "x") -> Table | None:
    """Return the named columns of data, or None if they have no names.

    Args:
        data: a table of any library, a named Series, a mapping of columns; or anything else.
        argument: its name in errors.

    Raises:
        ValueError: two columns have the same name, or the table must be collected first.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping) and not is_scipy_sparse(data):  # SciPy's dok_array is a dict
        return _table_of_mapping(data, argument)
    if is_frame(data):
        columns = [as_series(data.iloc[:, i]) for i in range(data.shape[1])]
        return Table(_named(data.columns, columns, argument), data.index, _whole(data))
    native = as_native(data, argument)
    if isinstance(native, nw.DataFrame):
        return Table(_named(native.columns, native.iter_columns(), argument), row_labels(data))
    if isinstance(native, nw.Series) and native.name not in (None, ""):
        return Table({str(native.name): native}, row_labels(data))
    return None


def is_table(data: Data) -> bool:
    """Return whether data are a table: of two dimensions, with names."""
    return is_frame(data) or isinstance(as_native(data), nw.DataFrame)


def as_native(data: Data, argument: str = "x") -> Any:
    """Return a library's table or Series as a narwhals one, and anything else as it is.

    Raises:
        ValueError: the table is lazy.
    """
    if isinstance(data, np.ndarray | list | tuple | Mapping | str) or data is None or is_tensor(data):
        return data
    if type(data).__module__.partition(".")[0] in PLAIN_MODULES or is_type_spec(data):
        return data
    if is_record_batch(data):
        import pyarrow  # a record batch exists only if it is imported

        data = pyarrow.Table.from_batches([data])
    elif is_duckdb_relation(data):
        data = data.to_arrow_table()
    elif type(data).__module__.startswith("pyarrow") and type(data).__name__.endswith(("Array", "Scalar")):
        import pyarrow

        data = data if isinstance(data, pyarrow.ChunkedArray) else pyarrow.chunked_array([data])
    native = nw.from_native(data, pass_through=True, allow_series=True)
    if isinstance(native, nw.LazyFrame):
        raise ValueError(
            f"`{argument}` must be a table in memory: call `.collect()` on it. Received: a {type(data).__name__} of "
            f"{type(data).__module__.partition('.')[0]}, which is lazy."
        )
    return native


def as_series(values: Data) -> Any:
    """Return a library's Series as a narwhals one, and anything else as it is."""
    if isinstance(values, nw.Series):
        return values
    native = as_native(values)
    return native if isinstance(native, nw.Series) else values


def is_column(values: Data) -> bool:
    """Return whether values are a narwhals Series."""
    return type(values).__module__.startswith("narwhals") and isinstance(values, nw.Series)


def row_labels(data: Data) -> Any:
    """Return the pandas Index of a frame or Series, of a narwhals Series or a Table of it; or None."""
    if isinstance(data, Table):
        return data.labels
    if is_column(data):
        data = data.to_native()
    return data.index if is_frame(data) or is_series(data) else None


def with_row_labels(values: np.ndarray, source: Any) -> Any:
    """Return values `(n,)` with the row labels of the data that they come from; as they are if there are none."""
    labels = row_labels(source)
    return values if labels is None else pd.Series(values, index=labels)


def match(columns: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return `columns` in the order of `names`; a column missing or never seen is an error that names it."""
    names = tuple(names)
    missing = [name for name in names if name not in columns]
    extra = [name for name in columns if name not in names]
    if missing or extra:
        parts = [f"missing: {missing}"] * bool(missing) + [f"not among the model's columns: {extra}"] * bool(extra)
        raise ValueError(
            f"`x` must have exactly the columns that the model knows, {list(names)}, in any order. "
            f"Received columns {list(columns)} ({'; '.join(parts)})."
        )
    return {name: columns[name] for name in names}


def _table_of_mapping(data: Mapping[Any, Any], argument: str) -> Table:
    columns = _named(list(data), [as_series(column) for column in data.values()], argument)
    labels: Any = None
    for name, column in columns.items():
        own = row_labels(column)
        if labels is None:
            labels, first = own, name
        elif own is not None and not own.equals(labels):
            raise different_labels(f"column {first!r} of `{argument}`", labels, f"column {name!r}", own)
    return Table(columns, labels)


def _named(labels: Iterable[Any], columns: Iterable[Any], argument: str) -> dict[str, Any]:
    """Return columns by the text of their labels.

    Raises:
        ValueError: two labels have the same text.
    """
    names = [label if isinstance(label, str) else str(label) for label in labels]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"The columns of `{argument}` must have distinct names. Received more than once: {twice}.")
    return dict(zip(map(str, names), columns, strict=True))


def _whole(frame: Any) -> np.ndarray | None:
    """Return the matrix of a pandas frame if it is stored as one array of numbers."""
    dtypes = set(frame.dtypes)
    if len(dtypes) != 1 or frame.shape[1] < 2:
        return None
    (dtype,) = dtypes
    if not isinstance(dtype, np.dtype) or dtype.kind not in "fiub":
        return None
    stores = {id(_owner(frame.iloc[:, i].to_numpy())) for i in range(frame.shape[1])}
    return frame.to_numpy() if len(stores) == 1 else None


def _owner(array: np.ndarray) -> np.ndarray:
    """Return the array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
