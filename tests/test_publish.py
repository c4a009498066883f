"""What is published is a version that a server can load: complete, warmed up, or not there at all."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from cpp_loader import ask, serve
from tensorflow_serving.apis import prediction_log_pb2

import keras_linreg as klr
from keras_linreg.export import manifest, saved_model

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3))
Y = X.sum(axis=1) + RNG.normal(size=40)
FRAME = pd.DataFrame(X, columns=["age", "fixed acidity", "c"])


def solved(x, y=Y, **arguments):
    model = klr.ExactLinearRegression(**arguments)
    model.fit(x, y, verbose=0)
    return model


@pytest.fixture(scope="module")
def models(penguins, penguin_space):
    tape = klr.LinearRegression(preprocessor=penguin_space)
    tape.compile()
    tape.fit(*penguins, verbose=0)
    return {"matrix": solved(X), "frame": solved(FRAME), "two outputs": solved(X, np.stack([Y, -Y], 1), units=2)} | {
        "feature_names": solved(X, feature_names=list(FRAME.columns)),
        "FeatureSpace": tape,
    }


@pytest.fixture(scope="module")
def rows(penguins):
    return {"matrix": X, "frame": FRAME, "two outputs": X, "FeatureSpace": penguins[0]}


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    """The folder that `export` of the model of a matrix wrote."""
    path = tmp_path_factory.mktemp("exported") / "model"
    models["matrix"].export(path, verbose=False)
    return path


def names(base):
    return sorted(path.name for path in Path(base).iterdir())


def test_versions_are_counted_and_each_is_served(models, folder, tmp_path):
    base = tmp_path / "models" / "house"
    assert klr.publish(models["matrix"], base) == base / "1"
    assert klr.publish(str(folder), str(base)) == base / "2"
    (base / "notes.txt").write_text("mine")
    (base / "010").mkdir()  # a server reads 10
    assert klr.publish(folder, base) == base / "11"
    assert names(base) == ["010", "1", "11", "2", "notes.txt"]
    request = {"features": X.astype("float32")}
    for answer in ask([(base / name, "serving_default", request) for name in ("1", "2", "11")]):
        np.testing.assert_allclose(answer["predictions"], models["matrix"].predict(X, verbose=0), rtol=1e-5)


def test_the_json_of_a_version_holds_its_number_and_a_hash_of_its_files(models, tmp_path):
    path = klr.publish(models["frame"], tmp_path / "house", warmup=FRAME[:3])
    facts = json.loads((path / "keras_linreg.json").read_text())
    assert facts["version"] == 1
    assert [c["name"] for c in facts["columns"]] == list(FRAME.columns)
    assert facts["hash"] == manifest.hash_files(path)
    with (path / "saved_model.pb").open("ab") as file:
        file.write(b" ")
    assert facts["hash"] != manifest.hash_files(path)


def test_a_version_can_be_read_by_whoever_may_read_its_folder(models, tmp_path):
    path = klr.publish(models["matrix"], tmp_path / "house")
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize(
    ("keep", "left"), [(None, ["1", "2", "3", "4"]), (1, ["4"]), (2, ["3", "4"]), (9, ["1", "2", "3", "4"])]
)
def test_keep_removes_the_oldest_versions(folder, tmp_path, keep, left):
    for _ in range(3):
        klr.publish(folder, tmp_path)
    klr.publish(folder, tmp_path, keep=keep)
    assert names(tmp_path) == left


def test_keep_leaves_what_is_no_version_alone(folder, tmp_path):
    (tmp_path / "2").write_text("mine")
    (tmp_path / "007").mkdir()
    (tmp_path / "99999999999999999999").mkdir()  # beyond what a server reads
    for _ in range(3):
        klr.publish(folder, tmp_path, keep=np.int64(1))
    assert names(tmp_path) == ["007", "10", "2", "99999999999999999999"]
    assert (tmp_path / "2").read_text() == "mine"


def test_the_version_of_an_export_in_a_private_folder_can_be_read(models, tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    models["matrix"].export(tmp_path / "private", verbose=False)
    path = klr.publish(tmp_path / "private", tmp_path / "house")
    assert path.stat().st_mode == path.parent.stat().st_mode


def test_old_versions_stay_where_publishing_fails(models, folder, tmp_path):
    klr.publish(folder, tmp_path)
    with pytest.raises(ValueError, match="`warmup`"):
        klr.publish(folder, tmp_path, warmup=X[:, :2], keep=1)
    with pytest.raises(ValueError, match="must be fitted"):
        klr.publish(klr.ExactLinearRegression(), tmp_path, keep=1)
    assert names(tmp_path) == ["1"]


def test_an_exported_folder_stays_as_it_is_and_what_was_added_comes_along(folder, tmp_path):
    before = manifest.hash_files(folder)
    extra = folder / "assets.extra"
    extra.mkdir()
    try:
        (extra / "note").write_text("validated")
        path = klr.publish(folder, tmp_path / "house")
    finally:
        (extra / "note").unlink()
        extra.rmdir()
    assert (path / "assets.extra" / "note").read_text() == "validated"
    assert manifest.hash_files(folder) == before == manifest.hash_files(path)
    assert "version" not in json.loads((folder / "keras_linreg.json").read_text())


def test_a_loaded_model_is_published(models, tmp_path):
    models["matrix"].save(tmp_path / "model.keras")
    path = klr.publish(keras.models.load_model(tmp_path / "model.keras"), tmp_path / "house", warmup=X)
    found = serve(path, "predict_interval", {"features": X.astype("float32")})
    np.testing.assert_allclose(found["leverage"], models["matrix"].predict_interval(X)["leverage"], rtol=1e-5)


def test_an_export_beside_other_files_is_published_and_never_into_itself(models, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    models["matrix"].export(tmp_path, verbose=False)
    with pytest.raises(ValueError, match="`base` must lie outside the exported folder"):
        klr.publish(tmp_path, tmp_path / "models")
    models["matrix"].export(tmp_path / "model", verbose=False)
    (tmp_path / "model" / ".DS_Store").write_text("")
    assert klr.publish(tmp_path / "model", tmp_path / "base").name == "1"


# Warm-up


def records_of(path):
    data = tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests"))
    return [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in data]


@pytest.mark.parametrize("kind", ["matrix", "frame", "two outputs", "FeatureSpace"])
def test_each_signature_is_warmed_up_by_one_row_and_by_all(models, rows, tmp_path, kind):
    model, x = models[kind], rows[kind]
    path = klr.publish(model, tmp_path / "house", warmup=x)
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
    assert sorted(sizes) == sorted((key, size) for key in signatures for size in (1, len(x)))
    for (_, key, _), (_, size), answer in zip(requests, sizes, ask(requests), strict=True):
        if key in ("serving_default", "examples"):
            np.testing.assert_allclose(answer["predictions"], model.predict(x[:size], verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("matrix", X.tolist()),
        ("matrix", scipy.sparse.csr_array(X)),
        ("matrix", tf.sparse.from_dense(X)),
        ("matrix", FRAME),
        ("frame", X),
        ("frame", tf.constant(X)),
        ("frame", scipy.sparse.csr_array(X)),
        ("frame", FRAME[["c", "age", "fixed acidity"]]),
        ("feature_names", FRAME[["c", "age", "fixed acidity"]]),
        ("feature_names", X),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_server_is_warmed_up_by_the_rows_that_predict_takes_whatever_holds_them(models, tmp_path, kind, given):
    path = klr.publish(models[kind], tmp_path / "house", warmup=given)
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
        model = solved({"code": code}, np.arange(24.0), preprocessor=space)
    klr.publish(model, tmp_path / "house", warmup={"code": code})
    assert names(tmp_path / "house") == ["1"]


def test_a_warm_up_file_is_within_the_limits_of_a_server(folder, tmp_path):
    path = klr.publish(folder, tmp_path, warmup=np.resize(X, (5000, 3)))
    records = records_of(path)
    assert len(records) <= 1000
    assert (
        max(
            r.predict_log.request.inputs["features"].tensor_shape.dim[0].size
            for r in records
            if "features" in r.predict_log.request.inputs
        )
        == 1000
    )


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
def test_rows_that_are_no_warm_up_are_refused(models, tmp_path, kind, warmup, message):
    base = tmp_path / "base"
    with pytest.raises(ValueError, match=message):
        klr.publish(models[kind], base, warmup=warmup)
    assert not base.exists()


# Refusals


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("gs://bucket/house", "`base` must be a folder of a file system in which a rename is atomic.*gs://"),
        ("s3://bucket/house", "rename is atomic"),
        ("", "`base` must be the path of the folder of the versions. Received: ''"),
        (None, "`base` must be the path .* Received: None"),
        (3, "`base` must be the path .* Received: 3"),
        (b"x", "`base` must be the path .* Received: b'x'"),
    ],
)
def test_a_base_without_atomic_renames_is_refused(folder, base, message):
    with pytest.raises(ValueError, match=message):
        klr.publish(folder, base)


def test_a_base_that_is_a_file_or_a_model_is_refused(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="`base` must be a folder. Received: .*file"):
        klr.publish(folder, tmp_path / "file")
    with pytest.raises(ValueError, match="`base` must be the folder above the versions"):
        klr.publish(folder, folder)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("keep", [0, -1, True, 1.5, "2"])
def test_a_bad_keep_is_refused(folder, tmp_path, keep):
    with pytest.raises(ValueError, match="`keep` must be a positive integer or None"):
        klr.publish(folder, tmp_path / "base", keep=keep)
    assert not (tmp_path / "base").exists()


def test_what_is_no_model_of_ours_is_refused(folder, tmp_path):
    base = tmp_path / "base"
    with pytest.raises(
        ValueError, match="`model` must be a model of keras_linreg, or the folder.*Received: Sequential"
    ):
        klr.publish(keras.Sequential([keras.layers.Dense(1)]), base)
    for nothing in ("", None, klr.ExactLinearRegression):
        with pytest.raises(ValueError, match="`model` must be a model of keras_linreg, or the folder"):
            klr.publish(nothing, base)
    with pytest.raises(ValueError, match="one that `export` of a keras_linreg model wrote"):
        klr.publish(tmp_path / "nowhere", base)
    with pytest.raises(ValueError, match="must have seen its inputs before it is exported"):
        klr.publish(klr.LinearRegression(), base)
    with pytest.raises(ValueError, match="must be fitted before it is exported"):
        klr.publish(klr.ExactLinearRegression(), base)
    assert not base.exists()


def test_a_folder_that_was_changed_since_its_export_is_refused(models, tmp_path):
    models["matrix"].export(tmp_path / "model", verbose=False)
    data = next((tmp_path / "model" / "variables").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match="must be those that `export` wrote: export the model again"):
        klr.publish(tmp_path / "model", tmp_path / "base")
    assert not (tmp_path / "base").exists()


# Whatever happens


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff\xfe", b'{"format": 99}'], ids=str)
def test_a_damaged_json_is_named_and_no_base_is_made(models, tmp_path, text):
    models["matrix"].export(tmp_path / "model", verbose=False)
    (tmp_path / "model" / manifest.FILE).write_bytes(text)
    with pytest.raises(ValueError, match="keras_linreg.json must be a file that `export` wrote, of format 1"):
        klr.publish(tmp_path / "model", tmp_path / "base")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("name", ["examples", "inputs"])
def test_a_column_called_as_an_input_of_ours_is_warmed_up(name, tmp_path):
    frame = pd.DataFrame({name: X[:, 0]})
    version = klr.publish(solved(frame), tmp_path, warmup=frame)
    assert {record.predict_log.request.model_spec.signature_name for record in records_of(version)} >= {"examples"}


def test_an_export_that_is_read_only_is_published_as_what_can_be_removed(models, tmp_path):
    models["matrix"].export(tmp_path / "model", verbose=False)
    places = [tmp_path / "model", *(tmp_path / "model").rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    version = klr.publish(tmp_path / "model", tmp_path / "base")
    assert all(os.stat(place).st_mode & 0o200 for place in (version, *version.rglob("*")))
    for place in places:
        place.chmod(0o755)


def test_a_version_that_cannot_be_removed_is_a_warning_once_the_new_one_is_there(folder, tmp_path, monkeypatch):
    klr.publish(folder, tmp_path)
    rename = os.rename

    def busy(old, new):
        if Path(old).name == "1":
            raise OSError("Device or resource busy")
        rename(old, new)

    monkeypatch.setattr(os, "rename", busy)
    with pytest.warns(UserWarning, match="Version 1 of .* could not be removed: Device or resource busy"):
        assert klr.publish(folder, tmp_path, keep=1).name == "2"


def test_keep_removes_a_version_that_is_a_link_and_not_what_it_leads_to(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "1").symlink_to(tmp_path / "elsewhere")
    klr.publish(folder, tmp_path / "base", keep=1)
    assert names(tmp_path / "base") == ["2"] and (tmp_path / "elsewhere").is_dir()


def test_threads_that_publish_at_once_lose_nothing(folder, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(klr.publish(folder, tmp_path).name)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == names(tmp_path) == list("123456")
    for name in found:
        assert manifest.read(tmp_path / name)["version"] == int(name)


def test_what_a_killed_publisher_left_is_swept_up_and_a_working_one_is_left_alone(folder, tmp_path, monkeypatch):
    (tmp_path / ".publishing-dead").mkdir()
    (tmp_path / ".publishing-dead" / "saved_model.pb").write_text("half of it")
    seen = []
    real = manifest.read

    def read(place):
        if not seen:  # in the middle of the first, a second publishes
            seen.append(place)
            klr.publish(folder, tmp_path)
        return real(place)

    monkeypatch.setattr(manifest, "read", read)
    klr.publish(folder, tmp_path)
    assert names(tmp_path) == ["1", "2"]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
import keras_linreg as klr

base, exported = Path(sys.argv[1]), Path(sys.argv[2])
x = np.random.default_rng(0).normal(size=(40, 3))
model = klr.ExactLinearRegression()
model.fit(x, x.sum(axis=1) + x[:, 0] ** 2, verbose=0)
klr.publish(model, base, warmup=x)
largest = max(path.stat().st_size for path in (base / "1").rglob("*"))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
outcomes = []
for size in [0, 1, 100, 300, 1000, 3000, 10_000, 30_000, largest // 2, 3 * largest]:
    for what, warmup in ((model, x), (exported, x), (exported, None)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        before = sorted(path.name for path in base.iterdir())
        try:
            klr.publish(what, base, warmup=warmup)
            fine = True
        except Exception as error:
            fine = False
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        after = sorted(path.name for path in base.iterdir())
        assert fine or after == before, (size, before, after)
        outcomes.append(fine)
print(outcomes.count(False), outcomes.count(True))
"""


def test_a_disk_that_is_full_leaves_the_versions_as_they_were(folder, tmp_path):
    command = [sys.executable, "-c", FULL_DISK, tmp_path, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    failed, succeeded = map(int, done.stdout.split())
    assert failed >= 10 and succeeded >= 3
    assert len(names(tmp_path)) == 1 + succeeded
    for name in names(tmp_path):
        assert manifest.read(tmp_path / name)["version"] == int(name)


def test_kills_and_publishers_at_once_leave_only_complete_versions():
    script = Path(__file__).with_name("publishers.py")
    command = [sys.executable, script, "--kills", "6", "--publishers", "3", "--each", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 incomplete" in done.stdout
