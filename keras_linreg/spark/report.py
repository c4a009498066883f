"""Reports with robust standard errors: the meat of the sandwich is a sum over the partitions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from keras_linreg.inference import sandwich
from keras_linreg.inference.distributions import check_level
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.report import RegressionReport
from keras_linreg.inference.second_pass import SameRowsCheck, accumulate_blocks
from keras_linreg.spark.fit import PartitionReader, arrays_of, fitted_of, pack, sums_of, unpack
from keras_linreg.spark.frame import selected
from keras_linreg.spark.groups import cluster_meat
from keras_linreg.spark.partitions import Message, run
from keras_linreg.utils.types import Array, Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def report(
    model: Any,
    df: DataFrame,
    cov_type: str = "HC3",
    groups: str | None = None,
    target: str | Sequence[str] | None = None,
    weight: str | None = None,
    level: float = 0.95,
) -> RegressionReport:
    """Return the report of a fit with robust standard errors, by a second pass over its rows on the workers.

    The numbers are those of `model.report(cov_type=..., data=...)`, and of statsmodels. Meats are sums: a matrix comes
    back of each partition. With `"cluster"`, the scores of a group are brought together on the workers, whichever
    partitions its rows lie in.

    Args:
        model: a fitted `ExactLinearRegression`, of columns of numbers or of a `klr.Formula`, whose design the workers
            compute; or `Moments` of columns, for the report of their least-squares fit.
        df: the rows of the fit, in any order and any partitions. Other rows are refused.
        cov_type: `"HC0"` to `"HC3"`, or `"cluster"`; `"nonrobust"` compares the rows with the fit alone.
        groups: for `"cluster"`: the name of the column of groups: text, numbers, dates.
        target: the columns of y; `None` for those of the names of the outputs, or if the formula makes y.
        weight: the column of weights of a weighted fit.
        level: the coverage of the intervals that are printed.

    Raises:
        ImportError: pyspark is not installed.
        ValueError: other rows than those of the fit; a name is no column; a row of leverage 1 with HC2 or HC3; the fit
            is penalised, or no degrees of freedom are left; the model has another preprocessor than a formula.

    Example:
    ```python
    moments = klr.spark.moments(sales, "price", ["area", "rooms"])
    print(klr.spark.report(moments, sales, "cluster", groups="city"))
    ```
    """
    level = check_level(level)
    if cov_type == "HAC":
        raise ValueError("`cov_type` must not be 'HAC': the rows of a DataFrame have no order. Received: 'HAC'.")
    sandwich.check_arguments(cov_type, df, groups, None)
    estimate = fitted_of(model).estimate_with_errors()
    reader = PartitionReader.of(model, df, target, weight)
    if groups is not None:
        meat, count = cluster_meat(estimate, reader, df, groups)
        return RegressionReport(estimate, level, cov_type, meat, count, None)
    names = reader.names
    messages = run(selected(df, names), names, SecondPass(estimate, reader, cov_type))
    return RegressionReport(estimate, level, cov_type, total_meat(estimate, cov_type, messages), None, None)


@dataclasses.dataclass(frozen=True)
class SecondPass:
    """From the record batches of a partition to its part of the meat, and the sums by which rows are compared.

    Attributes:
        estimate: of the fit.
        reader: of its rows.
        cov_type: `"HC0"` to `"HC3"`, or `"nonrobust"`.
    """

    estimate: Estimate
    reader: PartitionReader
    cov_type: str

    def __call__(self, batches: Iterator[Any], part: int) -> bytes:
        """Return the bytes."""
        check, height = SameRowsCheck(self.estimate), 0

        def read() -> Iterator[Batch]:
            nonlocal height
            for rows in self.reader.rows(batches):
                height += rows.count
                yield arrays_of(rows)

        robust = None if self.cov_type == "nonrobust" else sandwich.HCMeat(self.estimate, self.cov_type)
        accumulate_blocks(self.estimate, read(), [check, *([] if robust is None else [robust])])
        arrays = check.total._asdict() | {"height": height}
        if robust is not None:
            arrays |= dict(zip(("exact_rows", "meat"), robust.total, strict=True))
        return pack(arrays)


def total_meat(estimate: Estimate, cov_type: str, messages: Sequence[Message]) -> Array | None:
    """Return the meat of all partitions, or None for `"nonrobust"`.

    Raises:
        ValueError: the rows are not those of the fit.
    """
    check, first_row = SameRowsCheck(estimate), 0
    robust = None if cov_type == "nonrobust" else sandwich.HCMeat(estimate, cov_type)
    for message in messages:
        arrays = unpack(message.data)
        check.add(sums_of(arrays))
        if robust is not None:
            robust.add((arrays["exact_rows"] + first_row, arrays["meat"]))
        first_row += int(arrays["height"])
    check.refuse_other_rows()
    return None if robust is None else robust.meat()
