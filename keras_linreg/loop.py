"""Whole blocks of train steps in one compiled call, for data in memory; Keras's own `fit` asks for them."""

import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import Prepared, is_sparse, is_stream

BATCH_SIZE = 32  # Keras's own
BLOCKS = 20  # of a long epoch, so that the progress bar moves
LONG = 2000  # steps
LARGE = 2**17  # numbers of a step, beside which Keras's own loop costs little, and its threads gather rows faster
CHUNK = 2**19  # numbers that are brought into their order at a time: they stay in the cache
# Seconds: a step and an epoch of Keras's own loop, and how long that must take for a compilation to be worth it.
STEP, EPOCH, WORTH = 1.3e-3, 30e-3, 0.25


class Loop:
    """Takes the steps of one fit, a block of them at each call.

    The rows of some steps at a time, a chunk, are brought into their order and floatx, while those before them are
    trained on; the user's array is not copied whole.

    Args:
        model: compiled and built, with its optimizer, loss and metrics.
        data: `(n, p)`, `(n,)` or `(n, units)`, and weights `(n,)` or `None`.
        batch_size: rows of a step; the last one of an epoch takes what is left.
        shuffle: whether each epoch has an order of its own.
        block: steps of a call.
    """

    def __init__(self, model, data: Prepared, batch_size: int, shuffle: bool, block: int):
        self._rows, self._size = int(data.x.shape[0]), batch_size
        self.steps = -(-self._rows // batch_size)
        self.block = block
        self.logs: dict[str, Any] = {}
        self.aside = False  # whether the model's metrics are an evaluation's for a moment
        self._full = self._rows // batch_size
        self._functions = model._functions.of(batch_size)
        self._parts = [None if part is None else _Part(part) for part in _parts(data)]
        self._chunk = max(1, min(block, self._full, CHUNK // (batch_size * int(data.x.shape[1]))))
        self._shuffle = shuffle and self.steps > 1  # the rows of a single step have no order
        self._order: np.ndarray | None = None
        self._kept: tuple | None = None  # the one chunk of small data in their own order
        self._done = 0

    def take(self, watch) -> dict[str, Any]:
        """Take the next block; return loss and metrics since the epoch began.

        Args:
            watch: a `divergence.Watch`, which is shown the very step at which the loss stops being finite; or `None`.
        """
        if self._done == 0 and self._shuffle:
            self._order = tf.random.shuffle(tf.range(self._rows)).numpy()
        first, count = self._done, min(self.block, self.steps - self._done)
        self._done = (first + count) % self.steps
        if watch is None:
            return self._take(first, count)
        kept = watch.before_block()
        logs = self._take(first, count)
        if count > 1 and not np.isfinite(logs["loss"]):
            watch.rewind(kept)
            for step in range(first, first + count):
                watch.before_step()
                logs = self._take(step, 1)
                watch.after_step(logs)
        watch.after_step(logs)
        return logs

    def _take(self, first: int, count: int) -> dict[str, Any]:
        full = min(first + count, self._full)
        for start, arrays in self._chunks(first, full):
            logs = self._functions.block(arrays, min(self._chunk, full - start), fresh=start == 0)
        if full < first + count:
            logs = self._functions.rest(self._of_rows(self._full * self._size, self._rows))
        self.logs = {name: float(value) if value.shape.rank == 0 else value.numpy() for name, value in logs.items()}
        return self.logs

    def _chunks(self, first: int, last: int) -> Iterator[tuple[int, tuple]]:
        """Yield the first step and the rows of each chunk of the full steps from one on, the next one under way."""
        if self._order is None and self._chunk == self._full and first == 0:
            if self._kept is None:
                self._kept = self._of_steps(0)
            yield 0, self._kept
            return
        starts = range(first, last, self._chunk)
        if len(starts) == 1:
            yield first, self._of_steps(first)
            return
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            coming = [pool.submit(self._of_steps, start) for start in starts[:1]]
            for start in starts:
                arrays = coming.pop().result()
                if start + self._chunk < last:
                    coming.append(pool.submit(self._of_steps, start + self._chunk))
                yield start, arrays

    def _of_steps(self, first: int) -> tuple:
        """Return the rows of a chunk's steps; of a size that is compiled for, filled up with rows that are not used."""
        return self._of_rows(first * self._size, (first + self._chunk) * self._size)

    def _of_rows(self, start: int, end: int) -> tuple:
        rows = slice(start, end) if self._order is None else self._order[start:end]
        return tuple(None if part is None else part.of(rows, end - start) for part in self._parts)


class _Part:
    """One array of the data, whose rows are given as Keras's adapter would: floating numbers in floatx."""

    def __init__(self, values):
        dtype = tf.as_dtype(values.dtype)
        self._dtype = tf.as_dtype(keras.config.floatx()) if dtype.is_floating else dtype
        self._values = values if tf.is_tensor(values) else np.asarray(values)

    def of(self, rows, count: int) -> tf.Tensor:
        """Return rows, by a slice or their numbers, and zeros up to so many."""
        if tf.is_tensor(self._values):
            found = tf.cast(
                self._values[rows] if isinstance(rows, slice) else tf.gather(self._values, rows), self._dtype
            )
            missing = count - int(found.shape[0])
            return tf.pad(found, [[0, missing], *[[0, 0]] * (found.shape.rank - 1)]) if missing else found
        found = self._values[rows] if isinstance(rows, slice) else self._values.take(rows, axis=0)
        with np.errstate(over="ignore"):  # the loss will tell
            found = np.asarray(found, self._dtype.as_numpy_dtype)
        if len(found) < count:
            found = np.concatenate([found, np.zeros((count - len(found), *found.shape[1:]), found.dtype)])
        return tf.convert_to_tensor(found)


class Functions:
    """The compiled functions of a model's train step; they last until the model is compiled anew.

    Args:
        model: the model.
        compiled: whether XLA may compile.
    """

    def __init__(self, model, compiled: bool):
        self._model, self._compiled = model, compiled
        self._by_size: dict[int, _Sized] = {}
        self._compiled_for: set[tuple] = set()
        self.tests: dict[int, Any] = {}  # test functions, by the steps of their executions
        self._prime()

    def _prime(self) -> None:
        """Build loss and metrics, by zeros: a loop cannot make variables."""
        model = self._model
        x, y = (np.zeros((1, size), keras.config.floatx()) for size in (model.kernel.shape[0], model.units))
        y_pred = model(x, training=True)
        model.compute_loss(x, y, y_pred, None)
        model.compute_metrics(x, y, y_pred, None)
        model.reset_metrics()

    def of(self, batch_size: int) -> "_Sized":
        """Return the functions of steps of so many rows."""
        if batch_size not in self._by_size:
            self._by_size[batch_size] = _Sized(self._model, batch_size, self._compiled)
        return self._by_size[batch_size]

    def are_there(self, key: tuple) -> bool:
        """Return whether data of these shapes have been compiled for."""
        return key in self._compiled_for

    def will_be_there(self, key: tuple) -> None:
        """Note that data of these shapes are compiled for."""
        self._compiled_for.add(key)


class _Sized:
    def __init__(self, model, size: int, compiled: bool):
        self._model, self._size, self._compiled = model, size, compiled
        self._block = tf.function(self._run, autograph=False, jit_compile=compiled or None)
        self._blocks: dict = {}  # concrete ones
        self._rest = tf.function(self._run_rest, autograph=False, reduce_retracing=True)

    def block(self, arrays, count: int, fresh: bool) -> dict[str, tf.Tensor]:
        """Take the first `count` steps of a chunk, after a reset of the metrics if `fresh`; return the metrics."""
        given = arrays, tf.constant(count), tf.constant(fresh)
        key = tuple(None if part is None else (part.shape, part.dtype) for part in arrays)
        if key not in self._blocks:  # TensorFlow would look it up at each call, which takes longer than the call
            self._blocks[key] = self._block.get_concrete_function(*given)
        try:
            return self._blocks[key](*given)
        except (tf.errors.OpError, ValueError) as error:
            if not self._compiled or not _is_of_the_compiler(error):
                raise
        # Nothing has run: it compiles first.
        self._compiled, self._blocks = False, {}
        self._block = tf.function(self._run, autograph=False)
        return self.block(arrays, count, fresh)

    def rest(self, arrays) -> dict[str, tf.Tensor]:
        """Take the last step of an epoch, of what rows are left; return the metrics."""
        return self._rest(arrays)

    def _run(self, arrays, count, fresh):
        def body(step):
            self._model.train_step(keras.utils.pack_x_y_sample_weight(*self._of_step(arrays, step)))
            return step + 1

        # Here, and not where Keras asks for it: each assignment of its own takes as long as some steps.
        tf.cond(fresh, lambda: (self._model.reset_metrics(), tf.constant(0))[1], lambda: tf.constant(0))
        tf.while_loop(lambda step: step < count, body, [tf.constant(0)])
        return self._model.get_metrics_result()

    def _run_rest(self, arrays):
        return self._model.train_step(keras.utils.pack_x_y_sample_weight(*arrays))

    def _of_step(self, arrays, step):
        """Return the rows of a step; of a size that the compiler knows."""
        return [
            None
            if part is None
            else tf.slice(part, [step * self._size] + [0] * (part.shape.rank - 1), [self._size, *part.shape[1:]])
            for part in arrays
        ]


def plan(model, data: Prepared, options: dict[str, Any]) -> Loop | None:
    """Return the loop that takes the steps of a fit, `None` where Keras's own way is the way.

    Args:
        model: compiled and built.
        data: what is fitted.
        options: arguments of `fit`.
    """
    batch_size = BATCH_SIZE if options["batch_size"] is None else options["batch_size"]
    if not (isinstance(batch_size, int | np.integer) and batch_size > 0 and _can_loop(model, data, options)):
        return None
    batch_size = min(int(batch_size), int(data.x.shape[0]))
    if batch_size * int(data.x.shape[1]) > LARGE:
        return None
    steps = -(-int(data.x.shape[0]) // batch_size)
    epochs = max(0, options["epochs"] - options["initial_epoch"])
    shapes = tuple(None if part is None else tuple(part.shape) for part in _parts(data))
    key = batch_size, *shapes
    worth = epochs * (steps * STEP + EPOCH) >= WORTH
    if not worth and (model._functions is None or not model._functions.are_there(key)):
        return None
    if model._functions is None:
        model._keep("_functions", Functions(model, model._may_be_compiled))
    model._functions.will_be_there(key)
    block = steps
    if watch_batches(options["callbacks"]):
        block = 1
    elif model.steps_per_execution > 1:
        block = model.steps_per_execution
    elif steps >= LONG and options["verbose"] in ("auto", 1, True):
        block = -(-steps // BLOCKS)
    return Loop(model, data, batch_size, bool(options["shuffle"]), block)


def _can_loop(model, data: Prepared, options: dict[str, Any]) -> bool:
    x, y = data.x, data.y
    dense = not is_stream(x) and not is_sparse(x) and all(hasattr(part, "dtype") for part in (x, y))
    plain = tf.executing_eagerly() and not (model.run_eagerly or tf.config.functions_run_eagerly())
    alone = type(model.distribute_strategy).__name__ == "_DefaultDistributionStrategy"
    as_usual = options["class_weight"] is None and options["steps_per_epoch"] is None
    as_usual = as_usual and keras.config.max_steps_per_epoch() is None
    return bool(
        (dense and len(x.shape) == 2 and x.shape[0] and _is_numeric(x) and _is_numeric(y))
        and (plain and alone and as_usual)
        and (model._steps_are_ours and model.trainable_variables and not model.layers)
    )


@contextlib.contextmanager
def taking(model, loop: Loop | None) -> Iterator[None]:
    """Have a loop take the steps that Keras asks the model for."""
    if loop is None:
        yield
        return
    steps_per_execution = model.steps_per_execution
    try:
        model._keep("_loop", loop)
        model.steps_per_execution = loop.block
        yield
    finally:
        model._keep("_loop", None)
        model.steps_per_execution = steps_per_execution


@contextlib.contextmanager
def set_aside(model) -> Iterator[None]:
    """Leave the model's metrics to an evaluation between two epochs, with a test function of the loop's own."""
    run = model._loop
    if run is None:
        yield
        return
    # Keras compiles the steps of an execution into the test function: they are the loop's while it runs.
    functions, own = model._functions, model.test_function
    model.test_function = functions.tests.get(run.block)
    run.aside = True
    try:
        yield
    finally:
        functions.tests[run.block] = model.test_function
        model.test_function, run.aside = own, False


def taken(model, function: Callable) -> Callable:
    """Return the train function that leaves the steps to the model's loop, if it has one."""

    def train_function(iterator):
        return function(iterator) if model._loop is None else model._loop.take(model._watch)

    return train_function


@functools.cache
def nothing() -> tf.data.Dataset:
    """Return the endless dataset that Keras iterates over where nobody reads it."""
    options = tf.data.Options()
    options.autotune.enabled = False  # a thread of its own, that takes its time to end
    return tf.data.Dataset.range(1).repeat().with_options(options)


def watch_batches(callbacks) -> bool:
    """Return whether any callback looks at single batches."""
    return any(_watches(callback) for callback in keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or []))


def _watches(callback) -> bool:
    saves = isinstance(callback, keras.callbacks.ModelCheckpoint | keras.callbacks.BackupAndRestore)
    if saves and getattr(callback, "save_freq", getattr(callback, "_save_freq", None)) == "epoch":
        return False  # their hooks look at the number of the batch, and return
    if isinstance(callback, keras.callbacks.ProgbarLogger):
        return False
    hooks = [f"on_{of}batch_{end}" for of in ("", "train_", "test_") for end in ("begin", "end")]
    return any(
        name in vars(callback) or getattr(type(callback), name) is not getattr(keras.callbacks.Callback, name)
        for name in hooks
    )


def _is_of_the_compiler(error) -> bool:
    return any(word in str(error) for word in ("XLA", "tf2xla", "jit_compile", "_XlaMustCompile"))


def _is_numeric(part) -> bool:
    dtype = tf.as_dtype(part.dtype)
    return dtype.is_floating or dtype.is_integer or dtype == tf.bool


def _parts(data: Prepared) -> tuple:
    return data.x, data.y, data.sample_weight
