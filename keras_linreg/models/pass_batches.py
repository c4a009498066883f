"""PassBatches: what Keras's loop iterates over in a pass, and the rows that each of its items stands for."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_linreg.data import CellMatrix, Prepared, Rows, SparseRows, Stream
from keras_linreg.moments.sparse_rows import batches_by_number, written_out
from keras_linreg.utils.threads import Pace
from keras_linreg.utils.types import Batch

BATCH_NUMBERS = 2**25  # of a batch if the user names no size: large, and yet the progress bar moves
BATCH_HEIGHT = 64


class EndOfFiles(Exception):
    """The files have no more batches."""


class PassBatches:
    """The batches of the data of a fit.

    Arrays in memory and files do not go through Keras's loop: it counts their batches.

    Args:
        data: of the fit.
        batch_size: the user's, or None.
        strategy: under which the model was made: each replica draws its own batches.

    Attributes:
        batches_read: of a stream, in all epochs: what an error names.
        pace: of the batches of files.
    """

    def __init__(self, data: Prepared, batch_size: int | None, strategy: tf.distribute.Strategy):
        self.data = data
        self.batches_read = 0
        self._strategy = strategy
        self._replicas = strategy.num_replicas_in_sync
        self._rows = batch_rows(data, batch_size) if isinstance(data, Rows) else None
        self._batch_of = batches_by_number(data, self._rows) if isinstance(data, Rows) and self._rows else None
        self._in_parts = data.in_parts if isinstance(data, Stream) and self._replicas == 1 else None
        self.pace = self._in_parts.pace if self._in_parts is not None else Pace()
        self._parts: Iterator[list[Batch]] = iter(())  # of the present epoch

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory."""
        return self._batch_of is not None

    @property
    def reads_again(self) -> bool:
        """Whether the rows can be read once more."""
        return self.in_memory or isinstance(self.data.x, tf.data.Dataset | keras.utils.PyDataset)

    @property
    def count(self) -> int | None:
        """The number of batches of an epoch, or None if only its end tells."""
        if self._rows is not None:
            return -(-int(self.data.x.shape[0]) // self._rows)
        if self._in_parts is not None:
            return self._in_parts.count
        if isinstance(self.data.x, keras.utils.PyDataset):
            return self.data.x.num_batches
        cardinality = int(self.data.x.cardinality()) if isinstance(self.data.x, tf.data.Dataset) else -1
        return cardinality if cardinality >= 0 else None

    def for_keras(self) -> Any:
        """Return what Keras iterates over: a stream itself; for arrays and files, the numbers of their batches."""
        count = self.count
        if self._in_parts is not None:
            return _counting(2**62).filter(lambda _: True) if count is None else _counting(count)
        if count is None or self._rows is None:
            return self.data.x
        numbers = _counting(count)
        # A strategy cuts a batch into one part for each replica: one of them gets the number.
        others = self._replicas - 1
        return numbers.map(lambda i: tf.concat([[i], -tf.ones(others, i.dtype)], 0)) if others else numbers

    def arrays_of(self, item: Any) -> Iterator[Batch]:
        """Yield the parts of an item that Keras has drawn: a batch of each replica, or the number of a batch.

        Raises:
            EndOfFiles: the files have no more batches.
        """
        if self._in_parts is not None:
            if int(item) == 0:
                self._parts = self._in_parts.read()
            parts = next(self._parts, None)
            if parts is None:
                raise EndOfFiles
            yield from parts
            return
        for part in self._of_replicas(item):
            yield self._dense(part) if self._batch_of is None else self._batch_of(int(part))

    def again(self, count: int) -> Iterator[Batch]:
        """Yield the first `count` batches of an epoch once more."""
        if self._batch_of is not None:
            for number in range(count):
                yield from written_out(self._batch_of(number))
        elif self._in_parts is not None:
            for parts in itertools.islice(self._in_parts.read(), count):
                for part in parts:
                    yield from written_out(part)
        else:
            assert isinstance(self.data, Stream)
            for number, (_, *batch) in enumerate(itertools.islice(self.data.again(), count)):
                # A PyDataset may return the same array again and again, and blocks are read ahead.
                yield tuple(None if p is None else p.copy() for p in self.data.dense(tuple(batch), number))

    def _of_replicas(self, item: Any) -> list[Any]:
        """Return each replica's batch, or the numbers of batches of arrays."""
        if self._replicas == 1:
            return [item]
        local = self._strategy.experimental_local_results
        if self.in_memory:
            return [number for replica in local(item) for number in replica.numpy() if number >= 0]
        return list(zip(*(local(part) for part in item), strict=True))

    def _dense(self, batch: Any) -> Batch:
        """Return a batch of a stream as arrays, and count it."""
        assert isinstance(self.data, Stream)  # rows in memory come by number
        self.batches_read += 1
        return self.data.dense(batch, self.batches_read - 1)


@functools.lru_cache(maxsize=8)
def _counting(end: int) -> tf.data.Dataset:
    """Return the dataset of the numbers below `end`; to make one takes as long as to reduce some 50,000 rows."""
    options = tf.data.Options()
    options.autotune.enabled = False  # a range does not need the thread, which takes time to end
    return tf.data.Dataset.range(end).with_options(options)


def batch_rows(data: Rows, batch_size: Any) -> int:
    """Return the rows of a batch of arrays: the user's number, or a large one."""
    if batch_size is not None:
        return int(batch_size)
    if isinstance(data, SparseRows):
        return max(1, data.count)
    columns = len(data.x.parts) + 1 if isinstance(data.x, CellMatrix) else int(data.x.shape[1])
    return max(1, min(data.block_size, max(BATCH_NUMBERS // columns, BATCH_HEIGHT * columns)))
