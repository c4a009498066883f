"""Models of the same settings share a compiled program; models of other settings never do."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import quick_and_heavy

import keras_linreg as klr
from keras_linreg.models.scaled import ScaledLinearRegression
from keras_linreg.training.loop import shared_programs

RNG = np.random.default_rng(4)
X = RNG.normal(size=(70, 3)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5]] + RNG.standard_t(2, size=(70, 1))).astype("float32")
opt, losses = keras.optimizers, keras.losses


@pytest.fixture(autouse=True)
def no_programs(always_loop):
    shared_programs.forget_programs()


def trained(
    optimizer=None,
    rows=64,
    units=1,
    start=0.0,
    run_eagerly=False,
    regularizer=None,
    metrics=None,
    kernel_settings=None,
    **compiled,
):
    model = klr.LinearRegression(
        units, kernel_initializer=keras.initializers.Constant(start), kernel_regularizer=regularizer
    )
    model.build((None, 3))
    for name, value in (kernel_settings or {}).items():
        setattr(model.kernel, name, value)
    optimizer = opt.SGD(0.05) if optimizer is None else optimizer()
    model.compile(optimizer, metrics=None if metrics is None else metrics(), run_eagerly=run_eagerly, **compiled)
    fit = {"batch_size": 16, "epochs": 3, "shuffle": False, "validation_split": 0.25, "verbose": 0}
    history = model.fit(X[:rows], np.repeat(Y[:rows], units, axis=1), **fit).history
    return np.concatenate([w.ravel() for w in model.get_weights()]), history


def count():
    return len(shared_programs._programs)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": lambda: opt.Adam(0.05)},
        pytest.param({"optimizer": lambda: opt.SGD(opt.schedules.CosineDecay(0.1, 10))}, marks=pytest.mark.heavy),
        pytest.param({"optimizer": lambda: opt.AdamW(0.05, weight_decay=0.01, clipnorm=1.0)}, marks=pytest.mark.heavy),
        {"loss": "huber", "metrics": lambda: ["mae"]},
        {"loss": klr.SquaredError(), "regularizer": keras.regularizers.L1L2(0.01, 0.02), "units": 2},
    ],
    ids=["defaults", "Adam", "schedule", "AdamW", "metrics", "L1L2"],
)
def test_a_second_model_runs_the_programs_of_the_first_and_gets_the_same_numbers_to_the_bit(settings):
    first = trained(**settings, rows=70)  # a ragged batch is a program of its own
    programs = count()
    assert programs >= 3
    second = trained(**settings, rows=70)
    assert count() == programs
    shared_programs.forget_programs()
    alone = trained(**settings, rows=70)
    for weights, history in (second, alone):
        np.testing.assert_array_equal(weights, first[0])
        assert history == first[1]


def test_programs_are_shared_whatever_the_weights_and_the_learning_rate():
    trained()
    programs = count()
    for settings in ({"start": 3.0}, {"optimizer": lambda: opt.SGD(0.01)}):
        weights, history = trained(**settings)
        expected, of_keras = trained(**settings, run_eagerly=True)
        np.testing.assert_allclose(actual=weights, desired=expected, rtol=1e-4)
        np.testing.assert_allclose(actual=history["val_loss"], desired=of_keras["val_loss"], rtol=1e-5)
    assert count() == programs


def without_bias_decay():
    optimizer = opt.AdamW(0.05, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


DIFFERENT = {
    "Huber's delta, which get_config leaves out": [{"loss": losses.Huber(0.1)}, {"loss": losses.Huber(2.0)}],
    "momentum": [{"optimizer": lambda m=m: opt.SGD(0.05, momentum=m)} for m in (0.5, 0.9)],
    "Nesterov's": [{"optimizer": lambda n=n: opt.SGD(0.05, momentum=0.9, nesterov=n)} for n in (False, True)],
    "clipping": [{"optimizer": lambda c=c: opt.SGD(0.05, clipvalue=c)} for c in (0.1, 0.2)],
    "a schedule's steps": [
        {"optimizer": lambda s=s: opt.SGD(opt.schedules.ExponentialDecay(0.1, s, 0.5))} for s in (2, 5)
    ],
    "weight decay": [
        {"optimizer": lambda: opt.AdamW(0.05, weight_decay=0.5)},
        {"optimizer": without_bias_decay},
    ],
    "the penalty": [{"regularizer": keras.regularizers.L2(l2)} for l2 in (0.1, 0.2)],
    "a constraint of the kernel": [
        {"kernel_settings": {"constraint": c}}
        for c in (None, keras.constraints.MaxNorm(0.2), keras.constraints.NonNeg())
    ],
    "the limit of a constraint": [
        {"kernel_settings": {"constraint": keras.constraints.MaxNorm(most)}} for most in (0.2, 0.4)
    ],
    "a penalty that the kernel got after it was built": [
        {"kernel_settings": {"regularizer": r}} for r in (None, keras.regularizers.L2(0.5))
    ],
    "the reduction of the loss": [{"loss": klr.SquaredError(r)} for r in ("sum_over_batch_size", "sum")],
    "a metric's delta": [
        {"metrics": lambda d=d: [keras.metrics.MeanMetricWrapper(losses.huber, name="h", delta=d)]} for d in (0.1, 2.0)
    ],
    "weights of the loss": [{"loss": "mse", "loss_weights": w} for w in (None, 0.5)],
    "functions of the user": [{"loss": lambda y, p, c=c: keras.ops.mean(c * (y - p) ** 2, -1)} for c in (1.0, 0.3)],
}


@pytest.mark.parametrize("kind", quick_and_heavy(DIFFERENT, "a metric's delta", "a constraint of the kernel"))
def test_models_of_different_settings_each_train_by_their_own(kind):
    results = []
    for settings in DIFFERENT[kind]:
        weights, history = trained(**settings)
        expected, of_keras = trained(**settings, run_eagerly=True)
        np.testing.assert_allclose(actual=weights, desired=expected, rtol=1e-4, atol=1e-6)
        for name, values in of_keras.items():
            np.testing.assert_allclose(actual=history[name], desired=values, rtol=1e-4)
        results.append((weights.tolist(), history))
    assert all(results[0] != other for other in results[1:])


def test_a_function_that_reads_a_global_is_never_shared():
    scale = {"value": 1.0}

    def loss(y_true, y_pred):
        return keras.ops.mean(scale["value"] * (y_true - y_pred) ** 2, axis=-1)

    first, _ = trained(loss=loss)
    scale["value"] = 0.1
    second, _ = trained(loss=loss)
    assert count() == 0
    assert not np.allclose(first, second)


def test_a_subclass_and_a_patched_step_are_never_shared():
    class Half(klr.LinearRegression):
        def call(self, inputs):
            return 0.5 * super().call(inputs)

    trained()
    programs = count()
    for model in (Half(), klr.LinearRegression()):
        model.compile(opt.SGD(0.05))
        if type(model) is klr.LinearRegression:
            model.compute_loss = lambda *args, own=model.compute_loss, **kwargs: 0.5 * own(*args, **kwargs)
        model.fit(X, Y, batch_size=16, epochs=3, shuffle=False, validation_split=0.3, verbose=0)
        assert count() == programs


def test_the_programs_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(shared_programs, "MOST_PROGRAMS", 3)
    for momentum in (0.1, 0.2, 0.3):
        trained(optimizer=lambda momentum=momentum: opt.SGD(0.05, momentum=momentum))
        assert count() <= 3


def test_programs_outlive_clear_session_which_kerastuner_calls_before_each_trial():
    model = klr.LinearRegression()
    model.compile(opt.SGD(0.05))
    fit = {"batch_size": 16, "epochs": 3, "shuffle": False, "verbose": 0}
    model.fit(X, Y, **fit)
    programs = count()
    assert programs
    keras.backend.clear_session(free_memory=False)
    assert count() == programs
    before = float(model.evaluate(X, Y, verbose=0))
    model.fit(X, Y, **fit)
    assert float(model.evaluate(X, Y, verbose=0)) < before


def tape_model():
    model = klr.LinearRegression()
    model.compile("adam", metrics=["mae", "r2_score"])
    return model


@pytest.mark.parametrize(
    "make", [tape_model, klr.ExactLinearRegression, ScaledLinearRegression, klr.ElasticNetRegression]
)
def test_further_models_bring_tensorflow_no_new_names_of_variables_and_keras_their_own_paths(make):
    """TensorFlow keeps a kernel for each name of a variable, for ever: 0.2 MB a model of numbered names."""
    names = []

    def note(next_creator, **settings):
        variable = next_creator(**settings)
        names[-1].append(variable.name)
        return variable

    with tf.variable_creator_scope(note):
        for _ in range(2):
            names.append([])
            model = make()
            model.fit(X, Y, verbose=0)
            assert model.kernel.path == f"{model.name}/kernel"
            optimizer = getattr(model, "optimizer", None)
            assert all(variable.path.startswith(optimizer.name) for variable in getattr(optimizer, "variables", []))
    assert names[0] and set(names[0]) == set(names[1])


@pytest.mark.heavy
def test_models_that_were_fitted_and_dropped_leave_no_memory(tmp_path):
    script = Path(__file__).parents[1] / "examples" / "benchmarks" / "programs.py"
    done = subprocess.run(
        [sys.executable, script, "memory", "40"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    left = {kind: float(megabytes) for kind, megabytes in re.findall(r"(tape|exact) model: (\S+) MB each", done.stdout)}
    assert left.keys() == {"tape", "exact"} and left["tape"] < 0.1 and left["exact"] < 0.05
