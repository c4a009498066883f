"""Data that comes in batches: datasets, PyDatasets, generators."""

import contextlib
import dataclasses
import itertools
import math
import types
from collections.abc import Callable, Generator, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """Data as Keras's adapters take it, and a way to look at it again when something went wrong.

    `again()` yields `(batch number or None, x, y, sample_weight)`, as NumPy arrays or tensors: the whole of arrays, the
    batches of a stream, of a generator only those that were kept. `errors` fills with what was wrong with a batch:
    inside a dataset's thread Keras would wrap it beyond recognition. `first` is the first batch of a PyDataset or
    generator.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    again: Callable[[], Iterator[tuple]] = lambda: iter(())
    errors: list[str] = dataclasses.field(default_factory=list)
    first: tuple | None = None

    @property
    def parts(self) -> tuple:
        """`x`, `y` and `sample_weight`."""
        return self.x, self.y, self.sample_weight

    @property
    def packed(self):
        """The parts as Keras takes those of validation: a stream as it is, arrays in a tuple."""
        return self.x if self.y is None else keras.utils.pack_x_y_sample_weight(*self.parts)

    @property
    def can_shuffle(self) -> bool:
        """Whether Keras can shuffle the rows, or the batches of a PyDataset; of another stream it would warn."""
        return self.y is not None or isinstance(self.x, keras.utils.PyDataset)


def is_stream(x) -> bool:
    """Return whether `x` holds `y` too: a dataset, PyDataset, generator or loader, not arrays."""
    return (
        isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset, keras.utils.PyDataset, types.GeneratorType))
        or hasattr(x, "__next__")
        or type(x).__module__.startswith(("torch.utils.data", "grain."))
    )


def is_sparse(x) -> bool:
    """Return whether `x` is a sparse tensor or a SciPy sparse matrix."""
    return isinstance(x, tf.SparseTensor) or hasattr(x, "tocoo")


def written_out(x):
    """Return a SciPy sparse matrix as an array, and anything else as it is."""
    return x.toarray() if hasattr(x, "tocoo") else x


def split(data: Prepared, share: float) -> tuple[Prepared, Prepared]:
    """Return the first rows to fit and the last ones to validate, as Keras splits them."""
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


class PreparedPyDataset(keras.utils.PyDataset):
    """A user's PyDataset with each batch converted on the way out."""

    def __init__(self, inner: keras.utils.PyDataset, convert: Callable, errors: list[str]):
        super().__init__(inner.workers, inner.use_multiprocessing, inner.max_queue_size)
        self._inner = inner
        self._convert = convert
        self._errors = errors

    def __getitem__(self, index):
        raw = self._inner[index]
        with noting(self._errors, index):
            return self._convert(raw)

    @property
    def num_batches(self):
        """The number of batches of the user's own."""
        return self._inner.num_batches

    def on_epoch_begin(self):
        """Pass on the beginning of an epoch."""
        self._inner.on_epoch_begin()

    def on_epoch_end(self):
        """Pass on the end of an epoch."""
        self._inner.on_epoch_end()


class KeptBatches:
    """Converts a generator's batches, and keeps of them what an error message may need: the first, and a bad one."""

    def __init__(self, generator: Iterator, convert: Callable, errors: list[str]):
        self._generator = generator
        self._convert = convert
        self._errors = errors
        self._kept: dict[int, tuple] = {}

    def generator(self) -> Generator:
        """Yield the converted batches; Keras takes nothing but a true generator."""
        for index, raw in enumerate(self._generator):
            with noting(self._errors, index):
                batch = self._convert(raw)
            parts = keras.utils.unpack_x_y_sample_weight(batch)
            if index == 0 or (len(self._kept) == 1 and not all(is_finite(part) for part in parts)):
                self._kept[index] = parts
            yield batch

    def again(self) -> Iterator[tuple]:
        """Yield the batches that were kept, with their numbers."""
        return ((index, *parts) for index, parts in self._kept.items())


@contextlib.contextmanager
def noting(errors: list[str], batch: int) -> Iterator[None]:
    """Note an error of the conversion of a batch, with its number."""
    try:
        yield
    except ValueError as error:
        errors.append(f"Batch {batch}: {error}")
        raise


def peek(generator: Iterator) -> tuple[Any, Iterator]:
    """Return the first batch, and the generator as it was."""
    first = next(generator, None)
    if first is None:
        raise ValueError("`x` must yield at least one batch. Received: an empty generator.")
    return first, itertools.chain([first], generator)


def numbered(batches) -> Iterator[tuple]:
    """Yield `(number, x, y, sample_weight)` of each batch of a stream that can be read again."""
    for index, batch in enumerate(batches):
        yield index, *keras.utils.unpack_x_y_sample_weight(batch)


def is_finite(array, dtype: str | None = None) -> bool:
    """Return whether every number in `array` is finite (None and strings are), and within a `dtype` if there is one."""
    values = finite_part(array)
    wanted = None if dtype is None else tf.as_dtype(dtype)
    if wanted is not None and wanted.size < values.itemsize and values.size:
        largest = max(-values.min(), values.max())
        return bool(np.isfinite(largest) and largest <= float(wanted.max))
    # A sum is one pass without a temporary; only where it overflows or is bad are the elements looked at.
    return bool(np.isfinite(values.sum(dtype=np.float64)) or np.isfinite(values).all())


def first_bad(array, dtype: str | None = None) -> tuple[int, int, str] | None:
    """Return row, column and value of the first number that is not finite, in the `dtype` that it is trained in."""
    array = array.tocoo() if hasattr(array, "tocoo") else array
    values = finite_part(array)
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(values if dtype is None else values.astype(tf.as_dtype(dtype).as_numpy_dtype))
    if not bad.any():
        return None
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    shown = f"{values[at]}" if not np.isfinite(values[at]) else f"{values[at]:g} (too large for {dtype})"
    if isinstance(array, tf.SparseTensor):
        row, column = np.asarray(array.indices)[at[0]]
    elif hasattr(array, "tocoo"):
        row, column = array.row[at[0]], array.col[at[0]]
    else:
        row, column = at[0], at[-1] if len(at) > 1 else 0
    return int(row), int(column), shown


def finite_part(array) -> np.ndarray:
    """Return the numbers of a dense or sparse array that may fail to be finite."""
    if array is None:
        return np.zeros(0)
    if is_sparse(array) and not isinstance(array, tf.SparseTensor):
        array = array.data
    elif isinstance(array, tf.SparseTensor):
        array = array.values
    array = np.asarray(array)
    if array.dtype.kind == "V" or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return array if array.dtype.kind == "f" else np.zeros(0)
