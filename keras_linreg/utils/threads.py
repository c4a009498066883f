"""Work on all cores: how many there are, blocks of rows in order, and BLAS kept out of the way."""

import collections
import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator

import threadpoolctl


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: ours, one a core, also convert, centre and weight, and its own would be in their way."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield


def in_order(function: Callable, items: Iterable) -> Iterator:
    """Yield `function(item)` of each item, in their order, computed on all cores a few items ahead."""
    ahead = 2 * cores()
    waiting: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@functools.cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    """Return the BLAS libraries that are loaded; looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()
