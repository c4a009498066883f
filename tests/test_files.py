"""Files and folders are written whole or not at all, over an old one too, and nothing of a killed writer stays."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import killed_writers
import numpy as np
import pytest
from exported_models import solve

import keras_linreg as klr
from keras_linreg.utils import files, staging

X = np.random.default_rng(1).normal(size=(40, 3))


@pytest.fixture(scope="module")
def models():
    """Two exact models, told apart by their kernels."""
    return solve(X, X.sum(axis=1)), solve(X, 2 * X.sum(axis=1))


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


WRITES = {
    "model.keras": lambda model, path: model.save(path),
    "folder": lambda model, path: model.save(path, zipped=False),
    "model.weights.h5": lambda model, path: model.save_weights(path),
    "moments": lambda model, path: model.moments.save(path),
}


def read_kernel(path, model):
    if path.name == "moments":
        return klr.Moments.load(path).solve(warn=False).kernel
    if path.name.endswith(".h5"):
        other = klr.ExactLinearRegression()
        other.build((None, 3))
        other.load_weights(path)
        return other.kernel.numpy()
    return keras.models.load_model(path).kernel.numpy()


class Crash(BaseException):
    """Neither an Exception nor an exit: nobody catches it."""


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(models, tmp_path, monkeypatch, name):
    first, second = models
    WRITES[name](first, tmp_path / name)
    to_arrays = klr.Moments.to_arrays

    def crash(moments):
        arrays = to_arrays(moments)
        if moments is second.moments:
            raise Crash
        return arrays

    with monkeypatch.context() as patch:
        patch.setattr(klr.Moments, "to_arrays", crash)
        with pytest.raises(Crash):
            WRITES[name](second, tmp_path / name)
    assert names(tmp_path) == [name]
    np.testing.assert_allclose(actual=read_kernel(tmp_path / name, first), desired=first.kernel, rtol=1e-12)
    WRITES[name](second, tmp_path / name)
    assert names(tmp_path) == [name]
    np.testing.assert_allclose(actual=read_kernel(tmp_path / name, second), desired=second.kernel, rtol=1e-12)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
import keras
import keras_linreg as klr

folder = Path(sys.argv[1])
x = np.random.default_rng(0).normal(size=(40, 3))
model = klr.ExactLinearRegression()
model.fit(x, x.sum(axis=1) + x[:, 0] ** 2, verbose=0)
writes = {
    "model.keras": model.save,
    "model.weights.h5": model.save_weights,
    "moments": model.moments.save,
    "exported": lambda path: model.export(path, verbose=False),
}
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
failures = 0
for name, write in writes.items():
    write(folder / name)
    files = lambda: {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    before = files()
    for size in [0, 100, 1000, 3000, 10_000]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            write(folder / name)
            before = files()
        except Exception:
            failures += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert files() == before, (name, size)
print(failures)
"""


@pytest.mark.heavy
def test_a_full_disk_leaves_every_kind_of_file_as_it_was(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= 10


QUICK = [kind for kind in killed_writers.KINDS if kind is not killed_writers.Publish]  # it has tests of its own


@pytest.mark.heavy
@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.__name__)
def test_a_killed_writer_leaves_a_whole_file_and_the_next_write_tidies_up(tmp_path, kind):
    assert killed_writers.check_kills(killed_writers.forkserver(), kind, 1, tmp_path)


def test_the_folder_of_a_writer_at_work_is_not_swept_and_that_of_a_dead_one_is(tmp_path):
    (tmp_path / ".keras_linreg-dead").mkdir()
    (tmp_path / ".keras_linreg-dead" / "half").write_text("of it")
    with files.replace_file(tmp_path / "slow") as slow:
        slow.write_text("slow")
        with files.replace_file(tmp_path / "fast") as fast:
            fast.write_text("fast")
        assert not (tmp_path / ".keras_linreg-dead").exists()
    assert names(tmp_path) == ["fast", "slow"]
    assert (tmp_path / "slow").read_text() == "slow"


def test_where_folders_cannot_be_exchanged_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "exchange", lambda a, b: False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    left = tmp_path / ".keras_linreg-dead" / staging.REPLACED
    left.mkdir(parents=True)
    (tmp_path / "model").rename(left / "model")  # the kill comes here
    staging.sweep(tmp_path)
    assert names(tmp_path) == ["model"] and (tmp_path / "model" / "old").read_text() == "old"
    with files.replace_folder(str(tmp_path / "model"), last="new", obsolete=["old"]) as folder:
        os.mkdir(folder)
        Path(folder, "new").write_text("new")
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == ["new"]


@pytest.mark.parametrize("reason", ["the root of a file system", "in a read-only folder", "cwd"])
def test_a_folder_that_cannot_be_renamed_gets_its_entries_replaced(tmp_path, monkeypatch, reason):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("old", "mine", "both"):
        (folder / name).write_text("old")
    if reason == "in a read-only folder":  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    elif reason == "cwd":
        monkeypatch.chdir(folder)
    else:
        monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == folder)
    with files.replace_folder(str(folder), last="both", obsolete=["old"]) as new:
        os.mkdir(new)
        Path(new, "both").write_text("new")
        assert names(tmp_path) == ["model"]  # nothing is written beside it
    assert names(folder) == ["both", "mine"] and (folder / "both").read_text() == "new"


def test_a_link_stays_a_link_and_the_old_files_permissions_stay(models, tmp_path):
    model, _ = models
    model.moments.save(tmp_path / "real")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    model.moments.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("path", ["", None, 3, "a\0b"])
def test_what_is_no_path_is_refused_by_name(models, tmp_path, monkeypatch, write, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="`filepath` must be a path. Received: filepath="):
        write(models[0], path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", WRITES)
def test_a_tilde_is_the_home_folder(models, tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    WRITES[name](models[0], Path("~") / name)
    assert names(tmp_path) == [name]
    if name != "folder":  # Keras alone looks at folders
        np.testing.assert_allclose(
            actual=read_kernel(Path("~") / name, models[0]), desired=models[0].kernel, rtol=1e-12
        )


def test_a_folder_that_a_callback_of_keras_calls_a_tilde_is_meant_by_it(models, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    saver = keras.callbacks.ModelCheckpoint("~/model.keras")
    klr.LinearRegression().fit(X, X[:, 0], verbose=0, callbacks=[saver])
    assert keras.models.load_model("~/model.keras").built and (tmp_path / "~" / "model.keras").is_file()


def test_publish_and_export_expand_a_tilde(models, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    models[0].export("~/exported", verbose=False)
    assert klr.publish("~/exported", Path("~/base")) == tmp_path / "base" / "1"
    assert names(tmp_path) == ["base", "exported"]


@pytest.mark.parametrize("there", ["folder", "device", "no parent"])
def test_a_place_that_holds_no_file_is_an_error_and_stays(models, tmp_path, there):
    path = tmp_path / "moments"
    if there == "folder":
        path.mkdir()
    if there == "device":
        os.mkfifo(path)
    if there == "no parent":
        path = tmp_path / "missing" / "moments"
    with pytest.raises(OSError, match=path.name):
        models[0].moments.save(path)
    assert names(tmp_path) == ([] if there == "no parent" else ["moments"])


def test_without_overwrite_the_user_is_asked(models, tmp_path, monkeypatch):
    first, second = models
    first.save(tmp_path / "model.keras")
    for answer, kernel in (("n", first.kernel), ("y", second.kernel)):
        monkeypatch.setattr("builtins.input", lambda prompt, answer=answer: answer)
        second.save(tmp_path / "model.keras", overwrite=False)
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(actual=loaded.kernel, desired=kernel, rtol=1e-12)
