"""Blocks of a stream's batches in one call give the results of Keras's own loop, and every callback sees the same."""

import random
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import quick_and_heavy
from fits import TWO_TARGETS, WEIGHTS, BatchRecorder, N, X, Y, assert_same_fit, assert_same_records, fitted
from streams import Batches, cut

import keras_linreg as klr
from keras_linreg.training.loop.planning import SECONDS_PER_STEP

pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")  # as Keras warns where no end is known


@pytest.fixture(autouse=True)
def unlimited_read_time(loop_settings):
    """Blocks do not depend on the speed of the machine."""
    loop_settings(read_seconds=1e9)


def dataset(*parts, size=10, **options):
    return tf.data.Dataset.from_tensor_slices(parts).batch(size, **options)


def unknown(*parts, size=10):
    return dataset(*parts, size=size).filter(lambda *_: True)


def py_dataset(*parts, size=10, **options):
    return Batches(cut(*parts, size=size), **options)


def generator(*parts, size=10):
    return iter(cut(*parts, size=size))


def of_sizes(*sizes):
    ends = np.cumsum(sizes)
    return [(X[end - size : end], Y[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def generated(batches):
    spec = (tf.TensorSpec((None, 3)), tf.TensorSpec((None,)))
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)


KINDS = {"dataset": dataset, "unknown end": unknown, "PyDataset": py_dataset, "generator": generator}


@pytest.mark.parametrize("kind", quick_and_heavy(KINDS, "dataset", "generator"))
@pytest.mark.parametrize("numbers", quick_and_heavy([2**19, 100], 2**19))
def test_every_kind_of_stream_takes_the_steps_of_keras(always_loop, trained_blocks, loop_settings, kind, numbers):
    loop_settings(chunk_numbers=numbers)
    epochs = {"epochs": 1} if kind == "generator" else {}
    # Where no end is known, Keras's own loop counts one more, empty step an epoch: Adam would see it.
    known = kind in ("dataset", "PyDataset")

    def fit(by_keras):
        compiled = {
            "metrics": ["mae"],
            "optimizer": keras.optimizers.Adam(0.05) if known else keras.optimizers.SGD(0.02),
        }
        return fitted(KINDS[kind](X, Y), None, by_keras, compiled=compiled, **epochs)

    ours = fit(False)
    assert_same_fit(ours, fit(True), iterations=known)
    assert int(ours[0].optimizer.iterations) == 11 * len(ours[1]["loss"])
    assert max(count for _, count in trained_blocks) == min(11, numbers // 30)


CASES = {
    "batches of one size": (lambda: dataset(X, Y, drop_remainder=True), {}, {}),
    "batches that shrink and grow": (lambda: generated(of_sizes(10, 3, 3, 3, 20, 20, 4, 30, 10)), {}, {}),
    "many batches and one more": (lambda: generated(of_sizes(*[5] * 20, 3)), {}, {}),
    "weights": (lambda: dataset(X, Y, WEIGHTS), {}, {}),
    "weights of a PyDataset": (lambda: py_dataset(X, Y, WEIGHTS), {}, {}),
    "two outputs": (lambda: dataset(X, TWO_TARGETS), {"units": 2}, {}),
    "one column": (lambda: dataset(X[:, 0], Y), {}, {}),
    "float64": (lambda: dataset(X.astype(float), Y.astype(float)), {"dtype": "float64"}, {}),
    "integers": (lambda: dataset(np.round(9 * X).astype(int), np.round(Y).astype(int)), {}, {}),
    "float64 in a PyDataset": (lambda: py_dataset(X.astype(float), Y.astype(float)), {}, {}),
    "named columns": (lambda: dataset({"a": X[:, 0], "b": X[:, 1]}, Y), {}, {}),
    "steps_per_epoch": (lambda: dataset(X, Y).repeat(), {}, {"steps_per_epoch": 8}),
    "steps_per_epoch of a PyDataset": (lambda: py_dataset(X, Y), {}, {"steps_per_epoch": 11, "epochs": 1}),
    "class_weight": (lambda: dataset(X, (Y > 2).astype(int)), {}, {"class_weight": {0: 1.0, 1: 3.0}}),
    "class_weight of a PyDataset": (lambda: py_dataset(X, (Y > 2).astype(int)), {}, {"class_weight": {0: 1, 1: 3.0}}),
    "validation": (lambda: dataset(X, Y), {}, {"validation_data": dataset(X[:40], Y[:40])}),
    "a PyDataset with workers": (lambda: py_dataset(X, Y, workers=2), {}, {}),
    "cached and repeated": (lambda: dataset(X, Y).cache().repeat(2).prefetch(2), {}, {}),
}


@pytest.mark.parametrize("case", quick_and_heavy(CASES, "weights", "batches that shrink and grow"))
def test_all_streams_give_the_fit_of_keras(always_loop, trained_blocks, case):
    make, model, options = CASES[case]
    ours, theirs = (fitted(make(), None, by_keras, model=model, **options) for by_keras in (False, True))
    assert_same_fit(ours, theirs, iterations=getattr(make(), "cardinality", lambda: 1)() != tf.data.UNKNOWN_CARDINALITY)
    assert trained_blocks


def test_steps_of_the_next_epoch_are_not_run_ahead(always_loop, trained_blocks):
    fitted(dataset(X, Y).repeat(), None, steps_per_epoch=8)
    assert trained_blocks == [(0, 8)] * 3


def test_data_that_run_out_end_the_fit_as_with_keras(always_loop, trained_blocks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (fitted(dataset(X, Y), None, by_keras, steps_per_epoch=8) for by_keras in (False, True))
    assert_same_fit(ours, theirs)


def test_a_callback_that_watches_batches_sees_every_one(always_loop, trained_blocks):
    recorders = BatchRecorder(), BatchRecorder()
    for recorder, by_keras in zip(recorders, (False, True), strict=True):
        fitted(dataset(X, Y), None, by_keras, callbacks=[recorder])
    assert_same_records(*recorders)
    assert {count for _, count in trained_blocks} == {1}


@pytest.mark.parametrize("kind", ["dataset", "unknown end", "PyDataset"])
def test_a_callback_sees_every_call_of_steps_per_execution(always_loop, trained_blocks, kind):
    recorders = BatchRecorder(), BatchRecorder()
    for recorder, by_keras in zip(recorders, (False, True), strict=True):
        compiled = {"steps_per_execution": 4}
        model, _ = fitted(KINDS[kind](X, Y), None, by_keras, callbacks=[recorder], compiled=compiled)
        assert model.steps_per_execution == 4
    assert_same_records(*recorders)
    assert trained_blocks == [(0, 4), (0, 4), (0, 3)] * 3


@pytest.mark.parametrize("kind", ["dataset", "unknown end", "PyDataset"])
def test_the_progress_bar_counts_every_step(always_loop, trained_blocks, capsys, kind):
    fitted(KINDS[kind](X, Y, size=1), None, epochs=2, verbose=1)
    output = capsys.readouterr().out
    counts = [int(count) for count in re.findall(r"(\d+)/(?:103|Unknown)", output)]
    assert max(counts) == 103
    assert "Epoch 2/2" in output and "loss: " in output


def test_a_slow_stream_is_trained_on_batch_by_batch(always_loop, trained_blocks, loop_settings):
    loop_settings(first_read_batches=2, read_seconds=1e-9)
    ours, theirs = (fitted(dataset(X, Y), None, by_keras) for by_keras in (False, True))
    assert_same_fit(ours, theirs)
    assert trained_blocks == [(0, 2), *[(0, 1)] * 9] + [(0, 1)] * 22


@pytest.mark.heavy
def test_early_stopping_and_schedulers_work_epoch_by_epoch(always_loop, trained_blocks):
    def fit(by_keras):
        callbacks = [
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True, min_delta=0.05),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.8),
        ]
        held_out = dataset(X[70:], Y[70:])
        return fitted(dataset(X[:70], Y[:70]), None, by_keras, epochs=60, validation_data=held_out, callbacks=callbacks)

    ours, theirs = fit(False), fit(True)
    assert_same_fit(ours, theirs)
    assert len(ours[1]["loss"]) < 60
    assert trained_blocks


# PyDatasets


class Rotating(Batches):
    """Records when epochs begin and end, may fill the same arrays for each batch, and has another order each epoch."""

    def __init__(self, reuses):
        super().__init__(cut(X, Y, size=10))
        self.hooks, self.reuses = [], reuses
        self.x, self.y = np.empty((10, 3), "float32"), np.empty(10, "float32")

    def __getitem__(self, index):
        x, y = self.parts[index]
        if not self.reuses:
            return x, y
        self.x[: len(x)], self.y[: len(y)] = x, y
        return self.x[: len(x)], self.y[: len(y)]

    def on_epoch_begin(self):
        self.hooks.append("begin")

    def on_epoch_end(self):
        self.hooks.append("end")
        self.parts = self.parts[3:] + self.parts[:3]


def test_a_py_dataset_sees_its_epochs_and_may_reuse_its_arrays(always_loop, trained_blocks):
    streams = Rotating(reuses=True), Rotating(reuses=False)  # Keras's own loop may read an overwritten array
    assert_same_fit(*(fitted(stream, None, by_keras) for stream, by_keras in zip(streams, (False, True), strict=True)))
    assert streams[0].hooks == streams[1].hooks
    assert trained_blocks


def test_the_batches_of_a_py_dataset_are_shuffled_as_with_keras(always_loop, trained_blocks):
    random.seed(3)
    ours, theirs = (fitted(py_dataset(X, Y), None, by_keras, shuffle=True) for by_keras in (False, True))
    assert_same_fit(ours, theirs)
    in_order, _ = fitted(py_dataset(X, Y), None)
    assert not np.allclose(ours[0].get_weights()[0], in_order.get_weights()[0], rtol=1e-6)


# When something is wrong


@pytest.mark.parametrize("kind", quick_and_heavy(["dataset", "unknown end", "PyDataset"], "dataset"))
def test_a_divergence_has_the_weights_and_the_message_of_keras_own_loop(always_loop, trained_blocks, kind):
    models, messages = [], []
    for by_keras in (False, True):
        callback = keras.callbacks.LambdaCallback()
        with pytest.raises(FloatingPointError, match="Training diverged") as error:
            compiled = {"optimizer": keras.optimizers.SGD(3.0)}
            fitted(KINDS[kind](X, Y), None, by_keras, compiled=compiled, epochs=100, callbacks=[callback])
        models.append(callback.model)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    for mine, theirs in zip(*(model.get_weights() for model in models), strict=True):
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(actual=mine, desired=theirs, rtol=1e-2)
    assert trained_blocks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["x", "y"])
def test_bad_numbers_are_named_and_the_model_is_as_it_was(always_loop, trained_blocks, kind, what):
    model, _ = fitted(X, Y)
    before = model.get_weights()
    x, y = X.copy(), Y.copy()
    (x if what == "x" else y)[77] = np.nan
    with pytest.raises(
        ValueError, match=f"`{what}` has no value in .*row 7 of batch 7|Batch 7: 1 of 10 rows have no value in '{what}"
    ):
        model.fit(KINDS[kind](x, y), epochs=1 if kind == "generator" else 2, verbose=0, shuffle=False)
    for mine, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert trained_blocks


def test_an_error_names_the_batch_whose_arrays_have_different_lengths(always_loop):
    batches = of_sizes(10, 10, 10)
    batches[2] = batches[2][0], batches[2][1][:4]
    model, _ = fitted(X, Y)
    before = model.get_weights()[0]
    with pytest.raises(ValueError, match="the same number of rows. Received: (x: )?10,? (y: )?4.*as it was before"):
        model.fit(generated(batches), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_an_error_in_the_users_own_stream_reaches_the_user(always_loop):
    class Broken(Batches):
        def __getitem__(self, index):
            if index == 5:
                raise KeyError("no such file")
            return super().__getitem__(index)

    with pytest.raises(KeyError, match="no such file"):
        fitted(Broken(cut(X, Y)), None)


# Blocks or Keras's loop


RUN_BY_KERAS = {
    "sparse": (lambda: dataset(tf.sparse.from_dense(X), Y), {}),
    "eagerly": (lambda: dataset(X, Y), {"run_eagerly": True}),
}


@pytest.mark.parametrize("case", RUN_BY_KERAS)
def test_keras_runs_the_fits_that_blocks_cannot(always_loop, trained_blocks, case):
    make, compiled = RUN_BY_KERAS[case]
    fitted(make(), None, compiled={"jit_compile": False, **compiled}, epochs=1)
    assert not trained_blocks


def test_keras_runs_huge_batches(always_loop, trained_blocks, loop_settings):
    loop_settings(max_step_numbers=29)
    fitted(dataset(X, Y, drop_remainder=True), None)
    assert not trained_blocks
    fitted(dataset(X, Y, size=9, drop_remainder=True), None)
    assert trained_blocks


def test_a_few_batches_are_not_compiled_and_many_are(trained_blocks):
    fitted(dataset(X, Y), None)
    assert not trained_blocks
    fitted(dataset(X, Y), None, epochs=10)
    assert trained_blocks


def test_a_stream_without_a_known_end_is_compiled_only_if_it_is_long(trained_blocks, loop_settings):
    loop_settings(compile_after_seconds=60 * SECONDS_PER_STEP)
    model, _ = fitted(unknown(X, Y), None, epochs=5)
    assert trained_blocks and not model.step_cache.functions(model, "train_step").blocks
    model, _ = fitted(unknown(X, Y), None, epochs=6)
    assert list(model.step_cache.functions(model, "train_step").blocks) == [10]


def test_jit_compile_false_forbids_xla(always_loop, trained_blocks):
    model, _ = fitted(dataset(X, Y), None, compiled={"jit_compile": False})
    blocks = model.step_cache.functions(model, "train_step").blocks.values()
    assert trained_blocks and not any(block.uses_xla for block in blocks)


def test_a_callback_that_stops_at_a_batch_stops_there(always_loop):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                self.model.stop_training = True

    ours, theirs = (fitted(dataset(X, Y), None, by_keras, callbacks=[Stop()]) for by_keras in (False, True))
    assert_same_fit(ours, theirs)
    assert int(ours[0].optimizer.iterations) == 5


def test_a_model_can_be_fitted_on_one_stream_after_another(always_loop):
    model = klr.LinearRegression()
    model.compile()
    stock = klr.LinearRegression()
    stock.compile(run_eagerly=True)
    for data in (dataset(X, Y), dataset(X, Y, size=7), py_dataset(X, Y, WEIGHTS), dataset(X[: N // 2], Y[: N // 2])):
        history, expected = (m.fit(data, epochs=2, shuffle=False, verbose=0).history for m in (model, stock))
        np.testing.assert_allclose(actual=history["loss"], desired=expected["loss"], rtol=1e-5)
