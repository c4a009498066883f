"""Warnings that point to the user's own line, however deep in the libraries their reason was found."""

import itertools
import sys
import warnings

LIBRARIES = ("keras_linreg", "keras", "tensorflow")


def warn(message: str) -> None:
    """Warn as of the nearest caller that is neither this package, nor Keras, nor TensorFlow."""
    for level in itertools.count(2):
        try:
            frame = sys._getframe(level)
        except ValueError:  # a thread of a library's own
            break
        if frame.f_globals.get("__name__", "").partition(".")[0] not in LIBRARIES:
            break
    warnings.warn(message, UserWarning, stacklevel=level + 1)
