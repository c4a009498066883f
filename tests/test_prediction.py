"""Predictions of data in memory, without Keras's data pipeline, equal those of Keras."""

import concurrent.futures
import threading

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from fits import TWO_TARGETS, N, X, Y, assert_same_fit, fitted

import keras_linreg as klr


class PredictionRecorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.sizes = []

    def on_predict_batch_end(self, batch, logs=None):
        self.sizes.append(len(logs["outputs"]))


class OwnPrediction(klr.LinearRegression):
    def predict_step(self, data):
        return super().predict_step(data) + tf.cast(tf.shape(data)[0], "float32")


@pytest.mark.parametrize(
    "x",
    [X, tf.constant(X), scipy.sparse.csr_array(X), pd.DataFrame(X, columns=["x0", "x1", "x2"])],
    ids=["an array", "a tensor", "sparse", "a frame"],
)
def test_predict_takes_large_batches_unless_a_callback_watches_them(monkeypatch, x):
    model, _ = fitted(X, Y)
    sizes, step = set(), keras.Model.predict_step

    def predict_step(self, data):
        sizes.add(keras.tree.flatten(data)[0].shape[0])
        return step(self, data)

    monkeypatch.setattr(keras.Model, "predict_step", predict_step)
    expected = model.predict(x, batch_size=N, verbose=0)
    np.testing.assert_allclose(actual=expected, desired=X @ model.get_weights()[0] + model.get_weights()[1], rtol=1e-4)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert sizes <= {N, None}
    recorder = PredictionRecorder()
    model.predict(x, callbacks=[recorder], verbose=0)
    assert recorder.sizes == [32, 32, 32, 7]


def test_the_predict_step_of_a_subclass_gets_the_batches_of_keras():
    model = OwnPrediction()
    model.compile()
    model.build((None, 3))
    np.testing.assert_array_equal(model.predict(X, verbose=0)[[0, -1], 0], [32, 7])


def test_predictions_depend_neither_on_dtype_nor_on_batch_size(loop_settings):
    loop_settings(chunk_numbers=30)  # four batches
    x = np.round(9 * X)
    for model, rtol in ((klr.LinearRegression(units=2), 1e-6), (klr.ExactLinearRegression(units=2), 1e-13)):
        model.compile(steps_per_execution=3)
        model.fit(x, TWO_TARGETS, verbose=0)
        kernel, bias = model.get_weights()
        for rows in (x, x.astype(int), x.astype(float), x[:1]):
            expected = rows.astype(kernel.dtype) @ kernel + bias
            for batch_size in (None, 10, 1000):
                predictions = model.predict(rows, batch_size=batch_size, verbose=0)
                assert predictions.dtype == kernel.dtype
                np.testing.assert_allclose(predictions, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", [klr.LinearRegression, klr.ExactLinearRegression])
def test_threads_may_predict_at_the_same_time(kind, loop_settings):
    loop_settings(chunk_numbers=30)
    model = kind()
    model.compile()
    model.fit(X, Y, verbose=0)
    inputs = [np.full((70, 3), number, "float32") for number in range(8)]
    expected = [model.predict(x, verbose=0) for x in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            predictions = list(pool.map(lambda x: model.predict(x, verbose=0), inputs))
            np.testing.assert_array_equal(predictions, expected)


def test_a_callback_may_predict_during_a_prediction_and_a_fit(always_loop):
    class Asks(keras.callbacks.Callback):
        def ask(self, *_):
            self.seen.append(self.model.predict(X[:9], verbose=0))
            self.seen.append(self.model.predict_on_batch(X[:9]))

        on_predict_begin = on_epoch_end = ask

    model, ask = klr.LinearRegression(), Asks()
    ask.seen = []
    model.compile()
    model.fit(X, Y, verbose=0, callbacks=[ask])
    first = model.predict(X, verbose=0)
    np.testing.assert_array_equal(model.predict(X, verbose=0, callbacks=[ask]), first)
    assert len(ask.seen) == 4
    for seen in ask.seen:
        np.testing.assert_allclose(actual=seen, desired=first[:9], rtol=1e-6)


@pytest.mark.parametrize("kind", [klr.LinearRegression, klr.ExactLinearRegression])
@pytest.mark.parametrize("batch_size", [-1, 2.5, "many"])
def test_a_wrong_batch_size_is_an_error(kind, batch_size):
    model = kind()
    model.fit(X, Y, verbose=0) if kind is klr.ExactLinearRegression else model.build((None, 3))
    with pytest.raises((ValueError, TypeError)):
        model.predict(X, batch_size=batch_size, verbose=0)


class Returns(klr.LinearRegression):
    """Returns its inputs, too."""

    def call(self, inputs):
        return super().call(inputs), inputs


@pytest.mark.parametrize("steps", [1, 3])
def test_the_outputs_of_a_subclass_hold_all_batches(loop_settings, steps):
    loop_settings(chunk_numbers=30)
    model = Returns()
    model.compile(steps_per_execution=steps)
    model.build((None, 3))
    np.testing.assert_array_equal(model.predict(X, verbose=0)[1], X)


class Waits(keras.callbacks.Callback):
    """Lets a thread predict during an epoch."""

    def __init__(self, x):
        super().__init__()
        self.x, self.seen = x, []

    def on_epoch_begin(self, epoch, logs=None):
        thread = threading.Thread(target=lambda: self.seen.append(self.model.predict(self.x(), verbose=0)))
        thread.start()
        thread.join()


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(
    "x", [lambda: X, lambda: tf.data.Dataset.from_tensor_slices(X).batch(10)], ids=["arrays", "a stream"]
)
def test_a_thread_may_predict_while_another_fits(always_loop, trained_blocks, x, steps):
    waits = Waits(x)
    compiled = {"steps_per_execution": steps}
    model, _ = fitted(X, Y, batch_size=10, callbacks=[waits], compiled=compiled)
    assert_same_fit((model, {}), (fitted(X, Y, batch_size=10, compiled=compiled)[0], {}))
    assert len(trained_blocks) == (6 if steps == 1 else 18)
    assert [len(predictions) for predictions in waits.seen] == [N] * 3
    assert not waits.seen[0].any() and waits.seen[2].all()  # from zeros on
