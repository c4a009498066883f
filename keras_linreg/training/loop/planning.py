"""Decides who runs the steps of a fit, an evaluation or a prediction: a loop of blocks, or Keras's own loop."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, Rows, Stream, is_sparse
from keras_linreg.training.loop.array_loop import ArrayLoop
from keras_linreg.training.loop.batch_callbacks import watch_single_batches
from keras_linreg.training.loop.batch_sources import BatchSource, IteratorSource, PyDatasetSource
from keras_linreg.training.loop.block_loop import BlockLoop
from keras_linreg.training.loop.loop_model import LoopModel
from keras_linreg.training.loop.prediction_batches import PredictionBatches
from keras_linreg.training.loop.stream_loop import StreamLoop
from keras_linreg.utils.keras_compat import is_package_method

KERAS_BATCH_SIZE = 32
# Measured times of Keras's own loop: for a step, for each number of `x` in the step, and for an epoch.
SECONDS_PER_STEP, SECONDS_PER_NUMBER, SECONDS_PER_EPOCH = 1.3e-3, 3e-9, 30e-3


def plan_fit(model: LoopModel, data: Prepared, options: dict[str, Any]) -> BlockLoop | None:
    """Return the loop that runs the steps of a fit, or `None` to use Keras's loop.

    Args:
        model: compiled.
        data: the training data.
        options: the arguments of `fit`.
    """
    if not _can_loop(model):
        return None
    if isinstance(data, Stream):
        return _plan_stream(model, data, options)
    return _plan_arrays(model, "train_step", data, options)


def plan_evaluation(model: LoopModel, data: Prepared, options: dict[str, Any]) -> ArrayLoop | None:
    """Return the loop that runs the steps of an evaluation outside of `fit`, or `None` to use Keras's loop.

    Args:
        model: compiled.
        data: the data to evaluate.
        options: the arguments of `evaluate`.
    """
    return _plan_evaluations(model, data, options, count=1, in_one_block=False)


def plan_validation(model: LoopModel, data: Prepared, options: dict[str, Any]) -> ArrayLoop | None:
    """Return the loop that runs the evaluations between the epochs of a fit, or `None` to use Keras's loop.

    Each evaluation is one block.

    Args:
        model: compiled.
        data: the validation data.
        options: the arguments of `fit`.
    """
    frequency = options["validation_freq"]
    if isinstance(frequency, int) and frequency > 0:
        count = _epochs(options) // frequency
    elif isinstance(frequency, list | tuple | set):
        count = len(frequency)
    else:  # Keras raises the error
        return None
    evaluation = {
        "batch_size": options["validation_batch_size"],
        "steps": options["validation_steps"],
        "verbose": 0,
        "callbacks": options["callbacks"],
    }
    return _plan_evaluations(model, data, evaluation, count, in_one_block=True)


def plan_prediction(
    model: LoopModel, data: Prepared, options: dict[str, Any], dtype: str | None
) -> PredictionBatches | None:
    """Return the batches of a prediction of data in memory, or `None` to use Keras's iterator.

    Args:
        model: built.
        data: the data to predict.
        options: the arguments of `predict`.
        dtype: of the batches; `None` for the dtype of Keras's iterator.
    """
    has_own_step = type(model).predict_step is not keras.Model.predict_step  # type: ignore[attr-defined]
    is_watched = watch_single_batches(options["callbacks"], kinds=("predict_",))
    if not model.loop_settings.enabled or isinstance(data, Stream) or has_own_step or is_watched:
        return None
    if options["steps"] is not None or not _runs_plainly(model) or not _is_matrix(data.x):
        return None
    rows, columns = map(int, data.x.shape)
    settings = model.loop_settings
    # Predictions do not depend on the batch size. But XLA compiles again for each size, so it gets Keras's own.
    large = max(KERAS_BATCH_SIZE, settings.chunk_numbers // columns)
    batch_size = _batch_size(options["batch_size"], KERAS_BATCH_SIZE if model.jit_compile else large)
    if batch_size is None or min(batch_size, rows) * columns > _max_step_numbers(model, data.x):
        return None
    # A call of a subclass's own may keep its inputs, so only ours lets the next batch overwrite them.
    reuse_memory = is_package_method(model, "call")
    return PredictionBatches(data.x, min(batch_size, rows), dtype, reuse_memory)


def _runs_plainly(model: LoopModel) -> bool:
    """Return whether the model runs eagerly outside, without a strategy and without Keras's cap on steps."""
    under_strategy = tf.distribute.has_strategy() or model.distribute_strategy is not tf.distribute.get_strategy()
    return not under_strategy and tf.executing_eagerly() and keras.config.max_steps_per_epoch() is None


def _can_loop(model: LoopModel) -> bool:
    """Return whether blocks can train and evaluate the model: a subclass may have a step, or layers, of its own."""
    is_linear = model.built and is_package_method(model, "train_step") and model.trainable_variables
    if not model.loop_settings.enabled or not is_linear or model.layers:
        return False
    return _runs_plainly(model) and not (model.run_eagerly or tf.config.functions_run_eagerly())


def _plan_evaluations(
    model: LoopModel, data: Prepared, options: dict[str, Any], count: int, in_one_block: bool
) -> ArrayLoop | None:
    has_own_step = type(model).test_step is not keras.Model.test_step  # type: ignore[attr-defined]
    has_own_step = has_own_step or not isinstance(data, Rows)
    if has_own_step or watch_single_batches(options["callbacks"]) or not _can_loop(model):
        return None
    as_fit = {
        **options,
        "initial_epoch": 0,
        "epochs": count,
        "shuffle": False,
        "class_weight": None,
        "steps_per_epoch": options["steps"],
    }
    return _plan_arrays(model, "test_step", data, as_fit, in_one_block)


def _plan_arrays(
    model: LoopModel, method: str, data: Prepared, options: dict[str, Any], in_one_block: bool = False
) -> ArrayLoop | None:
    if options["class_weight"] is not None or options["steps_per_epoch"] is not None or options["shuffle"] == "batch":
        return None
    batch_size = _batch_size(options["batch_size"], KERAS_BATCH_SIZE)
    if batch_size is None or not _is_matrix(data.x) or not _are_dense(data.parts[1:]):
        return None
    rows, columns = map(int, data.x.shape)
    batch_size = min(batch_size, rows)
    if batch_size * columns > _max_step_numbers(model, data.x):
        return None
    steps = -(-rows // batch_size)
    key = batch_size, *(None if part is None else tuple(part.shape) for part in data.parts)
    compiles = _pays_to_compile(model, method, steps, batch_size * columns, options, key)
    block_steps = steps if in_one_block else _block_steps(model, steps, options)
    functions = model.step_cache.functions(model, method)
    return ArrayLoop(functions, data, batch_size, bool(options["shuffle"]), block_steps, compiles, model.loop_settings)


def _batch_size(batch_size: Any, default: int) -> int | None:
    """Return the rows of a batch, or `None` if the user's value is wrong: then Keras raises the error."""
    if batch_size is None:
        return default
    is_valid = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool) and batch_size > 0
    return int(batch_size) if is_valid else None


def _max_step_numbers(model: LoopModel, x: Any) -> int:
    settings = model.loop_settings
    return settings.max_sparse_step_numbers if is_sparse(x) else settings.max_step_numbers


def _block_steps(model: LoopModel, steps: int, options: dict[str, Any]) -> int:
    """Return the steps of a block, of an epoch of so many steps."""
    if model.steps_per_execution > 1:
        return model.steps_per_execution
    if watch_single_batches(options["callbacks"]):
        return 1
    settings = model.loop_settings
    if steps >= settings.long_epoch_steps and options["verbose"] in ("auto", 1, True):
        return -(-steps // settings.long_epoch_blocks)
    return steps


def _plan_stream(model: LoopModel, data: Stream, options: dict[str, Any]) -> StreamLoop | None:
    is_dataset = isinstance(data.x, tf.data.Dataset)
    first_batch = data.x.element_spec if is_dataset else data.first
    if first_batch is None:  # a loader that Keras reads itself
        return None
    parts = keras.utils.unpack_x_y_sample_weight(first_batch)
    if parts[1] is None or not _are_dense(parts):
        return None
    settings, columns = model.loop_settings, int(model.kernel.shape[0])
    if (parts[0].shape[0] or 0) * columns > settings.max_step_numbers:
        return None
    steps = options["steps_per_epoch"] or _batches_per_epoch(data.x)
    key = tuple(None if part is None else tuple(part.shape) for part in parts)
    if steps is not None and not _pays_to_compile(model, "train_step", steps, 0, options, key):
        return None
    block_steps = model.steps_per_execution
    return StreamLoop(
        model.step_cache.functions(model, "train_step"),
        _batch_source(data, steps, options),
        columns,
        steps,
        block_steps,
        may_run_ahead=block_steps == 1 and not watch_single_batches(options["callbacks"]),
        compile_after_steps=0 if steps else int(settings.compile_after_seconds / SECONDS_PER_STEP),
        settings=settings,
    )


def _batch_source(data: Stream, steps: int | None, options: dict[str, Any]) -> BatchSource:
    """Return a source that reads a PyDataset itself if it is read in this thread and whole, else Keras's iterator."""
    stream = data.x
    reads_here = isinstance(stream, keras.utils.PyDataset) and stream.workers <= 1 and not stream.use_multiprocessing
    reads_whole = options["class_weight"] is None and options["steps_per_epoch"] is None and steps is not None
    if reads_here and reads_whole:
        return PyDatasetSource(stream, bool(options["shuffle"]), data.errors)
    return IteratorSource(data.errors)


def _pays_to_compile(
    model: LoopModel, method: str, steps: int, numbers: int, options: dict[str, Any], key: tuple
) -> bool:
    """Return whether a compiled block pays: whether the fits so far, on data of this key, take long in Keras's loop.

    Args:
        model: compiled.
        method: the step, `"train_step"` or `"test_step"`.
        steps: of an epoch.
        numbers: of `x` in a step.
        options: the arguments of `fit`.
        key: the batch size and the shapes that a block is compiled for.
    """
    epoch = steps * (SECONDS_PER_STEP + numbers * SECONDS_PER_NUMBER) + SECONDS_PER_EPOCH
    seconds = model.step_cache.add_seconds((method, *key), _epochs(options) * epoch)
    return seconds >= model.loop_settings.compile_after_seconds


def _epochs(options: dict[str, Any]) -> int:
    return max(0, options["epochs"] - options["initial_epoch"])


def _batches_per_epoch(stream: Any) -> int | None:
    """Return the batches of an epoch, or `None` if nobody knows, or if they do not end."""
    if isinstance(stream, tf.data.Dataset):
        count = int(stream.cardinality())
        return count if count >= 0 else None
    return getattr(stream, "num_batches", None)


def _is_matrix(x: Any) -> bool:
    """Return whether `x` is a matrix of numbers, dense or sparse, with some rows."""
    return (is_sparse(x) or _are_dense([x])) and len(x.shape) == 2 and bool(x.shape[0])


def _are_dense(parts: Sequence[Any]) -> bool:
    """Return whether all parts are dense arrays, tensors or specs of numbers, with rows; `None` does not count."""
    parts = [part for part in parts if part is not None]
    if not all(hasattr(part, "dtype") and hasattr(part, "shape") and not is_sparse(part) for part in parts):
        return False
    if any(isinstance(part, tf.TypeSpec) and not isinstance(part, tf.TensorSpec) for part in parts):
        return False
    ranks = [tf.TensorShape(part.shape).rank for part in parts]
    dtypes = [tf.as_dtype(part.dtype) for part in parts]
    return all(rank is not None and rank > 0 for rank in ranks) and all(
        dtype.is_floating or dtype.is_integer or dtype == tf.bool for dtype in dtypes
    )
