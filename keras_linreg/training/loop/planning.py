"""Which way a fit, an evaluation or a prediction goes: ours, or Keras's own."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, is_sparse, is_stream
from keras_linreg.training.loop.blocks import CHUNK, Loop
from keras_linreg.training.loop.inputs import Inputs
from keras_linreg.training.loop.rows import Rows
from keras_linreg.training.loop.sources import Indexed, Iterated
from keras_linreg.training.loop.stream import Stream
from keras_linreg.training.loop.watchers import watch_batches
from keras_linreg.utils.keras_compat import is_ours

BATCH_SIZE = 32  # Keras's own
BLOCKS = 20  # of a long epoch, so that the progress bar moves
LONG = 2000  # steps
LARGE = 2**25  # numbers of a step, beside which Keras's own loop costs little: two steps would be copied at a time
LARGE_SPARSE = 2**20  # the same, where zeros have to be written out
# Seconds: a step, each number of it, and an epoch of Keras's own loop, and what must be saved for it to be compiled.
STEP, NUMBER, EPOCH, WORTH = 1.3e-3, 3e-9, 30e-3, 0.25


def plan(model, data: Prepared, options: dict[str, Any]) -> Loop | None:
    """Return the loop that takes the steps of a fit, `None` where Keras's own way is the way.

    Args:
        model: compiled.
        data: what is fitted.
        options: arguments of `fit`.
    """
    if not _may_loop(model):
        return None
    if is_stream(data.x):
        return _plan_stream(model, data, options)
    return _plan_rows(model, "train_step", data, options)


def plan_evaluation(model, data: Prepared, options: dict[str, Any], epochs: int | None = None) -> Rows | None:
    """Return the loop that takes the steps of an evaluation, `None` where Keras's own way is the way.

    Args:
        model: compiled.
        data: what is evaluated.
        options: arguments of `evaluate`.
        epochs: after how many there is one, each of them in a single call; `None` outside of a fit.
    """
    ours = type(model).test_step is keras.Model.test_step
    if is_stream(data.x) or not ours or watch_batches(options["callbacks"]) or not _may_loop(model):
        return None
    options = {
        **options,
        "initial_epoch": 0,
        "epochs": 1 if epochs is None else epochs,
        "shuffle": False,
        "class_weight": None,
        "steps_per_epoch": options["steps"],
    }
    return _plan_rows(model, "test_step", data, options, whole=epochs is not None)


def plan_validation(model, data: Prepared, options: dict[str, Any]) -> Rows | None:
    """Return the loop that takes the steps of the evaluations between the epochs of a fit, or `None`.

    Args:
        model: compiled.
        data: what is evaluated.
        options: arguments of `fit`.
    """
    frequency = options["validation_freq"]
    if isinstance(frequency, int) and frequency > 0:
        epochs = _epochs(options) // frequency
    elif isinstance(frequency, list | tuple | set):
        epochs = len(frequency)
    else:  # Keras says what is wrong
        return None
    asked = {"batch_size": options["validation_batch_size"], "steps": options["validation_steps"], "verbose": 0}
    return plan_evaluation(model, data, {**asked, "callbacks": options["callbacks"]}, epochs)


def plan_prediction(model, data: Prepared, options: dict[str, Any], dtype: str | None) -> Inputs | None:
    """Return what the model is to predict of, batch by batch, `None` where Keras's own way is the way.

    Args:
        model: built.
        data: what is predicted of.
        options: arguments of `predict`.
        dtype: of the batches, `None` for what Keras would make of them.
    """
    ours = type(model).predict_step is keras.Model.predict_step
    watched = watch_batches(options["callbacks"], kinds=("predict_",))
    if is_stream(data.x) or not ours or watched or options["steps"] is not None or not _is_plain(model):
        return None
    sparse = is_sparse(data.x)
    if not (sparse or _are_dense([data.x])) or len(data.x.shape) != 2 or not data.x.shape[0]:
        return None
    rows, columns = map(int, data.x.shape)
    # Predictions are the same in a batch of any size; but XLA compiles for each size anew.
    many = BATCH_SIZE if model.jit_compile else max(BATCH_SIZE, CHUNK // columns)
    batch_size = _batch_size(options["batch_size"], many)
    if batch_size is None or min(batch_size, rows) * columns > (LARGE_SPARSE if sparse else LARGE):
        return None
    return Inputs(data.x, min(batch_size, rows), dtype, reuse=is_ours(model, "call"))


def _is_plain(model) -> bool:
    alone = type(model.distribute_strategy).__name__ == "_DefaultDistributionStrategy"
    return alone and tf.executing_eagerly() and keras.config.max_steps_per_epoch() is None


def _may_loop(model) -> bool:
    linear = model.built and is_ours(model, "train_step") and model.trainable_variables and not model.layers
    return bool(linear) and _is_plain(model) and not (model.run_eagerly or tf.config.functions_run_eagerly())


def _plan_rows(model, step: str, data: Prepared, options: dict[str, Any], whole: bool = False) -> Rows | None:
    batch_size = _batch_size(options["batch_size"], BATCH_SIZE)
    as_usual = options["class_weight"] is None and options["steps_per_epoch"] is None and options["shuffle"] != "batch"
    if batch_size is None or not as_usual:
        return None
    sparse = is_sparse(data.x)
    if not _are_dense(data.parts[1:] if sparse else data.parts):
        return None
    if len(data.x.shape) != 2 or not data.x.shape[0]:
        return None
    batch_size = min(batch_size, int(data.x.shape[0]))
    if batch_size * int(data.x.shape[1]) > (LARGE_SPARSE if sparse else LARGE):
        return None
    steps = -(-int(data.x.shape[0]) // batch_size)
    key = batch_size, *(None if part is None else tuple(part.shape) for part in data.parts)
    if not _pays(model, step, steps, batch_size * int(data.x.shape[1]), options, key):
        return None
    block = steps if whole else _block(model, steps, options)
    return Rows(model._loop_memory.functions(model, step), data, batch_size, bool(options["shuffle"]), block)


def _batch_size(given, default: int) -> int | None:
    """Return how many rows the user wants in a batch, `None` where Keras is to say what is wrong."""
    if given is None:
        return default
    right = isinstance(given, int | np.integer) and not isinstance(given, bool) and given > 0
    return int(given) if right else None


def _block(model, steps: int, options: dict[str, Any]) -> int:
    if model.steps_per_execution > 1:
        return model.steps_per_execution
    if watch_batches(options["callbacks"]):
        return 1
    if steps >= LONG and options["verbose"] in ("auto", 1, True):
        return -(-steps // BLOCKS)
    return steps


def _plan_stream(model, data: Prepared, options: dict[str, Any]) -> Stream | None:
    dataset = isinstance(data.x, tf.data.Dataset)
    example = data.x.element_spec if dataset else data.first
    if example is None:  # a loader that Keras reads itself
        return None
    parts = keras.utils.unpack_x_y_sample_weight(example)
    if parts[1] is None or not _are_dense(parts):
        return None
    columns = int(model.kernel.shape[0])
    if (parts[0].shape[0] or 0) * columns > LARGE:
        return None
    steps = options["steps_per_epoch"] or _batches(data.x)
    key = tuple(None if part is None else tuple(part.shape) for part in parts)
    if steps is not None and not _pays(model, "train_step", steps, 0, options, key):
        return None
    indexed = isinstance(data.x, keras.utils.PyDataset) and steps is not None and data.x.workers <= 1
    if indexed and not data.x.use_multiprocessing and options["class_weight"] is None is options["steps_per_epoch"]:
        source: Indexed | Iterated = Indexed(data.x, bool(options["shuffle"]), data.errors)
    else:
        source = Iterated(data.errors)
    block, worth = model.steps_per_execution, 0 if steps else int(WORTH / STEP)
    exact = block > 1 or watch_batches(options["callbacks"])
    return Stream(model._loop_memory.functions(model, "train_step"), source, columns, steps, block, exact, worth)


def _pays(model, step: str, steps: int, numbers: int, options: dict[str, Any], key: tuple) -> bool:
    """Return whether to compile pays: where Keras's own way would take long, with the fits before it of such data."""
    seconds = _epochs(options) * (steps * (STEP + numbers * NUMBER) + EPOCH)
    return model._loop_memory.add_seconds((step, *key), seconds) >= WORTH


def _epochs(options: dict[str, Any]) -> int:
    return max(0, options["epochs"] - options["initial_epoch"])


def _batches(stream) -> int | None:
    """Return the number of batches of an epoch, `None` where nobody knows, or they do not end."""
    if isinstance(stream, tf.data.Dataset):
        count = int(stream.cardinality())
        return count if count >= 0 else None
    return getattr(stream, "num_batches", None)


def _are_dense(parts) -> bool:
    """Return whether all parts, of which some may be `None`, are arrays, tensors or specs of numbers with rows."""
    there = [part for part in parts if part is not None]
    if not all(hasattr(part, "dtype") and hasattr(part, "shape") and not is_sparse(part) for part in there):
        return False
    if any(isinstance(part, tf.TypeSpec) and not isinstance(part, tf.TensorSpec) for part in there):
        return False
    ranks = [tf.TensorShape(part.shape).rank for part in there]
    dtypes = [tf.as_dtype(part.dtype) for part in there]
    return all(rank is not None and rank > 0 for rank in ranks) and all(
        dtype.is_floating or dtype.is_integer or dtype == tf.bool for dtype in dtypes
    )
