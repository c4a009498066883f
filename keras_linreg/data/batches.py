"""Streams on their way to the design: each batch is read as data in memory are, or in a graph."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_linreg.data import arrays, columns, streams
from keras_linreg.data.kinds import is_dataset, is_py_dataset
from keras_linreg.data.packing import pack_batch, unpack_batch
from keras_linreg.data.prepared import Prepared
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_linreg.data.reader import Reader
else:
    tf = LazyModule("tensorflow")


def prepare_stream(reader: Reader, x: Data, targets: bool) -> Prepared:
    """Return a stream ready for Keras.

    Args:
        reader: learns the schema if the stream tells it.
        x: a dataset, PyDataset, generator, or loader that Keras reads itself.
        targets: whether batches must hold `y`.

    Raises:
        ValueError: on a stream, or first batch, that cannot be fitted.
    """
    if is_dataset(x):
        x = _prepare_dataset(reader, x, targets)
        return Prepared(x, again=lambda: streams.numbered(x))
    if is_py_dataset(x):
        if x.num_batches == 0:
            raise ValueError("`x` must hold at least one batch. Received: an empty PyDataset.")
        batch = _batch(reader, x[0], targets, empty=False)
        errors: list[str] = []
        from keras_linreg.data.py_dataset import ConvertedPyDataset  # it imports Keras

        prepared = ConvertedPyDataset(x, lambda batch: _batch(reader, batch, targets), errors)
        return Prepared(prepared, again=lambda: streams.numbered(prepared), errors=errors, first=batch)
    if hasattr(x, "__next__"):
        first, x = streams.peek(x)
        batch = _batch(reader, first, targets, empty=False)
        errors = []
        kept = streams.KeptBatches(x, lambda batch: _batch(reader, batch, targets), errors)
        return Prepared(kept.generator(), again=kept.again, errors=errors, first=batch)
    # A loader that Keras reads itself: torch's, grain's, a distributed dataset.
    spec = getattr(x, "element_spec", None)
    by_name = isinstance(spec, Mapping) or (isinstance(spec, tuple) and isinstance(spec[0], Mapping))
    if by_name or reader.preprocessor is not None:
        raise ValueError(
            f"`x` of type {type(x).__name__} must hold matrices, and goes with no `preprocessor`: Keras reads it "
            "itself. Pass the tf.data.Dataset, under the strategy too. "
            f"Received: {'named columns' if by_name else 'a model with a preprocessor'}."
        )
    return Prepared(x)


def _batch(reader: Reader, batch: Any, targets: bool, empty: bool = True) -> Any:
    """Return a batch as Keras takes it."""
    x, y, sample_weight = unpack_batch(batch)
    if targets and y is None:
        raise columns.no_targets(type(batch))
    x, y, sample_weight = reader.rows(x, y, sample_weight, empty=empty)
    return (x,) if y is None else pack_batch(x, y, sample_weight)


def _prepare_dataset(reader: Reader, dataset: tf.data.Dataset, targets: bool) -> tf.data.Dataset:
    x, y, sample_weight = unpack_batch(dataset.element_spec)
    if targets and y is None:
        raise columns.no_targets(type(dataset.element_spec))
    if int(dataset.cardinality()) == 0:
        raise ValueError("`x` must hold at least one batch. Received: an empty dataset.")
    for name, part in x.items() if isinstance(x, Mapping) else [(None, x)]:
        if part.shape.rank is None:
            argument = "`x`" if name is None else f"Column {name!r} of `x`"
            raise ValueError(
                f"{argument} must be of known rank: map the dataset through tf.ensure_shape. "
                "Received: a dataset of tensors of unknown rank."
            )
    if y is not None and y.shape.rank == 0:
        raise ValueError(
            "`x` must be a dataset of batches: call `.batch(...)` on it. Received: elements that are single rows."
        )
    if y is not None and y.shape.rank is not None:
        arrays.check_units(tuple(y.shape) or (None,), reader.units)
    schema = reader.schema or reader.inputs_of(x)
    if isinstance(x, Mapping):
        arrays.match(x, reader.names_to_match(schema, x) or tuple(x))
    for name, spec in x.items() if isinstance(x, Mapping) else [(None, x)]:
        if spec.dtype == tf.string and reader.preprocessor is None:
            argument = "`x`" if name is None else f"Column {name!r} of `x`"
            raise ValueError(
                f"{argument} must be numeric without a preprocessor that takes strings. Received: strings."
            )
    if y is not None and y.dtype == tf.string:
        raise ValueError("`y` must be numeric. Received: strings.")
    if isinstance(x, Mapping) or reader.preprocessor is not None or sample_weight is not None:
        dataset = dataset.map(functools.partial(_graph_batch, reader), num_parallel_calls=tf.data.AUTOTUNE)
        x = unpack_batch(dataset.element_spec)[0]
    else:
        columns.check_width(x.shape, schema)
    if x.shape.rank is not None:
        width = 1 if x.shape.rank == 1 else x.shape[-1]
        if width == 0:
            raise ValueError(f"`x` must have at least one column. Received: batches of shape {tuple(x.shape)}.")
        if width is not None:
            reader.learn(schema, width)
    return dataset


def _graph_batch(reader: Reader, *batch: Any) -> Any:
    """Return a batch of tensors as Keras takes it, inside a dataset's graph."""
    x, y, sample_weight = unpack_batch(batch)
    x = reader.graph_design(x)
    if sample_weight is not None:
        sample_weight = sample_weight if sample_weight.dtype.is_floating else tf.cast(sample_weight, reader.dtype)
        good = tf.reduce_all(tf.math.is_finite(sample_weight) & (sample_weight >= 0))
        rule = tf.debugging.Assert(good, ["`sample_weight` must be finite and not negative. Received:", sample_weight])
        with tf.control_dependencies([rule]):
            sample_weight = tf.identity(sample_weight)
    return pack_batch(x, y, sample_weight)
