"""What happens when the loss stops being finite: the weights are restored, and the error tells the user the reason.

- `watch.py`: keeps the weights during a fit, and notices a loss that is not finite.
- `fit_errors.py`: turns what went wrong into an error. `bad_numbers.py` finds NaN and infinity in data or weights;
  otherwise the training diverged, and `advice.py` computes the largest stable learning rate.
- `watched_model.py`: the attributes of a model that these use.
"""

from keras_linreg.training.divergence.bad_numbers import refuse_bad_numbers
from keras_linreg.training.divergence.fit_errors import explain_bad_batches, watch_fit

__all__ = ["explain_bad_batches", "refuse_bad_numbers", "watch_fit"]
