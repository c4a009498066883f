"""From record batches of Arrow to an accumulator of their rows."""

from collections.abc import Sequence
from typing import Any

from keras_linreg.data import MissingRows, Reader, default_names, preprocessing
from keras_linreg.data.arrow import check_schema, column_names, record_batches
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.checks import naming_columns
from keras_linreg.moments.sparse_rows import batches_to_reduce
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.utils.threads import limit_threads
from keras_linreg.utils.types import Data


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
    reader = Reader(None, "float64", None, preprocessor, missing=missing, drops_in_graph=False)
    wanted = None if features is None else [*features, *([target] if isinstance(target, str) else target)]
    schema, parts = record_batches(batches, wanted if weight is None or wanted is None else [*wanted, weight])
    names, targets = column_names(schema, target, features, weight)
    needed = [*names, *targets, *([] if weight is None else [weight])]
    accumulator: Accumulator | None = None
    dropped, rows = MissingRows(0, 0, {}), 0
    with limit_threads(threads):
        for number, batch in enumerate(parts):
            check_schema(batch, schema, needed, number)
            if not batch.num_rows:
                continue
            try:
                prepared = reader.rows(
                    batch.select(names),
                    batch.select(targets) if len(targets) > 1 else batch.column(targets[0]),
                    None if weight is None else batch.column(weight),
                    is_reduced=True,
                )
            except ValueError as error:
                raise ValueError(f"Batch {number} of `batches`, which begins with row {rows}: {error}") from None
            rows += batch.num_rows
            if prepared.missing is not None:
                dropped += prepared.missing
            for part in batches_to_reduce(prepared):
                if accumulator is None:
                    design = reader.schema.feature_names if reader.schema else default_names(part[0].shape[1])
                    accumulator = Accumulator(len(design), len(targets))
                with naming_columns(design, targets, prepared):
                    accumulator.update(*part)
        if accumulator is None or not accumulator.rows:
            raise ValueError(f"`batches` must hold at least one row. Received: {rows} rows, {dropped.missing} dropped.")
        with naming_columns(design, targets, prepared):
            counts = None if not dropped.missing else MissingRows(rows, dropped.missing, dropped.columns)
            return accumulator, accumulator.result(), design, targets, counts
