"""The arguments of a path: which penalties, and how each column pays; what cannot be is refused."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The penalties of a path.

    Attributes:
        count: how many.
        eps: the smallest, as a part of the largest.
        l1: the penalties themselves, descending; None for `count` of them.
    """

    count: int = 100
    eps: float = 1e-3
    l1: np.ndarray | None = None


def check_l1_ratio(l1_ratio: Any) -> tuple[float, ...]:
    """Return the values of l1_ratio to search.

    Raises:
        ValueError: one is not in (0, 1].
    """
    listed = list(l1_ratio) if isinstance(l1_ratio, Sequence | np.ndarray) and np.ndim(l1_ratio) == 1 else [l1_ratio]
    if not listed or not all(is_number(value) and 0 < value <= 1 for value in listed):
        raise ValueError(
            "`l1_ratio` must be a number in (0, 1], or several to search. For 0, a ridge path, call "
            f"FoldMoments.ridge() or fit ExactLinearRegression. Received: l1_ratio={l1_ratio!r}."
        )
    return tuple(float(value) for value in listed)


def check_grid(n_penalties: Any, eps: Any, l1: Any = None) -> Grid:
    """Return the penalties of a path.

    Raises:
        ValueError: a number that is no positive integer, a share that is not in (0, 1), or penalties that are not
            positive, finite and distinct.
    """
    if isinstance(n_penalties, bool) or not isinstance(n_penalties, int | np.integer) or n_penalties < 1:
        raise ValueError(f"`n_penalties` must be a positive integer. Received: n_penalties={n_penalties!r}.")
    if not (is_number(eps) and 0 < eps < 1):
        raise ValueError(f"`eps` must be a number between 0 and 1. Received: eps={eps!r}.")
    if l1 is None:
        return Grid(int(n_penalties), float(eps))
    try:
        values = np.sort(np.asarray(l1, np.float64).ravel())[::-1]
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if not values.size or not (np.isfinite(values) & (values > 0)).all() or (np.diff(values) == 0).any():
        raise ValueError(f"`l1` must be penalties that are finite, positive and distinct. Received: l1={l1!r}.")
    return Grid(l1=values)


def check_factors(penalty_factor: Any, feature_names: Sequence[str]) -> np.ndarray:
    """Return the penalty factors `(p,)`.

    Args:
        penalty_factor: one for each column, in order or by name (others pay 1); None for ones.
        feature_names: the names of the columns.

    Raises:
        ValueError: one is negative, infinite or no number; all are 0; a name is of no column; their number is another.
    """
    if penalty_factor is None:
        return np.ones(len(feature_names))
    rule = "`penalty_factor` must be a finite number, not negative, for each column, in order or by name, and not all 0"
    if isinstance(penalty_factor, dict):
        unknown = [name for name in penalty_factor if name not in feature_names]
        if unknown:
            raise ValueError(f"`penalty_factor` must name columns among {list(feature_names)}. Received: {unknown}.")
        listed = [penalty_factor.get(name, 1.0) for name in feature_names]
    elif isinstance(penalty_factor, Iterable) and not isinstance(penalty_factor, str | bytes):
        listed = list(penalty_factor)
    else:
        listed = []
    if len(listed) != len(feature_names):
        raise ValueError(f"{rule}. Received: {penalty_factor!r} for {len(feature_names)} columns.")
    if not all(is_number(value) and value >= 0 for value in listed) or not any(listed):
        raise ValueError(f"{rule}. Received: penalty_factor={penalty_factor!r}.")
    return np.array(listed, np.float64)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, and not a boolean."""
    is_real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_real and math.isfinite(value)
