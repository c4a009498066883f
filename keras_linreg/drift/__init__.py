"""Whether new rows are still like the rows of a fit, and its predictions still right: by moments alone."""

from keras_linreg.drift.monitor import DriftMonitor
from keras_linreg.drift.report import DriftReport

__all__ = ["DriftMonitor", "DriftReport"]
