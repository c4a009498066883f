"""Warm-up requests: each signature runs them, and they hold the rows that `predict` takes."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy
from exported_models import solve
from loader_process import ask
from tensorflow_serving.apis import prediction_log_pb2

import keras_linreg as klr
from keras_linreg.export import saved_model

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3))
Y = X.sum(axis=1) + RNG.normal(size=40)
FRAME = pd.DataFrame(X, columns=["age", "fixed acidity", "c"])


@pytest.fixture(scope="module")
def models(exported):
    return {
        "matrix": solve(X, Y),
        "frame": solve(FRAME, Y),
        "feature_names": solve(X, Y, feature_names=list(FRAME.columns)),
        "two outputs": solve(X, np.stack([Y, -Y], 1), units=2),
        "FeatureSpace": exported["FeatureSpace"].model,
    }


@pytest.fixture(scope="module")
def folders(models, exported, tmp_path_factory):
    """The folder that `export` of each model wrote."""
    base = tmp_path_factory.mktemp("warmup")
    paths = {kind: base / kind.replace(" ", "_") for kind in models if kind != "FeatureSpace"}
    for kind, path in paths.items():
        models[kind].export(path, verbose=False)
    return {**paths, "FeatureSpace": exported["FeatureSpace"].folder}


@pytest.fixture(scope="module")
def rows(penguins):
    return {"matrix": X, "frame": FRAME, "two outputs": X, "FeatureSpace": penguins[0]}


def records_of(path):
    data = tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests"))
    return [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in data]


@pytest.mark.parametrize(
    "kind", quick_and_heavy(["matrix", "frame", "two outputs", "FeatureSpace"], "frame", "FeatureSpace")
)
def test_each_signature_is_warmed_up_by_one_row_and_by_all(models, folders, rows, tmp_path, kind):
    model, x = models[kind], rows[kind]
    path = klr.publish(folders[kind], tmp_path / "house", warmup=x)
    signatures = saved_model.signature_defs(path)
    requests, sizes = [], []
    for record in records_of(path):
        is_regress = record.WhichOneof("log_type") == "regress_log"
        request = (record.regress_log if is_regress else record.predict_log).request
        key = request.model_spec.signature_name
        assert (request.model_spec.name, is_regress) == ("house", key == "regress")
        if is_regress:
            examples = [e.SerializeToString() for e in request.input.example_list.examples]
            inputs = {"inputs": np.array(examples, object)}
        else:
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        assert set(inputs) == set(signatures[key].inputs)
        for name, info in signatures[key].inputs.items():
            if not is_regress:
                assert request.inputs[name].dtype == info.dtype
        requests.append((path, key, inputs))
        sizes.append((key, len(next(iter(inputs.values())))))
    expected = [(key, size) for key in signatures for size in (1, len(x))]
    assert sorted(sizes) == sorted(one for one in expected if one != ("serve", len(x)))
    for (_, key, _), (_, size), answer in zip(requests, sizes, ask(requests), strict=True):
        if key in ("serving_default", "examples"):
            np.testing.assert_allclose(answer["predictions"], model.predict(x[:size], verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "warmup"),
    [
        ("matrix", X.tolist()),
        ("matrix", scipy.sparse.csr_array(X)),
        ("matrix", tf.sparse.from_dense(X)),
        ("matrix", FRAME.set_axis(["x0", "x1", "x2"], axis=1)),
        ("frame", X),
        ("frame", tf.constant(X)),
        ("frame", scipy.sparse.csr_array(X)),
        ("frame", FRAME[["c", "age", "fixed acidity"]]),
        ("feature_names", FRAME[["c", "age", "fixed acidity"]]),
        ("feature_names", X),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_requests_hold_the_rows_that_predict_takes_in_any_container(folders, tmp_path, kind, warmup):
    path = klr.publish(folders[kind], tmp_path / "house", warmup=warmup)
    (request,) = (
        r.predict_log.request
        for r in records_of(path)
        if r.predict_log.request.model_spec.signature_name == "serving_default"
        and next(iter(r.predict_log.request.inputs.values())).tensor_shape.dim[0].size == len(X)
    )
    sent = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    rows = sent["features"] if kind != "frame" else np.stack([sent[name] for name in FRAME.columns], axis=1)
    np.testing.assert_allclose(rows, X, rtol=1e-6)


def test_codes_of_a_category_warm_up_a_model_that_takes_them_as_text(tmp_path):
    space = keras.utils.FeatureSpace({"code": "string_categorical"}, output_mode="concat")
    code = np.array([3, 7, 3, 9, 7, 9] * 4)
    space.adapt(tf.data.Dataset.from_tensor_slices({"code": code.astype(str)}))
    with pytest.warns(UserWarning, match="depend on the bias"):
        model = klr.ExactLinearRegression(preprocessor=space)
        model.fit({"code": code}, np.arange(24.0), verbose=0)
    klr.publish(model, tmp_path / "house", warmup={"code": code})
    assert [path.name for path in (tmp_path / "house").iterdir()] == ["1"]


def test_a_warm_up_file_is_within_the_limits_of_a_server(folders, tmp_path):
    path = klr.publish(folders["matrix"], tmp_path, warmup=np.resize(X, (5000, 3)))
    records = records_of(path)
    assert len(records) <= 1000
    inputs = [r.predict_log.request.inputs for r in records if "features" in r.predict_log.request.inputs]
    assert max(tensors["features"].tensor_shape.dim[0].size for tensors in inputs) == 1000


@pytest.mark.parametrize(
    ("kind", "warmup", "message"),
    [
        (
            "matrix",
            X[:, :2],
            r"`warmup` must hold rows that `predict` takes: .*the 3 columns.*Received: shape \(40, 2\)",
        ),
        ("matrix", X[:0], "`warmup` must hold at least one row"),
        ("matrix", "rows", "warmup"),
        ("matrix", tf.data.Dataset.from_tensors(X), "`warmup` must hold rows in memory.*Dataset"),
        ("matrix", [["a", "b", "c"]], "warmup"),
        ("frame", X[:, :2], r"`warmup` must hold rows that `predict` takes: .*\['age', 'fixed acidity', 'c'\]"),
        ("matrix", 3.0, "`warmup` must hold rows that `predict` takes: .*a scalar"),
        ("frame", 3.0, "`warmup` must hold rows that `predict` takes: .*a scalar"),
        ("frame", {"age": 1.0, "fixed acidity": 2.0, "c": 3.0}, "'age' of `x` must have a value for each row"),
        (
            "frame",
            {"age": X[:, :2], "fixed acidity": X[:, 1], "c": X[:, 2]},
            r"`warmup` must hold rows of shape \(\) for 'age'. Received: shape \(40, 2\)",
        ),
        ("feature_names", FRAME.rename(columns={"c": "d"}), r"missing: \['c'\]"),
        ("frame", FRAME[["age", "c"]], "fixed acidity"),
        (
            "frame",
            {"age": X[:, 0], "fixed acidity": X[:, 1], "c": X[:5, 2]},
            "`warmup` must hold rows that `predict` takes: .*the same number of rows",
        ),
    ],
)
def test_rows_that_a_signature_does_not_take_are_refused(folders, tmp_path, kind, warmup, message):
    base = tmp_path / "base"
    with pytest.raises(ValueError, match=message):
        klr.publish(folders[kind], base, warmup=warmup)
    assert not base.exists()


@pytest.mark.parametrize("name", ["examples", "inputs"])
def test_a_column_with_the_name_of_an_input_of_examples_is_warmed_up(name, tmp_path):
    frame = pd.DataFrame({name: X[:, 0]})
    version = klr.publish(solve(frame, Y), tmp_path, warmup=frame)
    assert {record.predict_log.request.model_spec.signature_name for record in records_of(version)} >= {"examples"}
