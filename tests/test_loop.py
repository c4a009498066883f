"""Blocks of steps in one compiled call give what Keras's own loop gives, to everyone who looks."""

import re

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.training import loop
from keras_linreg.training.loop import blocks, parts, planning, rows
from tests.fits import BOTH, WEIGHTS, Look, N, X, Y, fitted, have_seen_the_same, same

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


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_takes_the_same_steps(always, taken, optimizer):

    def compiled():
        metrics = {"metrics": ["mae", keras.metrics.R2Score()], "weighted_metrics": ["mse"]}
        return {**metrics, "optimizer": OPTIMIZERS[optimizer]()}

    ours, theirs = (fitted(X, Y, ordinary, compiled=compiled(), batch_size=10) for ordinary in (False, True))
    same(ours, theirs)
    assert taken == [(0, 11)] * 3


SPARSE = scipy.sparse.csr_array(np.where(np.abs(X) < 0.5, 0, X))


def unsorted(matrix):
    found = matrix.tocoo()
    order = np.random.default_rng(5).permutation(found.nnz)
    indices = np.stack([found.row, found.col], 1)[order]
    return tf.SparseTensor(indices.astype(np.int64), found.data[order], found.shape)


CASES = {
    "one column": (X[:, 0], Y, {}, {}),
    "a batch that divides": (X[:100], Y[:100], {}, {"batch_size": 20}),
    "full batches": (X, Y, {}, {"batch_size": N}),
    "more than all rows": (X, Y, {}, {"batch_size": 1000}),
    "batches of one": (X, Y, {}, {"batch_size": 1}),
    "Keras's batch size": (X, Y, {}, {}),
    "column of targets": (X, Y[:, None], {}, {}),
    "two outputs": (X, BOTH, {"units": 2}, {}),
    "weights": (X, Y, {}, {"sample_weight": WEIGHTS}),
    "weights of two outputs": (X, BOTH, {"units": 2}, {"sample_weight": WEIGHTS, "batch_size": 7}),
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


@pytest.mark.parametrize("case", CASES)
def test_all_data_in_memory_give_the_same(always, taken, case):
    x, y, model, options = CASES[case]
    same(*(fitted(x, y, ordinary, model=model, compiled={"metrics": ["mse"]}, **options) for ordinary in (False, True)))
    assert taken


def test_sparse_rows_may_come_in_any_order_and_are_shuffled(always, taken):
    given = unsorted(SPARSE)
    expected = fitted(SPARSE.toarray(), Y, ordinary=True)
    for ordinary in (False, True):
        found = fitted(given, Y, ordinary)
        same(found, expected)
        np.testing.assert_allclose(
            actual=found[0].predict(given, verbose=0), desired=expected[0].predict(SPARSE, verbose=0), rtol=1e-5
        )
    dense, sparse = (fitted(x, Y, shuffle=True, batch_size=4) for x in (SPARSE.toarray(), given))
    same(dense, sparse)
    assert len(taken) == 9


def test_mixed_precision_gives_the_same(always, taken):
    for x in (X, SPARSE):
        ours, theirs = (fitted(x, Y, ordinary, model={"dtype": "mixed_bfloat16"}) for ordinary in (False, True))
        same(ours, theirs, rtol=0.05, atol=0.05)
    assert taken


def test_it_is_what_stock_keras_gives(always, taken):
    model, history = fitted(X, Y, batch_size=8, epochs=5)
    stock = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    stock.compile(keras.optimizers.SGD(0.02), "mse")
    expected = stock.fit(X, Y, batch_size=8, epochs=5, shuffle=False, verbose=0).history
    np.testing.assert_allclose(actual=history["loss"], desired=expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(actual=model.kernel, desired=stock.layers[0].kernel, rtol=1e-5)
    assert taken


@pytest.mark.parametrize("numbers", [1, 60, 90, 300])
@pytest.mark.parametrize("kind", [np.asarray, tf.constant], ids=["arrays", "tensors"])
def test_chunks_make_no_difference(always, taken, monkeypatch, numbers, kind):
    monkeypatch.setattr(blocks, "CHUNK", numbers)
    options = {"sample_weight": WEIGHTS, "batch_size": 10, "compiled": {"metrics": ["mae"]}}
    ours, theirs = (fitted(kind(X), kind(Y), ordinary, **options) for ordinary in (False, True))
    same(ours, theirs)
    assert taken == [(0, 11)] * 3


def shifted(values, offset):
    """The same values in memory that begins so many bytes after one that TensorFlow takes."""
    memory = np.empty(values.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    found = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    found[...] = values
    return found


KINDS = {
    "aligned": (shifted(X, 0), shifted(Y, 0), {}),
    "as NumPy allocates": (shifted(X, 16), shifted(Y, 16), {}),
    "from an odd number on": (shifted(X, 4), shifted(Y, 60), {}),
    "weights": (shifted(X, 16), shifted(BOTH, 16), {"sample_weight": shifted(WEIGHTS, 16)}),
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
    [
        *((case, True, True) for case in KINDS),
        *((case, False, True) for case in ("as NumPy allocates", "weights", "tensors")),
        *((case, True, False) for case in ("as NumPy allocates", "weights", "never aligned", "integers")),
    ],
)
def test_rows_that_are_gathered_in_the_loop_are_those_of_chunks(always, taken, monkeypatch, case, compiled, shuffle):
    monkeypatch.setattr(blocks, "CHUNK", 30)
    x, y, options = KINDS[case]
    model = {"units": 2} if len(y.shape) == 2 else {}
    options = {**options, "shuffle": shuffle, "batch_size": 10, "validation_split": 0.1}
    options |= {"model": model, "compiled": {"jit_compile": compiled, "metrics": ["mae"]}}
    found = []
    for gathered in (0, 2**40):
        monkeypatch.setattr(rows, "GATHERED", gathered)
        found.append(fitted(x, y, **options))
    same(*found)
    assert taken == [(0, 10)] * 6


def test_large_steps_of_a_usual_array_are_gathered_in_the_loop(always, taken, monkeypatch):
    monkeypatch.setattr(rows, "GATHERED", 29)
    monkeypatch.setattr(parts.Part, "room", None)
    made = []
    real = rows.Rows._share
    monkeypatch.setattr(rows.Rows, "_share", lambda self: made.append(real(self)) or made[-1])
    fitted(shifted(X, 16), shifted(Y, 16), batch_size=10, shuffle=True)
    (((head, body), (_, target), weight),) = made
    assert (len(head), len(body), len(target), weight) == (4, N - 4, N - 12, None)
    assert taken == [(0, 11)] * 3


def test_an_error_in_a_chunk_reaches_the_caller(always, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", 60)
    real = parts.Part.of

    def of(self, rows, *room):
        if rows.start == 40:
            raise MemoryError("no room")
        return real(self, rows, *room)

    monkeypatch.setattr(parts.Part, "of", of)
    with pytest.raises(MemoryError, match="no room"):
        fitted(X, Y, batch_size=10)


# Shuffled


@pytest.mark.parametrize("numbers", [2**19, 24])
def test_each_epoch_takes_every_row_once_in_an_order_of_its_own(always, monkeypatch, numbers):
    monkeypatch.setattr(blocks, "CHUNK", numbers)
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


def test_a_seed_shuffles_the_same_way_again(always):
    first, again = (fitted(X, Y, shuffle=True, batch_size=4) for _ in range(2))
    same(first, again, rtol=0, atol=0)
    assert not np.array_equal(first[0].get_weights()[0], fitted(X, Y, batch_size=4)[0].get_weights()[0])


# Who looks


def test_a_callback_that_watches_batches_sees_every_one(always, taken):
    looks = Look(), Look()
    for look, ordinary in zip(looks, (False, True), strict=True):
        fitted(X, Y, ordinary, callbacks=[look], batch_size=10, validation_split=0.1)
    have_seen_the_same(*looks)
    assert {count for _, count in taken} == {1}


def test_steps_per_execution_are_what_it_sees_then(always, taken):
    looks = Look(), Look()
    for look, ordinary in zip(looks, (False, True), strict=True):
        compiled = {"steps_per_execution": 4}
        model, _ = fitted(X, Y, ordinary, callbacks=[look], batch_size=10, compiled=compiled)
        assert model.steps_per_execution == 4
    have_seen_the_same(*looks)
    assert taken == [(0, 4), (4, 4), (8, 3)] * 3


def test_checkpoints_of_epochs_do_not_slow_it_down(always, taken, tmp_path):
    saved = [keras.callbacks.ModelCheckpoint(tmp_path / "m.keras"), keras.callbacks.BackupAndRestore(tmp_path / "b")]
    model, _ = fitted(X, Y, callbacks=saved, batch_size=10)
    assert taken == [(0, 11)] * 3
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    "options, watches",
    [({}, False), ({"update_freq": "batch"}, True), ({"write_steps_per_second": True}, True)],
)
def test_a_board_of_epochs_does_not_slow_it_down(always, taken, tmp_path, options, watches):
    board = keras.callbacks.TensorBoard(tmp_path, **options)
    fitted(X, Y, callbacks=[board], batch_size=10)
    assert taken == ([(step, 1) for step in range(11)] if watches else [(0, 11)]) * 3
    assert any(tmp_path.rglob("events*"))


def test_early_stopping_and_schedulers_work_epoch_by_epoch(always, taken):
    def callbacks():
        return [
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True, min_delta=0.05),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.8),
            keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1),
        ]

    ours, theirs = (
        fitted(X, Y, ordinary, epochs=60, validation_split=0.3, callbacks=callbacks()) for ordinary in (False, True)
    )
    same(ours, theirs)
    assert len(ours[1]["loss"]) < 60
    assert taken


def test_the_progress_bar_counts_steps_and_moves(always, taken, monkeypatch, capsys):
    monkeypatch.setattr(planning, "LONG", 50)
    fitted(X, Y, batch_size=1, epochs=2, verbose=1)
    said = capsys.readouterr().out
    counts = [int(count) for count in re.findall(r"(\d+)/103", said)]
    assert max(counts) == 103 and len(taken) == 2 * -(-103 // 6)
    assert "Epoch 2/2" in said and "loss: " in said


def test_evaluations_between_epochs_leave_later_ones_as_they_are(always):
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


@pytest.mark.parametrize(("hook", "steps"), [("on_epoch_end", 1), ("on_train_batch_end", 1), ("on_train_batch_end", 4)])
def test_a_callback_may_evaluate_predict_and_train(always, taken, hook, steps):
    asks = Asks(hook), Asks(hook)
    compiled = {"metrics": ["mae"], "steps_per_execution": steps}
    ours, theirs = (
        fitted(X, Y, ordinary, compiled=compiled, callbacks=[ask], batch_size=10, validation_data=(X[:30], Y[:30]))
        for ask, ordinary in zip(asks, (False, True), strict=True)
    )
    same(ours, theirs)
    np.testing.assert_allclose(actual=asks[0].seen, desired=asks[1].seen, rtol=2e-5, atol=2e-6)
    assert taken and ours[0].steps_per_execution == steps


def test_a_model_goes_on_where_it_was_and_on_other_data(always):
    ours, theirs = (fitted(X, Y, ordinary, compiled={"optimizer": keras.optimizers.Adam(0.1)}) for ordinary in (0, 1))
    for x, y in ((X, Y), (X[:50], Y[:50])):
        ours[0].fit(x, y, epochs=2, shuffle=False, verbose=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "plan", lambda *_: None)
            theirs[0].fit(x, y, epochs=2, shuffle=False, verbose=0)
    same(ours, theirs)


def test_a_new_compile_is_heeded(always):
    model, _ = fitted(X, Y)
    before = model.get_weights()[0]
    model.compile(optimizer=keras.optimizers.SGD(0.0), metrics=["mae"])
    history = model.fit(X, Y, verbose=0).history
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert list(history) == ["loss", "mae"]


# When something is wrong


@pytest.mark.parametrize("batch_size", [4, 10, N])
@pytest.mark.parametrize("optimizer", ["SGD", "momentum"])
def test_a_divergence_ends_with_the_weights_and_the_words_of_keras_own_loop(always, batch_size, optimizer):
    found = []
    for ordinary in (False, True):
        keras.utils.set_random_seed(1)
        model = klr.LinearRegression()
        rate = 3.0
        momentum = 0.9 if optimizer == "momentum" else 0.0
        model.compile(optimizer=keras.optimizers.SGD(rate, momentum=momentum))
        with pytest.MonkeyPatch.context() as patch:
            if ordinary:
                patch.setattr(loop, "plan", lambda *_: None)
            with pytest.raises(FloatingPointError, match="Training diverged") as error:
                model.fit(X, Y, batch_size=batch_size, epochs=200, shuffle=False, verbose=0)
        found.append((str(error.value), model.get_weights()))
    assert found[0][0] == found[1][0]
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(actual=mine, desired=theirs, rtol=1e-2)


@pytest.mark.parametrize("what", ["x", "y"])
def test_bad_numbers_are_named_and_the_model_is_as_it_was(always, what):
    model, _ = fitted(X, Y)
    before = model.get_weights()
    x, y = X.copy(), Y.copy()
    (x if what == "x" else y)[77] = np.nan
    with pytest.raises(ValueError, match=f"`{what}` must be finite. Received: nan in .*row 77"):
        model.fit(x, y, epochs=2, verbose=0)
    for mine, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_terminate_on_nan_ends_it_in_its_own_way(always):
    _, history = fitted(
        X,
        Y,
        epochs=300,
        compiled={"optimizer": keras.optimizers.SGD(5.0)},
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )
    assert len(history["loss"]) < 300


# Which way


def test_what_the_compiler_does_not_take_runs_without_it(always, taken):
    class Absolute(keras.losses.Loss):
        def call(self, y_true, y_pred):
            count = tf.ensure_shape(tf.numpy_function(lambda a: np.float32(len(a)), [y_true], tf.float32), ())
            return tf.square(y_true - y_pred)[:, 0] * (count / count)

    same(*(fitted(X, Y, ordinary, compiled={"loss": Absolute()}) for ordinary in (False, True)))
    assert taken


def test_jit_compile_false_forbids_the_compiler(always, taken):
    model, _ = fitted(X, Y, compiled={"jit_compile": False})
    assert taken
    assert not any(sized._compiled for sized in model._loop_memory.functions(model, "train_step")._by_size.values())


class Own(klr.LinearRegression):
    def train_step(self, data):
        return super().train_step(data)


ORDINARY = {
    "a train step of one's own": (lambda: Own(), X, Y, {}, {}),
    "eagerly": (klr.LinearRegression, X, Y, {"run_eagerly": True}, {}),
    "sparse, in huge steps": (klr.LinearRegression, scipy.sparse.csr_matrix((40, 2**20)), Y[:40], {}, {}),
    "shuffled within batches": (klr.LinearRegression, X, Y, {}, {"shuffle": "batch"}),
    "steps_per_epoch": (klr.LinearRegression, X, Y, {}, {"steps_per_epoch": 2}),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_what_cannot_loop_goes_keras_own_way(always, taken, case):
    make, x, y, compiled, options = ORDINARY[case]
    model = make()
    model.compile(**compiled)
    history = model.fit(x, y, verbose=0, **options).history
    assert np.isfinite(history["loss"]).all()
    assert not taken


def test_a_strategy_goes_keras_own_way(always, taken):
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = klr.LinearRegression()
        model.compile()
    model.fit(X, Y, verbose=0)
    assert not taken


class Regularised(klr.LinearRegression):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, y, y_pred, sample_weight, training) + tf.reduce_mean(tf.square(x))


def test_a_loss_of_a_subclass_of_ones_own_loops(always, taken):
    found = []
    for ordinary in (False, True):
        model = Regularised()
        model.compile()
        with pytest.MonkeyPatch.context() as patch:
            if ordinary:
                patch.setattr(loop, "plan", lambda *_: None)
            found.append((model, model.fit(X, Y, shuffle=False, verbose=0).history))
    same(*found)
    assert taken


def test_steps_that_are_huge_go_keras_own_way(always, taken, monkeypatch):
    monkeypatch.setattr(planning, "LARGE", 3 * N - 1)
    fitted(X, Y, batch_size=N)
    assert not taken
    fitted(X, Y, batch_size=N - 1)
    assert taken


def test_a_short_fit_is_not_compiled_and_a_long_one_is(taken):
    model, _ = fitted(X, Y, epochs=1)
    model.fit(X[:50], Y[:50], verbose=0)
    assert not taken
    fitted(X, Y, epochs=100, batch_size=N)
    assert len(taken) == 100


def test_many_short_fits_are_compiled_in_the_end(taken):
    model, _ = fitted(X, Y, epochs=1)
    for _ in range(20):
        model.fit(X, Y, verbose=0)
    assert 10 < len(taken) < 20


def test_many_models_bring_no_warning_of_retracing(always, caplog):
    for _ in range(6):
        fitted(X, Y, batch_size=10, epochs=1)
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]


# What a user's own callbacks, losses and metrics do


@pytest.mark.parametrize("inner", [{}, {"steps_per_epoch": 2}], ids=["short", "steps_per_epoch"])
@pytest.mark.parametrize("when", ["on_epoch_begin", "on_epoch_end", "on_train_batch_end"])
def test_a_fit_inside_a_callback_trains_on_its_own_data(monkeypatch, inner, when):
    def outcome(ordinary):
        model, losses = klr.LinearRegression(), []
        model.compile(keras.optimizers.SGD(0.01), run_eagerly=ordinary)

        def again(*_):
            if len(losses) < 2:
                found = model.fit(X[:30], 1000 * Y[:30], batch_size=10, shuffle=False, verbose=0, **inner)
                losses.append(found.history["loss"][0])

        hook = type("Again", (keras.callbacks.Callback,), {when: lambda self, *_, **__: again()})()
        # Long enough for a loop, beside an inner fit that is not.
        monkeypatch.setattr(planning, "WORTH", 15 * planning.STEP)
        model.fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0, callbacks=[hook])
        return losses, model.get_weights()

    (ours, weights), (theirs, expected) = outcome(ordinary=False), outcome(ordinary=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4)


def test_a_fit_inside_a_callback_of_an_evaluation_trains(always):
    model, _ = fitted(X, Y)
    before, losses = model.get_weights(), []

    def again(logs):
        losses.append(model.fit(X[:30], 1000 * Y[:30], steps_per_epoch=1, verbose=0).history["loss"][0])

    model.evaluate(X, Y, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_test_end=again)])
    assert losses[0] > 1000 and not np.allclose(before[0], model.get_weights()[0])


@pytest.mark.parametrize("kind", ["TensorBoard", "ModelCheckpoint", "ProgbarLogger", "BackupAndRestore"])
def test_a_subclass_of_a_known_callback_sees_every_batch(always, kind, tmp_path):
    seen = []

    class Looks(getattr(keras.callbacks, kind)):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)
            super().on_train_batch_end(batch, logs)

    place = {"ModelCheckpoint": [tmp_path / "x.keras"], "ProgbarLogger": []}.get(kind, [tmp_path])
    fitted(X, Y, batch_size=10, epochs=2, callbacks=[Looks(*place)])
    assert seen == 2 * list(range(11))


def beginning_at(offset, *shape):
    """An array whose memory begins so many bytes after where tensors may."""
    memory = np.zeros(4 * np.prod(shape) + 128, np.uint8)
    start = (-memory.ctypes.data + offset) % 64
    return memory[start : start + 4 * np.prod(shape)].view("float32").reshape(shape)


def test_rows_that_are_gathered_are_so_wherever_their_memory_begins(always):
    x, y = beginning_at(16, 4001, 17), beginning_at(16, 4001)
    x[:] = np.random.default_rng(0).normal(size=x.shape)
    y[:] = x.sum(axis=1)
    model = klr.LinearRegression()
    model.compile()
    for first in (11, 12):  # a head of one row, and of none, of one row less: they look alike
        model.fit(x[first:], y[first:], batch_size=1000, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 2 * 2 * 4


@pytest.mark.parametrize("batch_size", [10, N], ids=["batches", "one batch"])
@pytest.mark.parametrize("kind", ["loss", "regularizer"])
def test_gradients_at_zero_that_xla_does_not_have_are_those_of_keras(always, kind, batch_size):
    regularizer = keras.regularizers.OrthogonalRegularizer(0.1) if kind == "regularizer" else None
    loss = "cosine_similarity" if kind == "loss" else "mse"
    ours = klr.LinearRegression(2, kernel_regularizer=regularizer)
    theirs = keras.Sequential([keras.layers.Dense(2, kernel_initializer="zeros", kernel_regularizer=regularizer)])
    histories = []
    for model in (ours, theirs):
        model.compile(keras.optimizers.SGD(0.02), loss)
        options = {"batch_size": batch_size, "epochs": 2, "shuffle": False, "verbose": 0}
        histories.append(model.fit(X, BOTH, **options).history["loss"])
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
def test_losses_and_metrics_are_built_by_the_data_alone(always, compiled):
    def outcome(ordinary):
        model = klr.LinearRegression()
        model.compile(**compiled(), run_eagerly=ordinary)
        y = np.abs(Y[:100, None]) + 1
        options = {"sample_weight": WEIGHTS[:100], "batch_size": 10, "verbose": 0}
        history = model.fit(X[:100], y, epochs=2, shuffle=False, **options).history
        return history | model.evaluate(X[:100], y, return_dict=True, **options)

    ours, theirs = outcome(ordinary=False), outcome(ordinary=True)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-4, err_msg=name)
