"""Contributions of columns inside a graph: `inference.contributions` in TensorFlow."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_linreg.export.float32 import is_within_float32, stored
from keras_linreg.inference.contributions import Contributions
from keras_linreg.utils.types import Array

FLOAT32_ROUNDOFF = 2.0**-24

Tensors = dict[str, tf.Tensor]


class Explanations(tf.Module):
    """The baseline and the contributions of groups to the predictions of a design.

    The predictions are those of `serving_default`, bit for bit. The rest is computed in float32 where predictions are,
    if each group is a column: the difference from a mean in two parts, `(x - high) - low`, keeps float32's digits
    however far the mean lies from 0. Else it is computed in float64. Both are returned in float32. Of one output,
    contributions are `(n, groups)` and the baseline is `(n,)`; of several, they have one axis more.

    Args:
        contributions: of the fit.
        predict: from a design to the predictions, float32 `(n, units)`.
        deviations: `(p,)`: the standard deviations of the columns.
        predicts_in_float32: whether it computes in float32.
    """

    def __init__(
        self,
        contributions: Contributions,
        predict: Callable[[tf.Tensor], tf.Tensor],
        deviations: Array,
        predicts_in_float32: bool,
    ):
        super().__init__()
        features, groups, self._units = contributions.weights.shape
        self._shape = (-1, groups) if self._units == 1 else (-1, groups, self._units)
        self._predict = predict
        self._baseline = contributions.baseline.astype(np.float32)
        # Where each group is one column, in their order, products of numbers do for products of matrices.
        self._is_by_column = np.array_equal(contributions.membership, np.eye(features))
        weights, factor = self._coefficients(contributions)
        parts = [part for part in (weights, factor, contributions.centre[0]) if part is not None]
        in_float32 = predicts_in_float32 and self._is_by_column and is_within_float32(*parts)
        self._dtype = np.dtype(np.float32 if in_float32 else np.float64)
        centre = contributions.centre.astype(self._dtype)
        rest = (contributions.centre[0] - centre[0]) + contributions.centre[1]
        # The smallest operation costs a request of one row some percent.
        has_rest = (np.abs(rest) > FLOAT32_ROUNDOFF * deviations).any() if in_float32 else rest.any()
        self._centre, self._rest = stored(centre[0]), stored(rest.astype(self._dtype)) if has_rest else None
        self._weights = stored(weights.astype(self._dtype))
        self._factor = None if factor is None else stored(factor.astype(self._dtype))
        self._deviation, self._membership = stored(contributions.deviation), stored(contributions.membership)

    def _coefficients(self, contributions: Contributions) -> tuple[Array, Array | None]:
        """Return what rows are multiplied with: for contributions, and for their errors if there are some."""
        weights, factor, deviation = contributions.weights, contributions.factor, contributions.deviation
        if not self._is_by_column:
            flat = weights.reshape(len(weights), -1)
            return flat, None if factor is None else factor * (deviation[0] if self._units == 1 else 1.0)
        each = np.arange(len(weights))
        weights = weights[each, each]
        factor = None if factor is None else np.abs(np.diag(factor))[:, None] * deviation
        if self._units > 1:
            return weights, factor
        return weights[:, 0], None if factor is None else factor[:, 0]

    def answer(self, design: tf.Tensor) -> Tensors:
        """Return the outputs of the signature for a design `(n, p)`."""
        predictions = self._predict(design)
        rows = tf.cast(design, self._dtype) - self._centre
        rows = rows if self._rest is None else rows - self._rest
        parts, errors = self._by_column(rows) if self._is_by_column else self._by_group(rows)
        answer = {
            "contributions": tf.cast(parts, tf.float32),
            "baseline": self._baselines(predictions),
            "predictions": predictions,
        }
        return answer if errors is None else {**answer, "contribution_se": tf.cast(errors, tf.float32)}

    def _baselines(self, predictions: tf.Tensor) -> tf.Tensor:
        """Return the baseline beside each prediction."""
        if self._units == 1:  # a squeezed shape takes less time than a part of one
            return tf.fill(tf.shape(tf.squeeze(predictions, 1)), self._baseline[0])
        return tf.broadcast_to(self._baseline, tf.shape(predictions))

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
