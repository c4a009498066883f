"""Moments of a DataFrame: partitions are reduced where they are, and only moments travel."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data.missing import check_rule
from keras_linreg.data.table_preprocessor import forgetting_on_error
from keras_linreg.moments.arrow import BatchReducer
from keras_linreg.moments.dealing import ByRowNumber, Dealer, check_folds
from keras_linreg.moments.fold_accumulator import FoldAccumulator
from keras_linreg.moments.folds import FoldMoments
from keras_linreg.moments.moments import Moments
from keras_linreg.spark.design_rows import DesignRows
from keras_linreg.spark.frame import Columns, check_frame, numeric_columns, selected
from keras_linreg.spark.partitions import run

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LARGE_MESSAGE = 2**18  # bytes: larger ones are merged on the workers, before they travel
STRIDE = 1_000_003  # between the seeds of partitions


def moments(
    df: DataFrame,
    target: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    missing: str = "error",
    folds: int | str | None = None,
    seed: int = 0,
    preprocessor: Any = None,
) -> Moments | FoldMoments:
    """Return the moments of a DataFrame of Spark, reduced on its workers in one pass.

    Only moments travel: 8 kB for 40 columns of many rows. The driver adds them up in the order of the partitions. So
    the same partitions give the same bits, whichever worker reduced them, and however often. (Behind a shuffle, Spark
    may bring the rows of a partition in another order, and then the last bits differ.) Moments of more than 256 kB
    are merged on the workers, 16 by 16, before they travel.

    It needs the DataFrame API alone, so it also runs through Spark Connect. The workers need keras_linreg, NumPy, SciPy
    and pyarrow. They load no TensorFlow.

    Args:
        df: a DataFrame with columns of numbers, decimals (rounded to float64) or booleans.
        target: the name of the column of y; of several, a list. Left out if the formula makes y.
        features: the names of the columns of x; `None` takes all other columns. A name is a name: dots, spaces and
            backquotes need no quotes.
        weight: the name of the column of weights: finite, not negative, not all zero.
        missing: `"error"` refuses rows with a null or NaN in one of these columns; `"drop"` leaves them out, and counts
            them (`moments.missing`).
        folds: K, to deal the rows of each partition to K folds; or the name of a column of integers, 0 to K - 1, the
            fold of each row. The result is `FoldMoments` then.
        seed: of the draws of folds, an integer.
        preprocessor: a `klr.Formula`, from text and numbers to the design. If it has not learned, one more pass brings
            rows that hold all levels to the driver, and it learns of them; and the boundary of `bs(x, knots=[...])`.
            `center`, `scale`, `poly` and knots at quantiles learn from all rows: call `formula.adapt(sample)` before,
            with rows in memory. The workers compute all terms, with the numbers of one machine.

    Raises:
        ImportError: pyspark is not installed.
        ValueError: the preprocessor is no formula, or one that must learn from all rows first; a name is no column, a
            column is not numeric, or rows cannot be fitted; it names the partition.
        MemoryError: the columns are too many for their cross-products.

    Example:
    ```python
    sales = spark.read.parquet("sales")
    moments = klr.spark.moments(sales, "price", ["area", "rooms"], missing="drop")
    model = klr.ExactLinearRegression.from_moments(moments)
    ```
    """
    check_frame(df)
    check_rule(missing)
    left_out = [folds] if isinstance(folds, str) else []
    if folds is not None:
        check_folds(folds, "runs", seed)
    with forgetting_on_error(preprocessor):
        columns, design = _columns(df, target, features, weight, missing, left_out, preprocessor)
        names = list(dict.fromkeys([*(columns.all if design is None else design.columns), *left_out]))
        count = number_of_folds(df, columns, folds) if isinstance(folds, str) else folds
        return _reduced(df, names, _work(columns, missing, folds, count, int(seed), design), weight, folds)


def _columns(
    df: DataFrame,
    target: Any,
    features: Sequence[str] | None,
    weight: str | None,
    missing: str,
    left_out: Sequence[str],
    preprocessor: Any,
) -> tuple[Columns, DesignRows | None]:
    """Return the columns that are read, and the design of a formula, which has learned; None without one.

    Raises:
        ValueError: the arguments do not go together.
    """
    if preprocessor is None:
        if target is None:
            raise ValueError(f"`target` must name a column of `df`, {df.columns}. Received: none.")
        return numeric_columns(df, target, features, weight, left_out), None
    from keras_linreg.spark import formula_design  # brings TensorFlow, and the workers import this file

    formula_design.check_formula(preprocessor)
    if features is not None:
        raise ValueError(f"`features` must be left out: the formula names its columns. Received: {list(features)}.")
    named, targets = formula_design.check_columns_of(preprocessor, df, target, weight, left_out)
    formula_design.learn(preprocessor, df, named, targets, weight)
    design = formula_design.design_rows(preprocessor, df, targets, weight, missing)
    return Columns(list(design.columns), targets or [preprocessor.response_name], weight), design


def _work(
    columns: Columns, missing: str, folds: int | str | None, count: Any, seed: int, design: DesignRows | None
) -> ReducePartition | ReduceToFolds:
    """Return the work on a partition."""
    if folds is None:
        return ReducePartition(columns, missing, design)
    return ReduceToFolds(columns, missing, int(count), seed, folds if isinstance(folds, str) else None, design)


def _reduced(
    df: DataFrame, names: Sequence[str], work: ReducePartition | ReduceToFolds, weight: str | None, folds: Any
) -> Moments | FoldMoments:
    """Return the moments, reduced on the workers."""
    kind = Moments if folds is None else FoldMoments
    copies = work.folds + 1 if isinstance(work, ReduceToFolds) else 1
    width = len(names) if work.design is None else len(work.design.names) + 1
    is_large = 8 * width**2 * copies > LARGE_MESSAGE
    messages = run(selected(df, names), names, work, functools.partial(merged, kind) if is_large else None)
    if not messages:
        raise ValueError("`df` must have at least one row. Received: none.")
    return _checked(sum(kind.from_bytes(message.data) for message in messages), weight, folds)


def merged(kind: type[Moments | FoldMoments], parts: list[bytes]) -> bytes:
    """Return the bytes of the sum of moments, or of fold moments."""
    return sum(kind.from_bytes(part) for part in parts).to_bytes()


@dataclasses.dataclass(frozen=True)
class ReducePartition:
    """From the record batches of a partition to the bytes of its `Moments`."""

    columns: Columns
    missing: str
    design: DesignRows | None = None

    def __call__(self, batches: Iterator[Any], part: int) -> bytes | None:
        """Return the bytes; None of no rows."""
        reducer = BatchReducer(*self.columns, self.missing, design=self.design)
        for batch in batches:
            with naming_rows(reducer.rows):
                rows = reducer.read(batch) if batch.num_rows else None
            if rows is not None:
                reducer.update(rows)
        result = reducer.result()
        return None if result is None else Moments.of(*result).to_bytes()


@dataclasses.dataclass(frozen=True)
class ReduceToFolds:
    """From the record batches of a partition to the bytes of its `FoldMoments`.

    Attributes:
        columns: of features, targets and weights.
        missing: the rule.
        folds: K.
        seed: of the draws; each partition draws anew.
        fold_column: holds the fold of each row; None to deal rows by their numbers within the partition.
        design: of a formula, or None.
    """

    columns: Columns
    missing: str
    folds: int
    seed: int
    fold_column: str | None
    design: DesignRows | None = None

    def __call__(self, batches: Iterator[Any], part: int) -> bytes | None:
        """Return the bytes; None of no rows."""
        given = GivenFolds(self.folds)
        dealer = given if self.fold_column is not None else ByRowNumber("runs", self.folds, self.seed + STRIDE * part)
        accumulator = functools.partial(FoldAccumulator, dealer=dealer)
        reducer = BatchReducer(*self.columns, self.missing, accumulator=accumulator, design=self.design)
        for batch in batches:
            if not batch.num_rows:
                continue
            labels = None if self.fold_column is None else np.asarray(batch.column(self.fold_column))
            with naming_rows(reducer.rows):
                rows = reducer.read(batch, labels)
            if labels is not None:
                given.append(np.asarray(rows.groups))
            reducer.update(rows)
        result = reducer.result()
        return None if result is None else FoldMoments.of(result[0], Moments.of(*result), None).to_bytes()


class GivenFolds(Dealer):
    """Deals the rows of a partition as a column of the user says, batch by batch.

    Args:
        folds: K.
    """

    def __init__(self, folds: int):
        self.folds = folds
        self._start, self._numbers = 0, np.zeros(0, np.int64)

    def append(self, numbers: np.ndarray) -> None:
        """Take the folds of the next rows."""
        self._numbers = np.concatenate([self._numbers, numbers.astype(np.int64)])

    def numbers(self, start: int, stop: int) -> np.ndarray:
        """Return the folds of rows, which come in their order; those of rows before them are forgotten."""
        self._numbers, self._start = self._numbers[start - self._start :], start
        return self._numbers[: stop - start]


def number_of_folds(df: DataFrame, columns: Columns, name: str) -> int:
    """Return K, by one look at the column of folds.

    Raises:
        ValueError: there is no such column; it holds anything but the integers 0 to K - 1 without a gap.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import IntegralType

    rule = "`folds` must be an integer, or name a column of integers 0 to K - 1 without a gap, at least two of them"
    if df.columns.count(name) != 1 or name in columns.all:
        raise ValueError(f"{rule}, beside features, target and weight. Received: {name!r} of {df.columns}.")
    if not isinstance(df.schema.fields[df.columns.index(name)].dataType, IntegralType):
        kind = df.schema.fields[df.columns.index(name)].dataType.simpleString()
        raise ValueError(f"{rule}. Received: {name!r}, a column of {kind}.")
    column = F.col("c0")
    first = (
        selected(df, [name])
        .toDF("c0")
        .agg(F.min(column), F.max(column), F.count_distinct(column), F.count(column), F.count(F.lit(1)))
    )
    low, high, distinct, given, rows = first.collect()[0]
    if rows and (low != 0 or high != distinct - 1 or distinct < 2 or given < rows):
        received = f"{distinct} folds from {low} to {high}, and {rows - given} nulls"
        raise ValueError(f"{rule}. Received: {received} in {name!r}.")
    return int(distinct) if rows else 2


@contextlib.contextmanager
def naming_rows(first: int) -> Iterator[None]:
    """Say in an error of a batch of rows with which row of the partition it begins."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"In the batch that begins with row {first}: {error}") from None


def _checked(total: Any, weight: str | None, folds: int | str | None) -> Any:
    """Return the moments of all rows.

    Raises:
        ValueError: no row is left, or has a weight; or a fold has no rows.
    """
    whole: Moments = total if folds is None else total.moments
    if not whole.rows:
        raise ValueError(f"`df` must have a row with all its values. Received: {whole.missing}.")
    if weight is not None and not whole.nobs:
        raise ValueError(f"`weight` must not be zero in all rows. Received: {weight!r}.")
    if folds is not None and not all(fold.rows for fold in total.folds):
        raise ValueError(
            f"`folds` must not be more than the rows. Received: {len(total.folds)} folds, {whole.rows} rows."
        )
    return total
