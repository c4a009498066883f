"""Training step by step: the fast loop, and the watch over the loss.

- `loop/` runs many steps of Keras's `fit` and `evaluate` in one compiled call, and feeds large batches to `predict`.
- `divergence/` restores the weights when the loss stops being finite, and tells the user the reason.

The step itself, a tape on one screen, is `train_step` in `keras_linreg/models/gradient.py`.
"""
