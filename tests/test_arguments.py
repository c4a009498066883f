"""A bad argument is refused by name, with its rule and its value, before anything changes."""

import re

import keras
import numpy as np
import pytest

import keras_linreg as klr

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X.sum(axis=1) + np.sin(9 * X[:, 0])


@pytest.fixture(scope="module")
def models():
    fitted = klr.LinearRegression(), klr.ExactLinearRegression()
    for model in fitted:
        model.compile()
        model.fit(X, Y, verbose=0)
    return fitted


COUNTS = [-1, 0, 1.5, 2.0, "8", True, [8], np.nan, 10**30]
IN_FIT = {
    "batch_size": COUNTS,
    "validation_batch_size": COUNTS,
    "steps_per_epoch": COUNTS,
    "validation_steps": COUNTS,
    "epochs": [-1, 1.0, "2", None, True, np.inf],
    "initial_epoch": [-1, 1.5, "0", None],
    "validation_split": [np.nan, 1, 1.5, -0.1, "0.1", None, True, np.inf, [0.5]],
    "validation_freq": [0, -1, "1", 1.5, [0], [1, "2"], True, None, {"a": 1}],
    "verbose": ["yes", 3, None, 0.5, [1]],
    "shuffle": ["no", None, 2, "batches"],
    "class_weight": ["balanced", {"a": 1.0}, {0: -1.0}, {0: np.nan}, {0: "1"}, 3],
    "callbacks": [3, "early", [None, 3], keras.callbacks.Callback],
}
IN_COMPILE = {
    "steps_per_execution": [-2, 0, 1.5, "2", None, True],
    "run_eagerly": ["no", 1, None],
    "jit_compile": ["no", 2],
    "auto_scale_loss": ["no"],
}
IN_EVALUATE = {
    "batch_size": COUNTS,
    "steps": COUNTS,
    "verbose": ["x", 7],
    "callbacks": [3],
    "return_dict": ["no", 1],
}
IN_INIT = {
    "units": [0, -1, 1.0, "1", True, None],
    "use_bias": ["no", "", 0, 2, [True]],
    "trainable": ["no"],
    "dtype": ["int32", "bool", "complex64", "string", "junk", 3, "int8_from_float32", "float8_from_float32"],
}


def cases(arguments):
    return [pytest.param(name, value, id=f"{name}={value!r}"[:40]) for name in arguments for value in arguments[name]]


def refuses(name):
    return pytest.raises(ValueError, match=rf"(?s)`{name}` must .*Received: ")


@pytest.mark.parametrize(("name", "value"), cases(IN_FIT))
def test_fit_refuses_it_and_the_model_stays_as_it_is(models, name, value):
    for model in models:
        before, names = model.get_weights(), model.feature_names
        x = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}
        with refuses(name):
            model.fit(x, Y, **{"verbose": 0, "validation_data": (x, Y), name: value})
        np.testing.assert_array_equal(model.get_weights()[0], before[0])
        assert model.feature_names == names


def test_fit_refuses_a_bad_argument_of_an_unbuilt_model_which_stays_unbuilt_and_uncompiled():
    for kind in (klr.LinearRegression, klr.ExactLinearRegression):
        model = kind()
        with refuses("epochs"):
            model.fit(X, Y, epochs="2")
        assert not model.built and model.feature_names is None
        assert model.compiled == (kind is klr.ExactLinearRegression)  # which is compiled from the first


@pytest.mark.parametrize(("name", "value"), cases(IN_COMPILE))
def test_compile_refuses_it_and_the_model_stays_compiled_as_it_was(models, name, value):
    for model in models:
        optimizer = model.optimizer
        with refuses(name):
            model.compile(**{name: value})
        assert model.compiled and model.optimizer is optimizer


@pytest.mark.parametrize(("name", "value"), cases(IN_EVALUATE))
def test_evaluate_and_predict_refuse_it(models, name, value):
    for model in models:
        with refuses(name):
            model.evaluate(X, Y, **{"verbose": 0, name: value})
        if name != "return_dict":
            with refuses(name):
                model.predict(X, **{"verbose": 0, name: value})


@pytest.mark.parametrize(("name", "value"), cases(IN_INIT))
def test_a_constructor_refuses_it(name, value):
    for kind in (klr.LinearRegression, klr.ExactLinearRegression):
        with refuses(name):
            kind(**{name: value})


def test_arguments_of_numpys_types_are_taken():
    for model in (klr.LinearRegression(), klr.ExactLinearRegression()):
        options = {"batch_size": np.int64(20), "epochs": np.int32(2), "validation_split": np.float32(0.25)}
        history = model.fit(X, Y, verbose=0, validation_freq=np.array([1, 2]), **options)
        assert len(history.history["val_loss"]) == 2
    for dtype in ("float32", np.float64, keras.DTypePolicy("float64")):
        assert klr.ExactLinearRegression(use_bias=np.bool_(False), dtype=dtype).bias is None


STATISTICS = [
    ("moments", lambda m: klr.ExactLinearRegression.from_moments(None)),
    ("moments", lambda m: klr.RegressionReport.from_moments(None)),
    ("features", lambda m: m.moments.select(5)),
    ("features", lambda m: m.moments.select([5])),
    ("features", lambda m: m.moments.select([["x0"]])),
    ("features", lambda m: m.moments.select(b"x0")),
    ("features", lambda m: m.moments.select(["x0", "x0"])),
    ("outputs", lambda m: m.moments.select(outputs=1)),
    ("l2", lambda m: m.moments.solve(l2=1e308)),
    ("l2", lambda m: m.moments.solve(l2=10**400)),
    ("l2", lambda m: m.moments.solve(l2="0.1")),
    ("l2", lambda m: m.moments.solve(l2=True)),
    ("l2", lambda m: m.moments.solve(l2=np.nan)),
    ("l2", lambda m: klr.ExactLinearRegression.from_moments(m.moments, keras.regularizers.L2(1e308))),
    ("use_bias", lambda m: m.moments.solve(use_bias="no")),
    ("warn", lambda m: m.moments.solve(warn="no")),
    ("dependent", lambda m: m.moments.solve(dependent=["drop"])),
    ("level", lambda m: m.report("HC3")),
    ("level", lambda m: m.report(level="0.95")),
    ("level", lambda m: m.report(level=10**400)),
    ("level", lambda m: m.report().conf_int(level=np.nan)),
    ("cov_type", lambda m: m.report(cov_type=np.array(["HC1", "HC3"]))),
    ("cov_type", lambda m: m.report(cov_type=None)),
    ("use_f", lambda m: m.report().wald_test("x0 = 0", use_f="no")),
    ("restrictions", lambda m: m.report().f_test("x0*1e999 = 1")),
    ("restrictions", lambda m: m.report().f_test("x0 = 1e308 * 1e308")),
    ("restrictions", lambda m: m.report().f_test("x0 = 1 / 1e-320")),
    ("restrictions", lambda m: m.report().f_test("(" * 3000 + "x0" + ")" * 3000 + " = 1")),
    ("restrictions", lambda m: m.report().f_test("(" * 3000 + "x0 = 1" + ")" * 3000)),
    ("restrictions", lambda m: m.report().f_test("(x0 = 1")),
    ("restrictions", lambda m: m.report().f_test("(x0 = 1) (x1 = 2)")),
    ("restrictions", lambda m: m.report().f_test("(x0 = 1) = 2")),
    ("restrictions", lambda m: m.report().f_test(np.array([[1j, 0, 0, 0]]))),
    ("restrictions", lambda m: m.report().f_test([[10**400, 0, 0, 0]])),
    ("verbose", lambda m: m.export("never", verbose="x")),
]


@pytest.mark.parametrize(("name", "call"), STATISTICS, ids=range(len(STATISTICS)))
def test_moments_and_reports_refuse_it(models, tmp_path, monkeypatch, name, call):
    monkeypatch.chdir(tmp_path)
    with refuses(name):
        call(models[1])
    assert list(tmp_path.iterdir()) == []


def test_a_covariance_in_the_place_of_the_level_is_told_its_argument(models):
    with pytest.raises(ValueError, match=re.escape("Received: level='HC3'. Write cov_type='HC3'.")):
        models[1].report("HC3")


@pytest.mark.parametrize("l2", [1e100, 1e200, 1e300])
def test_a_penalty_as_large_as_float64_can_hold_gives_the_limit(l2):
    limit = (X - X.mean(axis=0)).T @ (Y - Y.mean()) / len(Y) / l2
    solution = klr.Moments.from_data(X, Y).solve(l2=l2)
    np.testing.assert_allclose(actual=solution.kernel.ravel(), desired=limit, rtol=1e-10)
