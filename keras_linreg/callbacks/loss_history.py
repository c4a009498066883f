"""The losses of a training, in bounded memory."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_linreg.utils.types import Array


class LossCurves(NamedTuple):
    """Losses over epochs.

    Attributes:
        epochs: the numbers of the epochs, counted from 1, `(m,)`.
        loss: the training loss, `(m,)`; NaN for an epoch without one.
        val_loss: the validation loss, `(m,)`, with NaN likewise; None if no epoch has one.
    """

    epochs: Array
    loss: Array
    val_loss: Array | None


class LossHistory:
    """The loss and the validation loss of a training.

    Args:
        max_epochs: a bound on the number of epochs that are kept of each loss.
    """

    def __init__(self, max_epochs: int) -> None:
        self._series = {name: ThinnedSeries(max_epochs) for name in ("loss", "val_loss")}

    def add(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Add the losses that the logs of an epoch hold."""
        for name, series in self._series.items():
            if logs.get(name) is not None:
                series.add(epoch, float(logs[name]))

    def curves(self) -> LossCurves:
        """Return the losses of the epochs that are kept, the newest included."""
        loss, val_loss = (dict(series.pairs()) for series in self._series.values())
        epochs = sorted(loss.keys() | val_loss.keys())
        columns = [np.array([values.get(epoch, np.nan) for epoch in epochs]) for values in (loss, val_loss)]
        return LossCurves(np.array(epochs), columns[0], columns[1] if val_loss else None)


class ThinnedSeries:
    """The values of every k-th epoch and of the newest; k doubles when there are more than `max_values`."""

    def __init__(self, max_values: int) -> None:
        self._max_values, self._every, self._count = max_values, 1, 0
        self._pairs: list[tuple[int, float]] = []
        self._newest: list[tuple[int, float]] = []

    def add(self, epoch: int, value: float) -> None:
        """Add the value of an epoch."""
        self._newest = [(epoch, value)]
        if self._count % self._every == 0:
            self._pairs.append((epoch, value))
            if len(self._pairs) > self._max_values:
                self._pairs, self._every = self._pairs[::2], 2 * self._every
        self._count += 1

    def pairs(self) -> list[tuple[int, float]]:
        """Return the pairs of epoch and value that are kept; the newest comes last, and may be there twice."""
        return self._pairs + self._newest
