"""Generators and other streams: their first batch, their numbers, and the batches that an error message may need."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from keras_linreg.data.finite import is_finite
from keras_linreg.data.packing import unpack_batch
from keras_linreg.utils.types import Batch


class KeptBatches:
    """Converts a generator's batches, and keeps the first one and a bad one for an error message.

    Args:
        generator: of the user's batches.
        convert: turns a batch and its number into `(x, y, sample_weight)` for Keras.
        errors: where to note the text of an error in a batch.
    """

    def __init__(self, generator: Iterator[Any], convert: Callable[[Any, int], Any], errors: list[str]):
        self._generator = generator
        self._convert = convert
        self._errors = errors
        self._kept: dict[int, Batch] = {}

    def generator(self) -> Generator[Any, None, None]:
        """Yield the converted batches; Keras takes nothing but a true generator."""
        rows = 0
        for index, raw in enumerate(self._generator):
            with noting_errors(self._errors, index):
                batch = self._convert(raw, index)
            parts = unpack_batch(batch)
            if index == 0 or (len(self._kept) == 1 and not all(is_finite(part) for part in parts)):
                self._kept[index] = parts
            rows += int(parts[0].shape[0])
            yield batch
        if not rows:
            self._errors.append("`x` must yield at least one row that has all its values. Received: none.")
            raise ValueError(self._errors[-1])

    def again(self) -> Iterator[tuple[Any, ...]]:
        """Yield the batches that were kept, with their numbers."""
        return ((index, *parts) for index, parts in self._kept.items())


@contextlib.contextmanager
def noting_errors(errors: list[str], batch: int) -> Iterator[None]:
    """Note the text of an error in a batch, with the batch's number."""
    try:
        yield
    except ValueError as error:
        errors.append(f"Batch {batch}: {error}")
        raise ValueError(errors[-1]) from None


def peek(generator: Iterator[Any]) -> tuple[Any, Iterator[Any]]:
    """Return the first batch, and the generator as it was.

    Raises:
        ValueError: there is no batch.
    """
    first = next(generator, None)
    if first is None:
        raise ValueError("`x` must yield at least one batch. Received: an empty generator.")
    return first, itertools.chain([first], generator)


def numbered(batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield `(number, x, y, sample_weight)` of each batch of a stream that can be read again."""
    for index, batch in enumerate(batches):
        yield index, *unpack_batch(batch)
