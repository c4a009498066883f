"""A bounded sample of the data to draw, in the form that the model takes."""

import dataclasses
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import tensorflow as tf

from keras_linreg.callbacks.data_to_draw import separate, without_sparse
from keras_linreg.data import TablePreprocessor
from keras_linreg.data.kinds import is_scipy_sparse
from keras_linreg.data.pairing import common_labels
from keras_linreg.data.table_preprocessor import pick
from keras_linreg.data.tables import as_native, as_table
from keras_linreg.data.values import read
from keras_linreg.utils.types import Array, Data

GRID_SIZE = 100
NUMBERS, NUMBERS_AND_BOOLEANS = "iuf", "iufb"  # kinds of NumPy dtypes


@dataclasses.dataclass(frozen=True)
class Sample:
    """Rows of the data to draw, and the inputs of `predict`.

    Attributes:
        inputs: the sampled x; if x is one numeric feature, a grid over its values, in the form of x.
        rows: the number of rows of `inputs`.
        y: the observed values, float64 `(n, outputs)`.
        points: the values of the one feature, float64 `(n,)`; None if there are several.
        grid: the grid, float64 `(rows,)`; None if there are several features.
        feature: the name of the one feature.
        targets: the names of the outputs, or None if y has none.
    """

    inputs: Any
    rows: int
    y: Array
    points: Array | None
    grid: Array | None
    feature: str
    targets: list[str] | None

    @classmethod
    def from_data(cls, x: Data, y: Data, max_rows: int) -> "Sample":
        """Return a sample of all rows, or of random ones.

        Args:
            x: the features, in any form that `fit` takes, of n rows; a dataset and a tuple hold y too.
            y: the observed values: an array, tensor, column or table, `(n,)` or `(n, outputs)`; a column's name.
            max_rows: the largest number of rows to draw.
        """
        x, y = separate(x, y, max_rows)
        common_labels({"x": x, "y": y})
        x, y = _check_rows("x", x), _check_rows("y", y)
        if isinstance(y, dict):
            raise ValueError("`y` must be an array, tensor, Series or DataFrame. Received: a dict.")
        lengths = {len(column) for column in x.values()} if isinstance(x, dict) else {x.shape[0]}
        if lengths != {len(y)} or not len(y):
            raise ValueError(
                "`x` and `y` must have the same number of rows, at least one. "
                f"Received: x with {' and '.join(map(str, sorted(lengths))) or 'no'} rows, y with {len(y)}."
            )
        names = _column_names(y)
        rows = np.arange(len(y))
        if len(y) > max_rows:
            # A generator of our own does not change the user's random numbers.
            rows = np.sort(np.random.default_rng(0).choice(len(y), max_rows, replace=False, shuffle=False))
        x, y = _select_rows(x, rows), _select_rows(y, rows)
        values = _as_float64(y)
        if values is None or values.ndim not in (1, 2):
            raise ValueError(
                "`y` must hold numbers, of shape (n,) or (n, outputs). "
                f"Received: {type(y).__name__} of shape {tuple(y.shape)}, "
                f"dtype {getattr(y, 'dtype', 'by column')}."
            )
        values = values.reshape(len(rows), -1)
        points = _single_feature(x)
        if points is None:
            inputs = {name: _native(column) for name, column in x.items()} if isinstance(x, dict) else _native(x)
            return cls(inputs, len(rows), values, None, None, "x", names)
        inputs, grid = _grid_like(x, points)
        return cls(inputs, len(grid), values, points, grid, (_column_names(x) or ["x"])[0], names)

    @classmethod
    def from_formula(cls, x: Data, model: Any, max_rows: int) -> "Sample":
        """Return a sample of a table, of which the model's formula takes y.

        Raises:
            ValueError: the model has no formula with a left side.
        """
        preprocessor, table = getattr(model, "preprocessor", None), as_table(x)
        if table is None or not isinstance(preprocessor, TablePreprocessor) or preprocessor.response_name is None:
            raise ValueError(
                "`y` must be given, unless the model has a formula with a left side and `x` is a table. "
                "Received: y=None."
            )
        names = [column.name for column in preprocessor.inputs]
        columns = {name: _native(column) for name, column in pick(table.columns, names).items()}
        target = preprocessor.read(table, with_target=True).target()[:, 0]
        return cls.from_data(columns, pd.Series(target, table.labels, name=preprocessor.response_name), max_rows)


def _check_rows(argument: str, data: Data) -> Any:
    """Return the data as an array, a tensor, a table or column of narwhals or pandas, or a dict of these.

    Raises:
        ValueError: the data have no rows.
    """
    if isinstance(data, dict):
        return {name: _check_rows(f"{argument}[{name!r}]", column) for name, column in data.items()}
    data = without_sparse(data)
    if is_scipy_sparse(data):
        return data
    if not hasattr(data, "iloc"):
        data = as_native(data, argument)
    if not isinstance(data, tf.Tensor | nw.DataFrame | nw.Series) and not hasattr(data, "iloc"):
        data = np.asarray(data) if not isinstance(data, tf.RaggedTensor) else np.array(None)
    if not tuple(data.shape):  # a number, None
        raise ValueError(
            f"`{argument}` must be an array, tensor, Series, DataFrame or dict of columns, with rows. "
            f"Received: {data!r}."
        )
    return data


def _select_rows(data: Any, rows: Array) -> Any:
    if isinstance(data, dict):
        return {name: _select_rows(column, rows) for name, column in data.items()}
    if isinstance(data, tf.Tensor):
        return tf.gather(data, rows)
    return data.iloc[rows] if hasattr(data, "iloc") else data[rows]


def _native(data: Any) -> Any:
    """Return the data in the form that the user gave."""
    return data.to_native() if isinstance(data, nw.DataFrame | nw.Series) else data


def _column_names(data: Any) -> list[str] | None:
    """Return the names of columns or of a Series, or None."""
    if isinstance(data, dict) or hasattr(data, "columns"):
        return [str(name) for name in (data if isinstance(data, dict) else data.columns)]
    is_column = hasattr(data, "iloc") or isinstance(data, nw.Series)
    return [str(data.name)] if is_column and data.name not in (None, "") else None


def _as_float64(data: Any, kinds: str = NUMBERS_AND_BOOLEANS) -> Array | None:
    """Return the data in float64, or None if a dtype is not of these kinds."""
    if isinstance(data, tf.Tensor):
        numeric = data.dtype.is_floating or data.dtype.is_integer or (data.dtype.is_bool and "b" in kinds)
        return tf.cast(data, "float64").numpy() if numeric else None
    if isinstance(data, nw.DataFrame | nw.Series):
        columns = list(data.iter_columns()) if isinstance(data, nw.DataFrame) else [data]
        if not all(c.dtype.is_numeric() or (c.dtype == nw.Boolean and "b" in kinds) for c in columns):
            return None
        arrays = [np.asarray(read(column, "A column").as_float(), np.float64) for column in columns]
        return np.column_stack(arrays) if isinstance(data, nw.DataFrame) else arrays[0]
    dtypes = list(data.dtypes) if hasattr(data, "columns") else [data.dtype]
    if any(dtype.kind not in kinds for dtype in dtypes):
        return None
    if hasattr(data, "iloc"):
        return data.to_numpy(dtype="float64", na_value=np.nan)
    return data.astype("float64")


def _single_feature(x: Any) -> Array | None:
    """Return the values `(n,)` if x is one numeric feature, else None. Booleans are no numbers to draw a line of."""
    if isinstance(x, dict):
        return _single_feature(next(iter(x.values()))) if len(x) == 1 else None
    if is_scipy_sparse(x) or len(x.shape) > 2 or tuple(x.shape)[1:] not in ((), (1,)):
        return None
    points = _as_float64(x, NUMBERS)
    return None if points is None or not np.isfinite(points).any() else points.reshape(-1)


def _grid_like(x: Any, points: Array) -> tuple[Any, Array]:
    """Return a grid over the points, first in the form and dtype of x, then in float64 `(m,)`."""
    if isinstance(x, dict):
        ((name, column),) = x.items()
        column, grid = _grid_like(column, points)
        return {name: column}, grid
    points = points[np.isfinite(points)]
    grid = np.linspace(points.min(), points.max(), GRID_SIZE)
    if isinstance(x, nw.DataFrame | nw.Series):
        column = next(x.iter_columns()) if isinstance(x, nw.DataFrame) else x
        grid = np.unique(np.round(grid) if column.dtype.is_integer() else grid)
        values = nw.new_series(column.name, grid, backend=column.implementation).cast(column.dtype)
        return _native(values.to_frame() if isinstance(x, nw.DataFrame) else values), grid
    dtype = next(iter(x.dtypes)) if hasattr(x, "columns") else x.dtype
    if dtype.is_integer if isinstance(x, tf.Tensor) else dtype.kind in "iu":
        grid = np.round(grid)
    grid = np.unique(grid)
    if hasattr(x, "iloc"):
        column = pd.Series(grid).astype(dtype)
        form = column.to_frame(x.columns[0]) if hasattr(x, "columns") else column.rename(x.name)
    else:
        column = grid.reshape(-1, *tuple(x.shape)[1:])
        form = tf.cast(column, dtype) if isinstance(x, tf.Tensor) else column.astype(dtype)
    return form, grid
