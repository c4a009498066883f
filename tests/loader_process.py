"""Ask a SavedModel from a test: in another process, which runs `cpp_loader.py` and no TensorFlow in Python.

The process starts with the first request, and answers all requests of this test process: that saves a second for each.
"""

import atexit
import functools
import os
import pickle
import subprocess
import sys
import tempfile
import threading

import cpp_loader
from cpp_loader import ServingError

TIMEOUT = 300  # seconds


class LoaderProcess:
    """A process without TensorFlow's Python, which answers requests one after the other until this one ends."""

    def __init__(self):
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, cpp_loader.__file__, "--requests"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr)
        atexit.register(self._process.kill)

    def answer(self, request):
        """Return the answer to a request: of `SavedModel.run`, or of `describe` if the request is a path alone."""
        watchdog = threading.Timer(TIMEOUT, self._process.kill)
        watchdog.start()
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self._process.kill()
            self._process.wait()
            _loader_process.cache_clear()
            self._stderr.seek(0)
            text = self._stderr.read().decode(errors="replace")
            raise RuntimeError(f"The loader's process ended with {self._process.returncode}:\n{text}") from error
        finally:
            watchdog.cancel()


_loader_process = functools.cache(LoaderProcess)


def ask(requests):
    """Run `(model_dir, signature, inputs)` requests in another process.

    Returns for each a dict of arrays, or the ServingError that a client would get.
    """
    answers = [_loader_process().answer((os.fspath(folder), *rest)) for folder, *rest in requests]
    return [ServingError(*answer) if isinstance(answer, tuple) else answer for answer in answers]


def serve(model_dir, signature, inputs):
    """Run one signature in another process; return its outputs as a dict of arrays, or raise ServingError."""
    (answer,) = ask([(model_dir, signature, inputs)])
    if isinstance(answer, ServingError):
        raise answer
    return answer


def describe(model_dir):
    """Return `SavedModel(model_dir).signatures`, read in another process, or raise ServingError."""
    answer = _loader_process().answer(os.fspath(model_dir))
    if isinstance(answer, tuple):
        raise ServingError(*answer)
    return answer
