"""The model's own train or test step, compiled: a block of steps of one size, or a single step of any."""

import functools
from typing import Any

import keras
import tensorflow as tf


class Functions:
    """The compiled functions of one of a model's steps; they last until the model is compiled anew.

    Args:
        model: compiled and built, with its optimizer, loss and metrics.
        step: the method, `"train_step"` or `"test_step"`.
        compiled: whether XLA may compile.
    """

    def __init__(self, model, step: str, compiled: bool):
        self._model, self.step, self._compiled = model, step, compiled
        self._by_size: dict[int, _Sized] = {}
        # A partial: of a method, TensorFlow would count the traces of all models together, and warn of them.
        self._single = tf.function(functools.partial(self._run_single), autograph=False, reduce_retracing=True)
        self.tests: dict[int, Any] = {}  # test functions, by the steps of their executions

    def reset_metrics(self) -> None:
        """Reset loss and metrics, whoever takes the steps."""
        for metric in self._model.metrics:
            metric.reset_state()

    def single(self, arrays) -> dict[str, tf.Tensor]:
        """Take one step, of any number of rows, without the compiler; return the metrics."""
        return self._single(arrays)

    def _run_single(self, arrays):
        return getattr(self._model, self.step)(keras.utils.pack_x_y_sample_weight(*arrays))

    def of(self, batch_size: int) -> "_Sized":
        """Return the functions of steps of so many rows."""
        if batch_size not in self._by_size:
            self._by_size[batch_size] = _Sized(self._model, self.step, batch_size, self._compiled)
        return self._by_size[batch_size]


class _Sized:
    def __init__(self, model, step: str, size: int, compiled: bool):
        self._model, self._step, self._size, self._compiled = model, step, size, compiled
        self._block = tf.function(self._run, autograph=False, jit_compile=compiled or None)
        self._blocks: dict = {}  # concrete ones

    def block(self, arrays, steps: tuple[int, int], fresh: bool, order=None) -> dict[str, tf.Tensor]:
        """Take steps; return loss and metrics.

        Args:
            arrays: `x`, `y` and weights or `None`, of these steps' rows and others; with an order, each in two pieces.
            steps: the first one and the one after the last.
            fresh: whether to reset the metrics before.
            order: the numbers of the rows in the steps' order; or `None`, they are in it.
        """
        given = arrays, *map(tf.constant, steps), tf.constant(fresh), order
        key = tuple((part.shape, part.dtype) for part in tf.nest.flatten((arrays, order)) if part is not None)
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
        return self.block(arrays, steps, fresh, order)

    def _run(self, arrays, first, last, fresh, order):
        take = getattr(self._model, self._step)

        def body(step):
            take(keras.utils.pack_x_y_sample_weight(*self._of_step(arrays, order, step)))
            return step + 1

        # Here, and not where Keras asks for it: each assignment of its own takes as long as some steps.
        tf.cond(fresh, lambda: (self._model.reset_metrics(), tf.constant(0))[1], lambda: tf.constant(0))
        tf.while_loop(lambda step: step < last, body, [first])
        return self._model.get_metrics_result()

    def _of_step(self, arrays, order, step):
        """Return the rows of a step; of a size that the compiler knows."""
        if order is None:
            return [None if part is None else self._cut(part, step) for part in arrays]
        numbers = self._cut(order, step)
        return [None if part is None else _gathered(part, numbers, order.shape[0]) for part in arrays]

    def _cut(self, part, step):
        return tf.slice(part, [step * self._size] + [0] * (part.shape.rank - 1), [self._size, *part.shape[1:]])


def _gathered(pieces, numbers, total: int):
    """Return rows of an array that is in two pieces."""
    head, body = pieces
    first = total - body.shape[0]
    found = tf.gather(body, tf.maximum(numbers - first, 0))
    if first:
        in_head = tf.reshape(numbers < first, [-1] + [1] * (body.shape.rank - 1))
        found = tf.where(in_head, tf.gather(head, tf.minimum(numbers, first - 1)), found)
    return found


def _is_of_the_compiler(error) -> bool:
    return any(word in str(error) for word in ("XLA", "tf2xla", "jit_compile", "_XlaMustCompile"))
