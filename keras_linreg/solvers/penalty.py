"""Penalty: what an objective adds to the mean squared error, and how its minimum is found.

To add a penalty, add a file with a subclass of `Penalty`, and name it in `PENALTIES` of `keras_linreg.solvers`.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from keras_linreg.linalg.double_double import DoubleDouble
from keras_linreg.linalg.triangular import Factor


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Least squares of p columns and k outputs, reduced to a triangular factor.

    ```python
    minimise  norm(factor[:, :p] @ kernel - factor[:, p:]) ** 2 + rows * k * penalty(kernel)
    ```

    The columns are in units of powers of two near their own norms, so that no square overflows.

    Attributes:
        factor: `(p + k, p + k)`, upper triangular, float64 or double-double.
        exponents: `(p + k,)`: the units of the columns of x and y, as exponents of two.
        rows: the number of rows given, those of weight zero included.
        outputs: k.
        constant: mask `(p,)`: with an intercept, the columns that depend on it; without one, none.
        tolerance: a column depends on those before it when no more than this part of its norm is left of it.
        dependent: the rule for such columns, `"drop"` or `"min_norm"`.
    """

    factor: Factor
    exponents: np.ndarray
    rows: int
    outputs: int
    constant: np.ndarray
    tolerance: float
    dependent: str

    @property
    def features(self) -> int:
        """P."""
        return len(self.constant)

    @property
    def x_exponents(self) -> np.ndarray:
        """The units of the columns of x, `(p,)`."""
        return self.exponents[: self.features]


@dataclasses.dataclass(frozen=True, slots=True)
class Minimum:
    """Where a penalised problem is smallest, in the problem's units.

    Attributes:
        kernel: `(p, k)`, 0 for a column that was dropped.
        kept: mask `(p,)`: the columns that do not depend on those before them, or on the intercept.
        upper: `(r, r)`: the factor of the kept columns, the penalty's rows included.
        penalty: `(k,)`: what the penalty adds to the sum of squares.
        condition_of_rows: the condition number of the rows that the smallest kernel is found from; else None.
    """

    kernel: Factor
    kept: np.ndarray
    upper: Factor
    penalty: np.ndarray
    condition_of_rows: float | None = None


class Penalty(abc.ABC):
    """What an objective adds to the mean squared error."""

    @property
    def is_zero(self) -> bool:
        """Whether nothing is added. A penalty pulls coefficients: they have no standard errors then."""
        return False

    @property
    def l2(self) -> float:
        """The weight of the squared kernel."""
        return 0.0

    @classmethod
    @abc.abstractmethod
    def from_regularizer(cls, class_name: str, config: Mapping[str, Any]) -> Self | None:
        """Return the penalty of a Keras regularizer, by its class and config; or None if it is of another kind."""

    @abc.abstractmethod
    def solve(self, problem: Problem) -> Minimum:
        """Return the minimum of the problem with this penalty."""


def zeros_like(factor: Factor, shape: tuple[int, ...]) -> Factor:
    """Return zeros of the factor's arithmetic, float64 or double-double."""
    return DoubleDouble(np.zeros(shape)) if isinstance(factor, DoubleDouble) else np.zeros(shape)
