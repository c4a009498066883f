"""The `preprocessor` of a model: its inputs, whether it is adapted, and the names of the columns that it makes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import is_feature_space, is_layer, is_scipy_sparse, is_sparse_tensor
from keras_linreg.data.schema import Column, Schema, default_names
from keras_linreg.data.table_preprocessor import TablePreprocessor
from keras_linreg.utils.lazy import LazyModule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
else:
    keras, tf = LazyModule("keras"), LazyModule("tensorflow")

COARSE = 1e-3  # of a standard deviation
FREE_TEXT = "features"  # the name of a matrix
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")  # the names that TensorFlow takes for operations


def check(preprocessor: Any) -> None:
    """Refuse a preprocessor that is no FeatureSpace, layer or model."""
    if preprocessor is not None and not is_layer(preprocessor):
        raise ValueError(
            "`preprocessor` must be a keras.utils.FeatureSpace, a Keras layer or a Keras model. "
            f"Received: {preprocessor!r} of type {type(preprocessor).__name__}."
        )


def check_adapted(preprocessor: Any) -> None:
    """Refuse a preprocessor in which a layer still waits for `adapt`: it would pass the data on unchanged, or fail.

    A FeatureSpace that was loaded from a file finishes building here, because it cannot do so inside a graph.
    """
    for layer in _with_sublayers(preprocessor):
        if not _is_adapted(layer):
            raise ValueError(
                f"`preprocessor` must be adapted before it is used: call `.adapt(data)` on {layer.name!r} "
                f"(a {type(layer).__name__}) first."
            )


def _with_sublayers(layer: Any) -> Iterator[keras.Layer]:
    yield layer
    for sublayer in getattr(layer, "layers", ()):
        yield from _with_sublayers(sublayer)


def _is_adapted(layer: Any) -> bool:
    layers = keras.layers
    if isinstance(layer, TablePreprocessor):
        return layer.is_adapted
    if is_feature_space(layer):
        try:
            layer.get_inputs()
        except ValueError:
            return False
        return True
    if isinstance(layer, layers.Normalization):
        if layer.input_mean is not None:
            return True
        # A layer that is built and not adapted has the statistics that it starts with.
        fresh = layer.built and not keras.ops.any(layer.adapt_mean) and keras.ops.all(layer.adapt_variance == 1)
        return layer.built and not fresh
    if isinstance(layer, (layers.StringLookup, layers.IntegerLookup)):
        return layer.vocabulary_size() > layer.num_oov_indices + (layer.mask_token is not None)
    if isinstance(layer, layers.TextVectorization):
        return layer.vocabulary_size() > 2  # the mask and the unknown token are always there
    if isinstance(layer, layers.Discretization):
        return layer.bin_boundaries is not None
    return True


def takes_codes(preprocessor: Any) -> bool:
    """Return whether a layer takes integers as codes of categories; a Sequential does as its first layer."""
    if preprocessor is None:
        return False
    first = (
        preprocessor.layers[0] if isinstance(preprocessor, keras.Sequential) and preprocessor.layers else preprocessor
    )
    layers = keras.layers
    return isinstance(first, layers.IntegerLookup | layers.Hashing | layers.CategoryEncoding | layers.Embedding)


def may_keep_float64(preprocessor: Any) -> bool:
    """Return whether the output of a preprocessor may depend on digits that float32 does not have."""
    if isinstance(preprocessor, TablePreprocessor):
        return bool(preprocessor.spoiled_columns)
    for layer in _with_sublayers(preprocessor):
        is_container = isinstance(layer, keras.Model | keras.layers.InputLayer) or is_feature_space(layer)
        if is_container or layer.compute_dtype != "float64":
            continue
        if not isinstance(layer, keras.layers.Normalization):
            if keras.config.floatx() != "float64":  # the user chose float64
                return True
            continue
        mean, deviation = (np.ravel(keras.ops.convert_to_numpy(part)) for part in _statistics(layer))
        if float32_spoils(mean, deviation).any():
            return True
    return False


def float32_spoils(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the mask of columns in which neighbouring float32 numbers differ by more than a share of the deviation."""
    spacing = np.spacing(np.abs(mean).astype(np.float32)).astype(np.float64)
    return (deviation > 0) & (spacing > COARSE * deviation)


def _statistics(layer: keras.layers.Normalization) -> tuple[Any, Any]:
    """Return the means and standard deviations of the columns of a Normalization."""
    is_fixed = layer.input_mean is not None
    mean, variance = (layer.input_mean, layer.input_variance) if is_fixed else (layer.mean, layer.variance)
    return mean, keras.ops.sqrt(variance)


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


def _lookups() -> tuple[Any, ...]:
    return keras.layers.StringLookup, keras.layers.IntegerLookup


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


def apply(preprocessor: Any, x: Any) -> tf.Tensor:
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
    design = design if design.dtype.is_floating else tf.cast(design, keras.config.floatx())
    return _with_nan(design, x, text_names(preprocessor))


def _with_nan(design: tf.Tensor, x: Any, texts: frozenset[str]) -> tf.Tensor:
    """Return the design with NaN in each row in which `x` has no value: a bin or a code would hide it.

    NaN is a missing number, and the empty string a missing category; in a column of free text it is a text.
    """
    columns = x if isinstance(x, dict) else {FREE_TEXT: x}
    masks = []
    for name, part in columns.items():
        if is_sparse_tensor(part) or is_scipy_sparse(part):
            continue
        dtype = tf.as_dtype(part.dtype)
        if dtype.is_floating:
            masks.append(tf.math.is_nan(part))
        elif dtype == tf.string and name not in texts:
            masks.append(tf.equal(part, ""))
    if not masks:
        return design
    bad = [mask if mask.shape.rank == 1 else tf.reduce_any(mask, axis=range(1, mask.shape.rank)) for mask in masks]
    return tf.where(tf.reduce_any(tf.stack(bad), axis=0)[:, None], tf.constant(np.nan, design.dtype), design)


def text_names(preprocessor: Any) -> frozenset[str]:
    """Return the names of the columns of free text: a TextVectorization reads them."""
    if preprocessor is None or isinstance(preprocessor, TablePreprocessor):
        return frozenset()
    kind = keras.layers.TextVectorization
    if input_names(preprocessor) is None:
        return (
            frozenset({FREE_TEXT}) if any(isinstance(p, kind) for p in _with_sublayers(preprocessor)) else frozenset()
        )
    return frozenset(name for name, layer in _readers(preprocessor) if isinstance(layer, kind))


@contextlib.contextmanager
def graph_names(preprocessor: Any) -> Iterator[None]:
    """Give layers and variables names that a graph takes, for a while.

    A layer that reads a column gets the column's name, so that an error in the graph names the column.
    """
    layers = list(_with_sublayers(preprocessor)) if preprocessor is not None else []
    if is_feature_space(preprocessor):
        parts = (preprocessor.preprocessors, preprocessor.crossers, preprocessor.one_hot_encoders)
        layers += [layer for part in parts for layer in part.values()]
    columns = {id(layer): name for name, layer in _readers(preprocessor)}
    from keras_linreg.utils.keras_compat import HANDLE_NAME  # it imports Keras

    named = [(layer, "name") for layer in layers]
    named += [(variable.value, HANDLE_NAME) for layer in layers for variable in layer.variables]
    before = [getattr(*one) for one in named]
    try:
        for i, (one, attribute) in enumerate(named):
            if id(one) in columns:
                setattr(one, attribute, scope_of(columns[id(one)]))
            elif not SCOPE.fullmatch(before[i].removesuffix(":0")):
                setattr(one, attribute, f"part_{i}" + ":0" * before[i].endswith(":0"))
        yield
    finally:
        for (one, attribute), name in zip(named, before, strict=True):
            setattr(one, attribute, name)


def _readers(preprocessor: Any) -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers that read a single column, with its name."""
    if isinstance(preprocessor, TablePreprocessor):
        return
    if is_feature_space(preprocessor):
        yield from preprocessor.preprocessors.items()
        return
    names = input_names(preprocessor) or ()
    inputs = preprocessor.input if names else {}
    columns = {id(inputs[name] if isinstance(inputs, dict) else inputs[i]): name for i, name in enumerate(names)}
    for layer in _with_sublayers(preprocessor) if columns else ():
        with contextlib.suppress(AttributeError, ValueError):  # it is called more than once, or not in this model
            if id(layer.input) in columns and not isinstance(layer, keras.layers.InputLayer):
                yield columns[id(layer.input)], layer


def first_layers(preprocessor: Any, columns: Sequence[str]) -> Iterator[tuple[Sequence[str], keras.Layer]]:
    """Yield the layers that read columns as they come, each with the names of its columns."""
    if preprocessor is None:
        return
    if input_names(preprocessor) is not None:
        for name, layer in _readers(preprocessor):
            yield [name], layer
        return
    while isinstance(preprocessor, keras.Sequential) and preprocessor.layers:
        preprocessor = preprocessor.layers[0]
    yield columns, preprocessor


def scope_of(column: str) -> str:
    """Return the name of a column, with the characters replaced that an operation's name cannot have."""
    spelled = re.sub(r"[^A-Za-z0-9_.]", "_", column)
    return spelled if SCOPE.fullmatch(spelled) else f"column{spelled}"


def declared_schema(preprocessor: Any, names: tuple[str, ...]) -> Schema:
    """Return the inputs of a model that has seen no data: those that a preprocessor declares, or named columns."""
    if isinstance(preprocessor, TablePreprocessor):
        return Schema(preprocessor.inputs, True, names)
    declared = input_names(preprocessor)
    if declared:
        dtypes = input_dtypes(preprocessor)
        return Schema(tuple(Column(name, dtypes[name]) for name in declared), True, names)
    if preprocessor is not None or names == default_names(len(names)):
        return Schema.of_matrix(len(names), names)
    return Schema(tuple(Column(name, "float32") for name in names), True, names)
