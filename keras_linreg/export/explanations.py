"""Contributions of columns inside a graph: `inference.contributions` in TensorFlow."""

import numpy as np
import tensorflow as tf

from keras_linreg.export.float32 import stored
from keras_linreg.inference.contributions import Contributions

Tensors = dict[str, tf.Tensor]


class Explanations(tf.Module):
    """The baseline and the contributions of groups to the predictions of a design: in float64, returned in float32.

    Of one output, contributions are `(n, groups)` and the baseline is `(n,)`; of several, they have one axis more.
    """

    def __init__(self, contributions: Contributions):
        super().__init__()
        features, groups, units = contributions.weights.shape
        self._units, self._shape = units, (-1, groups) if units == 1 else (-1, groups, units)
        self._centre, self._rest = stored(contributions.centre[0]), stored(contributions.centre[1])
        self._is_exact = not contributions.centre[1].any()
        self._baseline = stored(contributions.baseline)
        self._baseline_of_one = np.float32(contributions.baseline[0])
        # Where each group is one column, in their order, products of numbers do for products of matrices.
        self._is_by_column = np.array_equal(contributions.membership, np.eye(features))
        weights, factor, deviation = contributions.weights, contributions.factor, contributions.deviation
        if self._is_by_column:
            each = np.arange(features)
            weights = weights[each, each]
            factor = None if factor is None else np.abs(np.diag(factor))[:, None] * deviation
        else:
            weights = weights.reshape(features, groups * units)
            factor = None if factor is None else factor * (deviation[0] if units == 1 else 1.0)
        is_vector = self._is_by_column and units == 1
        self._weights = stored(weights[:, 0] if is_vector else weights)
        self._factor = None if factor is None else stored(factor[:, 0] if is_vector else factor)
        self._deviation, self._membership = stored(deviation), stored(contributions.membership)

    def answer(self, design: tf.Tensor) -> Tensors:
        """Return the outputs of the signature for a design `(n, p)`."""
        rows = tf.cast(design, tf.float64) - self._centre
        rows = rows if self._is_exact else rows - self._rest
        parts, errors = self._by_column(rows) if self._is_by_column else self._by_group(rows)
        predictions = tf.reduce_sum(parts, axis=1) + (self._baseline[0] if self._units == 1 else self._baseline)
        answer = {
            "contributions": parts,
            "baseline": self._baselines(tf.shape(design)),
            "predictions": predictions[:, None] if self._units == 1 else predictions,
        }
        answer |= {} if errors is None else {"contribution_se": errors}
        return {key: tf.cast(value, tf.float32) for key, value in answer.items()}

    def _baselines(self, shape: tf.Tensor) -> tf.Tensor:
        """Return the baseline of each row of a design of a shape."""
        if self._units == 1:
            return tf.fill(shape[:1], self._baseline_of_one)
        return tf.broadcast_to(self._baseline, (shape[0], self._units))

    def _by_column(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return the contributions of columns, and their errors if there are some."""
        rows = rows if self._units == 1 else rows[..., None]
        return rows * self._weights, None if self._factor is None else tf.abs(rows) * self._factor

    def _by_group(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return the contributions of groups of columns, and their errors if there are some."""
        parts = tf.reshape(tf.matmul(rows, self._weights), self._shape)
        if self._factor is None:
            return parts, None
        errors = tf.sqrt(tf.matmul(tf.square(tf.matmul(rows, self._factor)), self._membership))
        return parts, errors if self._units == 1 else errors[..., None] * self._deviation
