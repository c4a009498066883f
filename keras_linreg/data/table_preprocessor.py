"""Preprocessors that read tables themselves: they learn from the rows, tell their names, and may hold y."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.schema import Column
from keras_linreg.data.tables import Table
from keras_linreg.utils.types import Data

if TYPE_CHECKING:
    import tensorflow as tf


class TableInputs(abc.ABC):
    """Rows of a table in memory, before the preprocessor that read them."""

    @property
    @abc.abstractmethod
    def rows(self) -> int:
        """The number of rows."""

    @abc.abstractmethod
    def all_masks(self) -> dict[str, np.ndarray | None]:
        """Return the masks `(n,)` of rows without a value, by column; None for a column without such rows."""

    @abc.abstractmethod
    def unseen(self) -> dict[str, tuple[np.ndarray, bool]]:
        """Return masks `(n,)` of rows with a category that was not seen, by column, and whether they are taken."""

    @abc.abstractmethod
    def keep(self, kept: np.ndarray) -> TableInputs:
        """Return the rows under a mask."""

    @abc.abstractmethod
    def ignoring(self, rows: np.ndarray) -> TableInputs:
        """Return the rows, those under a mask (of weight zero) without an error for what they hold."""

    @abc.abstractmethod
    def check_no_infinity(self) -> None:
        """Refuse infinity in a column."""

    @abc.abstractmethod
    def design(self, preprocessor: Any) -> Any:
        """Return the design `(n, p)`, in float64; a row without a value is NaN."""

    @abc.abstractmethod
    def target(self) -> np.ndarray:
        """Return y, float64 `(n, 1)`, as the preprocessor makes it of the table."""


class TablePreprocessor(abc.ABC):
    """A preprocessor that takes columns by name and ignores all others.

    It learns from rows (`learn`), and computes the design in memory (`read`, then `TableInputs.design`) and inside a
    graph (`graph_design`) alike.
    """

    @property
    @abc.abstractmethod
    def is_adapted(self) -> bool:
        """Whether it has learned."""

    @property
    @abc.abstractmethod
    def has_intercept(self) -> bool:
        """Whether the model behind it must have an intercept, or must have none."""

    @property
    @abc.abstractmethod
    def response_name(self) -> str | None:
        """The name of y if it comes out of the table; or None."""

    @property
    @abc.abstractmethod
    def named_columns(self) -> tuple[str, ...]:
        """The columns that it names, y's too; () while only the data can tell them."""

    @property
    @abc.abstractmethod
    def spoiled_columns(self) -> tuple[str, ...]:
        """The columns of numbers that float32 would spoil: neighbouring numbers lie too far apart."""

    @property
    @abc.abstractmethod
    def inputs(self) -> tuple[Column, ...]:
        """The columns that predictions need, with the dtypes of a served graph."""

    @property
    @abc.abstractmethod
    def design_names(self) -> tuple[str, ...]:
        """The names of the columns of the design."""

    @property
    @abc.abstractmethod
    def design_groups(self) -> list[tuple[str, list[int]]]:
        """The columns of the user, each with the design's columns that come of it, by number."""

    @abc.abstractmethod
    def read(self, table: Table, with_target: bool) -> TableInputs:
        """Return the rows of a table; before it has learned, the table tells the kinds of the columns."""

    @abc.abstractmethod
    def learn(self, batches: Callable[[], Iterable[TableInputs]]) -> None:
        """Learn from rows; it may read the batches several times."""

    @abc.abstractmethod
    def forget(self) -> None:
        """Be as before anything was learned."""

    @abc.abstractmethod
    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print what was learned."""

    @abc.abstractmethod
    def graph_design(self, columns: Mapping[str, tf.Tensor], checks: bool) -> tf.Tensor:
        """Return the design of a batch of columns `[batch]`, float64; a row without a value is NaN.

        Args:
            columns: by name; others are ignored.
            checks: whether a number that is not finite, made of values that are, ends the graph with an error.
        """

    @abc.abstractmethod
    def graph_target(self, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return y of a batch, float64 `[batch, 1]`."""


def pick(columns: Mapping[str, Any], names: Iterable[str], argument: str = "x") -> dict[str, Any]:
    """Return some of the columns; others are ignored.

    Raises:
        ValueError: a column is not there.
    """
    names = tuple(names)
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(
            f"`{argument}` must have the columns that the formula names, {list(names)}. "
            f"Received columns {list(columns)} (missing: {missing})."
        )
    return {name: columns[name] for name in names}


def intercept_of(preprocessor: Any, use_bias: bool | None) -> bool:
    """Return whether a model has an intercept: by its preprocessor if that decides, else by `use_bias`, else yes.

    Raises:
        ValueError: `use_bias` says the opposite of the preprocessor.
    """
    if not isinstance(preprocessor, TablePreprocessor):
        return True if use_bias is None else use_bias
    if use_bias is not None and use_bias != preprocessor.has_intercept:
        has = "has an intercept" if preprocessor.has_intercept else "has no intercept"
        raise ValueError(
            f"`use_bias` must be left out, or be {preprocessor.has_intercept}: the formula decides, and {has}. "
            f"Received: use_bias={use_bias}, preprocessor={preprocessor!r}."
        )
    return preprocessor.has_intercept


@contextlib.contextmanager
def forgetting_on_error(*preprocessors: Any) -> Iterator[None]:
    """Let preprocessors that learn within this block forget it if an error ends the block: nothing has changed then."""
    fresh = [p for p in preprocessors if isinstance(p, TablePreprocessor) and not p.is_adapted]
    try:
        yield
    except BaseException:
        for preprocessor in fresh:
            preprocessor.forget()
        raise


def has_response(preprocessor: Any) -> bool:
    """Return whether y comes out of the table that a preprocessor reads."""
    return isinstance(preprocessor, TablePreprocessor) and preprocessor.response_name is not None


def response_names(preprocessor: Any, targets: bool) -> tuple[str, ...]:
    """Return the name of y that comes out of the table, () if none does, or none is needed."""
    return (preprocessor.response_name,) if targets and has_response(preprocessor) else ()


def check_no_target(preprocessor: Any, y: Data, argument: str = "y") -> None:
    """Refuse a y, or the name of one, beside a formula that takes it from the table."""
    if y is not None and has_response(preprocessor):
        raise ValueError(
            f"`{argument}` must be left out: the left side of the formula takes it from `x`, "
            f"{preprocessor.response_name!r}. Received: {argument} of type {type(y).__name__}."
        )
