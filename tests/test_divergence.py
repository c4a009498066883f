"""Divergence and bad numbers raise an error, and the weights survive them."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.data import Rows
from keras_linreg.training.divergence import advice, bad_numbers, watch_fit
from keras_linreg.training.divergence.watch import Watch

RNG = np.random.default_rng(4)
FRAME = pd.DataFrame({"rooms": RNG.normal(5, 1, 200), "income": RNG.normal(3e4, 5e3, 200)})
TARGET = 3 * FRAME["rooms"] + 1e-3 * FRAME["income"]


def compiled(rate=0.01, optimizer=None, **compiled):
    model = klr.LinearRegression(**{k: compiled.pop(k) for k in ("kernel_regularizer", "dtype") if k in compiled})
    model.compile(optimizer=optimizer or keras.optimizers.SGD(rate), **compiled)
    return model


def assert_finite(model):
    for weight in [*model.weights, *model.optimizer.variables]:
        assert np.isfinite(np.asarray(tf.convert_to_tensor(weight))).all(), weight.path


@pytest.mark.parametrize(
    ("compile_args", "momentum"),
    [
        ({}, 0.9),
        ({"steps_per_execution": 4}, 0.9),
        ({"jit_compile": True}, 0.0),
        ({"run_eagerly": True}, 0.9),
        ({"dtype": "mixed_bfloat16"}, 0.0),
    ],
    ids=str,
)
def test_divergence_is_an_error_and_leaves_finite_weights(compile_args, momentum):
    model = compiled(optimizer=keras.optimizers.SGD(0.01, momentum=momentum), **compile_args)
    with pytest.raises(
        FloatingPointError, match="Training diverged: the loss became (inf|nan) with a learning rate of 0.01"
    ):
        model.fit(FRAME, TARGET, epochs=50, verbose=0)
    assert_finite(model)
    if "steps_per_execution" not in compile_args:  # it leaves the weights before a call of several steps
        assert np.abs(model.kernel).max() > 0  # the last finite weights, not the first


def test_the_error_names_the_stable_rate_and_the_largest_column():
    model = compiled()
    with pytest.raises(FloatingPointError) as error:
        model.fit(FRAME, TARGET, epochs=50, verbose=0)
    message = str(error.value)
    design = np.column_stack([FRAME, np.ones(200)])
    bound = 1 / np.linalg.eigvalsh(design.T @ design / 200)[-1]
    assert f"stable for these columns is about {bound:.2g}" in message
    assert "'income' 3.0" in message
    assert "keras.layers.Normalization" in message


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_rates_below_the_stated_one_converge_and_rates_above_diverge(momentum, nesterov, units, l2, weighted):
    x = RNG.normal(size=(64, 3)) * [1, 2, 0.5]
    weights = RNG.uniform(0.5, 2, 64) if weighted else None
    regularizer = keras.regularizers.L2(l2) if l2 else None

    def model_at(rate):
        model = klr.LinearRegression(units=units, kernel_regularizer=regularizer)
        model.compile(optimizer=keras.optimizers.SGD(rate, momentum=momentum, nesterov=nesterov))
        model.build((None, 3))
        return model

    bound = advice.largest_stable_rate(model_at(1.0), x, weights)
    root = np.ones((64, 1)) if weights is None else np.sqrt(weights)[:, None]
    full = np.column_stack([x, np.ones(64)]) * root
    penalty = l2 * np.diag([1, 1, 1, 0]) if l2 else 0

    def grows(rate):
        hessian = 2 * (full.T @ full / (64 * units) + penalty)
        w, v = np.ones(4), np.zeros(4)
        for _ in range(4000):
            gradient = hessian @ w
            v = momentum * v - rate * gradient
            w = w + (momentum * v - rate * gradient if nesterov else v)
            if np.abs(w).max() > 1e6:
                return True
        return False

    # An intercept is not penalised: then the stated rate is a lower bound, tight up to the penalty.
    assert not grows(0.98 * bound)
    assert grows((1.02 if not l2 else 2.5) * bound)


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        ("MeanSquaredError", True),
        (keras.losses.mean_squared_error, True),
        (keras.losses.MeanSquaredError(), True),
        (klr.SquaredError(reduction="sum"), False),
    ],
    ids=["name", "function", "object", "sum"],
)
def test_the_error_names_a_stable_rate_for_the_mean_squared_error_alone(loss, known):
    model = compiled(1e20, loss=loss)
    with pytest.raises(FloatingPointError) as error:
        model.fit(FRAME, TARGET, epochs=50, verbose=0)
    assert ("stable for these columns" in str(error.value)) == known


@pytest.mark.parametrize("options", [{"validation_split": 2.0}, {"jit_compile": True}], ids=str)
def test_refused_arguments_leave_the_model_unbuilt(options):
    model = compiled(jit_compile=options.pop("jit_compile", "auto"))
    x = FRAME.to_numpy() if options else scipy.sparse.csr_matrix(FRAME.to_numpy())
    with pytest.raises(ValueError, match="must"):
        model.fit(x, TARGET, verbose=0, **options)
    assert not model.built and model.feature_names is None


def test_numbers_too_large_for_float32_leave_the_model_unbuilt():
    model = compiled()
    with pytest.raises(ValueError, match="too large for float32"):
        model.fit(FRAME * 1e200, TARGET, verbose=0)
    assert not model.built


def test_the_names_of_refused_data_are_forgotten():
    model = compiled()
    model.build((None, 2))
    with pytest.raises(ValueError, match="rows have no value in 'income'"):
        model.fit(FRAME.assign(income=np.nan), TARGET, verbose=0)
    assert model.feature_names == ["x0", "x1"]


def test_a_sparse_design_has_the_stable_rate_of_the_dense_one():
    model = compiled()
    model.build((None, 30))
    dense = RNG.normal(size=(100, 30)) * (RNG.random((100, 30)) < 0.2)
    rate = advice.largest_stable_rate(model, scipy.sparse.csr_matrix(dense), None)
    assert rate == pytest.approx(advice.largest_stable_rate(model, dense, None), rel=1e-8)


@pytest.mark.parametrize("kind", ["dataset", "generator", "sparse"])
def test_the_error_names_the_stable_rate_on_any_kind_of_data(kind):
    x, y = FRAME.to_numpy(), TARGET.to_numpy()
    data = {
        "dataset": lambda: (tf.data.Dataset.from_tensor_slices((x, y)).batch(50).repeat(),),
        "generator": lambda: (((x[:50], y[:50]) for _ in range(500)),),
        "sparse": lambda: (scipy.sparse.csr_matrix(x), y),
    }[kind]()
    with pytest.raises(FloatingPointError, match="stable for these columns is about 1.1e-09"):
        compiled().fit(*data, epochs=10, steps_per_epoch=4 if kind != "sparse" else None, verbose=0)


def test_the_error_of_an_adaptive_optimizer_lists_the_scales_of_the_columns():
    model = compiled(optimizer=keras.optimizers.Adam(1e38))
    with pytest.raises(FloatingPointError, match=r"Scales of the columns \(root mean square\): 'income'"):
        model.fit(FRAME, TARGET, epochs=3, verbose=0)


def test_a_model_can_be_trained_again_after_a_divergence():
    model = compiled(optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
    with pytest.raises(FloatingPointError):
        model.fit(FRAME, TARGET, epochs=50, verbose=0)
    model.set_weights([np.zeros((2, 1)), np.zeros(1)])
    model.optimizer.learning_rate = 1e-10
    history = model.fit(FRAME, TARGET, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()


@pytest.mark.parametrize("raise_error", [False, True])
def test_terminate_on_nan_ends_the_fit_as_with_keras(raise_error):
    model = compiled()
    callback = keras.callbacks.TerminateOnNaN(raise_error=raise_error)
    if raise_error:
        with pytest.raises(RuntimeError, match="NaN or Inf loss"):
            model.fit(FRAME, TARGET, epochs=50, verbose=0, callbacks=[callback])
    else:
        history = model.fit(FRAME, TARGET, epochs=50, verbose=0, callbacks=[callback])
        assert not np.isfinite(history.history["loss"][-1])


def test_nan_in_the_data_stays_an_error_with_terminate_on_nan():
    x, model = FRAME.to_numpy(dtype=float).copy(), compiled()
    x[3, 0] = np.nan
    with pytest.raises(ValueError, match="no value in 'x0' .*The first is row 3"):
        model.fit(x, TARGET, epochs=5, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])


def test_train_on_batch_diverges_with_the_same_error():
    model = compiled()
    with pytest.raises(FloatingPointError, match="Training diverged"):
        for _ in range(50):
            model.train_on_batch(FRAME, TARGET)
    assert_finite(model)


# NaN and infinity in the data


def spoiled(value, column="income", row=137):
    frame = FRAME.copy()
    frame.loc[row, column] = value
    return frame


def assert_untouched(model, before, *fit, match, **kwargs):
    with pytest.raises(ValueError, match=match):
        model.fit(*fit, verbose=0, **kwargs)
    for variable, value in zip([*model.weights, *model.optimizer.variables], before, strict=True):
        np.testing.assert_array_equal(tf.convert_to_tensor(variable), value)


@pytest.fixture(scope="module")
def trained():
    model = compiled(optimizer=keras.optimizers.SGD(1e-10, momentum=0.5))
    model.fit(FRAME, TARGET, epochs=1, verbose=0)
    return model, [tf.identity(tf.convert_to_tensor(v)) for v in [*model.weights, *model.optimizer.variables]]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # NumPy's warning of 1e300, from Keras's adapter
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("kind", ["frame", "sparse"])
def test_a_bad_number_in_x_names_column_and_row_and_changes_nothing(trained, value, kind):
    model, before = trained
    shown = "1e\\+300 .too large for float32" if value == 1e300 else str(value)
    x = spoiled(value)
    x = x if kind == "frame" else scipy.sparse.csr_matrix(x.to_numpy())
    assert_untouched(
        model,
        before,
        x,
        TARGET,
        match=(
            "1 of .* rows have no value in 'income' .*The first is row 137"
            if np.isnan(value)
            else f"`x` must be finite. Received: {shown}.* in column 'income', row 137"
        ),
        epochs=3,
    )


def test_a_missing_value_of_a_nullable_column_is_named(trained):
    frame = FRAME.assign(rooms=FRAME["rooms"].astype("Float64"))
    frame.loc[5, "rooms"] = pd.NA
    assert_untouched(*trained, frame, TARGET, match="no value in 'rooms' .*The first is row 5")


def test_a_bad_number_in_y_names_the_row_and_changes_nothing(trained):
    y = TARGET.copy()
    y[3] = np.nan
    assert_untouched(*trained, FRAME, y, match="no value in 'y' .*The first is row 3")


class Batches(keras.utils.PyDataset):
    def __init__(self, frame):
        super().__init__()
        self.frame = frame

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return self.frame.iloc[50 * i : 50 * i + 50], TARGET.iloc[50 * i : 50 * i + 50]


STREAMS = {
    "dataset": lambda frame: tf.data.Dataset.from_tensor_slices((frame.to_numpy(), TARGET.to_numpy())).batch(50),
    "dict dataset": lambda frame: tf.data.Dataset.from_tensor_slices((dict(frame), TARGET.to_numpy())).batch(50),
    "PyDataset": Batches,
    "generator": lambda frame: (
        (frame.iloc[50 * i : 50 * i + 50], TARGET.iloc[50 * i : 50 * i + 50]) for i in range(4)
    ),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_a_bad_number_in_a_stream_names_the_batch_and_changes_nothing(trained, kind):
    stream = STREAMS[kind](spoiled(np.nan))
    assert_untouched(
        *trained,
        stream,
        match="no value in .*'income', row 37 of batch 2|Batch 2: 1 of .* rows have no value in 'income'",
        shuffle=False,
    )


def test_the_error_names_a_weight_that_was_not_finite_before_the_fit():
    model = compiled(1e-10)
    model.fit(FRAME, TARGET, verbose=0)
    model.kernel.assign([[0.0], [np.nan]])
    with pytest.raises(
        ValueError, match="weights must be finite before a fit. Received: nan in 'kernel' of column 'income'"
    ):
        model.fit(FRAME, TARGET, verbose=0)


def test_a_nan_row_predicts_nan_for_that_row_alone(trained):
    predicted = trained[0].predict(spoiled(np.nan), verbose=0)
    assert np.flatnonzero(np.isnan(predicted)).tolist() == [137]


def test_later_steps_do_not_change_the_weights_that_a_watch_keeps():
    model = compiled(1e-10)
    model.fit(FRAME, TARGET, verbose=0)
    watch = Watch(model)
    before = [np.array(value) for value in watch.start]
    with watch_fit(model, Rows(None)):
        pass
    model.fit(FRAME, TARGET, epochs=2, verbose=0)
    for kept, value in zip(watch.start, before, strict=True):
        np.testing.assert_array_equal(kept, value)


def test_the_weights_after_a_divergence_have_a_finite_loss_and_can_be_trained():
    x, y = RNG.normal(size=(70, 3)), RNG.normal(size=70)
    model = compiled(3.0)
    with pytest.raises(FloatingPointError, match="largest one that is stable"):
        model.fit(x, y, batch_size=70, epochs=500, verbose=0)
    assert np.isfinite(model.evaluate(x, y, batch_size=70, verbose=0))
    model.optimizer.learning_rate = 0.3
    losses = model.fit(x, y, batch_size=70, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.heavy
def test_divergence_on_two_replicas_is_explained_and_leaves_finite_weights(mirrored):
    with mirrored.scope():
        model = compiled()
    with pytest.raises(FloatingPointError, match="Training diverged.*with a learning rate of 0.01"):
        model.fit(FRAME, TARGET, epochs=50, verbose=0)
    assert_finite(model)


def test_a_fit_is_watched_even_if_a_callback_trains_too():
    class Warm(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.train_on_batch(FRAME, TARGET)

    model = compiled(1e-8)
    with pytest.raises(FloatingPointError):
        model.fit(FRAME, TARGET, epochs=200, verbose=0, callbacks=[Warm()])
    assert_finite(model)


def test_the_error_of_an_infinite_first_loss_does_not_blame_the_learning_rate():
    model = compiled(1e-30)
    with pytest.raises(FloatingPointError, match=r"inf at the first step.*targets up to .*e\+2"):
        model.fit(FRAME, 1e20 * TARGET, verbose=0)


def test_the_error_names_numbers_too_large_for_half_precision():
    model = compiled(1e-9, dtype="mixed_float16")
    with pytest.raises(ValueError, match=r"too large for float16\) in column 'income'"):
        model.fit(FRAME.assign(income=1e5 + FRAME["income"]), TARGET, verbose=0)


def test_terminate_on_nan_is_found_in_nested_callbacks():
    history = compiled().fit(FRAME, TARGET, epochs=50, verbose=0, callbacks=[[keras.callbacks.TerminateOnNaN()]])
    assert not np.isfinite(history.history["loss"][-1])


@pytest.mark.heavy
def test_an_endless_dataset_is_not_read_again_for_long(monkeypatch):
    monkeypatch.setattr(bad_numbers, "MAX_SECONDS", 0.2)
    read = []

    def batches():
        while True:
            read.append(1)
            yield FRAME.to_numpy(dtype="float32")[:50], TARGET.to_numpy(dtype="float32")[:50]

    spec = (tf.TensorSpec((None, 2)), tf.TensorSpec((None,)))
    stream = tf.data.Dataset.from_generator(batches, output_signature=spec)
    model = compiled(1.2e-9)  # slow to diverge
    with pytest.raises(FloatingPointError):
        model.fit(stream, steps_per_epoch=400, epochs=20, verbose=0)
    assert len(read) > 100


class Bare(keras.losses.Loss):
    """A loss as users write it: it would broadcast (n,) against (n, 1)."""

    def call(self, y_true, y_pred):
        return keras.ops.square(y_true - y_pred)


@pytest.mark.parametrize("y", [TARGET, TARGET.to_numpy(), tf.constant(TARGET)], ids=["Series", "array", "tensor"])
def test_a_hand_written_loss_never_sees_y_of_shape_n(y):
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=Bare())
    loss = model.fit(FRAME, y, batch_size=200, verbose=0).history["loss"][0]
    assert loss == pytest.approx(float(np.mean(TARGET**2)), rel=1e-5)
