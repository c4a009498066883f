"""Where a loop meets Keras's `fit`: its train function, its metrics and its evaluations."""

import contextlib
from collections.abc import Callable, Iterator

from keras_linreg.loop.blocks import Loop


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
        return function(iterator) if model._loop is None else model._loop.take(model._watch, iterator)

    return train_function
