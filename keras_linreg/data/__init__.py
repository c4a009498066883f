"""Data at our boundary: frames, dicts, names and dtypes; the rest is left to Keras's adapters."""

from keras_linreg.data.reader import Reader
from keras_linreg.data.schema import Column, Schema
from keras_linreg.data.streams import Prepared, finite_part, is_finite, is_sparse, is_stream

__all__ = ["Column", "Prepared", "Reader", "Schema", "finite_part", "is_finite", "is_sparse", "is_stream"]
