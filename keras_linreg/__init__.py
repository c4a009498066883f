"""Linear regression for Keras 3 on TensorFlow: fit it like any Keras model, plot it, tune it, save it, serve it.

Data walk one way through its modules, each of which imports those above it and none below:

- `alerts`, `files`, `threads`, `given`, `ours`, `permodel`: small things that the others need.
- `data`: from what the user has to rows of a design; names, dtypes, preprocessors, streams.
- `doubledouble`, `factor`, `reduction`, `accumulate`, `moments`: from rows to `Moments`.
- `solvers`, `polish`: from moments to coefficients.
- `estimate`, `inference`, `restrictions`, `hypotheses`, `caveats`, `tables`, `records`, `report`: how sure they are.
- `quantiles`, `residuals`, `readings`, `robust`, `diagnostics`: a second pass over the rows.
- `fitted`: moments, their solution, and all that is said of it.
- `losses`, `divergence`, `loop`: the loss, the watch over it, and blocks of train steps in one compiled call.
- `export`: the served graph, its signatures, its versions.
- `base`, `model`, `exact`: the Keras models.
- `plots`, `callbacks`, `tuner`: what stands beside them.
"""

import importlib
from typing import Any

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_linreg needs Keras's TensorFlow backend: set KERAS_BACKEND=tensorflow before keras is imported. "
        f"Received: backend={keras.backend.backend()!r}."
    )

from keras_linreg.export import publish
from keras_linreg.inference.report import RegressionReport
from keras_linreg.losses import SquaredError
from keras_linreg.models.exact import ExactLinearRegression
from keras_linreg.models.gradient import LinearRegression
from keras_linreg.moments.moments import Moments

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
