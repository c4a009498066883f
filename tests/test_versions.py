"""A version that a server may still be loading stays; what was published can be checked again."""

import itertools
import json
import os
import shutil
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from exported_models import solve
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_linreg as klr
from keras_linreg.export import versions

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 2))


@pytest.fixture(scope="module")
def model():
    return solve(X, X.sum(axis=1) + RNG.normal(size=40))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model"
    model.export(path, verbose=False)
    return path


def names(base):
    return sorted((path.name for path in base.iterdir() if path.name.isdecimal()), key=int)


# Versions that may be loading


def test_by_default_a_version_that_was_the_newest_a_moment_ago_is_left_to_a_later_publish(folder, tmp_path):
    for _ in range(4):
        klr.publish(folder, tmp_path, keep=1)
    assert names(tmp_path) == ["1", "2", "3", "4"]
    klr.publish(folder, tmp_path, keep=2, keep_seconds=0)
    assert names(tmp_path) == ["4", "5"]


def test_a_version_goes_once_it_was_not_the_newest_for_so_many_seconds(folder, tmp_path):
    for _ in range(2):
        klr.publish(folder, tmp_path)
    time.sleep(1.1)
    klr.publish(folder, tmp_path, keep=1, keep_seconds=1)  # 1 was the newest until 2 came, 2 until now
    assert names(tmp_path) == ["2", "3"]


class Clock:
    """Folders of versions whose times of appearance a test sets: `st_ctime` cannot be set."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.times = folder, {}
        monkeypatch.setattr(versions, "changed", lambda path: self.times[path.name])

    def publish(self, at):
        version = max(map(int, self.times), default=0) + 1
        (self.folder / str(version)).mkdir()
        self.times[str(version)] = at
        return version


@settings(max_examples=100, derandomize=True)
@given(st.lists(st.floats(0, 200), min_size=1, max_size=12), st.integers(1, 4), st.sampled_from([0, 60, 120]))
def test_what_stays_is_what_keep_says_and_what_was_the_newest_until_lately(tmp_path_factory, pauses, keep, seconds):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(tmp_path_factory.mktemp("versions"), patch)
        now, appeared = 0.0, {}
        for pause in pauses:
            now += pause
            newest = clock.publish(now)
            appeared[newest] = now
            for old in versions.outdated(clock.folder, newest, keep, seconds):
                (clock.folder / str(old)).rmdir()
            left = set(map(int, names(clock.folder)))
            was_newest_until = {old: appeared[new] for old, new in itertools.pairwise(sorted(appeared))}
            lately = {old for old, until in was_newest_until.items() if now - until < seconds}
            kept = set(sorted(appeared)[-keep:])
            assert left >= lately | kept
            # What else is there followed a version that was removed by hand or by another keep: there is none here.
            assert left <= lately | kept | {newest}


class Reader(threading.Thread):
    """Loads as TF Serving does: the newest version, file by file, slowly; one that vanishes meanwhile freezes it."""

    def __init__(self, base, seconds):
        super().__init__(daemon=True)
        self.base, self.seconds, self.stopped, self.loaded, self.frozen = base, seconds, False, [], []

    def run(self):
        while not self.stopped:
            present = names(self.base) if self.base.exists() else []
            if not present or present[-1] in self.loaded[-1:]:
                time.sleep(0.001)
                continue
            try:
                self.load(self.base / present[-1])
                self.loaded.append(present[-1])
            except FileNotFoundError:
                self.frozen.append(present[-1])  # a server would now retry for five minutes

    def load(self, version):
        files = [path for path in sorted(version.rglob("*")) if path.is_file()]
        assert files or version.exists()
        for path in (version / "keras_linreg.json", *files, version / "saved_model.pb"):
            path.read_bytes()
            time.sleep(self.seconds * RNG.random() / len(files))


@pytest.mark.parametrize("rounds", [12, pytest.param(50, marks=pytest.mark.heavy)])
def test_rapid_rounds_remove_no_version_that_a_reader_may_be_loading(folder, tmp_path, rounds):
    reader = Reader(tmp_path, seconds=0.3)
    reader.start()
    for i in range(rounds):
        klr.publish(folder, tmp_path, keep=1, keep_seconds=1.5)
        assert names(tmp_path)[-1] == str(i + 1)
    time.sleep(1.6)
    klr.publish(folder, tmp_path, keep=1, keep_seconds=1.5)
    assert names(tmp_path) == [str(rounds), str(rounds + 1)]  # the others have gone
    reader.stopped = True
    reader.join()
    assert reader.loaded and not reader.frozen


def test_a_reader_freezes_if_the_version_that_it_loads_is_removed(folder, tmp_path):
    reader = Reader(tmp_path, seconds=0.3)
    reader.start()
    for _ in range(50):
        klr.publish(folder, tmp_path, keep=1, keep_seconds=0)
        if reader.frozen:
            break
    reader.stopped = True
    reader.join()
    assert reader.frozen


@pytest.mark.parametrize("keep_seconds", [-1, True, "120", None, float("nan"), float("inf")])
def test_seconds_that_are_none_are_refused(folder, tmp_path, keep_seconds):
    with pytest.raises(ValueError, match="`keep_seconds` must be a number of seconds, 0 or more. Received: keep_sec"):
        klr.publish(folder, tmp_path / "base", keep=1, keep_seconds=keep_seconds)
    assert not (tmp_path / "base").exists()


# Verification


def test_an_export_and_a_version_are_verified_and_their_manifest_is_returned(model, folder, tmp_path):
    assert klr.verify(folder)["columns"][0]["name"] == "features"
    version = klr.publish(model, tmp_path / "base", warmup=X)
    manifest = klr.verify(str(version))
    assert manifest["version"] == 1
    assert {"saved_model.pb", "assets.extra/tf_serving_warmup_requests"} <= set(manifest["files"])
    shutil.copytree(version, tmp_path / "copy")
    assert klr.verify(tmp_path / "copy") == manifest


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_number(path):
    path.write_text(path.read_text().replace('"units": 1', '"units": 2'))


DAMAGE = {
    "a flipped bit of the graph": ("saved_model.pb", flip, "saved_model.pb, which was changed"),
    "a cut graph": (
        "saved_model.pb",
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        "saved_model.pb, which was changed",
    ),
    "a flipped bit of the weights": (
        "variables/variables.data-00000-of-00001",
        flip,
        "variables/variables.data-00000-of-00001, which was changed",
    ),
    "no weights": ("variables/variables.index", os.remove, "variables/variables.index, which is missing"),
    "another asset": ("assets/words.txt", lambda p: p.write_text("a"), "assets/words.txt, which was added"),
    "a flipped warm-up request": (
        "assets.extra/tf_serving_warmup_requests",
        flip,
        "assets.extra/tf_serving_warmup_requests, which was changed",
    ),
    "a number in the manifest": ("keras_linreg.json", change_number, "a manifest that was changed"),
    "no manifest": ("keras_linreg.json", os.remove, "must be one that `export` of a keras_linreg model wrote"),
    "half a manifest": (
        "keras_linreg.json",
        lambda p: p.write_text(p.read_text()[:100]),
        "must be a file that `export`",
    ),
}


@pytest.fixture(scope="module")
def published(model, tmp_path_factory):
    return klr.publish(model, tmp_path_factory.mktemp("published"), warmup=X)


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named(published, tmp_path, damage):
    name, change, message = DAMAGE[damage]
    shutil.copytree(published, tmp_path / "version")
    (tmp_path / "version" / name).parent.mkdir(exist_ok=True)
    change(tmp_path / "version" / name)
    with pytest.raises(ValueError, match=message):
        klr.verify(tmp_path / "version")


def test_files_of_others_beside_the_model_do_not_count(published, tmp_path):
    shutil.copytree(published, tmp_path / "version")
    (tmp_path / "version" / "notes.txt").write_text("mine")
    (tmp_path / "version" / "assets.extra" / "other").write_text("mine")
    text = (tmp_path / "version" / "keras_linreg.json").read_text()
    (tmp_path / "version" / "keras_linreg.json").write_text(json.dumps(json.loads(text)))  # laid out otherwise
    klr.verify(tmp_path / "version")


def test_a_model_of_an_earlier_version_is_verified_by_its_one_hash(published, tmp_path):
    shutil.copytree(published, tmp_path / "version")
    path = tmp_path / "version" / "keras_linreg.json"
    manifest = json.loads(path.read_text())
    for key in ("files", "manifest_hash", "signatures", "defaults"):
        del manifest[key]
    path.write_text(json.dumps(manifest))
    assert klr.verify(tmp_path / "version")["hash"] == manifest["hash"]
    assert klr.publish(tmp_path / "version", tmp_path / "base", warmup=X).name == "1"
    flip(tmp_path / "version" / "saved_model.pb")
    with pytest.raises(ValueError, match="another hash than the one in the manifest"):
        klr.verify(tmp_path / "version")


@pytest.mark.parametrize("path", [None, 3, ""])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(ValueError, match="`path` must be the path of a folder that `export` or `publish` wrote"):
        klr.verify(path)


def test_a_version_that_the_disk_has_spoiled_does_not_appear(folder, tmp_path, monkeypatch):
    def spoil(staged):
        flip(staged / "saved_model.pb")

    klr.publish(folder, tmp_path)
    # The package has the function `publish` under the module's name.
    monkeypatch.setattr(sys.modules["keras_linreg.export.publish"], "flush_all", spoil)
    with pytest.raises(ValueError, match="saved_model.pb, which was changed"):
        klr.publish(folder, tmp_path, keep=1, keep_seconds=0)
    assert names(tmp_path) == ["1"]


# What export prints


@pytest.mark.parametrize(
    ("columns", "signatures"),
    [(("level", "b"), "keras"), (("examples", "inputs"), "keras"), (("inputs", "level"), "estimator")],
)
def test_export_prints_each_input_once_whatever_columns_are_called(tmp_path, capsys, columns, signatures):
    frame = pd.DataFrame(X[:, : len(columns)], columns=columns)
    model = solve(frame, X.sum(axis=1) + RNG.normal(size=40))
    if "level" in columns:
        with pytest.warns(UserWarning, match="predict_interval_at is left out"):
            model.export(tmp_path / "model", signatures=signatures)
    else:
        model.export(tmp_path / "model", signatures=signatures)
    lines = capsys.readouterr().out.splitlines()[1:]
    listed = ", ".join(f"{name}: float32 [batch]" for name in columns)
    by_column = "serving_default" if signatures == "keras" else "serve"
    assert any(line.strip().startswith(f"{by_column}({listed})") for line in lines)
    assert f"  predict_interval(as {by_column}) -> mean" in "\n".join(lines)
    for line in lines:
        inputs = [part.split(":")[0] for part in line.partition("(")[2].partition(")")[0].split(", ")]
        assert len(set(inputs)) == len(inputs)
    regress = "  regress(inputs: string [batch]) -> outputs: float32 [batch]"
    assert regress in lines and "  examples(examples: string [batch]) -> predictions: float32 [batch, 1]" in lines
    if signatures == "estimator":
        assert "  serving_default(inputs: string [batch]) -> outputs: float32 [batch, 1]" in lines
