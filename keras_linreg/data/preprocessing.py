"""The `preprocessor` of a model: what it takes, whether it is ready, and how the columns it makes are called."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data.schema import Column, Schema, default_names

FeatureSpace = keras.utils.FeatureSpace


def check(preprocessor) -> None:
    """Refuse what is no FeatureSpace, layer or model."""
    if preprocessor is not None and not isinstance(preprocessor, keras.Layer):
        raise ValueError(
            "`preprocessor` must be a keras.utils.FeatureSpace, a Keras layer or a Keras model. "
            f"Received: {preprocessor!r} of type {type(preprocessor).__name__}."
        )


def check_adapted(preprocessor) -> None:
    """Refuse a preprocessor in which a layer still waits for `adapt`: it would pass the data on unchanged, or fail.

    A FeatureSpace that was loaded from a file finishes building here: it cannot inside a graph.
    """
    for layer in _with_sublayers(preprocessor):
        if not _is_adapted(layer):
            raise ValueError(
                f"`preprocessor` must be adapted before it is used: call `.adapt(data)` on {layer.name!r} "
                f"(a {type(layer).__name__}) first."
            )


def _with_sublayers(layer) -> Iterator[keras.Layer]:
    yield layer
    for sublayer in getattr(layer, "layers", ()):
        yield from _with_sublayers(sublayer)


def _is_adapted(layer) -> bool:
    layers = keras.layers
    if isinstance(layer, FeatureSpace):
        try:
            layer.get_inputs()
        except ValueError:
            return False
        return True
    if isinstance(layer, layers.Normalization):
        if layer.input_mean is not None:
            return True
        # Built but never adapted, its statistics are the ones that it starts from.
        fresh = layer.built and not keras.ops.any(layer.adapt_mean) and keras.ops.all(layer.adapt_variance == 1)
        return layer.built and not fresh
    if isinstance(layer, (layers.StringLookup, layers.IntegerLookup)):
        return layer.vocabulary_size() > layer.num_oov_indices + (layer.mask_token is not None)
    if isinstance(layer, layers.TextVectorization):
        return layer.vocabulary_size() > 2  # the mask and the unknown token are always there
    if isinstance(layer, layers.Discretization):
        return layer.bin_boundaries is not None
    return True


def input_names(preprocessor) -> tuple[str, ...] | None:
    """Return the names of the columns that the preprocessor asks for, None where it takes a matrix or doesn't say."""
    if isinstance(preprocessor, FeatureSpace):
        return tuple(preprocessor.features)
    if isinstance(preprocessor, keras.Sequential) or not isinstance(preprocessor, keras.Model):
        return None
    if getattr(preprocessor, "inputs", None):  # a functional model; a subclass of Model has none
        if isinstance(preprocessor.input, dict):
            return tuple(preprocessor.input)
        if len(preprocessor.inputs) > 1:
            return tuple(tensor.name for tensor in preprocessor.inputs)
    return None


def input_dtypes(preprocessor) -> dict[str, str]:
    """Return the dtypes that the preprocessor declares for its named columns, as a served graph takes them."""
    if isinstance(preprocessor, FeatureSpace):
        declared = {name: feature.dtype for name, feature in preprocessor.features.items()}
    elif input_names(preprocessor) is None:
        declared = {}
    elif isinstance(preprocessor.input, dict):
        declared = {name: tensor.dtype for name, tensor in preprocessor.input.items()}
    else:
        declared = {tensor.name: tensor.dtype for tensor in preprocessor.inputs}
    return {name: served_dtype(dtype) for name, dtype in declared.items()}


def served_dtype(dtype) -> str:
    """Return "string", "int64" or "float32": the dtype in which a served graph takes values of `dtype`."""
    dtype = tf.as_dtype(dtype) if not (isinstance(dtype, str) and dtype == "string") else tf.string
    if dtype == tf.string:
        return "string"
    return "int64" if dtype.is_integer else "float32"


def output_names(preprocessor, width: int, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return what to call the `width` columns of the design, None where the preprocessor doesn't tell.

    A FeatureSpace's are "age" for a number, "color_red" for a category (scikit-learn's way), "age_3" for a bin; layers
    that work on each column alone keep the columns' names.
    """
    if isinstance(preprocessor, FeatureSpace):
        names = [name for feature in _encoded(preprocessor) for name in feature]
        return tuple(names) if len(names) == width else None
    if isinstance(preprocessor, (keras.layers.Normalization, keras.layers.Rescaling)) and columns:
        return columns if len(columns) == width else None
    return None


def _encoded(space: Any) -> Iterator[list[str]]:
    """Yield the design's columns feature by feature, in the order in which a FeatureSpace concatenates them."""
    layers = keras.layers
    for name in [*sorted(space.features), *sorted(space.crossers)]:
        if name not in space.one_hot_encoders:
            yield [name]
            continue
        layer = space.preprocessors.get(name)
        if isinstance(layer, (layers.StringLookup, layers.IntegerLookup)):
            yield [f"{name}_{token}" for token in layer.get_vocabulary()]
        else:
            yield [f"{name}_{i}" for i in range(space.one_hot_encoders[name].num_tokens)]


def apply(preprocessor, x):
    """Return the design, a float tensor of shape `(n, p)`, that the preprocessor makes of `x`."""
    if isinstance(preprocessor, keras.layers.Normalization) and preprocessor.built:
        adapted = (preprocessor.get_build_config() or {}).get("input_shape", (None,))[-1]
        if adapted is not None and x.shape[-1] != adapted:
            raise ValueError(f"`preprocessor` was adapted to {adapted} columns. Received: `x` of {x.shape[-1]}.")
    design = preprocessor(x)
    if isinstance(design, (dict, list, tuple)) or not hasattr(design, "shape") or len(design.shape) != 2:
        raise ValueError(
            "`preprocessor` must return one tensor of shape (n, features) (a FeatureSpace: output_mode='concat'). "
            f"Received: {type(design).__name__}"
            + (
                f" with keys {list(design)}."
                if isinstance(design, dict)
                else f" of shape {getattr(design, 'shape', None)}."
            )
        )
    if design.dtype == tf.string:
        raise ValueError("`preprocessor` must return numbers. Received: strings.")
    return design if design.dtype.is_floating else tf.cast(design, keras.config.floatx())


def declared_schema(preprocessor, names: tuple[str, ...]) -> Schema:
    """Return the inputs of a model that has seen no data: what a preprocessor declares, or columns with names."""
    declared = input_names(preprocessor)
    if declared:
        dtypes = input_dtypes(preprocessor)
        return Schema(tuple(Column(name, dtypes[name]) for name in declared), True, names)
    if preprocessor is not None or names == default_names(len(names)):
        return Schema.of_matrix(len(names), names)
    return Schema(tuple(Column(name, "float32") for name in names), True, names)
