"""From what the user has to rows of a design: names, dtypes, preprocessors, streams.

`Reader` is the entrance: `prepare` takes arrays, frames, dicts, tensors and streams, checks them, learns the `Schema`,
and returns them `Prepared` for Keras. `dense_batches` reads prepared data as NumPy arrays.
"""

from keras_linreg.data.dense import as_dataset, batches_by_number, block_size, dense_batch, dense_batches, to_csr
from keras_linreg.data.finite import first_bad, float_numbers, is_finite
from keras_linreg.data.kinds import is_sparse
from keras_linreg.data.prepared import Prepared, is_stream, split, to_dense
from keras_linreg.data.reader import Reader
from keras_linreg.data.schema import Column, Schema, checked_names, default_names, output_names

__all__ = [
    "Column",
    "Prepared",
    "Reader",
    "Schema",
    "as_dataset",
    "batches_by_number",
    "block_size",
    "checked_names",
    "default_names",
    "dense_batch",
    "dense_batches",
    "first_bad",
    "float_numbers",
    "is_finite",
    "is_sparse",
    "is_stream",
    "output_names",
    "split",
    "to_csr",
    "to_dense",
]
