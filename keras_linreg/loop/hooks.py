"""Where a loop meets Keras: the train, test and predict functions, the metrics, the evaluations of a fit."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from keras_linreg.loop.blocks import Loop
from keras_linreg.loop.inputs import Inputs


@contextlib.contextmanager
def taking(model, loop: Loop | None) -> Iterator[None]:
    """Have a loop, if there is one, take the steps that Keras asks the model for."""
    if loop is None:
        yield
        return
    loop.usual = model.steps_per_execution
    try:
        model._keep("_loop", loop)
        model.steps_per_execution = loop.block
        yield
    finally:
        model._keep("_loop", None)
        model.steps_per_execution = loop.usual


@contextlib.contextmanager
def paused(model) -> Iterator[None]:
    """Have the model be what it is outside of `fit`, for what a callback asks of it meanwhile."""
    run, block, own = model._loop, model.steps_per_execution, model.test_function
    if run is None:
        yield
        return
    try:
        model._keep("_loop", None)
        model.steps_per_execution = run.usual
        if run.aside:
            model.test_function = None  # it takes the loop's steps
        yield
        run.logs = {}  # what the metrics were
    finally:
        model._keep("_loop", run)
        model.steps_per_execution = block
        if run.aside:
            model.test_function = own


@contextlib.contextmanager
def evaluating(model) -> Iterator[None]:
    """Have the steps of an evaluation between two epochs taken by the loop's own, if there is one, or by Keras."""
    run = model._loop
    if run is None:
        yield
        return
    if run.evaluation is not None:
        run.evaluation.usual = run.usual
        try:
            model._keep("_loop", run.evaluation)
            yield
        finally:
            model._keep("_loop", run)
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


def taken(model, function: Callable, watched: bool) -> Callable:
    """Return the train or test function that leaves the steps to the model's loop, if it has one.

    Args:
        model: whose function it is.
        function: Keras's own.
        watched: whether to tell the model's watch of each block.
    """

    def of_steps(iterator):
        run = model._loop
        if run is None or run.aside:
            return function(iterator)
        return run.take(model._watch if watched else None, iterator)

    return of_steps


# Not of the model: threads may predict at the same time.
_handed: contextvars.ContextVar[tuple[Any, Inputs | None]] = contextvars.ContextVar("handed", default=(None, None))


@contextlib.contextmanager
def handing(model, inputs: Inputs | None) -> Iterator[None]:
    """Have the predict function take its batches from here, if they are given; or else from Keras's iterator."""
    token = _handed.set((model, inputs))
    try:
        yield
    finally:
        _handed.reset(token)


def handed(model, function: Callable) -> Callable:
    """Return the predict function that takes the batches that its model is handed, if it is."""

    def predict_function(data):
        whose, inputs = _handed.get()
        return function(data if inputs is None or whose is not model else inputs.take(len(data)))

    return predict_function
