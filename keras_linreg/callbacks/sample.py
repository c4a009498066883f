"""What is drawn: a bounded sample of the data, in the form that the model takes, and of the losses."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

GRID = 100


@dataclasses.dataclass(frozen=True)
class Sample:
    """Rows of the data to draw, and the inputs to predict for."""

    inputs: Any  # what `predict` is given: the sampled x, or a grid in its form where there is a line to draw
    rows: int  # of inputs
    y: np.ndarray  # (n, outputs) float64
    points: np.ndarray | None  # (n,), the one feature, where there is a line to draw
    grid: np.ndarray | None  # (rows,)
    feature: str
    targets: list[str] | None  # the outputs' names, where y has them

    @classmethod
    def of(cls, x, y, most) -> "Sample":
        """Return at most so many random rows of the data, or all, and a grid where x is one numeric feature."""
        x, y = _as_data("x", x), _as_data("y", y)
        if isinstance(y, dict):
            raise ValueError("`y` must be an array, tensor, Series or DataFrame. Received: a dict.")
        lengths = {len(column) for column in x.values()} if isinstance(x, dict) else {len(x)}
        if lengths != {len(y)} or not len(y):
            raise ValueError(
                "`x` and `y` must have the same number of rows, at least one. "
                f"Received: x with {' and '.join(map(str, sorted(lengths))) or 'no'} rows, y with {len(y)}."
            )
        names = _column_names(y)
        rows = np.arange(len(y))
        if len(y) > most:
            # Ours alone, so that drawing leaves the user's random numbers as they were.
            rows = np.sort(np.random.default_rng(0).choice(len(y), most, replace=False, shuffle=False))
        x, y = _take(x, rows), _take(y, rows)
        values = _floats(y)
        if values is None or values.ndim not in (1, 2):
            raise ValueError(
                "`y` must hold numbers, of shape (n,) or (n, outputs). "
                f"Received: {type(y).__name__} of shape {tuple(y.shape)}, "
                f"dtype {getattr(y, 'dtype', 'by column')}."
            )
        values = values.reshape(len(rows), -1)
        points = _one_feature(x)
        if points is None:
            return cls(x, len(rows), values, None, None, "x", names)
        inputs, grid = _grid_like(x, points)
        return cls(inputs, len(grid), values, points, grid, (_column_names(x) or ["x"])[0], names)


def _as_data(argument, data):
    """Return `data` as what has rows to sample: an array, a tensor, a pandas object, or a dict of these."""
    if isinstance(data, dict):
        return {name: _as_data(f"{argument}[{name!r}]", column) for name, column in data.items()}
    if not isinstance(data, tf.Tensor) and not hasattr(data, "iloc"):
        data = np.asarray(data) if not isinstance(data, tf.RaggedTensor) else np.array(None)
    if not tuple(data.shape):  # a dataset, a sparse tensor, a number
        raise ValueError(
            f"`{argument}` must be an array, tensor, Series, DataFrame or dict of columns, with rows. "
            f"Received: {data!r}."
        )
    return data


def _take(data, rows):
    if isinstance(data, dict):
        return {name: _take(column, rows) for name, column in data.items()}
    if isinstance(data, tf.Tensor):
        return tf.gather(data, rows)
    return data.iloc[rows] if hasattr(data, "iloc") else data[rows]


def _column_names(data) -> list[str] | None:
    if isinstance(data, dict) or hasattr(data, "columns"):
        return [str(name) for name in (data if isinstance(data, dict) else data.columns)]
    return None if getattr(data, "name", None) is None or not hasattr(data, "iloc") else [str(data.name)]


def _floats(data, kinds="iufb") -> np.ndarray | None:
    """Return the data as float64, or None where it is not of these NumPy kinds."""
    if isinstance(data, tf.Tensor):
        numeric = data.dtype.is_floating or data.dtype.is_integer or (data.dtype.is_bool and "b" in kinds)
        return tf.cast(data, "float64").numpy() if numeric else None
    dtypes = list(data.dtypes) if hasattr(data, "columns") else [data.dtype]
    if any(dtype.kind not in kinds for dtype in dtypes):
        return None
    if hasattr(data, "iloc"):
        return data.to_numpy(dtype="float64", na_value=np.nan)
    return data.astype("float64")


def _one_feature(x) -> np.ndarray | None:
    """Return the points `(n,)` where x is one numeric feature. No line runs between booleans."""
    if isinstance(x, dict):
        return _one_feature(next(iter(x.values()))) if len(x) == 1 else None
    if len(x.shape) > 2 or tuple(x.shape)[1:] not in ((), (1,)):
        return None
    points = _floats(x, "iuf")
    return None if points is None or not np.isfinite(points).any() else points.reshape(-1)


def _grid_like(x, points):
    """Return a grid over the points in the form and dtype of x, and as float64 `(m,)`."""
    if isinstance(x, dict):
        ((name, column),) = x.items()
        column, grid = _grid_like(column, points)
        return {name: column}, grid
    points = points[np.isfinite(points)]
    grid = np.linspace(points.min(), points.max(), GRID)
    dtype = next(iter(x.dtypes)) if hasattr(x, "columns") else x.dtype
    if dtype.is_integer if isinstance(x, tf.Tensor) else dtype.kind in "iu":
        grid = np.round(grid)
    grid = np.unique(grid)
    if hasattr(x, "iloc"):
        import pandas as pd

        column = pd.Series(grid).astype(dtype)
        form = column.to_frame(x.columns[0]) if hasattr(x, "columns") else column.rename(x.name)
    else:
        column = grid.reshape(-1, *tuple(x.shape)[1:])
        form = tf.cast(column, dtype) if isinstance(x, tf.Tensor) else column.astype(dtype)
    return form, grid


class Thinned:
    """The values of every k-th epoch, and of the last; k doubles when there are too many."""

    def __init__(self, most: int):
        self._most, self._every, self._seen = most, 1, 0
        self._rows: list[tuple[int, float]] = []
        self._newest: list[tuple[int, float]] = []

    def add(self, epoch: int, value: float):
        """Note the value of an epoch."""
        self._newest = [(epoch, value)]
        if self._seen % self._every == 0:
            self._rows.append((epoch, value))
            if len(self._rows) > self._most:
                self._rows, self._every = self._rows[::2], 2 * self._every
        self._seen += 1

    def kept(self) -> list[tuple[int, float]]:
        """Return the pairs of epoch and value that are left, the newest included."""
        return self._rows + self._newest
