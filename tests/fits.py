"""Fits in blocks of steps and in Keras's own loop, for tests that compare them."""

import dataclasses

import keras
import numpy as np

import keras_linreg as klr

RNG = np.random.default_rng(4)
N = 103
X = RNG.normal(size=(N, 3)).astype("float32")
Y = (X @ [1.0, -2.0, 0.5] + 3 + RNG.normal(size=N)).astype("float32")
TWO_TARGETS = np.stack([Y, -Y + 1], 1)
WEIGHTS = RNG.uniform(0.1, 2, N).astype("float32")


def without_loop(model):
    """The same model, whose steps Keras runs."""
    model.loop_settings = dataclasses.replace(model.loop_settings, enabled=False)
    return model


def fitted(x, y, by_keras=False, model=None, compiled=None, callbacks=(), **fit):
    """A model fitted in blocks, or by Keras's own loop; and its history.

    XLA takes longer to compile such a fit than the fit takes: it does so where `compiled` asks for it.
    """
    keras.utils.set_random_seed(1)
    model = klr.LinearRegression(**(model or {}))
    if by_keras:
        without_loop(model)
    model.compile(**{"optimizer": keras.optimizers.SGD(0.02), "jit_compile": False, **(compiled or {})})
    history = model.fit(x, y, **{"verbose": 0, "epochs": 3, "shuffle": False, **fit}, callbacks=list(callbacks))
    return model, history.history


def assert_same_fit(fit, expected_fit, rtol=2e-5, atol=2e-6, iterations=True):
    """Assert that two pairs of a model and its history have the same weights, logs and steps."""
    (model, history), (expected_model, expected_history) = fit, expected_fit
    for weight, expected in zip(model.get_weights(), expected_model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=rtol, atol=atol)
    assert list(history) == list(expected_history)
    for key in history:
        np.testing.assert_allclose(history[key], expected_history[key], rtol=rtol, atol=atol, err_msg=key)
    assert not iterations or int(model.optimizer.iterations) == int(expected_model.optimizer.iterations)


class BatchRecorder(keras.callbacks.Callback):
    """Records what a callback sees at each batch and epoch."""

    def __init__(self):
        super().__init__()
        self.hooks, self.numbers = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.hooks.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.hooks.append(("end", batch))
        self.numbers.append([logs["loss"], *self.model.get_weights()[0].ravel()])

    def on_epoch_end(self, epoch, logs=None):
        self.hooks.append((epoch, sorted(logs), self.params["steps"], self.params["epochs"]))


def assert_same_records(recorder, expected):
    assert recorder.hooks == expected.hooks
    np.testing.assert_allclose(recorder.numbers, expected.numbers, rtol=1e-4)
