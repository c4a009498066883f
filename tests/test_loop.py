"""Blocks of steps in one compiled call give the results of Keras's own loop, and every callback sees the same."""

import re

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy
from fits import (
    TWO_TARGETS,
    WEIGHTS,
    BatchRecorder,
    N,
    X,
    Y,
    assert_same_fit,
    assert_same_records,
    fitted,
    without_loop,
)

import keras_linreg as klr
from keras_linreg.training.loop.planning import SECONDS_PER_STEP
from keras_linreg.training.loop.row_tensors import RowTensors

OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.02),
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "Adam": lambda: keras.optimizers.Adam(0.1),
    "Ftrl": lambda: keras.optimizers.Ftrl(0.3, l1_regularization_strength=0.01),
    "RMSprop": lambda: keras.optimizers.RMSprop(0.01),
    "Adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "Lion": lambda: keras.optimizers.Lion(0.01),
    "a schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.05, 10, 0.9)),
    "clipped": lambda: keras.optimizers.SGD(0.02, global_clipnorm=0.5),
    "averaged": lambda: keras.optimizers.SGD(0.02, use_ema=True, ema_momentum=0.9),
    "accumulated": lambda: keras.optimizers.SGD(0.02, gradient_accumulation_steps=2),
    "decayed": lambda: keras.optimizers.AdamW(0.05),
}


@pytest.mark.parametrize("optimizer", quick_and_heavy(OPTIMIZERS, "SGD", "Adam", "a schedule"))
def test_every_optimizer_takes_the_steps_of_keras(always_loop, trained_blocks, optimizer):

    def compiled():
        metrics = {"metrics": ["mae"], "weighted_metrics": ["mse"]}
        return {**metrics, "optimizer": OPTIMIZERS[optimizer](), "jit_compile": "auto"}

    ours, theirs = (fitted(X, Y, by_keras, compiled=compiled(), batch_size=10) for by_keras in (False, True))
    assert_same_fit(ours, theirs)
    assert trained_blocks == [(0, 11)] * 3


class OfTheUser(keras.metrics.Mean):
    """A metric whose variables are there before the first step."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(keras.ops.abs(y_true - y_pred), sample_weight)


INSTANCES = {
    "of Keras": lambda: keras.metrics.MeanAbsoluteError(),
    "with a setting": lambda: keras.metrics.MeanMetricWrapper(keras.losses.huber, name="huber", delta=0.1),
    "of the user": lambda: OfTheUser(name="mine"),
}


@pytest.mark.parametrize("metric", quick_and_heavy(INSTANCES, "with a setting"))
def test_metrics_given_as_instances_begin_anew_in_each_epoch_and_after_validation(always_loop, trained_blocks, metric):
    def compiled():
        return {"metrics": [INSTANCES[metric]()]}

    fit = {"batch_size": 10, "validation_split": 0.3}
    assert_same_fit(*(fitted(X, Y, by_keras, compiled=compiled(), **fit) for by_keras in (False, True)))
    assert len(trained_blocks) == 3


SPARSE = scipy.sparse.csr_array(np.where(np.abs(X) < 0.5, 0, X))


def unsorted(matrix):
    coordinates = matrix.tocoo()
    order = np.random.default_rng(5).permutation(coordinates.nnz)
    indices = np.stack([coordinates.row, coordinates.col], 1)[order]
    return tf.SparseTensor(indices.astype(np.int64), coordinates.data[order], coordinates.shape)


CASES = {
    "one column": (X[:, 0], Y, {}, {}),
    "a batch that divides": (X[:100], Y[:100], {}, {"batch_size": 20}),
    "full batches": (X, Y, {}, {"batch_size": N}),
    "more than all rows": (X, Y, {}, {"batch_size": 1000}),
    "batches of one": (X, Y, {}, {"batch_size": 1}),
    "Keras's batch size": (X, Y, {}, {}),
    "column of targets": (X, Y[:, None], {}, {}),
    "two outputs": (X, TWO_TARGETS, {"units": 2}, {}),
    "weights": (X, Y, {}, {"sample_weight": WEIGHTS}),
    "weights of two outputs": (X, TWO_TARGETS, {"units": 2}, {"sample_weight": WEIGHTS, "batch_size": 7}),
    "L2": (X, Y, {"kernel_regularizer": "l2"}, {}),
    "L1": (X, Y, {"kernel_regularizer": keras.regularizers.L1(0.1)}, {}),
    "no bias": (X, Y, {"use_bias": False}, {}),
    "float64 data": (X.astype("float64"), Y.astype("float64"), {}, {}),
    "float64 model": (X, Y, {"dtype": "float64"}, {}),
    "integers": (np.round(3 * X).astype(int), np.round(Y).astype(int), {}, {}),
    "tensors": (tf.constant(X), tf.constant(Y), {}, {}),
    "a frame": (pd.DataFrame(X, columns=["a", "b", "c"]), pd.Series(Y), {}, {}),
    "a dict": ({"a": X[:, 0], "b": X[:, 1]}, Y, {}, {}),
    "Fortran order": (np.asfortranarray(X), Y, {}, {}),
    "sparse": (SPARSE, Y, {}, {"sample_weight": WEIGHTS}),
    "sparse columns": (SPARSE.tocsc(), Y, {}, {}),
    "sparse coordinates, float64": (SPARSE.tocoo().astype(float), Y, {}, {}),
    "sparse integers": (SPARSE.astype(int), Y, {}, {}),
    "a sparse tensor": (tf.sparse.from_dense(SPARSE.toarray()), Y, {}, {"validation_data": (SPARSE, Y)}),
    "validation split": (X, Y, {}, {"validation_split": 0.2, "sample_weight": WEIGHTS}),
    "validation data": (X, Y, {}, {"validation_data": (X[:50], Y[:50]), "validation_batch_size": 8}),
    "validation now and then": (X, Y, {}, {"validation_data": (X, Y), "validation_freq": 2}),
    "from epoch 2": (X, Y, {}, {"initial_epoch": 2, "epochs": 5}),
}


@pytest.mark.parametrize("case", quick_and_heavy(CASES, "weights", "validation split", "sparse"))
def test_all_kinds_of_data_in_memory_give_the_fit_of_keras(always_loop, trained_blocks, case):
    x, y, model, options = CASES[case]
    assert_same_fit(
        *(fitted(x, y, by_keras, model=model, compiled={"metrics": ["mse"]}, **options) for by_keras in (False, True))
    )
    assert trained_blocks


@pytest.mark.heavy
def test_sparse_rows_may_come_in_any_order_and_are_shuffled(always_loop, trained_blocks):
    tensor = unsorted(SPARSE)
    expected = fitted(SPARSE.toarray(), Y, by_keras=True)
    for by_keras in (False, True):
        fit = fitted(tensor, Y, by_keras)
        assert_same_fit(fit, expected)
        np.testing.assert_allclose(
            actual=fit[0].predict(tensor, verbose=0), desired=expected[0].predict(SPARSE, verbose=0), rtol=1e-5
        )
    dense, sparse = (fitted(x, Y, shuffle=True, batch_size=4) for x in (SPARSE.toarray(), tensor))
    assert_same_fit(dense, sparse)
    assert len(trained_blocks) == 9


@pytest.mark.heavy
def test_mixed_precision_gives_the_fit_of_keras(always_loop, trained_blocks):
    for x in (X, SPARSE):
        ours, theirs = (fitted(x, Y, by_keras, model={"dtype": "mixed_bfloat16"}) for by_keras in (False, True))
        assert_same_fit(ours, theirs, rtol=0.05, atol=0.05)
    assert trained_blocks


def test_a_fit_equals_that_of_a_stock_dense_layer(always_loop, trained_blocks):
    model, history = fitted(X, Y, batch_size=8, epochs=5)
    stock = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    stock.compile(keras.optimizers.SGD(0.02), "mse")
    expected = stock.fit(X, Y, batch_size=8, epochs=5, shuffle=False, verbose=0).history
    np.testing.assert_allclose(actual=history["loss"], desired=expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(actual=model.kernel, desired=stock.layers[0].kernel, rtol=1e-5)
    assert trained_blocks


@pytest.mark.parametrize("numbers", quick_and_heavy([1, 60, 90, 300], 60))
@pytest.mark.parametrize("kind", quick_and_heavy([np.asarray, tf.constant], np.asarray), ids=["arrays", "tensors"])
def test_a_fit_does_not_depend_on_the_size_of_chunks(always_loop, trained_blocks, loop_settings, numbers, kind):
    loop_settings(chunk_numbers=numbers)
    options = {"sample_weight": WEIGHTS, "batch_size": 10, "compiled": {"metrics": ["mae"]}}
    ours, theirs = (fitted(kind(X), kind(Y), by_keras, **options) for by_keras in (False, True))
    assert_same_fit(ours, theirs)
    assert trained_blocks == [(0, 11)] * 3


def shifted(values, offset):
    """The values in memory that begins `offset` bytes after an address that TensorFlow shares."""
    memory = np.empty(values.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


KINDS = {
    "aligned": (shifted(X, 0), shifted(Y, 0), {}),
    "as NumPy allocates": (shifted(X, 16), shifted(Y, 16), {}),
    "from an odd number on": (shifted(X, 4), shifted(Y, 60), {}),
    "weights": (shifted(X, 16), shifted(TWO_TARGETS, 16), {"sample_weight": shifted(WEIGHTS, 16)}),
    "never aligned": (shifted(np.tile(X, (1, 16)), 16), Y, {}),
    "read-only": (np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape), Y, {}),
    "Fortran order": (np.asfortranarray(X), Y, {}),
    "every other column": (np.repeat(X, 2, axis=1)[:, ::2], Y, {}),
    "float64": (shifted(X.astype(float), 16), shifted(Y.astype(float), 16), {}),
    "float16": (shifted(X.astype(np.float16), 16), Y, {}),
    "long double": (X.astype(np.longdouble), Y, {}),
    "integers": (shifted(np.round(9 * X).astype(np.int64), 16), Y, {}),
    "tensors": (tf.constant(X), tf.constant(Y), {}),
}


@pytest.mark.parametrize(
    "case, compiled, shuffle",
    quick_and_heavy(
        [
            *((case, True, True) for case in KINDS),
            *((case, False, True) for case in ("as NumPy allocates", "weights", "tensors")),
            *((case, True, False) for case in ("as NumPy allocates", "weights", "never aligned", "integers")),
        ],
        *(("weights", True, True), ("tensors", False, True)),
    ),
)
def test_gathered_rows_are_the_rows_of_chunks(always_loop, trained_blocks, loop_settings, case, compiled, shuffle):
    x, y, options = KINDS[case]
    model = {"units": 2} if len(y.shape) == 2 else {}
    options = {**options, "shuffle": shuffle, "batch_size": 10, "validation_split": 0.1}
    options |= {"model": model, "compiled": {"jit_compile": compiled, "metrics": ["mae"]}}
    fits = []
    for gather_above_numbers in (0, 2**40):
        loop_settings(chunk_numbers=30, gather_above_numbers=gather_above_numbers)
        fits.append(fitted(x, y, **options))
    assert_same_fit(*fits)
    assert trained_blocks == [(0, 10)] * 6


def test_rows_of_large_steps_are_gathered_from_the_users_own_memory(
    always_loop, trained_blocks, loop_settings, monkeypatch
):
    loop_settings(gather_above_numbers=29)
    monkeypatch.setattr(RowTensors, "new_buffer", None)  # so that a chunk would fail
    shared = []
    share = RowTensors.shared_tensors
    monkeypatch.setattr(RowTensors, "shared_tensors", lambda self: shared.append(share(self)) or shared[-1])
    fitted(shifted(X, 16), shifted(Y, 16), batch_size=10, shuffle=True)
    (head, body), (_, target) = shared
    assert (len(head), len(body), len(target)) == (4, N - 4, N - 12)
    assert trained_blocks == [(0, 11)] * 3


def test_an_error_in_a_chunk_reaches_the_caller(always_loop, loop_settings, monkeypatch):
    loop_settings(chunk_numbers=60)
    make_tensor = RowTensors.tensor

    def tensor(self, rows, *arguments):
        if rows.start == 40:
            raise MemoryError("no memory")
        return make_tensor(self, rows, *arguments)

    monkeypatch.setattr(RowTensors, "tensor", tensor)
    with pytest.raises(MemoryError, match="no memory"):
        fitted(X, Y, batch_size=10)


# Shuffled


@pytest.mark.parametrize("numbers", quick_and_heavy([2**19, 24], 24))
def test_each_epoch_takes_every_row_once_in_its_own_order(always_loop, loop_settings, numbers):
    loop_settings(chunk_numbers=numbers)
    seen = []

    def loss(y_true, y_pred):
        tf.py_function(lambda rows: seen.append(rows.numpy().ravel()), [y_true], [])
        return tf.reduce_mean(tf.square(y_true - y_pred), axis=-1)

    rows = np.arange(50.0)
    fitted(rows, rows, compiled={"loss": loss, "optimizer": keras.optimizers.SGD(0.0)}, batch_size=8, shuffle=True)
    seen = np.concatenate([part for part in seen if len(part) > 1])
    epochs = seen.reshape(3, 50)
    assert all(sorted(epoch) == rows.tolist() for epoch in epochs)
    assert not any((epochs[i] == epochs[j]).all() for i in range(3) for j in range(i))


def test_the_same_seed_gives_the_same_order(always_loop):
    first, again = (fitted(X, Y, shuffle=True, batch_size=4) for _ in range(2))
    assert_same_fit(first, again, rtol=0, atol=0)
    assert not np.array_equal(first[0].get_weights()[0], fitted(X, Y, batch_size=4)[0].get_weights()[0])


# Callbacks


def test_a_callback_that_watches_batches_sees_every_one(always_loop, trained_blocks):
    recorders = BatchRecorder(), BatchRecorder()
    for recorder, by_keras in zip(recorders, (False, True), strict=True):
        fitted(X, Y, by_keras, callbacks=[recorder], batch_size=10, validation_split=0.1)
    assert_same_records(*recorders)
    assert {count for _, count in trained_blocks} == {1}


def test_a_callback_sees_every_call_of_steps_per_execution(always_loop, trained_blocks):
    recorders = BatchRecorder(), BatchRecorder()
    for recorder, by_keras in zip(recorders, (False, True), strict=True):
        compiled = {"steps_per_execution": 4}
        model, _ = fitted(X, Y, by_keras, callbacks=[recorder], batch_size=10, compiled=compiled)
        assert model.steps_per_execution == 4
    assert_same_records(*recorders)
    assert trained_blocks == [(0, 4), (4, 4), (8, 3)] * 3


def test_checkpoints_after_epochs_leave_the_blocks_whole(always_loop, trained_blocks, tmp_path):
    saved = [keras.callbacks.ModelCheckpoint(tmp_path / "m.keras"), keras.callbacks.BackupAndRestore(tmp_path / "b")]
    model, _ = fitted(X, Y, callbacks=saved, batch_size=10)
    assert trained_blocks == [(0, 11)] * 3
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    "options, watches",
    [({}, False), ({"update_freq": "batch"}, True), ({"write_steps_per_second": True}, True)],
)
def test_a_tensorboard_of_epochs_leaves_the_blocks_whole(always_loop, trained_blocks, tmp_path, options, watches):
    board = keras.callbacks.TensorBoard(tmp_path, **options)
    fitted(X, Y, callbacks=[board], batch_size=10)
    assert trained_blocks == ([(step, 1) for step in range(11)] if watches else [(0, 11)]) * 3
    assert any(tmp_path.rglob("events*"))


def test_early_stopping_and_schedulers_work_epoch_by_epoch(always_loop, trained_blocks):
    def callbacks():
        return [
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True, min_delta=0.05),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.8),
            keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1),
        ]

    ours, theirs = (
        fitted(X, Y, by_keras, epochs=60, validation_split=0.3, callbacks=callbacks()) for by_keras in (False, True)
    )
    assert_same_fit(ours, theirs)
    assert len(ours[1]["loss"]) < 60
    assert trained_blocks


def test_the_progress_bar_counts_steps_and_moves(always_loop, trained_blocks, loop_settings, capsys):
    loop_settings(long_epoch_steps=50)
    fitted(X[:100], Y[:100], batch_size=1, epochs=2, verbose=1)
    output = capsys.readouterr().out
    counts = [int(count) for count in re.findall(r"(\d+)/100", output)]
    assert max(counts) == 100 and len(trained_blocks) == 2 * 20
    assert "Epoch 2/2" in output and "loss: " in output


def test_evaluations_between_epochs_do_not_change_later_evaluations(always_loop):
    model, _ = fitted(X, Y, batch_size=10, validation_data=(X, Y), compiled={"metrics": ["mae"]})
    theirs, _ = fitted(X, Y, True, batch_size=10, validation_data=(X, Y), compiled={"metrics": ["mae"]})
    for batch_size in (7, 32):
        np.testing.assert_allclose(
            actual=model.evaluate(X, Y, batch_size=batch_size, verbose=0),
            desired=theirs.evaluate(X, Y, batch_size=batch_size, verbose=0),
            rtol=1e-5,
        )
    assert model.steps_per_execution == 1


class Asks(keras.callbacks.Callback):
    """Asks the model, in the midst of its fit, for all that a callback may."""

    def __init__(self, hook):
        super().__init__()
        self.seen = []
        setattr(self, hook, self._ask)

    def _ask(self, number, logs=None):
        model, rows = self.model, (X[:40] + 1, Y[:40])
        self.seen.append(logs["loss"])
        self.seen.extend(model.evaluate(*rows, batch_size=7, verbose=0))
        model.reset_metrics()
        self.seen.extend(model.test_on_batch(*rows))
        self.seen.extend(model.predict(X[:9], batch_size=2, verbose=0).ravel())
        model.reset_metrics()
        self.seen.extend(model.train_on_batch(*rows))


HOOKS = [("on_epoch_end", 1), ("on_train_batch_end", 1), ("on_train_batch_end", 4)]


@pytest.mark.parametrize(("hook", "steps"), quick_and_heavy(HOOKS, ("on_epoch_end", 1)))
def test_a_callback_may_evaluate_predict_and_train(always_loop, trained_blocks, hook, steps):
    asks = Asks(hook), Asks(hook)
    compiled = {"metrics": ["mae"], "steps_per_execution": steps}
    ours, theirs = (
        fitted(X, Y, by_keras, compiled=compiled, callbacks=[ask], batch_size=10, validation_data=(X[:30], Y[:30]))
        for ask, by_keras in zip(asks, (False, True), strict=True)
    )
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(actual=asks[0].seen, desired=asks[1].seen, rtol=2e-5, atol=2e-6)
    assert trained_blocks and ours[0].steps_per_execution == steps


def test_a_second_fit_goes_on_where_the_first_one_ended(always_loop):
    ours, theirs = (fitted(X, Y, by_keras, compiled={"optimizer": keras.optimizers.Adam(0.1)}) for by_keras in (0, 1))
    for x, y in ((X, Y), (X[:50], Y[:50])):
        ours[0].fit(x, y, epochs=2, shuffle=False, verbose=0)
        theirs[0].fit(x, y, epochs=2, shuffle=False, verbose=0)
    assert_same_fit(ours, theirs)


def test_a_new_compile_takes_effect(always_loop):
    model, _ = fitted(X, Y)
    before = model.get_weights()[0]
    model.compile(optimizer=keras.optimizers.SGD(0.0), metrics=["mae"])
    history = model.fit(X, Y, verbose=0).history
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert list(history) == ["loss", "mae"]


# When something is wrong


@pytest.mark.parametrize("batch_size", quick_and_heavy([4, 10, N], 10))
@pytest.mark.parametrize("optimizer", ["SGD", "momentum"])
def test_a_divergence_has_the_weights_and_the_message_of_keras_own_loop(always_loop, batch_size, optimizer):
    outcomes = []
    for by_keras in (False, True):
        keras.utils.set_random_seed(1)
        model = klr.LinearRegression()
        if by_keras:
            without_loop(model)
        rate = 3.0
        momentum = 0.9 if optimizer == "momentum" else 0.0
        model.compile(optimizer=keras.optimizers.SGD(rate, momentum=momentum))
        with pytest.raises(FloatingPointError, match="Training diverged") as error:
            model.fit(X, Y, batch_size=batch_size, epochs=200, shuffle=False, verbose=0)
        outcomes.append((str(error.value), model.get_weights()))
    assert outcomes[0][0] == outcomes[1][0]
    for mine, theirs in zip(outcomes[0][1], outcomes[1][1], strict=True):
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(actual=mine, desired=theirs, rtol=1e-2)


@pytest.mark.parametrize("what", ["x", "y"])
def test_bad_numbers_are_named_and_the_model_is_as_it_was(always_loop, what):
    model, _ = fitted(X, Y)
    before = model.get_weights()
    x, y = X.copy(), Y.copy()
    (x if what == "x" else y)[77] = np.nan
    with pytest.raises(ValueError, match=f"no value in '{what}.*The first is row 77"):
        model.fit(x, y, epochs=2, verbose=0)
    for mine, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_terminate_on_nan_ends_a_fit_early(always_loop):
    _, history = fitted(
        X,
        Y,
        epochs=300,
        compiled={"optimizer": keras.optimizers.SGD(5.0)},
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )
    assert len(history["loss"]) < 300


# Blocks or Keras's loop


def test_a_loss_that_xla_cannot_compile_runs_without_xla(always_loop, trained_blocks):
    class Absolute(keras.losses.Loss):
        def call(self, y_true, y_pred):
            count = tf.ensure_shape(tf.numpy_function(lambda a: np.float32(len(a)), [y_true], tf.float32), ())
            return tf.square(y_true - y_pred)[:, 0] * (count / count)

    assert_same_fit(
        *(fitted(X, Y, by_keras, compiled={"loss": Absolute(), "jit_compile": "auto"}) for by_keras in (False, True))
    )
    assert trained_blocks


def test_jit_compile_false_forbids_xla(always_loop, trained_blocks):
    model, _ = fitted(X, Y, compiled={"jit_compile": False})
    assert trained_blocks
    assert not any(block.uses_xla for block in model.step_cache.functions(model, "train_step").blocks.values())


class Own(klr.LinearRegression):
    def train_step(self, data):
        return super().train_step(data)


RUN_BY_KERAS = {
    "a train step of one's own": (lambda: Own(), X, Y, {}, {}),
    "eagerly": (klr.LinearRegression, X, Y, {"run_eagerly": True}, {}),
    "sparse, in huge steps": (klr.LinearRegression, scipy.sparse.csr_matrix((40, 2**20)), Y[:40], {}, {}),
    "shuffled within batches": (klr.LinearRegression, X, Y, {}, {"shuffle": "batch"}),
    "steps_per_epoch": (klr.LinearRegression, X, Y, {}, {"steps_per_epoch": 2}),
}


@pytest.mark.parametrize("case", RUN_BY_KERAS)
def test_keras_runs_the_fits_that_blocks_cannot(always_loop, trained_blocks, case):
    make, x, y, compiled, options = RUN_BY_KERAS[case]
    model = make()
    model.compile(**compiled)
    history = model.fit(x, y, verbose=0, **options).history
    assert np.isfinite(history["loss"]).all()
    assert not trained_blocks


@pytest.mark.heavy
def test_keras_runs_fits_under_a_strategy(always_loop, trained_blocks):
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = klr.LinearRegression()
        model.compile()
    model.fit(X, Y, verbose=0)
    assert not trained_blocks


class Regularised(klr.LinearRegression):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, y, y_pred, sample_weight, training) + tf.reduce_mean(tf.square(x))


def test_the_compute_loss_of_a_subclass_runs_in_blocks(always_loop, trained_blocks):
    models = Regularised(), without_loop(Regularised())
    for model in models:
        model.compile()
    assert_same_fit(*((model, model.fit(X, Y, shuffle=False, verbose=0).history) for model in models))
    assert trained_blocks


def test_keras_runs_huge_steps(always_loop, trained_blocks, loop_settings):
    loop_settings(max_step_numbers=3 * N - 1)
    fitted(X, Y, batch_size=N)
    assert not trained_blocks
    fitted(X, Y, batch_size=N - 1)
    assert trained_blocks


def test_a_short_fit_is_not_compiled_and_a_long_one_is(trained_blocks):
    model, _ = fitted(X, Y, epochs=1)
    model.fit(X[:50], Y[:50], verbose=0)
    assert not trained_blocks
    fitted(X, Y, epochs=100, batch_size=N)
    assert len(trained_blocks) == 100


def test_many_short_fits_are_compiled_in_the_end(trained_blocks):
    model, _ = fitted(X, Y, epochs=1)
    for _ in range(20):
        model.fit(X, Y, verbose=0)
    assert 10 < len(trained_blocks) < 20


def test_many_models_bring_no_warning_of_retracing(always_loop, caplog):
    for _ in range(6):
        fitted(X, Y, batch_size=10, epochs=1)
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]


# A user's own callbacks, losses and metrics


@pytest.mark.parametrize("steps", quick_and_heavy([None, 2], 2))
@pytest.mark.parametrize(
    "when", quick_and_heavy(["on_epoch_begin", "on_epoch_end", "on_train_batch_end"], "on_epoch_end")
)
def test_a_fit_inside_a_callback_trains_on_its_own_data(loop_settings, steps, when):
    # Long enough for a block, but the inner fit is not.
    loop_settings(compile_after_seconds=15 * SECONDS_PER_STEP)

    def outcome(by_keras):
        model, losses = klr.LinearRegression(), []
        model.compile(keras.optimizers.SGD(0.01), run_eagerly=by_keras)

        def again(*_):
            if len(losses) < 2:
                options = {"batch_size": 10, "shuffle": False, "verbose": 0, "steps_per_epoch": steps}
                history = model.fit(X[:30], 1000 * Y[:30], **options).history
                losses.append(history["loss"][0])

        hook = type("Again", (keras.callbacks.Callback,), {when: lambda self, *_, **__: again()})()
        model.fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0, callbacks=[hook])
        return losses, model.get_weights()

    (ours, weights), (theirs, expected) = outcome(by_keras=False), outcome(by_keras=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4)


def test_a_fit_inside_a_callback_of_an_evaluation_trains(always_loop):
    model, _ = fitted(X, Y)
    before, losses = model.get_weights(), []

    def again(logs):
        losses.append(model.fit(X[:30], 1000 * Y[:30], steps_per_epoch=1, verbose=0).history["loss"][0])

    model.evaluate(X, Y, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_test_end=again)])
    assert losses[0] > 1000 and not np.allclose(before[0], model.get_weights()[0])


@pytest.mark.parametrize("kind", ["TensorBoard", "ModelCheckpoint", "ProgbarLogger", "BackupAndRestore"])
def test_a_subclass_of_a_known_callback_sees_every_batch(always_loop, kind, tmp_path):
    seen = []

    class Looks(getattr(keras.callbacks, kind)):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)
            super().on_train_batch_end(batch, logs)

    place = {"ModelCheckpoint": [tmp_path / "x.keras"], "ProgbarLogger": []}.get(kind, [tmp_path])
    fitted(X, Y, batch_size=10, epochs=2, callbacks=[Looks(*place)])
    assert seen == 2 * list(range(11))


def beginning_at(offset, *shape):
    """An array in memory that begins `offset` bytes after an address that TensorFlow shares."""
    memory = np.zeros(4 * np.prod(shape) + 128, np.uint8)
    start = (-memory.ctypes.data + offset) % 64
    return memory[start : start + 4 * np.prod(shape)].view("float32").reshape(shape)


def test_rows_are_gathered_wherever_their_memory_begins(always_loop):
    x, y = beginning_at(16, 4001, 17), beginning_at(16, 4001)
    x[:] = np.random.default_rng(0).normal(size=x.shape)
    y[:] = x.sum(axis=1)
    model = klr.LinearRegression()
    model.compile()
    for first in (11, 12):  # a head of one row, and of none, of one row less: they look alike
        model.fit(x[first:], y[first:], batch_size=1000, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 2 * 2 * 4


@pytest.mark.parametrize("batch_size", quick_and_heavy([10, N], 10))
@pytest.mark.parametrize("kind", ["loss", "regularizer"])
def test_gradients_at_zero_that_xla_makes_nan_are_those_of_keras(always_loop, kind, batch_size):
    regularizer = keras.regularizers.OrthogonalRegularizer(0.1) if kind == "regularizer" else None
    loss = "cosine_similarity" if kind == "loss" else "mse"
    ours = klr.LinearRegression(2, kernel_regularizer=regularizer)
    theirs = keras.Sequential([keras.layers.Dense(2, kernel_initializer="zeros", kernel_regularizer=regularizer)])
    histories = []
    for model in (ours, theirs):
        model.compile(keras.optimizers.SGD(0.02), loss)
        options = {"batch_size": batch_size, "epochs": 2, "shuffle": False, "verbose": 0}
        histories.append(model.fit(X, TWO_TARGETS, **options).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-4)
    np.testing.assert_allclose(ours.kernel.numpy(), theirs.layers[0].kernel.numpy(), rtol=1e-3, atol=1e-6)


class Weighted(keras.metrics.Mean):
    """Fails without weights."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(keras.ops.abs(y_true - y_pred) * sample_weight[:, None])


class Steps(keras.metrics.Metric):
    """Counts steps, of all epochs."""

    def __init__(self):
        super().__init__(name="steps")
        self.steps = self.add_weight(name="steps", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.steps.assign_add(1.0)

    def result(self):
        return self.steps

    def reset_state(self):
        pass


def of_ten_rows(y_true, y_pred):
    return tf.reduce_mean(tf.square(tf.reshape(y_true, [10, 1]) - y_pred), axis=-1)


def of_positive_targets(y_true, y_pred):
    tf.debugging.assert_positive(y_true)
    return tf.reduce_mean(tf.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize(
    "compiled",
    [
        lambda: {"weighted_metrics": [Weighted(name="weighted")]},
        lambda: {"metrics": [Steps()]},
        lambda: {"loss": of_ten_rows},
        lambda: {"loss": of_positive_targets},
    ],
    ids=["a metric of weights", "a metric that is never reset", "a loss of ten rows", "a loss of positive targets"],
)
def test_losses_and_metrics_see_the_users_data_alone(always_loop, compiled):
    def outcome(by_keras):
        model = klr.LinearRegression()
        model.compile(**compiled(), run_eagerly=by_keras)
        y = np.abs(Y[:100, None]) + 1
        options = {"sample_weight": WEIGHTS[:100], "batch_size": 10, "verbose": 0}
        history = model.fit(X[:100], y, epochs=2, shuffle=False, **options).history
        return history | model.evaluate(X[:100], y, return_dict=True, **options)

    ours, theirs = outcome(by_keras=False), outcome(by_keras=True)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-4, err_msg=name)
