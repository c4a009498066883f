"""The loop: runs many train or test steps in one compiled call, while Keras's `fit` and `evaluate` do the rest.

How they meet: `fit` asks `planning.py` for a loop, and makes it the active loop of the model. Keras's own loop then
calls the model's train function, which asks the active loop for the next block of steps.

- `planning.py`: who runs the steps, a loop or Keras. `settings.py`: when, and in blocks of what size.
- `active_loop.py`: the active loop of a model, and the train, test and predict functions that ask it.
- `block_loop.py`: what all loops share. `array_loop.py`: data in memory. `stream_loop.py`: data in batches.
- `step_functions.py`: the model's own step, compiled. `step_cache.py`: keeps it from one fit to the next.
- `row_tensors.py`, `batch_sources.py`, `placeholder.py`: how rows and batches are read.
- `prediction_batches.py`: the batches of `predict`. `batch_callbacks.py`: whether a callback watches single batches.
"""

from keras_linreg.training.loop.active_loop import (
    active_loop,
    loop_predict_function,
    loop_test_function,
    loop_train_function,
    started_loop,
    use_loop,
    use_prediction_batches,
    use_validation_loop,
    without_loop,
)
from keras_linreg.training.loop.batch_callbacks import watch_single_batches
from keras_linreg.training.loop.planning import plan_evaluation, plan_fit, plan_prediction, plan_validation
from keras_linreg.training.loop.settings import LoopSettings
from keras_linreg.training.loop.step_cache import StepCache

__all__ = [
    "LoopSettings",
    "StepCache",
    "active_loop",
    "loop_predict_function",
    "loop_test_function",
    "loop_train_function",
    "plan_evaluation",
    "plan_fit",
    "plan_prediction",
    "plan_validation",
    "started_loop",
    "use_loop",
    "use_prediction_batches",
    "use_validation_loop",
    "watch_single_batches",
    "without_loop",
]
