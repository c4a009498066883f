"""The plan of a design: each column is a product of contrasts of levels and of one numeric part."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data.cell_matrix import CellMatrix
from keras_linreg.data.column_matrix import ColumnMatrix
from keras_linreg.formula import coding
from keras_linreg.formula.categorical import CategoricalFactor
from keras_linreg.formula.numeric import NumericFactor
from keras_linreg.utils.counts import counts

SMALL = 2**16  # numbers of a design that is written at once
MOST_SIGNS = 2**21  # numbers of the contrasts of all cells
ROWS_OF_CELL = 4  # on average; with fewer, rows are written

Part = tuple[tuple[str, int], ...]  # numeric factors, each with the number of its column; () is 1


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """The columns of one part of a term: the first factor varies fastest.

    Attributes:
        signs: of the categorical factors, by their codes: contrasts `(levels, columns)`.
        order: the factors of the term, in order.
        parts: for each column the numeric part.
        places: for each column and each categorical factor the column of its contrast.
        names: of the columns.
    """

    signs: dict[str, np.ndarray]
    parts: list[Part]
    places: list[dict[str, int]]
    names: list[str]


class Plan:
    """The design of a formula whose factors have learned.

    Args:
        terms: of factors, by their codes.
        factors: by their codes.
        has_intercept: whether the model has one; the design does not hold it.

    Attributes:
        names: of the columns of the design.
        groups: the columns of the user, each with the design's columns that come of it alone, by number; those that
            come of several are a group of their own, "area:city".
        distinct_parts: the numeric parts of columns, each once.
        part_of_column: `(p,)`, the number of its part.
    """

    def __init__(
        self,
        terms: Sequence[tuple[str, ...]],
        factors: Mapping[str, CategoricalFactor | NumericFactor],
        has_intercept: bool,
    ):
        self._factors = factors

        def is_categorical(code: str) -> bool:
            return factors[code].is_categorical

        self._blocks: list[Block] = []
        for group in coding.ordered(terms, is_categorical, has_intercept):
            for term, subterms in zip(group, coding.codings(group, is_categorical), strict=True):
                self._blocks += [self._block(term, subterm) for subterm in subterms if term]
        self.names = tuple(name for block in self._blocks for name in block.names)
        self.groups = self._groups()
        self.distinct_parts: list[Part] = list(dict.fromkeys(part for block in self._blocks for part in block.parts))
        self.part_of_column = np.array(
            [self.distinct_parts.index(part) for block in self._blocks for part in block.parts], int
        )
        used = [code for block in self._blocks for code in block.signs]
        self._categorical = list(dict.fromkeys(used))

    def _groups(self) -> list[tuple[str, list[int]]]:
        groups: dict[frozenset[str], tuple[str, list[int]]] = {}
        columns = [
            (part, place) for block in self._blocks for part, place in zip(block.parts, block.places, strict=True)
        ]
        for number, (part, place) in enumerate(columns):
            codes = [*(code for code, _ in part), *place]
            used = list(dict.fromkeys(column for code in codes for column in self._factors[code].columns))
            groups.setdefault(frozenset(used), (":".join(used), []))[1].append(number)
        return list(groups.values())

    def _block(self, term: tuple[str, ...], subterm: coding.Subterm) -> Block:
        signs: dict[str, np.ndarray] = {}
        ranges: list[list[tuple[str, int, str]]] = []
        for code in term:
            factor = self._factors[code]
            if isinstance(factor, NumericFactor):
                suffixes: Sequence[str] = factor.suffixes
            elif code in subterm:
                signs[code], suffixes = factor.coding(subterm[code])
            else:
                continue
            ranges.append([(code, i, factor.name + suffix) for i, suffix in enumerate(suffixes)])
        parts, places, names = [], [], []
        for reversed_choice in itertools.product(*reversed(ranges)):
            choice = reversed_choice[::-1]
            parts.append(tuple((code, i) for code, i, _ in choice if code not in signs))
            places.append({code: i for code, i, _ in choice if code in signs})
            names.append(":".join(name for *_, name in choice))
        return Block(signs, parts, places, names)

    def parts(self, numeric: Mapping[str, list[Any]]) -> list[Any]:
        """Return the numeric parts, `(n,)` each, None for ones, of the columns of the numeric factors."""
        products: list[Any] = []
        for part in self.distinct_parts:
            product = None
            for code, i in part:
                column = numeric[code][i]
                product = column if product is None else product * column
            products.append(product)
        return products

    def graph_matrix(
        self, numeric: Mapping[str, list[tf.Tensor]], codes: Mapping[str, tf.Tensor], rows: tf.Tensor
    ) -> tf.Tensor:
        """Return the design `(n, p)` as one tensor.

        Args:
            numeric: the columns of the numeric factors.
            codes: of the categorical factors, none below 0.
            rows: the number of rows.
        """
        parts = dict(zip(self.distinct_parts, self.parts(numeric), strict=True))
        columns = []
        for block in self._blocks:
            signs = None
            for code, matrix in block.signs.items():
                of_columns = tf.constant(matrix[:, [place[code] for place in block.places]], tf.float64)
                gathered = tf.gather(of_columns, codes[code])
                signs = gathered if signs is None else signs * gathered
            columns.append(_times(signs, [parts[part] for part in block.parts], rows))
        return columns[0] if len(columns) == 1 else tf.concat(columns, 1)

    def matrix(self, numeric: Mapping[str, list[tf.Tensor]], codes: Mapping[str, np.ndarray], rows: int) -> Any:
        """Return the design of rows in memory: an array if it is small, else one whose columns are not written."""
        missing = [codes[code] < 0 for code in codes if (codes[code] < 0).any()]
        if rows * len(self.names) <= SMALL:
            safe = {code: tf.constant(np.maximum(of_rows, 0), tf.int32) for code, of_rows in codes.items()}
            matrix = np.array(self.graph_matrix(numeric, safe, tf.constant(rows)))
            if missing:
                matrix[np.any(missing, axis=0)] = np.nan
            return matrix
        parts = [None if part is None else np.asarray(part) for part in self.parts(numeric)]
        if not self._categorical:
            return ColumnMatrix([parts[i] for i in self.part_of_column], "float64")
        of_rows = [codes[code] for code in self._categorical]
        signs = [self.signs(code) for code in self._categorical]
        return CellMatrix(parts, *_merged(of_rows, signs), self.part_of_column)

    def signs(self, code: str) -> np.ndarray:
        """Return the contrasts of a factor for all columns, `(levels + 1, p)`: 1 where it is not part of the column.

        The last row is that of missing levels, whose code is -1.
        """
        factor, columns = self._factors[code], []
        assert isinstance(factor, CategoricalFactor) and factor.levels is not None
        for block in self._blocks:
            if code in block.signs:
                columns.append(block.signs[code][:, [place[code] for place in block.places]])
            else:
                columns.append(np.ones((len(factor.levels), len(block.names))))
        return np.vstack([np.hstack(columns), np.full(len(self.names), np.nan)])


def _merged(codes: list[np.ndarray], signs: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return one number for each combination of levels that rows have, if these are not too many, and its signs."""
    rows, columns = len(codes[0]), signs[0].shape[1]
    sizes = [len(part) for part in signs]  # with the row of missing levels
    codes = [
        np.where(part < 0, size - 1, part) if (part < 0).any() else part
        for part, size in zip(codes, sizes, strict=True)
    ]
    limit = np.prod(sizes, dtype=float)
    if limit >= 2**62:
        return codes, signs
    combined = codes[0]
    if len(codes) > 1:
        combined = combined.astype(np.int32 if limit < 2**31 else np.int64)
        for part, size in zip(codes[1:], sizes[1:], strict=True):
            combined *= size
            combined += part
    present, cells = _numbered(combined, int(limit))
    if len(present) * ROWS_OF_CELL > rows or len(present) * columns > MOST_SIGNS:
        return codes, signs
    product = np.ones((len(present), columns))
    for part, levels in zip(signs, np.unravel_index(present, sizes), strict=True):
        product *= part[levels]
    return [cells], [product]


def _numbered(values: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct integers below a limit, sorted, and the number of each value among them."""
    if limit <= 4 * len(values) + 1024:
        rows = counts(values, limit)
        present = np.flatnonzero(rows)
        if len(present) and present[-1] == len(present) - 1:  # they are numbered already
            return present, values.astype(_smallest(len(present)))
        number = np.cumsum(rows > 0) - 1
        return present, number.astype(_smallest(len(present)))[values]
    present, cells = np.unique(values, return_inverse=True)
    return present, cells.astype(_smallest(len(present)))


def _smallest(count: int) -> type:
    """Return the smallest unsigned type that numbers so many; NumPy sorts up to 16 bits by radix."""
    return np.uint8 if count <= 2**8 else np.uint16 if count <= 2**16 else np.uint32


def _times(signs: tf.Tensor | None, parts: list[tf.Tensor | None], rows: tf.Tensor) -> tf.Tensor:
    """Return signs `(n, k)` times the parts of the k columns, None for ones."""
    if all(part is None for part in parts):
        return tf.ones((rows, len(parts)), tf.float64) if signs is None else signs
    ones = tf.ones((rows,), tf.float64)
    numbers = tf.stack([ones if part is None else part for part in parts], 1)
    return numbers if signs is None else numbers * signs
