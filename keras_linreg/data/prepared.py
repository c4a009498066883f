"""Prepared: data as Keras's adapters take them, and a way to read them once more."""

import dataclasses
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

from keras_linreg.data.kinds import is_dataset, is_distributed_dataset, is_py_dataset, is_scipy_sparse, is_sparse
from keras_linreg.data.packing import pack_batch
from keras_linreg.utils.types import Batch, Data


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """Data as Keras's adapters take them, and a way to read them once more when something went wrong.

    Attributes:
        x: the design, `(n, p)`, dense or sparse; or a stream of batches, which holds y and weights as well.
        y: `(n, k)`, or None for a stream, and where there are no targets.
        sample_weight: `(n,)` or None.
        again: returns an iterator of `(number of the batch or None, x, y, sample_weight)`, NumPy arrays or tensors:
            all rows of arrays, the batches of a stream, of a generator only the batches that were kept.
        errors: texts of the errors in batches; Keras would wrap an error in a dataset's thread beyond recognition.
        first: the first batch of a PyDataset or generator.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    again: Callable[[], Iterator[tuple[Any, ...]]] = lambda: iter(())
    errors: list[str] = dataclasses.field(default_factory=list)
    first: Batch | None = None

    @property
    def parts(self) -> Batch:
        """`x`, `y` and `sample_weight`."""
        return self.x, self.y, self.sample_weight

    @property
    def packed(self) -> Any:
        """The parts as Keras takes validation data: a stream as it is, arrays in a tuple."""
        return self.x if self.y is None else pack_batch(*self.parts)

    @property
    def can_shuffle(self) -> bool:
        """Whether Keras can shuffle the rows, or the batches of a PyDataset; for other streams it would warn."""
        return self.y is not None or is_py_dataset(self.x)


def is_stream(x: Data) -> bool:
    """Return whether `x` is a stream, which holds y too: a dataset, PyDataset, generator or loader."""
    return (
        is_dataset(x)
        or is_distributed_dataset(x)
        or is_py_dataset(x)
        or isinstance(x, types.GeneratorType)
        or hasattr(x, "__next__")
        or type(x).__module__.startswith(("torch.utils.data", "grain."))
    )


def to_dense(x: Data) -> Data:
    """Return a SciPy sparse matrix as a dense array, and anything else as it is."""
    return x.toarray() if is_scipy_sparse(x) else x


def split(data: Prepared, share: float) -> tuple[Prepared, Prepared]:
    """Return the first rows to fit and the last ones to validate, as Keras splits them.

    Args:
        data: dense arrays.
        share: of the rows to validate, between 0 and 1.

    Raises:
        ValueError: the data are sparse or a stream, or one of the two would be empty.
    """
    if is_stream(data.x) or is_sparse(data.x):
        raise ValueError("`validation_split` takes dense arrays, frames and dicts: give `validation_data` instead.")
    rows = int(data.x.shape[0])
    first = math.floor(rows * (1.0 - share))
    if not 0 < share < 1 or first in (0, rows):
        raise ValueError(
            f"`validation_split` must leave rows to fit and rows to validate. Received: {share} of {rows} rows."
        )

    def part(rows: slice) -> Prepared:
        weight = data.sample_weight
        return Prepared(data.x[rows], data.y[rows], None if weight is None else weight[rows])

    return part(slice(first)), part(slice(first, None))
