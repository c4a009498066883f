"""The rows that are predicted of, as Keras's predict function takes them."""

from typing import Any

import tensorflow as tf

from keras_linreg.training.loop.parts import nothing, part_of


class Inputs:
    """Hands out data in memory batch by batch, without the pipeline that Keras would build for them.

    Args:
        x: `(n, p)`, dense or sparse; sparse rows are written out.
        batch_size: rows of a batch; the last one has what is left.
        dtype: of the batches; by default numbers are as Keras's adapter makes them, floating ones in floatx.
        reuse: whether a batch that comes alone is done with before the next one does, which may take its memory.
    """

    def __init__(self, x, batch_size: int, dtype: str | None, reuse: bool):
        self._part = part_of(x, dtype)
        self._rows, self._size = int(x.shape[0]), batch_size
        self._done = 0
        self._room = self._part.room(batch_size) if reuse and batch_size < self._rows else None
        # What Keras is to iterate over instead, and how.
        self.given: dict[str, Any] = {"x": nothing(), "batch_size": None, "steps": -(-self._rows // batch_size)}

    def take(self, count: int) -> list[tuple[tf.Tensor]]:
        """Return the next batches, so many or what is left: the data of one execution."""
        found: list[tuple[tf.Tensor]] = []
        while len(found) < count and self._done < self._rows:
            rows = slice(self._done, min(self._done + self._size, self._rows))
            self._done = rows.stop
            size = rows.stop - rows.start
            room = self._part.room(size) if self._room is None or count > 1 else self._room
            found.append((self._part.of(rows, size, room),))
        return found
