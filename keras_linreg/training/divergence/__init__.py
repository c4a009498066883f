"""When the loss stops being finite: put the weights back, and say why in the user's terms."""

from keras_linreg.training.divergence.bad_numbers import refuse_bad_numbers
from keras_linreg.training.divergence.guards import naming_bad_batches, watching
from keras_linreg.training.divergence.watch import watch_of, watched

__all__ = ["naming_bad_batches", "refuse_bad_numbers", "watch_of", "watched", "watching"]
