"""Quantiles of streams: exact up to a million distinct numbers, and with a bounded error of rank beyond."""

from __future__ import annotations

import numpy as np

MOST_DISTINCT = 2**20
SKETCH_POINTS = 2**18  # that are kept of more


class DistinctNumbers:
    """The distinct numbers of a stream with their counts; of too many, some that stand for their neighbours.

    More than 2**20 distinct numbers are cut to 2**18 groups of neighbours of about equal counts, each of which one
    number stands for. A cut moves no rank by more than a group's count. So after each cut `rank_error` grows by
    `total / 2**18`; a first cut, of 2**20 numbers, moves ranks by 4. Rows in memory are never cut.

    Attributes:
        rank_error: at most so many numbers are on the wrong side of a quantile.

    Example:
    >>> numbers = DistinctNumbers()
    >>> numbers.add(np.array([3.0, 1.0, 2.0, 2.0]))
    >>> numbers.quantiles([0.0, 0.5])
    array([1., 2.])
    """

    def __init__(self) -> None:
        self.values = np.empty(0)
        self.counts = np.empty(0, np.int64)
        self.rank_error = 0

    def add(self, values: np.ndarray) -> None:
        """Count numbers `(n,)`."""
        if len(self.values) > MOST_DISTINCT:
            self._cut()
        new, counts = np.unique(values, return_counts=True)
        merged, place = np.unique(np.concatenate([self.values, new]), return_inverse=True)
        self.counts = np.bincount(place, np.concatenate([self.counts, counts]), len(merged)).astype(np.int64)
        self.values = merged

    @property
    def total(self) -> int:
        """The count of all numbers."""
        return int(self.counts.sum())

    def quantiles(self, shares: np.ndarray | list[float]) -> np.ndarray:
        """Return quantiles, linear between neighbours, as `np.quantile` does."""
        last = np.cumsum(self.counts)  # the rank after the last of each number
        position = np.asarray(shares, np.float64) * (self.total - 1)
        low = np.floor(position).astype(np.int64)
        share = position - low
        left = self.values[np.searchsorted(last, low, side="right")]
        right = self.values[np.searchsorted(last, np.minimum(low + 1, self.total - 1), side="right")]
        # As NumPy, from the nearer end: so equal numbers stay equal.
        return np.where(share < 0.5, left + (right - left) * share, right - (right - left) * (1 - share))

    def _cut(self) -> None:
        step = -(-self.total // SKETCH_POINTS)
        group = (np.cumsum(self.counts) - self.counts // 2) // step
        first = np.flatnonzero(np.diff(group, prepend=-1))
        middle = (first + np.append(first[1:], len(group)) - 1) // 2
        middle[0], middle[-1] = 0, len(group) - 1  # the ends stay
        self.values, self.counts = self.values[middle], np.add.reduceat(self.counts, first)
        self.rank_error += step
