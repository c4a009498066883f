"""From record batches of Arrow to an accumulator of their rows."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from keras_linreg.data import MissingRows, Reader, default_names, preprocessing
from keras_linreg.data.arrow import check_schema, column_names, record_batches
from keras_linreg.data.arrow_columns import plain_rows
from keras_linreg.data.prepared import Rows
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.checks import naming_columns
from keras_linreg.moments.sparse_rows import batches_to_reduce
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.utils.threads import Pace, limit_threads
from keras_linreg.utils.types import Data


def read_batch(
    reader: Reader, batch: Any, features: list[str], targets: list[str], weight: str | None, **kwargs: Any
) -> Rows:
    """Return the rows of a record batch by the names of its columns; `**kwargs` as in `Reader.rows`."""
    return reader.rows(
        batch.select(features),
        batch.select(targets) if len(targets) > 1 else batch.column(targets[0]),
        None if weight is None else batch.column(weight),
        **kwargs,
    )


class BatchDesign(Protocol):
    """Reads record batches as rows of a design."""

    @property
    def names(self) -> Sequence[str]:
        """The names of the columns of the design."""

    def rows(self, batch: Any, labels: Data = None) -> Rows:
        """Return the rows of a record batch, those without a value left out or refused."""


class BatchReducer:
    """Reduces record batches, one after the other, to what an accumulator keeps of them.

    Args:
        features, targets: the names of the columns of x and y.
        weight: the name of the column of weights, or None.
        missing: "error" or "drop", as in `Moments.from_arrow`.
        preprocessor: from the columns to the design, or None.
        accumulator: makes an accumulator of so many columns of x and y.
        design: reads batches itself, in place of the names of columns and the rule for missing values; or None.

    Attributes:
        rows: the number of rows given so far.
        dropped: counts of the rows that were left out.
    """

    def __init__(
        self,
        features: Sequence[str],
        targets: Sequence[str],
        weight: str | None,
        missing: str,
        preprocessor: Any = None,
        accumulator: Callable[[int, int], Any] = Accumulator,
        design: BatchDesign | None = None,
    ):
        self.rows, self.dropped = 0, MissingRows(0, 0, {})
        self._features, self._targets, self._weight = list(features), list(targets), weight
        self._reader = Reader(None, "float64", None, preprocessor, missing=missing, drops_in_graph=False)
        self._new_accumulator = accumulator
        self._design = design
        self._accumulator: Any = None
        self._last: Rows | None = None

    def read(self, batch: Any, labels: Data = None) -> Rows:
        """Return the rows of a record batch, checked, those without a value left out or refused.

        Args:
            batch: has the columns.
            labels: of the rows, `(n,)`: those of the rows that are left are `groups` of the result.
        """
        names = self._features, self._targets, self._weight
        rows = None
        if self._design is not None:
            rows = self._design.rows(batch, labels)
        elif labels is None and self._reader.schema is not None and self._reader.preprocessor is None:
            rows = plain_rows(batch, *names, self._reader.missing)
        if rows is None:
            rows = read_batch(self._reader, batch, *names, groups=labels, is_reduced=True)
        self.rows += batch.num_rows
        if rows.missing is not None:
            self.dropped += rows.missing
        return rows

    def update(self, rows: Rows) -> None:
        """Add rows that `read` has returned."""
        width, self._last = int(rows.x.shape[1]), rows
        if self._accumulator is None:
            self._accumulator = self._new_accumulator(width, len(self._targets))
        for part in batches_to_reduce(rows) if rows.count else ():
            with naming_columns(self.design_names(width), self._targets, rows):
                self._accumulator.update(*part)

    def design_names(self, width: int) -> Sequence[str]:
        """Return the names of the columns of the design, of which there are so many."""
        if self._design is not None:
            return self._design.names
        return self._reader.schema.feature_names if self._reader.schema else default_names(width)

    def result(self) -> tuple[Any, Statistics, Sequence[str], Sequence[str], MissingRows | None] | None:
        """Return what `Moments.of` takes: the accumulator, its statistics, the names, and the counts of dropped rows.

        It is None of no rows at all. If all rows were left out, the statistics are of no rows.
        """
        if self._accumulator is None:
            return None
        names = self.design_names(self._accumulator.features)
        with naming_columns(names, self._targets, self._last):
            counts = None
            if self.dropped.missing:
                counts = MissingRows(self.rows, self.dropped.missing, self.dropped.columns)
            return self._accumulator, self._accumulator.result(), names, self._targets, counts


def accumulate(
    batches: Data,
    target: str | Sequence[str],
    features: Sequence[str] | None,
    weight: str | None,
    missing: str,
    threads: int | None,
    preprocessor: Any,
) -> tuple[Accumulator, Statistics, Sequence[str], Sequence[str], MissingRows | None]:
    """Return what `Moments.of` takes: the accumulator, its statistics, the names, and the counts of dropped rows.

    Args:
        batches, target, features, weight, missing, threads, preprocessor: as in `Moments.from_arrow`.
    """
    preprocessing.check(preprocessor)
    wanted = None if features is None else [*features, *([target] if isinstance(target, str) else target)]
    schema, parts = record_batches(batches, wanted if weight is None or wanted is None else [*wanted, weight])
    names, targets = column_names(schema, target, features, weight)
    needed = [*names, *targets, *([] if weight is None else [weight])]
    reducer = BatchReducer(names, targets, weight, missing, preprocessor)
    pace = Pace()
    with limit_threads(threads):
        for number, batch in enumerate(pace.watch(parts)):
            check_schema(batch, schema, needed, number)
            if not batch.num_rows:
                continue
            first = reducer.rows
            try:
                rows = reducer.read(batch)
            except ValueError as error:
                raise ValueError(f"Batch {number} of `batches`, which begins with row {first}: {error}") from None
            with limit_threads(pace.threads):
                reducer.update(rows)
        result = reducer.result()
        if result is None or not result[0].rows:
            raise ValueError(
                f"`batches` must hold at least one row. Received: {reducer.rows} rows, {reducer.dropped.missing} "
                "dropped."
            )
        return result
