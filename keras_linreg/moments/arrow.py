"""From record batches of Arrow to an accumulator of their rows."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from keras_linreg.data import (
    MissingRows,
    Reader,
    TablePreprocessor,
    default_names,
    forgetting_on_error,
    preprocessing,
    preprocessor_columns,
)
from keras_linreg.data.arrow import (
    check_columns,
    check_schema,
    column_names,
    columns_without_row_labels,
    is_read_once,
    record_batches,
)
from keras_linreg.data.arrow_columns import plain_rows
from keras_linreg.data.prepared import Rows
from keras_linreg.data.table_preprocessor import check_no_target, has_response, pick, response_names
from keras_linreg.data.table_rows import complete_rows
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
    return reader.rows(*_parts(batch, features, targets, weight), **kwargs)


def _parts(batch: Any, features: list[str], targets: list[str], weight: str | None) -> tuple[Data, Data, Data]:
    """Return x, y and weights of a record batch; y is None where a formula makes it of x."""
    y = batch.select(targets) if len(targets) > 1 else batch.column(targets[0]) if targets else None
    return batch.select(features), y, None if weight is None else batch.column(weight)


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
        features, targets: the names of the columns of x and y; no targets where a formula makes y of x.
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
        self._outputs = self._targets or list(response_names(preprocessor, targets=True))
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
            self._accumulator = self._new_accumulator(width, len(self._outputs))
        for part in batches_to_reduce(rows) if rows.count else ():
            with naming_columns(self.design_names(width), self._outputs, rows):
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
        with naming_columns(names, self._outputs, self._last):
            counts = None
            if self.dropped.missing:
                counts = MissingRows(self.rows, self.dropped.missing, self.dropped.columns)
            return self._accumulator, self._accumulator.result(), names, self._outputs, counts


def accumulate(
    batches: Data,
    target: str | Sequence[str] | None,
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
    check_no_target(preprocessor, target, "target")
    features = preprocessor_columns.input_names(preprocessor) or None if features is None else features
    listed = [] if target is None else [target] if isinstance(target, str) else [*target]
    wanted = None if features is None else [*features, *listed, *([] if weight is None else [weight])]
    schema, parts = record_batches(batches, wanted)
    names = _column_names(schema, target, features, weight, preprocessor)
    needed = _needed(*names)
    reducer = BatchReducer(*names, missing, preprocessor)
    pace = Pace()
    with forgetting_on_error(preprocessor), limit_threads(threads):
        if isinstance(preprocessor, TablePreprocessor) and not preprocessor.is_adapted:
            del parts  # of a database only one result can be open
            _learn(preprocessor, batches, schema, names, missing)
            parts = record_batches(batches, wanted)[1]
        for number, batch in enumerate(pace.watch(parts)):
            check_schema(batch, schema, needed, number)
            if not batch.num_rows:
                continue
            with _naming_batch(number, reducer.rows):
                rows = reducer.read(batch)
            with limit_threads(pace.threads):
                reducer.update(rows)
        result = reducer.result()
        if result is None or not result[0].rows:
            raise ValueError(
                f"`batches` must hold at least one row. Received: {reducer.rows} rows, {reducer.dropped.missing} "
                "dropped."
            )
        if not result[1].nobs:
            raise ValueError("`weight` must not be zero in every row: nothing would be fitted.")
        return result


def _column_names(
    schema: Any, target: str | Sequence[str] | None, features: Sequence[str] | None, weight: str | None, formula: Any
) -> tuple[list[str], list[str], str | None]:
    """Return the names of the columns of x, y and the weights, checked; none of y that a formula makes of x."""
    if isinstance(formula, TablePreprocessor):
        pick(dict.fromkeys(schema.names), formula.named_columns, "batches")
    if not has_response(formula):
        return *column_names(schema, target, features, weight), weight
    if weight is not None:
        check_columns("weight", [weight], schema.names, "batches")
    others = [name for name in columns_without_row_labels(schema) if name != weight]
    return list(others if features is None else features), [], weight


def _needed(features: list[str], targets: list[str], weight: str | None) -> list[str]:
    return list(dict.fromkeys([*features, *targets, *([] if weight is None else [weight])]))


@contextlib.contextmanager
def _naming_batch(number: int, first: int) -> Iterator[None]:
    """Let an error within this block name the batch, and its first row."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Batch {number} of `batches`, which begins with row {first}: {error}") from None


def _learn(
    preprocessor: TablePreprocessor,
    batches: Data,
    schema: Any,
    names: tuple[list[str], list[str], str | None],
    missing: str,
) -> None:
    """Let a formula learn from record batches, which are read once more for it.

    Args:
        preprocessor: the formula.
        batches, missing: as in `Moments.from_arrow`.
        schema: of the batches.
        names: of the columns of x, of y and of the weights.

    Raises:
        ValueError: the batches can be read once.
    """
    if is_read_once(batches):
        raise ValueError(
            "`preprocessor` must be adapted before record batches that can be read once: call `.adapt(table)` on the "
            f"formula first. Received: {type(batches).__name__}."
        )
    needed = _needed(*names)

    def frames() -> Iterator[Any]:
        first = 0
        for number, batch in enumerate(record_batches(batches, needed)[1]):
            check_schema(batch, schema, needed, number)
            if batch.num_rows:
                with _naming_batch(number, first):
                    yield complete_rows(preprocessor, _parts(batch, *names), None, missing)
            first += batch.num_rows

    preprocessor.learn(frames)
