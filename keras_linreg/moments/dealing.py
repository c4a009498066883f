"""Dealing: which fold a row belongs to, by its number among all rows, by its group, or by the user's own numbers.

A deal depends on a row's number alone. So arrays, batches of any size and threads give the same folds, and parts of the
data do if each part knows the number of its first row.
"""

import abc
import dataclasses
import functools
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np

from keras_linreg.utils.arguments import check_choice, check_count, is_integer
from keras_linreg.utils.types import Data

DEALS = ("runs", "stripes", "random")
ROUNDS = 4  # of runs of one length, before they get twice as long
LONGEST_RUN = 4096
NO_LABEL = object()
STRIPED_ROWS = 64  # of a fold in a block of stripes


class Dealer(abc.ABC):
    """Says which fold a row belongs to.

    Attributes:
        folds: K, how many folds there are.
    """

    folds: int

    @abc.abstractmethod
    def numbers(self, start: int, stop: int) -> np.ndarray:
        """Return the folds `(stop - start,)` of rows by their numbers among all rows; integers below K."""


@dataclasses.dataclass(frozen=True)
class ByRowNumber(Dealer):
    """Deals rows by their numbers.

    - `"runs"`: each fold gets a run of consecutive rows in turn, in an order that is drawn anew for each round. Runs
      are short at first and get longer, up to 4096 rows. So a few rows fill all folds, and of many rows those of a
      fold lie together.
    - `"stripes"`: every K-th row of a block of 64 * K rows; a draw says which fold.
    - `"random"`: each K consecutive rows go to the K folds in an order drawn for them.

    Args:
        kind: one of these.
        folds: K.
        seed: of the draws.
        first_row: the number of the first row among all rows.
    """

    kind: str
    folds: int
    seed: int = 0
    first_row: int = 0

    def numbers(self, start: int, stop: int) -> np.ndarray:
        """Return the folds of rows."""
        start, stop = start + self.first_row, stop + self.first_row
        if self.kind == "random":
            return self._random(start, stop)
        return self._runs(start, stop) if self.kind == "runs" else self._stripes(start, stop)

    def _runs(self, start: int, stop: int) -> np.ndarray:
        parts, row, round_number, length = [], 0, 0, 1
        while row < stop:
            end = row + length * self.folds
            if end > start:
                runs = np.repeat(self._order(round_number), length)
                parts.append(runs[max(start - row, 0) : stop - row])
            elif length == LONGEST_RUN:  # skip what lies before
                skipped = (start - row) // (length * self.folds)
                round_number, row = round_number + skipped, row + skipped * length * self.folds
                continue
            row, round_number = end, round_number + 1
            length = min(2 ** (round_number // ROUNDS), LONGEST_RUN)
        return np.concatenate(parts) if parts else np.zeros(0, np.uint16)

    def _stripes(self, start: int, stop: int) -> np.ndarray:
        height = STRIPED_ROWS * self.folds
        blocks = range(start // height, -(-stop // height))
        stripes = [np.tile(self._order(block), STRIPED_ROWS) for block in blocks]
        first = blocks.start * height
        return np.concatenate([np.zeros(0, np.uint16), *stripes])[start - first : stop - first]

    def _random(self, start: int, stop: int) -> np.ndarray:
        first = start // self.folds * self.folds
        last = -(-stop // self.folds) * self.folds
        keys = _hashes(np.arange(first, last, dtype=np.uint64), self.seed).reshape(-1, self.folds)
        return np.argsort(keys, axis=1).astype(np.uint16).ravel()[start - first : stop - first]

    def _order(self, number: int) -> np.ndarray:
        """Return the order of the folds in a round."""
        return _drawn_order(self.folds, self.seed, number)


@functools.lru_cache(maxsize=4096)
def _drawn_order(folds: int, seed: int, number: int) -> np.ndarray:
    keys = _hashes(np.arange(number * folds, (number + 1) * folds, dtype=np.uint64), seed ^ 0x5DEECE66D)
    return np.argsort(keys).astype(np.uint16)


def _hashes(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return a hash of each number, uint64 (splitmix64, Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        z = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed & (2**64 - 1)) * np.uint64(
            0xD1342543DE82EF95
        )
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        return z ^ (z >> np.uint64(31))


class ByNumbers(Dealer):
    """Deals rows as the user says.

    Args:
        numbers: the fold of each row, `(n,)`: 0 to K - 1, each of them at least once.
        argument: its name, for errors.

    Raises:
        ValueError: it is something else.
    """

    def __init__(self, numbers: Data, argument: str = "folds"):
        self._numbers = fold_numbers(numbers, argument)
        self.folds = int(self._numbers.max()) + 1
        self._argument = argument

    def __len__(self) -> int:
        return len(self._numbers)

    def numbers(self, start: int, stop: int) -> np.ndarray:
        """Return the folds of rows.

        Raises:
            ValueError: there are more rows than numbers.
        """
        if stop > len(self._numbers):
            raise ValueError(
                f"`{self._argument}` must hold the fold of each row. Received: {len(self._numbers)} folds and at "
                f"least {stop} rows."
            )
        return self._numbers[start:stop]


class ByGroup(Dealer):
    """Deals groups, in the order in which they first appear: each K of them go to the K folds in a drawn order.

    Args:
        groups: a label for each row `(n,)`, or an iterable of batches of labels.
        folds: K.
        seed: of the draws.
    """

    def __init__(self, groups: Data, folds: int, seed: int = 0):
        self.folds: int = folds
        self._seed = seed
        self._labels = _labels(groups)
        self._fold_of: dict[Hashable, int] = {}
        self._next = 0

    @property
    def groups(self) -> int:
        """How many groups there are so far."""
        return len(self._fold_of)

    def numbers(self, start: int, stop: int) -> np.ndarray:
        """Return the folds of rows, which must come in their order.

        Raises:
            ValueError: there are more rows than labels.
        """
        assert start == self._next  # each row once
        self._next, folds = stop, np.empty(stop - start, np.uint16)
        for i in range(stop - start):
            label = next(self._labels, NO_LABEL)
            if label is NO_LABEL:
                raise ValueError(
                    f"`groups` must have a label for each row. Received: {start + i} labels and at least {stop} rows."
                )
            if label not in self._fold_of:
                order = _drawn_order(self.folds, self._seed, len(self._fold_of) // self.folds)
                self._fold_of[label] = int(order[len(self._fold_of) % self.folds])
            folds[i] = self._fold_of[label]
        return folds


def _labels(groups: Data) -> Iterator[Any]:
    values: Any = groups.to_list() if hasattr(groups, "to_list") else groups
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = values.tolist()
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise ValueError(f"`groups` must be a label for each row. Received: {groups!r}.")
    for value in values:
        yield from np.ravel(value).tolist() if np.ndim(value) else (value,)


def fold_numbers(numbers: Data, argument: str = "folds") -> np.ndarray:
    """Return the user's fold of each row as integers.

    Raises:
        ValueError: they are no integers from 0 on without a gap, or all the same.
    """
    rule = f"`{argument}` must be a number of folds, or the fold of each row, 0 to K - 1, without a gap"
    values = np.asarray(numbers.to_numpy() if hasattr(numbers, "to_numpy") else numbers)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    is_whole = values.ndim == 1 and values.size > 0 and values.dtype.kind in "iuf"
    if is_whole and values.dtype.kind == "f":
        is_whole = bool((np.isfinite(values) & (values == np.round(values))).all())
    if not is_whole:
        raise ValueError(f"{rule}. Received: an array of shape {values.shape} and dtype {values.dtype}.")
    present = np.unique(values)
    if present[0] != 0 or present[-1] != len(present) - 1 or len(present) < 2:
        shown = [int(fold) for fold in present[:10]]
        raise ValueError(f"{rule}, at least two of them. Received: the folds {shown}{', ...' * (len(present) > 10)}.")
    return values.astype(np.uint16 if len(present) < 2**16 else np.int64)


def check_folds(folds: Any, deal: str, seed: Any) -> None:
    """Refuse a number of folds, a deal or a seed that there is not; arrays and names are looked at with the data.

    Raises:
        ValueError: one of them is none.
    """
    check_choice("deal", deal, DEALS)
    check_count("seed", seed, least=0, optional=False)
    is_single = np.ndim(folds) == 0 and not (is_integer(folds) or isinstance(folds, str))
    if isinstance(folds, bool | np.bool_) or is_single:
        raise ValueError(
            "`folds` must be an integer of at least 2, the fold of each row, or the name of a column. "
            f"Received: folds={folds!r}."
        )
    if is_integer(folds):
        check_count("folds", folds, least=2, optional=False)
