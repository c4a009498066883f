"""PredictionBatches: batches of data in memory for `predict`, without the pipeline that Keras would build."""

from typing import Any

import tensorflow as tf

from keras_linreg.training.loop.placeholder import placeholder_dataset
from keras_linreg.training.loop.row_tensors import row_tensors
from keras_linreg.utils.types import Data


class PredictionBatches:
    """The batches of one `predict` of data in memory.

    Args:
        x: `(n, p)`, dense or sparse; the batches are dense.
        batch_size: rows of a batch; the last batch has the rest.
        dtype: of the batches; `None` for floatx, and for the array's own dtype if that is not floating.
        reuse_memory: whether a batch may overwrite the one before it.
    """

    def __init__(self, x: Data, batch_size: int, dtype: str | None, reuse_memory: bool):
        self._tensors = row_tensors(x, dtype)
        self._rows, self._batch_size = int(x.shape[0]), batch_size
        self._next_row = 0
        self._buffer = self._tensors.new_buffer(batch_size) if reuse_memory and batch_size < self._rows else None

    @property
    def predict_arguments(self) -> dict[str, Any]:
        """The arguments of `predict` that let Keras ask for each of these batches."""
        return {"x": placeholder_dataset(), "batch_size": None, "steps": -(-self._rows // self._batch_size)}

    def next_batches(self, count: int) -> list[tuple[tf.Tensor]]:
        """Return the next `count` batches, or the rest, for one call of Keras's predict function."""
        batches: list[tuple[tf.Tensor]] = []
        while len(batches) < count and self._next_row < self._rows:
            rows = slice(self._next_row, min(self._next_row + self._batch_size, self._rows))
            self._next_row = rows.stop
            size = rows.stop - rows.start
            # One call reads all its batches at once, so they must not share a buffer.
            is_alone = self._buffer is not None and count == 1
            buffer = self._buffer if is_alone else self._tensors.new_buffer(size)
            batches.append((self._tensors.tensor(rows, size, buffer),))
        return batches
