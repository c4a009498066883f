"""Which library's type a value is of, told without importing the library.

A value can be a tensor only if TensorFlow is imported. So none of these functions imports anything.
"""

import types
from typing import Any

from keras_linreg.utils.lazy import loaded_module
from keras_linreg.utils.types import Data


def _is_instance(value: Any, module: str, *names: str) -> bool:
    """Return whether a value is of one of the types `names` (dotted) of a module."""
    library = loaded_module(module)
    if library is None:
        return False
    for name in names:
        kind: Any = library
        for part in name.split("."):
            kind = getattr(kind, part)
        if isinstance(value, kind):
            return True
    return False


def is_tensor(value: Data) -> bool:
    """Return whether a value is a tensor of TensorFlow: dense, sparse, ragged, a variable."""
    tensorflow = loaded_module("tensorflow")
    return tensorflow is not None and bool(tensorflow.is_tensor(value))


def is_dense_tensor(value: Data) -> bool:
    """Return whether a value is a dense tensor."""
    return _is_instance(value, "tensorflow", "Tensor")


def is_sparse_tensor(value: Data) -> bool:
    """Return whether a value is a `tf.SparseTensor`."""
    return _is_instance(value, "tensorflow", "SparseTensor")


def is_ragged_tensor(value: Data) -> bool:
    """Return whether a value is a `tf.RaggedTensor`."""
    return _is_instance(value, "tensorflow", "RaggedTensor")


def is_type_spec(value: Data) -> bool:
    """Return whether a value is the spec of tensors, as datasets have."""
    return _is_instance(value, "tensorflow", "TypeSpec")


def is_tensor_shape(value: Data) -> bool:
    """Return whether a value is a `tf.TensorShape`."""
    return _is_instance(value, "tensorflow", "TensorShape")


def is_tensor_dtype(value: Data) -> bool:
    """Return whether a value is a `tf.DType`."""
    return _is_instance(value, "tensorflow", "DType")


def is_sparse(value: Data) -> bool:
    """Return whether a value is a sparse tensor or a SciPy sparse matrix."""
    return is_sparse_tensor(value) or is_scipy_sparse(value)


def is_scipy_sparse(value: Data) -> bool:
    """Return whether a value is a SciPy sparse matrix."""
    return hasattr(value, "tocoo")


def is_dataset(value: Data) -> bool:
    """Return whether a value is a `tf.data.Dataset`."""
    return _is_instance(value, "tensorflow", "data.Dataset")


def is_distributed_dataset(value: Data) -> bool:
    """Return whether a value is a dataset that a strategy has distributed."""
    return _is_instance(value, "tensorflow", "distribute.DistributedDataset")


def is_py_dataset(value: Data) -> bool:
    """Return whether a value is a `keras.utils.PyDataset`."""
    return _is_instance(value, "keras", "utils.PyDataset")


def is_stream(value: Data) -> bool:
    """Return whether a value is a stream, which holds y too: a dataset, PyDataset, generator or loader."""
    return (
        is_dataset(value)
        or is_distributed_dataset(value)
        or is_py_dataset(value)
        or isinstance(value, types.GeneratorType)
        or hasattr(value, "__next__")
        or type(value).__module__.startswith(("torch.utils.data", "grain."))
    )


def is_feature_space(value: Any) -> bool:
    """Return whether a value is a `keras.utils.FeatureSpace`."""
    return _is_instance(value, "keras", "utils.FeatureSpace")


def is_layer(value: Any) -> bool:
    """Return whether a value is a Keras layer or model."""
    return _is_instance(value, "keras", "Layer")


def is_frame(value: Data) -> bool:
    """Return whether a value is a pandas DataFrame."""
    return _is_instance(value, "pandas", "DataFrame")


def is_series(value: Data) -> bool:
    """Return whether a value is a pandas Series."""
    return _is_instance(value, "pandas", "Series")


def is_record_batch(value: Data) -> bool:
    """Return whether a value is a record batch of Arrow."""
    return _is_instance(value, "pyarrow", "RecordBatch")


def is_arrow_dataset(value: Data) -> bool:
    """Return whether a value is a dataset of Arrow."""
    return _is_instance(value, "pyarrow.dataset", "Dataset")


def is_record_batch_reader(value: Data) -> bool:
    """Return whether a value is a reader of record batches of Arrow, which can be read once."""
    return _is_instance(value, "pyarrow", "RecordBatchReader")


def is_duckdb_relation(value: Data) -> bool:
    """Return whether a value is a relation of DuckDB."""
    return _is_instance(value, "duckdb", "DuckDBPyRelation")
