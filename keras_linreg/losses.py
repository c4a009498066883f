"""Squared error in the precision of the predictions."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_linreg")
class SquaredError(keras.losses.Loss):
    """Mean squared error, computed in the dtype of the predictions.

    ```python
    loss = mean(square(y_true - y_pred))
    ```

    It differs from `keras.losses.MeanSquaredError` in two things. It computes in float64 if the predictions are
    float64; Keras's losses cast them to `keras.config.floatx()`. (Both raise half precision to float32, for the square
    of 256 overflows in float16.) And `y_true` and `y_pred` must have the same shape, up to one trailing dimension of 1.
    Shapes that would broadcast, such as `(n, 2)` and `(n, 1)`, are an error.

    Args:
        reduction: how the losses of the rows become one number, as in every Keras loss: `"sum_over_batch_size"`
            (default), `"sum"`, `"mean"`, `"mean_with_sample_weight"`, `"none"` or `None`.
        name: the name of the loss.
        dtype: the dtype to compute in; `None` (default): the dtype of the predictions, at least float32.

    Raises:
        ValueError: the shapes of `y_true` and `y_pred` differ by more than a trailing dimension of 1.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> float(klr.SquaredError()(np.array([1.0, 2.0]), np.array([[1.5], [2.0]])))
    0.125
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "squared_error", dtype: Any = None
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._fixed_dtype = None if dtype is None else self.dtype

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss of a batch.

        Args:
            y_true: the targets, a tensor of shape `(batch, units)` or `(batch,)`.
            y_pred: the predictions, of the same shape up to a trailing dimension of 1.
            sample_weight: a weight for each row, `(batch,)` or `(batch, 1)`, or None.
        """
        if self._fixed_dtype is not None:
            return super().__call__(y_true, y_pred, sample_weight)
        y_pred = ops.convert_to_tensor(y_pred)
        loss = type(self).from_config({**self.get_config(), "dtype": _at_least_float32(y_pred.dtype)})
        return loss(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the squared error of each row, averaged over its outputs."""
        y_true, y_pred = _match_shapes(y_true, y_pred)
        return ops.mean(ops.square(y_true - y_pred), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {"reduction": self.reduction, "name": self.name}
        return config if self._fixed_dtype is None else {**config, "dtype": self._fixed_dtype}


def is_mean_squared_error(loss: Any) -> bool:
    """Return whether an argument `loss` of `compile` is the mean squared error over the rows of a batch."""
    if type(loss) in (SquaredError, keras.losses.MeanSquaredError):
        return loss.reduction in ("sum_over_batch_size", "mean")
    names = ("mse", "MSE", "mean_squared_error", "MeanSquaredError", "squared_error")
    return loss in names if isinstance(loss, str) else loss is keras.losses.mean_squared_error


def _at_least_float32(dtype: Any) -> str:
    name = keras.backend.standardize_dtype(dtype)
    return name if name in ("float32", "float64") else "float32"


def _match_shapes(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return both tensors with the same rank: one may lack a trailing dimension of 1.

    Raises:
        ValueError: the shapes would broadcast.
    """
    if getattr(y_true.shape, "rank", 0) is None:  # after (n,) and (n, 1), tf.function traces for an unknown rank
        y_true = ops.reshape(y_true, ops.shape(y_pred))
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    if len(true_shape) + 1 == len(pred_shape) and pred_shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    elif len(pred_shape) + 1 == len(true_shape) and true_shape[-1] == 1:
        y_pred = ops.expand_dims(y_pred, -1)
    elif len(true_shape) == len(pred_shape) == 1:  # a mean over the last axis would leave no rows to weight
        y_true, y_pred = ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1)
    match = len(y_true.shape) == len(y_pred.shape) and all(
        a == b or a is None or b is None for a, b in zip(y_true.shape, y_pred.shape, strict=True)
    )
    if not match:
        raise ValueError(
            "`y_true` and `y_pred` of SquaredError must have the same shape, up to a trailing dimension of 1. "
            f"Received: y_true of shape {true_shape}, y_pred of shape {pred_shape}."
        )
    return y_true, y_pred
