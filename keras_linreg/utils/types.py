"""Names for what users hand in, and for what arrays of rows are called here."""

import os
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
# Arrays, frames, dicts of columns, tensors, sparse matrices, datasets, generators: `keras_linreg.data` reads them all.
Data: TypeAlias = Any
# `(x, y, sample_weight)` of some rows, of which the last two may be None.
Batch: TypeAlias = tuple[Any, ...]
PathLike: TypeAlias = str | os.PathLike[str]
