"""The SavedModel that TF Serving loads: its signatures, under the user's own column names."""

import keyword
import os
import re

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_linreg.data import preprocessing

# Keras's own name for the endpoint; its archive writes it a second time as "serving_default", which servers ask for.
ENDPOINT = "serve"


def write(model, filepath, verbose: bool = True) -> None:
    """Write a built linear model to the folder `filepath` as a SavedModel.

    Args:
        model: the model; its schema says which columns the signature takes, its preprocessor is part of the graph.
        filepath: the folder, made or overwritten.
        verbose: whether to print what the signature takes and returns.
    """
    filepath = os.path.expanduser(os.fspath(filepath))
    if not filepath:
        raise ValueError("`filepath` must name the folder to write. Received: an empty path.")
    reader = model._reader()
    schema = model.schema
    safe = safe_names(schema.names)
    specs = {
        column.name: tf.TensorSpec((None, *column.shape), column.dtype, name=safe[column.name])
        for column in schema.inputs
    }

    def predictions(inputs):
        design = reader.graph_design(inputs)
        return {"predictions": tf.cast(model(design, training=False), tf.float32)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    if model.preprocessor is not None:
        preprocessing.check_adapted(model.preprocessor)
        # A lookup layer that was loaded from a file is built by its first call, and tracked only then.
        row = {
            c.name: tf.fill((1, *c.shape), "" if c.dtype == "string" else tf.zeros((), c.dtype)) for c in schema.inputs
        }
        reader.graph_design(row if schema.named else row["features"])
        archive.track(model.preprocessor)
    archive.add_endpoint(ENDPOINT, predictions, [specs if schema.named else specs["features"]])
    archive.write_out(filepath, verbose=False)
    rename_inputs(filepath, {safe[name]: name for name in schema.names})
    if verbose:
        takes = ", ".join(f"{c.name}: {c.dtype} {['batch', *c.shape]}" for c in schema.inputs).replace("'", "")
        print(f"Saved {filepath}\n  serving_default({takes}) -> predictions: float32 [batch, {model.units}]")


def safe_names(names: tuple[str, ...]) -> dict[str, str]:
    """Return for each column a name that TensorFlow takes as the argument of a signature: its own where it can be.

    TensorFlow refuses spaces, letters beyond ASCII, "self", Python's keywords, and names that differ only in case.
    """
    folded = [name.lower() for name in names]
    fits = {
        name: bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name))
        and name != "self"
        and not keyword.iskeyword(name)
        and folded.count(name.lower()) == 1
        for name in names
    }
    prefix = "column_"
    while any(name.startswith(prefix) for name in folded):
        prefix += "_"
    return {name: name if fits[name] else f"{prefix}{i}" for i, name in enumerate(names)}


def rename_inputs(folder, names: dict[str, str]) -> None:
    """Write the user's names of the inputs as the keys of every signature of the SavedModel, in place."""
    if all(safe == name for safe, name in names.items()):
        return
    path = os.path.join(os.fspath(folder), "saved_model.pb")
    saved = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(path, "rb") as file:
        saved.ParseFromString(file.read())
    for signature in saved.meta_graphs[0].signature_def.values():
        inputs = {names.get(key, key): info for key, info in signature.inputs.items()}
        copies = {key: info.SerializeToString() for key, info in inputs.items()}
        signature.inputs.clear()
        for key, info in copies.items():
            signature.inputs[key].ParseFromString(info)
    with tf.io.gfile.GFile(path + ".renamed", "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
    tf.io.gfile.rename(path + ".renamed", path, overwrite=True)
