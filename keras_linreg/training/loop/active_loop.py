"""The active loop of a model: the one that runs its steps now, in this thread, instead of Keras.

Keras's `fit` and `evaluate` call the model's train function or test function for each block, and ask for the metrics.
Those functions are made here: they ask the active loop, or, if there is none, Keras's own function.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from keras_linreg.training.divergence.watch import active_watch, with_watch
from keras_linreg.training.divergence.watched_model import WatchedModel
from keras_linreg.training.loop.block_loop import BlockLoop
from keras_linreg.training.loop.loop_model import LoopModel
from keras_linreg.training.loop.prediction_batches import PredictionBatches
from keras_linreg.utils.model_context import ModelContext

_loops = ModelContext[BlockLoop]("loops")
_prediction_batches = ModelContext[PredictionBatches]("prediction_batches")


def started_loop(model: object) -> BlockLoop | None:
    """Return the loop of the model's `fit` or `evaluate`, even while it is suspended."""
    return _loops.get(model)


def active_loop(model: object) -> BlockLoop | None:
    """Return the loop that runs the model's steps now, or `None` if Keras does."""
    loop = _loops.get(model)
    return None if loop is None or loop.is_suspended else loop


@contextlib.contextmanager
def use_loop(model: object, loop: BlockLoop | None) -> Iterator[None]:
    """Let a loop run the model's steps; with `None`, let Keras run them, even inside the fit of another loop."""
    outer = started_loop(model)
    with _loops.use(model, loop):
        yield
    if outer is not None:
        outer.logs = {}  # the metrics have changed


@contextlib.contextmanager
def without_loop(model: LoopModel) -> Iterator[None]:
    """Let Keras run the model's steps, as outside of `fit`, while a callback of `fit` evaluates, predicts or trains."""
    loop, test_function = started_loop(model), model.test_function
    if loop is None:
        yield
        return
    try:
        if loop.is_suspended:
            model.test_function = None  # the present one is compiled for the steps of a block
        with _loops.use(model, None):
            yield
        loop.logs = {}  # the metrics have changed
    finally:
        if loop.is_suspended:
            model.test_function = test_function


@contextlib.contextmanager
def use_validation_loop(model: LoopModel) -> Iterator[None]:
    """Let the validation loop of a fit run an evaluation between two epochs, or Keras if there is none."""
    loop = started_loop(model)
    if loop is None:
        yield
        return
    if loop.validation_loop is not None:
        with _loops.use(model, loop.validation_loop):
            yield
        return
    test_function = model.test_function
    kept_functions = loop.functions.keras_test_functions
    try:
        # Keras compiles `steps_per_execution` into its test function, and during the fit that is the steps of a block.
        model.test_function = kept_functions.get(loop.block_steps)
        loop.is_suspended = True
        yield
    finally:
        kept_functions[loop.block_steps] = model.test_function
        model.test_function, loop.is_suspended = test_function, False


def loop_train_function(model: WatchedModel, keras_function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a train function that runs the next block of the active loop, or Keras's function if there is none.

    Either way, the watch over the model's weights sees each call.
    """
    watched_function = with_watch(model, keras_function)

    def train_function(iterator: Iterator) -> Any:
        loop = active_loop(model)
        return watched_function(iterator) if loop is None else loop.run_next_block(iterator, active_watch(model))

    return train_function


def loop_test_function(model: object, keras_function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a test function that runs the next block of the active loop, or Keras's function if there is none."""

    def test_function(iterator: Iterator) -> Any:
        loop = active_loop(model)
        return keras_function(iterator) if loop is None else loop.run_next_block(iterator, watch=None)

    return test_function


def use_prediction_batches(model: object, batches: PredictionBatches | None) -> contextlib.AbstractContextManager[None]:
    """Let `predict` read these batches; with `None`, those of Keras's iterator."""
    return _prediction_batches.use(model, batches)


def loop_predict_function(model: object, keras_function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a predict function that replaces Keras's batches by the model's `PredictionBatches`, if there are some."""

    def predict_function(data: list) -> Any:
        batches = _prediction_batches.get(model)
        return keras_function(data if batches is None else batches.next_batches(len(data)))

    return predict_function
