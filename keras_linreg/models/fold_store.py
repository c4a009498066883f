"""The folds of a fit in a file of weights: how they are written, and what must hold before they are believed."""

import dataclasses
from typing import Any

import numpy as np

from keras_linreg.models.saved import MOMENTS
from keras_linreg.moments.folds import FoldMoments
from keras_linreg.moments.folds_file import check_parts
from keras_linreg.moments.moments import Moments

TAKEN, FOLD = "taken", "fold_"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What a file holds of a path.

    Attributes:
        folds: the moments of the folds, None if there are none.
        l1, l2: the penalties: floats, or `(k,)`.
    """

    folds: FoldMoments | None
    l1: Any
    l2: Any


def store_folds(store: Any, folds: FoldMoments | None, l1: Any, l2: Any) -> None:
    """Write folds and penalties beside the moments."""
    store[MOMENTS + TAKEN] = np.stack([np.atleast_1d(l1), np.atleast_1d(l2)]).astype(np.float64)
    for k, fold in enumerate(() if folds is None else folds.folds):
        for key, array in fold.to_arrays().items():
            store[f"{MOMENTS}{FOLD}{k}_{key}"] = array


def folds_of_store(store: Any, units: int) -> Stored | None:
    """Return what `store_folds` wrote, or None where there are no moments.

    Raises:
        ValueError: the parts do not fit each other, or there are moments without penalties.
    """
    arrays = {key.removeprefix(MOMENTS): store[key] for key in list(store.keys()) if key.startswith(MOMENTS)}
    if not arrays:
        return None
    if TAKEN not in arrays:
        raise ValueError("The file must hold the penalties of an ElasticNetRegression. Received: moments alone.")
    taken = np.asarray(arrays[TAKEN])
    if taken.shape not in ((2, 1), (2, units)) or not np.isfinite(taken).all() or (taken < 0).any():
        raise ValueError(f"The penalties of the file must be of {units} outputs. Received: shape {taken.shape}.")
    l1, l2 = (float(part[0]) if len(part) == 1 else part for part in taken)
    numbers = sorted({int(key.split("_")[1]) for key in arrays if key.startswith(FOLD)})
    if numbers != list(range(len(numbers))):
        raise ValueError(f"The file must hold all folds. Received: the folds {numbers}.")
    parts = []
    for k in numbers:
        prefix = f"{FOLD}{k}_"
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        parts.append(Moments.from_arrays(own))
    if not parts:
        return Stored(None, l1, l2)
    total = Moments.from_arrays({key: array for key, array in arrays.items() if not key.startswith(FOLD)})
    check_parts(total, parts)
    return Stored(FoldMoments(total, tuple(parts)), l1, l2)
