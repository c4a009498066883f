"""Functions of a column that have learned from data: one code for NumPy and for TensorFlow.

In a graph they compute with tensors. On a worker of a cluster they compute with arrays, and no TensorFlow is loaded.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol

ROUNDING = 2.0**-22  # of float32, and of a function of it


class ColumnFunction(Protocol):
    """A function from a column to one column or several."""

    def __call__(self, x: Any, xp: Any) -> list[Any]:
        """Return the columns, `(n,)` each, for numbers `(n,)` in float64.

        Args:
            x: an array or a tensor.
            xp: the module that computes with it, `numpy` or `tensorflow`.
        """


@dataclasses.dataclass(frozen=True)
class Centring:
    """The difference from a mean, in standard deviations if there is one.

    Example:
    >>> import numpy as np
    >>> Centring(2.0, 0.5)(np.array([1.0, 3.0]), np)
    [array([-2.,  2.])]
    """

    mean: float
    deviation: float | None = None

    def __call__(self, x: Any, xp: Any) -> list[Any]:
        """Return the one column."""
        centred = x - self.mean
        return [centred if self.deviation is None else centred / self.deviation]


@dataclasses.dataclass(frozen=True)
class OrthonormalPolynomials:
    """Polynomials of degree 1 and more, by their recurrence.

    ```python
    p[k + 1](x) = (x - alpha[k]) * p[k](x) - norm2[k] / norm2[k - 1] * p[k - 1](x)
    column[k] = p[k] / sqrt(norm2[k])
    ```

    Attributes:
        alpha: a number for each degree.
        norm2: the squared norms over the data, from degree 0.

    References:
        Chambers, Hastie, Statistical Models in S (1992), chapter 7: the `poly` of S and R.
    """

    alpha: tuple[float, ...]
    norm2: tuple[float, ...]

    def __call__(self, x: Any, xp: Any) -> list[Any]:
        """Return the columns."""
        polynomials = [xp.ones_like(x)]
        for k, alpha in enumerate(self.alpha):
            following = (x - alpha) * polynomials[k]
            if k:
                following = following - self.norm2[k] / self.norm2[k - 1] * polynomials[k - 1]
            polynomials.append(following)
        return [part / math.sqrt(norm2) for part, norm2 in zip(polynomials[1:], self.norm2[1:], strict=True)]


@dataclasses.dataclass(frozen=True)
class BSplineBasis:
    """B-splines, by the recursion of Cox and de Boor, from indicators of the intervals between knots up to the degree.

    ```python
    basis[i, d] = (x - t[i]) / (t[i + d] - t[i]) * basis[i, d - 1]
                + (t[i + d + 1] - x) / (t[i + d + 1] - t[i + 1]) * basis[i + 1, d - 1]
    ```

    The last interval holds its right end. Outside of the boundary knots the values are NaN; or, to extrapolate, those
    of the polynomials of the first and the last interval, as R's `predict` of `bs` goes on.

    Attributes:
        knots: sorted, each boundary `degree + 1` times.
        degree: of the polynomials, 0 or more.
        has_first: whether the columns begin with the first function, and span the constant.
        extrapolates: whether they go on outside.

    Example:
    >>> import numpy as np
    >>> hats = BSplineBasis((0.0, 0.0, 1.0, 2.0, 2.0), 1, True, False)
    >>> np.column_stack(hats(np.array([0.0, 0.5, 2.0]), np)) + 0.0
    array([[1. , 0. , 0. ],
           [0.5, 0.5, 0. ],
           [0. , 0. , 1. ]])

    References:
        de Boor, A Practical Guide to Splines (2001), chapter IX, equation 14.
    """

    knots: tuple[float, ...]
    degree: int
    has_first: bool
    extrapolates: bool

    def __call__(self, x: Any, xp: Any) -> list[Any]:
        """Return the columns."""
        t = self.knots
        if not self.extrapolates:
            x = _within(x, t[0], t[-1], xp)
        basis = self._indicators(x, xp)
        for d in range(1, self.degree + 1):
            basis = [self._next(x, basis, i, d) for i in range(len(t) - d - 1)]
        is_inside = x == x if self.extrapolates else (x >= t[0]) & (x <= t[-1])
        zeros = xp.zeros_like(x)
        columns = [xp.where(is_inside, zeros if part is None else part, zeros + math.nan) for part in basis]
        return columns if self.has_first else columns[1:]

    def _indicators(self, x: Any, xp: Any) -> list[Any]:
        """Return 1 inside of each interval between knots and 0 outside; None of an empty one, where it is 0."""
        t, zeros = self.knots, xp.zeros_like(x)
        intervals = [i for i in range(len(t) - 1) if t[i] < t[i + 1]]
        basis: list[Any] = [None] * (len(t) - 1)
        for i in intervals:
            is_first, is_last = i == intervals[0], i == intervals[-1]
            basis[i] = xp.ones_like(x)
            if not (is_first and self.extrapolates):
                basis[i] = xp.where(x >= t[i], basis[i], zeros)
            if not (is_last and self.extrapolates):
                basis[i] = xp.where(x <= t[i + 1] if is_last else x < t[i + 1], basis[i], zeros)
        return basis

    def _next(self, x: Any, basis: list[Any], i: int, d: int) -> Any:
        t, parts = self.knots, []
        if basis[i] is not None and t[i + d] > t[i]:
            parts.append((x - t[i]) / (t[i + d] - t[i]) * basis[i])
        if basis[i + 1] is not None and t[i + d + 1] > t[i + 1]:
            parts.append((t[i + d + 1] - x) / (t[i + d + 1] - t[i + 1]) * basis[i + 1])
        return None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _within(x: Any, low: float, high: float, xp: Any) -> Any:
    """Return numbers, those beyond a boundary by a rounding error of float32 on it.

    A server takes float32, in which the largest number of the data may lie beyond itself.
    """
    reach, zeros = ROUNDING * max(abs(low), abs(high)), xp.zeros_like(x)
    x = xp.where((x < low) & (x >= low - reach), zeros + low, x)
    return xp.where((x > high) & (x <= high + reach), zeros + high, x)
