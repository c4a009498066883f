"""From an ArrowSource to a Stream of batches of the design, as Keras takes them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_linreg.data.arrow import column_names, columns_without_row_labels
from keras_linreg.data.arrow_columns import plain_rows
from keras_linreg.data.arrow_source import ArrowSource
from keras_linreg.data.column_matrix import LazyMatrix
from keras_linreg.data.dense import dense_matrix, dense_vector
from keras_linreg.data.missing import MissingRows
from keras_linreg.data.packing import pack_batch
from keras_linreg.data.prepared import BatchesInParts, Rows, Stream
from keras_linreg.data.streams import noting_errors, numbered
from keras_linreg.data.table_preprocessor import has_response, response_names
from keras_linreg.data.table_rows import complete_rows
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.threads import Pace
from keras_linreg.utils.types import Batch, Data

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_linreg.data.reader import Reader
else:
    tf = LazyModule("tensorflow")

LARGE_BATCH = 2**17  # rows
LARGE_PASS = 2**24  # numbers of a batch of a pass that adds batches up
FEWEST_ROWS, MOST_ROWS = 2**12, 2**19  # of it
BUFFER = 2**20  # rows that are shuffled at a time


def arrow_stream(reader: Reader, source: ArrowSource, y: Data, sample_weight: Data, targets: bool) -> Stream:
    """Return a source that can be read again as a stream of batches of the design.

    Args:
        reader: of the model; the first batch tells it the schema.
        source: the rows.
        y, sample_weight: names of columns of the source; `sample_weight` may be None.
        targets: whether y is needed.

    Raises:
        ValueError: a name is no column of the source; or rows do not suit the model.
    """
    errors: list[str] = []
    dropped: dict[int, MissingRows] = {}

    def converted() -> Iterator[Any]:
        for number, (x, own_y, weight) in enumerate(raw_batches(reader, source, y, sample_weight, targets)):
            with noting_errors(errors, number):
                rows = reader.rows(x, own_y, weight, empty=True, targets=targets)
            if rows.missing is not None:
                dropped[number] = rows.missing
            yield _packed(rows, np.asarray(rows.x) if isinstance(rows.x, LazyMatrix) else rows.x)

    in_parts = None
    if targets and not source.shuffle:
        in_parts, first = _parts(reader, source, _columns(reader, source, y, sample_weight, targets), errors, dropped)
    else:
        first = next(converted(), None)
    if first is None:
        raise ValueError(f"`x` must hold at least one row. Received: {source.text!r}, which has none.")
    dropped.clear()  # the first batch is read once more
    specs = tf.nest.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), first)
    dataset = tf.data.Dataset.from_generator(converted, output_signature=specs)
    if source.rows is not None:
        batches = -(-source.rows // (source.batch_size or LARGE_BATCH))
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
    dataset = dataset.prefetch(2)
    read_again = functools.partial(numbered, dataset)
    names = response_names(reader.preprocessor, targets)
    return Stream(dataset, output_names=names, errors=errors, read_again=read_again, dropped=dropped, in_parts=in_parts)


def _packed(rows: Rows, design: Any) -> Any:
    """Return rows as a batch of a dataset."""
    return (design,) if rows.y is None else pack_batch(design, rows.y, rows.sample_weight)


def _parts(
    reader: Reader, source: ArrowSource, columns: _Columns, errors: list[str], dropped: dict[int, MissingRows]
) -> tuple[BatchesInParts, Any]:
    """Return the batches of a source in parts, and the first part as a batch of a dataset; None if there are no rows.

    The first part tells the schema. It is kept for the first pass, so that nothing is decoded twice.
    """
    size = source.batch_size or min(max(LARGE_PASS // len(columns.all), FEWEST_ROWS), MOST_ROWS)
    opened = pieces(source, columns.all, size)
    begun = [*itertools.islice(opened, 1)]
    passes, pace = [itertools.chain(begun, opened)], Pace()

    def rows_of(part: Any) -> Rows:
        schema, rows = reader.schema, None
        if reader.preprocessor is None and schema is not None:
            names = reader.names_to_match(schema, dict.fromkeys(columns.x)) or columns.x
            outputs = schema.output_names if len(schema.output_names) > 1 else columns.y
            rows = plain_rows(part, names, outputs, next(iter(columns.weights), None), reader.missing, reader.dtype)
        return reader.rows(*columns.of(part), empty=True, is_reduced=True) if rows is None else rows

    def read() -> Iterator[list[Batch]]:
        batches = passes.pop() if passes else pieces(source, columns.all, size)
        for number, parts in enumerate(pace.watch(batches)):
            with noting_errors(errors, number):
                rows = [rows_of(part) for part in parts]
            counts = [part.missing for part in rows if part.missing is not None]
            if counts:
                dropped[number] = sum(counts[1:], counts[0])
            yield [(dense_matrix(part.x), dense_matrix(part.y), dense_vector(part.sample_weight)) for part in rows]

    first = None
    if begun:
        with noting_errors(errors, 0):
            rows = reader.rows(*columns.of(begun[0][0]), empty=True)
        first = _packed(rows, rows.x)
    return BatchesInParts(None if source.rows is None else -(-source.rows // size), read, pace), first


def learn_from_source(reader: Reader, source: ArrowSource, y: Data, sample_weight: Data) -> None:
    """Let a formula learn from files, which are read once more for it.

    Raises:
        ValueError: the source can be read once.
    """
    if not source.reads_again:
        raise ValueError(
            "`preprocessor` must be adapted before it is fitted on record batches that can be read once: call "
            f"`.adapt(table)` on the formula first. Received: {source.text}."
        )

    def frames() -> Iterator[Any]:
        for batch in raw_batches(reader, source, y, sample_weight, targets=True):
            yield complete_rows(reader.preprocessor, batch, reader.units, reader.missing)

    reader.preprocessor.learn(frames)


def raw_batches(
    reader: Reader, source: ArrowSource, y: Data, sample_weight: Data, targets: bool
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield batches `(x, y, sample_weight)` of a source as a user would give them: tables and columns."""
    columns = _columns(reader, source, y, sample_weight, targets)
    for table in tables(source, columns.all):
        yield columns.of(table)


class _Columns(NamedTuple):
    """The names of the columns of a source that are x, y and weights."""

    x: list[str]
    y: list[str]
    weights: list[str]

    @property
    def all(self) -> list[str]:
        return list(dict.fromkeys([*self.x, *self.y, *self.weights]))

    def of(self, table: Any) -> tuple[Any, Any, Any]:
        """Return x, y and weights of a table or record batch."""
        y = None if not self.y else table.column(self.y[0]) if len(self.y) == 1 else table.select(self.y)
        return table.select(self.x), y, table.column(self.weights[0]) if self.weights else None


def _columns(reader: Reader, source: ArrowSource, y: Data, sample_weight: Data, targets: bool) -> _Columns:
    _check_name("sample_weight", sample_weight)
    for name in y if isinstance(y, list | tuple) else [y]:
        _check_name("y", name)
    makes_y = targets and has_response(reader.preprocessor)
    if targets and y is None and not makes_y:
        raise ValueError(f"`target` must name a column of {source.text!r}, {source.schema.names}. Received: none.")
    wanted, own = reader.columns_of_model(), columns_without_row_labels(source.schema)
    weights = [] if sample_weight is None or not targets else [sample_weight]
    if makes_y:
        named = reader.preprocessor.named_columns
        return _Columns(list(named or [name for name in own if name not in weights]), [], weights)
    if not targets:
        return _Columns(list(wanted or own), [], [])
    names, outputs = column_names(source.schema, y, wanted, sample_weight, source.text)
    return _Columns(names, outputs, weights)


def _check_name(argument: str, name: Data) -> None:
    if name is not None and not isinstance(name, str):
        raise ValueError(
            f"`{argument}` must be the name of a column where `x` are files. Received: {type(name).__name__}."
        )


def tables(source: ArrowSource, columns: list[str]) -> Iterator[Any]:
    """Yield tables of exactly so many rows as a batch has, the last one of the rest.

    Args:
        source: with `shuffle`, its rows come in a random order.
        columns: their names.
    """
    import pyarrow

    # NumPy's global generator is the one that keras.utils.set_random_seed sets.
    order = np.random.default_rng(np.random.randint(2**31)) if source.shuffle else None
    if order is None:
        for parts in pieces(source, columns):
            yield pyarrow.Table.from_batches(parts)
        return
    size = source.batch_size or LARGE_BATCH
    for parts in pieces(source, columns, max(size, BUFFER // size * size), order):
        table = pyarrow.Table.from_batches(parts)
        table = table.take(order.permutation(table.num_rows))
        for start in range(0, table.num_rows, size):
            yield table.slice(start, size)


def pieces(
    source: ArrowSource, columns: list[str], size: int | None = None, order: np.random.Generator | None = None
) -> Iterator[list[Any]]:
    """Yield lists of record batches that have so many rows together, without a copy; the last list has the rest.

    Args:
        source: the rows.
        columns: their names.
        size: the rows of a list; None for the rows of a batch of the source.
        order: brings row groups and files into a random order.
    """
    size = size or source.batch_size or LARGE_BATCH
    waiting: list[Any] = []
    lacking = size
    for batch in source.read(columns, order):
        start = 0
        while batch.num_rows - start >= lacking:
            yield [*waiting, batch.slice(start, lacking)]
            start, waiting, lacking = start + lacking, [], size
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
            lacking -= batch.num_rows - start
    if waiting:
        yield waiting
