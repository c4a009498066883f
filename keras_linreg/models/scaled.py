"""ScaledLinearRegression: LinearRegression on columns and a target that it brings to scale by itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf
from keras import ops

from keras_linreg.data import Prepared, is_stream
from keras_linreg.models.column_scales import ColumnScales, column_scales
from keras_linreg.models.gradient import LinearRegression
from keras_linreg.models.layer import SCOPE
from keras_linreg.utils import keras_compat
from keras_linreg.utils.types import Batch, Data

ROWS = 2**16  # to read at once


@keras.saving.register_keras_serializable(package="keras_linreg")
class ScaledLinearRegression(LinearRegression):
    """Linear regression by gradient descent, between a layer that scales the columns and one that scales back.

    ```python
    z = (x - center) / scale
    y_pred = target_center + target_scale * (z @ kernel + bias)
    loss = mean(square(y - y_pred)) + target_scale**2 * penalty(kernel)
    kernel -= learning_rate * d(loss / target_scale**2)/d(kernel)
    ```

    The optimizer and the penalty see columns and a target of mean 0 and standard deviation 1. So one learning rate, one
    `l2`, one clip serve data in any units. Loss, metrics and predictions are in the target's units.

    The first `fit` learns centers and scales from the rows to train on, after the preprocessor, with their sample
    weights. They are weights of the model, saved and exported with it, and they stay as they are from then on. Without
    a bias nothing is centered, and a scale is a root mean square. A column that does not vary has scale 1.

    Args:
        **kwargs: all arguments of `LinearRegression`.

    Attributes:
        kernel: variable of shape `(features, units)`: the target's deviations by a deviation of the column.
        bias: variable of shape `(units,)`, or `None`: deviations of the target from its mean.
        center, scale: variables of shape `(features,)`.
        target_center: variable of shape `(units,)`.
        target_scale: variable of shape `()`: of several outputs, the root of their mean variance.
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create kernel and bias, and centers and scales that change nothing yet."""
        super().build(input_shape)
        settings = {"trainable": False, "autocast": False}
        width = (self.kernel.shape[0],)
        with tf.name_scope(SCOPE):
            self.center = self.add_weight(name="center", shape=width, initializer="zeros", **settings)
            self.scale = self.add_weight(name="scale", shape=width, initializer="ones", **settings)
            self.target_center = self.add_weight(
                name="target_center", shape=(self.units,), initializer="zeros", **settings
            )
            self.target_scale = self.add_weight(name="target_scale", shape=(), initializer="ones", **settings)
        if self.kernel_regularizer is not None:
            self.kernel.regularizer = self._scaled_penalty

    def unbuild(self) -> None:
        """Delete all weights, so that the next data build the model anew."""
        for name in ("center", "scale", "target_center", "target_scale"):
            keras_compat.delete_variable(self, name)
        super().unbuild()

    def _scaled_penalty(self, kernel: tf.Tensor) -> tf.Tensor:
        """Return the penalty in the units of the loss."""
        return self.kernel_regularizer(kernel) * ops.cast(ops.square(self.target_scale), kernel.dtype)

    @property
    def is_plain_float32(self) -> bool:
        """False: predictions go through centers and scales."""
        return False

    def call(self, inputs: Any) -> Any:
        """Return the predictions, of shape `(batch, units)`; the preprocessor is not part of them."""
        scale, center = (ops.cast(part, self.compute_dtype) for part in (self.scale, self.center))
        if isinstance(inputs, tf.SparseTensor):  # centered, it would not be sparse
            slopes = ops.divide(self.kernel, ops.expand_dims(scale, -1))
            y_pred = ops.matmul(inputs, slopes) - ops.matmul(ops.expand_dims(center, 0), slopes)
            y_pred = y_pred if self.bias is None else ops.add(y_pred, self.bias)
        else:
            inputs = ops.expand_dims(inputs, -1) if len(inputs.shape) == 1 else inputs
            is_wrong = inputs.shape[-1] not in (None, self.kernel.shape[0])
            y_pred = super().call(inputs if is_wrong else (inputs - center) / scale)
        # In the variables' dtype: a half has too few digits for a target far from 0.
        y_pred = ops.cast(y_pred, self.variable_dtype)
        return self.target_center + self.target_scale * y_pred

    def train_step(self, data: Batch) -> dict[str, Any]:
        """Take one step down the gradient of the loss in the target's deviations."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            descended = self.optimizer.scale_loss(loss / ops.cast(ops.square(self.target_scale), loss.dtype))

        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(descended, weights), weights, strict=True))
        self.track_loss(loss, rows=tf.shape(y_pred)[0])
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def as_optimized(self, design: Any) -> Any:
        """Return a design, an array or of scipy.sparse, in the columns' deviations; sparse rows are not centered."""
        center, scale = (np.asarray(ops.convert_to_numpy(part), np.float64) for part in (self.center, self.scale))
        return design.multiply(1 / scale).tocsr() if scipy.sparse.issparse(design) else (design - center) / scale

    def unscaled_weights(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return kernel and bias for the columns and the target in their own units, float64.

        Returns:
            The kernel, `(features, units)`, and the bias, `(units,)` or `None`: `y_pred = x @ kernel + bias`.
        """
        parts = self.kernel, self.center, self.scale, self.target_center, self.target_scale
        kernel, center, scale, target_center, target_scale = (
            np.asarray(ops.convert_to_numpy(part), np.float64) for part in parts
        )
        slopes = target_scale * kernel / scale[:, None]
        if self.bias is None:
            return slopes, None
        bias = np.asarray(ops.convert_to_numpy(self.bias), np.float64)
        return slopes, target_center + target_scale * bias - center @ slopes

    def _prepare_fit(self, x: Data, *args: Any) -> tuple[Prepared, Prepared, Prepared | None]:
        if self.built:
            return super()._prepare_fit(x, *args)
        if is_stream(x) and isinstance(x, Iterator):
            raise ValueError(
                "`x` must be data that can be read twice, for their scales first: arrays, a table, a tf.data.Dataset, "
                f"a PyDataset. Received: {type(x).__name__}, which can be read once."
            )
        undo_build = self._undo_build()
        data, train, held_out = super()._prepare_fit(x, *args)
        try:
            batches = train.batches(ROWS) if hasattr(train, "batches") else train.dense_batches()
            self._set_scales(column_scales(batches, is_centered=self.use_bias))
        except BaseException:
            if self.built:
                undo_build()
            raise
        return data, train, held_out

    def _set_scales(self, scales: ColumnScales) -> None:
        self.center.assign(scales.center)
        self.scale.assign(scales.scale)
        self.target_center.assign(scales.target_center)
        self.target_scale.assign(scales.target_scale)
