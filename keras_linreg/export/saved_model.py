"""A SavedModel on disk: its signatures, under the user's own names, and a session that runs them as a server does."""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

FILE = "saved_model.pb"
_QUIET = threading.Lock()


def signatures(folder) -> dict:
    """Return the SignatureDefs of a SavedModel, by key."""
    found = _read(folder).meta_graphs[0].signature_def
    return {key: found[key] for key in found if key != "__saved_model_init_op"}  # TensorFlow's own, for the loader


def finish(folder, names: Mapping[str, str]) -> None:
    """Write, in place, what TensorFlow would not: the user's names of the inputs, and the method of `regress`.

    Args:
        folder: of the SavedModel.
        names: from the names of arguments to the names of columns.
    """
    saved = _read(folder)
    found = saved.meta_graphs[0].signature_def
    for signature in found.values():
        inputs = {names.get(key, key): info.SerializeToString() for key, info in signature.inputs.items()}
        signature.inputs.clear()
        for key, info in inputs.items():
            signature.inputs[key].ParseFromString(info)
    if "regress" in found:
        found["regress"].method_name = tf.saved_model.REGRESS_METHOD_NAME
    path = os.path.join(os.fspath(folder), FILE)
    with tf.io.gfile.GFile(path + ".finished", "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
    tf.io.gfile.rename(path + ".finished", path, overwrite=True)


@contextlib.contextmanager
def session(folder) -> Iterator:
    """Yield the function `(signature, inputs) -> outputs` of arrays: the loader and the names that a server uses."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as running:
        with _silence():  # it would advise tf.saved_model.load, which does not know the users' own names
            meta_graph = tf.compat.v1.saved_model.loader.load(running, [tf.saved_model.SERVING], os.fspath(folder))

        def run(key: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            signature = meta_graph.signature_def[key]
            if set(inputs) != set(signature.inputs):
                raise ValueError(f"{key} takes {sorted(signature.inputs)}. Received: {sorted(inputs)}.")
            feeds = {signature.inputs[name].name: value for name, value in inputs.items()}
            return running.run({name: info.name for name, info in signature.outputs.items()}, feeds)

        yield run


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    logger = tf.get_logger()
    with _QUIET:  # lest two threads take each other's level for the one that was
        level = logger.level
        logger.setLevel("ERROR")
        try:
            yield
        finally:
            logger.setLevel(level)


def _read(folder) -> saved_model_pb2.SavedModel:
    saved = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(os.path.join(os.fspath(folder), FILE), "rb") as file:
        saved.ParseFromString(file.read())
    return saved
