"""Prepared: data as Keras's adapters take them; rows in memory, dense or sparse, and streams of batches."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from keras_linreg.data.column_matrix import LazyMatrix
from keras_linreg.data.dense import dense_batch, dense_matrix, dense_vector
from keras_linreg.data.graph import broken_rule
from keras_linreg.data.kinds import is_py_dataset, is_sparse
from keras_linreg.data.missing import MissingRows, find, keep_rows, nan_masks
from keras_linreg.data.packing import pack_batch
from keras_linreg.data.pairing import keep_groups
from keras_linreg.data.schema import default_names, default_output_names
from keras_linreg.data.sparse import to_csr
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.threads import Pace
from keras_linreg.utils.types import Batch

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")

SPARSE_NUMBERS = 2**22  # of a block of sparse rows that is made dense


@dataclasses.dataclass(frozen=True)
class Prepared(abc.ABC):
    """Data as Keras's adapters take them, and ways to read them.

    Attributes:
        x: the design, `(n, p)`; or a stream of batches, which holds y and weights as well.
        y: `(n, k)`, or None for a stream, and where there are no targets.
        sample_weight: `(n,)` or None.
        output_names: the names of the columns of y, () if they have none.
        groups: a label for each row, if the user gave some.
        errors: texts of the errors in batches; Keras would wrap an error in a dataset's thread beyond recognition.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    output_names: tuple[str, ...] = ()
    groups: Any = None
    errors: list[str] = dataclasses.field(default_factory=list)

    @property
    def parts(self) -> Batch:
        """`x`, `y` and `sample_weight`."""
        return self.x, self.y, self.sample_weight

    @property
    def packed(self) -> Any:
        """The parts as Keras takes validation data: a stream as it is, arrays in a tuple."""
        return self.x if self.y is None else pack_batch(*self.parts)

    @property
    @abc.abstractmethod
    def can_shuffle(self) -> bool:
        """Whether Keras can shuffle the rows, or the batches of a PyDataset; for other streams it would warn."""

    @abc.abstractmethod
    def again(self) -> Iterator[tuple[Any, ...]]:
        """Yield `(number of the batch or None, x, y, sample_weight)` once more: NumPy arrays or tensors.

        They are all rows in memory, the batches of a stream, of a generator only the batches that were kept.
        """

    @abc.abstractmethod
    def dense_batches(self) -> Iterator[Batch]:
        """Yield each batch once, `(n, p)`, `(n, k)`, `(n,)` or None, as arrays; rows in memory whole or in blocks."""

    @abc.abstractmethod
    def missing_rows(self, rows: int, batches: int | None = None) -> MissingRows | None:
        """Return the counts of rows that were dropped, or None if there are none.

        Args:
            rows: that were read beside them.
            batches: of a stream, that were read; None: all.
        """

    def split(self, share: float) -> tuple[Prepared, Prepared]:
        """Return the first rows to fit and the last ones to validate, as Keras splits them.

        Args:
            share: of the rows to validate, between 0 and 1.

        Raises:
            ValueError: the data are sparse or a stream, or one of the two would be empty.
        """
        raise ValueError("`validation_split` takes dense arrays and tables: give `validation_data` instead.")


@dataclasses.dataclass(frozen=True)
class Rows(Prepared):
    """Dense rows in memory.

    Attributes:
        labels: of the rows: a pandas Index, or their numbers if some rows were dropped; None: 0, 1, ...
        kept: mask of the rows that were kept of those given; None if all were.
        missing: counts of the rows that were dropped; None if there were none.
    """

    labels: Any = None
    kept: np.ndarray | None = None
    missing: MissingRows | None = None

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self.x.shape[0])

    @property
    def can_shuffle(self) -> bool:
        """True: rows in memory have any order."""
        return True

    @property
    def block_size(self) -> int:
        """How many rows to read at once: all."""
        return self.count

    def again(self) -> Iterator[tuple[Any, ...]]:
        """Yield all rows."""
        yield None, *self.parts

    def in_one_array(self) -> Self:
        """Return the rows with `x` as one array: columns of a table are put together."""
        is_array = not isinstance(self.x, LazyMatrix)
        return self if is_array else dataclasses.replace(self, x=np.ascontiguousarray(self.x))

    def dense_batches(self) -> Iterator[Batch]:
        """Yield the rows in blocks of `block_size`, without a copy."""
        return self.batches(self.block_size)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the rows in batches of `batch_size`, without a copy."""
        batch = self.batches_by_number(batch_size)
        for number in range(-(-self.count // batch_size)):
            yield batch(number)

    def batches_by_number(self, batch_size: int) -> Callable[[int], Batch]:
        """Return the function that takes a batch's number and returns the batch."""
        x, y = self._sliceable(), None if self.y is None else dense_matrix(self.y)
        weights = dense_vector(self.sample_weight)

        def batch(number: int) -> Batch:
            rows = slice(number * batch_size, (number + 1) * batch_size)
            return dense_matrix(x[rows]), None if y is None else y[rows], None if weights is None else weights[rows]

        return batch

    def as_dataset(self, batch_size: int, dtype: str) -> tf.data.Dataset:
        """Return the rows as a dataset of dense batches of one dtype; Keras would cast the arrays to floatx."""

        def batches() -> Iterator[Batch]:
            for parts in self.batches(batch_size):
                yield tuple(part.astype(dtype) for part in parts if part is not None)

        shapes: list[tuple[int | None, ...]] = [(None, self.x.shape[1])]
        if self.y is not None:
            shapes.append((None, self.y.shape[1]))
        if self.sample_weight is not None:
            shapes.append((None,))
        specs = tuple(tf.TensorSpec(shape, dtype) for shape in shapes)
        dataset = tf.data.Dataset.from_generator(batches, output_signature=specs)
        return dataset.apply(tf.data.experimental.assert_cardinality(-(-self.count // batch_size))).prefetch(1)

    def split(self, share: float) -> tuple[Rows, Rows]:
        """Return the first rows to fit and the last ones to validate."""
        first = math.floor(self.count * (1.0 - share))
        if not 0 < share < 1 or first in (0, self.count):
            raise ValueError(
                "`validation_split` must leave rows to fit and rows to validate. "
                f"Received: {share} of {self.count} rows."
            )
        return self._part(slice(first)), self._part(slice(first, None))

    def missing_rows(self, rows: int, batches: int | None = None) -> MissingRows | None:
        """Return the counts of rows that were dropped."""
        return self.missing

    def missing_error(self, feature_names: Sequence[str] | None) -> ValueError | None:
        """Return the error that counts NaN in the design and in y, by column; or None if there is none."""
        names = feature_names or default_names(int(self.x.shape[1]))
        masks = nan_masks(self.x, names) | nan_masks(self.y, target_names(self.output_names, self.y))
        found = find(masks, self.sample_weight)
        return None if found is None else found.error(self.labels)

    def _part(self, rows: slice) -> Rows:
        weight, labels = self.sample_weight, self.labels
        is_chosen = np.zeros(self.count, bool)
        is_chosen[rows] = True
        return dataclasses.replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            sample_weight=None if weight is None else weight[rows],
            groups=None if self.groups is None else keep_groups(self.groups, is_chosen),
            labels=np.arange(self.count)[rows] if labels is None else labels[rows],
        )

    def _sliceable(self) -> Any:
        """Return `x` as something whose slices are rows."""
        return self.x if isinstance(self.x, LazyMatrix) else np.asarray(self.x)


@dataclasses.dataclass(frozen=True)
class SparseRows(Rows):
    """Sparse rows in memory: they are made dense a block at a time."""

    @property
    def block_size(self) -> int:
        """How many rows to make dense at a time."""
        return SPARSE_NUMBERS // int(self.x.shape[1]) + 1

    def split(self, share: float) -> tuple[Rows, Rows]:
        """Refuse, as Keras does."""
        Prepared.split(self, share)
        raise AssertionError("unreachable")

    def _sliceable(self) -> Any:
        return to_csr(self.x)


@dataclasses.dataclass(frozen=True, slots=True)
class BatchesInParts:
    """Batches for a pass that adds them up: each comes in some parts, as arrays without a copy.

    Attributes:
        count: of the batches; None if only their end tells.
        read: returns the iterator of the parts of each batch.
        pace: whether batches come more slowly than they are added up.
    """

    count: int | None
    read: Callable[[], Iterator[list[Batch]]]
    pace: Pace


@dataclasses.dataclass(frozen=True)
class Stream(Prepared):
    """Batches that are read one after the other.

    Attributes:
        read_again: returns the iterator of `again`.
        first: the first batch of a PyDataset or generator.
        dropped: counts of the rows that were dropped, by the number of their batch.
        in_parts: of files, their batches in parts; else None.
        drop_names: names of the design's columns, if rows without a value are to be dropped as batches are read; else
            None.
    """

    read_again: Callable[[], Iterator[tuple[Any, ...]]] = lambda: iter(())
    first: Batch | None = None
    dropped: dict[int, MissingRows] = dataclasses.field(default_factory=dict)
    in_parts: BatchesInParts | None = None
    drop_names: Callable[[], tuple[str, ...]] | None = None

    @property
    def can_shuffle(self) -> bool:
        """Whether Keras can shuffle the batches."""
        return is_py_dataset(self.x)

    def again(self) -> Iterator[tuple[Any, ...]]:
        """Yield the batches once more, or those that were kept."""
        return self.read_again()

    def dense_batches(self) -> Iterator[Batch]:
        """Yield each batch once, as arrays of its own."""
        for number, batch in enumerate(self._explained_batches()):
            # A generator may yield the same array again and again, with new numbers in it.
            yield tuple(None if part is None else part.copy() for part in self.dense(batch, number))

    def _explained_batches(self) -> Iterator[Any]:
        try:
            yield from self.x
        except Exception as error:
            rule = self.errors[0] if self.errors else broken_rule(error)  # the reason is lost in a dataset's thread
            if rule is None:
                raise
            raise ValueError(rule) from None

    def dense(self, batch: Any, number: int) -> Batch:
        """Return a batch as arrays, without rows that have no value if those are to be dropped."""
        parts = dense_batch(batch)
        if self.drop_names is None or parts[1] is None:
            return parts
        x, y, weights = parts
        masks = nan_masks(x, self.drop_names() or default_names(x.shape[1])) | nan_masks(y, target_names((), y))
        found = find(masks | nan_masks(weights, ["sample_weight"]), weights)
        if found is None:
            return parts
        self.dropped[number] = found.counts
        return tuple(keep_rows(part, ~found.rows) for part in parts)

    def missing_rows(self, rows: int, batches: int | None = None) -> MissingRows | None:
        """Return the counts of rows that were dropped; batches that were only read ahead do not count."""
        dropped = [counts for number, counts in self.dropped.items() if batches is None or number < batches]
        if not dropped:
            return None
        total = sum(dropped, MissingRows(0, 0, {}))
        return dataclasses.replace(total, rows=rows + total.missing)


def prepared_rows(x: Any, *args: Any, **kwargs: Any) -> Rows:
    """Return rows in memory, dense or sparse."""
    return (SparseRows if is_sparse(x) else Rows)(x, *args, **kwargs)


def target_names(output_names: tuple[str, ...], y: Any) -> tuple[str, ...]:
    """Return the names of outputs, for messages: "y" or y0, y1, ... if they have none."""
    if output_names or y is None:
        return output_names
    return default_output_names(1 if len(y.shape) == 1 else int(y.shape[1]))
