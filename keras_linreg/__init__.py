"""Linear regression for Keras 3 on TensorFlow: fit it like any Keras model, plot it, tune it, save it, serve it.

Data flow one way through the rooms, and each imports only rooms above it:

- `utils`: warnings, files, threads; `keras_compat` holds every private hook of Keras, KerasTuner and TensorFlow.
- `linalg`: double-double numbers and triangular factors.
- `plots`: pictures, as functions of arrays and a Matplotlib Axes.
- `losses`: `SquaredError`.
- `data`: from the user's data to rows of a design; names, dtypes, preprocessors, streams.
- `formula`: R's formulas, as a preprocessor.
- `sufficient_statistics`: all that least squares needs to know of some rows, and how two of them merge.
- `solvers`: from statistics to coefficients, one solver a file.
- `moments`: from rows to `Moments`, which add up, are saved, and are solved.
- `inference`: estimates, covariances, tests, intervals, diagnostics, the report.
- `training`: blocks of train steps in one compiled call, and the watch over a loss that diverges.
- `export`: the served graph, its signatures, its versions.
- `models`: the Keras models.
- `drift`: whether new rows are still like the rows of a fit.
- `spark`: moments, reports, diagnostics and predictions on a cluster.
- `callbacks`, `tuner`: `FitPlot`; `HyperLinearRegression`, `HyperElasticNet`.

A name is imported when it is first used: `keras_linreg.Moments` brings no TensorFlow.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from keras_linreg.utils import import_hook

if TYPE_CHECKING:
    from keras_linreg import callbacks, plots, spark
    from keras_linreg.drift import DriftMonitor, DriftReport
    from keras_linreg.export.manifest import verify
    from keras_linreg.export.publish import publish
    from keras_linreg.formula import Formula
    from keras_linreg.inference.report import RegressionReport
    from keras_linreg.losses import SquaredError
    from keras_linreg.models.elastic_net import ElasticNetRegression
    from keras_linreg.models.exact import ExactLinearRegression
    from keras_linreg.models.gradient import LinearRegression
    from keras_linreg.moments.folds import FoldMoments
    from keras_linreg.moments.moments import Moments
    from keras_linreg.moments.regularization_path import RegularizationPath
    from keras_linreg.tuner import HyperElasticNet, HyperLinearRegression

__version__ = "0.1.0"

__all__ = [
    "DriftMonitor",
    "DriftReport",
    "ElasticNetRegression",
    "ExactLinearRegression",
    "FoldMoments",
    "Formula",
    "HyperElasticNet",
    "HyperLinearRegression",
    "LinearRegression",
    "Moments",
    "RegressionReport",
    "RegularizationPath",
    "SquaredError",
    "callbacks",
    "plots",
    "publish",
    "spark",
    "verify",
]

_MODULES = {
    "DriftMonitor": "drift",
    "DriftReport": "drift",
    "ElasticNetRegression": "models.elastic_net",
    "ExactLinearRegression": "models.exact",
    "FoldMoments": "moments.folds",
    "HyperElasticNet": "tuner",
    "Formula": "formula.layer",
    "HyperLinearRegression": "tuner",
    "LinearRegression": "models.gradient",
    "Moments": "moments.moments",
    "RegressionReport": "inference.report",
    "RegularizationPath": "moments.regularization_path",
    "SquaredError": "losses",
    "publish": "export",
    "verify": "export",
}
_NEED_NO_KERAS = (
    *(
        "DriftMonitor",
        "DriftReport",
        "FoldMoments",
        "Moments",
        "RegressionReport",
        "RegularizationPath",
        "plots",
        "spark",
    ),
)
_SERIALIZABLE = ("losses", "formula.layer", "models.gradient", "models.scaled", "models.exact", "models.elastic_net")


def _register_classes() -> None:
    """Register the classes that Keras loads from files, and explain its errors, unless Keras has another backend.

    Nothing is done before both libraries are there: TensorFlow imports Keras while it is imported itself.
    """
    has_tensorflow = "tensorflow" not in sys.modules or import_hook.is_imported("tensorflow")
    if not (import_hook.is_imported("keras") and has_tensorflow):
        return
    if sys.modules["keras"].backend.backend() == "tensorflow":
        for module in _SERIALIZABLE:
            importlib.import_module(f"keras_linreg.{module}")
        importlib.import_module("keras_linreg.models.file_checks").explain_errors_of_load_model()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'keras_linreg' has no attribute {name!r}")
    if name not in _NEED_NO_KERAS:
        importlib.import_module("keras")  # first: it registers the classes, which need whole modules of ours
        importlib.import_module("keras_linreg.utils.keras_compat").check_backend()
    if name in ("callbacks", "plots", "spark"):
        return importlib.import_module(f"keras_linreg.{name}")
    value = getattr(importlib.import_module(f"keras_linreg.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


for _package in ("keras", "tensorflow"):
    import_hook.call_when_imported(_package, _register_classes)
