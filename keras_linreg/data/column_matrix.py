"""ColumnMatrix: the columns of a table as a matrix, without a copy of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class ColumnMatrix:
    """Columns `(n,)` as a matrix `(n, p)`. Its rows are put together when they are read, a slice at a time.

    Args:
        columns: of numbers, of the same length.
        dtype: of the matrix.

    Example:
    >>> matrix = ColumnMatrix([np.arange(4.0), np.ones(4)], "float64")
    >>> np.asarray(matrix[1:3])
    array([[1., 1.],
           [2., 1.]])
    """

    ndim = 2

    def __init__(self, columns: Sequence[np.ndarray], dtype: str):
        self.columns = list(columns)
        self.dtype = np.dtype(dtype)
        self.shape = (len(columns[0]), len(columns))

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

    def __getitem__(self, key: Any) -> Any:
        """Return some rows, by a slice, mask or numbers: a ColumnMatrix; with `[:, j]` a column; `[i]` a row."""
        if isinstance(key, tuple):
            rows, column = key
            return self.columns[column][rows]
        if isinstance(key, int | np.integer):
            return np.array([column[key] for column in self.columns], self.dtype)
        return ColumnMatrix([column[key] for column in self.columns], self.dtype.name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the matrix as one array, column by column in memory; it is always a copy.

        Raises:
            ValueError: a copy is not allowed.
        """
        if copy is False:
            raise ValueError("A ColumnMatrix cannot become one array without a copy.")
        out = np.empty(self.shape, self.dtype if dtype is None else dtype, order="F")
        with np.errstate(over="ignore"):  # whoever reads the numbers finds infinities
            for i, column in enumerate(self.columns):
                out[:, i] = column
        return out

    def less(self, shift: np.ndarray, out: np.ndarray) -> None:
        """Write the matrix less a number for each column, `shift` `(p,)`, into an array `(n, p)`."""
        for i, column in enumerate(self.columns):
            np.subtract(column, shift[i], out=out[:, i])

    def astype(self, dtype: Any) -> np.ndarray:
        """Return the matrix as one array of another dtype."""
        return self.__array__(dtype)
