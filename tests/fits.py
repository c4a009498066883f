"""Fits by a loop of blocks and by Keras's own, for tests that compare them."""

import keras
import numpy as np
import pytest

import keras_linreg as klr
from keras_linreg.training import loop

RNG = np.random.default_rng(4)
N = 103
X = RNG.normal(size=(N, 3)).astype("float32")
Y = (X @ [1.0, -2.0, 0.5] + 3 + RNG.normal(size=N)).astype("float32")
BOTH = np.stack([Y, -Y + 1], 1)
WEIGHTS = RNG.uniform(0.1, 2, N).astype("float32")


def fitted(x, y, ordinary=False, model=None, compiled=None, callbacks=(), **fit):
    """A model fitted by the loop, or by Keras's own; and its History."""
    keras.utils.set_random_seed(1)
    model = klr.LinearRegression(**(model or {}))
    model.compile(**{"optimizer": keras.optimizers.SGD(0.02), **(compiled or {})})
    with pytest.MonkeyPatch.context() as patch:
        if ordinary:
            patch.setattr(loop, "plan", lambda *_: None)
        history = model.fit(x, y, **{"verbose": 0, "epochs": 3, "shuffle": False, **fit}, callbacks=list(callbacks))
    return model, history.history


def same(found, expected, rtol=2e-5, atol=2e-6, iterations=True):
    (model, history), (other, theirs) = found, expected
    for mine, yours in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(actual=mine, desired=yours, rtol=rtol, atol=atol)
    assert list(history) == list(theirs)
    for key in history:
        np.testing.assert_allclose(actual=history[key], desired=theirs[key], rtol=rtol, atol=atol, err_msg=key)
    assert not iterations or int(model.optimizer.iterations) == int(other.optimizer.iterations)


class Look(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen, self.numbers = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(("end", batch))
        self.numbers.append([logs["loss"], *self.model.get_weights()[0].ravel()])

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((epoch, sorted(logs), self.params["steps"], self.params["epochs"]))


def have_seen_the_same(one, other):
    assert one.seen == other.seen
    np.testing.assert_allclose(actual=one.numbers, desired=other.numbers, rtol=1e-4)
