"""From batches to statistics in one pass: means and the triangular factor, whatever the number of rows."""

from typing import Any

import numpy as np
import scipy.sparse

from keras_linreg.data import CellMatrix, ColumnMatrix
from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments.cells import is_worth_cells, reduce_cells
from keras_linreg.moments.checks import check_finite, check_memory, check_norms
from keras_linreg.moments.frame import KnownFrame
from keras_linreg.moments.reduce import LARGEST_INFLATION, SMALLEST_UNEXPLAINED, reduce_rows, residual_norms
from keras_linreg.moments.small_data import reduce_in_double_double
from keras_linreg.moments.sparse_rows import is_worth_sparse, reduce_sparse, written_out
from keras_linreg.sufficient_statistics import Statistics, empty, merge
from keras_linreg.utils.threads import one_blas_thread
from keras_linreg.utils.types import Batch

CHUNK_NUMBERS = 2**21  # of small batches gathered before they are reduced
CHUNK_HEIGHT = 16  # so many times as many rows as columns, at best: merging factors is work too
LARGEST_CHUNK = 2**25
# Limits for double-double arithmetic, in products as `_work` counts them.
ALWAYS_EXACT = 2**18  # up to here it takes some milliseconds: all data get it
WORTH_EXACT = 2**23  # up to here it takes some tenths of a second: ill-conditioned data get it
SIGNIFICANT_BITS = {"float32": 24, "float16": 11, "bfloat16": 8}


class Accumulator:
    """Takes batches of rows, and returns their statistics at any time.

    It keeps the rows only as long as double-double arithmetic on them costs next to nothing; of more rows only factors
    remain.

    Args:
        features: p, the number of columns of x.
        outputs: k, the number of columns of y.

    Attributes:
        rows: the number of rows so far.
        coarsest: the name of the dtype with the fewest digits in which x came.

    Raises:
        MemoryError: the columns are too many for their cross-products.
    """

    def __init__(self, features: int, outputs: int):
        self.features, self.outputs = features, outputs
        self.rows = 0
        self.coarsest = "float64"
        width = features + outputs
        check_memory(width)
        self._reduced: Statistics | None = None
        self._known = KnownFrame()
        self._waiting: list[Batch] = []  # to be reduced
        self._waiting_rows = 0
        self._all: list[Batch] | None = []  # None once they are too many for double-double
        self._first_row = 0  # the number, among all rows, of the first that waits
        self._chunk = max(CHUNK_NUMBERS // width, min(CHUNK_HEIGHT * width, max(LARGEST_CHUNK // width, width)))

    def update(self, x: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> None:
        """Add a batch.

        Args:
            x: `(n, p)`, of any float dtype; or SciPy's compressed sparse rows; or a CellMatrix.
            y: `(n, k)`.
            sample_weight: `(n,)`, finite and not negative; or None.

        Raises:
            ValueError: the batch has other widths, or parts of different lengths; or a number of x or y is not finite.
                The latter may show in a later call. It names column and row.
        """
        if (x.shape[1], y.shape[1]) != (self.features, self.outputs):
            raise ValueError(
                f"Each batch must have {self.features} columns of `x` and {self.outputs} of `y`. "
                f"Received: {x.shape[1]} and {y.shape[1]}."
            )
        lengths = {part.shape[0] for part in (x, y, sample_weight) if part is not None}
        if len(lengths) > 1:
            raise ValueError(
                "`x`, `y` and `sample_weight` of a batch must have the same number of rows. "
                f"Received: {x.shape[0]}, {len(y)}" + ("." if sample_weight is None else f" and {len(sample_weight)}.")
            )
        if scipy.sparse.issparse(x):
            self._update_sparse(x, y, sample_weight)
            return
        if isinstance(x, CellMatrix):
            self._update_cells(x, y, sample_weight)
            return
        self.coarsest = coarser(self.coarsest, x.dtype.name)
        if self._waiting_rows + len(x) > self._chunk:
            self._reduce()
        self._waiting.append((x, y, sample_weight))
        self._waiting_rows += len(x)
        self.rows += len(x)
        if self._all is not None:
            if _work(self.rows, self.features + self.outputs) <= WORTH_EXACT:
                self._all.append((x, y, sample_weight))
            else:
                self._all = None
        if self._waiting_rows >= self._chunk:
            self._reduce()

    def _update_sparse(self, x: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Add sparse rows: by their non-zeros, or written out, some at a time."""
        rows, width = x.shape[0], self.features + self.outputs
        if _work(self.rows + rows, width) > WORTH_EXACT and is_worth_sparse(x):
            self._reduce()
            with one_blas_thread():
                chunk = reduce_sparse(x, y, sample_weight, self._first_row)
            if chunk is not None:
                self.coarsest = coarser(self.coarsest, x.dtype.name)
                self._reduced = chunk if self._reduced is None else merge(self._reduced, chunk)
                self._all, self.rows, self._first_row = None, self.rows + rows, self._first_row + rows
                return
        for part in written_out((x, y, sample_weight)):
            self.update(*part)

    def _update_cells(self, x: CellMatrix, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Add rows of factors: by their cells, or written out, some at a time."""
        rows, width = len(x), self.features + self.outputs
        if _work(self.rows + rows, width) > WORTH_EXACT and is_worth_cells(x):
            self._reduce()
            plane = None if self._reduced is None else self._reduced.plane
            with one_blas_thread():
                chunk = reduce_cells(x, y, sample_weight, None if plane is None else plane.kernel)
            if chunk is not None:
                self._reduced = chunk if self._reduced is None else merge(self._reduced, chunk)
                self._all, self.rows, self._first_row = None, self.rows + rows, self._first_row + rows
                return
        for part in written_out((x, y, sample_weight)):
            self.update(*part)

    def so_far(self) -> Statistics:
        """Return the statistics of the rows so far, in float64."""
        self._reduce()
        statistics = self._reduced if self._reduced is not None else empty(self.features + self.outputs)
        check_norms(statistics, self.features)
        return statistics

    def result(self) -> Statistics:
        """Return the statistics: in double-double if the rows are very few, or are few and need it."""
        width = self.features + self.outputs
        if not self._all or not self.rows:
            return self.so_far()
        if _work(self.rows, width) > ALWAYS_EXACT:
            statistics = self.so_far()
            if _is_well_conditioned(statistics, self.features):
                return statistics
        x, y, weights = _concatenate(self._all)
        check_finite(x, y, weights, 0)
        x, y, weights = without_zero_weights(x, y, weights)
        if not len(x):
            return empty(width)
        with np.errstate(over="ignore", invalid="ignore"):
            statistics = reduce_in_double_double(x, y, weights)
        check_norms(statistics, self.features)
        return statistics

    def _reduce(self) -> None:
        """Reduce the batches that wait."""
        if not self._waiting:
            return
        x, y, weights = _concatenate(self._waiting)
        with one_blas_thread():
            plane = None if self._reduced is None else self._reduced.plane
            kernel = None if plane is None else plane.kernel
            chunk = reduce_rows(x, y, weights, self._first_row, kernel, self._known)
            with np.errstate(over="ignore", invalid="ignore"):  # `check_norms` refuses numbers that are too large
                self._reduced = chunk if self._reduced is None else merge(self._reduced, chunk)
        self._first_row += len(x)
        self._waiting, self._waiting_rows = [], 0


def coarser(a: str, b: str) -> str:
    """Return the name of the dtype with fewer digits; integers count as float64."""
    coarsest = min(a, b, key=lambda name: SIGNIFICANT_BITS.get(name, 53))
    return coarsest if coarsest in SIGNIFICANT_BITS else "float64"


def _work(rows: int, width: int) -> int:
    """Return about how many products double-double arithmetic takes, the passes over the columns included."""
    return rows * width * (width + 8)


def _concatenate(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    x, y, weights = (list(parts) for parts in zip(*batches, strict=True))
    is_weighted = any(weight is not None for weight in weights)
    each = [np.ones(len(part)) if weight is None else weight for part, weight in zip(x, weights, strict=True)]
    are_columns = all(isinstance(part, ColumnMatrix) for part in x)
    rows = ColumnMatrix.stacked(x) if are_columns else np.concatenate(x)
    return rows, np.concatenate(y), np.concatenate(each) if is_weighted else None


def _is_well_conditioned(statistics: Statistics, features: int) -> bool:
    """Return whether cross-products in float64 would have kept 13 digits."""
    used = ~statistics.constant[:features]
    r = as_doubledouble(statistics.factor).hi
    norms = triangular.column_norms(r)
    if (np.abs(np.diag(r)) <= 1e-6 * norms)[:features][used].any():
        return False
    residual, total = residual_norms(r, features), norms[features:]
    if ((residual**2 < SMALLEST_UNEXPLAINED * total**2) & (total > 0)).any():
        return False
    return not condition.is_inflated(r[:features, :features][np.ix_(used, used)], LARGEST_INFLATION)
