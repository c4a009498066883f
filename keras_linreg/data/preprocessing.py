"""The `preprocessor` of a model: whether it can be used, whether it keeps digits, and the design that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.kinds import is_feature_space, is_layer, is_scipy_sparse, is_sparse_tensor
from keras_linreg.data.preprocessor_columns import text_names, with_sublayers
from keras_linreg.data.schema import MATRIX
from keras_linreg.data.table_preprocessor import TablePreprocessor
from keras_linreg.utils.lazy import LazyModule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
else:
    keras, tf = LazyModule("keras"), LazyModule("tensorflow")

COARSE = 1e-3  # of a standard deviation


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
    for layer in with_sublayers(preprocessor):
        if not _is_adapted(layer):
            raise ValueError(
                f"`preprocessor` must be adapted before it is used: call `.adapt(data)` on {layer.name!r} "
                f"(a {type(layer).__name__}) first."
            )


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
    for layer in with_sublayers(preprocessor):
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
    columns = x if isinstance(x, dict) else {MATRIX: x}
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
