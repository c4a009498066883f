"""What an exact model takes, and what it leaves to gradient descent."""

from typing import Any

import keras
import tensorflow as tf

from keras_linreg.losses import is_mean_squared_error
from keras_linreg.solvers import NO_PENALTY, Penalty, penalty_of_regularizer
from keras_linreg.utils.keras_compat import callback_list

STRATEGIES = (tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy)
USE_DESCENT = "LinearRegression, trained by gradient descent, takes it"


def check_compile(optimizer: Any, loss: Any, loss_weights: Any) -> None:
    """Refuse an optimizer, another loss than the mean squared error, and loss weights.

    Raises:
        ValueError: one of them is given.
    """
    if optimizer is not None:
        raise ValueError(
            f"`optimizer` must be None: the exact solution is computed without one; {USE_DESCENT}. "
            f"Received: optimizer={optimizer!r}."
        )
    if not (loss is None or is_mean_squared_error(loss)) or loss_weights is not None:
        raise ValueError(
            f"`loss` must be the mean squared error, without loss weights; any other loss: {USE_DESCENT}. "
            f"Received: loss={loss!r}, loss_weights={loss_weights!r}."
        )


def check_callbacks(callbacks: Any) -> None:
    """Refuse callbacks that set a learning rate.

    Raises:
        ValueError: there is one.
    """
    for callback in callback_list(callbacks):
        if isinstance(callback, keras.callbacks.LearningRateScheduler | keras.callbacks.ReduceLROnPlateau):
            raise ValueError(
                "`callbacks` must not set a learning rate: an exact fit has none. "
                f"Received: a {type(callback).__name__}."
            )


def exact_penalty(regularizer: keras.Regularizer | None) -> Penalty:
    """Return the penalty that a regularizer stands for.

    Raises:
        ValueError: least squares cannot be solved exactly with it.
    """
    if regularizer is None:
        return NO_PENALTY
    name = type(regularizer).__name__
    penalty = None
    if type(regularizer) is getattr(keras.regularizers, name, None):  # not a subclass: it may add anything
        penalty = penalty_of_regularizer(name, regularizer.get_config())
    if penalty is None:
        raise ValueError(
            "`kernel_regularizer` must be keras.regularizers.L2, or None. ElasticNetRegression(l1=..., l2=...) fits L1 "
            f"and L1L2 in one pass, too; any other: {USE_DESCENT}. "
            f"Received: kernel_regularizer={regularizer!r}."
        )
    return penalty


def check_strategy(strategy: tf.distribute.Strategy) -> None:
    """Refuse a strategy that a pass cannot run under.

    Raises:
        ValueError: it is not a MirroredStrategy or OneDeviceStrategy.
    """
    with strategy.scope():
        is_default = not tf.distribute.has_strategy()
    if not is_default and not isinstance(strategy, STRATEGIES):
        raise ValueError(
            "`fit` runs without a strategy or under MirroredStrategy. On several machines, take "
            "keras_linreg.Moments.from_data of each one's rows, add them up, and call "
            f"ExactLinearRegression.from_moments. Received: {type(strategy).__name__}."
        )
