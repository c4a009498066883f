"""Transforms that learn from the data: center, scale, bs, poly. Each learns from batches, and computes in a graph."""

from __future__ import annotations

import abc
import ast
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data.column_functions import BSplineBasis, Centring, ColumnFunction, OrthonormalPolynomials
from keras_linreg.formula.expressions import Expression, function_of
from keras_linreg.formula.quantiles import DistinctNumbers
from keras_linreg.formula.spread import Spread

LARGEST_DEGREE = 30


class Transform(abc.ABC):
    """A function of one numeric column with a state.

    Args:
        arguments: of the call, after the column.
        expression: of the call, for errors.

    Attributes:
        state: what was learned, as plain objects; None before.
        suffixes: of the names of its columns: ("",) for one.
    """

    parameters: tuple[str, ...] = ()
    learns_range_alone = False  # the smallest and the largest number

    def __init__(self, arguments: Mapping[str, Any], expression: Expression):
        self.state: dict[str, Any] | None = None
        self.suffixes: tuple[str, ...] = ("",)

    @abc.abstractmethod
    def start(self) -> None:
        """Begin to learn."""

    @abc.abstractmethod
    def update(self, values: np.ndarray) -> None:
        """Learn from numbers `(n,)`, none of them missing."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Set the state."""

    @property
    @abc.abstractmethod
    def function(self) -> ColumnFunction:
        """The function of a column, after it has learned."""

    def __call__(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Return the columns for numbers `(n,)`."""
        return self.function(x, tf)

    @abc.abstractmethod
    def describe(self) -> str:
        """Return what was learned, in words."""


class Center(Transform):
    """The difference from the mean; with `scale` divided by the standard deviation, whose divisor is n."""

    is_scaled = False

    def start(self) -> None:
        """Begin to learn."""
        self._spread = Spread()

    def update(self, values: np.ndarray) -> None:
        """Take numbers."""
        self._spread.add(values)

    def finish(self) -> None:
        """Keep mean and standard deviation."""
        self.state = {"mean": self._spread.mean}
        if self.is_scaled:
            self.state["deviation"] = self._spread.deviation

    @property
    def function(self) -> ColumnFunction:
        """The function."""
        assert self.state is not None
        return Centring(self.state["mean"], self.state["deviation"] if self.is_scaled else None)

    def describe(self) -> str:
        """Return mean and standard deviation."""
        assert self.state is not None
        deviation = f", standard deviation {self.state['deviation']:.6g}" if self.is_scaled else ""
        return f"mean {self.state['mean']:.6g}{deviation}"


class Scale(Center):
    """The difference from the mean, in standard deviations."""

    is_scaled = True


class Poly(Transform):
    """Polynomials that are orthonormal over the data: `poly(x, degree)`."""

    parameters = ("degree",)

    def __init__(self, arguments: Mapping[str, Any], expression: Expression):
        super().__init__(arguments, expression)
        self._expression = expression
        self.degree = _integer(arguments.get("degree", 1), "degree", 1, expression)
        self.suffixes = tuple(f"[{k}]" for k in range(1, self.degree + 1))

    def start(self) -> None:
        """Begin to learn."""
        self._numbers = DistinctNumbers()

    def update(self, values: np.ndarray) -> None:
        """Count numbers."""
        self._numbers.add(values)

    def finish(self) -> None:
        """Compute the coefficients of the recurrence over the distinct numbers."""
        z, counts = self._numbers.values, self._numbers.counts.astype(np.float64)
        if len(z) <= self.degree:
            raise self._expression.wrong(
                f"a polynomial of degree {self.degree} takes more than {self.degree} distinct numbers, and there "
                f"are {len(z)}"
            )
        alpha, norm2 = [], [float(counts.sum())]
        before, now = np.zeros_like(z), np.ones_like(z)
        for k in range(self.degree):
            alpha.append(float((counts * z * now**2).sum() / norm2[k]))
            beta = norm2[k] / norm2[k - 1] if k else 0.0
            before, now = now, (z - alpha[k]) * now - beta * before
            norm2.append(float((counts * now**2).sum()))
        self.state = {"alpha": alpha, "norm2": norm2}

    @property
    def function(self) -> ColumnFunction:
        """The polynomials of degree 1 and more."""
        assert self.state is not None
        return OrthonormalPolynomials(tuple(self.state["alpha"]), tuple(self.state["norm2"]))

    def describe(self) -> str:
        """Return the degree."""
        return f"orthonormal polynomials up to degree {self.degree}"


class BSplines(Transform):
    """B-splines with knots at quantiles, or at `knots=`: `bs(x, df=, knots=, degree=)`."""

    parameters = (
        *("df", "knots", "degree", "include_intercept", "lower_bound", "upper_bound"),
        "extrapolate",  # our own
    )

    def __init__(self, arguments: Mapping[str, Any], expression: Expression):
        super().__init__(arguments, expression)
        self._expression = expression
        self.degree = _integer(arguments.get("degree", 3), "degree", 0, expression)
        self._has_first = _flag(arguments.get("include_intercept", False), "include_intercept", expression)
        self._extrapolates = _flag(arguments.get("extrapolate", False), "extrapolate", expression)
        self._bounds = tuple(
            _number(arguments.get(f"{end}_bound"), f"{end}_bound", expression) for end in ("lower", "upper")
        )
        df, knots = arguments.get("df"), arguments.get("knots")
        if df is None and knots is None:
            raise expression.refused("bs() takes df= or knots=")
        self._knots = None if knots is None else _numbers(knots, expression)
        least = self.degree + int(self._has_first)
        width = least + len(self._knots or ()) if df is None else _integer(df, "df", 1, expression)
        if width < least:
            raise expression.refused(f"df must be at least {least} for this degree, and is {width}")
        if self._knots is not None and width != least + len(self._knots):
            raise expression.refused(f"df={df} and {len(self._knots)} knots contradict each other")
        self._quantiles = width - least
        if not width:
            raise expression.refused("there must be at least one column: give a degree of 1, or knots")
        self.learns_range_alone = self._knots is not None or not self._quantiles
        self.suffixes = tuple(f"[{i}]" for i in range(width))

    def start(self) -> None:
        """Begin to learn."""
        self._numbers = DistinctNumbers()

    def update(self, values: np.ndarray) -> None:
        """Count numbers."""
        self._numbers.add(values)

    def finish(self) -> None:
        """Set the knots."""
        numbers = self._numbers
        if not len(numbers.values):
            raise self._expression.wrong("there is no row to learn its knots from")
        low = float(numbers.values[0]) if self._bounds[0] is None else self._bounds[0]
        high = float(numbers.values[-1]) if self._bounds[1] is None else self._bounds[1]
        inner = self._knots
        if inner is None:
            inner = numbers.quantiles(np.linspace(0, 1, self._quantiles + 2)[1:-1]).tolist()
        if not low < high or any(not low <= knot <= high for knot in inner):
            raise self._expression.wrong(
                f"knots must lie between the boundary knots {low:g} and {high:g}, and are {inner}"
            )
        repeated = self.degree + 1  # so that the functions end at the boundary
        knots = [low] * repeated + sorted(inner) + [high] * repeated
        self.state = {"knots": knots, "rank_error": numbers.rank_error}

    @property
    def function(self) -> ColumnFunction:
        """The basis."""
        assert self.state is not None
        return BSplineBasis(tuple(self.state["knots"]), self.degree, self._has_first, self._extrapolates)

    def describe(self) -> str:
        """Return the knots."""
        assert self.state is not None
        knots = self.state["knots"]
        inner = ", ".join(f"{knot:.6g}" for knot in knots[self.degree + 1 : len(knots) - self.degree - 1])
        error = self.state["rank_error"]
        about = f" (quantiles by a sketch, off by at most {error:,} ranks)" * bool(error)
        return f"degree {self.degree}, boundary knots {knots[0]:.6g} and {knots[-1]:.6g}, inner knots [{inner}]{about}"


KINDS: dict[str, type[Transform]] = {
    "center": Center,
    "scale": Scale,
    "standardize": Scale,
    "poly": Poly,
    "bs": BSplines,
}


def transform_of(call: ast.Call, expression: Expression) -> Transform:
    """Return the transform that a call names.

    Raises:
        ValueError: it has no such argument, or one of another kind.
    """
    function = function_of(call) or ""
    kind = KINDS[function]
    values = call.args[1:]
    if len(values) > len(kind.parameters):
        raise expression.refused(f"{function}() takes at most {1 + len(kind.parameters)} arguments")
    arguments = {name: expression.literal(value) for name, value in zip(kind.parameters, values, strict=False)}
    for keyword in call.keywords:
        if keyword.arg not in kind.parameters or keyword.arg in arguments:
            raise expression.refused(f"{function}() takes no argument {keyword.arg!r}, or takes it once")
        arguments[keyword.arg] = expression.literal(keyword.value)
    return kind({name: value for name, value in arguments.items() if value is not None}, expression)


def _integer(value: Any, name: str, least: int, expression: Expression) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value:
        raise expression.refused(f"{name} must be an integer of at least {least}, and is {value!r}")
    if name == "degree" and value > LARGEST_DEGREE:
        raise expression.refused(f"{name} must be at most {LARGEST_DEGREE}, and is {value}")
    return value


def _flag(value: Any, name: str, expression: Expression) -> bool:
    if not isinstance(value, bool):
        raise expression.refused(f"{name} must be True or False, and is {value!r}")
    return value


def _number(value: Any, name: str, expression: Expression) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise expression.refused(f"{name} must be a number, and is {value!r}")
    return float(value)


def _numbers(values: Any, expression: Expression) -> list[float]:
    if not isinstance(values, list | tuple):
        raise expression.refused(f"knots must be a list of numbers, and is {values!r}")
    return sorted(number for value in values if (number := _number(value, "a knot", expression)) is not None)
