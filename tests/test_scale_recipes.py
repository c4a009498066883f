"""The recipes for other engines in examples/scale: each gives the moments of one machine."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import keras_linreg as klr

RECIPES = Path(__file__).parents[1] / "examples" / "scale"
RAY = '`pip install "ray[data]"`, as .ci/run does'
BEAM = "apache-beam takes older versions of protobuf and pyarrow: install it into an environment of its own"

pytestmark = pytest.mark.heavy


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # for processes that unpickle its functions
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Twelve files, and the moments of all their rows."""
    monkeypatch.syspath_prepend(str(RECIPES))
    rng, paths, total = np.random.default_rng(0), [], 0
    for i in range(12):
        frame = pd.DataFrame(rng.normal(i, 1, (500, 3)), columns=["a b", "c", "y"])
        paths.append(str(tmp_path / f"part{i:02}.parquet"))
        frame.to_parquet(paths[-1], index=False)
        total += klr.Moments.from_data(frame[["a b", "c"]], frame.y)
    return paths, total


def assert_same(moments, expected):
    assert (moments.rows, moments.feature_names) == (expected.rows, expected.feature_names)
    np.testing.assert_allclose(moments.solve().kernel, expected.solve().kernel, rtol=1e-12)


def test_dask(files):
    pytest.importorskip("dask", reason="`pip install dask`, as .ci/run does")
    paths, expected = files
    moments = recipe("moments_on_dask").moments(paths, "y")
    assert_same(moments, expected)
    assert moments.to_bytes() == recipe("moments_on_dask").moments(paths, "y").to_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own
def test_ray(files, tmp_path):
    pytest.importorskip("ray", reason=RAY)
    import ray.data

    _, expected = files
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": paths})
    try:
        rows = ray.data.read_parquet(str(tmp_path))
        moments = recipe("moments_on_ray").moments(rows, "y")
        assert_same(moments, expected)
        assert moments.to_bytes() == recipe("moments_on_ray").moments(rows, "y").to_bytes()
    finally:
        ray.shutdown()


def test_beam(files, tmp_path):
    beam = pytest.importorskip("apache_beam", reason=BEAM)
    _, expected = files
    with beam.Pipeline(runner="DirectRunner") as pipeline:
        data = pipeline | recipe("moments_on_beam").moments_of(str(tmp_path / "part*.parquet"), "y")
        data | beam.Map(lambda data: (tmp_path / "moments").write_bytes(data))
    assert_same(klr.Moments.from_bytes((tmp_path / "moments").read_bytes()), expected)


def test_two_processes_of_a_strategy_gather_moments_and_agree():
    result = subprocess.run(
        [sys.executable, RECIPES / "two_processes.py"], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.strip().splitlines()
    assert first == second
    assert first.startswith("10,000 rows: [")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10_000, 3))
    y = x @ [1.0, -2.0, 0.5] + 3 + rng.normal(size=10_000)
    kernel = klr.Moments.from_data(x, y).solve().kernel[:, 0]
    assert str(kernel.round(4).tolist()) in first
