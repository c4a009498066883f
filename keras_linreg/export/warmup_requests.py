"""Warm-up requests: a server runs them before it answers its first client."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import Column, Reader, Schema, default_names, is_sparse, is_stream, to_csr
from keras_linreg.export import saved_model
from keras_linreg.export.inputs import LEVEL
from keras_linreg.export.manifest import EXTRA_FOLDER, Manifest
from keras_linreg.export.signatures import COLUMN_SIGNATURES, KERAS, OF_KERAS, STATISTICS_SIGNATURES
from keras_linreg.utils.types import Array, Data, PathLike

FILE = os.path.join(EXTRA_FOLDER, "tf_serving_warmup_requests")
MAX_ROWS = 1000
COVERAGE = 0.95


def write_requests(folder: PathLike, manifest: Manifest, rows: Data, name: str) -> None:
    """Run the warm-up requests of a SavedModel, and write them into its folder.

    Each signature has two requests: the first row alone, and all rows (the first 1,000). Keras's own has the first:
    where it is not the only one of columns, another one runs the same operations.

    Args:
        folder: the folder of the SavedModel.
        manifest: its manifest.
        rows: rows that `predict` takes, in memory.
        name: the name under which the model is served.

    Raises:
        ValueError: the model does not take the rows, or a signature refuses them. Nothing is written.
    """
    columns = _columns(manifest, rows)
    of_columns = (*COLUMN_SIGNATURES[manifest.get("signatures", KERAS)], *STATISTICS_SIGNATURES)
    count = len(_first(columns))
    records = []
    with saved_model.open_session(folder) as run:
        for key, signature in sorted(saved_model.signature_defs(folder).items()):
            is_regress = signature.method_name == tf.saved_model.REGRESS_METHOD_NAME
            for size in (1,) if key == OF_KERAS else sorted({1, count}):
                first = {name: values[:size] for name, values in columns.items()}
                inputs = _inputs(set(signature.inputs), first, key not in of_columns)
                try:
                    run(key, inputs)
                except (tf.errors.OpError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"`warmup` must hold rows that every signature takes: {key!r} refuses them: {error}"
                    ) from error
                records.append(_record(key, inputs, name, is_regress))
    path = os.path.join(os.fspath(folder), FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record.SerializeToString())


def _columns(manifest: Manifest, rows: Data) -> dict[str, Array]:
    """Return the inputs of the model, at most 1,000 rows of them, in the dtypes of its signatures."""
    if rows is None or is_stream(rows):
        raise ValueError(
            "`warmup` must hold rows in memory: an array, a frame or a dict of columns. "
            f"Received: {type(rows).__name__}."
        )
    try:
        dense = to_csr(rows).toarray() if is_sparse(rows) else rows
        values = _reader(manifest).served_inputs(dense, manifest.get("ignores_other_columns", False))
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"`warmup` must hold rows that `predict` takes: {error}") from error
    columns = {}
    for column in manifest["columns"]:
        array = np.asarray(values[column["name"]])
        if column["dtype"] == "string" and array.dtype.kind != "O":
            array = array.astype(str)
        array = array.astype(object if column["dtype"] == "string" else column["dtype"])[:MAX_ROWS]
        try:
            columns[column["name"]] = array.reshape(len(array), *column["shape"])
        except ValueError as error:
            raise ValueError(
                f"`warmup` must hold rows of shape {tuple(column['shape'])} for {column['name']!r}. "
                f"Received: shape {array.shape}."
            ) from error
    if not len(array):
        raise ValueError("`warmup` must hold at least one row. Received: no rows.")
    return columns


def _reader(manifest: Manifest) -> Reader:
    """Return a reader that takes rows as the model does; the preprocessor is part of the graph, not of the reader."""
    inputs = tuple(Column(c["name"], c["dtype"], tuple(c["shape"])) for c in manifest["columns"])
    names = tuple(manifest["feature_names"])
    own_names = None if manifest["preprocessor"] or names == default_names(len(names)) else names
    dtype = "float64" if any(column.dtype == "float64" for column in inputs) else "float32"
    return Reader(manifest["units"], dtype, own_names, schema=Schema(inputs, manifest["named_columns"], names))


def _inputs(keys: set[str], columns: Mapping[str, Array], takes_examples: bool) -> Mapping[str, Array]:
    """Return the inputs `keys` of a signature for some rows."""
    if not takes_examples:
        return columns if keys == set(columns) else {**columns, LEVEL: np.full(len(_first(columns)), COVERAGE)}
    (key,) = keys
    rows = [{name: values[i] for name, values in columns.items()} for i in range(len(_first(columns)))]
    return {key: np.array([to_example(row).SerializeToString() for row in rows], object)}


def _first(columns: Mapping[str, Array]) -> Array:
    return next(iter(columns.values()))


def to_example(row: Mapping[str, Any]) -> tf.train.Example:
    """Return the `tf.train.Example` of one row: a dict of numbers, strings, or arrays of them."""
    features = {}
    for name, value in row.items():
        values = np.ravel(value)
        if values.dtype.kind in "OSU":
            texts = [v if isinstance(v, bytes) else str(v).encode() for v in values.tolist()]
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
        elif values.dtype.kind in "iub":
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features))


def _record(key: str, inputs: Mapping[str, Array], name: str, is_regress: bool) -> Any:
    """Return the `PredictionLog` of a request to the signature `key` of the model `name`."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, regression_pb2  # only warm-up needs them

    request = regression_pb2.RegressionRequest() if is_regress else predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, key
    if is_regress:
        request.input.example_list.examples.extend(map(tf.train.Example.FromString, inputs["inputs"]))
        return prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=request))
    for column, values in inputs.items():
        request.inputs[column].CopyFrom(tf.make_tensor_proto(values))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
