"""One evaluation of a model at a time: its metrics are one state, which threads would mix."""

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

_locks: "weakref.WeakKeyDictionary[Any, threading.RLock]" = weakref.WeakKeyDictionary()
_lock_of_locks = threading.Lock()


@contextlib.contextmanager
def one_at_a_time(model: Any) -> Iterator[None]:
    """Let threads evaluate a model one after the other; within its evaluation a thread may evaluate again.

    The lock is kept beside the model, which may be copied or pickled.
    """
    with _lock_of_locks:
        lock = _locks.setdefault(model, threading.RLock())
    with lock:
        yield
