"""Data, models and fits for tests of FitPlot."""

import keras
import numpy as np

N = 40
X1 = np.linspace(-1.0, 2.0, N).astype("float32")
Y1 = 3 * X1 + 1 + 0.1 * np.sin(40 * X1)
X3 = np.random.default_rng(0).normal(size=(N, 3)).astype("float32")
Y3 = X3 @ np.float32([1, -2, 3])


def dense(features=1, units=1):
    """Return a linear model of Keras's own."""
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(units)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    return model


def fit(callback, x=X1, y=Y1, model=None, epochs=2, **kwargs):
    """Fit the model with the callback, one step an epoch, and return it."""
    model = model or dense(1 if x.ndim == 1 else x.shape[1], 1 if np.ndim(y) == 1 else y.shape[1])
    model.fit(x, y, epochs=epochs, batch_size=N, verbose=0, callbacks=[callback], **kwargs)
    return model


class Echo:
    """The part of a model that FitPlot needs: predicts the sum of the columns, and records its inputs."""

    def __init__(self, outputs=1):
        self.inputs, self.outputs = [], outputs

    def predict(self, x, batch_size=None, verbose=None):
        self.inputs.append(x)
        columns = x.values() if isinstance(x, dict) else [x]
        total = sum(np.asarray(c, dtype="float64").reshape(len(c), -1).sum(axis=1) for c in columns)
        return np.stack([total + len(self.inputs) - 1] * self.outputs, axis=1)


def run(callback, epochs=3, model=None, logs=lambda epoch: {"loss": 1.0 / (epoch + 1)}):
    """Call the callback as Keras does in a fit, without a training, and return it."""
    callback.set_model(model or Echo())
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_end(epoch, logs(epoch))
    callback.on_train_end()
    return callback
