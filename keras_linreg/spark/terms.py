"""Numeric terms of a formula on a worker: programs that compute columns from columns, in NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_linreg.data.integers import check_rounding
from keras_linreg.data.values import read
from keras_linreg.utils.types import Array

Program = tuple[Any, ...]  # an operation and its operands: programs, numbers, the name of a column, a function
OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
    "negative": np.negative,
    "log": np.log,
    "log1p": np.log1p,
    "log10": np.log10,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}


@dataclasses.dataclass(frozen=True)
class Term:
    """A numeric factor of a formula.

    Attributes:
        name: of the factor.
        columns: that it needs.
        program: computes it.
        advice: says what to do about a number that is not finite.
    """

    name: str
    columns: tuple[str, ...]
    program: Program
    advice: str

    def values(self, numbers: Mapping[str, Array], rows: int) -> list[Array]:
        """Return its columns, float64 `(n,)`, of columns `(n,)`; they may hold NaN and infinity."""
        with np.errstate(all="ignore"):
            parts = compute(self.program, numbers)
            return [np.broadcast_to(part, (rows,)).astype(np.float64) for part in parts]

    def finite_values(self, numbers: Mapping[str, Array], ignored: Array, row_numbers: Array) -> list[Array]:
        """Return its columns, of rows that have all values.

        Args:
            numbers: the columns `(n,)`.
            ignored: mask `(n,)` of rows that do not count; they are 0.
            row_numbers: `(n,)`, of the rows in the batch.

        Raises:
            ValueError: a number is not finite in a row that counts.
        """
        parts = self.values(numbers, len(ignored))
        for part in parts:
            bad = ~np.isfinite(part)
            if (bad & ~ignored).any():
                row = int(np.argmax(bad & ~ignored))
                made_of = ", ".join(f"{name} = {numbers[name][row]:g}" for name in self.columns)
                raise ValueError(
                    f"The term {self.name!r} of the formula must be finite. {self.advice} "
                    f"Received: {part[row]:g} of {made_of} in row {row_numbers[row]}."
                )
            part[bad] = 0.0
        return parts


def read_numbers(batch: Any, names: Sequence[str]) -> dict[str, Array]:
    """Return columns of numbers of a record batch, float64 `(n,)`, NaN for missing ones.

    Raises:
        ValueError: a column holds anything else; float64 rounds an integer.
    """
    numbers = {}
    for name in names:
        description = f"Column {name!r} of `df`"
        array = np.asarray(read(batch.column(name), description).as_float())
        check_rounding(array, description, "float64")
        numbers[name] = np.asarray(array, np.float64)
    return numbers


def compute(program: Program, numbers: Mapping[str, Array]) -> list[Any]:
    """Return the columns that a program makes of columns `(n,)`: one, or several of a function that has learned."""
    operation, *operands = program
    if operation == "column":
        return [numbers[operands[0]]]
    if operation == "number":
        return [np.float64(operands[0])]
    if operation == "product":  # a power by products, as the formula computes it elsewhere
        (value,) = compute(operands[0], numbers)
        return [math.prod([value] * (operands[1] - 1), start=value)]
    if operation == "function":
        (value,) = compute(operands[0], numbers)
        return operands[1](value, np)
    return [OPERATIONS[operation](*(compute(operand, numbers)[0] for operand in operands))]
