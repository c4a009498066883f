"""Whether callbacks look at single batches, of which a block takes many at a time."""

import keras

from keras_linreg.utils.keras_compat import callback_list


def watch_batches(callbacks, kinds=("", "train_", "test_")) -> bool:
    """Return whether any callback has hooks of some kinds that look at single batches."""
    return any(_watches(callback, kinds) for callback in callback_list(callbacks))


def _watches(callback, kinds) -> bool:
    hooks = [f"on_{of}batch_{end}" for of in kinds for end in ("begin", "end")]

    def has_those_of(kind) -> bool:
        own = any(name in vars(callback) for name in hooks)
        inherited = all(getattr(type(callback), name) is getattr(kind, name) for name in hooks)
        return isinstance(callback, kind) and inherited and not own

    known = keras.callbacks
    saves = has_those_of(known.ModelCheckpoint) or has_those_of(known.BackupAndRestore)
    if saves and getattr(callback, "save_freq", getattr(callback, "_save_freq", None)) == "epoch":
        return False  # they look at the number of the batch, and return
    if has_those_of(known.ProgbarLogger):
        return False
    if _is_of_keras_tuner(type(callback)) and hasattr(callback, "tuner"):  # passes on to hooks that mostly do nothing
        tuner = callback.tuner
        return not (_is_of_keras_tuner(tuner.on_batch_begin) and _is_of_keras_tuner(tuner.on_batch_end))
    if has_those_of(known.TensorBoard) and callback.update_freq == "epoch":
        return callback.write_steps_per_second or getattr(callback, "_should_trace", True)
    return not has_those_of(known.Callback)


def _is_of_keras_tuner(what) -> bool:
    return what.__module__.startswith("keras_tuner.")
