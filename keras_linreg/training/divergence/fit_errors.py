"""Turns what goes wrong during a fit, or with its data, into an error that tells the user the reason."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data import Prepared, Schema
from keras_linreg.data.graph import broken_rule
from keras_linreg.training.divergence import advice, bad_numbers
from keras_linreg.training.divergence.watch import NonFiniteLoss, Watch, use_watch
from keras_linreg.training.divergence.watched_model import WatchedModel
from keras_linreg.utils.keras_compat import callback_list
from keras_linreg.utils.variable_names import build_optimizer


@contextlib.contextmanager
def watch_fit(
    model: WatchedModel,
    data: Prepared,
    callbacks: Any = None,
    schema: Schema | None = None,
    undo_build: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Watch the model while it is fitted, and explain what goes wrong.

    A `TerminateOnNaN` callback ends a fit with a loss of NaN by itself; then the watch does not look at the loss.

    Args:
        model: compiled and built.
        data: the training data.
        callbacks: of `fit`.
        schema: the inputs that the model took before these data; by default those that it takes now.
        undo_build: leaves the model unbuilt, as it was before these data; None if it was built.

    Raises:
        ValueError: the data are not finite, the weights were not finite before the fit, or a batch of a stream does
            not suit the model. The model is as it was before the fit.
        FloatingPointError: the training diverged. The weights are the last ones with a finite loss.
    """
    if model.built and not model.layers and not model.optimizer.built:  # layers of a subclass may have no weights yet
        with model.distribute_strategy.scope():
            build_optimizer(model)
    watch = Watch(model, schema)

    def restore_start() -> None:
        watch.restore_start()
        if undo_build is not None and model.built:
            undo_build()

    terminates = any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in callback_list(callbacks))
    try:
        with contextlib.nullcontext() if terminates else use_watch(model, watch):
            yield
    except NonFiniteLoss as loss:
        reason = bad_numbers.find_in_data(data, watch) or bad_numbers.find_in_start_weights(watch)
        if reason:
            restore_start()
            raise ValueError(f"{reason} The model is as it was before.") from None
        watch.restore_finite()
        raise FloatingPointError(advice.divergence_message(model, data, watch, loss)) from None
    except (tf.errors.OpError, ValueError) as error:
        reason = _data_error(data, error)
        if reason is None:
            raise
        restore_start()
        raise ValueError(f"{reason} The model is as it was before.") from None


@contextlib.contextmanager
def explain_bad_batches(data: Prepared) -> Iterator[None]:
    """Raise the original error of a stream: Keras reads it in a thread, and wraps its errors beyond recognition.

    Raises:
        ValueError: a batch of the stream does not suit the model.
    """
    try:
        yield
    except (tf.errors.OpError, ValueError) as error:
        reason = _data_error(data, error)
        if reason is None:
            raise
        raise ValueError(reason) from None


def _data_error(data: Prepared, error: Exception) -> str | None:
    """Return the rule that a batch has broken, or `None` if the error has another reason."""
    if data.errors:
        return data.errors[0]
    return broken_rule(error)
