"""Counts of small integers."""

import numpy as np

BLOCK = 2**16  # np.bincount converts to int64: a block of that fits the cache


def counts(codes: np.ndarray, size: int, first: int = 0) -> np.ndarray:
    """Return how many codes `(n,)` are `first`, `first + 1`, ..., `(size,)`.

    Example:
    >>> counts(np.array([0, 2, -1, 2], np.int8), 4, first=-1)
    array([1, 1, 0, 2])
    """
    total, height = np.zeros(size, np.intp), max(BLOCK, size)
    for start in range(0, len(codes), height):
        block = codes[start : start + height]
        total += np.bincount(block if first == 0 else block.astype(np.intp) - first, minlength=size)
    return total
