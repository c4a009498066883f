"""Clients of `tf.estimator.LinearRegressor` get the answers that they got: beside one of TensorFlow 2.15 itself."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rest
from exported_models import close, inputs_of, request_of, solve
from loader_process import ServingError, serve

import keras_linreg as klr
from keras_linreg.export import saved_model

ESTIMATOR = Path(__file__).parent / "reference" / "estimator_2_15"
RNG = np.random.default_rng(4)
ROWS = [{"age": 0.25, "bmi": -1.5}, {"age": -2.0, "bmi": 0.125}, {"age": 1e3, "bmi": 1e-3}]
AS_EXAMPLES = [rest.as_instance(row) for row in ROWS]
EXTRA = [{**row, "city": "Rome", "size": 3} for row in ROWS]
# The requests of old clients, by what they are: the method, and the body.
REQUESTS = {
    "Regress without a name": ("regress", {"examples": ROWS}),
    "Regress 'regression'": ("regress", {"signature_name": "regression", "examples": ROWS}),
    "Regress 'serving_default'": ("regress", {"signature_name": "serving_default", "examples": ROWS}),
    "Predict 'predict' with Examples": ("predict", {"signature_name": "predict", "instances": AS_EXAMPLES}),
    "Predict 'predict' by column": ("predict", {"signature_name": "predict", "inputs": {"examples": AS_EXAMPLES}}),
    "Predict without a name with Examples": ("predict", {"instances": AS_EXAMPLES}),
    "Predict without a name by column": ("predict", {"inputs": {"inputs": AS_EXAMPLES}}),
    "Predict 'regression' with Examples": ("predict", {"signature_name": "regression", "instances": AS_EXAMPLES}),
    "one Example": ("regress", {"examples": ROWS[:1]}),
    "features that no column has": ("regress", {"examples": EXTRA}),
    "and in Predict": ("predict", {"signature_name": "predict", "instances": [rest.as_instance(r) for r in EXTRA]}),
}
REFUSED = {
    "an Example without a feature": ("regress", {"examples": [ROWS[0], {"age": 1.0}]}),
    "a text for a number": ("regress", {"examples": [{"age": "old", "bmi": 1.0}]}),
    "two numbers for one": ("regress", {"examples": [{"age": [1.0, 2.0], "bmi": 1.0}]}),
    "Regress of a Predict signature": ("regress", {"signature_name": "predict", "examples": ROWS}),
    "a signature that is not there": ("predict", {"signature_name": "classification", "instances": AS_EXAMPLES}),
    "Predict by an unknown input": ("predict", {"signature_name": "predict", "inputs": {"rows": AS_EXAMPLES}}),
}


@pytest.fixture(scope="module")
def model():
    """The estimator's weights in a model of ours."""
    weights = json.loads((ESTIMATOR / "weights.json").read_text())
    model = klr.LinearRegression()
    model.predict(pd.DataFrame(ROWS), verbose=0)
    model.set_weights([np.array([*weights["kernel"].values()])[:, None], np.array([weights["bias"]])])
    return model


@pytest.fixture(scope="module")
def base(model, tmp_path_factory):
    base = tmp_path_factory.mktemp("models") / "house"
    klr.publish(model, base, warmup=pd.DataFrame(ROWS), signatures="estimator")
    return base


def asks(folder):
    return functools.partial(rest.ask, folder)


def same_json(actual, desired):
    """Assert that two answers have the same keys and shapes, and numbers up to float32's rounding."""
    assert actual.keys() == desired.keys()
    for key, values in desired.items():
        assert np.shape(actual[key]) == np.shape(values)
        close(np.array(actual[key]), np.array(values), 1e-5, 1e-5)


def check_the_table(ours, theirs):
    for case, (method, body) in REQUESTS.items():
        try:
            same_json(ours(method, body), theirs(method, body))
        except (AssertionError, ServingError) as error:
            raise AssertionError(f"{case}: {error}") from error
    for method, body in REFUSED.values():
        for one in (ours, theirs):
            with pytest.raises(ServingError):
                one(method, body)


def test_each_request_of_an_old_client_is_answered_as_by_the_estimator(base):
    check_the_table(asks(base / "1"), asks(ESTIMATOR))


@pytest.mark.skipif(rest.SERVER is None, reason="tensorflow_model_server is not on PATH")
def test_each_request_of_an_old_client_is_answered_as_by_the_estimator_over_rest(base, tmp_path):
    shutil.copytree(ESTIMATOR, tmp_path / "estimator" / "1")
    with rest.server(base) as ours, rest.server(tmp_path / "estimator") as theirs:
        check_the_table(ours, theirs)


def test_the_signatures_are_those_of_the_estimator_and_ours_beside_them(base):
    ours, theirs = (saved_model.signature_defs(folder) for folder in (base / "1", ESTIMATOR))
    assert set(ours) == {*theirs, "serve", "examples", "regress"}
    for key, signature in theirs.items():
        assert ours[key].method_name == signature.method_name
        for mine, its in ((ours[key].inputs, signature.inputs), (ours[key].outputs, signature.outputs)):
            assert {name: (info.dtype, info.tensor_shape) for name, info in mine.items()} == {
                name: (info.dtype, info.tensor_shape) for name, info in its.items()
            }


def test_without_the_estimators_signatures_its_clients_are_refused_as_before(model, tmp_path):
    model.export(tmp_path / "model", verbose=False)
    ours = asks(tmp_path / "model")
    for case in list(REQUESTS)[:8]:
        with pytest.raises(ServingError):
            ours(*REQUESTS[case])
    ours("regress", {"signature_name": "regress", "examples": ROWS})


def test_an_integer_in_an_example_counts_as_the_number_where_the_estimator_refused_it(base):
    rows = [{"age": 2, "bmi": -1.5}, {"age": 0.5, "bmi": 3}, {"age": 4, "bmi": -(2**40)}, {"age": 0.5, "bmi": 0.25}]
    as_floats = [{name: float(value) for name, value in row.items()} for row in rows]
    ours = asks(base / "1")
    same_json(ours("regress", {"examples": rows}), ours("regress", {"examples": as_floats}))
    with pytest.raises(ServingError, match="age"):
        rest.ask(ESTIMATOR, "regress", {"examples": rows})


def test_an_exact_model_serves_old_clients_and_intervals(tmp_path):
    frame = pd.DataFrame(RNG.normal(size=(50, 3)), columns=["fixed acidity", "examples", "c"])
    exact = solve(frame, frame.sum(axis=1) + RNG.normal(size=50))
    exact.export(tmp_path / "model", signatures="estimator", verbose=False)
    request, expected = request_of(exact, frame), exact.predict(frame, verbose=0)
    examples = inputs_of(request, "regress")
    for key in ("serving_default", "regression"):
        close(serve(tmp_path / "model", key, examples)["outputs"], expected, 1e-5)
    close(serve(tmp_path / "model", "predict", inputs_of(request, "examples"))["predictions"], expected, 1e-5)
    close(serve(tmp_path / "model", "serve", request)["output_0"], expected, 1e-5)
    limits = serve(tmp_path / "model", "predict_interval", request)
    close(limits["mean_se"], exact.predict_interval(frame)["mean_se"], 1e-5)


def test_of_several_outputs_old_clients_predict(tmp_path):
    x = RNG.normal(size=(50, 2))
    model = solve(x, np.stack([x[:, 0], x[:, 1] ** 2], 1), units=2)
    version = klr.publish(model, tmp_path, warmup=x, signatures="estimator")
    signatures = saved_model.signature_defs(version)
    assert not {"regression", "regress"} & set(signatures)
    examples = inputs_of({"features": x.astype("float32")}, "examples")
    for key in ("serving_default", "predict"):
        close(serve(version, key, examples)["predictions"], model.predict(x, verbose=0), 1e-5)


@pytest.mark.parametrize("signatures", ["tensorflow", None, 3, ["estimator"], ""])
def test_signatures_that_there_are_not_are_refused(model, tmp_path, signatures):
    with pytest.raises(ValueError, match="`signatures` must be one of 'keras', 'estimator'. Received: "):
        model.export(tmp_path / "model", signatures=signatures)
    if signatures is not None:
        with pytest.raises(ValueError, match="`signatures` must be one of"):
            klr.publish(model, tmp_path / "base", signatures=signatures)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_published_with_the_signatures_that_it_has(base, tmp_path):
    folder = base / "1"
    assert klr.publish(folder, tmp_path / "a", signatures="estimator", warmup=pd.DataFrame(ROWS)).name == "1"
    with pytest.raises(ValueError, match="`signatures` of a folder are those .* 'estimator'.*Received.*'keras'"):
        klr.publish(folder, tmp_path / "b", signatures="keras")
    with pytest.raises(ValueError, match="`defaults` of a folder are those that it was exported with"):
        klr.publish(folder, tmp_path / "b", defaults={"age": 0.0})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
