"""LoopModel: the interface of a model that blocks of steps can train and evaluate."""

from collections.abc import Callable
from typing import Any, Protocol

from keras_linreg.training.loop.settings import LoopSettings
from keras_linreg.training.loop.step_cache import StepCache
from keras_linreg.training.loop.step_functions import SteppedModel


class LoopModel(SteppedModel, Protocol):
    """A model that blocks of steps can train and evaluate.

    Attributes:
        loop_settings: when blocks run, and how large they are.
        step_cache: the compiled steps; `compile` makes a new one.
        test_function: Keras's test function, or `None` until it is made.
    """

    built: bool
    kernel: Any
    layers: Any
    trainable_variables: Any
    distribute_strategy: Any
    run_eagerly: bool
    jit_compile: bool
    steps_per_execution: int
    loop_settings: LoopSettings
    step_cache: StepCache
    test_function: Callable[..., Any] | None
