"""Squared error in the precision of the predictions."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_linreg")
class SquaredError(keras.losses.Loss):
    """Mean squared error, computed in the dtype of the predictions.

    ```python
    loss = mean(square(y_true - y_pred))
    ```

    It differs from `keras.losses.MeanSquaredError` in two things. It keeps float64 predictions in float64, where
    Keras's losses cast to `keras.config.floatx()` (half precision is raised to float32 by both: its squares overflow at
    256). And `y_true` and `y_pred` must be of the same shape, up to one trailing dimension of 1: shapes that would
    broadcast, `(n, 2)` against `(n, 1)` say, are an error.

    Args:
        reduction: how the rows become one number, as in every Keras loss: `"sum_over_batch_size"` (default), `"sum"`,
            `"mean"`, `"mean_with_sample_weight"`, `"none"` or `None`.
        name: the name of the loss.
        dtype: the dtype to compute in; `None` (default) takes that of the predictions, at least float32.

    Raises:
        ValueError: when the shapes of `y_true` and `y_pred` differ by more than a trailing dimension of 1.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> float(klr.SquaredError()(np.array([1.0, 2.0]), np.array([[1.5], [2.0]])))
    0.125
    """

    def __init__(self, reduction="sum_over_batch_size", name="squared_error", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._given_dtype = None if dtype is None else self.dtype

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss of `y_pred` (a tensor of shape `(batch, units)` or `(batch,)`), weighted row by row."""
        if self._given_dtype is not None:
            return super().__call__(y_true, y_pred, sample_weight)
        y_pred = ops.convert_to_tensor(y_pred)
        fixed = type(self).from_config({**self.get_config(), "dtype": _at_least_float32(y_pred.dtype)})
        return fixed(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        """Return the squared error of each row, averaged over its outputs."""
        y_true, y_pred = _same_rank(y_true, y_pred)
        return ops.mean(ops.square(y_true - y_pred), axis=-1)

    def get_config(self):
        """Return the arguments that make this loss again."""
        config = {"reduction": self.reduction, "name": self.name}
        return config if self._given_dtype is None else {**config, "dtype": self._given_dtype}


def is_mean_squared_error(loss) -> bool:
    """Return whether a loss, as `compile` takes it, is the mean of squared errors over the rows of a batch."""
    if type(loss) in (SquaredError, keras.losses.MeanSquaredError):
        return loss.reduction in ("sum_over_batch_size", "mean")
    names = ("mse", "MSE", "mean_squared_error", "MeanSquaredError", "squared_error")
    return loss in names if isinstance(loss, str) else loss is keras.losses.mean_squared_error


def _at_least_float32(dtype) -> str:
    dtype = keras.backend.standardize_dtype(dtype)
    return dtype if dtype in ("float32", "float64") else "float32"


def _same_rank(y_true, y_pred):
    """Give both the rank of the larger, where they differ by a trailing dimension of 1; refuse to broadcast."""
    if getattr(y_true.shape, "rank", 0) is None:  # Keras has seen (n,) and (n, 1), and traced for any shape
        y_true = ops.reshape(y_true, ops.shape(y_pred))
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    if len(true_shape) + 1 == len(pred_shape) and pred_shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    elif len(pred_shape) + 1 == len(true_shape) and true_shape[-1] == 1:
        y_pred = ops.expand_dims(y_pred, -1)
    elif len(true_shape) == len(pred_shape) == 1:  # a mean over the last axis would leave no rows to weight
        y_true, y_pred = ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1)
    same = len(y_true.shape) == len(y_pred.shape) and all(
        a == b or a is None or b is None for a, b in zip(y_true.shape, y_pred.shape, strict=True)
    )
    if not same:
        raise ValueError(
            "SquaredError needs `y_true` and `y_pred` of the same shape, up to a trailing dimension of 1. "
            f"Received: y_true of shape {true_shape}, y_pred of shape {pred_shape}."
        )
    return y_true, y_pred
