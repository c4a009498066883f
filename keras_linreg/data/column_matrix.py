"""Matrices that are put together when they are read: the columns of a table."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np


class LazyMatrix(abc.ABC):
    """A matrix `(n, p)` whose rows are put together when they are read, a slice at a time."""

    ndim = 2
    dtype: np.dtype
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """The count of numbers."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """The bytes of the numbers as a matrix."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    @abc.abstractmethod
    def __getitem__(self, key: Any) -> Any:
        """Return some rows, by a slice, mask or numbers: such a matrix; with `[:, j]` a column; `[i]` a row."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the matrix as one array, column by column in memory; it is always a copy.

        Raises:
            ValueError: a copy is not allowed.
        """
        if copy is False:
            raise ValueError(f"A {type(self).__name__} cannot become one array without a copy.")
        out = np.empty(self.shape, self.dtype if dtype is None else dtype, order="F")
        with np.errstate(over="ignore"):  # whoever reads the numbers finds infinities
            self._write(out)
        return out

    @abc.abstractmethod
    def _write(self, out: np.ndarray) -> None:
        """Write the numbers into an array."""

    def astype(self, dtype: Any) -> np.ndarray:
        """Return the matrix as one array of another dtype."""
        return self.__array__(dtype)


class ColumnMatrix(LazyMatrix):
    """Columns `(n,)` as a matrix `(n, p)`, without a copy of them.

    Args:
        columns: of numbers, of the same length.
        dtype: of the matrix.

    Example:
    >>> matrix = ColumnMatrix([np.arange(4.0), np.ones(4)], "float64")
    >>> np.asarray(matrix[1:3])
    array([[1., 1.],
           [2., 1.]])
    """

    def __init__(self, columns: Sequence[np.ndarray], dtype: str):
        self.columns = list(columns)
        self.dtype = np.dtype(dtype)
        self.shape = (len(columns[0]), len(columns))

    def __getitem__(self, key: Any) -> Any:
        """Return some rows, by a slice, mask or numbers: a ColumnMatrix; with `[:, j]` a column; `[i]` a row."""
        if isinstance(key, tuple):
            rows, column = key
            return self.columns[column][rows]
        if isinstance(key, int | np.integer):
            return np.array([column[key] for column in self.columns], self.dtype)
        return ColumnMatrix([column[key] for column in self.columns], self.dtype.name)

    def _write(self, out: np.ndarray) -> None:
        for i, column in enumerate(self.columns):
            out[:, i] = column

    def less(self, shift: np.ndarray, out: np.ndarray, start: int = 0) -> None:
        """Write rows of the matrix less a number for each column into an array.

        Args:
            shift: `(p,)`.
            out: `(m, p)`, float64.
            start: the first of the m rows.
        """
        parts = [column[start : start + len(out)] for column in self.columns]
        if out.T.flags.c_contiguous and all(part.dtype.isbuiltin == 1 for part in parts):
            # One call converts all columns: threads do not wait for each other between them.
            np.concatenate(parts, out=out.T.reshape(-1), casting="unsafe")
        else:
            for i, part in enumerate(parts):
                out[:, i] = part
        if shift.any():
            out -= shift  # NumPy would convert and subtract in pieces, and take longer

    @classmethod
    def stacked(cls, matrices: Sequence[ColumnMatrix]) -> ColumnMatrix:
        """Return the rows of several matrices as one, column by column copied once."""
        dtype = np.result_type(*(matrix.dtype for matrix in matrices)).name
        columns = zip(*(matrix.columns for matrix in matrices), strict=True)
        return cls([np.concatenate(parts) for parts in columns], dtype)
