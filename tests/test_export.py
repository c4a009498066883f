"""What is exported is served: predictions and intervals without Python, under the columns' own names."""

import json
import keyword

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cases import quick_and_heavy
from exported_models import AWKWARD_NAMES, FLOAT64_INPUT, KINDS, LEVELS, WITH_INTERVALS, N, close, solve
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_process import ServingError, serve
from tensorflow.core.protobuf import saved_model_pb2

import keras_linreg as klr
from keras_linreg.export.inputs import argument_names
from keras_linreg.inference.intervals import KEYS
from keras_linreg.utils.keras_compat import is_internal_signature

RNG = np.random.default_rng(8)


@pytest.mark.parametrize(
    "kind",
    quick_and_heavy(
        KINDS,
        "matrix",
        "frame",
        "FeatureSpace",
        "exact, off centre",
        "exact, awkward names",
        "exact, FeatureSpace",
        "two outputs",
        "exact, min_norm",
    ),
)
def test_the_servers_loader_predicts_what_predict_gives(exported, kind):
    _, _, model, x = exported[kind]
    tolerance = 1e-2 if kind == "bfloat16" else 2e-6
    example_tolerance = 200.0 if kind == FLOAT64_INPUT else tolerance  # a tf.Example holds float32
    for size in (1, len(x)):
        expected = model.predict(x[:size], verbose=0)
        answer = exported.answer(kind, "serving_default", size)
        assert list(answer) == ["predictions"]
        assert answer["predictions"].dtype == np.float32
        close(answer["predictions"], expected, tolerance, tolerance)
        examples = exported.answer(kind, "examples", size)["predictions"]
        close(examples, expected, example_tolerance, example_tolerance)
        if model.units == 1:
            outputs = exported.answer(kind, "regress", size)["outputs"]
            assert outputs.shape == (size,)
            close(outputs, expected[:, 0], example_tolerance, example_tolerance)


@pytest.mark.parametrize("kind", WITH_INTERVALS)
def test_the_servers_loader_gives_the_intervals_of_predict_interval(exported, kind):
    _, _, model, x = exported[kind]
    at_level = {level: model.predict_interval(x, level) for level in set(LEVELS[: len(x)])}
    at_each_level = {
        key: np.stack([np.asarray(at_level[level][key])[i] for i, level in enumerate(LEVELS[: len(x)])]) for key in KEYS
    }
    scale = np.abs(at_each_level["mean"]).max()
    for signature, expected in (("predict_interval", at_level[0.95]), ("predict_interval_at", at_each_level)):
        for size in (1, len(x)):
            answer = exported.answer(kind, signature, size)
            assert set(answer) == {*KEYS, "extrapolates"}
            for key in KEYS:
                assert answer[key].dtype == np.float32
                atol = 1e-6 * scale if "ci" in key or key == "mean" else 0
                close(answer[key], np.asarray(expected[key])[:size], 5e-6, atol, f"{signature}: {key}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_signatures_are_the_contract(exported, kind):
    folder, _, model, _ = exported[kind]
    (graph,) = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    assert "serve" in graph.meta_info_def.tags
    signatures = graph.signature_def
    columns = {c.name: (c.dtype, [-1, *c.shape]) for c in model.schema.inputs}
    if kind == FLOAT64_INPUT:
        columns = {name: ("float64", shape) for name, (_, shape) in columns.items()}
    by_row = [-1] if model.units == 1 else [-1, model.units]
    interval = {key: ("float32", [-1] if key == "leverage" else by_row) for key in KEYS}
    interval["extrapolates"] = "bool", [-1]
    predictions = {"predictions": ("float32", [-1, model.units])}
    expected = {
        "serving_default": (columns, predictions),
        "serve": (columns, {"output_0": ("float32", [-1, model.units])}),
        "examples": ({"examples": ("string", [-1])}, predictions),
    }
    if model.units == 1:
        expected["regress"] = {"inputs": ("string", [-1])}, {"outputs": ("float32", [-1])}
    if kind in WITH_INTERVALS:
        expected["predict_interval"] = columns, interval
        expected["predict_interval_at"] = {**columns, "level": ("float64", [-1])}, interval
    if kind in [*WITH_INTERVALS, "penalised"]:
        by_group = [-1, len(json.loads((folder / "keras_linreg.json").read_text())["groups"]), *by_row[1:]]
        explained = {**predictions, "contributions": ("float32", by_group), "baseline": ("float32", by_row)}
        errors = {} if kind == "penalised" else {"contribution_se": ("float32", by_group)}
        expected["explain"] = columns, {**explained, **errors}
    assert {key for key in signatures if not is_internal_signature(key)} == set(expected)
    for key, sides in expected.items():
        method = "regress" if key == "regress" else "predict"
        assert signatures[key].method_name == f"tensorflow/serving/{method}"
        for infos, side in zip((signatures[key].inputs, signatures[key].outputs), sides, strict=True):
            tensors = {
                name: (tf.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim])
                for name, info in infos.items()
            }
            assert tensors == side, key


@pytest.mark.parametrize(
    "kind",
    [
        *("matrix", "one feature", "frame", "awkward names", "bfloat16", "float64", "Normalization of a frame"),
        *("FeatureSpace", "exact, matrix", "exact, awkward names", "exact, two outputs", FLOAT64_INPUT),
    ],
)
def test_tensorflow_loads_it_with_the_users_own_names(exported, kind):
    folder, request, model, x = exported[kind]
    loaded = tf.saved_model.load(str(folder))
    tensors = {name: tf.constant(values) for name, values in request.items()}
    rows = tensors if model.schema.named else tensors["features"]
    tolerance = 1e-2 if kind == "bfloat16" else 2e-6
    for answer in (loaded.serve(rows), loaded.serving_default(rows)["predictions"]):
        close(answer, model.predict(x, verbose=0), tolerance, tolerance)


def test_keras_own_layer_for_saved_models_loads_it(exported):
    folder, request, model, x = exported["matrix"]
    layer = keras.layers.TFSMLayer(folder)
    close(layer(request["features"]), model.predict(x, verbose=0), 1e-5)


def test_the_graph_computes_in_float64_if_float32_would_lose_digits(exported):
    _, request, model, _ = exported["exact, years"]
    rows = request["features"].astype(np.float64)
    expected = model.predict(rows, verbose=0)
    close(exported.answer("exact, years", "serving_default")["predictions"], expected, 1e-7, 1e-7)
    in_float32 = rows.astype("f4") @ model.kernel.numpy().astype("f4") + model.bias.numpy().astype("f4")
    assert np.abs(in_float32 - expected).max() > 1e-4


@pytest.mark.parametrize(("unit", "target"), [(1e30, 1e-21), (1e-32, 1e5), (1e37, 1.0)])
def test_units_far_from_one_are_served_right(tmp_path, unit, target):
    x = RNG.normal(size=(N, 3)) * unit
    y = (x @ [1.0, -2.0, 3.0] / unit + RNG.normal(size=N)) * target
    model = solve(x, y)
    model.export(tmp_path / "model", verbose=False)
    request, expected = {"features": x.astype("float32")}, model.predict_interval(x)
    predictions = serve(tmp_path / "model", "serving_default", request)["predictions"]
    close(predictions[:, 0], expected["mean"], 1e-5, 1e-6 * target)
    limits = serve(tmp_path / "model", "predict_interval", request)
    for key in ("mean", "mean_se", "obs_ci_upper", "leverage"):
        close(limits[key], expected[key], 1e-5, 1e-6 * target if key != "leverage" else 0)


def test_means_much_larger_than_coordinates_do_not_change_the_leverage(tmp_path):
    x = 5 + 1e-6 * RNG.normal(size=(N, 1))
    model = solve(x, 3 * x[:, 0] + RNG.normal(size=N), weights=np.full(N, 1e24), use_bias=False)
    with pytest.warns(UserWarning, match="A tf.Example holds float32 alone"):
        model.export(tmp_path / "model", verbose=False, input_dtype="float64")
    answer, expected = serve(tmp_path / "model", "predict_interval", {"features": x}), model.predict_interval(x)
    for key in ("mean", "mean_se", "leverage"):
        close(answer[key], expected[key], 1e-6, 0)


def test_the_level_of_predict_interval_is_fixed_at_export(exported, tmp_path):
    _, request, model, x = exported["exact, matrix"]
    model.export(tmp_path / "model", verbose=False, level=0.5)
    answer = serve(tmp_path / "model", "predict_interval", request)
    close(answer["obs_ci_lower"], model.predict_interval(x, 0.5)["obs_ci_lower"], 1e-5)


@pytest.mark.parametrize("kind", WITH_INTERVALS)
def test_a_row_extrapolates_if_its_leverage_is_above_the_threshold_of_the_manifest(exported, kind):
    folder, _, model, _ = exported[kind]
    threshold = json.loads((folder / "keras_linreg.json").read_text())["training"]["leverage_threshold"]
    close(threshold, 3 * model.solution.rank / len(exported[kind].x))
    for signature in ("predict_interval", "predict_interval_at"):
        answer = exported.answer(kind, signature)
        assert answer["extrapolates"].tolist() == (answer["leverage"] > np.float32(threshold)).tolist()


def test_the_threshold_is_that_of_export_and_a_leverage_that_is_unknown_is_above_it(exported, tmp_path):
    _, request, model, x = exported["exact, dependent"]
    model.export(tmp_path / "model", verbose=False, leverage_threshold=0.05)
    assert klr.verify(tmp_path / "model")["training"]["leverage_threshold"] == 0.05
    broken = {**request, "sum": request["sum"].copy(), "a": request["a"].copy()}
    broken["sum"][3] += 1  # the columns do not depend on each other as in training
    broken["a"][4] = np.nan
    answer = serve(tmp_path / "model", "predict_interval", broken)
    expected = (model.predict_interval(x)["leverage"] > 0.05).to_numpy().copy()
    assert 5 < expected.sum() < N - 5
    expected[[3, 4]] = True
    assert answer["extrapolates"].tolist() == expected.tolist()


@pytest.mark.parametrize("threshold", [0, -0.1, float("nan"), "0.1", True, [0.1]])
def test_a_threshold_that_no_leverage_can_be_above_is_refused(exported, tmp_path, threshold):
    with pytest.raises(ValueError, match="`leverage_threshold` must be a positive number or None. Received: "):
        exported["exact, matrix"].model.export(tmp_path / "model", leverage_threshold=threshold)
    assert not (tmp_path / "model").exists()


# Names of columns


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from([*AWKWARD_NAMES, "level", "LEVEL", "x", "X", "COLUMN_1", "is"]) | st.text(), unique=True)
)
def test_the_names_of_arguments_are_those_that_tensorflow_takes_and_differ(columns):
    arguments = argument_names(tuple(columns))
    assert list(arguments) == columns
    names = list(arguments.values())
    assert len({name.lower() for name in names}) == len(names)
    for column, name in arguments.items():
        assert name.isidentifier() and name.isascii() and not name.startswith("_")
        assert name != "self" and not keyword.iskeyword(name)
        assert name.lower() != "level" or column == "level"


@pytest.mark.parametrize("columns", [("age", "size_2"), ("Level", "z"), ("level", "z")])
def test_a_column_that_tensorflow_takes_keeps_its_name(columns):
    kept = [name for name in columns if argument_names(columns)[name] == name]
    assert kept == [name for name in columns if name != "Level"]


def test_a_column_called_level_in_other_letters_is_served(tmp_path):
    x = pd.DataFrame({"Level": RNG.normal(size=N), "z": RNG.normal(size=N)})
    model = solve(x, x["z"] + RNG.normal(size=N))
    model.export(tmp_path / "model", verbose=False)
    request = {name: x[name].to_numpy("float32") for name in x}
    answer = serve(tmp_path / "model", "predict_interval_at", {**request, "level": np.full(N, 0.9)})
    close(answer["mean_ci_lower"], model.predict_interval(x, 0.9)["mean_ci_lower"], 1e-5)


def test_a_column_called_level_leaves_out_the_signature_with_an_input_level(tmp_path):
    x = pd.DataFrame({"level": RNG.normal(size=N), "b": RNG.normal(size=N)})
    model = solve(x, x["b"] + RNG.normal(size=N))
    with pytest.warns(UserWarning, match="predict_interval_at is left out: its input 'level' would collide"):
        model.export(tmp_path / "model", verbose=False)
    request = {name: x[name].to_numpy("float32") for name in x}
    close(serve(tmp_path / "model", "predict_interval", request)["mean_se"], model.predict_interval(x)["mean_se"])
    with pytest.raises(ServingError, match="predict_interval_at"):
        serve(tmp_path / "model", "predict_interval_at", request)


# Other ways to the model


def test_a_loaded_model_is_exported_too(exported, tmp_path):
    for kind in ("FeatureSpace", "exact, FeatureSpace"):
        _, request, model, x = exported[kind]
        model.save(tmp_path / "model.keras")
        keras.models.load_model(tmp_path / "model.keras").export(tmp_path / kind, verbose=False)
        answer = serve(tmp_path / kind, "serving_default", request)["predictions"]
        close(answer, model.predict(x, verbose=0), 1e-5)


def test_a_model_of_moments_is_exported_with_its_intervals(exported, tmp_path):
    _, request, model, x = exported["exact, frame"]
    klr.ExactLinearRegression.from_moments(model.moments).export(tmp_path / "model", verbose=False)
    answer = serve(tmp_path / "model", "predict_interval", request)
    close(answer["mean_ci_upper"], model.predict_interval(x)["mean_ci_upper"], 1e-5)


def test_weights_that_were_set_are_exported_without_intervals(exported, tmp_path):
    _, request, model, _ = exported["exact, matrix"]
    other = klr.ExactLinearRegression.from_moments(model.moments)
    other.set_weights([np.ones((4, 1)), np.zeros(1)])
    other.export(tmp_path / "model", verbose=False)
    answer = serve(tmp_path / "model", "serving_default", request)["predictions"]
    close(answer[:, 0], request["features"].sum(axis=1), 1e-5)
    with pytest.raises(ServingError, match="predict_interval"):
        serve(tmp_path / "model", "predict_interval", request)


# What export says


def test_export_warns_of_columns_that_float32_would_spoil(exported, tmp_path):
    with pytest.warns(UserWarning, match="the numbers of a lie more than 0.001 of their standard"):
        exported[FLOAT64_INPUT].model.export(tmp_path / "model", verbose=False)


def test_a_fit_of_float32_data_does_not_warn(tmp_path):
    x = (RNG.normal(size=(N, 1)) + 1e5).astype("float32")
    solve(x, x[:, 0]).export(tmp_path / "model", verbose=False)


def test_the_json_beside_the_model_describes_it(exported):
    folder, _, model, x = exported["exact, frame"]
    manifest = json.loads((folder / "keras_linreg.json").read_text())
    assert [c["name"] for c in manifest["columns"]] == model.feature_names == list(x.columns)
    assert (manifest["units"], manifest["level"], manifest["model"]) == (1, 0.95, "ExactLinearRegression")
    training = manifest["training"]
    assert (training["rows"], training["df_resid"], training["rank"]) == (N, N - 5, 5)
    close(training["leverage_threshold"], 15 / N)
    close([c["mean"] for c in training["features"]], x.mean(), 1e-12)
    close([c["standard_deviation"] for c in training["features"]], x.std(ddof=0), 1e-12)
    close(training["residual_standard_error"], np.sqrt(model.report().scale), 1e-12)
    assert json.loads((exported["matrix"].folder / "keras_linreg.json").read_text())["training"] is None


def test_the_json_beside_a_model_without_residual_degrees_of_freedom_is_json(tmp_path):
    solve([0.0, 1.0], [1.0, 3.0]).export(tmp_path / "model", verbose=False)
    text = (tmp_path / "model" / "keras_linreg.json").read_text()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    manifest = json.loads(text, parse_constant=refuse)
    assert manifest["training"].get("residual_standard_error") in (None, [None])


def test_export_prints_its_inputs_and_outputs(exported, tmp_path, capsys):
    exported["exact, FeatureSpace"].model.export(tmp_path / "model")
    printed = capsys.readouterr().out
    assert "serving_default(bill: float32 [batch], site: int64 [batch], species: string [batch])" in printed
    assert "predictions: float32 [batch, 1]" in printed
    assert "predict_interval(as serving_default) -> mean, mean_se," in printed and "at level 0.95" in printed
    assert "leverage: float32 [batch], extrapolates: bool [batch]" in printed
    assert "predict_interval_at(as serving_default, level: float64 [batch])" in printed
    assert "regress(inputs: string [batch]) -> outputs: float32 [batch]" in printed
