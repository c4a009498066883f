"""One exported model of each kind that a server may see, made when a test first asks for it."""

import contextlib
import functools
import warnings
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
from loader_process import ask

import keras_linreg as klr
from keras_linreg.export.warmup_requests import to_example

N = 60
LEVELS = np.resize([0.5, 0.8, 0.95, 0.999, 0.999999], 100)
AWKWARD_NAMES = [
    *("fixed acidity", "größe", "self", "Age", "age", "a b", "a_b", "1st", "column_0", "", "examples", "inputs")
]
FLOAT64_INPUT = "exact, float64 input"
# The expected answers are those for the rows as float32 holds them.
ROUNDED = "exact, years", "exact, an idle year", "exact, nearly dependent"
TRAINED = [
    *("matrix", "one feature", "frame", "two outputs", "awkward names", "bfloat16", "float64"),
    *("Normalization of a matrix", "Normalization of a frame", "FeatureSpace"),
]
WITH_INTERVALS = [
    *("exact, matrix", "exact, one feature", "exact, frame", "exact, weights", "exact, no intercept"),
    *("exact, two outputs", "exact, awkward names", "exact, one column", "exact, float32", "exact, dependent"),
    *("exact, min_norm", FLOAT64_INPUT, "exact, off centre", *ROUNDED, "exact, FeatureSpace"),
    "exact, one degree of freedom",
]
KINDS = [*TRAINED, *WITH_INTERVALS, "penalised"]


def train(x, y, **arguments):
    """Return a LinearRegression after two epochs."""
    model = klr.LinearRegression(**arguments)
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    model.fit(x, y, epochs=2, verbose=0)
    return model


def solve(x, y, weights=None, **arguments):
    """Return a fitted ExactLinearRegression, without a warning of dependent columns."""
    model = klr.ExactLinearRegression(**arguments)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The data do not determine|.*depend", UserWarning)
        model.fit(x, y, sample_weight=weights, verbose=0)
    return model


class Exported(NamedTuple):
    """An exported model, and a request for the rows that it was fitted on."""

    folder: Any
    request: dict
    model: Any
    x: Any

    @property
    def signatures(self):
        """The signatures that the contract promises for this kind of model."""
        keys = ["serving_default", "examples", *["regress"] * (self.model.units == 1)]
        has_intervals = hasattr(self.model, "moments") and self.model.kernel_regularizer is None
        return [*keys, "predict_interval", "predict_interval_at"] if has_intervals else keys


class ExportedModels:
    """The exported models, by their kind."""

    def __init__(self, folder, penguins, penguin_space):
        self._folder = folder
        self._cases = cases(penguins, penguin_space)
        assert set(self._cases) == set(KINDS)
        self.of_kind = functools.cache(self._export)
        self.answer = functools.cache(self._answer)

    def __getitem__(self, kind):
        return self.of_kind(kind)

    def _export(self, kind):
        fit, x, y, arguments = self._cases[kind]
        model, folder = fit(x, y, **arguments), self._folder / str(KINDS.index(kind))
        dtype, warns = "float32", contextlib.nullcontext()
        if kind == FLOAT64_INPUT:
            dtype = "float64"
            warns = pytest.warns(UserWarning, match="A tf.Example holds float32 alone, which spoils a:")
        with warns:
            model.export(folder, verbose=False, input_dtype=dtype)
        request = request_of(model, x, dtype)
        return Exported(folder, request, model, request["features"].astype("float64") if kind in ROUNDED else x)

    def _answer(self, kind, signature, size=None):
        """Return the loader's answer to a request of the first rows, or of all."""
        exported = self[kind]
        request = {name: values[:size] for name, values in exported.request.items()}
        (answer,) = ask([(exported.folder, signature, inputs_of(request, signature))])
        return answer


def cases(penguins, penguin_space):
    """Return for each kind the function that fits it, the data and its arguments."""
    rng = np.random.default_rng(8)
    matrix = rng.normal(size=(N, 4))
    target = matrix.sum(axis=1) + rng.normal(size=N)
    both = np.stack([target, -(target**2)], 1)
    # The second column explains nothing of this target.
    without_second = matrix[:, 0] + 3 + unexplained_errors(matrix, rng)
    named = pd.DataFrame(matrix, columns=["b", "a", "d", "c"])
    awkward = pd.DataFrame(rng.normal(size=(N, len(AWKWARD_NAMES))), columns=AWKWARD_NAMES)
    dependent = named.assign(sum=named["a"] + named["b"], one=1.0)
    nearly_dependent = np.column_stack([matrix, matrix[:, 0] + 1e-3 * matrix[:, 1] ** 2])
    far = named.assign(a=named["a"] + 1.7e9, d=named["d"] + 2000)
    normalization = keras.layers.Normalization()
    normalization.adapt(matrix)
    return {
        "matrix": (train, matrix, target, {}),
        "one feature": (train, matrix[:, 0], target, {}),
        "frame": (train, named, target, {}),
        "two outputs": (train, named, both, {"units": 2}),
        "awkward names": (train, awkward, target, {}),
        "bfloat16": (train, matrix, target, {"dtype": "mixed_bfloat16"}),
        "float64": (train, named, target, {"dtype": "float64"}),
        "Normalization of a matrix": (train, matrix, target, {"preprocessor": normalization}),
        "Normalization of a frame": (train, named, target, {"preprocessor": normalization}),
        "FeatureSpace": (train, *penguins, {"preprocessor": penguin_space}),
        "exact, matrix": (solve, matrix, target, {}),
        "exact, one feature": (solve, matrix[:, 0], target, {}),
        "exact, frame": (solve, named, target, {}),
        "exact, weights": (solve, named, target, {"weights": rng.uniform(0.1, 3, N)}),
        "exact, no intercept": (solve, matrix, target, {"use_bias": False}),
        "exact, two outputs": (solve, matrix, both, {"units": 2}),
        "exact, awkward names": (solve, awkward, target, {}),
        "exact, one column": (solve, named[["a"]], target, {}),
        "exact, float32": (solve, named, target, {"dtype": "float32"}),
        "exact, dependent": (solve, dependent, target, {}),
        "exact, min_norm": (solve, dependent, target, {"dependent": "min_norm"}),
        FLOAT64_INPUT: (solve, far, target, {}),
        "exact, off centre": (solve, matrix + np.array([1, -2, 3, 0.5]), target, {}),
        "exact, years": (solve, matrix + np.array([2000, 0, 0, 4e3]), target, {}),
        "exact, an idle year": (solve, matrix + np.array([0, 4e3, 0, 0]), without_second, {}),
        "exact, nearly dependent": (solve, nearly_dependent, target, {}),
        "exact, FeatureSpace": (solve, *penguins, {"preprocessor": penguin_space}),
        "exact, one degree of freedom": (solve, matrix[:3, :1], target[:3], {}),
        "penalised": (solve, matrix, target, {"kernel_regularizer": "l2"}),
    }


def unexplained_errors(matrix, rng):
    """Return errors that neither a column nor a constant explains."""
    design = np.column_stack([np.ones(len(matrix)), matrix])
    errors = rng.normal(size=len(matrix))
    return errors - design @ np.linalg.lstsq(design, errors, rcond=None)[0]


def request_of(model, x, dtype="float32"):
    """Return the request for rows that `predict` takes."""
    if not model.schema.named:
        return {"features": np.asarray(x, dtype).reshape(len(x), -1)}
    dtypes = {"float32": dtype, "int64": np.int64, "string": str}
    return {c.name: x[c.name].to_numpy().astype(dtypes[c.dtype]) for c in model.schema.inputs}


def inputs_of(request, signature):
    """Return the inputs of a signature for the rows of a request."""
    count = len(next(iter(request.values())))
    if signature in ("examples", "regress"):
        rows = [{name: values[i] for name, values in request.items()} for i in range(count)]
        examples = np.array([to_example(row).SerializeToString() for row in rows], object)
        return {"examples" if signature == "examples" else "inputs": examples}
    return {**request, "level": LEVELS[:count]} if signature == "predict_interval_at" else request


def close(actual, desired, rtol=2e-6, atol=2e-6, what=""):
    np.testing.assert_allclose(actual=actual, desired=desired, rtol=rtol, atol=atol, err_msg=what)
