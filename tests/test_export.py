"""What is exported is served: the same predictions without Python, under the columns' own names."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cpp_loader import ServingError, describe, serve

import keras_linreg as klr
from keras_linreg.export import safe_names

RNG = np.random.default_rng(8)


def trained(x, y, **arguments):
    model = klr.LinearRegression(**arguments)
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    model.fit(x, y, epochs=2, verbose=0)
    return model


AWKWARD = [
    "fixed acidity",
    "größe",
    "self",
    "Age",
    "age",
    "a b",
    "a_b",
    "1st",
    "column_0",
    "",
    "level",
    "inputs",
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, penguins, penguin_space):
    """For each kind of model: the folder, the request of its rows, the model and its data."""
    matrix = RNG.normal(size=(60, 4))
    target = matrix.sum(axis=1)
    named = pd.DataFrame(matrix, columns=["b", "a", "d", "c"])
    awkward = pd.DataFrame(RNG.normal(size=(60, len(AWKWARD))), columns=AWKWARD)
    normalization = keras.layers.Normalization()
    normalization.adapt(matrix)
    cases = {
        "matrix": (matrix, target, {}),
        "one feature": (matrix[:, 0], target, {}),
        "frame": (named, target, {}),
        "two outputs": (named, np.stack([target, -target], 1), {"units": 2}),
        "awkward names": (awkward, target, {}),
        "bfloat16": (matrix, target, {"dtype": "mixed_bfloat16"}),
        "float64": (named, target, {"dtype": "float64"}),
        "Normalization of a matrix": (matrix, target, {"preprocessor": normalization}),
        "Normalization of a frame": (named, target, {"preprocessor": normalization}),
        "FeatureSpace": (*penguins, {"preprocessor": penguin_space}),
    }
    out = {}
    for kind, (x, y, arguments) in cases.items():
        model = trained(x, y, **arguments)
        folder = tmp_path_factory.mktemp("export") / "model"
        model.export(folder, verbose=False)
        out[kind] = folder, request_of(model, x), model, x
    return out


def request_of(model, x):
    if not model.schema.named:
        return {"features": np.asarray(x, "float32").reshape(len(x), -1)}
    kinds = {"float32": np.float32, "int64": np.int64, "string": str}
    return {c.name: x[c.name].to_numpy().astype(kinds[c.dtype]) for c in model.schema.inputs}


KINDS = [
    "matrix",
    "one feature",
    "frame",
    "two outputs",
    "awkward names",
    "bfloat16",
    "float64",
    "Normalization of a matrix",
    "Normalization of a frame",
    "FeatureSpace",
]


@pytest.mark.parametrize("rows", [1, 60])
@pytest.mark.parametrize("kind", KINDS)
def test_the_servers_loader_gives_what_predict_gives(exported, kind, rows):
    folder, request, model, x = exported[kind]
    found = serve(folder, "serving_default", {name: values[:rows] for name, values in request.items()})
    assert list(found) == ["predictions"]
    assert found["predictions"].dtype == np.float32
    expected = model.predict(x[:rows], verbose=0)
    tolerance = 1e-2 if kind == "bfloat16" else 2e-6
    np.testing.assert_allclose(found["predictions"], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_loads_it_with_the_users_own_names(exported, kind):
    folder, request, model, x = exported[kind]
    loaded = tf.saved_model.load(str(folder))
    tensors = {name: tf.constant(values) for name, values in request.items()}
    found = loaded.serve(tensors if model.schema.named else tensors["features"])["predictions"]
    tolerance = 1e-2 if kind == "bfloat16" else 2e-6
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=tolerance, atol=tolerance)


def test_keras_own_layer_for_saved_models_loads_it(exported):
    folder, request, model, x = exported["matrix"]
    layer = keras.layers.TFSMLayer(folder)
    np.testing.assert_allclose(layer(request["features"])["predictions"], model.predict(x, verbose=0), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_signature_is_the_contract(exported, kind):
    folder, _, model, _ = exported[kind]
    signature = describe(folder)["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert set(signature["inputs"]) == set(model.schema.names)
    for column in model.schema.inputs:
        taken = signature["inputs"][column.name]
        assert (taken["dtype"], list(taken["shape"])) == (column.dtype, [-1, *column.shape])
    output = signature["outputs"]["predictions"]
    assert (output["dtype"], list(output["shape"])) == ("float32", [-1, model.units])


def test_strings_and_integers_are_served_as_they_are(exported):
    inputs = describe(exported["FeatureSpace"][0])["serving_default"]["inputs"]
    assert {name: spec["dtype"] for name, spec in inputs.items()} == {
        "bill": "float32",
        "site": "int64",
        "species": "string",
    }


def test_a_string_that_was_never_seen_is_the_unknown_category(exported):
    folder, request, model, x = exported["FeatureSpace"]
    request = {**request, "species": np.array(["Emperor"] * len(x))}
    expected = model.predict(x.assign(species="Emperor"), verbose=0)
    found = serve(folder, "serving_default", request)["predictions"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda request: {k: v for k, v in request.items() if k != "a"},
        lambda request: {**request, "z": request["a"]},
        lambda request: {**request, "a": request["a"].astype("float64")},
    ],
    ids=["missing", "extra", "another dtype"],
)
def test_a_bad_request_is_refused(exported, change):
    folder, request, _, _ = exported["frame"]
    with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
        serve(folder, "serving_default", change(request))


def test_a_matrix_of_another_width_is_refused(exported):
    folder, request, _, _ = exported["matrix"]
    with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
        serve(folder, "serving_default", {"features": request["features"][:, :3]})


def test_nan_gives_nan_in_its_own_row_alone(exported):
    folder, request, _, _ = exported["frame"]
    spoiled = {**request, "a": request["a"].copy()}
    spoiled["a"][7] = np.nan
    found = serve(folder, "serving_default", spoiled)["predictions"]
    assert np.flatnonzero(np.isnan(found)).tolist() == [7]


def test_an_export_over_another_replaces_it(exported, tmp_path):
    _, _, first, _ = exported["matrix"]
    _, request, second, x = exported["frame"]
    first.export(tmp_path / "model", verbose=False)
    second.export(tmp_path / "model", verbose=False)
    found = serve(tmp_path / "model", "serving_default", request)["predictions"]
    np.testing.assert_allclose(found, second.predict(x, verbose=0), rtol=1e-5)


def test_a_loaded_model_is_exported_too(exported, tmp_path):
    _, request, model, x = exported["FeatureSpace"]
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras").export(tmp_path / "model", verbose=False)
    found = serve(tmp_path / "model", "serving_default", request)["predictions"]
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_export_says_what_it_takes(exported, tmp_path, capsys):
    exported["FeatureSpace"][2].export(tmp_path / "model")
    said = capsys.readouterr().out
    assert "bill: float32 [batch], site: int64 [batch], species: string [batch]" in said
    assert "predictions: float32 [batch, 1]" in said


def test_an_unbuilt_model_is_not_exported(tmp_path):
    with pytest.raises(ValueError, match="must be built before it is exported"):
        klr.LinearRegression().export(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_signature_of_ones_own_is_an_error(exported, tmp_path):
    with pytest.raises(ValueError, match="`input_signature`"):
        exported["matrix"][2].export(tmp_path / "model", input_signature=[tf.TensorSpec((None, 4))])


@pytest.mark.parametrize(
    "names", [("a", "b"), tuple(AWKWARD), ("column_0", "größe"), ("COLUMN_1", "é", "ü"), ("x", "X")]
)
def test_safe_names_are_what_tensorflow_takes_and_stay_apart(names):
    safe = safe_names(names)
    assert list(safe) == list(names)
    folded = [name.lower() for name in safe.values()]
    assert len(set(folded)) == len(names)
    assert all(name.isidentifier() and name.isascii() and name != "self" for name in safe.values())
