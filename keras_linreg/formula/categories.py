"""Columns of categories as codes: each library's own way to number the distinct values, and the declared categories."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import is_series, is_tensor
from keras_linreg.data.tables import as_series, is_column
from keras_linreg.data.values import as_array, is_text_column, read
from keras_linreg.utils import threads
from keras_linreg.utils.counts import counts
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    import pandas as pd
else:
    nw, pd = LazyModule("narwhals.stable.v2"), LazyModule("pandas")

ROWS_OF_CORE = 2**17  # at least: fewer are not worth another thread
KINDS = {"O": "text", "b": "boolean", "i": "integer", "u": "integer", "f": "float"}


@dataclasses.dataclass(frozen=True, slots=True)
class Categories:
    """A column as codes of its distinct values.

    Attributes:
        codes: integers `(n,)` of few bytes; -1 for a missing value.
        values: the distinct values: text (an array of objects), booleans, integers or floats. Some may have no rows.
        declared: the categories in the order that the column declares, or None.
        counts: the rows of each value, and last of missing values, `(values + 1,)`.
    """

    codes: np.ndarray
    values: np.ndarray
    declared: list[Any] | None
    counts: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, values: np.ndarray, declared: list[Any] | None) -> Categories:
        """Return a column of these codes, whose rows are counted."""
        return cls(codes, values, declared, np.roll(counts(codes, len(values) + 1, first=-1), -1))

    @property
    def used(self) -> np.ndarray:
        """The numbers of the values that have rows."""
        return np.flatnonzero(self.counts[:-1])

    def missing(self) -> np.ndarray | None:
        """Return the mask of rows without a value, or None if each has one."""
        return self.codes < 0 if self.counts[-1] else None

    def keep(self, kept: np.ndarray) -> Categories:
        """Return the rows under a mask."""
        return Categories.of(self.codes[kept], self.values, self.declared)

    def seen(self) -> list[Any]:
        """Return the values of the rows, sorted; categories in their declared order."""
        return in_order(self.values[self.used].tolist(), self.declared)


def in_order(values: list[Any], declared: list[Any] | None) -> list[Any]:
    """Return values in the declared order of categories, or sorted."""
    if declared is None or not set(values) <= set(declared):
        return sorted(values)
    return [value for value in declared if value in set(values)]


def kind_of(column: Data) -> str:
    """Return the kind of a column, or of its spec in a dataset: "text", "boolean", "integer", "float", "category".

    A category named by numbers is one too; "category" says so, and `read_categories` tells the kind of its names.
    """
    series = as_series(column)
    if is_column(series):
        if series.dtype in (nw.Categorical, nw.Enum):
            return "text" if is_text_column(series) else "category"
        if is_text_column(series):
            return "text"
        if series.dtype == nw.Boolean:
            return "boolean"
        if series.dtype == nw.Object:
            return _kind_of_objects(_factorized(series)[1])
        return "integer" if series.dtype.is_integer() else "float"
    dtype: Any = getattr(column, "dtype", None)
    if dtype is not None and hasattr(dtype, "as_numpy_dtype"):  # a tensor, or its spec
        if dtype.name == "string":
            return "text"
        return "boolean" if dtype.is_bool else "integer" if dtype.is_integer else "float"
    array = as_array(column, "A column")
    if array.dtype.kind == "O":
        return _kind_of_objects(_factorized_array(array)[1])
    return "text" if array.dtype.kind in "UST" else KINDS.get(array.dtype.kind, "float")


def read_categories(column: Data, description: str) -> Categories:
    """Return a column as codes; missing values are -1, and so is the empty text.

    Raises:
        ValueError: it holds neither text, booleans nor numbers.
    """
    series = as_series(column)
    codes, values, declared = _factorized(series) if is_column(series) else _factorized_array(column)
    values = _as_booleans(values)
    try:
        read_values = read(values, description, text=True)
    except ValueError:
        read(column, description, text=True)  # names the row
        raise
    array, missing = read_values.array, read_values.missing
    if array.dtype == object:
        array = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in array.tolist()] + [None], object)[:-1]
    if array.dtype.kind == "f":
        missing = np.isnan(array)
    if missing is not None and missing.any():
        codes = np.where((codes >= 0) & ~missing[codes], codes, -1)
    if array.dtype.kind == "u":
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{description} must hold integers below 2**63 as levels. Received: {array.max()}.")
        array = array.astype(np.int64)
    return Categories.of(codes.astype(smallest_type(len(array)), copy=False), array, declared)


def smallest_type(values: int) -> type:
    """Return the smallest integers that number so many values, and -1."""
    return np.int8 if values < 2**7 else np.int16 if values < 2**15 else np.int32


def _kind_of_objects(values: np.ndarray) -> str:
    """Return the kind of distinct objects."""
    values = _as_booleans(values)
    if values.dtype.kind == "O":
        values = read(values, "A column", text=True).array
    return "text" if values.dtype.kind == "O" else KINDS.get(values.dtype.kind, "float")


def _as_booleans(values: np.ndarray) -> np.ndarray:
    """Return distinct objects as booleans if they are: pandas holds booleans beside None as objects."""
    if values.dtype.kind == "O" and len(values) and all(isinstance(value, bool | np.bool_) for value in values):
        return values.astype(bool)
    return values


def _factorized(series: Any) -> tuple[np.ndarray, Any, list[Any] | None]:
    """Return codes, distinct values and declared categories of a library's column."""
    native = series.to_native()
    if is_series(native):
        if isinstance(native.dtype, pd.CategoricalDtype):
            categories = native.cat.categories
            return native.cat.codes.to_numpy(), np.asarray(categories), categories.tolist()
        if isinstance(native.dtype, pd.StringDtype) and native.dtype.storage == "pyarrow":
            return _factorized_arrow(native.array.__arrow_array__())
        codes, values = pd.factorize(native)
        return codes, np.asarray(values), None
    if type(native).__module__.startswith("pyarrow"):
        return _factorized_arrow(native)
    declared = None
    if series.dtype == nw.Enum:
        declared = list(series.dtype.categories)
    if series.dtype in (nw.Categorical, nw.Enum):
        series = series.cast(nw.String)
    distinct = series.drop_nulls().unique()
    if not len(distinct):
        return np.full(len(series), -1), np.empty(0), declared
    codes = series.replace_strict(distinct.to_list(), range(len(distinct)), default=-1, return_dtype=nw.Int64)
    return codes.fill_null(-1).to_numpy(), distinct.to_numpy(), declared


def _factorized_arrow(native: Any) -> tuple[np.ndarray, Any, list[Any] | None]:
    """Return codes, distinct values and declared categories of Arrow's chunks."""
    import pyarrow

    is_dictionary = pyarrow.types.is_dictionary(native.type)
    if not is_dictionary:
        rows = max(ROWS_OF_CORE, -(-len(native) // threads.cores()))
        parts = [native.slice(start, rows) for start in range(0, max(len(native), 1), rows)]
        chunks = [
            chunk for part in threads.in_order(lambda part: part.dictionary_encode(), parts) for chunk in part.chunks
        ]
        empty = pyarrow.dictionary(pyarrow.int32(), native.type)
        native = pyarrow.chunked_array(chunks, chunks[0].type if chunks else empty)
    chunk = native.unify_dictionaries().combine_chunks()
    chunk = chunk if isinstance(chunk, pyarrow.DictionaryArray) else chunk.chunk(0)
    values = chunk.dictionary.to_numpy(zero_copy_only=False)
    declared = chunk.dictionary.to_pylist() if is_dictionary else None
    return chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False), values, declared


def _factorized_array(column: Data) -> tuple[np.ndarray, Any, None]:
    """Return codes and distinct values of an array, tensor or list."""
    array = np.asarray(column) if is_tensor(column) else as_array(column, "A column")
    array = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise ValueError(f"A column of `x` must be of shape (n,) or (n, 1). Received: shape {array.shape}.")
    codes, values = pd.factorize(array.astype(object) if array.dtype.kind in "USTV" else array)
    return codes, np.asarray(values), None
