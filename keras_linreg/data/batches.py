"""Streams on their way to the design: each batch is read as data in memory are, or in a graph."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data import columns, elements, graph, streams
from keras_linreg.data.column_matrix import LazyMatrix
from keras_linreg.data.kinds import is_dataset, is_py_dataset
from keras_linreg.data.learning import learn_inputs
from keras_linreg.data.missing import MissingRows
from keras_linreg.data.packing import pack_batch, unpack_batch
from keras_linreg.data.prepared import Prepared, Stream
from keras_linreg.data.table_preprocessor import TablePreprocessor, check_no_target, has_response, response_names
from keras_linreg.data.table_rows import complete_rows
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_linreg.data.reader import Reader
else:
    tf = LazyModule("tensorflow")


def prepare_stream(reader: Reader, x: Data, targets: bool, groups: Data = None, steps: int | None = None) -> Prepared:
    """Return a stream ready for Keras.

    Args:
        reader: learns the schema if the stream tells it.
        x: a dataset, PyDataset, generator, or loader that Keras reads itself.
        targets: whether batches must hold `y`.
        groups: batches of labels, or all labels.
        steps: how many batches are read; None: all.

    Raises:
        ValueError: on a stream, or first batch, that cannot be fitted.
    """
    if isinstance(groups, str):
        raise ValueError(
            f"`groups` must be labels where the data are a stream: it has no columns. Received: {groups!r}."
        )
    if groups is not None and reader.missing == "drop":
        raise ValueError(
            "`groups` goes with rows in memory where missing='drop': of a stream nobody knows which labels to drop. "
            "Received: a stream."
        )
    names = functools.partial(_design_names, reader)
    if is_dataset(x):
        if steps is None and int(x.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise elements.endless("a tf.data.Dataset")
        if reader.missing == "drop" and not reader.drops_in_graph and reader.preprocessor is not None:
            return _prepare_counted_dataset(reader, x, targets, groups)
        x = _prepare_dataset(reader, x, targets)
        drops_later = reader.missing == "drop" and not reader.drops_in_graph
        return Stream(
            x,
            output_names=response_names(reader.preprocessor, targets),
            groups=groups,
            read_again=lambda: streams.numbered(x),
            drop_names=names if drops_later else None,
        )
    if is_py_dataset(x) or hasattr(x, "__next__"):
        return _prepare_python_batches(reader, x, targets, groups, steps)
    # A loader that Keras reads itself: torch's, grain's, a distributed dataset.
    spec = getattr(x, "element_spec", None)
    by_name = isinstance(spec, Mapping) or (isinstance(spec, tuple) and isinstance(spec[0], Mapping))
    if by_name or reader.preprocessor is not None:
        raise ValueError(
            f"`x` of type {type(x).__name__} must hold matrices, and goes with no `preprocessor`: Keras reads it "
            "itself. Pass the tf.data.Dataset, under the strategy too. "
            f"Received: {'named columns' if by_name else 'a model with a preprocessor'}."
        )
    return Stream(x, groups=groups, drop_names=names if reader.missing == "drop" else None)


def learn_from_stream(reader: Reader, x: Data, steps: int | None) -> None:
    """Let a formula learn from a stream, which is read once more for it.

    Raises:
        ValueError: the stream can be read once.
    """
    if not (is_dataset(x) or is_py_dataset(x)):
        raise ValueError(
            "`preprocessor` must be adapted before it is fitted on a generator, which can be read once: call "
            f"`.adapt(data)` on the formula first. Received: x of type {type(x).__name__}."
        )
    is_endless = is_dataset(x) and int(x.cardinality()) == tf.data.INFINITE_CARDINALITY
    if steps is None and (is_endless or (is_py_dataset(x) and x.num_batches is None)):
        raise elements.endless(type(x).__name__)

    def frames() -> Iterator[Any]:
        batches = (x[i] for i in range(steps or x.num_batches)) if is_py_dataset(x) else iter(x)
        for number, raw in enumerate(itertools.islice(batches, steps)):
            with streams.noting_errors([], number):
                batch = unpack_batch(_as_arrays(raw) if is_dataset(x) else raw)
                yield complete_rows(reader.preprocessor, batch, reader.units, reader.missing)

    reader.preprocessor.learn(frames)


def _as_arrays(batch: Any) -> Any:
    """Return a batch of a dataset with its dense tensors as arrays."""
    return tf.nest.map_structure(lambda part: part.numpy() if isinstance(part, tf.Tensor) else part, batch)


def _design_names(reader: Reader) -> tuple[str, ...]:
    return () if reader.schema is None else reader.schema.feature_names


def _prepare_python_batches(reader: Reader, x: Any, targets: bool, groups: Data, steps: int | None) -> Stream:
    """Return a PyDataset or generator whose batches are converted as they are read."""
    errors: list[str] = []
    dropped: dict[int, MissingRows] = {}

    def convert(batch: Any, number: int, empty: bool = True) -> Any:
        return _convert(reader, batch, number, targets, empty, dropped)

    if is_py_dataset(x):
        if steps is None and x.num_batches is None:
            raise elements.endless("a PyDataset whose `num_batches` is None")
        if x.num_batches == 0:
            raise ValueError("`x` must hold at least one batch. Received: an empty PyDataset.")
        first = convert(x[0], 0, empty=False)
        from keras_linreg.data.py_dataset import ConvertedPyDataset  # it imports Keras

        prepared = ConvertedPyDataset(x, convert, errors)
        read_again: Any = functools.partial(streams.numbered, prepared)
        batches: Any = prepared
    else:
        raw, x = streams.peek(x)
        first = convert(raw, 0)
        kept = streams.KeptBatches(x, convert, errors)
        batches, read_again = kept.generator(), kept.again
    dropped.clear()  # the first batch is read once more
    return Stream(
        batches,
        output_names=response_names(reader.preprocessor, targets),
        groups=groups,
        errors=errors,
        read_again=read_again,
        first=first,
        dropped=dropped,
    )


def _prepare_counted_dataset(reader: Reader, dataset: tf.data.Dataset, targets: bool, groups: Data) -> Stream:
    """Return a dataset whose batches are converted one by one: behind the preprocessor nobody knows which input lacks.

    A fit alone needs the counts, and alone reads its data in this way.
    """
    elements.check_element(dataset, targets and not has_response(reader.preprocessor), reader.units)
    errors: list[str] = []
    dropped: dict[int, MissingRows] = {}

    def converted() -> Iterator[Any]:
        for number, raw in enumerate(dataset):
            with streams.noting_errors(errors, number):
                batch = _convert(reader, _as_arrays(raw), number, targets, True, dropped)
            yield batch

    first = next(converted(), None)
    if first is None:
        raise ValueError("`x` must hold at least one batch. Received: none.")
    dropped.clear()  # the first batch is read once more
    specs = tf.nest.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), first)
    prepared = tf.data.Dataset.from_generator(converted, output_signature=specs)
    if int(dataset.cardinality()) >= 0:
        prepared = prepared.apply(tf.data.experimental.assert_cardinality(int(dataset.cardinality())))
    read_again = functools.partial(streams.numbered, prepared)
    return Stream(
        prepared,
        output_names=response_names(reader.preprocessor, targets),
        groups=groups,
        errors=errors,
        read_again=read_again,
        dropped=dropped,
    )


def _convert(
    reader: Reader, batch: Any, number: int, targets: bool, empty: bool, dropped: dict[int, MissingRows]
) -> Any:
    """Return a batch as Keras takes it; note the rows that are dropped."""
    x, y, sample_weight = unpack_batch(batch)
    if targets and y is None and not has_response(reader.preprocessor):
        raise elements.no_targets(type(batch))
    check_no_target(reader.preprocessor, y if targets else None)
    rows = reader.rows(x, y, sample_weight, empty=empty, targets=targets)
    if rows.missing is not None:
        dropped[number] = rows.missing
    design = np.asarray(rows.x) if isinstance(rows.x, LazyMatrix) else rows.x
    return (design,) if rows.y is None else pack_batch(design, rows.y, rows.sample_weight)


def _prepare_dataset(reader: Reader, dataset: tf.data.Dataset, targets: bool) -> tf.data.Dataset:
    x, y, _ = elements.check_element(dataset, targets and not has_response(reader.preprocessor), reader.units)
    if isinstance(reader.preprocessor, TablePreprocessor):
        check_no_target(reader.preprocessor, y if targets else None)
        reader.learn_inputs_of_formula()
        batch_function = _as_it_is(functools.partial(_formula_batch, reader, targets))
        dataset = dataset.map(batch_function, num_parallel_calls=tf.data.AUTOTUNE)
        drops = targets and reader.missing == "drop" and reader.drops_in_graph
        return _without_empty_batches(dataset) if drops else dataset
    schema = reader.schema or learn_inputs(x, reader.preprocessor, reader.feature_names)
    if isinstance(x, Mapping):
        x = {str(name): spec for name, spec in x.items()}
        reader.match_columns(schema, x)
    if reader.preprocessor is None:
        elements.check_no_text(x)
    if not isinstance(x, Mapping) and reader.preprocessor is None:
        columns.check_width(x.shape, schema)
    batch_function = functools.partial(_graph_batch, reader)
    if reader.preprocessor is None:  # that of a user may lean on AutoGraph
        batch_function = _as_it_is(batch_function)
    dataset = dataset.map(batch_function, num_parallel_calls=tf.data.AUTOTUNE)
    x = unpack_batch(dataset.element_spec)[0]
    if x.shape.rank is not None:
        width = 1 if x.shape.rank == 1 else x.shape[-1]
        if width == 0:
            raise ValueError(f"`x` must have at least one column. Received: batches of shape {tuple(x.shape)}.")
        if width is not None:
            reader.learn_width(schema, width)
    if y is not None and reader.missing == "drop" and reader.drops_in_graph and not isinstance(x, tf.SparseTensorSpec):
        dataset = _without_empty_batches(dataset)
    return dataset


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that a dataset traces without AutoGraph, which would rewrite each function that it calls."""
    return tf.autograph.experimental.do_not_convert(function)


def _without_empty_batches(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return a dataset without the batches that lost all their rows."""
    return dataset.filter(_as_it_is(lambda x, *_: tf.shape(x)[0] > 0))


def _formula_batch(reader: Reader, targets: bool, *batch: Any) -> Any:
    """Return a batch of columns as Keras takes it, with y if the formula makes it."""
    x, y, sample_weight = unpack_batch(batch)
    if has_response(reader.preprocessor):
        y = reader.preprocessor.graph_target(x) if targets else None
    return _finished(reader, reader.graph_design(x, checks=targets), y, sample_weight)


def _graph_batch(reader: Reader, *batch: Any) -> Any:
    """Return a batch of tensors as Keras takes it, inside a dataset's graph."""
    x, y, sample_weight = unpack_batch(batch)
    return _finished(reader, reader.graph_design(x), y, sample_weight)


def _finished(reader: Reader, x: Any, y: Any, sample_weight: Any) -> Any:
    """Return a design with y and weights, checked; rows without a value are dropped if they may be."""
    drops = reader.missing == "drop"
    if sample_weight is not None:
        sample_weight = graph.checked_weights(sample_weight, reader.dtype, may_be_missing=drops)
    if y is not None:
        x = graph.check_same_rows(x, y, sample_weight)
        if drops and reader.drops_in_graph and not isinstance(x, tf.SparseTensor):
            x, y, sample_weight = graph.drop_missing(x, y, sample_weight)
    return pack_batch(x, y, sample_weight)
