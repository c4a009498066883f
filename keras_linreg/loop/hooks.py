"""Where a loop meets Keras's `fit`: its train function, its metrics and its evaluations."""

import contextlib
import functools
from collections.abc import Callable, Iterator

from keras_linreg.loop.blocks import Loop


@contextlib.contextmanager
def taking(model, loop: Loop | None) -> Iterator[None]:
    """Have a loop take the steps that Keras asks the model for."""
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
    run, block = model._loop, model.steps_per_execution
    if run is None:
        yield
        return
    try:
        model._keep("_loop", None)
        model.steps_per_execution = run.usual
        yield
        run.logs = {}  # what the metrics were
    finally:
        model._keep("_loop", run)
        model.steps_per_execution = block


@contextlib.contextmanager
def evaluating(model) -> Iterator[None]:
    """Have the steps of an evaluation between two epochs taken by the loop's own, if there is one, or by Keras."""
    run = model._loop
    if run is None:
        yield
        return
    own = model.test_function
    if run.evaluation is not None:
        run.evaluation.usual = run.usual
        model._keep("_loop", run.evaluation)
        model.test_function = functools.partial(run.evaluation.take, None)
    else:
        # Keras compiles the steps of an execution into the test function: they are the loop's while it runs.
        model.test_function = run.functions.tests.get(run.block)
        run.aside = True
    try:
        yield
    finally:
        if run.evaluation is None:
            run.functions.tests[run.block] = model.test_function
        model._keep("_loop", run)
        model.test_function, run.aside = own, False


def taken(model, function: Callable) -> Callable:
    """Return the train function that leaves the steps to the model's loop, if it has one."""

    def train_function(iterator):
        return function(iterator) if model._loop is None else model._loop.take(model._watch, iterator)

    return train_function
