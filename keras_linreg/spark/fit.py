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
from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.second_pass import Sums
from keras_linreg.moments.arrow import read_batch
from keras_linreg.moments.moments import Moments
from keras_linreg.spark.frame import Columns, check_frame, numeric_columns
from keras_linreg.utils.archives import write_arrays
from keras_linreg.utils.types import Array, Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def fitted_of(model: Any) -> FittedMoments:
    """Return the fit of a model, or the least-squares fit of moments.

    Raises:
        ValueError: it is neither a fitted model that keeps its moments, nor moments; or it has a preprocessor.
    """
    if isinstance(model, Moments):
        return FittedMoments(model)
    refuse_preprocessor(model)
    fitted = getattr(model, "fitted", None)
    if not isinstance(fitted, FittedMoments):
        raise ValueError(
            "`model` must be a fitted ExactLinearRegression, or Moments: the second pass compares its rows with the "
            f"moments of the fit. Received: {type(model).__name__}."
        )
    return fitted


def refuse_preprocessor(model: Any) -> None:
    """Refuse a model with a preprocessor: it would need TensorFlow on each worker.

    Raises:
        ValueError: the model has one.
    """
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is not None:
        raise ValueError(
            "`model` must be of columns of numbers: a preprocessor would need TensorFlow on each worker. Make its "
            f"columns by Spark's own functions. Received: a model with {type(preprocessor).__name__}."
        )


@dataclasses.dataclass(frozen=True)
class PartitionReader:
    """Reads record batches of a partition as the arrays of a second pass.

    Attributes:
        columns: of features, targets and weights.
        missing: the rule for rows without a value, as in the fit.
    """

    columns: Columns
    missing: str

    @classmethod
    def of(
        cls, fitted: FittedMoments, df: DataFrame, target: str | Sequence[str] | None, weight: str | None
    ) -> PartitionReader:
        """Return the reader of the rows of a fit in a DataFrame, whose columns are checked.

        Args:
            fitted: the fit.
            df: the DataFrame.
            target: the columns of y; None: the outputs of the fit.
            weight: the column of weights, or None.

        Raises:
            ValueError: a column is not there or not numeric; or there are more or fewer targets than outputs.
        """
        check_frame(df)
        moments = fitted.moments
        columns = numeric_columns(
            df, list(moments.output_names) if target is None else target, list(moments.feature_names), weight
        )
        if len(columns.targets) != len(moments.output_names):
            raise ValueError(
                f"`target` must name as many columns as the fit has outputs, {list(moments.output_names)}. Received: "
                f"{columns.targets}."
            )
        return cls(columns, "error" if moments.missing is None else "drop")

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
            rows = read_batch(reader, batch, *self.columns, groups=None if labels is None else labels(batch))
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
