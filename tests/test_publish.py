"""A published version can be loaded by a server; other versions, and other files in the folder, stay."""

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from exported_models import solve
from loader_process import ask, serve

import keras_linreg as klr
from keras_linreg.export import hashes, manifest

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3))
Y = X.sum(axis=1) + RNG.normal(size=40)
FRAME = pd.DataFrame(X, columns=["age", "fixed acidity", "c"])


@pytest.fixture(scope="module")
def model():
    return solve(X, Y)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The folder that `export` of the model wrote."""
    path = tmp_path_factory.mktemp("exported") / "model"
    model.export(path, verbose=False)
    return path


def names(base):
    return sorted(path.name for path in Path(base).iterdir())


def test_versions_are_counted_and_each_is_served(model, folder, tmp_path):
    base = tmp_path / "models" / "house"
    assert klr.publish(model, base) == base / "1"
    assert klr.publish(str(folder), str(base)) == base / "2"
    (base / "notes.txt").write_text("mine")
    (base / "010").mkdir()  # a server reads 10
    assert klr.publish(folder, base) == base / "11"
    assert names(base) == ["010", "1", "11", "2", "notes.txt"]
    request = {"features": X.astype("float32")}
    for answer in ask([(base / name, "serving_default", request) for name in ("1", "2", "11")]):
        np.testing.assert_allclose(answer["predictions"], model.predict(X, verbose=0), rtol=1e-5)


def test_the_json_of_a_version_holds_its_number_and_a_hash_of_its_files(tmp_path):
    path = klr.publish(solve(FRAME, Y), tmp_path / "house", warmup=FRAME[:3])
    contents = json.loads((path / "keras_linreg.json").read_text())
    assert contents["version"] == 1
    assert [c["name"] for c in contents["columns"]] == list(FRAME.columns)
    assert contents["hash"] == hashes.of_model(hashes.of_files(path))
    with (path / "saved_model.pb").open("ab") as file:
        file.write(b" ")
    assert contents["hash"] != hashes.of_model(hashes.of_files(path))


def test_everyone_who_may_read_the_folder_may_read_a_version(folder, tmp_path):
    path = klr.publish(folder, tmp_path / "house")
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize(
    ("keep", "left"), [(None, ["1", "2", "3", "4"]), (1, ["4"]), (2, ["3", "4"]), (9, ["1", "2", "3", "4"])]
)
def test_keep_removes_the_oldest_versions(folder, tmp_path, keep, left):
    for _ in range(3):
        klr.publish(folder, tmp_path)
    klr.publish(folder, tmp_path, keep=keep, keep_seconds=0)
    assert names(tmp_path) == left


def test_keep_does_not_touch_files_and_folders_that_are_no_versions(folder, tmp_path):
    (tmp_path / "2").write_text("mine")
    (tmp_path / "007").mkdir()
    (tmp_path / "99999999999999999999").mkdir()  # beyond what a server reads
    for _ in range(3):
        klr.publish(folder, tmp_path, keep=np.int64(1), keep_seconds=0)
    assert names(tmp_path) == ["007", "10", "2", "99999999999999999999"]
    assert (tmp_path / "2").read_text() == "mine"


def test_the_version_of_an_export_in_a_private_folder_can_be_read(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "private")
    (tmp_path / "private").chmod(0o700)
    path = klr.publish(tmp_path / "private", tmp_path / "house")
    assert path.stat().st_mode == path.parent.stat().st_mode


def test_old_versions_stay_if_publishing_fails(folder, tmp_path):
    klr.publish(folder, tmp_path)
    with pytest.raises(ValueError, match="`warmup`"):
        klr.publish(folder, tmp_path, warmup=X[:, :2], keep=1)
    with pytest.raises(ValueError, match="must be fitted"):
        klr.publish(klr.ExactLinearRegression(), tmp_path, keep=1)
    assert names(tmp_path) == ["1"]


def test_an_exported_folder_does_not_change_and_extra_files_are_copied(folder, tmp_path):
    before = hashes.of_model(hashes.of_files(folder))
    extra = folder / "assets.extra"
    extra.mkdir()
    try:
        (extra / "note").write_text("validated")
        path = klr.publish(folder, tmp_path / "house")
    finally:
        (extra / "note").unlink()
        extra.rmdir()
    assert (path / "assets.extra" / "note").read_text() == "validated"
    assert hashes.of_model(hashes.of_files(folder)) == before == hashes.of_model(hashes.of_files(path))
    assert "version" not in json.loads((folder / "keras_linreg.json").read_text())


def test_a_loaded_model_is_published(model, tmp_path):
    model.save(tmp_path / "model.keras")
    path = klr.publish(keras.models.load_model(tmp_path / "model.keras"), tmp_path / "house", warmup=X)
    answer = serve(path, "predict_interval", {"features": X.astype("float32")})
    np.testing.assert_allclose(answer["leverage"], model.predict_interval(X)["leverage"], rtol=1e-5)


def test_an_export_beside_other_files_is_published_and_never_into_itself(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="`base` must lie outside the exported folder"):
        klr.publish(tmp_path, tmp_path / "models")
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / ".DS_Store").write_text("")
    assert klr.publish(tmp_path / "model", tmp_path / "base").name == "1"


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


def test_other_models_and_folders_are_refused(tmp_path):
    base = tmp_path / "base"
    with pytest.raises(
        ValueError, match="`model` must be a model of keras_linreg, or the folder.*Received: Sequential"
    ):
        klr.publish(keras.Sequential([keras.layers.Dense(1)]), base)
    for other in ("", None, klr.ExactLinearRegression):
        with pytest.raises(ValueError, match="`model` must be a model of keras_linreg, or the folder"):
            klr.publish(other, base)
    with pytest.raises(ValueError, match="one that `export` of a keras_linreg model wrote"):
        klr.publish(tmp_path / "nowhere", base)
    with pytest.raises(ValueError, match="must have seen its inputs before it is exported"):
        klr.publish(klr.LinearRegression(), base)
    with pytest.raises(ValueError, match="must be fitted before it is exported"):
        klr.publish(klr.ExactLinearRegression(), base)
    assert not base.exists()


def test_a_folder_that_was_changed_since_its_export_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    data = next((tmp_path / "model" / "variables").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match="must be those that `export` wrote: export the model again"):
        klr.publish(tmp_path / "model", tmp_path / "base")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff\xfe", b'{"format": 99}'], ids=str)
def test_a_damaged_json_is_named_and_no_base_is_made(folder, tmp_path, text):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / manifest.FILE).write_bytes(text)
    with pytest.raises(ValueError, match="keras_linreg.json must be a file that `export` wrote, of format 1"):
        klr.publish(tmp_path / "model", tmp_path / "base")
    assert not (tmp_path / "base").exists()
