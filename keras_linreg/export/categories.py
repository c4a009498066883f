"""Categories that a preprocessor would refuse: in a served graph their rows answer NaN, and no others.

A server that batches requests runs several of them at once. An error in the graph would fail them all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data import Column, preprocessor_columns

Tensors = dict[str, tf.Tensor]


class KnownCategories(tf.Module):
    """The categories that the layers of a preprocessor know which read columns directly.

    Args:
        preprocessor: the layer from the columns to the design, or None.
        columns: the columns of a request.
    """

    def __init__(self, preprocessor: keras.Layer | None, columns: Sequence[Column]):
        super().__init__()
        self._known: dict[str, _Known] = {}
        for names, layer in preprocessor_columns.first_layers(preprocessor, [column.name for column in columns]):
            for column in columns:
                known = _known_of(layer, column) if column.name in names else None
                if known is not None:
                    self._known[column.name] = known

    def replace_others(self, columns: Tensors) -> tuple[Tensors, tf.Tensor | None]:
        """Return the columns with known categories in place of others, and the mask `(n,)` of rows with others.

        The mask is None if the preprocessor takes whatever comes.
        """
        replaced, masks = dict(columns), []
        for name, known in self._known.items():
            is_known = known.contains(columns[name])
            replaced[name] = tf.where(is_known, columns[name], known.member)
            masks.append(~tf.reduce_all(is_known, axis=range(1, is_known.shape.rank)))
        return replaced, tf.reduce_any(tf.stack(masks), axis=0) if masks else None


class _Known(tf.Module):
    """The values that one layer takes.

    Attributes:
        contains: from values to a mask of those that it takes.
        member: one of them.
    """

    def __init__(self, contains: Callable[[tf.Tensor], tf.Tensor], member: Any, table: Any = None):
        super().__init__()
        self.contains, self.member = contains, member
        self._table = table  # the module tracks it, so that a server fills it


def _known_of(layer: keras.Layer, column: Column) -> _Known | None:
    """Return the values of a column that a layer takes, or None if it takes all."""
    layers = keras.layers
    if isinstance(layer, layers.StringLookup | layers.IntegerLookup):
        return None if layer.num_oov_indices else _of_vocabulary(layer, column)
    if isinstance(layer, layers.CategoryEncoding | layers.Embedding):
        size = layer.num_tokens if isinstance(layer, layers.CategoryEncoding) else layer.input_dim
        zero, end = tf.zeros((), column.dtype), tf.cast(size, column.dtype)
        return _Known(lambda values: (values >= zero) & (values < end), zero)
    return None


def _of_vocabulary(layer: Any, column: Column) -> _Known:
    """Return the vocabulary of a look-up layer that refuses other values."""
    dtype = tf.string if isinstance(layer, keras.layers.StringLookup) else tf.as_dtype(layer.vocabulary_dtype)
    vocabulary = tf.constant(layer.get_vocabulary(), dtype)
    entries = tf.lookup.KeyValueTensorInitializer(vocabulary, tf.ones_like(vocabulary, tf.int64))
    table = tf.lookup.StaticHashTable(entries, default_value=0)
    member = tf.cast(vocabulary[0], column.dtype)
    return _Known(lambda values: table.lookup(tf.cast(values, dtype)) > 0, member, table)
