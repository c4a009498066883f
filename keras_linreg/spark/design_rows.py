"""The design of a formula on a worker, in NumPy: a worker loads no TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_linreg.data.cell_matrix import CellMatrix
from keras_linreg.data.column_matrix import ColumnMatrix, LazyMatrix
from keras_linreg.data.missing import find, nan_mask
from keras_linreg.data.prepared import Rows
from keras_linreg.data.targets import read_weights
from keras_linreg.spark.terms import Term, read_numbers
from keras_linreg.utils.types import Array


@dataclasses.dataclass(frozen=True)
class Levels:
    """A categorical factor of a formula.

    Attributes:
        column: that holds its levels.
        levels: in the order of their codes: all text, or all numbers.
        unseen: the code of levels that were not seen; None if they are refused.
        signs: `(levels, p)`: its contrasts for all columns of the design, 1 where it is no part of one.
    """

    column: str
    levels: tuple[Any, ...]
    unseen: int | None
    signs: Array

    def codes(self, column: Any) -> tuple[Array, Array]:
        """Return the codes of an Arrow array, -1 for a level that was not seen; and the mask of missing values."""
        import pyarrow
        import pyarrow.compute

        if isinstance(self.levels[0], str):
            missing = np.asarray(pyarrow.compute.fill_null(pyarrow.compute.equal(column, ""), True))
            known = pyarrow.array(self.levels, column.type)
        else:
            whole = pyarrow.types.is_integer(column.type)
            kind = pyarrow.int64() if whole and all(float(level).is_integer() for level in self.levels) else None
            kind = kind or pyarrow.float64()
            column = column.cast(pyarrow.int8()) if pyarrow.types.is_boolean(column.type) else column
            column, known = column.cast(kind), pyarrow.array([float(level) for level in self.levels]).cast(kind)
            missing = np.asarray(pyarrow.compute.is_null(column, nan_is_null=True))
        found = pyarrow.compute.index_in(column, value_set=known).fill_null(-1)
        codes = np.array(found, np.int64)
        if self.unseen is not None:
            codes[codes < 0] = self.unseen
        codes[missing] = -1
        return codes, missing


@dataclasses.dataclass(frozen=True)
class DesignRows:
    """Reads record batches as rows of the design of a formula that has learned.

    Attributes:
        names: of the columns of the design.
        terms: the numeric factors.
        levels: the categorical factors.
        parts: the distinct numeric parts of columns: the columns of terms that are multiplied, each by the number of
            its term and its own; () for ones.
        part_of_column: `(p,)`, the number of its part.
        response: makes y; None if y are columns, or is not needed.
        targets: the columns of y; () if it is made, or is not needed.
        weight: the column of weights, or None.
        missing: the rule for rows without a value.
    """

    names: tuple[str, ...]
    terms: tuple[Term, ...]
    levels: tuple[Levels, ...]
    parts: tuple[tuple[tuple[int, int], ...], ...]
    part_of_column: tuple[int, ...]
    response: Term | None
    targets: tuple[str, ...]
    weight: str | None
    missing: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of record batches that are read."""
        numeric = [*self.terms, *([] if self.response is None else [self.response])]
        names = [name for term in numeric for name in term.columns] + [part.column for part in self.levels]
        return tuple(dict.fromkeys([*names, *self.targets, *([] if self.weight is None else [self.weight])]))

    def matrix(self, batch: Any) -> Array:
        """Return the design `(n, p)` of a record batch, NaN in rows without a value.

        Raises:
            ValueError: a level was not seen, or a term is not finite.
        """
        rows = dataclasses.replace(self, missing="drop").rows(batch, np.arange(batch.num_rows))
        matrix = np.full((batch.num_rows, len(self.names)), np.nan)
        matrix[rows.groups] = np.asarray(rows.x)
        return matrix

    def rows(self, batch: Any, labels: Any = None) -> Rows:
        """Return the rows of a record batch; those without a value are refused or left out.

        Args:
            batch: has the columns.
            labels: `(n,)`: those of the rows that are left are `groups` of the result.

        Raises:
            ValueError: a row has no value, a level that was not seen, or a term that is not finite.
        """
        weight = None if self.weight is None else read_weights(batch.column(self.weight))
        numeric = [*self.terms, *([] if self.response is None else [self.response])]
        names = dict.fromkeys([*(name for term in numeric for name in term.columns), *self.targets])
        numbers = read_numbers(batch, list(names))
        codes = [part.codes(batch.column(part.column)) for part in self.levels]
        masks = {name: nan_mask(column) for name, column in numbers.items()}
        masks |= {part.column: missing for part, (_, missing) in zip(self.levels, codes, strict=True)}
        masks["sample_weight"] = None if weight is None else nan_mask(weight)
        found = find(masks, weight)
        if found is not None and self.missing == "error":
            raise found.error()
        kept = np.ones(batch.num_rows, bool) if found is None else ~found.rows
        numbers = {name: column[kept] for name, column in numbers.items()}
        weight = None if weight is None else np.ravel(weight)[kept]
        ignored = np.zeros(int(kept.sum()), bool) if weight is None else weight == 0
        of_levels = [
            self._seen(part, of_part[kept], batch, kept, ignored)
            for part, (of_part, _) in zip(self.levels, codes, strict=True)
        ]
        row_numbers = np.flatnonzero(kept)
        columns = [term.finite_values(numbers, ignored, row_numbers) for term in self.terms]
        if self.response is not None:
            y = self.response.finite_values(numbers, ignored, row_numbers)[0].reshape(-1, 1)
        elif self.targets:
            y = np.column_stack([np.where(ignored, 0.0, numbers[name]) for name in self.targets])
        else:
            y = None
        groups = None if labels is None else np.asarray(labels)[kept]
        counts = None if found is None else found.counts
        return Rows(self._design(columns, of_levels), y, weight, groups=groups, missing=counts)

    def _design(self, columns: Sequence[Sequence[Array]], codes: Sequence[Array]) -> LazyMatrix:
        factors = [[columns[term][i] for term, i in part] for part in self.parts]
        products = [math.prod(part[1:], start=part[0]) if part else None for part in factors]
        if self.levels:
            return CellMatrix(products, codes, [part.signs for part in self.levels], self.part_of_column)
        numbers = [part for part in products if part is not None]  # without levels no column is of ones
        return ColumnMatrix([numbers[i] for i in self.part_of_column], "float64")

    def _seen(self, part: Levels, codes: Array, batch: Any, kept: Array, ignored: Array) -> Array:
        """Return codes none of which is below 0.

        Raises:
            ValueError: a level was not seen.
        """
        unseen = (codes < 0) & ~ignored
        if unseen.any():
            row = int(np.flatnonzero(kept)[np.argmax(unseen)])
            raise ValueError(
                f"Column {part.column!r} of `df` must hold levels that the formula has learned, "
                f"{list(part.levels[:8])}{' ...' * (len(part.levels) > 8)}. Leave out the rows of other levels, or fit "
                f"with C({part.column}, unseen={part.levels[0]!r}), which counts them as that level. Received: "
                f"{batch.column(part.column)[row].as_py()!r} in row {row}."
            )
        return np.maximum(codes, 0)
