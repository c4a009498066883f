"""Batches as Keras packs them: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""

from typing import Any


def unpack_batch(batch: Any) -> tuple[Any, Any, Any]:
    """Return `x`, `y` and `sample_weight` of a batch, None for each that it lacks.

    Raises:
        ValueError: the batch is a tuple of more than three parts, or of none.
    """
    if isinstance(batch, list):
        batch = tuple(batch)
    if not isinstance(batch, tuple):
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            f"A batch must be x, (x,), (x, y) or (x, y, sample_weight). Received: a tuple of {len(batch)} parts."
        )
    x, y, sample_weight = (*batch, None, None)[:3]
    return x, y, sample_weight


def pack_batch(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Return the parts of a batch as one object, without those that are None."""
    if y is None:
        return (x,) if isinstance(x, tuple | list) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)
