"""Whole blocks of train steps in one compiled call; Keras's own `fit` asks for them."""

from keras_linreg.training.loop.hooks import evaluating, handed, handing, paused, running, taken, taking
from keras_linreg.training.loop.memory import Memory
from keras_linreg.training.loop.planning import plan, plan_evaluation, plan_prediction, plan_validation
from keras_linreg.training.loop.watchers import watch_batches

__all__ = [
    "Memory",
    "evaluating",
    "handed",
    "handing",
    "paused",
    "plan",
    "plan_evaluation",
    "plan_prediction",
    "plan_validation",
    "running",
    "taken",
    "taking",
    "watch_batches",
]
