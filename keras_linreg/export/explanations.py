"""Contributions of columns inside a graph: `inference.contributions` in TensorFlow."""

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
        self._shape = (-1, groups) if units == 1 else (-1, groups, units)
        self._centre, self._rest = stored(contributions.centre[0]), stored(contributions.centre[1])
        self._is_exact = not contributions.centre[1].any()
        self._weights = stored(contributions.weights.reshape(features, groups * units))
        self._baseline, self._deviation = stored(contributions.baseline), stored(contributions.deviation)
        self._factor = None if contributions.factor is None else stored(contributions.factor)
        self._membership = stored(contributions.membership)

    def answer(self, design: tf.Tensor) -> Tensors:
        """Return the outputs of the signature for a design `(n, p)`."""
        rows = tf.cast(design, tf.float64) - self._centre
        rows = rows if self._is_exact else rows - self._rest
        parts = tf.reshape(tf.matmul(rows, self._weights), self._shape)
        total = tf.reduce_sum(parts, axis=1)
        baseline = tf.zeros_like(total) + (self._baseline[0] if len(self._shape) == 2 else self._baseline)
        predictions = total + baseline
        answer = {
            "contributions": parts,
            "baseline": baseline,
            "predictions": predictions[:, None] if len(self._shape) == 2 else predictions,
        }
        if self._factor is not None:
            variance = tf.matmul(tf.square(tf.matmul(rows, self._factor)), self._membership)
            errors = tf.sqrt(variance)
            errors = errors * self._deviation[0] if len(self._shape) == 2 else errors[..., None] * self._deviation
            answer["contribution_se"] = errors
        return {key: tf.cast(value, tf.float32) for key, value in answer.items()}
