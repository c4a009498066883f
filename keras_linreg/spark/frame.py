"""The user's DataFrame: which of its columns are needed, and that they are numbers."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_linreg.data.arrow import column_names

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Columns(NamedTuple):
    """The names of the columns that are features, targets and weights."""

    features: list[str]
    targets: list[str]
    weight: str | None

    @property
    def all(self) -> list[str]:
        """All of them, in this order."""
        return [*self.features, *self.targets, *([] if self.weight is None else [self.weight])]


def check_frame(df: Any, can_stream: bool = False) -> None:
    """Refuse anything but a DataFrame of Spark, and, unless it `can_stream`, one whose rows have no end.

    Raises:
        ImportError: pyspark is not installed.
        ValueError: `df` is something else, or a streaming DataFrame.
    """
    try:
        import pyspark.sql
    except ImportError:
        raise ImportError(
            "Spark needs pyspark, which is not installed. It is the extra `spark` of keras_linreg: install it with "
            "`pip install pyspark pyarrow`. It runs on Java 17 or 21."
        ) from None
    if not isinstance(df, pyspark.sql.DataFrame):
        raise ValueError(f"`df` must be a DataFrame of Spark. Received: {type(df).__module__}.{type(df).__qualname__}.")
    if df.isStreaming and not can_stream:
        raise ValueError(
            "`df` must have an end: a streaming DataFrame has none. Reduce each of its batches by `foreachBatch`, and "
            "add the moments up. Received: a streaming DataFrame."
        )


def numeric_columns(
    df: DataFrame,
    target: str | Sequence[str],
    features: Sequence[str] | None,
    weight: str | None,
    left_out: Sequence[str] = (),
) -> Columns:
    """Return the columns that are asked for, checked against the schema; no row is read.

    Args:
        df: the DataFrame.
        target, features, weight: names; no features mean all other columns.
        left_out: columns that are no features unless they are named.

    Raises:
        ValueError: a name is no column, or is there twice, or plays two parts; or a column does not hold numbers.
    """
    known = df.columns
    others: list[str | None] = [target] if isinstance(target, str) or not isinstance(target, Sequence) else list(target)
    others.append(weight)
    if features is None:
        features = [name for name in known if name not in others and name not in left_out]
    asked = [name for name in known if known.count(name) == 1 or name in features or name in others]
    names, targets = column_names(types.SimpleNamespace(names=asked), target, features, weight, "df")
    columns = Columns(names, targets, weight)
    check_numeric(df, columns.all)
    return columns


def check_numeric(df: DataFrame, names: Sequence[str]) -> None:
    """Refuse columns that hold no numbers.

    Raises:
        ValueError: there is one; vectors of MLlib are such columns.
    """
    from pyspark.sql.types import BooleanType, NumericType

    kinds = {field.name: field.dataType for field in df.schema.fields}
    for name in names:
        if not isinstance(kinds[name], NumericType | BooleanType):
            kind = kinds[name].simpleString()
            advice = ": name the columns that the vectors were assembled of" if kind == "vector" else ""
            raise ValueError(f"Column {name!r} of `df` must be numeric{advice}. Received: {kind}.")


def selected(df: DataFrame, names: Sequence[str]) -> DataFrame:
    """Return some columns in this order; call them c0, c1, ... by their places in `df`.

    Spark reads dots and backquotes in a name as syntax, and takes "a" for "A". Places are unambiguous.
    """
    known = df.columns
    renamed = df.toDF(*(f"c{place}" for place in range(len(known))))
    return renamed.select(*(f"c{known.index(name)}" for name in names))
