"""Warnings that name the user's own line, however deep in the libraries we found their reason."""

import itertools
import sys
import warnings

LIBRARIES = ("keras_linreg", "keras", "tensorflow")


def warn_user(message: str) -> None:
    """Issue a UserWarning for the nearest caller outside of keras_linreg, Keras and TensorFlow.

    Args:
        message: the text of the warning.
    """
    for level in itertools.count(2):
        try:
            frame = sys._getframe(level)
        except ValueError:  # the bottom of the stack: a library started this thread
            break
        if frame.f_globals.get("__name__", "").partition(".")[0] not in LIBRARIES:
            break
    warnings.warn(message, UserWarning, stacklevel=level + 1)
