"""CellMatrix: the design of factors and numbers, whose indicator columns are not written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_linreg.data.column_matrix import LazyMatrix


class CellMatrix(LazyMatrix):
    """Numeric columns times the contrasts of levels, as a matrix `(n, p)`. Its rows are written when they are read.

    ```python
    matrix[i, j] == parts[part_of_column[j]][i] * signs[0][codes[0][i], j] * signs[1][codes[1][i], j] * ...
    ```

    Where one array of codes numbers all combinations of levels, a code is a cell: within it each column is one of the
    parts times 1, -1 or 0.

    Args:
        parts: q numeric columns `(n,)`, float64. None stands for ones.
        codes: integers `(n,)`, one array or several.
        signs: for each array of codes an array `(codes, p)`: -1, 0 or 1, or NaN for missing levels.
        part_of_column: `(p,)`.

    Example:
    >>> signs = np.array([[0.0, 1.0], [1.0, 1.0]])
    >>> matrix = CellMatrix([None, np.array([2.0, 3.0])], [np.array([1, 0])], [signs], [0, 1])
    >>> np.asarray(matrix)
    array([[1., 2.],
           [0., 3.]])
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self,
        parts: Sequence[np.ndarray | None],
        codes: Sequence[np.ndarray],
        signs: Sequence[np.ndarray],
        part_of_column: Sequence[int] | np.ndarray,
    ):
        self.parts = list(parts)
        self.codes = list(codes)
        self.signs = list(signs)
        self.part_of_column = np.asarray(part_of_column)
        self.shape = (len(self.codes[0]), self.signs[0].shape[1])

    def __getitem__(self, key: Any) -> Any:
        """Return some rows, by a slice, mask or numbers: a CellMatrix; with `[:, j]` a column; `[i]` a row."""
        if isinstance(key, tuple):
            rows, column = key
            return self[rows]._column(column)
        if isinstance(key, int | np.integer):
            return np.asarray(self[[key]])[0]
        parts = [None if part is None else part[key] for part in self.parts]
        return CellMatrix(parts, [codes[key] for codes in self.codes], self.signs, self.part_of_column)

    def _column(self, j: int) -> np.ndarray:
        column = self.signs[0][:, j][self.codes[0]]
        for codes, signs in zip(self.codes[1:], self.signs[1:], strict=True):
            column = column * signs[:, j][codes]
        part = self.parts[self.part_of_column[j]]
        return column if part is None else column * part

    def _write(self, out: np.ndarray) -> None:
        for j in range(self.shape[1]):
            out[:, j] = self._column(j)
