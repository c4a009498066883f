"""A model's own train_step or test_step, compiled: a block of steps of one batch size, or one step of any size."""

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from keras_linreg.training.loop.shared_programs import Program, SharingModel, shared_program
from keras_linreg.utils.keras_compat import is_xla_error


class SteppedModel(SharingModel, Protocol):
    """A compiled model that has the step, `train_step` or `test_step`."""

    def reset_metrics(self) -> None:
        """Reset loss and metrics."""

    def get_metrics_result(self) -> dict[str, Any]:
        """Return loss and metrics since the last reset."""


class StepFunctions:
    """The compiled functions of one of a model's steps; they last until the model is compiled again.

    Args:
        model: built and compiled, with its optimizer, loss and metrics.
        method: the step, `"train_step"` or `"test_step"`.
        use_xla: whether XLA may compile the steps.

    Attributes:
        blocks: the compiled blocks, by the batch size of their steps.
        keras_test_functions: the test functions that Keras has made during fits, by their `steps_per_execution`.
    """

    def __init__(self, model: SteppedModel, method: str, use_xla: bool):
        self.method = method
        self.blocks: dict[int, BlockFunction] = {}
        self.keras_test_functions: dict[int, Any] = {}
        self._model, self._use_xla = model, use_xla
        # A partial: TensorFlow counts the traces of a method for all models together, and warns of too many.
        self._one_step = tf.function(functools.partial(self._trace_one_step), autograph=False)
        self._one_step_programs: dict[tuple, Program] = {}

    def reset_metrics(self) -> None:
        """Reset loss and metrics at once, even while a loop is active."""
        for metric in self._model.metrics:
            metric.reset_state()

    def run_one_step(self, arrays: Sequence[Any]) -> dict[str, tf.Tensor]:
        """Run one step on `x`, `y` and weights of any number of rows, without XLA; return loss and metrics."""
        tensors = [None if array is None else tf.convert_to_tensor(array) for array in arrays]
        # One program for any number of rows: the last batch of an epoch is mostly a smaller one.
        specs = [None if t is None else tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in tensors]
        key = ("one step", self.method, *(None if spec is None else (spec.dtype, *spec.shape[1:]) for spec in specs))
        if key not in self._one_step_programs:
            self._one_step_programs[key] = shared_program(
                self._model, key, lambda: self._one_step.get_concrete_function(specs)
            )
        return self._one_step_programs[key](tensors)

    def _trace_one_step(self, arrays: Sequence[Any]) -> dict[str, tf.Tensor]:
        return getattr(self._model, self.method)(keras.utils.pack_x_y_sample_weight(*arrays))

    def block_of(self, batch_size: int) -> "BlockFunction":
        """Return the function that runs steps of `batch_size` rows."""
        if batch_size not in self.blocks:
            self.blocks[batch_size] = BlockFunction(self._model, self.method, batch_size, self._use_xla)
        return self.blocks[batch_size]


class BlockFunction:
    """Runs a block of steps of one batch size in one compiled call.

    Args:
        model: built and compiled.
        method: the step, `"train_step"` or `"test_step"`.
        batch_size: the rows of each step.
        use_xla: whether XLA may compile the steps.

    Attributes:
        uses_xla: whether XLA compiles the steps; false after XLA has refused them.
    """

    def __init__(self, model: SteppedModel, method: str, batch_size: int, use_xla: bool):
        self.uses_xla = use_xla
        self._model, self._method, self._batch_size = model, method, batch_size
        self._function = tf.function(self._trace, autograph=False, jit_compile=use_xla or None)
        self._programs: dict[tuple, Program] = {}

    def run(
        self, arrays: tuple, steps: tuple[int, int], reset: bool, order: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Run steps; return loss and metrics.

        Args:
            arrays: `x`, `y` and weights or `None`, with the rows of these steps and maybe others. With an order, each
                array is a pair of its first rows and the others.
            steps: the first step, and the one after the last.
            reset: whether to reset the metrics before.
            order: the row numbers in the order of the steps; or `None` if the rows are in that order.
        """
        arguments = arrays, *map(tf.constant, steps), tf.constant(reset), order
        key = tuple(None if a is None else (a.dtype, *a.shape) for a in tf.nest.flatten((arrays, order)))
        if key not in self._programs:  # TensorFlow's own search takes longer than the call
            whole_key = ("block", self._method, self._batch_size, self.uses_xla, order is None, *key)
            self._programs[key] = shared_program(self._model, whole_key, lambda: self._traced(arguments))
        try:
            return self._programs[key](*arguments)
        except (tf.errors.OpError, ValueError) as error:
            if not self.uses_xla or not is_xla_error(error):
                raise
        # No step has run yet: XLA compiles before it runs.
        self.uses_xla, self._programs = False, {}
        self._function = tf.function(self._trace, autograph=False)
        return self.run(arrays, steps, reset, order)

    def _traced(self, arguments: tuple) -> Any:
        """Return the concrete function of some arguments.

        A metric that is not built when the trace begins is built by the first step, after the reset was traced without
        it. So it would never be reset: then a second trace is made.
        """
        are_built = all(getattr(metric, "built", True) for metric in self._model.metrics)
        concrete = self._function.get_concrete_function(*arguments)
        if are_built:
            return concrete
        self._function = tf.function(self._trace, autograph=False, jit_compile=self.uses_xla or None)
        return self._function.get_concrete_function(*arguments)

    def _trace(
        self, arrays: tuple, first: tf.Tensor, end: tf.Tensor, reset: tf.Tensor, order: tf.Tensor | None
    ) -> dict[str, Any]:
        run_step = getattr(self._model, self._method)

        def body(step: tf.Tensor) -> tf.Tensor:
            run_step(keras.utils.pack_x_y_sample_weight(*self._rows_of_step(arrays, order, step)))
            return step + 1

        def reset_metrics() -> tf.Tensor:
            self._model.reset_metrics()
            return tf.constant(0)

        # The reset is part of the block: each assignment outside of it takes as long as some steps.
        tf.cond(reset, reset_metrics, lambda: tf.constant(0))
        tf.while_loop(lambda step: step < end, body, [first])
        return self._model.get_metrics_result()

    def _rows_of_step(self, arrays: tuple, order: tf.Tensor | None, step: tf.Tensor) -> list[tf.Tensor | None]:
        """Return the rows of a step, as tensors of a static shape: XLA needs one."""
        if order is None:
            return [None if array is None else self._slice(array, step) for array in arrays]
        numbers = self._slice(order, step)
        return [None if pair is None else _gather(pair, numbers, order.shape[0]) for pair in arrays]

    def _slice(self, array: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        size = self._batch_size
        return tf.slice(array, [step * size] + [0] * (array.shape.rank - 1), [size, *array.shape[1:]])


def _gather(pair: tuple[tf.Tensor, tf.Tensor], numbers: tf.Tensor, total: int) -> tf.Tensor:
    """Return rows by their numbers, of an array that is a pair of its first rows and the others.

    Args:
        pair: the first rows, and the others. The first tensor is never empty: with no first rows, it has an unused one.
        numbers: row numbers, `(rows,)`, int32.
        total: the rows of both.
    """
    head, body = pair
    head_rows = total - body.shape[0]
    rows = tf.gather(body, tf.maximum(numbers - head_rows, 0))
    if head_rows:
        is_in_head = tf.reshape(numbers < head_rows, [-1] + [1] * (body.shape.rank - 1))
        rows = tf.where(is_in_head, tf.gather(head, tf.minimum(numbers, head_rows - 1)), rows)
    return rows
