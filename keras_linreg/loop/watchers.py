"""Whether callbacks look at single batches, of which a block takes many at a time."""

import keras


def watch_batches(callbacks, kinds=("", "train_", "test_")) -> bool:
    """Return whether any callback has hooks of some kinds that look at single batches."""
    flat = keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or [])
    return any(_watches(callback, kinds) for callback in flat)


def _watches(callback, kinds) -> bool:
    saves = isinstance(callback, keras.callbacks.ModelCheckpoint | keras.callbacks.BackupAndRestore)
    if saves and getattr(callback, "save_freq", getattr(callback, "_save_freq", None)) == "epoch":
        return False  # their hooks look at the number of the batch, and return
    if isinstance(callback, keras.callbacks.ProgbarLogger):
        return False
    if _is_of_keras_tuner(type(callback)) and hasattr(callback, "tuner"):  # passes on to hooks that mostly do nothing
        tuner = callback.tuner
        return not (_is_of_keras_tuner(tuner.on_batch_begin) and _is_of_keras_tuner(tuner.on_batch_end))
    if isinstance(callback, keras.callbacks.TensorBoard) and callback.update_freq == "epoch":
        return callback.write_steps_per_second or getattr(callback, "_should_trace", True)
    hooks = [f"on_{of}batch_{end}" for of in kinds for end in ("begin", "end")]
    return any(
        name in vars(callback) or getattr(type(callback), name) is not getattr(keras.callbacks.Callback, name)
        for name in hooks
    )


def _is_of_keras_tuner(what) -> bool:
    return what.__module__.startswith("keras_tuner.")
