"""Rows that cannot be reduced: NaN and infinity, norms too large to square, too many columns for the memory."""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence

import numpy as np

from keras_linreg.data import Prepared, Rows
from keras_linreg.data.missing import ADVICE
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.sufficient_statistics import Statistics

LARGEST = 1e298  # of means and norms: error-free products of larger ones overflow
INTERCEPT = "Intercept"  # the name of the bias in reports and restrictions
SQUARES = 8  # matrices of the columns squared that are in memory at once, at the most


class NotFinite(ValueError):
    """A number of x or y is NaN or infinite, at this column and row."""

    def __init__(self, argument: str, column: int, row: int, value: float):
        super().__init__(f"`{argument}` must be finite. Received: {value} in column {column}, row {row}.")
        self.argument, self.column, self.row, self.value = argument, column, row, value


class TooLarge(ValueError):
    """This column of x or y has a norm that is too large."""

    def __init__(self, argument: str, column: int):
        super().__init__(f"Column {column} of `{argument}` must have a norm below {LARGEST:.0e}.")
        self.argument, self.column = argument, column


def check_finite(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, first_row: int) -> None:
    """Refuse a number that is not finite; rows of weight 0 may hold any.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        first_row: the number of the first of these rows among all rows, for the error.

    Raises:
        NotFinite: a number of x or y is NaN or infinite.
    """
    for argument, values in (("x", x), ("y", y)):
        good = np.isfinite(np.asarray(values, np.float64))
        if weights is not None:
            good |= (np.asarray(weights) == 0)[:, None]
        if not good.all():
            row, column = (int(i) for i in np.argwhere(~good)[0])
            raise NotFinite(argument, column, first_row + row, float(values[row, column]))


def check_norms(statistics: Statistics, features: int) -> None:
    """Refuse columns whose mean, or norm about it, is so large that products of it would overflow.

    Raises:
        TooLarge: a column of x or y is.
    """
    parts = np.vstack([as_doubledouble(statistics.factor).hi, statistics.mean.hi])
    bad = ~(np.abs(parts) < LARGEST).all(axis=0)
    if bad.any():
        column = int(np.argmax(bad))
        raise TooLarge(*("x", column) if column < features else ("y", column - features))


def check_name_of_bias(feature_names: Sequence[str], use_bias: bool) -> None:
    """Refuse a column that has the name of the bias beside it: no report or test could tell them apart.

    Raises:
        ValueError: there is one.
    """
    if use_bias and INTERCEPT in feature_names:
        raise ValueError(
            f"No column may be called {INTERCEPT!r} beside the bias, which has this name. Leave the column out if it "
            "holds ones, as formula packages make it: the bias is the intercept. Or rename it, or fit with "
            f"use_bias=False. Received: the columns {list(feature_names)}."
        )


@contextlib.contextmanager
def naming_columns(
    feature_names: Sequence[str], output_names: Sequence[str], data: Prepared | None = None
) -> Iterator[None]:
    """Turn the number of a column that is not finite, or too large, into its name.

    Args:
        feature_names, output_names: of the columns of x and y.
        data: the rows, if they can be counted: a missing value is reported with the counts of all of them.

    Raises:
        ValueError: in place of `NotFinite` and `TooLarge`.
    """
    try:
        yield
    except (NotFinite, TooLarge) as error:
        if error.argument == "x":
            column = f"Column {feature_names[error.column]!r} of `x`"
        else:
            column = "`y`" if len(output_names) == 1 else f"Output {output_names[error.column]!r} of `y`"
        if isinstance(error, TooLarge):
            raise ValueError(
                f"{column} must have a norm below {LARGEST:.0e}: bring it to another unit. Received: a larger norm."
            ) from None
        if np.isnan(error.value):
            missing = data.missing_error(feature_names) if isinstance(data, Rows) else None
            if missing is not None:
                raise missing from None
            raise ValueError(f"{column} has no value in row {error.row}: {ADVICE}") from None
        raise ValueError(f"{column} must be finite. Received: {error.value} in row {error.row}.") from None


def check_memory(width: int) -> None:
    """Refuse so many columns that their cross-products do not fit in memory.

    Raises:
        MemoryError: `width` columns of x and y are too many.
    """
    needed, limit = SQUARES * 8 * width**2, memory_limit()
    if limit is not None and needed > limit:
        raise MemoryError(
            f"The exact solution for {width} columns needs {needed / 2**30:,.1f} GiB for their cross-products, and "
            f"this process may use {limit / 2**30:,.1f} GiB. LinearRegression, trained by gradient descent, needs "
            "memory for the kernel alone."
        )


@functools.cache  # reading the files takes a tenth of the time of a small fit
def memory_limit() -> int | None:
    """Return the bytes of memory that this process may use, or None if the system does not tell."""
    limits = []
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(os.sysconf_names):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            limits.append(int(file.read()))
    return min((limit for limit in limits if limit > 0), default=None)
