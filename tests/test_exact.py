import keras
import loader_process
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn.linear_model
import statsmodels.api as sm
import tensorflow as tf
from cases import quick_and_heavy
from keras.callbacks import LambdaCallback
from streams import Batches, cut

import keras_linreg as klr
from keras_linreg.moments import checks


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(90, 4)) * [1.0, 10.0, 0.1, 1000.0] + [0.0, 5.0, -1.0, 2000.0]
    y = x @ [1.0, -0.2, 30.0, 0.003] + 2 + rng.normal(size=90)
    return x, y, rng.uniform(0.1, 3.0, size=90)


@pytest.fixture
def float64():
    """Keras adds a float64 penalty to its loss where floatx is float64 too."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def fitted(x, y=None, verbose=0, model=None, **options):
    model = klr.ExactLinearRegression() if model is None else model
    model.fit(x, y, verbose=verbose, **options)
    return model


def coefficients(model):
    return np.concatenate([model.bias.numpy()[None], model.kernel.numpy()]).ravel()


def ols(x, y, weights=None):
    return sm.WLS(y, sm.add_constant(x), 1.0 if weights is None else weights).fit().params


def generator(parts):
    yield from parts


NAMES = ["a", "b", "c", "d"]
KINDS = {
    "arrays": lambda *d: (d[0], d[1], d[2]),
    "tensors": lambda *d: tuple(tf.constant(a) for a in d),
    "frame": lambda x, y, w: (pd.DataFrame(x, columns=NAMES), pd.Series(y, name="price"), w),
    "dict": lambda x, y, w: ({name: x[:, i] for i, name in enumerate(NAMES)}, y, w),
    "scipy sparse": lambda x, y, w: (scipy.sparse.csr_array(x), y, w),
    "sparse tensor": lambda x, y, w: (tf.sparse.from_dense(x), y, w),
    "dataset": lambda *d: (tf.data.Dataset.from_tensor_slices(d).batch(7),),
    "dataset of dicts": lambda x, y, w: (
        tf.data.Dataset.from_tensor_slices(({n: x[:, i] for i, n in enumerate(NAMES)}, y, w)).batch(13),
    ),
    "PyDataset": lambda *d: (Batches(cut(*d)),),
    "PyDataset with workers": lambda *d: (Batches(cut(*d), workers=2),),
    "generator": lambda *d: (generator(cut(*d)),),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_weighted_least_squares_solution(kind, table):
    x, y, w = table
    given = KINDS[kind](x, y, w)
    options = {"sample_weight": given[2]} if len(given) == 3 else {}
    model = fitted(given[0], given[1] if len(given) > 1 else None, **options)
    np.testing.assert_allclose(coefficients(model), ols(x, y, w), rtol=1e-12)
    assert model.moments.nobs == 90
    expected = NAMES if kind in ("frame", "dict", "dataset of dicts") else ["x0", "x1", "x2", "x3"]
    assert model.feature_names == expected
    assert model.moments.output_names == (("price",) if kind == "frame" else ("y",))


@pytest.mark.parametrize("exact", [True, False], ids=["double-double", "float64"])
@pytest.mark.parametrize("size", [1, 7, 64, 90])
def test_the_batches_make_no_difference(size, exact, table, request):
    if not exact:
        request.getfixturevalue("only_float64")
    x, y, w = table
    whole = fitted(x, y, sample_weight=w)
    order = np.random.default_rng(0).permutation(90)
    cut_up = fitted(x[order], y[order], sample_weight=w[order], batch_size=size)
    np.testing.assert_allclose(coefficients(cut_up), coefficients(whole), rtol=1e-12)
    np.testing.assert_allclose(cut_up.moments.covariance, whole.moments.covariance, rtol=1e-12)


@pytest.mark.parametrize("epochs", [2, 5])
def test_more_epochs_change_neither_coefficients_nor_statistics(epochs, table):
    x, y, _ = table
    once, often = fitted(x, y), klr.ExactLinearRegression()
    history = often.fit(x, y, epochs=epochs, batch_size=16, verbose=0)
    assert often.moments.rows == 90
    np.testing.assert_array_equal(coefficients(often), coefficients(once))
    np.testing.assert_array_equal(often.moments.covariance, once.moments.covariance)
    assert len(set(history.history["loss"])) == 1


def test_steps_per_epoch_takes_the_first_batches(table):
    x, y, _ = table
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(10).repeat()
    model = fitted(data, steps_per_epoch=5, epochs=3)
    assert model.moments.rows == 50
    np.testing.assert_allclose(coefficients(model), ols(x[:50], y[:50]), rtol=1e-11)


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize("how", ["arrays", "dataset"])
def test_float64_is_kept_whatever_floatx_is(how, floatx):
    x = 1e9 + np.arange(40.0)
    y = 1e6 + 1e-3 * np.arange(40.0) ** 2
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        data = (x, y) if how == "arrays" else (tf.data.Dataset.from_tensor_slices((x[:, None], y)).batch(9),)
        model = fitted(*data)
        centred = np.arange(40.0) - 19.5
        slope = centred @ (y - 1e6) / (centred @ centred)  # these differences are exact
        np.testing.assert_allclose(model.kernel.numpy(), [[slope]], rtol=1e-13)
        predicted = model.predict(x, verbose=0)
        assert predicted.dtype == np.float64
        np.testing.assert_allclose(predicted.ravel(), slope * centred + y.mean(), rtol=1e-13)
        loss = model.evaluate(*data, verbose=0)
        assert loss == pytest.approx(model.solution.mean_squared_error, rel=1e-7)
    finally:
        keras.config.set_floatx(before)


@pytest.mark.parametrize("dtype", ["float32", "float16", tf.bfloat16.as_numpy_dtype, "int64", "bool"])
def test_other_dtypes_are_accumulated_in_float64(dtype, table):
    x = np.rint(table[0][:, [0, 1, 3]]).astype(dtype) if dtype != "bool" else table[0] > table[0].mean(axis=0)
    y = table[1].astype("float32")
    expected = ols(x.astype("float64"), y.astype("float64"))
    np.testing.assert_allclose(coefficients(fitted(x, y)), expected, rtol=1e-12)


def test_the_loss_is_the_mean_squared_error_of_the_solution_so_far(table):
    x, y, w = table
    seen = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    history = fitted(x, y, sample_weight=w, batch_size=30, callbacks=[watch]).history
    for i, loss in enumerate(seen):
        rows = slice(30 * (i + 1))
        fit = sm.WLS(y[rows], sm.add_constant(x[rows]), w[rows]).fit()
        assert loss == pytest.approx((w[rows] * fit.resid**2).mean(), rel=1e-10)
    assert history.history["loss"][-1] == pytest.approx(seen[-1], rel=1e-12)


@pytest.mark.parametrize("verbose", [1, 2])
def test_the_progress_bar_moves(verbose, table, capsys):
    x, y, _ = table
    fitted(x, y, verbose=verbose, batch_size=9)
    printed = capsys.readouterr().out
    assert "10/10" in printed and f"loss: {fitted(x, y).solution.mean_squared_error:.4f}" in printed


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_and_validation_are_those_of_the_solution(weighted, table):
    x, y, w = table
    model = klr.ExactLinearRegression()
    model.compile(metrics=["mae"], weighted_metrics=[keras.metrics.MeanSquaredError(name="wmse")])
    held_out = (x[60:], y[60:], w[60:]) if weighted else (x[60:], y[60:])
    weights = w[:60] if weighted else None
    history = model.fit(x[:60], y[:60], sample_weight=weights, validation_data=held_out, verbose=0).history
    residual = y - (x @ model.kernel.numpy().ravel() + model.bias.numpy())
    assert history["mae"][0] == pytest.approx(np.abs(residual[:60]).mean(), rel=1e-5)
    used = w if weighted else np.ones(90)
    assert history["val_loss"][0] == pytest.approx((used * residual**2)[60:].mean(), rel=1e-9)
    assert history["val_wmse"][0] == pytest.approx(np.average(residual[60:] ** 2, weights=used[60:]), rel=1e-5)
    assert model.evaluate(*held_out[:2], verbose=0, return_dict=True)["loss"] == pytest.approx(
        (residual[60:] ** 2).mean(), rel=1e-9
    )


def test_validation_split_holds_out_the_last_rows(table):
    x, y, _ = table
    model = klr.ExactLinearRegression()
    history = model.fit(pd.DataFrame(x, columns=NAMES), y, validation_split=1 / 3, verbose=0).history
    np.testing.assert_allclose(coefficients(model), ols(x[:60], y[:60]), rtol=1e-11)
    residual = y - (x @ model.kernel.numpy().ravel() + model.bias.numpy())
    assert history["val_loss"][0] == pytest.approx((residual[60:] ** 2).mean(), rel=1e-9)


@pytest.mark.parametrize(
    ("units", "weighted", "l2"), [(1, False, 0.0), (3, True, 0.0), (1, True, 0.03), (3, False, 0.03)]
)
def test_the_tape_model_run_long_reaches_the_same_weights(units, weighted, l2, float64):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(64, 3))
    y = x @ rng.normal(size=(3, units)) + rng.normal(size=(64, units)) + 1
    w = rng.uniform(0.2, 2.0, size=64) if weighted else None
    regularizer = keras.regularizers.L2(l2) if l2 else None
    exact = fitted(x, y, sample_weight=w, model=klr.ExactLinearRegression(units, kernel_regularizer=regularizer))
    tape = klr.LinearRegression(units, kernel_regularizer=regularizer, dtype="float64")
    tape.compile(keras.optimizers.SGD(0.3 * units))
    data = (x, y) if w is None else (x, y, w)
    whole = tf.data.Dataset.from_tensors(data).repeat(400)
    tape.fit(whole, verbose=0)
    np.testing.assert_allclose(tape.kernel.numpy(), exact.kernel.numpy(), atol=1e-9)
    np.testing.assert_allclose(tape.bias.numpy(), exact.bias.numpy(), atol=1e-9)


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("use_bias", [True, False])
def test_l2_is_the_ridge_of_scikit_learn(units, use_bias, table):
    x, y, _ = table
    y = np.stack([y, y**2], axis=1)[:, :units]
    model = klr.ExactLinearRegression(units, use_bias, kernel_regularizer=keras.regularizers.L2(0.05))
    fitted(x, y, model=model)
    ridge = sklearn.linear_model.Ridge(alpha=90 * units * 0.05, fit_intercept=use_bias, solver="svd").fit(x, y)
    np.testing.assert_allclose(model.kernel.numpy().T, ridge.coef_.reshape(units, 4), rtol=1e-9)


@pytest.mark.parametrize("dependent", ["drop", "min_norm"])
def test_dependent_columns_are_named_and_predictions_are_right(dependent, table):
    x, y, _ = table
    frame = pd.DataFrame(x, columns=NAMES).assign(twin=2 * x[:, 0] - x[:, 1], same=7.3, zero=0.0)
    model = klr.ExactLinearRegression(dependent=dependent)
    with pytest.warns(UserWarning, match="3 of 7 columns depend on the bias or .*'twin', 'same', 'zero'"):
        model.fit(frame, y, verbose=0)
    np.testing.assert_allclose(
        model.predict(frame, verbose=0).ravel(), sm.add_constant(x) @ ols(x, y), rtol=1e-10, atol=1e-10
    )
    kernel = model.kernel.numpy().ravel()
    if dependent == "drop":
        np.testing.assert_array_equal(kernel[4:], 0.0)
    else:
        centred = (frame - frame.mean()).to_numpy()
        centred[:, 5] = 0.0
        np.testing.assert_allclose(kernel, np.linalg.pinv(centred) @ (y - y.mean()), rtol=1e-8, atol=1e-10)


def test_more_columns_than_rows_and_a_penalty_need_no_rule(table):
    _, y, _ = table
    model = klr.ExactLinearRegression(kernel_regularizer=keras.regularizers.L2(0.1))
    wide = np.random.default_rng(3).normal(size=(12, 30))
    fitted(wide, y[:12], model=model)
    ridge = sklearn.linear_model.Ridge(alpha=12 * 0.1, solver="svd").fit(wide, y[:12])
    np.testing.assert_allclose(model.kernel.numpy().ravel(), ridge.coef_, rtol=1e-9)
    with pytest.warns(UserWarning, match="more coefficients than rows"):
        short = fitted(wide, y[:12])
    np.testing.assert_allclose(short.predict(wide, verbose=0).ravel(), y[:12], rtol=1e-9)


def test_categories_of_a_feature_space_keep_a_level_never_seen(penguins, penguin_space):
    frame, target = penguins
    model = klr.ExactLinearRegression(preprocessor=penguin_space)
    with pytest.warns(UserWarning, match="depend on the bias"):
        model.fit(frame, target, verbose=0)
    design = model._reader().rows(frame).x.numpy()
    design = sm.add_constant(design.astype("float64"))
    expected = design @ np.linalg.lstsq(design, target, rcond=1e-6)[0]
    np.testing.assert_allclose(model.predict(frame, verbose=0).ravel(), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "regularizer", ["l1", keras.regularizers.L1L2(0.1, 0.1), keras.regularizers.OrthogonalRegularizer()]
)
def test_another_regularizer_names_the_tape_model(regularizer):
    with pytest.raises(ValueError, match="`kernel_regularizer` must be .*LinearRegression"):
        klr.ExactLinearRegression(kernel_regularizer=regularizer)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"optimizer": "sgd"}, "`optimizer` must be None"),
        ({"loss": "mae"}, "`loss` must be the mean squared error"),
        ({"loss": keras.losses.Huber()}, "`loss` must be the mean squared error"),
        ({"loss": "mse", "loss_weights": [2.0]}, "`loss` must be the mean squared error"),
    ],
)
def test_compile_takes_metrics_and_squared_error_only(options, word):
    with pytest.raises(ValueError, match=word):
        klr.ExactLinearRegression().compile(**options)
    for loss in (None, "mse", "mean_squared_error", keras.losses.MeanSquaredError(), klr.SquaredError()):
        klr.ExactLinearRegression().compile(loss=loss, metrics=["mae"])


def test_a_batch_is_no_fit(table):
    x, y, _ = table
    with pytest.raises(ValueError, match="no train_on_batch"):
        klr.ExactLinearRegression().train_on_batch(x, y)


@pytest.mark.parametrize("call", ["predict", "evaluate", "export"])
def test_an_unfitted_model_says_so(call, table, tmp_path):
    x, y, _ = table
    arguments = {"predict": (x,), "evaluate": (x, y), "export": (tmp_path / "served",)}[call]
    with pytest.raises(ValueError, match="must be fitted"):
        getattr(klr.ExactLinearRegression(), call)(*arguments)


def stop():
    raise KeyboardInterrupt


def bad_generator(x, y):
    yield from cut(x, y)[:3]
    raise OSError("the disk is gone")


def broken():
    raise OSError("the disk is gone")


def spoiled(x):
    x = x.copy()
    x[77, 2] = np.nan
    return x


FAILURES = {
    "Ctrl-C": lambda x, y: (
        (x, y),
        {"callbacks": [LambdaCallback(on_train_batch_end=lambda *_, **__: stop())]},
    ),
    "generator": lambda x, y: ((bad_generator(x, y),), {}),
    "NaN in arrays": lambda x, y: ((spoiled(x), y), {}),
    "NaN in a dataset": lambda x, y: ((tf.data.Dataset.from_tensor_slices((spoiled(x), y)).batch(8),), {}),
    "weights of zero": lambda x, y: (
        (tf.data.Dataset.from_tensor_slices((x, y, np.zeros(90))).batch(8),),
        {},
    ),
    "too many columns": lambda x, y: ((x, y), {}),
    "the end of an epoch": lambda x, y: ((x, y), {"callbacks": [LambdaCallback(on_epoch_end=lambda *_: broken())]}),
    "the end of all": lambda x, y: ((x, y), {"callbacks": [LambdaCallback(on_train_end=lambda *_: broken())]}),
    "validation": lambda x, y: ((x, y), {"validation_data": bad_generator(x, y)}),
}


@pytest.mark.parametrize("fitted_before", [False, True], ids=["first fit", "second fit"])
@pytest.mark.parametrize(
    "failure", quick_and_heavy(FAILURES, "NaN in a dataset", "the end of all", "Ctrl-C", "too many columns")
)
def test_a_fit_that_fails_leaves_the_last_finished_one_or_nothing(failure, fitted_before, table, monkeypatch):
    x, y, _ = table
    model = fitted(2 * x, y) if fitted_before else klr.ExactLinearRegression()
    before = (model.moments, coefficients(model)) if fitted_before else None
    arguments, options = FAILURES[failure](x, y)
    if failure == "too many columns":
        monkeypatch.setattr(checks, "memory_limit", lambda: 1000)
    with pytest.raises(BaseException) as error:
        model.fit(*arguments, verbose=0, **options)
    if failure == "Ctrl-C":
        assert error.type is KeyboardInterrupt
    if failure in ("generator", "the end of an epoch", "the end of all", "validation"):
        assert "the disk is gone" in str(error.value)
    if failure == "weights of zero":
        assert error.type is ValueError and "at least one row whose weight is not zero" in str(error.value)
    if failure.startswith("NaN"):
        assert error.type is ValueError and "no value in" in str(error.value)
        assert "row 77" in str(error.value)
    if failure == "too many columns":
        assert error.type is MemoryError and "LinearRegression" in str(error.value)
    monkeypatch.undo()
    if fitted_before:
        assert model.moments is before[0]
        np.testing.assert_array_equal(coefficients(model), before[1])
    else:
        assert model.moments is None and not model.built and model.feature_names is None
        fitted(x[:, :2], y, model=model)
        np.testing.assert_allclose(coefficients(model), ols(x[:, :2], y), rtol=1e-11)


def test_a_callback_of_learning_rates_is_refused(table):
    with pytest.raises(ValueError, match="`callbacks` must not set a learning rate.*Received: a ReduceLROnPlateau"):
        fitted(*table[:2], callbacks=[keras.callbacks.ReduceLROnPlateau()])


@pytest.mark.parametrize("kind", [klr.ExactLinearRegression, klr.LinearRegression])
def test_x_of_three_dimensions_is_refused_and_leaves_a_model_unbuilt(kind, table):
    x, y, _ = table
    model = kind()
    if kind is klr.LinearRegression:
        model.compile()
    with pytest.raises(ValueError, match=r"`x` must be of shape \(n,\) or \(n, p\).*Received: shape \(90, 4, 1\)"):
        model.fit(x[:, :, None], y, verbose=0)
    assert not model.built


def test_weights_that_a_callback_sets_in_a_first_fit_stay(table):
    x, y, _ = table
    model = klr.ExactLinearRegression()
    theirs = [np.ones((4, 1)), np.zeros(1)]
    fitted(x, y, model=model, callbacks=[LambdaCallback(on_epoch_end=lambda *_: model.set_weights(theirs))])
    np.testing.assert_array_equal(coefficients(model), [0, 1, 1, 1, 1])
    assert model.moments is None


@pytest.mark.parametrize("kind", ["ModelCheckpoint", "BackupAndRestore", "TensorBoard"])
def test_callbacks_of_epochs_do_not_have_every_batch_solved(kind, table, tmp_path, monkeypatch):
    x, y, _ = table
    callback = {
        "ModelCheckpoint": lambda: keras.callbacks.ModelCheckpoint(tmp_path / "x.weights.h5", save_weights_only=True),
        "BackupAndRestore": lambda: keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        "TensorBoard": lambda: keras.callbacks.TensorBoard(tmp_path / "logs"),
    }[kind]()
    solves = []
    solve = klr.Moments.solve
    monkeypatch.setattr(klr.Moments, "solve", lambda *a, **k: solves.append(1) or solve(*a, **k))
    np.testing.assert_allclose(coefficients(fitted(x, y, batch_size=5, callbacks=[callback])), ols(x, y), rtol=1e-11)
    assert len(solves) < 5


@pytest.mark.parametrize(
    "solve",
    [
        lambda x, y: fitted(x, y),
        lambda x, y: klr.ExactLinearRegression.from_moments(klr.Moments.from_data(x, y)),
        lambda x, y: klr.Moments.from_data(x, y).solve(),
    ],
    ids=["fit", "from_moments", "solve"],
)
def test_a_warning_points_to_the_users_own_line(solve, table):
    x, y, _ = table
    with pytest.warns(UserWarning, match="1 of 5 columns depend on") as caught:
        solve(np.column_stack([x, x[:, 0]]), y)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_row_of_nan_has_an_interval_of_nan_without_a_word_on_dependent_columns(table):
    x, y, _ = table
    model = fitted(x, y)
    rows = x[:3].copy()
    rows[1, 2] = np.nan
    found = model.predict_interval(rows)
    np.testing.assert_array_equal(np.isnan(found["mean_ci_lower"]), [False, True, False])


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise RuntimeError("killed")


@pytest.mark.parametrize("save_freq", ["epoch", 2])
@pytest.mark.parametrize("at", [(0, 3), (1, 0), (1, 5), (2, 8)])
def test_a_backup_resumes_to_the_same_statistics_or_starts_over(save_freq, at, table, tmp_path):
    x, y, _ = table
    whole = fitted(x, y)

    def run(kill, model):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=save_freq)
        model.build((None, 4))
        return model.fit(x, y, batch_size=10, epochs=3, verbose=0, callbacks=[backup, *kill])

    with pytest.raises(RuntimeError, match="killed"):
        run([Kill(*at)], klr.ExactLinearRegression())
    model = klr.ExactLinearRegression()
    run([], model)
    assert model.moments.rows == 90
    np.testing.assert_array_equal(coefficients(model), coefficients(whole))
    np.testing.assert_array_equal(model.moments.covariance, whole.moments.covariance)
    fitted(x[:50], y[:50], model=model)
    assert model.moments.rows == 50


def test_a_backup_of_a_refit_starts_over_in_its_first_epoch(table, tmp_path):
    x, y, _ = table
    model = fitted(x[:40], y[:40])
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)
    with pytest.raises(RuntimeError, match="killed"):
        model.fit(x, y, batch_size=10, epochs=2, verbose=0, callbacks=[backup, Kill(0, 6)])
    assert model.moments.rows == 40
    model.fit(x, y, batch_size=10, epochs=2, verbose=0, callbacks=[backup])
    np.testing.assert_array_equal(coefficients(model), coefficients(fitted(x, y)))


def test_a_callback_that_stops_in_the_first_epoch_is_warned_of(table):
    x, y, _ = table

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 4

    with pytest.warns(UserWarning, match="the 50 rows so far"):
        model = fitted(x, y, batch_size=10, callbacks=[Stop()])
    np.testing.assert_allclose(coefficients(model), ols(x[:50], y[:50]), rtol=1e-11)


@pytest.mark.parametrize("how", quick_and_heavy(["arrays", "dataset", "sparse"], "dataset"))
def test_two_replicas_give_the_answer_of_one(how, table, mirrored):
    x, y, w = table
    one = fitted(x, y, sample_weight=w)
    data = {
        "arrays": ((x, y), {"sample_weight": w}),
        "dataset": ((tf.data.Dataset.from_tensor_slices((x, y, w)).batch(11),), {}),
        "sparse": ((scipy.sparse.csr_array(x), y), {"sample_weight": w}),
    }[how]
    with mirrored.scope():
        two = klr.ExactLinearRegression()
        two.compile(metrics=["mae"])
    history = two.fit(*data[0], batch_size=None if how == "dataset" else 11, verbose=0, **data[1])
    assert two.moments.rows == 90
    np.testing.assert_allclose(two.solution.kernel, one.solution.kernel, rtol=1e-12)
    np.testing.assert_allclose(two.kernel.value.values[0].numpy(), one.kernel.numpy(), rtol=1e-12)
    assert history.history["loss"][0] == pytest.approx(one.solution.mean_squared_error, rel=1e-12)
    np.testing.assert_allclose(two.predict(x, verbose=0), one.predict(x, verbose=0), rtol=1e-12)


def test_a_strategy_of_several_machines_names_the_way_that_works(table):
    x, y, _ = table
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        model = klr.ExactLinearRegression()
    with pytest.raises(ValueError, match=r"Moments\.from_data.*from_moments.*Received: "):
        model.fit(x, y, verbose=0)
    assert not model.built


def test_a_saved_model_keeps_its_moments(table, tmp_path):
    frame = pd.DataFrame(table[0], columns=NAMES)
    model = klr.ExactLinearRegression(kernel_regularizer=keras.regularizers.L2(0.01), dependent="min_norm")
    model.compile(metrics=["mae"])
    fitted(frame[:60], table[1][:60], model=model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.dependent == "min_norm" and loaded.feature_names == NAMES and loaded.moments.rows == 60
    np.testing.assert_array_equal(loaded.predict(frame, verbose=0), model.predict(frame, verbose=0))
    np.testing.assert_array_equal(loaded.solution.kernel, model.solution.kernel)
    assert set(loaded.evaluate(frame, table[1], verbose=0, return_dict=True)) == {"loss", "mae"}
    rest = klr.Moments.from_data(frame[60:], table[1][60:])
    merged = klr.ExactLinearRegression.from_moments(
        loaded.moments + rest, kernel_regularizer=keras.regularizers.L2(0.01)
    )
    again = klr.ExactLinearRegression(kernel_regularizer=keras.regularizers.L2(0.01))
    fitted(frame, table[1], model=again)
    np.testing.assert_allclose(merged.kernel.numpy(), again.kernel.numpy(), rtol=1e-14)
    fitted(frame[:30], table[1][:30], model=loaded)
    assert loaded.moments.rows == 30


def test_weights_go_both_ways_between_the_exact_and_the_tape_model(table, tmp_path):
    x, y, _ = table
    exact = fitted(x, y)
    exact.save_weights(tmp_path / "exact.weights.h5")
    tape = klr.LinearRegression(dtype="float64")
    tape.build((None, 4))
    tape.load_weights(tmp_path / "exact.weights.h5")
    np.testing.assert_array_equal(tape.kernel.numpy(), exact.kernel.numpy())
    tape.save_weights(tmp_path / "tape.weights.h5")
    exact.load_weights(tmp_path / "tape.weights.h5")
    assert exact.moments is None
    np.testing.assert_allclose(exact.predict(x, verbose=0), tape.predict(x, verbose=0), rtol=1e-5)


def test_from_moments_takes_other_penalties_columns_outputs_and_no_bias(table):
    x, y, _ = table
    both = np.stack([y, x[:, 0] + y**2], axis=1)
    moments = fitted(x, both, model=klr.ExactLinearRegression(2, feature_names=NAMES)).moments
    some = klr.ExactLinearRegression.from_moments(moments.select(["d", "a"], ["y1"]), use_bias=False)
    assert some.feature_names == ["d", "a"] and some.bias is None and some.units == 1
    expected = np.linalg.lstsq(x[:, [3, 0]], both[:, 1], rcond=None)[0]
    np.testing.assert_allclose(some.kernel.numpy().ravel(), expected, rtol=1e-11)
    frame = pd.DataFrame(x[:, [0, 3]], columns=["a", "d"])
    np.testing.assert_allclose(some.predict(frame, verbose=0).ravel(), x[:, [3, 0]] @ expected, rtol=1e-11)
    assert some.evaluate(frame, both[:, 1], verbose=0) == pytest.approx(some.solution.mean_squared_error, rel=1e-9)


def test_inside_another_model_its_weights_are_fitted_and_not_trained(table, tmp_path):
    x, y, _ = table
    exact = klr.ExactLinearRegression()
    outer = keras.Sequential([keras.layers.Dense(4), exact, keras.layers.Dense(1)])
    outer.compile(loss="mse")
    with pytest.raises(ValueError, match="must be fitted before it is called with training=True"):
        outer.fit(x.astype("float32"), y, verbose=0)
    exact = fitted(x, y)
    before = coefficients(exact)
    outer = keras.Sequential([keras.layers.Dense(4, dtype="float64"), exact, keras.layers.Dense(1, dtype="float64")])
    outer.compile(loss="mse")
    outer.fit(x, y, verbose=0)
    np.testing.assert_array_equal(coefficients(exact), before)
    assert len(outer.trainable_weights) == 4
    outer.save(tmp_path / "outer.keras")
    loaded = keras.models.load_model(tmp_path / "outer.keras")
    assert loaded.layers[1].moments.rows == 90
    np.testing.assert_allclose(loaded.predict(x, verbose=0), outer.predict(x, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 4])
def test_callbacks_of_keras_see_an_ordinary_fit(steps, table, tmp_path):
    x, y, _ = table
    model = klr.ExactLinearRegression()
    model.compile(metrics=["mae"], steps_per_execution=steps)
    callbacks = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=1),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.TerminateOnNaN(),
    ]
    history = model.fit(
        x, y, batch_size=10, epochs=5, validation_data=(x[:20], y[:20]), callbacks=callbacks, verbose=0
    ).history
    assert list(history) == ["loss", "mae", "val_loss", "val_mae"] and len(history["loss"]) == 2
    assert len(pd.read_csv(tmp_path / "log.csv")) == 2
    best = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(coefficients(best), coefficients(model))
    np.testing.assert_allclose(coefficients(model), ols(x, y), rtol=1e-11)


def test_few_digits_are_told_of(only_float64):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 1))
    x = np.hstack([x, x + 3e-9 * rng.normal(size=(400, 1))])
    with pytest.warns(UserWarning, match="digits of the coefficients are sure"):
        model = fitted(generator(cut(x, rng.normal(size=400), size=50)))  # which is read once
    assert model.solution.fewest_digits < 6


@pytest.mark.parametrize(
    "options, word",
    [
        ({"class_weight": {0: 1.0}}, "`class_weight` must be None"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"validation_split": 0.9999}, "`validation_split` must leave"),
        ({"sample_weight": -np.ones(90)}, "`sample_weight` must be finite and not negative"),
    ],
)
def test_bad_arguments_are_refused(options, word, table):
    x, y, _ = table
    model = klr.ExactLinearRegression()
    with pytest.raises(ValueError, match=word):
        model.fit(x, y, verbose=0, **options)
    assert not model.built


def test_dependent_must_be_a_rule_that_there_is():
    with pytest.raises(ValueError, match=r"`dependent` must be one of \['drop', 'min_norm'\]"):
        klr.ExactLinearRegression(dependent="remove")


@pytest.mark.parametrize("scope", quick_and_heavy([False, True], False), ids=["plain", "two replicas"])
def test_evaluate_takes_arrays_and_datasets_in_turn(scope, table, mirrored):
    x, y, _ = table
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(9)
    strategy = mirrored if scope else tf.distribute.get_strategy()
    with strategy.scope():
        model = klr.ExactLinearRegression()
        model.compile(metrics=["mae"])
    model.fit(data, validation_data=data, verbose=0)
    losses = [model.evaluate(*given, verbose=0)[0] for given in [(x, y), (data,), (x, y), (x, y[:, None])]]
    np.testing.assert_allclose(losses, model.solution.mean_squared_error, rtol=1e-9)


@pytest.mark.parametrize("how", ["arrays", "dataset"])
def test_rows_of_weight_zero_may_come_first_whoever_looks(how, table, capsys):
    x, y, w = table
    w = np.where(np.arange(90) < 40, 0.0, w)
    model = klr.ExactLinearRegression()
    model.compile(metrics=["mae"])
    if how == "arrays":
        model.fit(x, y, sample_weight=w, batch_size=10, verbose=1)
    else:
        model.fit(tf.data.Dataset.from_tensor_slices((x, y, w)).batch(10), verbose=1)
    np.testing.assert_allclose(coefficients(model), ols(x[40:], y[40:], w[40:]), rtol=1e-11)
    assert (model.moments.nobs, model.moments.rows) == (50, 90)


def test_a_model_of_moments_has_the_inputs_that_a_fitted_one_has(exported, penguin_space, tmp_path):
    folder, _, fit, frame = exported["exact, FeatureSpace"]
    with pytest.warns(UserWarning, match="depend on the bias"):
        made = klr.ExactLinearRegression.from_moments(fit.moments, preprocessor=penguin_space)
    assert made.feature_names == fit.feature_names
    made.save(tmp_path / "made.keras")
    loaded = keras.models.load_model(tmp_path / "made.keras")
    np.testing.assert_array_equal(loaded.predict(frame, verbose=0), fit.predict(frame, verbose=0))
    made.export(tmp_path / "made", verbose=False)
    signatures = [loader_process.describe(path) for path in (tmp_path / "made", folder)]
    assert signatures[0] == signatures[1]


def test_the_exported_graph_gives_the_predictions(table, tmp_path):
    frame = pd.DataFrame(table[0], columns=["a", "fixed acidity", "c", "größe"])
    model = fitted(frame, table[1])
    model.export(tmp_path / "served", verbose=False)
    inputs = {name: frame[name].to_numpy("float32") for name in frame}
    served = loader_process.serve(tmp_path / "served", "serving_default", inputs)
    np.testing.assert_allclose(served["predictions"], model.predict(frame, verbose=0), rtol=1e-4)


@pytest.mark.parametrize(
    "shapes, word",
    [(None, "known rank"), ("rows", r"dataset of batches: call `\.batch")],
    ids=["unknown rank", "unbatched"],
)
def test_a_dataset_that_is_no_batches_is_refused(shapes, word, table):
    x, y, _ = table
    data = tf.data.Dataset.from_tensor_slices((x, y))
    if shapes is None:
        specs = (tf.TensorSpec(None, "float64"), tf.TensorSpec(None, "float64"))
        data = tf.data.Dataset.from_generator(lambda: iter(cut(x, y)), output_signature=specs)
    for fit in (klr.ExactLinearRegression().fit, klr.Moments.from_data):
        with pytest.raises(ValueError, match=word):
            fit(data)


def test_integers_that_float64_holds_are_no_matter(table):
    _, y, _ = table
    x = np.arange(90) + 2**40
    np.testing.assert_allclose(fitted(x, y).kernel.numpy().ravel(), np.polyfit(x - 2**40, y, 1)[:1], rtol=1e-10)


def test_a_preprocessor_in_float32_is_taken_for_what_it_is(table):
    x, y, _ = table
    rescaled = keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(1.0)])
    assert fitted(x, y, model=klr.ExactLinearRegression(preprocessor=rescaled)).moments.dtype == "float32"


def test_fit_does_not_run_inside_its_own_callbacks(table):
    x, y, _ = table
    model = fitted(x, y)
    again = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_, **__: model.fit(x, y, verbose=0))
    with pytest.raises(RuntimeError, match="`fit` is running"):
        model.fit(x, y, verbose=0, callbacks=[again])
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: model.evaluate(x, y, verbose=0))
    np.testing.assert_allclose(coefficients(fitted(x, y, model=model, callbacks=[look])), ols(x, y), rtol=1e-11)


def test_weights_set_by_hand_have_no_moments(table):
    x, y, _ = table
    model = fitted(x, y)
    model.set_weights([np.zeros((4, 1)), np.ones(1)])
    assert model.moments is None and model.solution is None


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda moments: klr.ExactLinearRegression(dtype="mixed_float16"), "`dtype` must be 'float64' or 'float32'"),
        (lambda moments: klr.ExactLinearRegression.from_moments(moments, units=2), r"Received: \['units'\]"),
        (lambda moments: klr.ExactLinearRegression.from_moments("moments"), "`moments` must be"),
        (lambda moments: moments.solve(l2="a lot"), "`l2` must be a finite number"),
        (lambda moments: moments.solve(l2=-1.0), "`l2` must be a finite number"),
    ],
)
def test_what_cannot_be_made_of_moments_is_refused(make, word, table):
    moments = klr.Moments.from_data(*table[:2])
    with pytest.raises(ValueError, match=word):
        make(moments)


def test_early_stopping_puts_back_the_weights_and_keeps_the_moments(table):
    x, y, _ = table
    stop = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    model = fitted(x, y, epochs=4, validation_data=(x, y), callbacks=[stop])
    assert model.moments.rows == 90 and stop.stopped_epoch == 1


def test_a_design_that_explains_nothing_is_no_matter_of_digits():
    model = fitted(np.array([-1.0, 1.0, -1.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert model.kernel.numpy().item() == 0.0 and model.solution.fewest_digits >= 13


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_a_strategy_of_one_device_makes_no_difference(diabetes, kind):
    x, y = diabetes[0].to_numpy(), diabetes[1].to_numpy()[:, None]
    plain = klr.ExactLinearRegression()
    plain.fit(x, y, verbose=0)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = klr.ExactLinearRegression()
    data = (x, y) if kind == "arrays" else (tf.data.Dataset.from_tensor_slices((x, y)).batch(50),)
    model.fit(*data, verbose=0)
    np.testing.assert_allclose(actual=model.kernel.numpy(), desired=plain.kernel.numpy(), rtol=1e-12)
    np.testing.assert_allclose(actual=model.report().bse, desired=plain.report().bse, rtol=1e-12)
    np.testing.assert_allclose(
        actual=model.evaluate(*data, verbose=0), desired=plain.evaluate(*data, verbose=0), rtol=1e-12
    )


class Asks(keras.callbacks.Callback):
    """Asks for the metrics of the rows so far, at each batch."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.get_metrics_result()

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(self.model.get_metrics_result()["loss"])


ASKED = {
    "arrays": lambda x, y: {"x": x, "y": y, "batch_size": 9},
    "dataset": lambda x, y: {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(9)},
    "dataset of unknown length": lambda x, y: {
        "x": tf.data.Dataset.from_tensor_slices((x, y)).filter(lambda *row: True).batch(9)
    },
    "endless dataset": lambda x, y: {
        "x": tf.data.Dataset.from_tensor_slices((x, y)).batch(9).repeat(),
        "steps_per_epoch": 10,
    },
    "PyDataset": lambda x, y: {"x": Batches(cut(x, y, size=9))},
    "generator": lambda x, y: {"x": (batch for batch in cut(x, y, size=9))},
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", quick_and_heavy(ASKED, "PyDataset", "endless dataset"))
def test_a_callback_that_asks_for_the_metrics_does_not_end_the_pass(kind, steps, table):
    x, y, _ = table
    model, asks = klr.ExactLinearRegression(), Asks()
    model.compile(metrics=["mae"], steps_per_execution=steps)
    model.fit(**ASKED[kind](x, y[:, None]), callbacks=[asks], verbose=0)
    assert model.moments.rows == 90
    np.testing.assert_allclose(actual=coefficients(model), desired=ols(x, y), rtol=1e-10)
    first = ols(x[: 9 * steps], y[: 9 * steps])
    residuals = y[: 9 * steps] - x[: 9 * steps] @ first[1:] - first[0]
    np.testing.assert_allclose(actual=asks.losses[0], desired=(residuals**2).mean(), rtol=1e-6)
