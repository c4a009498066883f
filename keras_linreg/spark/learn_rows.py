"""The rows of a partition that a formula learns its levels from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_linreg.spark.terms import Term, read_numbers

FIRST_ROWS = 64  # of a partition, which also tell the spread of its numbers
MOST_LEVELS = 10_000  # of a column in a partition


@dataclasses.dataclass(frozen=True)
class LearnPartition:
    """Runs on a worker: from the record batches of a partition to some of its rows, which hold all that is learned.

    Rows without a value in one of the columns, and rows of weight 0, do not count.

    Attributes:
        names: of the columns of the formula.
        levels: the names of those whose values are levels.
        weight: the column of weights, or None.
        ranges: the terms of which the smallest and the largest number are learned.
    """

    names: Sequence[str]
    levels: Sequence[str]
    weight: str | None
    ranges: Sequence[Term] = ()

    def __call__(self, batches: Iterator[Any], part: int) -> bytes | None:
        """Return the rows as a stream of Arrow; None of no rows that count."""
        import pyarrow

        chosen: list[Any] = []
        known: dict[str, set[Any]] = {name: set() for name in self.levels}
        ends = [(np.inf, -np.inf)] * len(self.ranges)
        count = 0
        for batch in batches:
            kept = batch.filter(self._counting(batch)).select(list(self.names))
            first = np.arange(kept.num_rows) < FIRST_ROWS - count
            count += kept.num_rows
            for name in self.levels:
                first[self._new_levels(kept.column(name), known[name], name)] = True
            for i, term in enumerate(self.ranges if kept.num_rows else ()):
                ends[i], rows = _new_ends(term, kept, ends[i])
                first[rows] = True
            if first.any():
                chosen.append(kept.filter(pyarrow.array(first)))
        if not chosen:
            return None
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, chosen[0].schema) as stream:
            for rows in chosen:
                stream.write_batch(rows)
        return sink.getvalue().to_pybytes()

    def _counting(self, batch: Any) -> Any:
        """Return the mask of rows that count."""
        import pyarrow.compute as pc

        masks = [pc.invert(pc.is_null(column, nan_is_null=True)) for column in batch.columns]
        masks += [
            pc.not_equal(column, "") for column in batch.columns if str(column.type) in ("string", "large_string")
        ]
        if self.weight is not None:
            masks.append(pc.not_equal(batch.column(self.weight).cast("double"), 0.0))
        total = masks[0]
        for mask in masks[1:]:
            total = pc.and_(total, mask)
        return pc.fill_null(total, False)

    def _new_levels(self, column: Any, known: set[Any], name: str) -> list[int]:
        """Return the rows in which a level comes for the first time.

        Raises:
            ValueError: there are too many.
        """
        encoded = column.dictionary_encode()
        levels, first = np.unique(np.asarray(encoded.indices), return_index=True)
        values = encoded.dictionary.to_pylist()
        rows = [int(row) for level, row in zip(levels, first, strict=True) if values[level] not in known]
        known.update(values)
        if len(known) > MOST_LEVELS:
            raise ValueError(
                f"Column {name!r} of `df` must have at most {MOST_LEVELS:,} levels: each is a column of the design. "
                f"Received: {len(known):,}."
            )
        return rows


def _new_ends(term: Term, batch: Any, ends: tuple[float, float]) -> tuple[tuple[float, float], list[int]]:
    """Return the smallest and the largest number so far, and the rows in which they come.

    Args:
        term: the numbers.
        batch: of rows that count, at least one.
        ends: of the batches before it. A NaN comes before all numbers, and is what the formula refuses.
    """
    (values,) = term.values(read_numbers(batch, term.columns), batch.num_rows)
    low, high = int(np.argmin(values)), int(np.argmax(values))
    is_wider = [not values[low] >= ends[0], not values[high] <= ends[1]]
    rows = [row for row, is_new in zip((low, high), is_wider, strict=True) if is_new]
    return (min(ends[0], float(values[low])), max(ends[1], float(values[high]))), rows
