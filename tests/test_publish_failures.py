"""Whatever happens to a publisher (a full disk, a kill, another publisher), versions are complete or not there."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from exported_models import solve

import keras_linreg as klr
from keras_linreg.export import manifest

X = np.random.default_rng(1).normal(size=(40, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder that `export` of a model wrote."""
    path = tmp_path_factory.mktemp("exported") / "model"
    solve(X, X.sum(axis=1) + X[:, 0] ** 2).export(path, verbose=False)
    return path


def names(base):
    return sorted(path.name for path in Path(base).iterdir())


def test_the_version_of_a_read_only_export_can_be_removed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    paths = [tmp_path / "model", *(tmp_path / "model").rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    version = klr.publish(tmp_path / "model", tmp_path / "base")
    assert all(os.stat(path).st_mode & 0o200 for path in (version, *version.rglob("*")))
    for path in paths:
        path.chmod(0o755)


def test_an_old_version_that_cannot_be_removed_is_a_warning_and_the_new_one_is_published(folder, tmp_path, monkeypatch):
    klr.publish(folder, tmp_path)
    rename = os.rename

    def busy(old, new):
        if Path(old).name == "1":
            raise OSError("Device or resource busy")
        rename(old, new)

    monkeypatch.setattr(os, "rename", busy)
    with pytest.warns(UserWarning, match="Version 1 of .* could not be removed: Device or resource busy"):
        assert klr.publish(folder, tmp_path, keep=1, keep_seconds=0).name == "2"


def test_keep_removes_a_version_that_is_a_link_and_not_its_target(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "1").symlink_to(tmp_path / "elsewhere")
    klr.publish(folder, tmp_path / "base", keep=1, keep_seconds=0)
    assert names(tmp_path / "base") == ["2"] and (tmp_path / "elsewhere").is_dir()


def test_threads_that_publish_at_once_lose_nothing(folder, tmp_path):
    published = []
    threads = [threading.Thread(target=lambda: published.append(klr.publish(folder, tmp_path).name)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(published) == names(tmp_path) == list("123456")
    for name in published:
        assert manifest.read(tmp_path / name)["version"] == int(name)


def test_the_files_of_a_killed_publisher_are_removed_and_those_of_a_working_one_stay(folder, tmp_path, monkeypatch):
    (tmp_path / ".publishing-dead").mkdir()
    (tmp_path / ".publishing-dead" / "saved_model.pb").write_text("half of it")
    calls = []
    real = manifest.read

    def read(path):
        calls.append(path)
        if len(calls) == 2:  # the first publisher has written its files: now a second one publishes
            klr.publish(folder, tmp_path)
        return real(path)

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
    for source, warmup in ((model, x), (exported, None)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        before = sorted(path.name for path in base.iterdir())
        try:
            klr.publish(source, base, warmup=warmup)
            succeeded = True
        except Exception as error:
            succeeded = False
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        after = sorted(path.name for path in base.iterdir())
        assert succeeded or after == before, (size, before, after)
        outcomes.append(succeeded)
print(outcomes.count(False), outcomes.count(True))
"""


@pytest.mark.heavy
def test_a_disk_that_is_full_leaves_the_versions_as_they_were(folder, tmp_path):
    command = [sys.executable, "-c", FULL_DISK, tmp_path, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    failed, succeeded = map(int, done.stdout.split())
    assert failed >= 10 and succeeded >= 2  # the largest size is enough for both sources
    assert len(names(tmp_path)) == 1 + succeeded
    for name in names(tmp_path):
        assert manifest.read(tmp_path / name)["version"] == int(name)


@pytest.mark.heavy
def test_kills_and_publishers_at_once_leave_only_complete_versions():
    script = Path(__file__).with_name("publishers.py")
    command = [sys.executable, script, *("--kills", "50", "--publishers", "6", "--each", "4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 incomplete" in done.stdout
