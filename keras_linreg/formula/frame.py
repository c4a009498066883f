"""Frames: the columns of a table that a formula names, as numbers and as categories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_linreg.data.columns import check_no_infinity
from keras_linreg.data.integers import check_rounding
from keras_linreg.data.missing import nan_mask
from keras_linreg.data.table_preprocessor import TableInputs
from keras_linreg.data.values import read, row_name
from keras_linreg.formula.categories import Categories
from keras_linreg.formula.numeric import NumericFactor
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    from keras_linreg.formula.structure import Structure


@dataclasses.dataclass(frozen=True, slots=True)
class Frame(TableInputs):
    """Rows in memory, before the formula.

    Attributes:
        structure: of the formula that has read them.
        numbers: float64 `(n,)`, NaN for missing ones, by column.
        categories: by column.
        labels: of the rows, or None: 0, 1, ...
        ignored: mask `(n,)` of rows that may hold anything, because they do not count; or None.
    """

    structure: Structure
    numbers: dict[str, np.ndarray]
    categories: dict[str, Categories]
    labels: Any = None
    ignored: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter([*self.numbers.values(), *(column.codes for column in self.categories.values())])))

    def all_masks(self) -> dict[str, np.ndarray | None]:
        """Return the masks of rows without a value, by column."""
        masks = {name: column.missing() for name, column in self.categories.items()}
        for name, column in self.numbers.items():
            masks.setdefault(name, nan_mask(column))
        return masks

    def unseen(self) -> dict[str, tuple[np.ndarray, bool]]:
        """Return the rows with a level that was not seen, by column, and whether the formula takes them."""
        return self.structure.unseen(self)

    def keep(self, kept: np.ndarray) -> Frame:
        """Return the rows under a mask."""
        return dataclasses.replace(
            self,
            numbers={name: column[kept] for name, column in self.numbers.items()},
            categories={name: column.keep(kept) for name, column in self.categories.items()},
            labels=np.flatnonzero(kept) if self.labels is None else self.labels[kept],
            ignored=None if self.ignored is None else self.ignored[kept],
        )

    def ignoring(self, rows: np.ndarray) -> Frame:
        """Return the rows, those under a mask (of weight zero) without an error for what they hold."""
        return dataclasses.replace(self, ignored=rows) if rows.any() else self

    def check_no_infinity(self) -> None:
        """Refuse infinity in a column."""
        for name, column in self.numbers.items():
            with np.errstate(all="ignore"):
                is_finite = np.isfinite(column.sum())
            if not is_finite and np.isinf(column).any():
                check_no_infinity(np.where(np.isnan(column), 0.0, column), [name])

    def tensors(self, columns: Sequence[str]) -> dict[str, tf.Tensor]:
        """Return columns of numbers as tensors."""
        return {name: tf.convert_to_tensor(self.numbers[name]) for name in columns}

    def evaluate(self, factor: NumericFactor) -> list[np.ndarray]:
        """Return the columns of a numeric factor.

        Raises:
            ValueError: it makes NaN or infinity of finite values; the error names the term and the row.
        """
        if factor.expression.is_column():
            return [self.numbers[factor.columns[0]]]
        parts = [np.asarray(part) for part in factor.evaluate(self.tensors(factor.columns))]
        for part in parts:
            self.check_finite(part, factor)
        return parts

    def check_finite(self, part: np.ndarray, factor: NumericFactor, name: str | None = None) -> None:
        """Refuse NaN and infinity in a row whose columns are finite."""
        with np.errstate(all="ignore"):
            if np.isfinite(part.sum()):
                return
        bad = ~np.isfinite(part) if self.ignored is None else ~np.isfinite(part) & ~self.ignored
        for column in factor.columns:
            bad &= np.isfinite(self.numbers[column])
        if not bad.any():
            return
        row = int(np.argmax(bad))
        made_of = ", ".join(f"{column} = {self.numbers[column][row]:g}" for column in factor.columns)
        raise ValueError(
            f"The term {name or factor.name!r} of the formula must be finite. {factor.advice()} "
            f"Received: {part[row]:g} of {made_of} in {row_name(self.labels, row)}."
        )

    def design(self, preprocessor: Any) -> Any:
        """Return the design `(n, p)`, in float64; a row without a value is NaN."""
        return self.structure.design(self)

    def target(self) -> np.ndarray:
        """Return the response, float64 `(n, 1)`."""
        assert self.structure.response is not None
        (part,) = self.evaluate(self.structure.response)
        return part.reshape(-1, 1)


def read_numbers(column: Data, name: str) -> np.ndarray:
    """Return a column of numbers in float64, NaN for missing ones.

    Raises:
        ValueError: it holds anything else; float64 rounds an integer.
    """
    description = f"Column {name!r} of `x`"
    array = np.asarray(read(column, description).as_float())
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{description} must be of shape (n,) or (n, 1). Received: shape {array.shape}.")
    check_rounding(array, description, "float64")
    return np.ascontiguousarray(array, np.float64)
