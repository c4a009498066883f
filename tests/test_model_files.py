"""A damaged file of a model is refused by name, with its fault, before anything large is read; the model stays."""

import io
import json
import resource
import shutil
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import keras_linreg as klr

X = {"a": np.arange(20.0), "b": np.sin(np.arange(20.0)), "c": np.cos(np.arange(20.0))}
Y = X["a"] + 2 * X["b"] + np.sin(7 * np.arange(20.0))
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def exact_model():
    model = klr.ExactLinearRegression()
    model.fit(X, Y, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return exact_model()


@pytest.fixture(scope="module")
def saved(tmp_path_factory, model):
    """The files of an exact model and of one trained by descent."""
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "exact.keras")
    model.save_weights(folder / "exact.weights.h5")
    tape = klr.LinearRegression()
    tape.fit(X, Y, verbose=0)
    tape.save(folder / "tape.keras")
    return folder


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, compression=zipfile.ZIP_STORED, **changes):
    """Write an archive again with some of its parts changed or (None) left out; its checksums are right."""
    parts = {**members(path), **{{"config": CONFIG, "weights": WEIGHTS}[key]: value for key, value in changes.items()}}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            if content is not None:
                archive.writestr(name, content)


def edit_config(change):
    def damage(path):
        config = json.loads(members(path)[CONFIG])
        change(config)
        rewrite(path, config=json.dumps(config))

    return damage


def edit_weights(change):
    def damage(path):
        memory = io.BytesIO(members(path)[WEIGHTS])
        with h5py.File(memory, "r+") as file:
            change(file["vars"])
        rewrite(path, weights=memory.getvalue())

    return damage


def permute(config):
    schema = config["build_config"]["schema"]
    schema["feature_names"] = schema["feature_names"][::-1]
    schema["inputs"] = schema["inputs"][::-1]


def large_kernel(group):
    del group["0"]
    group.create_dataset("0", shape=(2**14, 2**14), dtype="f8", chunks=(2**8, 2**8), compression="gzip", fillvalue=0)


def replace_kernel(array):
    def change(group):
        del group["0"]
        group["0"] = array

    return change


DAMAGES = {
    "empty": (lambda path: path.write_bytes(b""), "which is empty"),
    "text": (lambda path: path.write_bytes(b"not a model"), "which is no .keras archive"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "which is cut off"),
    "one byte short": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "which is cut off"),
    "no config": (lambda path: rewrite(path, config=None), "which lacks config.json"),
    "no weights": (lambda path: rewrite(path, weights=None), "which lacks model.weights.h5"),
    "weights cut": (lambda path: rewrite(path, weights=members(path)[WEIGHTS][:-100]), "whose weights are damaged"),
    "weights of text": (lambda path: rewrite(path, weights=b"weights"), "whose weights are damaged"),
    "config cut": (lambda path: rewrite(path, config=members(path)[CONFIG][:-9]), "whose config.json is damaged"),
    "config without units": (edit_config(lambda c: c["config"].pop("units")), "whose config.json is damaged"),
    "a width of text": (
        edit_config(lambda c: c["build_config"].update(input_shape="abc")),
        "whose config.json is damaged",
    ),
    "a schema of something else": (
        edit_config(lambda c: c["build_config"].update(schema={"a": 1})),
        "cannot be loaded: KeyError: 'inputs'",
    ),
    "unknown argument": (edit_config(lambda c: c["config"].update(more=1)), "cannot be loaded: .*more"),
    "negative units": (edit_config(lambda c: c["config"].update(units=-1)), "`units` must be a positive integer"),
    "a billion units": (edit_config(lambda c: c["config"].update(units=10**9)), "declares 3,000,000,000 weights"),
    "a billion columns": (
        edit_config(lambda c: c["build_config"].update(input_shape=[None, 10**9])),
        "declares 1,000,000,000 weights",
    ),
    "more columns than names": (
        edit_config(lambda c: c["build_config"].update(input_shape=[None, 4])),
        "The schema must name each of the 4 columns once",
    ),
    "a permuted design": (
        edit_config(lambda c: c["build_config"]["schema"]["feature_names"].reverse()),
        "The schema must have one order of the columns",
    ),
    "kernel of another shape": (
        edit_weights(replace_kernel(np.ones((2, 1)))),
        r"must hold kernel \(3, 1\), bias \(1,\)",
    ),
    "a large kernel": (edit_weights(large_kernel), "whose vars/0 declares 2,147,483,648 bytes"),
}
EXACT_DAMAGES = {
    "a permuted schema": (edit_config(permute), r"must be of the model's columns \['c', 'b', 'a'\]"),
    "another name": (
        edit_config(
            lambda c: c["build_config"].update(
                schema={**c["build_config"]["schema"], "named": False, "feature_names": ["a", "b", "d"]}
            )
        ),
        "must be of the model's columns",
    ),
    "other moments": (
        edit_weights(lambda group: group["moments_mean"].write_direct(np.ones((2, 4)))),
        "These moments have been changed",
    ),
    "half of the moments": (edit_weights(lambda group: group.pop("moments_factor")), "These moments lack factor"),
}
CASES = [(kind, damage, DAMAGES[damage]) for damage in DAMAGES for kind in ("exact", "tape")]
CASES += [("exact", damage, EXACT_DAMAGES[damage]) for damage in EXACT_DAMAGES]


@pytest.mark.parametrize(("kind", "name", "case"), CASES, ids=lambda part: part if isinstance(part, str) else "")
def test_a_damaged_model_is_refused_with_its_path_and_its_fault(saved, tmp_path, kind, name, case):
    path = Path(shutil.copy(saved / f"{kind}.keras", tmp_path))
    damage, message = case
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        keras.models.load_model(path)
    assert str(path) in str(error.value)


FOLDER_DAMAGES = {
    "config cut": (
        lambda path: (path / CONFIG).write_bytes((path / CONFIG).read_bytes()[:-9]),
        "config.json is damaged",
    ),
    "weights cut": (lambda path: (path / WEIGHTS).write_bytes(b"HDF"), "whose weights are damaged"),
    "no weights": (lambda path: (path / WEIGHTS).unlink(), "which lacks model.weights.h5"),
}


@pytest.mark.parametrize("case", FOLDER_DAMAGES.values(), ids=FOLDER_DAMAGES)
def test_a_damaged_folder_of_a_model_is_refused_too(model, tmp_path, case):
    path = tmp_path / "model"
    model.save(path, zipped=False)
    np.testing.assert_array_equal(keras.models.load_model(path).kernel, model.kernel)
    damage, message = case
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        keras.models.load_model(path)
    assert str(path) in str(error.value)


def test_any_changed_byte_is_refused_or_does_not_matter(saved, tmp_path, model):
    path = tmp_path / "exact.keras"
    whole = (saved / "exact.keras").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(whole), 150):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            loaded = keras.models.load_model(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            np.testing.assert_array_equal(loaded.kernel, model.kernel)
            assert loaded.feature_names == model.feature_names and loaded.moments.nobs == 20
    assert refused > 100


def test_any_length_of_a_cut_file_is_refused(saved, tmp_path):
    path = tmp_path / "exact.keras"
    whole = (saved / "exact.keras").read_bytes()
    for length in range(0, len(whole), 501):
        path.write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=r"must be a whole file that `save` wrote. Received: .*exact.keras, which is"
        ):
            keras.models.load_model(path)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is in kilobytes there")
@pytest.mark.parametrize("part", ["config", "weights"])
def test_a_small_archive_of_a_large_part_is_refused_before_it_is_read(saved, tmp_path, part):
    path = Path(shutil.copy(saved / "tape.keras", tmp_path))
    padding = {"config": b" ", "weights": b"\0"}[part] * 2**26
    content = members(path)[{"config": CONFIG, "weights": WEIGHTS}[part]] + padding
    rewrite(path, zipfile.ZIP_DEFLATED, **{part: content})
    del content, padding
    assert path.stat().st_size < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="has 67,.* bytes, stored in"):
        keras.models.load_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**14


WEIGHT_DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"weights"),
    "of another width": lambda path: exact_of_two_columns().save_weights(path),
}


def exact_of_two_columns():
    model = klr.ExactLinearRegression()
    model.fit({"a": X["a"], "b": X["b"]}, Y, verbose=0)
    return model


@pytest.mark.parametrize("damage", WEIGHT_DAMAGES.values(), ids=WEIGHT_DAMAGES)
def test_damaged_weights_are_refused_and_the_model_stays_as_it_is(saved, tmp_path, damage):
    path = Path(shutil.copy(saved / "exact.weights.h5", tmp_path))
    model = exact_model()
    before, moments = model.get_weights(), model.moments
    damage(path)
    with pytest.raises(ValueError, match="exact.weights.h5"):
        model.load_weights(path)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert model.moments is moments


def test_weights_of_columns_in_another_order_are_refused_and_a_nameless_model_takes_them(saved, model):
    other = klr.ExactLinearRegression()
    other.fit(dict(reversed(X.items())), 2 * Y, verbose=0)
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"must be of the model's columns \['c', 'b', 'a'\]"):
        other.load_weights(saved / "exact.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], before[0])
    nameless = klr.ExactLinearRegression()
    nameless.build((None, 3))
    nameless.load_weights(saved / "exact.weights.h5")
    np.testing.assert_array_equal(nameless.kernel, model.kernel)


def test_a_model_of_another_package_keeps_its_errors(tmp_path):
    dense = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    dense.save(tmp_path / "dense.keras")
    assert keras.models.load_model(tmp_path / "dense.keras").built
    rewrite(tmp_path / "dense.keras", weights=None)
    with pytest.raises(ValueError, match="^Expected a model.weights.h5"):
        keras.models.load_model(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match="File not found"):
        keras.models.load_model(tmp_path / "missing.keras")


def test_a_preprocessor_of_a_class_that_is_not_imported_keeps_kerass_error(saved, tmp_path):
    path = Path(shutil.copy(saved / "tape.keras", tmp_path))
    layer = {"module": None, "class_name": "Mine", "config": {}, "registered_name": "mine>Mine"}
    edit_config(lambda config: config["config"].update(preprocessor=layer))(path)
    with pytest.raises(TypeError, match="Could not locate class 'Mine'"):
        keras.models.load_model(path)
