"""From the user's `folds`, `deal` and `groups` to a dealer, and whether all folds have got rows."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_linreg.data import Prepared, Rows
from keras_linreg.moments.dealing import ByGroup, ByNumbers, ByRowNumber, Dealer
from keras_linreg.utils.arguments import is_integer
from keras_linreg.utils.types import Data

MOST_FOLDS = 65_535


def labels_to_read(folds: Any, groups: Data) -> Data:
    """Return what the reader is to read as labels of rows: the groups, or the user's fold of each row.

    Raises:
        ValueError: both are given.
    """
    if is_integer(folds):
        return groups
    if groups is not None:
        raise ValueError(
            f"`groups` must be None where `folds` says the fold of each row. Received: folds={_short(folds)} and "
            f"groups={_short(groups)}."
        )
    return folds


@contextlib.contextmanager
def naming_folds(folds: Any) -> Iterator[None]:
    """Name `folds` in errors of the reader, which takes the user's fold of each row for groups."""
    try:
        yield
    except ValueError as error:
        if is_integer(folds) or "`groups`" not in str(error) or "`folds`" in str(error):
            raise
        raise ValueError(str(error).replace("`groups`", "`folds`")) from None


def dealer_of(folds: Any, deal: str, seed: int, prepared: Prepared, first_row: int = 0) -> Dealer:
    """Return the dealer of prepared data, which hold the labels that `labels_to_read` returned.

    Raises:
        ValueError: there are fewer rows than folds; the user's folds are no such numbers, or of more or fewer rows.
    """
    if isinstance(prepared.groups, str):
        argument = "groups" if is_integer(folds) else "folds"
        raise ValueError(
            f"`{argument}` must be values, or the name of a column where `x` is a table. Received: "
            f"{argument}={prepared.groups!r} and data without columns."
        )
    if not is_integer(folds):
        dealer = ByNumbers(prepared.groups)
        if isinstance(prepared, Rows) and len(dealer) != prepared.count:
            raise ValueError(
                f"`folds` must hold the fold of each row. Received: {len(dealer)} folds, {prepared.count} rows."
            )
        return dealer
    count = int(folds)
    if isinstance(prepared, Rows) and count > prepared.count:
        raise ValueError(f"`folds` must not be more than the rows. Received: folds={count}, {prepared.count} rows.")
    if count > MOST_FOLDS:
        raise ValueError(f"`folds` must be at most {MOST_FOLDS}. Received: folds={count}.")
    if prepared.groups is not None:
        return ByGroup(prepared.groups, count, seed)
    return ByRowNumber(deal, count, seed, first_row)


def check_dealt(dealer: Dealer, rows: np.ndarray) -> None:
    """Refuse folds without rows, and folds of the user for more rows than there are.

    Args:
        dealer: that has dealt all rows.
        rows: `(K,)`: how many rows each fold has.

    Raises:
        ValueError: there are such folds.
    """
    if isinstance(dealer, ByNumbers) and len(dealer) != rows.sum():
        raise ValueError(
            f"`folds` must hold the fold of each row. Received: {len(dealer)} folds, {int(rows.sum())} rows."
        )
    if rows.all():
        return
    if isinstance(dealer, ByGroup):
        raise ValueError(
            f"`folds` must not be more than the groups. Received: folds={len(rows)}, {dealer.groups} groups."
        )
    raise ValueError(f"`folds` must not be more than the rows. Received: folds={len(rows)}, {int(rows.sum())} rows.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
