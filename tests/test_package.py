"""The package as a whole: what importing it costs, what it refuses, that its examples in docstrings run."""

import ast
import doctest
import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import keras_linreg as klr


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
        check=False,
    )


def test_import_brings_neither_matplotlib_nor_keras_tuner_nor_scikit_learn():
    code = (
        "import keras, sys; before = set(sys.modules); import keras_linreg;"
        "new = set(sys.modules) - before;"
        "print([m for m in ('matplotlib', 'keras_tuner', 'sklearn', 'tensorboard') if m in new])"
    )
    assert run(code).stdout.strip() == "[]"


def test_a_backend_other_than_tensorflow_is_an_error_at_import():
    result = run("import keras_linreg", KERAS_BACKEND="jax")
    if "No module named 'jax'" in result.stderr:
        result = run("import keras_linreg", KERAS_BACKEND="numpy")
    assert result.returncode != 0
    assert "keras_linreg needs Keras's TensorFlow backend" in result.stderr


def test_every_public_name_is_there():
    for name in klr.__all__:
        assert getattr(klr, name) is not None
    assert set(klr.__all__) <= set(dir(klr))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = klr.nothing


def test_the_version_is_the_packages_own():
    assert klr.__version__ == importlib.metadata.version("keras_linreg")


def test_data_walk_one_way_through_the_modules():
    rooms = {}
    for path in Path(klr.__file__).parent.rglob("*.py"):
        room = path.relative_to(Path(klr.__file__).parent).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_linreg"):
                rest = node.module.split(".")[1:]
                rooms.setdefault(room, set()).update(rest[:1] or [name.name for name in node.names])
    found = {room: needed - {room} for room, needed in rooms.items()}
    while found:
        free = [room for room, needed in found.items() if not needed & found.keys()]
        assert free, f"These import each other: {sorted(found)}"
        found = {room: needed for room, needed in found.items() if room not in free}


MODULES = ["keras_linreg", *(m.name for m in pkgutil.walk_packages(klr.__path__, "keras_linreg."))]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


PUBLIC_WITH_EXAMPLES = [
    klr.LinearRegression,
    klr.SquaredError,
    klr.HyperLinearRegression,
    klr.callbacks.FitPlot,
]


@pytest.mark.parametrize("thing", PUBLIC_WITH_EXAMPLES, ids=lambda thing: thing.__name__)
def test_every_public_class_shows_an_example(thing):
    assert ">>>" in thing.__doc__
