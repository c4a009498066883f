"""Warm-up requests: what a server sends itself before it answers anybody."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import Column, Reader, Schema, default_names, dense_batch, is_sparse, is_stream
from keras_linreg.export import manifest, saved_model
from keras_linreg.export.signatures import LEVEL

FILE = os.path.join(manifest.EXTRA, "tf_serving_warmup_requests")
ROWS = 1000
COVERAGE = 0.95
OF_EXAMPLES = ("examples", "regress")  # the signatures that take serialized tf.Examples


def write(folder, facts: dict[str, Any], rows, name: str) -> None:
    """Write the warm-up requests of a SavedModel, each of them run first.

    For each signature there are two, of the first row alone and of all the rows (the first 1,000).

    Args:
        folder: of the SavedModel.
        facts: its manifest.
        rows: what `predict` takes, in memory.
        name: under which the model is served.

    Raises:
        ValueError: the rows are not what the model takes, or a signature refuses them. Nothing is written.
    """
    columns = _columns(facts, rows)
    records = []
    with saved_model.session(folder) as run:
        for key, signature in sorted(saved_model.signatures(folder).items()):
            for inputs in _requests(key, set(signature.inputs), columns):
                try:
                    run(key, inputs)
                except (tf.errors.OpError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"`warmup` must hold rows that every signature takes: {key!r} refuses them: {error}"
                    ) from error
                records.append(_record(key, inputs, name))
    path = os.path.join(os.fspath(folder), FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record.SerializeToString())


def _columns(facts: dict[str, Any], rows) -> dict[str, np.ndarray]:
    """Return the inputs of the model, in the dtypes of its signatures, of at most 1,000 rows."""
    if rows is None or is_stream(rows):
        raise ValueError(
            "`warmup` must hold rows in memory: an array, a frame or a dict of columns. "
            f"Received: {type(rows).__name__}."
        )
    try:
        values = _reader(facts).inputs(dense_batch((rows,))[0] if is_sparse(rows) else rows)
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"`warmup` must hold rows that `predict` takes: {error}") from error
    found = {}
    for column in facts["columns"]:
        array = np.asarray(values[column["name"]])
        if column["dtype"] == "string" and array.dtype.kind != "O":
            array = array.astype(str)
        array = array.astype(object if column["dtype"] == "string" else column["dtype"])[:ROWS]
        try:
            found[column["name"]] = array.reshape(len(array), *column["shape"])
        except ValueError as error:
            raise ValueError(
                f"`warmup` must hold rows of shape {tuple(column['shape'])} for {column['name']!r}. "
                f"Received: shape {array.shape}."
            ) from error
    if not len(array):
        raise ValueError("`warmup` must hold at least one row. Received: none.")
    return found


def _reader(facts: dict[str, Any]) -> Reader:
    """Return what reads rows as the model of a manifest does, up to its preprocessor, which is in the graph."""
    inputs = tuple(Column(c["name"], c["dtype"], tuple(c["shape"])) for c in facts["columns"])
    names = tuple(facts["feature_names"])
    given = None if facts["preprocessor"] or names == default_names(len(names)) else names
    dtype = "float64" if any(column.dtype == "float64" for column in inputs) else "float32"
    return Reader(facts["units"], dtype, given, schema=Schema(inputs, facts["named_columns"], names))


def _requests(signature: str, keys: set[str], columns: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Yield what a signature with these inputs is sent: one row, then all."""
    count = len(next(iter(columns.values())))
    for size in sorted({1, count}):
        part = {name: values[:size] for name, values in columns.items()}
        if signature not in OF_EXAMPLES:
            yield part if keys == set(part) else {**part, LEVEL: np.full(size, COVERAGE)}
        else:
            (key,) = keys
            rows = [{name: values[i] for name, values in part.items()} for i in range(size)]
            yield {key: np.array([example(row).SerializeToString() for row in rows], object)}


def example(row: dict[str, Any]) -> tf.train.Example:
    """Return the `tf.train.Example` of one row: a dict of numbers, strings, or arrays of them."""
    features = {}
    for name, value in row.items():
        values = np.ravel(value)
        if values.dtype.kind in "OSU":
            texts = [v if isinstance(v, bytes) else str(v).encode() for v in values.tolist()]
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
        elif values.dtype.kind in "iu":
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features))


def _record(key: str, inputs: dict[str, np.ndarray], name: str):
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, regression_pb2  # only warm-up needs them

    if key == "regress":
        request = regression_pb2.RegressionRequest()
        request.input.example_list.examples.extend(map(tf.train.Example.FromString, inputs["inputs"]))
        record = prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=request))
    else:
        request = predict_pb2.PredictRequest()
        for column, values in inputs.items():
            request.inputs[column].CopyFrom(tf.make_tensor_proto(values))
        record = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    request.model_spec.name, request.model_spec.signature_name = name, key
    # A message that was copied into the record does not see what is set later.
    (record.regress_log if key == "regress" else record.predict_log).request.CopyFrom(request)
    return record
