"""LinearRegression trains as a stock Keras Dense(1) does, and gives the numbers of the tutorial."""

import contextlib

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy

import keras_linreg as klr

N, P, BATCH = 70, 4, 16  # the last batch of an epoch is ragged
RNG = np.random.default_rng(11)
X = RNG.normal(size=(N, P)).astype("float32")
Y = (X @ [1.0, -2.0, 0.5, 0.0] + 3 + RNG.normal(size=N)).astype("float32").reshape(-1, 1)
WEIGHTS = RNG.uniform(0.5, 2, size=N).astype("float32")
START = [RNG.normal(size=(P, 1)).astype("float32"), np.array([0.3], "float32")]

opt = keras.optimizers
reg = keras.regularizers


class Case:
    """Arguments of `compile` and `fit` for both models; functions make those that hold state."""

    def __init__(self, optimizer=lambda: opt.SGD(0.05), loss="mse", regularizer=None, dtype=None, fit=(), **compiled):
        self.optimizer, self.loss, self.regularizer, self.dtype = optimizer, loss, regularizer, dtype
        self.fit, self.compiled = dict(fit), compiled


def adam(**kwargs):
    return lambda: opt.Adam(0.05, **kwargs)


def sgd(**kwargs):
    return lambda: opt.SGD(0.05, **kwargs)


def decaying():
    return opt.SGD(opt.schedules.ExponentialDecay(0.1, 5, 0.8))


CASES = {
    "sgd": Case(),
    "momentum": Case(sgd(momentum=0.9)),
    "nesterov": Case(sgd(momentum=0.9, nesterov=True)),
    "adam": Case(adam()),
    "ftrl": Case(lambda: opt.Ftrl(0.5, l1_regularization_strength=0.01)),
    "adamw": Case(lambda: opt.AdamW(0.05)),
    "schedule": Case(decaying),
    "sample weights": Case(fit={"sample_weight": WEIGHTS}),
    "class weight": Case(fit={"class_weight": {0: 2.0, 1: 0.5, 3: 3.0}}),
    "validation split": Case(fit={"validation_split": 0.2}),
    "validation data": Case(fit={"validation_data": (X[:20], Y[:20], WEIGHTS[:20])}),
    "l1": Case(regularizer=lambda: reg.L1(0.05)),
    "l2": Case(regularizer=lambda: reg.L2(0.05)),
    "l1l2": Case(regularizer=lambda: reg.L1L2(0.03, 0.04)),
    "metrics": Case(metrics=["mae", "root_mean_squared_error", "r2_score"], fit={"validation_split": 0.3}),
    "weighted metrics": Case(weighted_metrics=["mse"], metrics=["mse"], fit={"sample_weight": WEIGHTS}),
    "loss weight": Case(loss_weights=[0.5]),
    "huber": Case(loss="huber"),
    "mean absolute error": Case(loss=lambda: keras.losses.MeanAbsoluteError()),
    "log cosh, summed": Case(loss=lambda: keras.losses.LogCosh(reduction="sum"), optimizer=sgd(clipnorm=1.0)),
    "jit_compile": Case(jit_compile=True),
    "no jit_compile": Case(jit_compile=False),
    "steps_per_execution": Case(steps_per_execution=8),
    "run_eagerly": Case(run_eagerly=True),
    "mixed_bfloat16": Case(dtype="mixed_bfloat16"),
    "mixed_float16": Case(dtype="mixed_float16"),
    "float64": Case(dtype="float64"),
    "gradient accumulation": Case(sgd(gradient_accumulation_steps=3)),
    "clipnorm": Case(sgd(clipnorm=0.5)),
    "clipvalue": Case(adam(clipvalue=0.1)),
    "global clipnorm": Case(sgd(global_clipnorm=0.5)),
    "ema": Case(sgd(use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=4)),
    "ema at the end": Case(adam(use_ema=True, ema_momentum=0.7)),
    "full batch": Case(fit={"batch_size": N}),
    "steps per epoch": Case(fit={"steps_per_epoch": 2, "epochs": 2}),
    "initial epoch": Case(fit={"initial_epoch": 2}),
}


def trained(make, case, data, scope=contextlib.nullcontext):
    with scope():
        keras.utils.set_random_seed(5)
        model = make(case)
        loss = case.loss() if callable(case.loss) else case.loss
        model.compile(optimizer=case.optimizer(), loss=loss, **case.compiled)
    fit = {"batch_size": BATCH, "epochs": 4, "shuffle": False, "verbose": 0, **case.fit}
    if isinstance(data[0], tf.data.Dataset):
        fit.pop("batch_size")
    history = model.fit(*data, **fit)
    return model.get_weights(), history.history


def ours(case):
    regularizer = case.regularizer() if case.regularizer else None
    model = klr.LinearRegression(kernel_regularizer=regularizer, dtype=case.dtype)
    model.build((None, P))
    model.set_weights(START)
    return model


def stock(case):
    regularizer = case.regularizer() if case.regularizer else None
    dense = keras.layers.Dense(1, kernel_regularizer=regularizer, dtype=case.dtype)
    model = keras.Sequential([keras.Input((P,)), dense])
    if case.dtype is not None:
        model.dtype_policy = keras.DTypePolicy(case.dtype)
    model.set_weights(START)
    return model


def assert_same(case, data=(X, Y), scope=contextlib.nullcontext, rtol=2e-5):
    weights, history = trained(ours, case, data, scope)
    expected_weights, expected_history = trained(stock, case, data, scope)
    for weight, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=rtol, atol=rtol)
    assert list(history) == list(expected_history)
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize(
    "name",
    quick_and_heavy(
        CASES,
        "sgd",
        "schedule",
        "sample weights",
        "l1l2",
        "steps_per_execution",
    ),
)
def test_weights_and_history_equal_those_of_stock_keras(name):
    assert_same(CASES[name])


def test_squared_error_equals_keras_mse_under_half_precision():
    for dtype in ("mixed_bfloat16", "mixed_float16"):
        case = Case(dtype=dtype)
        _, expected = trained(stock, case, (X, Y))
        _, history = trained(ours, Case(dtype=dtype, loss=lambda: klr.SquaredError()), (X, Y))
        np.testing.assert_allclose(history["loss"], expected["loss"], rtol=2e-5)


TOGETHER = Case(adam(), regularizer=lambda: reg.L2(0.05), metrics=["mae"], fit={"sample_weight": WEIGHTS})


@pytest.mark.heavy
def test_two_replicas_equal_stock_keras_on_two_replicas(mirrored):
    assert_same(TOGETHER, scope=mirrored.scope)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["adam", "sample weights", "l2", "metrics"])
def test_two_replicas_equal_stock_keras_in_each_setting(name, mirrored):
    assert_same(CASES[name], scope=mirrored.scope)


@pytest.mark.parametrize("name", ["sgd", "momentum", "steps_per_execution", "jit_compile"])
def test_a_dataset_equals_stock_keras_on_it(name):
    dataset = tf.data.Dataset.from_tensor_slices((X, Y, WEIGHTS)).batch(BATCH)
    assert_same(CASES[name], data=(dataset,))


def test_shuffling_sees_every_row_once_an_epoch():
    seen = []

    class Spy(klr.LinearRegression):
        def train_step(self, data):
            tf.py_function(lambda x: seen.extend(x.numpy().ravel().tolist()), [data[0]], [])
            return super().train_step(data)

    model = Spy()
    model.compile(optimizer=opt.SGD(1e-6))
    x = np.arange(50, dtype="float32")
    model.fit(x, x, epochs=2, batch_size=8, verbose=0)
    assert sorted(seen[:50]) == sorted(seen[50:]) == x.tolist()
    assert seen[:50] != x.tolist()


# The tutorial


@pytest.fixture(scope="module")
def published():
    """A model fitted on data with the moments of the tutorial's data; and its losses."""
    x = np.linspace(0, 10, 100)
    mean_xy, mean_y, mean_yy = 32.87342863, 4.95961572, 33.03848649
    # Full-batch gradient descent depends on y by these means alone: y = a + b x + c z has them, with z orthogonal to x.
    b = (mean_xy - x.mean() * mean_y) / x.var()
    a = mean_y - b * x.mean()
    z = np.where(np.arange(100) % 4 < 2, 1.0, -1.0) * 1.0
    design = np.stack([np.ones(100), x], axis=1)
    z -= design @ np.linalg.lstsq(design, z, rcond=None)[0]
    c = np.sqrt((mean_yy - np.mean((a + b * x) ** 2)) / np.mean(z**2))
    y = a + b * x + c * z
    np.testing.assert_allclose([np.mean(x * y), y.mean(), np.mean(y * y)], [mean_xy, mean_y, mean_yy], rtol=1e-12)
    model = klr.LinearRegression()
    model.compile(optimizer=opt.SGD(0.01), loss=klr.SquaredError())
    losses = model.fit(x, y, batch_size=100, epochs=100, verbose=0).history["loss"]
    return model, losses


@pytest.mark.parametrize(
    ("epoch", "loss"),
    [(0, 33.03848648), (1, 3.97168), (2, 1.08879), (3, 0.802855), (7, 0.771335), (99, 0.770713)],
)
def test_a_fit_has_the_losses_of_the_tutorial(published, epoch, loss):
    assert published[1][epoch] == pytest.approx(loss, abs=1e-5)


def test_a_fit_has_the_weights_of_the_tutorial(published):
    model, _ = published
    assert float(model.kernel[0, 0]) == pytest.approx(0.9558898, abs=1e-5)
    assert float(model.bias[0]) == pytest.approx(0.17020188, abs=1e-5)


def test_long_training_reaches_least_squares(tutorial):
    x, y = tutorial
    model = klr.LinearRegression()
    model.compile(optimizer=opt.SGD(0.025), steps_per_execution=100)
    model.fit(tf.data.Dataset.from_tensors((x, y)).repeat(2000), verbose=0)
    slope, intercept = np.polyfit(x, y, 1)
    np.testing.assert_allclose([float(model.kernel[0, 0]), float(model.bias[0])], [slope, intercept], rtol=1e-4)


def test_the_defaults_of_compile_are_sgd_and_squared_error():
    model = klr.LinearRegression()
    model.compile()
    assert isinstance(model.optimizer, opt.SGD)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert isinstance(model.loss, klr.SquaredError)


@pytest.mark.parametrize("train", ["fit", "train_on_batch"])
def test_a_model_that_is_not_compiled_trains_with_the_defaults(train):
    model, compiled = klr.LinearRegression(), klr.LinearRegression()
    compiled.compile()
    for each in (model, compiled):
        if train == "fit":
            each.fit(X, Y, shuffle=False, verbose=0)
        else:
            each.train_on_batch(X, Y)
    assert isinstance(model.optimizer, opt.SGD) and isinstance(model.loss, klr.SquaredError)
    np.testing.assert_array_equal(model.kernel, compiled.kernel)


def test_a_model_that_is_not_compiled_must_be_compiled_before_it_is_evaluated():
    model = klr.LinearRegression()
    model.build((None, P))
    for method in (model.evaluate, model.test_on_batch):
        with pytest.raises(
            ValueError, match=rf"must call `compile\(\)` before `{method.__name__}\(\)`. Received: .*not compiled"
        ):
            method(X, Y)


def test_several_outputs_train_as_dense_does():
    y = np.concatenate([Y, 2 * Y, -Y], axis=1)
    model = klr.LinearRegression(units=3)
    model.compile(optimizer=opt.SGD(0.05))
    dense = keras.Sequential([keras.Input((P,)), keras.layers.Dense(3, kernel_initializer="zeros")])
    dense.compile(optimizer=opt.SGD(0.05), loss="mse")
    for m in (model, dense):
        m.fit(X, y, shuffle=False, epochs=5, verbose=0)
    np.testing.assert_allclose(model.kernel, dense.get_weights()[0], rtol=1e-5)
    assert model.kernel.shape == (P, 3)
    assert model.bias.shape == (3,)


def test_a_model_without_bias_has_the_kernel_alone():
    model = klr.LinearRegression(use_bias=False)
    model.compile()
    model.fit(X, Y, verbose=0)
    assert model.bias is None
    assert len(model.weights) == 1


def test_a_subclass_keeps_its_own_train_step():
    class Halfway(klr.LinearRegression):
        def train_step(self, data):
            self.kernel.assign(tf.ones_like(self.kernel) * 42.0)
            return super().train_step(data)

    model = Halfway()
    model.compile(optimizer=opt.SGD(0.0))
    model.fit(X, Y, verbose=0)
    np.testing.assert_allclose(model.kernel, np.full((P, 1), 42.0))


def test_a_frozen_model_warns_as_stock_keras_does():
    model = klr.LinearRegression(trainable=False)
    model.compile()
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        model.fit(X, Y, verbose=0)


def test_a_batch_may_be_a_sparse_matrix():
    dense, sparse = (klr.LinearRegression() for _ in range(2))
    results = []
    for model, x in ((dense, X), (sparse, scipy.sparse.csr_matrix(X))):
        model.compile()
        results.append([model.train_on_batch(x, Y), model.test_on_batch(x, Y), *model.predict_on_batch(x).ravel()])
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_train_on_batch_takes_one_step():
    model = klr.LinearRegression()
    model.compile()
    loss = model.train_on_batch(X, Y)
    assert loss == pytest.approx(float(np.mean(Y**2)), rel=1e-5)
    assert model.test_on_batch(X, Y) < loss
    np.testing.assert_allclose(model.predict_on_batch(X), model.predict(X, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("units", [0, -1, 1.5, "2", True])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(ValueError, match="`units` must be a positive integer. Received: units="):
        klr.LinearRegression(units=units)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_penalty_on_weights_of_any_dtype_is_part_of_the_loss(dtype):
    x = np.arange(12.0).reshape(6, 2)
    model = klr.LinearRegression(dtype=dtype, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5))
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(x, x.sum(axis=1) + 1, verbose=0).history
    np.testing.assert_allclose(actual=history["loss"], desired=1 + 0.5 * 2, rtol=1e-3)
