"""A column may not have the name of the bias beside it, wherever the name comes from; without a bias it may."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import keras_linreg as klr

AGE = np.arange(12.0)
FRAME = pd.DataFrame({"Intercept": np.ones(12), "age": AGE})
Y = 3 + 2 * AGE + np.sin(AGE)

CALLS = {
    "a frame": lambda model: model.fit(FRAME, Y, verbose=0),
    "a dict": lambda model: model.fit(dict(FRAME), Y, verbose=0),
    "a stream of dicts": lambda model: model.fit(
        tf.data.Dataset.from_tensor_slices((dict(FRAME), Y)).batch(4), verbose=0
    ),
    "predict": lambda model: model.predict(FRAME, verbose=0),
}
REFUSAL = r"No column may be called 'Intercept' beside the bias.*Received: the columns \['Intercept', 'age'\]"


@pytest.mark.parametrize("kind", [klr.LinearRegression, klr.ExactLinearRegression])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_column_of_that_name_is_refused_and_the_model_stays_unbuilt(kind, call):
    if kind is klr.ExactLinearRegression and call is CALLS["predict"]:
        pytest.skip("it must be fitted first")
    model = kind()
    with pytest.raises(ValueError, match=REFUSAL):
        call(model)
    assert not model.built and model.feature_names is None


@pytest.mark.parametrize("kind", [klr.LinearRegression, klr.ExactLinearRegression])
def test_a_name_of_the_users_is_refused_and_a_fitted_model_stays_as_it_is(kind):
    with pytest.raises(ValueError, match=REFUSAL):
        kind(feature_names=["Intercept", "age"]).fit(FRAME.to_numpy(), Y, verbose=0)
    model = kind()
    model.fit(FRAME.to_numpy() + AGE[:, None] ** 2, Y, verbose=0, batch_size=12)
    before = model.get_weights()
    with pytest.raises(ValueError, match=REFUSAL):
        model.fit(FRAME, Y, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert model.feature_names == ["x0", "x1"]


def test_moments_with_such_a_column_are_solved_without_a_bias_alone():
    moments = klr.Moments.from_data(FRAME, Y)
    for solve in (moments.solve, lambda: klr.ExactLinearRegression.from_moments(moments)):
        with pytest.raises(ValueError, match=REFUSAL):
            solve()
    with pytest.raises(ValueError, match=REFUSAL):
        klr.RegressionReport.from_moments(moments)
    with_bias = klr.RegressionReport.from_moments(moments.select(["age"]))
    without = klr.RegressionReport.from_moments(moments, use_bias=False)
    np.testing.assert_allclose(actual=without.bse, desired=with_bias.bse, rtol=1e-10)


def test_without_a_bias_it_is_a_name_like_any_other():
    model = klr.ExactLinearRegression(use_bias=False)
    model.fit(FRAME, Y, verbose=0)
    report = model.report()
    assert list(json.loads(report.to_json())["outputs"]["y"]["coefficients"]) == ["Intercept", "age"]
    exact = np.linalg.lstsq(FRAME.to_numpy(), Y, rcond=None)[0]
    test = report.t_test("Intercept = 0")
    np.testing.assert_allclose(actual=np.ravel(test.effect), desired=exact[:1], rtol=1e-10)
    tape = klr.LinearRegression(use_bias=False)
    tape.fit(FRAME, Y, verbose=0)
    assert tape.feature_names == ["Intercept", "age"]


def test_two_columns_of_one_name_in_the_design_are_refused_by_a_model_that_reports():
    space = keras.utils.FeatureSpace({"a": "string_categorical", "a_b": "float"})
    columns = {"a": np.array(["b", "c"] * 6, object), "a_b": AGE}
    space.adapt(tf.data.Dataset.from_tensor_slices(columns))
    with pytest.raises(ValueError, match=r"name of its own. Received: \['a_b'\]"):
        klr.ExactLinearRegression(preprocessor=space).fit(columns, Y, verbose=0)
