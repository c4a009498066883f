"""ArrowSource: rows that pyarrow reads, from files or from a stream of record batches."""

from __future__ import annotations

import collections
import dataclasses
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_linreg.data.arrow import pyarrow_module, row_groups, scan_options, scanned
from keras_linreg.data.kinds import is_arrow_dataset, is_record_batch_reader
from keras_linreg.utils.types import Data

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".feather": "feather", ".arrow": "feather"}
MAGIC = "*?["
INTEGER = re.compile(r"-?[0-9]{1,18}")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # the name of a folder of rows without one
NULL = "null"  # the type of a column of which a file holds no value
HIDDEN = ("_", ".")  # names of files and folders that Spark and others leave beside the data begin so


@dataclasses.dataclass(frozen=True, slots=True)
class ArrowSource:
    """Rows that are read as record batches.

    Attributes:
        text: the source in messages.
        schema: the pyarrow Schema.
        rows: how many there are; None if only their end tells.
        read: returns an iterator of the record batches of some columns, from the first row; with a random generator,
            row groups and files come in a random order.
        reads_again: whether `read` may be called more than once.
        files: the paths of the files, if it has some.
        batch_size: the rows of a batch of a fit; None for large batches.
        shuffle: whether a fit brings the rows into a random order.
    """

    text: str
    schema: Any
    rows: int | None
    read: Callable[[Sequence[str], np.random.Generator | None], Iterator[Any]]
    reads_again: bool
    files: tuple[str, ...] = ()
    batch_size: int | None = None
    shuffle: bool = False

    def in_batches(self, batch_size: int | None, shuffle: bool) -> ArrowSource:
        """Return the source with other batches."""
        return dataclasses.replace(self, batch_size=batch_size, shuffle=shuffle)


def is_arrow_source(x: Data) -> bool:
    """Return whether data are read by pyarrow: a path, a glob, a dataset or a reader of Arrow."""
    return isinstance(x, str | os.PathLike | ArrowSource) or is_arrow_dataset(x) or is_record_batch_reader(x)


def open_source(x: Data, argument: str = "x") -> ArrowSource:
    """Return the source that a path, a glob, a dataset or a reader of Arrow is.

    Args:
        x: the source.
        argument: its name in errors.

    Raises:
        ImportError: pyarrow is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the files are of an unknown format, or of several; or they have different columns.
    """
    if isinstance(x, ArrowSource):
        return x
    pyarrow_module()
    if is_record_batch_reader(x):
        return ArrowSource(type(x).__name__, x.schema, None, lambda columns, _: _selected(x, columns), False)
    if is_arrow_dataset(x):
        rows = None if "csv" in str(getattr(x, "format", "")).lower() else int(x.count_rows())
        return _of_datasets({"the dataset": x}, "the dataset", rows, tuple(getattr(x, "files", ())))
    return _of_files(*_paths(x, argument), str(x), argument)


def data_of_fit(x: Data, y: Data, target: Any, batch_size: int | None, shuffle: bool) -> tuple[Data, Data]:
    """Return x and y of a fit: `target` is another word for a y that is the name of a column.

    Args:
        x, y: as the user gave them.
        target: the name of a column of x, of files also several; or None.
        batch_size, shuffle: how files are read.

    Raises:
        ValueError: `target` and `y` are both given, or `target` is no name.
    """
    is_source = is_arrow_source(x)
    if target is not None:
        if y is not None:
            raise ValueError(f"`y` must be left out where `target` is given. Received: y of type {type(y).__name__}.")
        if not isinstance(target, str) and not (is_source and isinstance(target, list | tuple)):
            raise ValueError(
                "`target` must be the name of a column of `x`; of files also a list of names. "
                f"Received: {target!r} of type {type(target).__name__}."
            )
        y = target
    return (open_source(x).in_batches(batch_size, shuffle) if is_source else x), y


def _paths(x: Any, argument: str) -> tuple[list[str], Path | None]:
    """Return the files of a path, a folder or a glob, in the order of their names, and the folder that holds them all.

    The folder of a single file is None.
    """
    text = os.path.expanduser(os.fspath(x))
    base = None
    if os.path.isdir(text):
        base = Path(text)
        names = [path for path in base.rglob("*") if path.is_file() and path.suffix.lower() in FORMATS]
        found = [str(path) for path in names if not _is_hidden(path, base)]
    elif any(mark in text for mark in MAGIC) and not os.path.exists(text):
        base = next(parent for parent in Path(text).parents if not any(mark in str(parent) for mark in MAGIC))
        found = [path for path in glob.glob(text, recursive=True) if os.path.isfile(path)]
        if not _is_hidden(Path(text), base):  # unless the glob asks for them
            found = [path for path in found if not _is_hidden(Path(path), base)]
    else:
        found = [text] if os.path.exists(text) else []
    if not found:
        raise FileNotFoundError(
            f"`{argument}` must be a file, a folder or a glob of files that are there. Received: {text!r}."
        )
    return sorted(found), base


def _is_hidden(path: Path, base: Path) -> bool:
    """Return whether a file, or a folder below `base` that holds it, is no part of the data, as `_temporary` is."""
    parts = path.relative_to(base).parts
    return parts[-1].startswith(HIDDEN) or any(part.startswith(HIDDEN) and "=" not in part for part in parts[:-1])


def _of_files(paths: list[str], base: Path | None, text: str, argument: str) -> ArrowSource:
    import pyarrow.dataset

    suffixes = {Path(path).suffix.lower() for path in paths}
    kinds = {FORMATS.get(suffix, "") for suffix in suffixes}
    if kinds - set(FORMATS.values()) or len(kinds) > 1:
        raise ValueError(
            f"`{argument}` must be files of one format, one of {sorted(FORMATS)}. Received: {sorted(suffixes)}."
        )
    (kind,) = kinds

    def opened(path: str, **options: Any) -> Any:
        try:
            dataset = pyarrow.dataset.dataset(path, format=kind, **options)
            dataset.schema.names  # noqa: B018 - fails if a CSV file is not of UTF-8
        except (OSError, ValueError) as error:
            raise ValueError(
                f"`{argument}` must be files that pyarrow can read. Received: {path!r} ({error})."
            ) from None
        return dataset

    datasets = {path: opened(path) for path in paths}
    partitions = {} if base is None else _partitions(paths, base, datasets[paths[0]].schema.names)
    if partitions:
        partitioning = pyarrow.dataset.HivePartitioning(pyarrow.schema(partitions))
        options = {"partitioning": partitioning, "partition_base_dir": str(base)}
        datasets = {path: opened(path, **options) for path in paths}
    datasets = _with_types_of_empty_columns(datasets)
    rows = None if kinds == {"csv"} else sum(dataset.count_rows() for dataset in datasets.values())
    return _of_datasets(datasets, text, rows, tuple(paths))


def _partitions(paths: list[str], base: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the types of the columns that stand in the names of folders, as in `sales/year=2024/city=Rome/0.parquet`.

    Args:
        paths: of the files.
        base: the folder that holds them all.
        names: the columns of the files, which come first.
    """
    values: dict[str, set[str]] = {}
    for path in paths:
        for folder in Path(path).relative_to(base).parts[:-1]:
            name, mark, value = folder.partition("=")
            if mark and name not in names:
                values.setdefault(name, set()).add(value)
    numbers = {name: all(INTEGER.fullmatch(value) for value in of - {NO_VALUE}) for name, of in values.items()}
    return {name: "int64" if is_number else "string" for name, is_number in numbers.items()}


def _with_types_of_empty_columns(datasets: dict[str, Any]) -> dict[str, Any]:
    """Return datasets whose columns without any value, which tell no type, are of the type in the other files."""
    types: dict[str, Any] = {}
    for dataset in datasets.values():
        for field in dataset.schema:
            if str(field.type) != NULL:
                types.setdefault(field.name, field)
    typed = {}
    for path, dataset in datasets.items():
        schema = dataset.schema
        for number, field in enumerate(schema):
            if str(field.type) == NULL and field.name in types:
                schema = schema.set(number, types[field.name])
        typed[path] = dataset if schema is dataset.schema else dataset.replace_schema(schema)
    return typed


def _of_datasets(datasets: dict[str, Any], text: str, rows: int | None, files: tuple[str, ...]) -> ArrowSource:
    """Return the rows of datasets, one for each file, by their names in messages."""
    schema = next(iter(datasets.values())).schema

    def read(columns: Sequence[str], order: np.random.Generator | None) -> Iterator[Any]:
        for path, dataset in datasets.items():  # before any row is read
            _check_file(path, dataset.schema, schema, columns)
        options = scan_options(len(columns))
        if order is None:
            for path, dataset in datasets.items():
                yield from _explained(scanned(dataset, columns), path, columns)
            return
        parts = [(path, part) for path, dataset in datasets.items() for part in row_groups(dataset)]
        for number in order.permutation(len(parts)):
            path, part = parts[number]
            yield from _explained(part.to_batches(columns=list(columns), schema=schema, **options), path, columns)

    return ArrowSource(text, schema, rows, read, reads_again=True, files=files)


def _check_file(path: str, schema: Any, expected: Any, columns: Sequence[str]) -> None:
    """Refuse a file that lacks a column, or has it in another type than the first file."""
    counts = collections.Counter(schema.names)
    for name in columns:
        if counts[name] != 1:
            raise ValueError(f"Each file must have the column {name!r} once. Received: {path!r} with {schema.names}.")
        own, wanted = schema.field(name).type, expected.field(name).type
        if own != wanted:
            raise ValueError(
                f"Column {name!r} must be of one type in all files, {wanted}. Received: {own} in {path!r}."
            )


def _explained(batches: Iterator[Any], text: str, columns: Sequence[str]) -> Iterator[Any]:
    """Yield record batches; an error of pyarrow names the file, and the columns that were read."""
    try:
        yield from batches
    except (ValueError, OSError) as error:  # pyarrow's own errors are subclasses
        raise ValueError(f"{text!r} cannot be read as it began, columns {list(columns)}: {error}") from None


def _selected(reader: Any, columns: Sequence[str]) -> Iterator[Any]:
    for batch in reader:
        yield batch.select(list(columns))
