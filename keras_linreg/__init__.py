"""Linear regression for Keras 3 on TensorFlow: fit it like any Keras model, plot it, tune it, save it, serve it."""

import importlib
from typing import Any

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_linreg needs Keras's TensorFlow backend: set KERAS_BACKEND=tensorflow before keras is imported. "
        f"Received: backend={keras.backend.backend()!r}."
    )

from keras_linreg.exact import ExactLinearRegression
from keras_linreg.export import publish
from keras_linreg.losses import SquaredError
from keras_linreg.model import LinearRegression
from keras_linreg.moments import Moments
from keras_linreg.report import RegressionReport

__version__ = "0.1.0"

__all__ = [
    "ExactLinearRegression",
    "HyperLinearRegression",
    "LinearRegression",
    "Moments",
    "RegressionReport",
    "SquaredError",
    "callbacks",
    "plots",
    "publish",
]


def __getattr__(name: str) -> Any:
    """Import matplotlib and keras_tuner only when what needs them is asked for."""
    if name in ("callbacks", "plots"):
        return importlib.import_module(f"keras_linreg.{name}")
    if name == "HyperLinearRegression":
        return importlib.import_module("keras_linreg.tuner").HyperLinearRegression
    raise AttributeError(f"module 'keras_linreg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
