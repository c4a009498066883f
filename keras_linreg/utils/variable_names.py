"""Names of variables that all models share.

TensorFlow keeps a kernel of 9 to 20 kB for each new name of a variable, until the process ends. Keras numbers models
and optimizers, so that each further one has new names. Here the names within TensorFlow are the same for all; the
paths, by which Keras knows variables, stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import keras
import tensorflow as tf

NAME = "variable/"  # the slash makes it the whole scope


class Trainable(Protocol):
    """A model with an optimizer."""

    optimizer: keras.Optimizer | None

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables that the optimizer updates."""


@contextlib.contextmanager
def shared_names() -> Iterator[None]:
    """Give variables that are made meanwhile the same name within TensorFlow."""

    def create(next_creator: Callable[..., Any], **settings: Any) -> Any:
        return next_creator(**{**settings, "name": NAME})

    with tf.variable_creator_scope(create):
        yield


def build_optimizer(model: Trainable) -> None:
    """Make the variables of a model's optimizer, if it has one without them."""
    if model.optimizer is not None and not model.optimizer.built:
        with shared_names():
            model.optimizer.build(model.trainable_variables)
