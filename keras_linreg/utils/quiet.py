"""Import this module first, and TensorFlow writes no log lines: `import keras_linreg.utils.quiet`.

`TF_CPP_MIN_LOG_LEVEL=3` silences TensorFlow once it runs. But its libraries also write while they are loaded, straight
to the standard error stream, whatever that variable says. So TensorFlow is imported here, while the stream leads
nowhere. Errors are Python exceptions, and stay visible.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _import_tensorflow() -> None:
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


if "tensorflow" not in sys.modules:
    _import_tensorflow()
