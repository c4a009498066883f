"""The columns of a `preprocessor`: those that it takes, by name and dtype, and those that it makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import is_feature_space
from keras_linreg.data.schema import MATRIX, Column, Schema, default_names
from keras_linreg.data.table_preprocessor import TablePreprocessor
from keras_linreg.utils.lazy import LazyModule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
else:
    keras, tf = LazyModule("keras"), LazyModule("tensorflow")


def input_names(preprocessor: Any) -> tuple[str, ...] | None:
    """Return the names of the columns that the preprocessor takes; None if it takes a matrix, or does not tell."""
    if preprocessor is None:
        return None
    if isinstance(preprocessor, TablePreprocessor):
        return preprocessor.named_columns
    if is_feature_space(preprocessor):
        return tuple(preprocessor.features)
    if isinstance(preprocessor, keras.Sequential) or not isinstance(preprocessor, keras.Model):
        return None
    if getattr(preprocessor, "inputs", None):  # a functional model; a subclass of Model has none
        if isinstance(preprocessor.input, dict):
            return tuple(preprocessor.input)
        if len(preprocessor.inputs) > 1:
            return tuple(tensor.name for tensor in preprocessor.inputs)
    return None


def input_dtypes(preprocessor: Any) -> dict[str, str]:
    """Return the dtypes that the preprocessor declares for its named columns, as those of a served graph."""
    if preprocessor is None:
        return {}
    if is_feature_space(preprocessor):
        declared = {name: feature.dtype for name, feature in preprocessor.features.items()}
    elif input_names(preprocessor) is None:
        declared = {}
    elif isinstance(preprocessor.input, dict):
        declared = {name: tensor.dtype for name, tensor in preprocessor.input.items()}
    else:
        declared = {tensor.name: tensor.dtype for tensor in preprocessor.inputs}
    return {name: served_dtype(dtype) for name, dtype in declared.items()}


def served_dtype(dtype: Any) -> str:
    """Return the dtype of a served graph's input for values of `dtype`: "string", "int64" or "float32"."""
    dtype = tf.as_dtype(dtype) if not (isinstance(dtype, str) and dtype == "string") else tf.string
    if dtype == tf.string:
        return "string"
    return "int64" if dtype.is_integer else "float32"


def output_names(preprocessor: Any, width: int, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names of the `width` columns of the design, or None if the preprocessor does not tell.

    A FeatureSpace names a number "age", a category "color_red" (as scikit-learn does), a bin "age_3". Layers that work
    on each column alone keep the columns' names.
    """
    if isinstance(preprocessor, TablePreprocessor):
        return preprocessor.design_names
    if is_feature_space(preprocessor):
        names = [name for _, columns_of_feature in _encoded(preprocessor) for name in columns_of_feature]
        return tuple(names) if len(names) == width else None
    if isinstance(preprocessor, (keras.layers.Normalization, keras.layers.Rescaling)) and columns:
        return columns if len(columns) == width else None
    return None


def only_categories(layer: Any) -> list[Any] | None:
    """Return the categories of a look-up layer that refuses all others; None if the layer takes others."""
    if not isinstance(layer, _lookups()) or layer.num_oov_indices:
        return None
    return np.asarray(layer.get_vocabulary()).tolist()


def output_groups(preprocessor: Any, names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return the user's columns, each with the design's columns that come of it, by number.

    A category has one for each level. A cross, and an interaction of a formula, is a group of its own, "city:code".
    Another layer or model does not tell what its columns come of: each is a group of its own.

    Args:
        preprocessor: the preprocessor, or None.
        names: of the columns of the design.
    """
    if isinstance(preprocessor, TablePreprocessor):
        return preprocessor.design_groups
    if is_feature_space(preprocessor):
        crosses = {cross.name: ":".join(cross.feature_names) for cross in preprocessor.crosses}
        made = [(crosses.get(name, name), len(columns)) for name, columns in _encoded(preprocessor)]
        ends = np.cumsum([width for _, width in made]).tolist()
        if ends[-1] == len(names):
            return [(name, list(range(end - width, end))) for (name, width), end in zip(made, ends, strict=True)]
    return [(name, [i]) for i, name in enumerate(names)]


def unknown_columns(preprocessor: Any) -> dict[int, str]:
    """Return the design's columns for unknown categories of a FeatureSpace: the feature by the column's position."""
    unknown: dict[int, str] = {}
    position = 0
    for name, columns in _encoded(preprocessor) if is_feature_space(preprocessor) else ():
        layer = preprocessor.preprocessors.get(name)
        if name in preprocessor.one_hot_encoders and isinstance(layer, _lookups()):
            unknown |= {position + i: name for i in range(layer.num_oov_indices)}
        position += len(columns)
    return unknown


def _encoded(space: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each feature and its columns of the design, in the order in which a FeatureSpace concatenates them."""
    for name in [*sorted(space.features), *sorted(space.crossers)]:
        if name not in space.one_hot_encoders:
            yield name, [name]
            continue
        layer = space.preprocessors.get(name)
        if isinstance(layer, _lookups()):
            yield name, [f"{name}_{token}" for token in layer.get_vocabulary()]
        else:
            yield name, [f"{name}_{i}" for i in range(space.one_hot_encoders[name].num_tokens)]


def _lookups() -> tuple[Any, ...]:
    return keras.layers.StringLookup, keras.layers.IntegerLookup


def text_names(preprocessor: Any) -> frozenset[str]:
    """Return the names of the columns of free text: a TextVectorization reads them."""
    if preprocessor is None or isinstance(preprocessor, TablePreprocessor):
        return frozenset()
    kind = keras.layers.TextVectorization
    if input_names(preprocessor) is None:
        return frozenset({MATRIX}) if any(isinstance(p, kind) for p in with_sublayers(preprocessor)) else frozenset()
    return frozenset(name for name, layer in column_readers(preprocessor) if isinstance(layer, kind))


def with_sublayers(layer: Any) -> Iterator[keras.Layer]:
    """Yield a layer, and all layers inside it."""
    yield layer
    for sublayer in getattr(layer, "layers", ()):
        yield from with_sublayers(sublayer)


def first_layers(preprocessor: Any, columns: Sequence[str]) -> Iterator[tuple[Sequence[str], keras.Layer]]:
    """Yield the layers that read columns as they come, each with the names of its columns."""
    if preprocessor is None:
        return
    if input_names(preprocessor) is not None:
        for name, layer in column_readers(preprocessor):
            yield [name], layer
        return
    while isinstance(preprocessor, keras.Sequential) and preprocessor.layers:
        preprocessor = preprocessor.layers[0]
    yield columns, preprocessor


def column_readers(preprocessor: Any) -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers that read a single column, with its name."""
    if isinstance(preprocessor, TablePreprocessor):
        return
    if is_feature_space(preprocessor):
        yield from preprocessor.preprocessors.items()
        return
    names = input_names(preprocessor) or ()
    inputs = preprocessor.input if names else {}
    columns = {id(inputs[name] if isinstance(inputs, dict) else inputs[i]): name for i, name in enumerate(names)}
    for layer in with_sublayers(preprocessor) if columns else ():
        with contextlib.suppress(AttributeError, ValueError):  # it is called more than once, or not in this model
            if id(layer.input) in columns and not isinstance(layer, keras.layers.InputLayer):
                yield columns[id(layer.input)], layer


def declared_schema(preprocessor: Any, names: tuple[str, ...]) -> Schema:
    """Return the inputs of a model that has seen no data: those that a preprocessor declares, or named columns.

    Args:
        preprocessor: of the model, or None.
        names: of the columns of the design.

    Raises:
        ValueError: a formula makes more or fewer columns.
    """
    if isinstance(preprocessor, TablePreprocessor):
        made = preprocessor.design_names
        if len(made) != len(names):
            raise ValueError(
                f"`preprocessor` must make the columns that the moments are of, {list(names)}. Received: "
                f"{preprocessor!r}, which makes {list(made)}."
            )
        return Schema(preprocessor.inputs, True, names)
    declared = input_names(preprocessor)
    if declared:
        dtypes = input_dtypes(preprocessor)
        return Schema(tuple(Column(name, dtypes[name]) for name in declared), True, names)
    if preprocessor is not None or names == default_names(len(names)):
        return Schema.of_matrix(len(names), names)
    return Schema(tuple(Column(name, "float32") for name in names), True, names)
