"""Where an export is written: complete, or what was there stays; and the arguments that it refuses."""

import numpy as np
import pytest
import tensorflow as tf
from exported_models import close, solve
from loader_process import serve

import keras_linreg as klr


def test_an_export_over_another_replaces_it_and_leaves_other_files(exported, tmp_path):
    _, _, first, _ = exported["exact, matrix"]
    _, request, second, x = exported["frame"]
    first.export(tmp_path / "model", verbose=False)
    (tmp_path / "model" / "mine.txt").write_text("kept")
    second.export(tmp_path / "model", verbose=False)
    answer = serve(tmp_path / "model", "serving_default", request)["predictions"]
    close(answer, second.predict(x, verbose=0), 1e-5)
    assert (tmp_path / "model" / "mine.txt").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("before", ["empty", "a model", "missing"])
def test_an_export_follows_a_link(exported, tmp_path, before):
    _, request, model, x = exported["exact, matrix"]
    (tmp_path / "real").mkdir()
    if before == "a model":
        exported["frame"].model.export(tmp_path / "real", verbose=False)
    if before == "missing":
        (tmp_path / "real").rmdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    model.export(tmp_path / "link", verbose=False)
    close(serve(tmp_path / "real", "serving_default", request)["predictions"], model.predict(x, verbose=0), 1e-5)
    assert (tmp_path / "link").is_symlink()
    assert not [path for path in (tmp_path / "real").iterdir() if path.name.startswith(".")]


def test_an_export_that_fails_leaves_what_was_there(exported, tmp_path, monkeypatch):
    _, request, model, x = exported["exact, matrix"]
    model.export(tmp_path / "model", verbose=False)

    def fail(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("keras_linreg.export.manifest.write", fail)
    with pytest.raises(OSError, match="No space left"):
        exported["frame"].model.export(tmp_path / "model", verbose=False)
    close(serve(tmp_path / "model", "serving_default", request)["predictions"], model.predict(x, verbose=0), 1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# Arguments


@pytest.mark.parametrize("model", [klr.LinearRegression, klr.ExactLinearRegression])
def test_an_unbuilt_model_is_not_exported(tmp_path, model):
    with pytest.raises(ValueError, match="must (have seen its inputs|be fitted) before it is exported"):
        model().export(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_signature": [tf.TensorSpec((None, 4))]}, "`input_signature`"),
        ({"input_dtype": "float16"}, "`input_dtype` must be 'float32' or 'float64'. Received: .*float16"),
        ({"level": 95}, "`level` must be a coverage between 0 and 1"),
        (
            {"format": "onnx", "input_dtype": "float64"},
            "`input_dtype` and `level` apply to format='tf_saved_model' alone",
        ),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_written(exported, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        exported["exact, matrix"].model.export(tmp_path / "model", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_to_export_to(exported, tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ValueError, match="`filepath` must be a folder. Received: .*which is a file"):
        exported["matrix"].model.export(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


@pytest.fixture(scope="module")
def parabola():
    return solve(np.arange(6.0), np.arange(6.0) ** 2)


@pytest.mark.parametrize("filepath", [None, 3, b"model", ""])
def test_a_filepath_that_is_no_path_is_refused(parabola, filepath):
    with pytest.raises(ValueError, match="`filepath` must be the path of the folder to write. Received: "):
        parabola.export(filepath)


@pytest.mark.parametrize("input_dtype", [tf.float64, np.float64, "float16", None])
def test_an_input_dtype_that_no_request_has_is_refused(parabola, tmp_path, input_dtype):
    with pytest.raises(ValueError, match="`input_dtype` must be 'float32' or 'float64'"):
        parabola.export(tmp_path / "model", input_dtype=input_dtype)
    assert not (tmp_path / "model").exists()
