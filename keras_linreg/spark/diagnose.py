"""Diagnostics of a fit from one more pass over its rows on the workers."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from keras_linreg.inference.diagnose import DiagnosticsAccumulators, diagnostics_of
from keras_linreg.inference.diagnostics import Diagnostics
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.row_influence import RowsOfFit
from keras_linreg.inference.second_pass import SameRowsCheck, accumulate_blocks
from keras_linreg.spark.fit import PartitionReader, arrays_of, fitted_of
from keras_linreg.spark.frame import selected
from keras_linreg.spark.partitions import run
from keras_linreg.utils.arguments import check_count
from keras_linreg.utils.types import Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def diagnose(
    model: Any,
    df: DataFrame,
    k: int = 10,
    target: str | Sequence[str] | None = None,
    weight: str | None = None,
) -> Diagnostics:
    """Return the diagnostics of a fit, by one pass over its rows on the workers.

    All figures of `model.diagnose(data)` merge. Rows are counted through the partitions in their order, and
    Durbin-Watson is of that order. `influence()`, which has a figure for each row, is refused.

    Args:
        model: a fitted `ExactLinearRegression`, of columns of numbers or of a `klr.Formula`; or `Moments` of columns,
            for their least-squares fit.
        df: the rows of the fit, in any partitions. Other rows are refused.
        k: how many of the most influential rows to name.
        target, weight: as in `klr.spark.report`.

    Raises:
        ImportError: pyspark is not installed.
        ValueError: other rows than those of the fit; the fit is penalised, or no degrees of freedom are left.

    Example:
    ```python
    print(klr.spark.diagnose(moments, sales))
    ```
    """
    check_count("k", k, optional=False)
    estimate = fitted_of(model).estimate_with_errors()
    reader = PartitionReader.of(model, df, target, weight)
    names = reader.names
    check, first_row = SameRowsCheck(estimate), 0
    total = DiagnosticsAccumulators.of(estimate, int(k))
    for message in run(selected(df, names), names, DiagnosePartition(estimate, reader, int(k))):
        part: DiagnosedPartition = pickle.loads(message.data)  # of our own code on the cluster's workers
        check.add(part.check.total)
        total.merge(part.accumulators, first_row)
        first_row += part.rows
    check.refuse_other_rows()
    return diagnostics_of(RowsOfFit(estimate, _refuse_to_read, None, True), total)


@dataclasses.dataclass(frozen=True)
class DiagnosedPartition:
    """What a partition adds to the diagnostics.

    Attributes:
        check: compares its rows with the fit.
        accumulators: of them.
        rows: how many there are.
    """

    check: SameRowsCheck
    accumulators: DiagnosticsAccumulators
    rows: int


@dataclasses.dataclass(frozen=True)
class DiagnosePartition:
    """Runs on a worker: from the record batches of a partition to the bytes of a `DiagnosedPartition`.

    Attributes:
        estimate: of the fit.
        reader: of its rows.
        most_rows: how many influential rows to keep.
    """

    estimate: Estimate
    reader: PartitionReader
    most_rows: int

    def __call__(self, batches: Iterator[Any], part: int) -> bytes:
        """Return the bytes."""
        check, rows = SameRowsCheck(self.estimate), 0
        accumulators = DiagnosticsAccumulators.of(self.estimate, self.most_rows, seed=part)

        def read() -> Iterator[Batch]:
            nonlocal rows
            for some in self.reader.rows(batches):
                rows += some.count
                yield arrays_of(some)

        accumulate_blocks(self.estimate, read(), [check, *accumulators.all])
        return pickle.dumps(DiagnosedPartition(check, accumulators, rows))


def _refuse_to_read() -> Any:
    raise ValueError("`influence()` has a figure for each row, and the rows are on the cluster. Received: a DataFrame.")
