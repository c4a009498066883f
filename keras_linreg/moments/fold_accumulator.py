"""From batches to the statistics of each fold in one pass, whatever the number of rows."""

import concurrent.futures
import dataclasses
from typing import Any

import numpy as np

from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble
from keras_linreg.moments.accumulator import CHUNK_NUMBERS, coarser
from keras_linreg.moments.checks import check_finite, check_memory, check_norms
from keras_linreg.moments.dealing import Dealer
from keras_linreg.moments.fold_products import are_accurate, fold_products, statistics_of_products
from keras_linreg.moments.frame import Frame
from keras_linreg.moments.reduce import by_reflections, constant_columns, first_frame
from keras_linreg.moments.sparse_rows import written_out
from keras_linreg.sufficient_statistics import Statistics, empty, merge
from keras_linreg.utils.threads import cores, one_blas_thread
from keras_linreg.utils.types import Batch

CHUNK_HEIGHT = 64  # so many times as many rows as columns, at least, before rows are reduced
LARGEST_CHUNK = 2**24
HEAD = 16  # rows of a fold that tell which columns vary
WORTH_THREADS = 64  # columns


class FoldAccumulator:
    """Takes batches of rows, and returns the statistics of all of them and of each fold.

    Rows are multiplied, fold by fold, in a frame that the first rows tell, and the products are added up. Rows without
    a good frame (dependent columns, few rows, columns far from the frame) are reduced fold by fold, which is slower,
    and keeps all digits.

    Args:
        features: p, the number of columns of x.
        outputs: k, the number of columns of y.
        dealer: says which fold a row belongs to.

    Attributes:
        rows: the number of rows so far.
        coarsest: the name of the dtype with the fewest digits in which x came.

    Raises:
        MemoryError: the columns are too many for their cross-products.
    """

    def __init__(self, features: int, outputs: int, dealer: Dealer):
        self.features, self.outputs = features, outputs
        self.folds = dealer.folds
        self.rows = 0
        self.coarsest = "float64"
        width = features + outputs
        check_memory(width)
        self._dealer = dealer
        self._waiting: list[Batch] = []
        self._waiting_rows = self._first_row = 0
        self._chunk = max(CHUNK_NUMBERS // width, min(CHUNK_HEIGHT * width, LARGEST_CHUNK // width))
        self._segments: list[_Segment] = []
        self._careful: list[Statistics] | None = None
        self._rows_of_folds = np.zeros(self.folds, int)

    def update(self, x: Any, y: np.ndarray, sample_weight: np.ndarray | None = None) -> None:
        """Add a batch: `(n, p)`, dense or compressed sparse rows, `(n, k)`, and `(n,)` or None.

        Raises:
            ValueError: a number of x or y is not finite, or the dealer has no fold for a row.
        """
        for part in written_out((x, y, sample_weight)):
            self.coarsest = coarser(self.coarsest, part[0].dtype.name)
            self._waiting.append(part)
            self._waiting_rows += len(part[0])
            self.rows += len(part[0])
            if self._waiting_rows >= self._chunk:
                self._reduce()

    @property
    def rows_of_folds(self) -> np.ndarray:
        """The number of rows of each fold, `(K,)`."""
        self._reduce()
        return self._rows_of_folds

    def so_far(self) -> Statistics:
        """Return the statistics of all rows so far."""
        return self.result()

    def result(self) -> Statistics:
        """Return the statistics of all rows."""
        self._reduce()
        return self._checked([*(segment.statistics() for segment in self._segments), *(self._careful or ())])

    def result_of_folds(self) -> list[Statistics]:
        """Return the statistics of each fold."""
        self._reduce()

        def of_fold(fold: int) -> Statistics:
            parts = [segment.statistics(fold) for segment in self._segments]
            return self._checked(parts if self._careful is None else [*parts, self._careful[fold]])

        with one_blas_thread():
            if self.features < WORTH_THREADS:
                return [of_fold(fold) for fold in range(self.folds)]
            with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
                return list(pool.map(of_fold, range(self.folds)))

    def _checked(self, parts: list[Statistics]) -> Statistics:
        total = empty(self.features + self.outputs)
        parts = [part for part in parts if part.nobs]
        with np.errstate(over="ignore", invalid="ignore"):
            few = _merged_rows(parts) if len(parts) > 2 else None
            for part in [few] if few is not None else parts:
                total = merge(total, part)
        check_norms(total, self.features)
        return total

    def _reduce(self) -> None:
        """Reduce the batches that wait."""
        if not self._waiting:
            return
        batches, self._waiting, self._waiting_rows = self._waiting, [], 0
        x, y, weights = _joined(batches)
        start, self._first_row = self._first_row, self._first_row + len(x)
        numbers = self._dealer.numbers(start, self._first_row)
        counts = np.bincount(numbers, minlength=self.folds)
        self._rows_of_folds += counts
        with one_blas_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if self._careful is not None or not self._multiplied(x, y, weights, numbers, counts):
                check_finite(x, y, weights, start)
                self._reduce_with_care(x, y, weights, numbers)

    def _multiplied(
        self, x: Any, y: np.ndarray, weights: np.ndarray | None, numbers: np.ndarray, counts: np.ndarray
    ) -> bool:
        """Multiply rows in the present frame, or in a new one; return False if there is no good one."""
        segment = self._segments[-1] if self._segments else None
        if segment is not None:
            products = fold_products(x, y, weights, segment.frame, numbers, self.folds)
            if segment.takes(products):
                segment.add(products, x, y, weights, numbers, counts)
                return True
        used = without_zero_weights(x, y, weights)
        if not len(used[0]):
            return False
        constant = np.concatenate([constant_columns(used[0]), constant_columns(used[1])])
        frame = first_frame(used[0], used[1], used[2], constant, None)
        if frame is None:
            return False
        products = fold_products(x, y, weights, frame, numbers, self.folds)
        if not are_accurate(products.sum(axis=0), frame, constant):
            return False
        segment = _Segment(frame, np.zeros_like(products), self.folds)
        segment.add(products, x, y, weights, numbers, counts)
        self._segments.append(segment)
        return True

    def _reduce_with_care(self, x: Any, y: np.ndarray, weights: np.ndarray | None, numbers: np.ndarray) -> None:
        if self._careful is None:
            self._careful = [empty(self.features + self.outputs)] * self.folds
        x = np.asarray(x)
        for fold, before in enumerate(self._careful):
            rows = np.flatnonzero(numbers == fold)
            if len(rows):
                own = _reflected(x[rows], y[rows], None if weights is None else weights[rows])
                self._careful[fold] = merge(before, own)


@dataclasses.dataclass(slots=True, eq=False)
class _Segment:
    """Cross-products of rows in one frame, fold by fold.

    Attributes:
        frame: the coordinates.
        products: `(K, q + 1, q + 1)`.
        folds: K.
        nobs, log_weights: `(K,)`: the rows with a weight, and the sums of the weights' logarithms.
        first: `(K, q)`: a row of each fold, NaN before there is one.
        constant: mask `(K, q)`: the columns that have not varied in a fold.
    """

    frame: Frame
    products: np.ndarray
    folds: int
    nobs: np.ndarray = dataclasses.field(init=False)
    log_weights: np.ndarray = dataclasses.field(init=False)
    first: np.ndarray = dataclasses.field(init=False)
    constant: np.ndarray = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        width = len(self.frame.shift)
        self.nobs, self.log_weights = np.zeros(self.folds, int), np.zeros(self.folds)
        self.first, self.constant = np.full((self.folds, width), np.nan), np.ones((self.folds, width), bool)

    def takes(self, products: np.ndarray) -> bool:
        """Return whether the products of more rows keep their digits in the frame of these."""
        whole, before = products.sum(axis=0), self.products.sum(axis=0)
        if not np.isfinite(whole).all() or not whole[-1, -1] > 0:
            return bool(np.isfinite(whole).all())
        constant = np.asarray(self.constant.all(axis=0))
        if np.diag(whole)[:-1][constant].any():  # a column that did not vary has no scale in this frame
            return False
        return are_accurate(whole + before, self.frame, constant)

    def add(
        self,
        products: np.ndarray,
        x: Any,
        y: np.ndarray,
        weights: np.ndarray | None,
        numbers: np.ndarray,
        rows_of_folds: np.ndarray,
    ) -> None:
        """Add the products of more rows; `numbers` are their folds, and `rows_of_folds` count these, `(K,)`."""
        self.products += products
        if weights is None:
            self.nobs += rows_of_folds
        else:
            used = weights > 0
            self.nobs += np.bincount(numbers[used], minlength=self.folds)
            self.log_weights += np.bincount(numbers[used], np.log(weights[used]), minlength=self.folds)
        if self.constant.any():
            self._look_for_variation(x, y, weights, numbers)

    def _look_for_variation(self, x: Any, y: np.ndarray, weights: np.ndarray | None, numbers: np.ndarray) -> None:
        """Note the columns that vary in a fold: most of them do in its first rows."""
        width, height = len(self.frame.shift), HEAD * self.folds

        def rows_of(fold: int, stop: int) -> np.ndarray:
            own = numbers[:stop] == fold
            return np.flatnonzero(own if weights is None else own & (weights[:stop] > 0))

        for fold in map(int, np.flatnonzero(self.constant.any(axis=1))):
            rows = rows_of(fold, height)[:HEAD]
            if np.isnan(self.first[fold, 0]):
                rows = rows if len(rows) else rows_of(fold, len(numbers))[:HEAD]
                if not len(rows):
                    continue
                self.first[fold] = _columns(x, y, rows[:1], np.arange(width))[0]
            self._compare(fold, x, y, rows)
            if self.constant[fold].any():
                self._compare(fold, x, y, rows_of(fold, len(numbers)))

    def _compare(self, fold: int, x: Any, y: np.ndarray, rows: np.ndarray) -> None:
        """Compare rows of a fold with its first, in the columns that have not varied yet."""
        where = np.flatnonzero(self.constant[fold])
        if len(rows) and len(where):
            values = _columns(x, y, rows, where)
            self.constant[fold, where] = (values == self.first[fold, where]).all(axis=0)

    def statistics(self, fold: int | None = None) -> Statistics:
        """Return the statistics of a fold; of all rows if it is None."""
        if fold is not None:
            parts = self.products[fold], self.frame, self.first[fold], self.constant[fold]
            return statistics_of_products(*parts, int(self.nobs[fold]), float(self.log_weights[fold]))
        filled = np.flatnonzero(self.nobs)
        constant = self.constant[filled].all(axis=0) & (self.first[filled] == self.first[filled[:1]]).all(axis=0)
        parts = self.products.sum(axis=0), self.frame, self.first[filled[0]], constant
        return statistics_of_products(*parts, int(self.nobs.sum()), float(self.log_weights.sum()))


def _reflected(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Statistics:
    """Return the statistics of rows by reflections, which keep all digits of dependent columns, and of few rows."""
    x, y, weights = without_zero_weights(x, y, weights)
    if not len(x):
        return empty(x.shape[1] + y.shape[1])
    constant = np.concatenate([constant_columns(x), constant_columns(y)])
    reduced = by_reflections(x, y, weights, constant)
    weight = as_doubledouble(reduced.total) if weights is None else DoubleDouble(weights).sum()
    log_weight = 0.0 if weights is None else float(np.log(weights).sum())
    return Statistics(len(x), weight, log_weight, constant=constant, **reduced.fields(constant))


def _merged_rows(parts: list[Statistics]) -> Statistics | None:
    """Return the statistics of all parts, by the rows of their factors at once; None if these are not few."""
    factors = [as_doubledouble(part.factor).hi for part in parts]
    factors = [factor[factor.any(axis=1)] for factor in factors]
    if sum(map(len, factors)) > factors[0].shape[1]:
        return None
    weights = np.array([float(part.weight.hi) for part in parts])
    apart = np.stack([(part.mean - parts[0].mean).hi for part in parts])
    shift = weights / weights.sum() @ apart
    rows = np.vstack([*factors, np.sqrt(weights)[:, None] * (apart - shift)])
    mean = parts[0].mean + shift
    constant = np.all([part.constant for part in parts], axis=0) & ~apart.any(axis=0)
    mean[constant] = parts[0].mean[constant]
    rows[:, constant] = 0.0
    weight = sum((part.weight for part in parts[1:]), parts[0].weight)
    return Statistics(
        sum(part.nobs for part in parts),
        weight,
        sum(part.log_weight for part in parts),
        mean,
        triangular.triangularise(rows),
        constant,
        max(part.error_of_other_solutions for part in parts),
    )


def _columns(x: Any, y: np.ndarray, rows: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return some columns of `[x y]`, of some rows."""
    features = x.shape[1]
    run = slice(rows[0], rows[-1] + 1)  # a slice also serves columns that are stacked lazily
    some = np.asarray(x[run])[rows - rows[0]][:, where[where < features]]
    return np.column_stack([some, y[rows][:, where[where >= features] - features]]).astype(np.float64)


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        x, y, weights = batches[0]
    else:
        parts = list(zip(*batches, strict=True))
        is_weighted = any(weight is not None for weight in parts[2])
        ones = [np.ones(len(x)) if w is None else w for x, w in zip(parts[0], parts[2], strict=True)]
        x, y = np.concatenate(parts[0]), np.concatenate(parts[1])
        weights = np.concatenate(ones) if is_weighted else None
    return x, y, None if weights is None else np.asarray(weights, np.float64)
