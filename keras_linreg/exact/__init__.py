"""The exact model: its fit is one pass over the data, and the least-squares solution."""

from keras_linreg.exact.model import ExactLinearRegression

__all__ = ["ExactLinearRegression"]
