"""Predictions for rows that pyarrow reads: batch by batch, or from file to file."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from keras_linreg.data.arrow import columns_without_row_labels
from keras_linreg.data.arrow_source import FORMATS, ArrowSource, open_source
from keras_linreg.data.arrow_stream import tables
from keras_linreg.utils.files import path_text, replace_file
from keras_linreg.utils.types import Array, Data, PathLike

if TYPE_CHECKING:
    import pandas

ROW, PREDICTION = "row", "prediction"
INTERVALS = ("mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper", "leverage")


class Predicts(Protocol):
    """What is needed of a model."""

    def columns_to_read(self, known: Sequence[str]) -> list[str]:
        """Return the columns that the model takes of those that there are."""

    def names_of_predictions(self) -> list[str]:
        """Return a name for each output."""

    def predict(self, x: Data, *, verbose: int) -> Array:
        """Return predictions `(n, units)`."""

    def predict_interval(self, x: Data, level: float) -> "pandas.DataFrame":
        """Return predictions with their intervals."""


def predict_batches(
    model: Predicts, source: ArrowSource, interval: bool = False, level: float = 0.95, columns: Sequence[str] = ()
) -> Iterator[Any]:
    """Return an iterator of record batches: the number of the row, the columns asked for, and the predictions.

    Args:
        model: built.
        source: the rows.
        interval, level, columns: as in `predict_to`.

    Raises:
        ValueError: the source lacks a column, at once; or, with its batch, a row does not suit the model.
    """
    known = source.schema.names
    names = model.columns_to_read(columns_without_row_labels(source.schema))
    if missing := [name for name in columns if name not in known]:
        raise ValueError(f"`columns` must be columns of {source.text!r}, {known}. Received: {missing}.")
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"Each file must have the columns of the model. Received: {source.text!r} without {missing}.")
    if twice := [name for i, name in enumerate(columns) if name in columns[:i]]:
        raise ValueError(f"`columns` must be distinct. Received: {twice[0]!r} twice.")
    outputs = model.names_of_predictions()
    if interval and len(outputs) > 1:
        outputs = [f"{part}_{name}" for part in INTERVALS[:-1] for name in outputs] + [*INTERVALS[-1:]]
    elif interval:
        outputs = list(INTERVALS)
    if twice := [name for name in (ROW, *outputs) if name in columns]:
        raise ValueError(f"`columns` must not have the names of the predictions. Received: {twice}.")

    def predict(rows: Any) -> list[Array]:
        if not interval:
            return list(np.asarray(model.predict(rows, verbose=0), np.float64).T)
        frame = model.predict_interval(rows, level)
        return [
            column for part in INTERVALS for column in np.asarray(frame[part], np.float64).reshape(len(frame), -1).T
        ]

    return _batches(source, predict, names, columns, outputs)


def _batches(
    source: ArrowSource,
    predict: Callable[[Any], list[Array]],
    names: Sequence[str],
    columns: Sequence[str],
    outputs: Sequence[str],
) -> Iterator[Any]:
    import pyarrow

    start = 0
    for table in tables(source, list(dict.fromkeys([*names, *columns]))):
        values = predict(table.select(names))
        kept = table.select(list(columns)).combine_chunks()
        arrays = [pyarrow.array(np.arange(start, start + table.num_rows))]
        arrays += [_one_chunk(kept.column(name)) for name in columns]
        arrays += [pyarrow.array(value) for value in values]
        start += table.num_rows
        yield pyarrow.RecordBatch.from_arrays(arrays, names=[ROW, *columns, *outputs])


def _one_chunk(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _check_destination(path: Path, files: Sequence[str]) -> None:
    """Refuse to write over a file that is read, and names of files of other formats.

    Raises:
        ValueError: `path` is one of the files, or ends in another format's suffix.
    """
    if any(os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file) for file in files):
        raise ValueError(f"`destination` must be another file than those of `source`. Received: {str(path)!r}.")
    if FORMATS.get(path.suffix.lower(), "parquet") != "parquet":
        raise ValueError(f"`destination` must be a Parquet file, no {path.suffix} file. Received: {str(path)!r}.")


def predict_to(
    model: Predicts,
    source: Data,
    destination: PathLike,
    interval: bool,
    level: float,
    columns: Sequence[str],
) -> int:
    """Write predictions for files into a Parquet file, whole or not at all; return the number of rows.

    Args:
        model: built.
        source, destination, interval, level, columns: as in `predict_to` of the models.
    """
    import pyarrow.parquet

    path = Path(path_text("destination", destination))
    opened, count = open_source(source, "source"), 0
    _check_destination(path, opened.files)
    batches = predict_batches(model, opened, interval, level, columns)
    first = next(batches, None)
    if first is None:
        raise ValueError(f"`source` must hold at least one row. Received: {opened.text!r}, which has none.")
    with replace_file(path) as unfinished, pyarrow.parquet.ParquetWriter(unfinished, first.schema) as writer:
        for batch in itertools.chain([first], batches):
            writer.write_batch(batch)
            count += batch.num_rows
    return count
