"""A value that a model has for a while, in one thread only."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ModelContext(Generic[T]):
    """A value for each model, separate in each thread: one thread may predict while another one fits.

    Args:
        name: the name of the context variable, for debugging.
    """

    def __init__(self, name: str):
        self._values: contextvars.ContextVar[dict[int, T | None]] = contextvars.ContextVar(name)

    def get(self, model: object) -> T | None:
        """Return the value of the model in this thread, or `None`."""
        return self._values.get({}).get(id(model))

    @contextlib.contextmanager
    def use(self, model: object, value: T | None) -> Iterator[None]:
        """Set the value of the model in this thread until the `with` block ends."""
        token = self._values.set({**self._values.get({}), id(model): value})
        try:
            yield
        finally:
            self._values.reset(token)
