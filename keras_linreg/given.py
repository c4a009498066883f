"""What users give in several forms, in one."""

import keras


def callback_list(callbacks) -> list:
    """Return callbacks one by one: of `None`, one, a list of them, nested too, or a `CallbackList`."""
    return keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or [])
