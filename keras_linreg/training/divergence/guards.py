"""What goes wrong with a fit, or with the data that it reads, as errors that explain it."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_linreg.data import Prepared
from keras_linreg.training.divergence import advice, bad_numbers
from keras_linreg.training.divergence.watch import NonFiniteLoss, Watch, watches
from keras_linreg.utils.keras_compat import callback_list


@contextlib.contextmanager
def watching(model: keras.Model, data: Prepared, callbacks, schema=None) -> Iterator[None]:
    """Watch the model while it is fitted on `data`; turn what goes wrong with either into an error that explains it.

    Args:
        model: compiled and built.
        data: what it is fitted on.
        callbacks: of the fit.
        schema: what the model knew of its inputs before the data; `None`: what it knows now.

    Raises:
        ValueError: the data, or the weights the fit began with, are not finite, or a batch of a stream is not what the
            model takes; the model is as it was before the fit.
        FloatingPointError: the training diverged; the weights are the last finite ones.
    """
    if model.built and not model.layers and not model.optimizer.built:  # a subclass's layers may have no weights yet
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
    watch = Watch(model, schema)
    in_its_own_way = any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in callback_list(callbacks))
    try:
        with contextlib.nullcontext() if in_its_own_way else watches.set(model, watch):
            yield
    except NonFiniteLoss as loss:
        why = bad_numbers.in_data(data, watch) or bad_numbers.in_weights(model, watch)
        if why:
            watch.restore_start()
            raise ValueError(f"{why} The model is as it was before.") from None
        watch.restore_finite()
        raise FloatingPointError(advice.explain(model, data, watch, loss)) from None
    except (tf.errors.OpError, ValueError) as error:
        why = data.errors[0] if data.errors else _failed_rule(error)
        if why is None:
            raise
        watch.restore_start()
        raise ValueError(f"{why} The model is as it was before.") from None


@contextlib.contextmanager
def naming_bad_batches(data: Prepared) -> Iterator[None]:
    """Turn what goes wrong in a stream's own thread while it is only read into the error that it was."""
    try:
        yield
    except (tf.errors.OpError, ValueError) as error:
        why = data.errors[0] if data.errors else _failed_rule(error)
        if why is None:
            raise
        raise ValueError(why) from None


def _failed_rule(error) -> str | None:
    """Return the rule that a check inside a dataset's graph found broken."""
    if isinstance(error, tf.errors.InvalidArgumentError) and "`sample_weight` must be" in error.message:
        return "`sample_weight` must be finite and not negative. Received: a batch of the dataset where it is not."
    return None
