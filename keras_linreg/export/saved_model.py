"""A SavedModel on disk: its signatures under the user's own names, and a session that runs them as a server does."""

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_linreg.utils.keras_compat import is_internal_signature
from keras_linreg.utils.types import Array, PathLike

FILE = "saved_model.pb"
_LOGGER_LOCK = threading.Lock()

Run = Callable[[str, Mapping[str, Array]], dict[str, Array]]


def signature_defs(folder: PathLike) -> dict[str, Any]:
    """Return the SignatureDefs of a SavedModel, by key."""
    definitions = _read(folder).meta_graphs[0].signature_def
    return {key: definitions[key] for key in definitions if not is_internal_signature(key)}


def restore_names(folder: PathLike, column_names: Mapping[str, str], regress: Collection[str]) -> None:
    """Write the names that TensorFlow refuses into a SavedModel: the columns' own, and the method name of Regress.

    Args:
        folder: the folder of the SavedModel.
        column_names: from the name of each argument to the name of its column.
        regress: the keys of the signatures that Regress calls.
    """
    model = _read(folder)
    definitions = model.meta_graphs[0].signature_def
    for definition in definitions.values():
        inputs = {column_names.get(key, key): info.SerializeToString() for key, info in definition.inputs.items()}
        definition.inputs.clear()
        for key, info in inputs.items():
            definition.inputs[key].ParseFromString(info)
    for key in regress:
        definitions[key].method_name = tf.saved_model.REGRESS_METHOD_NAME
    path = os.path.join(os.fspath(folder), FILE)
    with tf.io.gfile.GFile(path + ".finished", "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    tf.io.gfile.rename(path + ".finished", path, overwrite=True)


@contextlib.contextmanager
def open_session(folder: PathLike) -> Iterator[Run]:
    """Yield the function `(signature, inputs) -> outputs` of arrays: it uses a server's own loader and names.

    Args:
        folder: the folder of the SavedModel.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        with _silent_logger():  # the loader advises tf.saved_model.load, which does not know the users' own names
            meta_graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], os.fspath(folder))

        def run(key: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
            signature = meta_graph.signature_def[key]
            if set(inputs) != set(signature.inputs):
                raise ValueError(f"{key} takes {sorted(signature.inputs)}. Received: {sorted(inputs)}.")
            feeds = {signature.inputs[name].name: value for name, value in inputs.items()}
            return session.run({name: info.name for name, info in signature.outputs.items()}, feeds)

        yield run


@contextlib.contextmanager
def _silent_logger() -> Iterator[None]:
    """Silence TensorFlow's logger."""
    logger = tf.get_logger()
    with _LOGGER_LOCK:  # a second thread would save, and later restore, the level that the first has set
        level = logger.level
        logger.setLevel("ERROR")
        try:
            yield
        finally:
            logger.setLevel(level)


def _read(folder: PathLike) -> saved_model_pb2.SavedModel:
    model = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(os.path.join(os.fspath(folder), FILE), "rb") as file:
        model.ParseFromString(file.read())
    return model
