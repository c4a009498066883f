"""Row labels of pandas: the error for two indexes that differ."""

from typing import Any

import numpy as np


def different_labels(first: str, labels: Any, second: str, others: Any) -> ValueError:
    """Return the error for two pandas indexes that differ: rows that belong together must have one label."""
    if len(labels) == len(others):
        row = next(i for i, (a, b) in enumerate(zip(labels, others, strict=True)) if not _equal(a, b))
        received = f"{labels[row]!r} in {first} and {others[row]!r} in {second}, in row {row}"
    else:
        received = f"{len(labels)} labels in {first} and {len(others)} in {second}"
    return ValueError(
        f"{first} and {second} must have the same row labels in the same order (their pandas index): bring them "
        "into one order, for example by y.loc[x.index]. To pair rows by position, pass `.to_numpy()` of one of them. "
        f"Received: {received}."
    )


def _equal(a: Any, b: Any) -> bool:
    return a is b or bool(np.all(a == b)) or (a != a and b != b)
