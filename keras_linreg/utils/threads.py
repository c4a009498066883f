"""Work on all cores: how many there are, blocks of rows in order, and BLAS kept out of the way."""

import collections
import concurrent.futures
import contextlib
import contextvars
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import threadpoolctl

from keras_linreg.utils.types import Array

WAITS = 0.05  # of the time of its work, a pass may wait for batches before it leaves the cores to those who make them

_limit: contextvars.ContextVar[int | None] = contextvars.ContextVar("limit", default=None)


def cores() -> int:
    """Return how many cores this process may use, or fewer within `limit_threads`."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_limit.get() or there, there)


@contextlib.contextmanager
def limit_threads(threads: int | None) -> Iterator[None]:
    """Work on at most so many threads; None: on all cores. Within another limit the smaller one holds.

    Raises:
        ValueError: it is no positive integer.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ValueError(f"`threads` must be a positive integer or None. Received: {threads!r}.")
    outer = _limit.get()
    token = _limit.set(min(threads, outer) if threads and outer else threads or outer)
    try:
        yield
    finally:
        _limit.reset(token)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: ours, one a core, also convert, centre and weight, and its own would be in their way."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield


def product_without_lock(a: Array, b: Array) -> Array:
    """Return `a @ b`, and let other threads work: `@` keeps the interpreter's lock where the product is small."""
    return np.dot(a, b)


def in_order(function: Callable, items: Iterable, ahead: int | None = None) -> Iterator:
    """Yield `function(item)` of each item, in their order, computed on all cores.

    Args:
        function, items: as in `map`.
        ahead: how many items are computed ahead; None for a few.
    """
    if cores() == 1:
        yield from map(function, items)
        return
    ahead = 2 * cores() if ahead is None else ahead
    waiting: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Pace:
    """Watches whether a pass waits for its batches: then all cores make them, and one thread works them off in time."""

    def __init__(self) -> None:
        self._waited, self._worked = 0.0, 0.0

    def watch(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches."""
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            came = time.perf_counter()
            if batch is None:
                return
            self._waited += came - began
            yield batch
            self._worked += time.perf_counter() - came

    @property
    def threads(self) -> int | None:
        """How many threads are to reduce a batch; None for all. The bits do not depend on it."""
        return 1 if self._waited > WAITS * self._worked else None


@functools.cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    """Return the BLAS libraries that are loaded; looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()
