"""Centre: predictions of a fit about its means, so that an offset of the columns costs no digits."""

from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from keras_linreg.utils.variable_names import shared_names


class Centre(tf.Module):
    """The means of a fit, and its predictions about them.

    ```python
    y_pred = mean(y) + (x - mean(x)) @ kernel
    ```

    is `x @ kernel + bias`, without the large numbers that cancel where columns are far from 0. It holds for the kernel
    and the bias of the fit. Of other weights, which a user may assign, it adds the difference, so the predictions are
    always those of the weights.

    Args:
        features, units: the shape of the kernel.
        dtype: of the weights.
    """

    def __init__(self, features: int, units: int, dtype: str):
        super().__init__()
        with shared_names():
            self._mean = tf.Variable(tf.zeros(features, dtype), trainable=False)
            self._level = tf.Variable(tf.zeros(units, dtype), trainable=False)
            self._kernel = tf.Variable(tf.zeros((features, units), dtype), trainable=False)
            self._bias = tf.Variable(tf.zeros(units, dtype), trainable=False)

    def set(self, mean: np.ndarray, level: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Set the means of x, `(features,)`, and the predictions there, `(units,)`, of a kernel and a bias."""
        for variable, value in ((self._mean, mean), (self._level, level), (self._kernel, kernel), (self._bias, bias)):
            variable.assign(np.asarray(value, variable.dtype.as_numpy_dtype))

    def forget(self) -> None:
        """Set everything to zero: predictions are `x @ kernel + bias` then."""
        for variable in (self._mean, self._level, self._kernel, self._bias):
            variable.assign(tf.zeros_like(variable))

    def predictions(self, inputs: Any, kernel: Any, bias: Any) -> tf.Tensor:
        """Return the predictions of weights for inputs `(..., features)`, in the dtype of the kernel."""
        kernel, bias = ops.convert_to_tensor(kernel), ops.convert_to_tensor(bias)
        mean, level, old_kernel, old_bias = (
            tf.cast(tf.convert_to_tensor(variable), kernel.dtype)
            for variable in (self._mean, self._level, self._kernel, self._bias)
        )
        level += (bias - old_bias) + tf.linalg.matvec(kernel - old_kernel, mean, transpose_a=True)
        return tf.matmul(tf.cast(inputs, kernel.dtype) - mean, kernel) + level
