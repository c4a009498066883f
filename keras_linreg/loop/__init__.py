"""Whole blocks of train steps in one compiled call; Keras's own `fit` asks for them."""

from keras_linreg.loop.hooks import set_aside, taken, taking
from keras_linreg.loop.planning import plan, watch_batches

__all__ = ["plan", "set_aside", "taken", "taking", "watch_batches"]
