"""Warnings that name the user's own line, however deep in the libraries we found their reason."""

import inspect
import warnings

LIBRARIES = ("keras_linreg", "keras", "tensorflow")


def warn_user(message: str) -> None:
    """Issue a UserWarning for the nearest caller outside of keras_linreg, Keras and TensorFlow.

    Args:
        message: the text of the warning.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES:
        frame, level = frame.f_back, level + 1  # None at the bottom of the stack: a library started this thread
    warnings.warn(message, UserWarning, stacklevel=level)
