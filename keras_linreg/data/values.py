"""Values of one column or matrix as a NumPy array: numbers, or text if a preprocessor takes it.

A value that is missing (NaN, None, `pd.NA`, NaT, a null of Arrow) is NaN in floating-point numbers. Integers, booleans
and text cannot hold NaN. There a mask says which values are missing. The empty text is a missing category.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import is_ragged_tensor, is_scipy_sparse, is_sparse_tensor, is_tensor
from keras_linreg.data.tables import as_series, is_column, row_labels
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    import pandas as pd
    import tensorflow as tf
else:
    tf, pd, nw = LazyModule("tensorflow"), LazyModule("pandas"), LazyModule("narwhals.stable.v2")

TAKES_TEXT = "a preprocessor that takes strings or categories, such as klr.Formula or a keras.utils.FeatureSpace"
EXACT_INTEGERS = 2**53  # float64 holds every integer up to here, and not the next
DATES = "subtract a first date and take days or seconds, as in (column - column.min()).dt.total_seconds()"


@dataclasses.dataclass(frozen=True, slots=True)
class Values:
    """Values of a column `(n,)`, or of a matrix `(n, p)`.

    Attributes:
        array: numbers, booleans or text (an array of objects); a tensor or sparse matrix stays what it is.
        missing: mask `(n,)` of the rows without a value, where the array cannot hold NaN; else None.
    """

    array: Any
    missing: np.ndarray | None = None

    def as_float(self) -> Any:
        """Return the numbers, with NaN for missing ones."""
        if self.missing is None or not self.missing.any():
            return self.array
        numbers = self.array.astype(np.float64)
        numbers[self.missing] = np.nan
        return numbers


def read(values: Data, description: str, text: bool = False, empty_is_missing: bool = True) -> Values:
    """Return values as a NumPy array; a tensor or a sparse matrix stays what it is.

    Args:
        values: an array, tensor, sparse tensor or matrix, a column of a table, or a list.
        description: of the values, for errors, such as "Column 'age' of `x`".
        text: whether text is allowed, because a preprocessor takes it.
        empty_is_missing: whether the empty text is a missing category.

    Raises:
        ValueError: the values are neither numbers nor allowed text; it names the first bad value and its row.
    """
    values = as_series(values)
    if is_column(values):
        return _read_column(values, description, text, empty_is_missing)
    if is_ragged_tensor(values):
        raise ValueError(f"{description} must have rows of one length. Received: a ragged tensor.")
    if np.ma.is_masked(values):
        raise ValueError(
            f"{description} must have no masked values: fill them in, or leave those rows out. Received: a mask."
        )
    if is_tensor(values) or is_scipy_sparse(values):
        return Values(_tensor_or_sparse(values, description, text))
    array = as_array(values, description)
    if array.dtype.kind in "fiub" or array.dtype.name == "bfloat16":
        return Values(array.astype(np.float64) if array.dtype.itemsize > 8 else array)
    if array.dtype.kind in "UST":
        array = array.astype(object)
    if array.dtype.kind == "O":
        return _read_objects(array, description, text, empty_is_missing)
    if array.dtype.kind in "mM":
        raise _are_dates(description, f"dtype {array.dtype}")
    if array.dtype.kind == "c":
        raise is_complex(description)
    raise _not_numeric(description, f"dtype {array.dtype}")


def is_complex(description: str) -> ValueError:
    """Return the error for complex numbers."""
    return ValueError(
        f"{description} must be real: give real and imaginary parts as columns of their own. Received: complex numbers."
    )


def row_name(labels: Any, row: int) -> str:
    """Return a row by its own label, or its number if it has none."""
    if labels is None:
        return f"row {row}"
    label = labels[row]
    return f"row {label!r}" if isinstance(label, str | tuple) else f"row {label}"


def as_array(values: Data, description: str) -> np.ndarray:
    """Return a list or array as an array that holds its values as they are.

    Raises:
        ValueError: the rows have different lengths.
    """
    if isinstance(values, list | tuple) and any(_needs_object(value) for value in values):
        return np.array([*values, None], object)[:-1]
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{description} must have rows of one length. Received: {type(values).__name__}.") from None


def _needs_object(value: Any) -> bool:
    """Return whether NumPy would change a value of a list: beside text all becomes text, a large integer is rounded."""
    return isinstance(value, str | bytes) or (isinstance(value, int) and abs(value) > EXACT_INTEGERS)


def _tensor_or_sparse(values: Data, description: str, text: bool) -> Any:
    """Return a tensor or sparse matrix as it is; a sparse one row after row, as Keras's adapter assumes it to be."""
    if is_tensor(values) and values.dtype == tf.string and not text:
        raise _not_numeric(description, "strings")
    if values.dtype.is_complex if is_tensor(values) else values.dtype.kind == "c":
        raise is_complex(description)
    if is_sparse_tensor(values):
        rows = np.asarray(values.indices)[:, 0]
        return values if (rows[1:] >= rows[:-1]).all() else tf.sparse.reorder(values)
    return values.tocsr() if hasattr(values, "tocsr") else values


def _read_column(column: nw.Series, description: str, text: bool, empty_is_missing: bool) -> Values:
    dtype, native = column.dtype, column.to_native()
    if dtype == nw.Categorical and not _is_text_category(column):
        column = _numeric_category(column)
        dtype = column.dtype
    if dtype.is_float():
        return Values(column.to_numpy())
    if column.null_count() == len(column) and not text:  # a column of nulls alone is of any dtype
        return Values(np.full(len(column), np.nan))
    if dtype.is_integer() or dtype == nw.Boolean:
        if not column.null_count():
            return Values(column.to_numpy())
        filled = column.fill_null(False if dtype == nw.Boolean else 0)
        return Values(filled.to_numpy(), column.is_null().to_numpy())
    if dtype == nw.Decimal:
        return Values(column.cast(nw.Float64).to_numpy())
    if dtype in (nw.String, nw.Categorical, nw.Enum):
        if not text:
            raise _text_in_numbers(description, column.drop_nulls(), column)
        strings = column.cast(nw.String)
        missing = strings.is_null() | (strings == "") if empty_is_missing else strings.is_null()
        return Values(strings.fill_null("").to_numpy().astype(object), missing.fill_null(True).to_numpy().astype(bool))
    if dtype.is_temporal():
        raise _are_dates(description, str(getattr(native, "dtype", dtype)))
    if dtype == nw.Object or dtype == nw.Binary:
        objects = np.array([*column.to_list(), None], object)[:-1]
        return _read_objects(objects, description, text, empty_is_missing, row_labels(column))
    if column.null_count() == len(column):
        return Values(np.full(len(column), np.nan))
    if "complex" in str(getattr(native, "dtype", "")):
        raise is_complex(description)
    raise _not_numeric(description, f"dtype {getattr(native, 'dtype', dtype)}")


def is_text_column(column: nw.Series) -> bool:
    """Return whether a column of a table holds text, or categories named by text."""
    dtype = column.dtype
    if dtype == nw.Categorical:
        return _is_text_category(column)
    if dtype == nw.Object:
        return any(isinstance(value, str | bytes) for value in column.to_list())
    return dtype in (nw.String, nw.Enum, nw.Binary)


def _is_text_category(column: nw.Series) -> bool:
    return column.cat.get_categories().dtype in (nw.String, nw.Object) or not len(column.cat.get_categories())


def _numeric_category(column: nw.Series) -> nw.Series:
    """Return the numbers behind categories that are named by numbers."""
    native = column.to_native()
    if hasattr(native, "cat"):
        name = native.name
        categories = native.cat.categories.to_series().reset_index(drop=True)
        codes = native.cat.codes
        numbers = categories.reindex(codes.where(codes >= 0, len(categories))).set_axis(native.index)
        return nw.from_native(numbers.rename(name), series_only=True)
    decoded = native.combine_chunks().dictionary_decode()  # Arrow's; narwhals would read nulls as categories
    import pyarrow

    return nw.from_native(pyarrow.chunked_array([decoded]), series_only=True)


def _read_objects(
    array: np.ndarray, description: str, text: bool, empty_is_missing: bool, labels: Any = None
) -> Values:
    """Return objects as numbers or as text; name the first that is neither."""
    flat = array.ravel()
    missing = np.asarray(pd.isna(flat), bool) if flat.size else np.zeros(0, bool)
    is_text = np.array([isinstance(value, str | bytes) for value in flat], bool)
    present = ~missing
    width = int(np.prod(array.shape[1:])) if array.ndim > 1 else 1
    if is_text.any():
        odd = np.flatnonzero(present & (~is_text if text else is_text))
        if odd.size:
            row = row_name(labels, int(odd[0]) // max(width, 1))
            shown = f"{flat[odd[0]]!r} in {row}"
            if (is_text == present).all():  # text alone
                raise _not_numeric(description, shown)
            raise ValueError(
                f"{description} holds both numbers and text: make them all numbers (pandas.to_numeric(..., "
                f"errors='coerce') makes text a missing value), or all text. Received: {shown}."
            )
        filled = np.where(missing, "", flat)
        empty = np.array([not value for value in filled], bool) if empty_is_missing else missing
        return Values(filled.astype(object).reshape(array.shape), _by_row(missing | empty, array.shape))
    numbers = _numbers(flat, present, description, labels, max(width, 1))
    if numbers.dtype.kind in "iu" and missing.any():
        return Values(numbers.reshape(array.shape), _by_row(missing, array.shape))
    return Values(numbers.reshape(array.shape))


def _numbers(flat: np.ndarray, present: np.ndarray, description: str, labels: Any, width: int) -> np.ndarray:
    """Return objects as int64 if they are whole numbers, else as float64 with NaN for missing ones."""
    values = flat[present].tolist()
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        whole = np.zeros(len(flat), np.int64)
        if max(values) < 2**63 and min(values) >= -(2**63):
            whole[present] = values
            return whole
    numbers = np.full(len(flat), np.nan)
    for i in np.flatnonzero(present):
        value = flat[i]
        shown = f"{_short(value)} of type {type(value).__name__} in {row_name(labels, int(i) // width)}"
        if hasattr(value, "isoformat"):
            raise _are_dates(description, shown)
        if isinstance(value, complex):
            raise is_complex(description)
        try:
            numbers[i] = float(value)
        except OverflowError:
            raise ValueError(f"{description} must hold numbers that float64 holds. Received: {shown}.") from None
        except (TypeError, ValueError):
            raise _not_numeric(description, shown) from None
        if isinstance(value, int) and abs(value) > EXACT_INTEGERS and int(numbers[i]) != value:
            raise ValueError(
                f"{description} must hold integers that float64 holds exactly: subtract an offset first. "
                f"Received: {shown}."
            )
        if math.isinf(numbers[i]) and not isinstance(value, float | np.floating):
            raise ValueError(f"{description} must hold numbers that float64 holds. Received: {shown}.")
    return numbers


def _by_row(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask `(n,)` of rows with a value of a mask of values."""
    return mask if len(shape) == 1 else np.asarray(mask.reshape(shape[0], -1).any(axis=1))


def _short(value: Any) -> str:
    shown = (
        repr(value) if not isinstance(value, int) or abs(value) < 10**40 else f"an integer of {value.bit_length()} bits"
    )
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _text_in_numbers(description: str, present: nw.Series, column: nw.Series) -> ValueError:
    if not len(present):
        return _not_numeric(description, f"dtype {getattr(column.to_native(), 'dtype', column.dtype)}")
    row = int(np.argmax(~column.is_null().to_numpy()))
    return _not_numeric(description, f"{str(present.item(0))!r} in {row_name(row_labels(column), row)}")


def _are_dates(description: str, received: str) -> ValueError:
    return ValueError(f"{description} must be numeric, and holds dates or times: {DATES}. Received: {received}.")


def _not_numeric(description: str, received: str) -> ValueError:
    return ValueError(
        f"{description} must be numeric: only numbers can be fitted without {TAKES_TEXT}. Received: {received}."
    )
