"""What is said of a model in one thread, and not on the model itself."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class PerModel(Generic[T]):
    """A value for each model, and in each thread its own: one may predict while another fits."""

    def __init__(self, name: str):
        self._values: contextvars.ContextVar[dict[int, T | None]] = contextvars.ContextVar(name)

    def of(self, model) -> T | None:
        """Return the model's value in this thread."""
        return self._values.get({}).get(id(model))

    @contextlib.contextmanager
    def set(self, model, value: T | None) -> Iterator[None]:
        """Have the model have a value in this thread for a while."""
        token = self._values.set({**self._values.get({}), id(model): value})
        try:
            yield
        finally:
            self._values.reset(token)
