"""Inputs: rows in memory as the model takes them, before the preprocessor: named columns, or one matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data import columns as kinds_of_columns
from keras_linreg.data import preprocessing, preprocessor_columns
from keras_linreg.data.column_matrix import ColumnMatrix
from keras_linreg.data.integers import check_rounding, check_whole
from keras_linreg.data.kinds import is_dense_tensor, is_tensor
from keras_linreg.data.missing import keep_rows, nan_mask, nan_masks
from keras_linreg.data.schema import Schema
from keras_linreg.data.tables import Table, match
from keras_linreg.data.values import Values, read, row_name
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")

MOST_NAMED = 10  # categories in an error


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """Rows in memory, before the preprocessor.

    Attributes:
        columns: what a preprocessor takes by name: numbers, or text without a missing value (empty instead); or None.
        matrix: the one matrix that the model takes, if there are no columns.
        names: of the columns, or of the matrix's columns.
        masks: `(n,)`, by name: rows without a value, of columns that cannot hold NaN.
    """

    columns: dict[str, Any] | None
    matrix: Any
    names: tuple[str, ...]
    masks: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        """The number of rows."""
        part = self.matrix if self.columns is None else next(iter(self.columns.values()))
        return int(part.shape[0])

    def all_masks(self) -> dict[str, np.ndarray | None]:
        """Return the masks of rows without a value, by column; NaN is none. The data are read once."""
        if self.columns is None:
            return nan_masks(self.matrix, self.names) | self.masks
        found = {name: None if is_text(column) else nan_mask(column) for name, column in self.columns.items()}
        return found | self.masks

    def keep(self, kept: np.ndarray) -> Inputs:
        """Return the rows under a mask."""
        columns = None if self.columns is None else {n: keep_rows(c, kept) for n, c in self.columns.items()}
        matrix = None if self.matrix is None else keep_rows(self.matrix, kept)
        return Inputs(columns, matrix, self.names, {name: mask[kept] for name, mask in self.masks.items()})

    def check_no_infinity(self) -> None:
        """Refuse infinity: in a bin or a code the loss would not see it."""
        if self.columns is None:
            kinds_of_columns.check_no_infinity(self.matrix, self.names)
        for name, column in (self.columns or {}).items():
            kinds_of_columns.check_no_infinity(column, [name])

    def design(self, preprocessor: Any) -> Any:
        """Return the design matrix `(n, p)`: an array or a (sparse) tensor; NaN in rows without a value."""
        if preprocessor is None:
            return self.matrix
        if self.columns is not None:
            try:
                design = preprocessing.apply(preprocessor, self.tensors())
            except Exception as error:
                refused = self._refused_category(preprocessor)
                if refused is None:
                    raise
                raise ValueError(refused) from error
        else:
            matrix = np.asarray(self.matrix) if isinstance(self.matrix, ColumnMatrix) else self.matrix
            design = preprocessing.apply(preprocessor, kinds_of_columns.as_tensor(matrix))
        missing = [mask for mask in self.masks.values() if mask.any()]
        if not missing:
            return design
        return tf.where(np.any(missing, axis=0)[:, None], tf.constant(np.nan, design.dtype), design)

    def _refused_category(self, preprocessor: Any) -> str | None:
        """Return the message of the first category that a layer of the preprocessor refuses; None for none."""
        columns = self.columns or {}
        for names, layer in preprocessor_columns.first_layers(preprocessor, list(columns)):
            known = preprocessor_columns.only_categories(layer)
            if known is None:
                continue
            for name in names:
                values = np.ravel(np.asarray(columns[name]))
                is_unknown = ~np.isin(values, np.asarray(known, values.dtype))
                unknown = np.flatnonzero(is_unknown & ~self.masks.get(name, np.zeros(len(values), bool)))
                if unknown.size:
                    some = ", ".join(map(repr, known[:MOST_NAMED])) + (", ..." if len(known) > MOST_NAMED else "")
                    value = values[unknown[0]]
                    return (
                        f"Column {name!r} of `x` must hold categories that its preprocessor knows: {some}. "
                        f"Received: {value.item() if isinstance(value, np.generic) else value!r} in row {unknown[0]}."
                    )
        return None

    def tensors(self) -> dict[str, tf.Tensor]:
        """Return the columns as tensors in their dtypes."""
        return {name: tf.convert_to_tensor(column) for name, column in (self.columns or {}).items()}


def is_text(column: Any) -> bool:
    """Return whether a column of inputs is text."""
    return column.dtype == (tf.string if is_tensor(column) else object)


def read_columns(x: Table | Data, schema: Schema, texts: frozenset[str]) -> Inputs:
    """Return the columns that a preprocessor takes by name; of a matrix by position.

    Args:
        x: a table or a matrix.
        schema: the columns and their dtypes.
        texts: names of the columns of free text, in which an empty one is not missing.
    """
    if isinstance(x, Table):
        given = match(x.columns, schema.names)
    else:
        given = kinds_of_columns.by_position(x if is_tensor(x) else np.asarray(x), schema)
    columns, masks = {}, {}
    for column in schema.inputs:
        name = column.name
        description = f"Column {name!r} of `x`"
        values = read(given[name], description, column.dtype == "string", name not in texts)
        if not len(values.array.shape):
            raise ValueError(f"{description} must have a value for each row. Received: a scalar.")
        values = _as_declared(values, name, column.dtype, x.labels if isinstance(x, Table) else None)
        columns[name] = values.array
        if values.missing is not None and values.missing.any():
            masks[name] = values.missing
    kinds_of_columns.check_same_rows(columns)
    return Inputs(columns, None, schema.names, masks)


def _as_declared(values: Values, name: str, dtype: str, labels: Any) -> Values:
    """Return a column in the dtype that a schema declares."""
    array, missing = values.array, values.missing
    if dtype == "string" and not is_text(array):
        array = np.asarray(array)
        _check_codes(array, missing, name, labels)
        array = array.astype(str).astype(object)  # codes that the preprocessor takes as text
        if missing is not None:
            array[missing] = ""
        return Values(array, missing)
    if dtype == "string":
        return values
    if dtype == "int64":
        if missing is None and not is_tensor(array) and (missing := nan_mask(array)) is not None:
            array = np.where(missing, 0, array)
        check_whole(array, name)
    array = kinds_of_columns.as_declared(array, dtype)
    return Values(array, missing)


def _check_codes(array: np.ndarray, missing: np.ndarray | None, name: str, labels: Any) -> None:
    """Refuse booleans and floats where text is wanted: nobody knows how they were spelled ("1", "1.0", "True")."""
    if array.dtype.kind in "iu":
        return
    row = 0 if missing is None else int(np.argmin(missing))
    kind = "booleans" if array.dtype.kind == "b" else "floats"
    raise ValueError(
        f"Column {name!r} of `x` must hold text, as the preprocessor takes it, and holds {kind}: spell them as the "
        "preprocessor has seen them, for example by column.map({True: 'yes', False: 'no'}) or "
        f"column.astype('Int64').astype('string'). Received: {array[row]!r} in {row_name(labels, row)}."
    )


def read_matrix(
    x: Table | Data,
    schema: Schema,
    names: Sequence[str] | None,
    dtype: str,
    strings: bool,
    is_flat: bool,
    empty_is_missing: bool = True,
) -> Inputs:
    """Return the one matrix that the model takes, of a matrix or of the columns of a table.

    Args:
        x: a table or a matrix.
        schema: the names and dtypes of the inputs.
        names: to match the columns of a table by; None for a matrix.
        dtype: of a matrix that is made of columns of several dtypes.
        strings: whether text is allowed.
        is_flat: whether the matrix must have two dimensions.
        empty_is_missing: whether the empty text is a missing category.
    """
    kind = schema.inputs[0].dtype
    if isinstance(x, Table):
        inputs = _stack(x, names or tuple(x.columns), kind, dtype, empty_is_missing)
    else:
        inputs = _read_nameless(x, schema, strings, is_flat, dtype, empty_is_missing)
    kinds_of_columns.check_width(inputs.matrix.shape, schema)
    if kind != "int64":
        return inputs
    matrix, masks = inputs.matrix, dict(inputs.masks)
    if not is_tensor(matrix):
        found = {name: mask for name, mask in nan_masks(matrix, inputs.names).items() if mask is not None}
        masks |= found
        matrix = np.nan_to_num(np.asarray(matrix), nan=0.0) if found else np.asarray(matrix)
    return dataclasses.replace(inputs, matrix=kinds_of_columns.as_codes(matrix, schema.names[0]), masks=masks)


def _read_nameless(x: Data, schema: Schema, strings: bool, is_flat: bool, dtype: str, empty_is_missing: bool) -> Inputs:
    values = read(x, "`x`", strings, empty_is_missing)
    shape = tuple(values.array.shape)
    if len(shape) == 0:
        raise ValueError("`x` must have one row for each observation. Received: a scalar.")
    if len(shape) > 1 and (0 in shape[1:] or (len(shape) > 2 and is_flat)):
        raise ValueError(f"`x` must be of shape (n,) or (n, p), with at least one column. Received: shape {shape}.")
    width = 1 if len(shape) == 1 else shape[-1]
    known = schema.feature_names if schema.feature_names and len(schema.feature_names) == width else None
    names = known or tuple(f"x{i}" for i in range(width))
    array = values.array
    if is_dense_tensor(array) and array.dtype.is_integer and tf.executing_eagerly():
        array = array.numpy()
    masks: dict[str, np.ndarray] = {}
    if values.missing is not None and values.missing.any():
        if array.dtype == object or schema.inputs[0].dtype == "int64":
            masks["x"] = values.missing
        else:
            array = values.as_float()
    if schema.inputs[0].dtype != "int64" and isinstance(array, np.ndarray) and array.dtype.kind in "iu":
        for i, column in enumerate([array] if array.ndim == 1 else np.moveaxis(array, -1, 0)):
            check_rounding(column, f"Column {names[i]!r} of `x`", dtype)
    if len(shape) == 1:
        array = tf.expand_dims(array, -1) if is_tensor(array) else array.reshape(-1, 1)
    return Inputs(None, array, names, masks)


def _stack(table: Table, names: Sequence[str], kind: str, dtype: str, empty_is_missing: bool) -> Inputs:
    """Return columns as a matrix: of text, of codes, or of numbers; columns of floats are not copied.

    Columns of float64 alone stay float64 (Keras's own adapter then casts them to floatx); others become `dtype`.
    """
    columns = match(table.columns, names)
    if table.whole is not None and tuple(columns) == tuple(table.columns) and kind != "string":
        whole = table.whole
        if whole.dtype.kind in "iu" and kind != "int64":
            for name, column in zip(columns, whole.T, strict=True):
                check_rounding(column, f"Column {name!r} of `x`", dtype)
        return Inputs(None, whole if whole.dtype.kind != "b" else whole.astype(dtype), tuple(columns), {})
    arrays, masks = {}, {}
    for name, column in columns.items():
        description = f"Column {name!r} of `x`"
        values = read(column, description, kind == "string", empty_is_missing)
        if kind in ("string", "int64") and values.missing is not None and values.missing.any():
            masks[name] = values.missing
        array = np.asarray(values.array if kind in ("string", "int64") else values.as_float())
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise ValueError(f"{description} must be of shape (n,) or (n, 1). Received: shape {array.shape}.")
        if kind != "int64":
            check_rounding(array, description, dtype)
        arrays[name] = array
    kinds_of_columns.check_same_rows(arrays)
    if kind == "string":
        return Inputs(
            None, np.column_stack([column.astype(object) for column in arrays.values()]), tuple(arrays), masks
        )
    if kind == "int64":
        return Inputs(None, np.column_stack(list(arrays.values())), tuple(arrays), masks)
    is_double = all(array.dtype == np.float64 for array in arrays.values())
    columns_in_place = ColumnMatrix(list(arrays.values()), "float64" if is_double else dtype)
    return Inputs(None, columns_in_place, tuple(arrays), masks)
