"""From the rows that a monitor is given to designs: without rows that lack a value, which are counted."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_linreg.data import (
    MissingRows,
    Reader,
    Schema,
    TablePreprocessor,
    dense_matrix,
    is_sparse,
    preprocessor_columns,
    to_csr,
)
from keras_linreg.data.arrow_source import is_arrow_source, open_source
from keras_linreg.data.kinds import is_py_dataset, is_stream
from keras_linreg.data.missing import find
from keras_linreg.data.packing import unpack_batch
from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.data.table_preprocessor import check_no_target, has_response
from keras_linreg.data.tables import Table, as_table
from keras_linreg.data.targets import read_targets, read_weights
from keras_linreg.utils.types import Array, Batch, Data


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RowsRead:
    """Rows of a batch that have all values.

    Attributes:
        batch: `(x, y, weights)`: the design, outcomes or None, weights or None.
        known: mask `(n,)` of rows whose outcomes are known, or None: all are.
        missing: counts of rows without a value.
        unseen: counts of rows with a category that the fit does not know.
    """

    batch: Batch
    known: Array | None
    missing: MissingRows
    unseen: MissingRows


class RowReader:
    """Reads rows of every kind that `predict` takes.

    Args:
        outputs: the names of the outcomes.
        schema: the columns of the fit.
        preprocessor: from the columns to the design, or None.
        constant: mask `(p,)` of columns of the design that no row of the fit had other than one number in.
    """

    def __init__(self, outputs: tuple[str, ...], schema: Schema | None, preprocessor: Any, constant: Array):
        self.preprocessor = preprocessor
        self._outputs, self._schema, self._constant = outputs, schema, constant

    def batches(self, x: Data, y: Data, sample_weight: Data) -> Iterator[Batch]:
        """Yield batches in memory, of data in memory, of files, or of a stream that holds outcomes and weights too."""
        if is_arrow_source(x):
            if not all(part is None or isinstance(part, str) for part in (y, sample_weight)):
                raise ValueError(
                    "`y` and `sample_weight` must be names of columns where `x` are files. "
                    f"Received: {type(y).__name__} and {type(sample_weight).__name__}."
                )
            source = open_source(x)
            for record_batch in source.read(self._needed(source.schema.names, y, sample_weight), None):
                yield record_batch, y, sample_weight
        elif is_stream(x):
            if y is not None or sample_weight is not None:
                raise ValueError(
                    "`y` and `sample_weight` must be part of `x` where `x` is a stream of batches. "
                    f"Received: {type(x).__name__} and {type(sample_weight if y is None else y).__name__} beside it."
                )
            batches = (x[i] for i in range(x.num_batches)) if is_py_dataset(x) else iter(x)
            for batch in batches:
                yield unpack_batch(batch)
        elif x is None:
            raise ValueError("`x` is missing: give the rows to watch. Received: x=None.")
        else:
            yield x, y, sample_weight

    def _needed(self, names: list[str], *others: str | None) -> list[str]:
        """Return the columns of files that are read."""
        wanted: list[str] = [name for name in others if name is not None]
        if self._schema is None or not self._schema.named:
            return names
        wanted += self._schema.names
        if isinstance(self.preprocessor, TablePreprocessor):
            wanted += self.preprocessor.named_columns
        absent = [name for name in self._schema.names if name not in names]
        if absent:
            raise ValueError(f"`x` must have the columns {list(self._schema.names)}. Received: {names} (no {absent}).")
        return [name for name in names if name in wanted]

    def read(self, batch: Batch, drops: bool) -> RowsRead:
        """Return the rows of a batch in memory.

        Args:
            batch: `(x, y, sample_weight)`, as the user gave them.
            drops: whether rows are looked through for missing values. Otherwise a matrix is not, which takes as long as
                its cross-products do; these tell whether it has any.
        """
        x, y, sample_weight = self._resolved(*batch)
        rows, weights = _count(x), read_weights(sample_weight)
        if y is None:
            y = self._outcomes_of_table(x)
        outcomes = None if y is None else self._read_outcomes(y, rows)
        known = None if outcomes is None or np.isfinite(outcomes.sum()) else ~np.isnan(outcomes).any(axis=1)
        unseen, unusable = self._unseen_rows(x)
        if unusable is not None:  # a row of weight zero may hold any category
            weights = np.where(unusable, 0.0, 1.0 if weights is None else np.ravel(weights))
        lacks_weights = weights is not None and np.isnan(weights.sum())
        rule = "drop" if drops or lacks_weights or self.preprocessor is not None else "error"
        settings = len(self._outputs), "float64", None, self.preprocessor, self._schema, rule
        reader = Reader(*settings, drops_in_graph=False)
        filler = np.broadcast_to(0.0, (rows, len(self._outputs))) if outcomes is None else outcomes
        filler = filler if known is None else np.where(known[:, None], filler, 0.0)
        read = reader.rows(x, filler, weights, targets=False, empty=True, is_reduced=True)
        self._schema = self._schema or reader.schema
        missing = read.missing or MissingRows(rows, 0, {})
        design, kept, heavy = read.x, read.kept, read.sample_weight
        if known is not None and kept is not None:
            known = known[kept]
        if is_sparse(design):
            design = to_csr(design)
        elif (heavy is not None and not np.all(heavy)) or (known is not None and not known.all()):
            design = np.asarray(design)  # columns of a table cannot be cut by masks
        else:
            design = dense_matrix(design)
        if known is not None and heavy is not None:
            known = known[np.ravel(heavy) != 0]
        design, y_kept, heavy = without_zero_weights(design, read.y, None if heavy is None else np.ravel(heavy))
        unseen = unseen + self._unknown_categories(design)
        return RowsRead((design, None if outcomes is None else y_kept, heavy), known, missing, unseen)

    def _resolved(self, x: Data, y: Data, sample_weight: Data) -> Batch:
        """Return the parts of a batch: columns that y and the weights name are taken out of the table."""
        table = as_table(x)
        if table is None:
            if isinstance(y, str) or isinstance(sample_weight, str):
                raise ValueError(
                    "`y` and `sample_weight` may be names of columns where `x` is a table. "
                    f"Received: x of type {type(x).__name__}."
                )
            return x, y, sample_weight
        check_no_target(self.preprocessor, y)
        parts, own = [], self._schema.names if self._schema is not None and self._schema.named else ()
        for argument, part in (("y", y), ("sample_weight", sample_weight)):
            if isinstance(part, str) and part not in table.columns:
                raise ValueError(f"`{argument}` must be a column of `x`, {list(table.columns)}. Received: {part!r}.")
            parts.append(table.columns[part] if isinstance(part, str) else part)
        named = {part for part in (y, sample_weight) if isinstance(part, str)} - set(own)
        return table.without(named), *parts

    def _outcomes_of_table(self, x: Data) -> Array | None:
        """Return y as the left side of a formula makes it of a table that has its columns; else None."""
        if not (isinstance(x, Table) and has_response(self.preprocessor)):
            return None
        others = {column.name for column in self.preprocessor.inputs}
        own = [name for name in self.preprocessor.named_columns if name not in others]
        if not set(own) <= set(x.columns):
            return None
        return self.preprocessor.read(x, with_target=True).target()

    def _read_outcomes(self, y: Data, rows: int) -> Array:
        known = self._schema.output_names if self._schema is not None else ()
        outcomes = np.asarray(read_targets(y, len(self._outputs), "float64", known)[0], np.float64)
        if len(outcomes) != rows:
            raise ValueError(f"`x` and `y` must have the same number of rows. Received: {rows} and {len(outcomes)}.")
        if not np.isfinite(outcomes.sum()) and np.isinf(outcomes).any():
            row = int(np.argmax(np.isinf(outcomes).any(axis=1)))
            raise ValueError(f"`y` must be finite, or NaN where it is not known yet. Received: infinity in row {row}.")
        return outcomes

    def _unseen_rows(self, x: Data) -> tuple[MissingRows, Array | None]:
        """Return counts of rows with a level that a formula has not seen, and the mask of those it cannot take."""
        nothing = MissingRows(0, 0, {})
        if not (isinstance(x, Table) and isinstance(self.preprocessor, TablePreprocessor)):
            return nothing, None
        unseen = self.preprocessor.read(x, with_target=False).unseen()
        found = find({name: mask for name, (mask, _) in unseen.items()})
        unusable = [mask for mask, is_taken in unseen.values() if not is_taken]
        return nothing if found is None else found.counts, np.any(unusable, axis=0) if unusable else None

    def _unknown_categories(self, design: Any) -> MissingRows:
        """Return counts of rows in the columns of a FeatureSpace for unknown categories, of which the fit had none."""
        columns: dict[str, int] = {}
        total = np.zeros(design.shape[0], bool)
        for position, name in preprocessor_columns.unknown_columns(self.preprocessor).items():
            if self._constant[position]:
                mask = np.asarray(design[:, position]) == 1
                columns[name] = columns.get(name, 0) + int(mask.sum())
                total |= mask
        columns = {name: count for name, count in columns.items() if count}
        return MissingRows(design.shape[0], int(total.sum()), columns) if columns else MissingRows(0, 0, {})


def _count(x: Data) -> int:
    """Return the number of rows of a table or a matrix."""
    if isinstance(x, Table):
        return len(next(iter(x.columns.values()))) if x.columns else 0
    shape = getattr(x, "shape", None)
    return int(np.shape(x)[0] if shape is None else shape[0])
