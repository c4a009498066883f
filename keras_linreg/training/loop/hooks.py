"""Where a loop meets Keras: the train, test and predict functions, the metrics, the evaluations of a fit."""

import contextlib
from collections.abc import Callable, Iterator

from keras_linreg.training.loop.blocks import Loop
from keras_linreg.training.loop.inputs import Inputs
from keras_linreg.utils.model_context import PerModel

_loops, _inputs = PerModel[Loop]("loops"), PerModel[Inputs]("inputs")
running = _loops.of
handing = _inputs.set


@contextlib.contextmanager
def taking(model, loop: Loop | None) -> Iterator[None]:
    """Have a loop take the steps that Keras asks the model for, or Keras itself: not a loop that is under way."""
    outer = running(model)
    with _loops.set(model, loop):
        yield
    if outer is not None:
        outer.logs = {}  # what the metrics were


@contextlib.contextmanager
def paused(model) -> Iterator[None]:
    """Have the model be what it is outside of `fit`, for what a callback asks of it meanwhile."""
    run, own = running(model), model.test_function
    if run is None:
        yield
        return
    try:
        if run.aside:
            model.test_function = None  # it takes the loop's steps
        with _loops.set(model, None):
            yield
        run.logs = {}  # what the metrics were
    finally:
        if run.aside:
            model.test_function = own


@contextlib.contextmanager
def evaluating(model) -> Iterator[None]:
    """Have the steps of an evaluation between two epochs taken by the loop's own, if there is one, or by Keras."""
    run = running(model)
    if run is None:
        yield
        return
    if run.evaluation is not None:
        with _loops.set(model, run.evaluation):
            yield
        return
    own = model.test_function
    try:
        # Keras compiles the steps of an execution into the test function: they are the loop's while it runs.
        model.test_function = run.functions.tests.get(run.block)
        run.aside = True
        yield
    finally:
        run.functions.tests[run.block] = model.test_function
        model.test_function, run.aside = own, False


def taken(model, function: Callable, watch_of: Callable | None = None) -> Callable:
    """Return the train or test function that leaves the steps to the model's loop, if it has one.

    Args:
        model: whose function it is.
        function: Keras's own.
        watch_of: returns the model's watch, which is told of each block.
    """

    def of_steps(iterator):
        run = running(model)
        if run is None or run.aside:
            return function(iterator)
        return run.take(watch_of(model) if watch_of else None, iterator)

    return of_steps


def handed(model, function: Callable) -> Callable:
    """Return the predict function that takes the batches that its model is handed, if it is, or Keras's."""

    def predict_function(data):
        inputs = _inputs.of(model)
        return function(data if inputs is None else inputs.take(len(data)))

    return predict_function
