"""When the loss stops being finite: put the weights back, and say why in the user's terms."""

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import tensorflow as tf

from keras_linreg.data import Prepared, finite_part, is_finite
from keras_linreg.losses import SquaredError

SAMPLE_ROWS = 20_000  # enough rows to know the columns' scales and the largest eigenvalue by
SHOWN_COLUMNS = 3
SECONDS_TO_LOOK = 5.0  # an endless stream is not read again for as long as it was trained on


class NonFiniteLoss(Exception):
    """The loss of a call of the train function was NaN or infinite."""


class Watch:
    """Remembers the weights of a model over a fit, and the optimizer's state before it, so that they can be put back.

    Put back are the weights before the last call whose loss was finite: those of the call that failed may be finite and
    yet too large for any loss.

    A loss of NaN or infinity is the one sign of every trouble, bad data included, and the only one looked for: it costs
    a read of each weight and one comparison a call of the train function, whatever the size of the data.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.weights = model.weights
        self._reads = [_reader(variable) for variable in self.weights]
        self.optimizer_variables = model.optimizer.variables if model.optimizer.built else []
        self.start = self.latest = self.previous = self._read()
        self.optimizer_start = [_reader(variable)() for variable in self.optimizer_variables]
        self.calls = 0  # of the train function, or single steps
        self.steps = 0
        self._changed: list = []
        self._reads_of_all: list = []

    def before_step(self) -> None:
        """Keep the weights of the last two calls."""
        self.previous, self.latest = self.latest, self._read()
        self.calls += 1
        self.steps += self.model.steps_per_execution

    def after_step(self, logs) -> None:
        """Stop the fit where the loss, a mean since the epoch began, is not finite."""
        loss = logs.get("loss") if isinstance(logs, dict) else None
        if loss is not None and not math.isfinite(loss):
            raise NonFiniteLoss(str(float(loss)))

    def before_block(self, steps: int) -> tuple:
        """Do as `before_step`, and return all that steps change, to `rewind` to."""
        changed = [*self.weights, *self.optimizer_variables, *self.model.metrics_variables]
        if len(changed) != len(self._changed):
            self._changed, self._reads_of_all = changed, [_reader(variable) for variable in changed]
        kept = self.latest, self.previous, self.calls, self.steps
        values = [read() for read in self._reads_of_all]
        self.previous, self.latest = self.latest, values[: len(self.weights)]
        self.calls += 1
        self.steps += steps
        return values, *kept

    def rewind(self, kept: tuple) -> None:
        """Make everything what it was before a block."""
        values, self.latest, self.previous, self.calls, self.steps = kept
        _assign(self._changed, values)

    def restore_start(self) -> None:
        """Make the model what it was before the fit."""
        _assign(self.weights, self.start)
        _assign(self.optimizer_variables, self.optimizer_start)

    def restore_finite(self) -> None:
        """Give the model the last weights of a finite loss; the optimizer's moments, which went astray, start over."""
        _assign(self.weights, self.previous)
        for variable, value in zip(self.optimizer_variables, self.optimizer_start, strict=True):
            if variable.name != "learning_rate":  # the user's, or a callback's
                variable.assign(value)

    def _read(self) -> list[tf.Tensor]:
        return [read() for read in self._reads]


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _reader(variable: keras.Variable) -> Callable[[], tf.Tensor]:
    """Return a function that reads a variable; what it returns is not changed by later steps."""
    value = variable.value
    if type(value).__name__ == "ResourceVariable":
        # The op itself: the methods around it cost more than the read, and this is done at every step.
        return functools.partial(tf.raw_ops.ReadVariableOp, resource=value.handle, dtype=value.dtype)
    return functools.partial(tf.identity, value)


def watched(model: keras.Model, function: Callable) -> Callable:
    """Return Keras's train function with the model's watch, if it has one, around each call."""

    def train_function(iterator):
        watch = model._watch
        if watch is None:
            return function(iterator)
        watch.before_step()
        logs = function(iterator)
        watch.after_step(logs)
        return logs

    return train_function


@contextlib.contextmanager
def watching(model: keras.Model, data: Prepared, callbacks) -> Iterator[None]:
    """Watch the model while it is fitted on `data`; turn what goes wrong with either into an error that explains it.

    Raises:
        ValueError: the data, or the weights the fit began with, are not finite, or a batch of a stream is not what the
            model takes; the model is as it was before the fit.
        FloatingPointError: the training diverged; the weights are the last finite ones.
    """
    if model.built and not model.layers and not model.optimizer.built:  # a subclass's layers may have no weights yet
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
    callbacks = keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or [])
    outer, watch = model._watch, Watch(model)
    if not any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in callbacks):
        model._keep("_watch", watch)
    try:
        yield
    except NonFiniteLoss as loss:
        why = _bad_data(data, watch) or _bad_weights(model, watch)
        if why:
            watch.restore_start()
            raise ValueError(f"{why} The model is as it was before.") from None
        watch.restore_finite()
        raise FloatingPointError(_explain(model, data, watch, loss)) from None
    except (tf.errors.OpError, ValueError) as error:
        why = data.errors[0] if data.errors else _failed_rule(error)
        if why is None:
            raise
        watch.restore_start()
        raise ValueError(f"{why} The model is as it was before.") from None
    finally:
        model._keep("_watch", outer)


@contextlib.contextmanager
def naming_bad_batches(data: Prepared) -> Iterator[None]:
    """Turn what goes wrong in a stream's own thread while it is only read into the error that it was."""
    try:
        yield
    except (tf.errors.OpError, ValueError) as error:
        why = data.errors[0] if data.errors else _failed_rule(error)
        if why is None:
            raise
        raise ValueError(why) from None


def _failed_rule(error) -> str | None:
    """Return the rule that a check inside a dataset's graph found broken."""
    if isinstance(error, tf.errors.InvalidArgumentError) and "`sample_weight` must be" in error.message:
        return "`sample_weight` must be finite and not negative. Received: a batch of the dataset where it is not."
    return None


def _bad_data(data: Prepared, watch: Watch) -> str | None:
    """Look for NaN and infinity in the data that the fit has seen, for some seconds; return where they are."""
    seen = 1 + watch.steps
    deadline = time.monotonic() + SECONDS_TO_LOOK
    for number, x, y, sample_weight in itertools.islice(data.again(), seen):
        if time.monotonic() > deadline:
            break
        why = _bad_batch(number, x, y, sample_weight, watch.model.compute_dtype, watch.model.feature_names)
        if why:
            return why
    return None


def refuse_bad_numbers(data: Prepared, dtype: str, names) -> None:
    """Refuse NaN and infinity in data in memory, before anything is built on them."""
    _, x, y, sample_weight = next(data.again())
    with np.errstate(over="ignore"):
        why = None if is_finite(x) and is_finite(y) else _bad_batch(None, x, y, sample_weight, dtype, names)
    if why:
        raise ValueError(why)


def _bad_batch(number, x, y, sample_weight, dtype: str, names) -> str | None:
    """Return what is not finite in a batch, or in all the data where there is no number."""
    for name, array in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        place = _first_bad(array, dtype if name == "x" else keras.config.floatx())
        if place is None:
            continue
        row, column, value = place
        where = f"row {row}" if number is None else f"row {row} of batch {number}"
        if name == "x":
            return f"`x` must be finite. Received: {value} in column {names[column]!r}, {where}."
        return f"`{name}` must be finite. Received: {value} in {where}."
    return None


def _first_bad(array, dtype: str) -> tuple[int, int, str] | None:
    """Return row, column and value of the first number that is not finite in the `dtype` that it is trained in."""
    array = array.tocoo() if hasattr(array, "tocoo") else array
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(finite_part(array).astype(tf.as_dtype(dtype).as_numpy_dtype))
    if not bad.any():
        return None
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    value = finite_part(array)[at]
    shown = f"{value}" if not np.isfinite(value) else f"{value:g} (too large for {dtype})"
    if isinstance(array, tf.SparseTensor):
        row, column = np.asarray(array.indices)[at[0]]
    elif hasattr(array, "tocoo"):
        row, column = array.row[at[0]], array.col[at[0]]
    else:
        row, column = at[0], at[-1] if len(at) > 1 else 0
    return int(row), int(column), shown


def _bad_weights(model, watch: Watch) -> str | None:
    """Return which weight was NaN or infinite before the first step."""
    for variable, value in zip(watch.weights, watch.start, strict=True):
        bad = ~np.isfinite(finite_part(value))
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad)), bad.shape)
            names = model.feature_names
            of = f" of column {names[at[0]]!r}" if variable.name == "kernel" and names and at else ""
            return (
                f"The weights must be finite before a fit. Received: {np.asarray(value)[at]} in {variable.name!r}{of}."
            )
    return None


def _explain(model, data: Prepared, watch: Watch, loss: NonFiniteLoss) -> str:
    """Return what to do about the divergence: the learning rate against the largest stable one, the columns' scales."""
    rate = float(tf.convert_to_tensor(model.optimizer.learning_rate))
    said = [f"Training diverged: the loss became {loss} with a learning rate of {rate:g}."]
    columns = _design(model, data)
    if columns is not None:
        design, sample_weight = columns
        scales = np.sqrt(np.asarray(_square(design).mean(axis=0)).ravel())
        if _is_squared_error(model) and type(_inner(model.optimizer)).__name__ == "SGD":
            largest = _largest_rate(model, design, sample_weight)
            if watch.calls == 1 and rate <= largest:
                return _not_the_rate(model, data, loss)
            said.append(f"The largest one that is stable for these columns is about {largest:.2g}, in full batches.")
        said.append(f"Scales of the columns (root mean square): {_scales(scales, model.feature_names)}.")
    advice = "Lower the learning rate"
    if columns is not None and scales.size and scales.max() > 10:
        advice += ", or bring the columns to one scale: a keras.layers.Normalization as `preprocessor`"
    return " ".join([*said, f"{advice}.", "The weights are the last finite ones."])


def _not_the_rate(model, data: Prepared, loss: NonFiniteLoss) -> str:
    """Return what else makes the very first loss infinite: numbers whose squares float32 does not hold."""
    _, _, y, _ = next(data.again())
    largest_weight = max(float(np.abs(np.asarray(_reader(weight)())).max()) for weight in model.weights)
    return (
        f"The loss is {loss} at the first step, before the weights have moved: its squares are too large. "
        f"Received: targets up to {np.abs(np.asarray(y)).max():.2g}, weights up to {largest_weight:.2g}. "
        "Bring the targets to another unit, or begin with smaller weights. The weights are as they were."
    )


def _inner(optimizer):
    """Return the optimizer inside a LossScaleOptimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _is_squared_error(model) -> bool:
    known = (SquaredError, keras.losses.MeanSquaredError)
    return isinstance(model.loss, known) or model.loss in (
        "mse",
        "MSE",
        "mean_squared_error",
        "squared_error",
    )


def _design(model, data: Prepared):
    """Return a sample of the design, dense or of scipy.sparse, in float64, and its weights; None if there is none."""
    _, x, _, sample_weight = next(iter(data.again()), (None, None, None, None))
    if x is None or len(x.shape) != 2:
        return None
    if isinstance(x, tf.SparseTensor):
        rows, columns = np.asarray(x.indices).T
        x = scipy.sparse.coo_matrix((np.asarray(x.values), (rows, columns)), shape=tuple(x.shape))
    if scipy.sparse.issparse(x):
        x = x.tocsr()[:SAMPLE_ROWS].astype(np.float64)
    else:
        x = np.asarray(x[:SAMPLE_ROWS], dtype=np.float64)
    return x, None if sample_weight is None else np.asarray(sample_weight, np.float64).ravel()[:SAMPLE_ROWS]


def _square(design: Any):
    return design.multiply(design) if scipy.sparse.issparse(design) else np.square(design)


def _largest_rate(model, design: Any, sample_weight) -> float:
    """Return the largest learning rate for which gradient descent with momentum m converges on a quadratic.

    ```python
    hessian = 2 * (X.T @ (s * X) / (n * units) + l2 * I)     # X with a column of ones for the bias
    rate = 2 * (1 + m) / max(eigenvalues(hessian))           # Nesterov's: divided by 1 + 2 m
    ```

    Both bounds are where the larger root of the iteration's characteristic polynomial reaches -1; B. T. Polyak, "Some
    methods of speeding up the convergence of iteration methods", 1964, for the first.
    """
    n = design.shape[0]
    ones = np.ones((n, 1)) if model.use_bias else np.empty((n, 0))
    sparse = scipy.sparse.issparse(design)
    full: Any = scipy.sparse.hstack([design, ones]).tocsr() if sparse else np.hstack([design, ones])
    if sample_weight is not None:
        root = np.sqrt(sample_weight)[:, None]
        full = full.multiply(root).tocsr() if sparse else full * root
    scale = abs(full).max() or 1.0  # so that no square overflows
    full = full / scale
    if not sparse and full.shape[1] <= 1000:
        eigenvalue = np.linalg.eigvalsh(full.T @ full)[-1]
    else:
        eigenvalue = scipy.sparse.linalg.svds(full, k=1, return_singular_vectors=False)[0] ** 2
    l2 = float(getattr(model.kernel_regularizer, "l2", 0.0) or 0.0)
    optimizer = _inner(model.optimizer)
    widened = (1 + optimizer.momentum) / (1 + 2 * optimizer.momentum if optimizer.nesterov else 1)
    return widened / (eigenvalue * scale * scale / (n * model.units) + l2)


def _scales(scales: np.ndarray, names) -> str:
    """Return the names and scales of the columns, the largest and smallest where there are many."""
    order = np.argsort(-scales)
    shown = [f"{names[i]!r} {scales[i]:.3g}" for i in order]
    if len(shown) > 2 * SHOWN_COLUMNS:
        shown = [*shown[:SHOWN_COLUMNS], "...", *shown[-SHOWN_COLUMNS:]]
    return ", ".join(shown)
