"""PyDatasets with their batches converted; imported for those only, because it imports Keras."""

from collections.abc import Callable
from typing import Any

import keras

from keras_linreg.data.streams import noting_errors


class ConvertedPyDataset(keras.utils.PyDataset):
    """A user's PyDataset whose batches are converted when they are read.

    Args:
        inner: the user's.
        convert: turns a batch and its number into `(x, y, sample_weight)` for Keras.
        errors: where to note the text of an error in a batch.
    """

    def __init__(self, inner: keras.utils.PyDataset, convert: Callable[[Any, int], Any], errors: list[str]):
        super().__init__(inner.workers, inner.use_multiprocessing, inner.max_queue_size)
        self._inner = inner
        self._convert = convert
        self._errors = errors

    def __getitem__(self, index: int) -> Any:
        raw = self._inner[index]
        with noting_errors(self._errors, index):
            return self._convert(raw, index)

    @property
    def num_batches(self) -> int | None:
        """The number of batches of the user's PyDataset."""
        return self._inner.num_batches

    def on_epoch_begin(self) -> None:
        """Pass on the begin of an epoch."""
        self._inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Pass on the end of an epoch."""
        self._inner.on_epoch_end()
