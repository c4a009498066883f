"""The rows of a partition that a formula learns its levels from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

FIRST_ROWS = 64  # of a partition, which also tell the spread of its numbers
MOST_LEVELS = 10_000  # of a column in a partition


@dataclasses.dataclass(frozen=True)
class LearnPartition:
    """Runs on a worker: from the record batches of a partition to some of its rows, which hold all levels.

    Rows without a value in one of the columns, and rows of weight 0, do not count.

    Attributes:
        names: of the columns of the formula.
        levels: the names of those whose values are levels.
        weight: the column of weights, or None.
    """

    names: Sequence[str]
    levels: Sequence[str]
    weight: str | None

    def __call__(self, batches: Iterator[Any], part: int) -> bytes | None:
        """Return the rows as a stream of Arrow; None of no rows that count."""
        import pyarrow

        chosen: list[Any] = []
        known: dict[str, set[Any]] = {name: set() for name in self.levels}
        count = 0
        for batch in batches:
            kept = batch.filter(self._counting(batch)).select(list(self.names))
            first = np.arange(kept.num_rows) < FIRST_ROWS - count
            count += kept.num_rows
            for name in self.levels:
                first[self._new_levels(kept.column(name), known[name], name)] = True
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
