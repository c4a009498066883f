"""What an exact model takes, and what it leaves to gradient descent."""

import keras
import tensorflow as tf

from keras_linreg.losses import is_mean_squared_error
from keras_linreg.solvers import least_squares
from keras_linreg.utils.keras_compat import callback_list

CARRIED = (tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy)
BY_DESCENT = "LinearRegression, trained by gradient descent, takes it"


def check_compile(optimizer, loss, loss_weights) -> None:
    """Refuse what least squares has no use for."""
    if optimizer is not None:
        raise ValueError(
            f"`optimizer` must be None: the exact solution is computed, not descended to; {BY_DESCENT}. "
            f"Received: optimizer={optimizer!r}."
        )
    if not (loss is None or is_mean_squared_error(loss)) or loss_weights is not None:
        raise ValueError(
            f"`loss` must be the mean squared error, without loss weights; any other loss: {BY_DESCENT}. "
            f"Received: loss={loss!r}, loss_weights={loss_weights!r}."
        )


def check_callbacks(callbacks) -> None:
    """Refuse callbacks that set a learning rate."""
    for callback in callback_list(callbacks):
        if isinstance(callback, keras.callbacks.LearningRateScheduler | keras.callbacks.ReduceLROnPlateau):
            raise ValueError(
                "`callbacks` must not set a learning rate, of which an exact fit has none. "
                f"Received: a {type(callback).__name__}."
            )


def penalty_of(regularizer) -> float:
    """Return the l2 of a regularizer; refuse what least squares cannot solve."""
    if regularizer is None:
        return 0.0
    kind = type(regularizer)
    if kind is keras.regularizers.L2 or (kind is keras.regularizers.L1L2 and not float(regularizer.l1)):
        return least_squares.check_penalty(regularizer.l2)
    raise ValueError(
        f"`kernel_regularizer` must be keras.regularizers.L2, or None; any other: {BY_DESCENT}. "
        f"Received: kernel_regularizer={regularizer!r}."
    )


def check_strategy(strategy: tf.distribute.Strategy) -> None:
    """Refuse a strategy that a pass cannot run under."""
    default = type(strategy).__name__ == "_DefaultDistributionStrategy"
    if not default and not isinstance(strategy, CARRIED):
        raise ValueError(
            "`fit` runs without a strategy or under MirroredStrategy. On several machines, take "
            "keras_linreg.Moments.from_data of each one's rows, add them up, and call "
            f"ExactLinearRegression.from_moments. Received: {type(strategy).__name__}."
        )
