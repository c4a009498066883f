"""From what the user has to rows of a design: tables, names, missing values, dtypes, preprocessors, streams.

`Reader` is the entrance: `prepare` takes arrays, tables, dicts, tensors and streams, checks them, learns the `Schema`,
and returns them `Prepared` for Keras: `Rows`, `SparseRows` or a `Stream`.
"""

from keras_linreg.data.cell_matrix import CellMatrix
from keras_linreg.data.column_matrix import ColumnMatrix, LazyMatrix
from keras_linreg.data.dense import dense_batch, dense_matrix, to_dense
from keras_linreg.data.finite import first_bad, float_numbers, is_finite
from keras_linreg.data.kinds import is_sparse, is_stream
from keras_linreg.data.missing import MissingRows, check_rule
from keras_linreg.data.prepared import Prepared, Rows, SparseRows, Stream
from keras_linreg.data.reader import Reader
from keras_linreg.data.schema import Column, Schema, checked_names, default_names, default_output_names
from keras_linreg.data.sparse import to_csr
from keras_linreg.data.table_preprocessor import TablePreprocessor, forgetting_on_error, intercept_of

__all__ = [
    "CellMatrix",
    "Column",
    "ColumnMatrix",
    "LazyMatrix",
    "MissingRows",
    "Prepared",
    "Reader",
    "Rows",
    "Schema",
    "SparseRows",
    "Stream",
    "TablePreprocessor",
    "check_rule",
    "checked_names",
    "default_names",
    "default_output_names",
    "dense_batch",
    "dense_matrix",
    "first_bad",
    "float_numbers",
    "forgetting_on_error",
    "intercept_of",
    "is_finite",
    "is_sparse",
    "is_stream",
    "to_csr",
    "to_dense",
]
