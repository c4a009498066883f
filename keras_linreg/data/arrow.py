"""Record batches of Arrow, one after the other, from whatever holds them."""

from __future__ import annotations

import collections
import difflib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keras_linreg.utils.threads import in_order
from keras_linreg.utils.types import Data

LARGEST_BATCH = 2**17  # rows: a table of one chunk comes in parts that stay in the cache
NEAR = 0.6  # how much alike names are that an error proposes
SCANNED_NUMBERS = 2**23  # of a batch that is decoded of files: each costs about as much as 10,000 rows
SCANNED_ROWS = 2**13, 2**20  # the fewest and the most
READ_TOGETHER = 2**22  # numbers: to read, and to reduce, a small row group takes more than its numbers
READ_AHEAD = 4  # batches: pyarrow's 16 of this size would fill the memory


def record_batches(source: Data, columns: Sequence[str] | None) -> tuple[Any, Iterator[Any]]:
    """Return the schema of a source, and its record batches.

    Args:
        source: a RecordBatchReader, a dataset or its Scanner, a Table, a RecordBatch, an iterable of RecordBatches, or
            anything that exports an Arrow stream.
        columns: the names of the columns that are needed; None for all. Others may be left out of the batches.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the source is something else.
    """
    arrow = pyarrow_module()
    if isinstance(source, arrow.RecordBatch):
        return source.schema, iter([source])
    if isinstance(source, arrow.Table):
        return source.schema, iter(source.to_batches(max_chunksize=LARGEST_BATCH))
    if isinstance(source, arrow.RecordBatchReader):
        return source.schema, iter(source)
    if hasattr(source, "projected_schema"):  # a Scanner has chosen its columns already
        return source.projected_schema, iter(source.to_batches())
    if type(source).__module__ == "pyarrow._dataset" and hasattr(source, "to_batches"):
        names = source.schema.names
        known = names if columns is None else [name for name in names if name in columns]
        return source.schema, scanned(source, known)
    if hasattr(source, "__arrow_c_stream__"):
        reader = arrow.RecordBatchReader.from_stream(source)
        return reader.schema, iter(reader)
    if not isinstance(source, Iterable) or isinstance(source, str | bytes | dict):
        raise _refusal(source)
    batches = iter(source)
    first = next(batches, None)
    if first is None:
        raise ValueError("`batches` must hold at least one record batch. Received: none.")
    if not isinstance(first, arrow.RecordBatch):
        raise _refusal(first)
    return first.schema, itertools.chain([first], batches)


def is_read_once(source: Data) -> bool:
    """Return whether the record batches of a source can be read only once."""
    return isinstance(source, Iterator)  # a RecordBatchReader is one


def scanned(dataset: Any, columns: Sequence[str]) -> Iterator[Any]:
    """Yield the record batches of some columns of a dataset, in their order; row groups of Parquet are read ahead.

    pyarrow itself reads up to a gigabyte ahead of a slow reader.
    """
    names, options = list(columns), scan_options(len(columns))
    try:
        parts = [part for fragment in dataset.get_fragments() for part in _parts_to_read(fragment, len(names))]
    except ValueError:  # of a filtered dataset pyarrow tells no files
        parts = []
    if not parts or not all(hasattr(part, "row_groups") for part in parts):
        yield from dataset.to_batches(columns=names, **options)
        return

    def decoded(part: Any) -> list[Any]:
        table = part.to_table(columns=names, schema=dataset.schema, **options)
        return (table.combine_chunks() if len(part.row_groups) > 1 else table).to_batches()

    for batches in in_order(decoded, parts, ahead=1):
        yield from batches


def _parts_to_read(fragment: Any, columns: int) -> Iterator[Any]:
    """Yield a file in parts: row groups of Parquet, small ones together; other files whole."""
    if not hasattr(fragment, "row_groups"):
        yield fragment
        return
    together: list[int] = []
    numbers = 0
    for group in fragment.row_groups:
        numbers += group.num_rows * columns
        if together and numbers > READ_TOGETHER:
            yield fragment.subset(row_group_ids=together)
            together, numbers = [], group.num_rows * columns
        together.append(group.id)
    if together:
        yield fragment.subset(row_group_ids=together)


def row_groups(dataset: Any) -> Iterator[Any]:
    """Yield the row groups of Parquet files, and other files whole."""
    for fragment in dataset.get_fragments():
        yield from fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]


def scan_options(columns: int) -> dict[str, Any]:
    """Return arguments of `Dataset.to_batches` for a pass over so many columns."""
    fewest, most = SCANNED_ROWS
    return {
        "batch_size": min(max(SCANNED_NUMBERS // max(columns, 1), fewest), most),
        "batch_readahead": READ_AHEAD,
        "fragment_readahead": READ_AHEAD,
    }


def column_names(
    schema: Any,
    target: str | Sequence[str] | None,
    features: Sequence[str] | None,
    weight: str | None,
    argument: str = "batches",
) -> tuple[list[str], list[str]]:
    """Return the names of features and targets, checked against a schema.

    Args:
        schema: has the `names` of the columns.
        target, features, weight: as in `Moments.from_arrow`.
        argument: the name of the data, for errors.

    Raises:
        ValueError: a name is missing, is there twice, or plays two parts.
    """
    twice = sorted(name for name, count in collections.Counter(schema.names).items() if count > 1)
    if twice:
        raise ValueError(f"The columns of `{argument}` must have distinct names. Received: {twice} more than once.")
    targets = _names("target", [target] if isinstance(target, str) else target, schema, argument)
    weights = _names("weight", [] if weight is None else [weight], schema, argument)
    others = [name for name in schema.names if name not in (*targets, *weights)]
    own = [name for name in columns_without_row_labels(schema) if name in others]
    chosen = own if features is None else _names("features", features, schema, argument)
    both = [name for name in chosen if name not in others] + [name for name in weights if name in targets]
    if both:
        raise ValueError(
            f"A column must be one of `features`, `target` and `weight`. Received: {both} for two of them."
        )
    if not chosen:
        raise ValueError(f"`features` must name at least one column. Received: none beside {[*targets, *weights]}.")
    return chosen, targets


def columns_without_row_labels(schema: Any) -> list[str]:
    """Return the names of the columns of a schema that are columns of the frame it was made of."""
    labels = row_label_columns(schema)
    return [name for name in schema.names if name not in labels]


def row_label_columns(schema: Any) -> set[str]:
    """Return the names of columns in which pandas keeps the row labels of a frame.

    `DataFrame.to_parquet` writes them as columns like `__index_level_0__`, and says so in the metadata.
    """
    text = (getattr(schema, "metadata", None) or {}).get(b"pandas")
    try:
        listed = [] if text is None else json.loads(text)["index_columns"]
        return {name for name in listed if isinstance(name, str)}  # a range of numbers is no column
    except (ValueError, KeyError, TypeError):  # another program wrote it
        return set()


def check_columns(argument: str, names: Sequence[Any], known: Sequence[str], data: str) -> None:
    """Refuse names that are no column of some data, or that are there twice.

    Args:
        argument: that holds the names.
        names: that were given.
        known: the columns of the data.
        data: the name of the data, for errors.

    Raises:
        ValueError: there is one; the error proposes columns of a name like it.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), known, cutoff=NEAR)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        kind = "a column" if len(names) == 1 else "columns"
        raise ValueError(
            f"`{argument}` must be {kind} of `{data}`, {list(known)}. Received: {unknown[0]!r}, which is none of them"
            f"{hint}."
        )
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"`{argument}` must be distinct columns of `{data}`. Received: {twice[0]!r} twice.")


def _names(argument: str, names: Any, schema: Any, data: str) -> list[str]:
    if names is None:
        raise ValueError(f"`{argument}` must name a column of `{data}`, {schema.names}. Received: None.")
    listed = list(names) if isinstance(names, Iterable) and not isinstance(names, str | bytes) else [names]
    check_columns(argument, listed, schema.names, data)
    if argument == "target" and not listed:
        raise ValueError("`target` must name at least one column. Received: none.")
    return listed


def check_schema(batch: Any, schema: Any, names: Sequence[str], number: int) -> None:
    """Refuse a batch that lacks a column, or has it in another type than the first batch."""
    counts = collections.Counter(batch.schema.names)
    for name in names:
        if counts[name] != 1:
            raise ValueError(
                f"Batch {number} of `batches` must have the column {name!r} once. Received: {batch.schema.names}."
            )
        own, expected = batch.schema.field(name).type, schema.field(name).type
        if own != expected:
            raise ValueError(
                f"Column {name!r} must be of one type in all batches, {expected}. Received: {own} in batch {number}."
            )


def _refusal(source: Any) -> ValueError:
    return ValueError(
        "`batches` must be a pyarrow RecordBatchReader, Dataset or Table, an iterable of RecordBatches, or something "
        f"that exports an Arrow stream. Received: {type(source).__name__}."
    )


def pyarrow_module() -> Any:
    """Return pyarrow.

    Raises:
        ImportError: it is not installed; the error names the extra.
    """
    try:
        import pyarrow
    except ImportError:
        raise ImportError(
            "Arrow needs pyarrow, which is not installed. It is the extra `arrow` of keras_linreg: install it with "
            "`pip install pyarrow`."
        ) from None
    return pyarrow
