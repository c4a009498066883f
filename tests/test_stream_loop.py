"""Blocks of a stream's batches in one call give what Keras's own loop gives, to everyone who looks."""

import random
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.training.loop import blocks, planning, stream
from tests.fits import BOTH, WEIGHTS, Look, N, X, Y, fitted, have_seen_the_same, same
from tests.streams import Batches, cut

pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")  # as Keras warns where no end is known


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """Blocks do not depend on how fast the machine is."""
    monkeypatch.setattr(stream, "PERIOD", 1e9)


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [2**19, 100])
def test_every_kind_of_stream_takes_the_same_steps(always, taken, monkeypatch, kind, numbers):
    monkeypatch.setattr(blocks, "CHUNK", numbers)
    epochs = {"epochs": 1} if kind == "generator" else {}
    # Where no end is known, Keras's own way counts a step more an epoch, in which nothing is left: Adam would see it.
    known = kind in ("dataset", "PyDataset")

    def fit(ordinary):
        compiled = {
            "metrics": ["mae"],
            "optimizer": keras.optimizers.Adam(0.05) if known else keras.optimizers.SGD(0.02),
        }
        return fitted(KINDS[kind](X, Y), None, ordinary, compiled=compiled, **epochs)

    ours = fit(False)
    same(ours, fit(True), iterations=known)
    assert int(ours[0].optimizer.iterations) == 11 * len(ours[1]["loss"])
    assert max(count for _, count in taken) == min(11, numbers // 30)


CASES = {
    "batches of one size": (lambda: dataset(X, Y, drop_remainder=True), {}, {}),
    "batches that shrink and grow": (lambda: generated(of_sizes(10, 3, 3, 3, 20, 20, 4, 30, 10)), {}, {}),
    "many batches and one more": (lambda: generated(of_sizes(*[5] * 20, 3)), {}, {}),
    "weights": (lambda: dataset(X, Y, WEIGHTS), {}, {}),
    "weights of a PyDataset": (lambda: py_dataset(X, Y, WEIGHTS), {}, {}),
    "two outputs": (lambda: dataset(X, BOTH), {"units": 2}, {}),
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


@pytest.mark.parametrize("case", CASES)
def test_all_streams_give_the_same(always, taken, case):
    make, model, options = CASES[case]
    ours, theirs = (fitted(make(), None, ordinary, model=model, **options) for ordinary in (False, True))
    same(ours, theirs, iterations=getattr(make(), "cardinality", lambda: 1)() != tf.data.UNKNOWN_CARDINALITY)
    assert taken


def test_steps_of_another_epoch_are_not_taken_ahead(always, taken):
    fitted(dataset(X, Y).repeat(), None, steps_per_epoch=8)
    assert taken == [(0, 8)] * 3


def test_data_that_run_out_end_the_fit_as_keras_ends_it(always, taken):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (fitted(dataset(X, Y), None, ordinary, steps_per_epoch=8) for ordinary in (False, True))
    same(ours, theirs)


def test_a_callback_that_watches_batches_sees_every_one(always, taken):
    looks = Look(), Look()
    for look, ordinary in zip(looks, (False, True), strict=True):
        fitted(dataset(X, Y), None, ordinary, callbacks=[look])
    have_seen_the_same(*looks)
    assert {count for _, count in taken} == {1}


@pytest.mark.parametrize("kind", ["dataset", "unknown end", "PyDataset"])
def test_steps_per_execution_are_what_it_sees_then(always, taken, kind):
    looks = Look(), Look()
    for look, ordinary in zip(looks, (False, True), strict=True):
        compiled = {"steps_per_execution": 4}
        model, _ = fitted(KINDS[kind](X, Y), None, ordinary, callbacks=[look], compiled=compiled)
        assert model.steps_per_execution == 4
    have_seen_the_same(*looks)
    assert taken == [(0, 4), (0, 4), (0, 3)] * 3


@pytest.mark.parametrize("kind", ["dataset", "unknown end", "PyDataset"])
def test_the_progress_bar_counts_every_step(always, taken, capsys, kind):
    fitted(KINDS[kind](X, Y, size=1), None, epochs=2, verbose=1)
    said = capsys.readouterr().out
    counts = [int(count) for count in re.findall(r"(\d+)/(?:103|Unknown)", said)]
    assert max(counts) == 103
    assert "Epoch 2/2" in said and "loss: " in said


def test_a_slow_stream_is_trained_on_as_it_comes(always, taken, monkeypatch):
    monkeypatch.setattr(stream, "FIRST", 2)
    monkeypatch.setattr(stream, "PERIOD", 1e-9)
    ours, theirs = (fitted(dataset(X, Y), None, ordinary) for ordinary in (False, True))
    same(ours, theirs)
    assert taken == [(0, 2), *[(0, 1)] * 9] + [(0, 1)] * 22


def test_early_stopping_and_schedulers_work_epoch_by_epoch(always, taken):
    def fit(ordinary):
        callbacks = [
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True, min_delta=0.05),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.8),
        ]
        held_out = dataset(X[70:], Y[70:])
        return fitted(dataset(X[:70], Y[:70]), None, ordinary, epochs=60, validation_data=held_out, callbacks=callbacks)

    ours, theirs = fit(False), fit(True)
    same(ours, theirs)
    assert len(ours[1]["loss"]) < 60
    assert taken


# PyDatasets


class Told(Batches):
    """Notes what it is told, may hand out one array again and again, and has another order each epoch."""

    def __init__(self, reuses):
        super().__init__(cut(X, Y, size=10))
        self.said, self.reuses = [], reuses
        self.x, self.y = np.empty((10, 3), "float32"), np.empty(10, "float32")

    def __getitem__(self, index):
        x, y = self.parts[index]
        if not self.reuses:
            return x, y
        self.x[: len(x)], self.y[: len(y)] = x, y
        return self.x[: len(x)], self.y[: len(y)]

    def on_epoch_begin(self):
        self.said.append("begin")

    def on_epoch_end(self):
        self.said.append("end")
        self.parts = self.parts[3:] + self.parts[:3]


def test_a_py_dataset_is_told_of_its_epochs_and_may_reuse_its_arrays(always, taken):
    streams = Told(reuses=True), Told(reuses=False)  # Keras's own way may read what was overwritten
    same(*(fitted(stream, None, ordinary) for stream, ordinary in zip(streams, (False, True), strict=True)))
    assert streams[0].said == streams[1].said
    assert taken


def test_a_py_dataset_is_shuffled_by_the_batch(always, taken):
    random.seed(3)
    ours, theirs = (fitted(py_dataset(X, Y), None, ordinary, shuffle=True) for ordinary in (False, True))
    same(ours, theirs)
    in_order, _ = fitted(py_dataset(X, Y), None)
    assert not np.allclose(ours[0].get_weights()[0], in_order.get_weights()[0], rtol=1e-6)


# When something is wrong


@pytest.mark.parametrize("kind", ["dataset", "unknown end", "PyDataset"])
def test_a_divergence_ends_with_the_weights_and_the_words_of_keras_own_loop(always, taken, kind):
    found = []
    for ordinary in (False, True):
        with pytest.raises(FloatingPointError, match="Training diverged") as error:
            compiled = {"optimizer": keras.optimizers.SGD(3.0)}
            fitted(KINDS[kind](X, Y), None, ordinary, compiled=compiled, epochs=100, callbacks=[Last(found)])
        found.append(str(error.value))
    assert found[1] == found[3]
    for mine, theirs in zip(found[0].get_weights(), found[2].get_weights(), strict=True):
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(actual=mine, desired=theirs, rtol=1e-2)
    assert taken


class Last(keras.callbacks.Callback):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def on_train_begin(self, logs=None):
        self.found.append(self.model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["x", "y"])
def test_bad_numbers_are_named_and_the_model_is_as_it_was(always, taken, kind, what):
    model, _ = fitted(X, Y)
    before = model.get_weights()
    x, y = X.copy(), Y.copy()
    (x if what == "x" else y)[77] = np.nan
    with pytest.raises(ValueError, match=f"`{what}` must be finite. Received: nan in .*row 7 of batch 7"):
        model.fit(KINDS[kind](x, y), epochs=1 if kind == "generator" else 2, verbose=0, shuffle=False)
    for mine, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert taken


def test_parts_of_different_lengths_are_named_by_their_batch(always):
    batches = of_sizes(10, 10, 10)
    batches[2] = batches[2][0], batches[2][1][:4]
    model, _ = fitted(X, Y)
    before = model.get_weights()[0]
    with pytest.raises(ValueError, match="Batch 2: .*the same number of rows. Received: 10, 4 rows.*as it was before"):
        model.fit(generated(batches), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_an_error_of_the_users_own_reaches_them(always):
    class Broken(Batches):
        def __getitem__(self, index):
            if index == 5:
                raise KeyError("no such file")
            return super().__getitem__(index)

    with pytest.raises(KeyError, match="no such file"):
        fitted(Broken(cut(X, Y)), None)


# Which way


ORDINARY = {
    "sparse": (lambda: dataset(tf.sparse.from_dense(X), Y), {}),
    "eagerly": (lambda: dataset(X, Y), {"run_eagerly": True}),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_what_cannot_loop_goes_keras_own_way(always, taken, case):
    make, compiled = ORDINARY[case]
    fitted(make(), None, compiled={"jit_compile": False, **compiled}, epochs=1)
    assert not taken


def test_batches_that_are_huge_go_keras_own_way(always, taken, monkeypatch):
    monkeypatch.setattr(planning, "LARGE", 29)
    fitted(dataset(X, Y, drop_remainder=True), None)
    assert not taken
    fitted(dataset(X, Y, size=9, drop_remainder=True), None)
    assert taken


def test_a_few_batches_are_not_compiled_and_many_are(taken):
    fitted(dataset(X, Y), None)
    assert not taken
    fitted(dataset(X, Y), None, epochs=10)
    assert taken


def test_a_stream_without_a_known_end_is_compiled_only_where_it_is_long(taken, monkeypatch):
    monkeypatch.setattr(planning, "WORTH", 60 * planning.STEP)
    model, _ = fitted(unknown(X, Y), None, epochs=5)
    assert taken and not model._loop_memory.functions(model, "train_step")._by_size
    model, _ = fitted(unknown(X, Y), None, epochs=6)
    assert list(model._loop_memory.functions(model, "train_step")._by_size) == [10]


def test_jit_compile_false_forbids_the_compiler(always, taken):
    model, _ = fitted(dataset(X, Y), None, compiled={"jit_compile": False})
    assert taken and not any(
        sized._compiled for sized in model._loop_memory.functions(model, "train_step")._by_size.values()
    )


def test_a_callback_that_stops_at_a_batch_stops_there(always):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                self.model.stop_training = True

    ours, theirs = (fitted(dataset(X, Y), None, ordinary, callbacks=[Stop()]) for ordinary in (False, True))
    same(ours, theirs)
    assert int(ours[0].optimizer.iterations) == 5


def test_a_model_goes_on_on_other_streams(always):
    model = klr.LinearRegression()
    model.compile()
    stock = klr.LinearRegression()
    stock.compile(run_eagerly=True)
    for data in (dataset(X, Y), dataset(X, Y, size=7), py_dataset(X, Y, WEIGHTS), dataset(X[: N // 2], Y[: N // 2])):
        history, expected = (m.fit(data, epochs=2, shuffle=False, verbose=0).history for m in (model, stock))
        np.testing.assert_allclose(actual=history["loss"], desired=expected["loss"], rtol=1e-5)
