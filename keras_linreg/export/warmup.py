"""Warm-up requests: what a server sends itself before it answers anybody."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data import arrays, is_stream
from keras_linreg.export import manifest, saved_model
from keras_linreg.export.signatures import LEVEL

FILE = os.path.join(manifest.EXTRA, "tf_serving_warmup_requests")
ROWS = 1000
COVERAGE = 0.95


def write(folder, facts: dict[str, Any], rows, name: str) -> int:
    """Write the warm-up requests of a SavedModel, each of them run first; return how many.

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
            for inputs in _requests(set(signature.inputs), columns):
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
    return len(records)


def _columns(facts: dict[str, Any], rows) -> dict[str, np.ndarray]:
    """Return the inputs of the model, in the dtypes of its signatures, of at most 1,000 rows."""
    if rows is None or is_stream(rows):
        raise ValueError(
            "`warmup` must hold rows in memory: an array, a frame or a dict of columns. "
            f"Received: {type(rows).__name__}."
        )
    named = arrays.named_columns(rows)
    wanted = facts["columns"]
    if facts["named_columns"]:
        if named is None:
            names = [column["name"] for column in wanted]
            raise ValueError(
                f"`warmup` must hold the named columns {names}, as a frame or a dict. Received: {type(rows).__name__}."
            )
        values = arrays.match(named, tuple(column["name"] for column in wanted))
    else:
        values = {"features": rows if named is None else arrays.stack(named, "float64")}
    found = {}
    for column in wanted:
        text = column["dtype"] == "string"
        array = np.asarray(arrays.to_array(values[column["name"]], f"Column {column['name']!r} of `warmup`", text))
        array = array.astype(object if text else column["dtype"])[:ROWS]
        try:
            found[column["name"]] = array.reshape(len(array), *column["shape"])
        except ValueError as error:
            raise ValueError(
                f"`warmup` must hold rows of shape {tuple(column['shape'])} for {column['name']!r}. "
                f"Received: shape {array.shape}."
            ) from error
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"`warmup` must hold as many rows in each column. Received: {lengths}.")
    if not len(array):
        raise ValueError("`warmup` must hold at least one row. Received: none.")
    return found


def _requests(keys: set[str], columns: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Yield what a signature with these inputs is sent: one row, then all."""
    count = len(next(iter(columns.values())))
    for size in sorted({1, count}):
        part = {name: values[:size] for name, values in columns.items()}
        if keys == set(part):
            yield part
        elif keys == {*part, LEVEL}:
            yield {**part, LEVEL: np.full(size, COVERAGE)}
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
