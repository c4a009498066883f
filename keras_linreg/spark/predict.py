"""Predictions where the rows are: columns that an Arrow function adds on the workers, by NumPy alone."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data import Reader
from keras_linreg.data.dense import dense_matrix
from keras_linreg.inference.distributions import check_level
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.intervals import KEYS, intervals
from keras_linreg.moments.moments import Moments
from keras_linreg.spark.design_rows import DesignRows
from keras_linreg.spark.fit import check_has_columns, fitted_of, formula_of
from keras_linreg.spark.frame import check_frame, check_numeric
from keras_linreg.utils.arguments import check_flag
from keras_linreg.utils.threads import limit_threads, one_blas_thread
from keras_linreg.utils.types import Array

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PREDICTION = "prediction"


def predict(model: Any, df: DataFrame, interval: bool = False, level: float = 0.95) -> DataFrame:
    """Return a DataFrame with the predictions of a model as columns beside its own.

    They are computed on the workers when the rows are asked for, in float64, without TensorFlow. A row with a null or
    NaN in a column of the model has null predictions. A streaming DataFrame is welcome.

    A model with a `klr.Formula` needs the columns of its right side. A level that it has not seen ends the job with an
    error that names it; `C(column, unseen="level")` takes such a level for a known one.

    Args:
        model: a fitted model of this package, of columns of numbers or of a `klr.Formula`; or `Moments` of columns,
            for their least-squares fit.
        df: has the columns of the model; others pass through, whatever they hold.
        interval: whether to add what `predict_interval` returns, `mean`, `mean_se`, `mean_ci_lower`, ...; else
            `prediction`. Of several outputs each has its own columns, such as `prediction_price`.
        level: the coverage of the intervals.

    Raises:
        ImportError: pyspark, in version 4.1 or later, is not installed.
        ValueError: the model is not fitted, has another preprocessor than a formula, or has no intervals; `df` lacks a
            column, or has one of the name of a prediction.

    Example:
    ```python
    klr.spark.predict(model, homes, interval=True).write.parquet("predictions")
    ```
    """
    check_frame(df, can_stream=True)
    import pyspark.sql.functions
    from pyspark.sql.types import DoubleType, StructField, StructType

    formula = formula_of(model)
    predictor = predictor_of(model, check_level(level) if check_flag("interval", interval) else None)
    predictor = predictor.reading(formula, df)
    known = df.columns
    lower = {name.lower() for name in known}  # Spark's names have no case
    if taken := [name for name in predictor.names if name.lower() in lower]:
        raise ValueError(f"`df` must have no columns of the names of the predictions: rename them. Received: {taken}.")
    F: Any = pyspark.sql.functions  # its types allow no struct
    if not hasattr(F, "arrow_udf"):
        raise ImportError("`klr.spark.predict` needs pyspark 4.1 or later: `pip install 'pyspark>=4.1'`.")
    kind = StructType([StructField(f"p{j}", DoubleType()) for j in range(len(predictor.names))])
    places = [f"c{place}" for place in range(len(known))]
    rows = F.struct(*(F.col(f"c{known.index(name)}") for name in predictor.features))
    predictions = F.arrow_udf(lambda batch: predictor(batch), kind)(rows)  # a function: Spark counts its parameters
    both = df.toDF(*places).withColumn(PREDICTION, predictions)
    columns = [F.col(PREDICTION)[field.name] for field in kind.fields]
    return both.select(*places, *columns).toDF(*known, *predictor.names)


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Runs on a worker: from a batch of rows to their predictions.

    Attributes:
        features: the names of the columns that are read: p, or those of a formula.
        names: of the columns of predictions.
        kernel: `(p, k)`.
        centre, at_centre: a row `(p,)`, and the prediction `(k,)` of it: numbers far from zero keep their digits.
        estimate: of the fit, for intervals; else None.
        level: the coverage.
        design: of a formula; None if the columns are those of x.
    """

    features: list[str]
    names: list[str]
    kernel: Array
    centre: Array
    at_centre: Array
    estimate: Estimate | None
    level: float
    design: DesignRows | None = None

    def reading(self, formula: Any, df: DataFrame) -> Predictor:
        """Return what predicts of a DataFrame.

        Args:
            formula: of the model, or None.
            df: has the columns.

        Raises:
            ValueError: `df` lacks a column, or one holds something else than the model takes.
        """
        if formula is None:
            check_has_columns(df, self.features)
            check_numeric(df, self.features)
            return self
        from keras_linreg.spark import formula_design  # brings TensorFlow, and the workers import this file

        formula_design.check_has_named(df, [column.name for column in formula.inputs])
        design = formula_design.design_rows(formula, df, None, None, "drop")
        return dataclasses.replace(self, features=list(design.columns), design=design)

    def __call__(self, batch: Any) -> Any:
        """Return the predictions, a struct array of Arrow; those of a row without a value are null.

        Args:
            batch: a struct array of the features.
        """
        import pyarrow

        table = pyarrow.RecordBatch.from_arrays(batch.flatten(), names=self.features)
        if not table.num_rows:
            values = np.zeros((0, len(self.names)))
        elif self.design is not None:
            values = self.predictions(self.design.matrix(table))
        else:
            reader = Reader(None, "float64", missing="drop", drops_in_graph=False)
            values = self.predictions(dense_matrix(reader.rows(table, targets=False).x))
        columns = [pyarrow.array(np.ascontiguousarray(column), mask=np.isnan(column)) for column in values.T]
        return pyarrow.StructArray.from_arrays(columns, names=[f"p{j}" for j in range(len(self.names))])

    def predictions(self, x: Array) -> Array:
        """Return the columns of predictions of rows `(n, p)`, with NaN where there are none."""
        with limit_threads(1), one_blas_thread(), np.errstate(invalid="ignore"):
            if self.estimate is None:
                return (np.asarray(x, np.float64) - self.centre) @ self.kernel + self.at_centre
            figures = intervals(self.estimate, x, self.level)
            leverage = figures["leverage"][:, None]
            leverage[np.isnan(figures["mean"]).any(axis=1)] = np.nan
            return np.hstack([*(figures[key] for key in KEYS[:-1]), leverage])


def predictor_of(model: Any, level: float | None) -> Predictor:
    """Return what predicts as a model does.

    Args:
        model: a fitted model, or moments.
        level: the coverage of intervals; None for predictions alone.

    Raises:
        ValueError: the model is not fitted, or has no intervals.
    """
    fitted: FittedMoments | None = fitted_of(model) if isinstance(model, Moments) else getattr(model, "fitted", None)
    if fitted is not None and hasattr(fitted, "estimate_with_errors"):
        solution, moments = fitted.solution, fitted.moments
        features, outputs = list(moments.feature_names), list(moments.output_names)
        p, k = solution.kernel.shape
        centre, at_centre = fitted.centre() if fitted.use_bias else (np.zeros(p), np.zeros(k))
        kernel, estimate = solution.kernel, None if level is None else fitted.estimate_with_errors()
    elif level is not None:
        raise ValueError(
            f"`interval` must be False: this model keeps no moments to tell errors. Received: {type(model).__name__}."
        )
    else:
        features, outputs, kernel, at_centre = _weights(model)
        centre, estimate = np.zeros(len(kernel)), None
    keys = [PREDICTION] if level is None else list(KEYS[:-1])
    names = keys if len(outputs) == 1 else [f"{key}_{output}" for key in keys for output in outputs]
    names = [*names, *([] if level is None else [KEYS[-1]])]
    return Predictor(features, names, kernel, centre, at_centre, estimate, level or 0.0)


def _weights(model: Any) -> tuple[list[str], list[str], Array, Array]:
    """Return the names of features and outputs, the kernel and the bias of a model without moments."""
    if getattr(model, "kernel", None) is None or not getattr(model, "feature_names", None):
        raise ValueError(
            "`model` must be a fitted model of this package that knows the names of its columns, or Moments. "
            f"Received: {type(model).__name__}."
        )
    kernel = np.asarray(model.kernel, np.float64)
    bias = np.zeros(kernel.shape[1]) if model.bias is None else np.asarray(model.bias, np.float64)
    return list(model.feature_names), [str(j) for j in range(kernel.shape[1])], kernel, bias
