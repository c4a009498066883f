"""Whether callbacks watch single batches; then a block must hold one step only."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_linreg.utils.keras_compat import (
    callback_list,
    profiles_batches,
    tuner_of_callback,
    tuner_watches_batches,
)


def watch_single_batches(callbacks: Any, kinds: Sequence[str] = ("", "train_", "test_")) -> bool:
    """Return whether any callback does something at single batches.

    Args:
        callbacks: of `fit`, `evaluate` or `predict`: a list, one callback, or `None`.
        kinds: the hooks to look at: `""` for `on_batch_begin` and `on_batch_end`, `"train_"` for
            `on_train_batch_begin` and so on.
    """
    return any(_watches_single_batches(callback, kinds) for callback in callback_list(callbacks))


def _watches_single_batches(callback: Any, kinds: Sequence[str]) -> bool:
    hooks = [f"on_{kind}batch_{end}" for kind in kinds for end in ("begin", "end")]

    def has_the_hooks_of(callback_class: type) -> bool:
        on_instance = any(name in vars(callback) for name in hooks)
        inherited = all(getattr(type(callback), name) is getattr(callback_class, name) for name in hooks)
        return isinstance(callback, callback_class) and inherited and not on_instance

    known = keras.callbacks
    saves = has_the_hooks_of(known.ModelCheckpoint) or has_the_hooks_of(known.BackupAndRestore)
    if saves and callback.save_freq == "epoch":
        return False  # the hooks count batches, and do nothing else
    if has_the_hooks_of(known.ProgbarLogger):
        return False
    tuner = tuner_of_callback(callback)
    if tuner is not None:
        return tuner_watches_batches(tuner)
    if has_the_hooks_of(known.TensorBoard) and callback.update_freq == "epoch":
        return callback.write_steps_per_second or profiles_batches(callback)
    return not has_the_hooks_of(known.Callback)
