"""Spark: moments, reports, diagnostics and predictions where the rows are.

Each function takes a DataFrame of Spark (pyspark 4, classic or Connect) and columns by name. A worker reduces its
partitions to some kilobytes, by the same code as a single machine. See `examples/guides/cluster.md`.
"""

from keras_linreg.spark.diagnose import diagnose
from keras_linreg.spark.predict import predict
from keras_linreg.spark.reduction import moments
from keras_linreg.spark.report import report

__all__ = ["diagnose", "moments", "predict", "report"]
