"""The fit behind a model or moments, and its columns in a DataFrame."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data import Reader
from keras_linreg.data.dense import dense_matrix, dense_vector
from keras_linreg.data.prepared import Rows
from keras_linreg.data.table_preprocessor import TablePreprocessor
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.second_pass import Sums
from keras_linreg.moments.arrow import read_batch
from keras_linreg.moments.moments import Moments
from keras_linreg.spark.design_rows import DesignRows
from keras_linreg.spark.frame import Columns, check_frame, numeric_columns
from keras_linreg.utils.archives import write_arrays
from keras_linreg.utils.types import Array, Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def fitted_of(model: Any) -> FittedMoments:
    """Return the fit of a model, or the least-squares fit of moments.

    Raises:
        ValueError: it is neither a fitted model that keeps its moments, nor moments.
    """
    if isinstance(model, Moments):
        return FittedMoments(model)
    fitted = getattr(model, "fitted", None)
    if not isinstance(fitted, FittedMoments):
        raise ValueError(
            "`model` must be a fitted ExactLinearRegression, or Moments: the second pass compares its rows with the "
            f"moments of the fit. Received: {type(model).__name__}."
        )
    return fitted


def formula_of(model: Any) -> Any:
    """Return the formula of a model, or None if it is of columns of numbers.

    Raises:
        ValueError: the model has another preprocessor.
    """
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is not None and not isinstance(preprocessor, TablePreprocessor):
        raise ValueError(
            "`model` must be of columns of numbers, or have a klr.Formula: another preprocessor would need TensorFlow "
            "on each worker. Make its columns by Spark's own functions. Received: a model with "
            f"{type(preprocessor).__name__}."
        )
    return preprocessor


def check_has_columns(df: DataFrame, names: Sequence[str]) -> None:
    """Refuse a DataFrame without the columns of numbers of a fit.

    Raises:
        ValueError: it lacks one, or has it twice.
    """
    missing = [name for name in names if df.columns.count(name) != 1]
    if missing:
        raise ValueError(
            "`df` must have each column of the model once. Moments of the design of a formula need the model with the "
            "formula, klr.ExactLinearRegression.from_moments(moments, preprocessor=formula). "
            f"Received: {df.columns} (missing: {missing})."
        )


@dataclasses.dataclass(frozen=True)
class PartitionReader:
    """Reads record batches of a partition as the arrays of a second pass.

    Attributes:
        columns: of features, targets and weights; None of a formula.
        missing: the rule for rows without a value, as in the fit.
        design: of a formula; or None.
    """

    columns: Columns | None
    missing: str
    design: DesignRows | None = None

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        if self.design is not None:
            return list(self.design.columns)
        assert self.columns is not None
        return self.columns.all

    @classmethod
    def of(cls, model: Any, df: DataFrame, target: str | Sequence[str] | None, weight: str | None) -> PartitionReader:
        """Return the reader of the rows of a fit in a DataFrame, whose columns are checked.

        Args:
            model: a fitted model, or moments.
            df: the DataFrame.
            target: the columns of y; None: the outputs of the fit.
            weight: the column of weights, or None.

        Raises:
            ValueError: a column is not there, or holds something else than in the fit; or there are more or fewer
                targets than outputs.
        """
        check_frame(df)
        moments, formula = fitted_of(model).moments, formula_of(model)
        outputs, missing = list(moments.output_names), "error" if moments.missing is None else "drop"
        columns, design = None, None
        if formula is not None:
            from keras_linreg.spark import formula_design  # brings TensorFlow, and the workers import this file

            wanted = outputs if target is None and formula.response_name is None else target
            _, targets = formula_design.check_columns_of(formula, df, wanted, weight)
            design = formula_design.design_rows(formula, df, targets, weight, missing)
            targets = targets or outputs
        else:
            check_has_columns(df, [*moments.feature_names, *(outputs if target is None else ())])
            columns = numeric_columns(df, outputs if target is None else target, list(moments.feature_names), weight)
            targets = columns.targets
        if len(targets) != len(outputs):
            raise ValueError(
                f"`target` must name as many columns as the fit has outputs, {outputs}. Received: {targets}."
            )
        return cls(columns, missing, design)

    def rows(self, batches: Iterable[Any], labels: Callable[[Any], Array] | None = None) -> Iterator[Rows]:
        """Yield the rows of record batches that are left without those that lack a value, none empty.

        Args:
            batches: of the partition.
            labels: returns integers `(n,)` for the rows of a batch: those of the rows left are `groups`; or None.
        """
        reader = Reader(None, "float64", missing=self.missing, drops_in_graph=False)
        for batch in batches:
            if not batch.num_rows:
                continue
            groups = None if labels is None else labels(batch)
            if self.design is not None:
                rows = self.design.rows(batch, groups)
            else:
                assert self.columns is not None
                rows = read_batch(reader, batch, *self.columns, groups=groups)
            if rows.count:
                yield rows


def arrays_of(rows: Rows) -> Batch:
    """Return `(x, y, sample_weight)` of rows."""
    return dense_matrix(rows.x), dense_matrix(rows.y), dense_vector(rows.sample_weight)


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Return arrays of numbers as the bytes of a message, without pickles."""
    file = io.BytesIO()
    write_arrays(file, arrays, compressed=False)
    return file.getvalue()


def unpack(data: bytes) -> dict[str, Array]:
    """Return the arrays that `pack` made bytes of."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def sums_of(arrays: Mapping[str, Array]) -> Sums:
    """Return the sums by which rows are compared, of a message."""
    return Sums(int(arrays["rows"]), *(arrays[name] for name in Sums._fields[1:]))
