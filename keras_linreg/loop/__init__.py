"""Whole blocks of train steps in one compiled call; Keras's own `fit` asks for them."""

from keras_linreg.loop.hooks import evaluating, paused, taken, taking
from keras_linreg.loop.planning import plan, plan_evaluation, plan_validation, prediction_rows
from keras_linreg.loop.watchers import watch_batches

__all__ = [
    "evaluating",
    "paused",
    "plan",
    "plan_evaluation",
    "plan_validation",
    "prediction_rows",
    "taken",
    "taking",
    "watch_batches",
]
