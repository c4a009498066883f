"""Data at our boundary: frames, dicts, names and dtypes; the rest is left to Keras's adapters."""

from keras_linreg.data.dense import as_dataset, block_size, compressed, dense_batch, dense_batches, parts_of
from keras_linreg.data.reader import Reader
from keras_linreg.data.schema import Column, Schema, checked_names, default_names, output_names
from keras_linreg.data.streams import (
    Prepared,
    finite_part,
    first_bad,
    is_finite,
    is_sparse,
    is_stream,
    split,
    written_out,
)

__all__ = [
    "Column",
    "Prepared",
    "Reader",
    "Schema",
    "as_dataset",
    "block_size",
    "checked_names",
    "compressed",
    "default_names",
    "dense_batch",
    "dense_batches",
    "finite_part",
    "first_bad",
    "is_finite",
    "is_sparse",
    "is_stream",
    "output_names",
    "parts_of",
    "split",
    "written_out",
]
