"""The package as a whole: what importing it costs, what it refuses, that its examples in docstrings run."""

import doctest
import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys

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
