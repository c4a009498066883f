"""Rows of factors and numbers, reduced cell by cell, without writing the indicator columns.

Within a cell, a combination of levels, each column of the design is a numeric part times 1, -1 or 0. So the statistics
of the few parts and of y are all that a cell needs to tell. They are mapped to the columns of the design at the end.
"""

import dataclasses

import numpy as np

from keras_linreg.data import CellMatrix
from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul, two_sum
from keras_linreg.moments.reduce import SMALLEST_UNEXPLAINED, residual_norms
from keras_linreg.sufficient_statistics import (
    FLOAT64_ROUNDOFF,
    Statistics,
    about_plane,
    provisional_kernel,
)

ROWS_OF_CELL = 4  # on average; with fewer, it is as fast to write the rows
STACKED_NUMBERS = 2**21  # of rows of cells that are reduced at once
LARGEST, SMALLEST = 1e120, 1e-120  # of numbers; others are left to `moments.reduce`
ERROR_OF_RESIDUALS = 8 * FLOAT64_ROUNDOFF
ERROR_OF_FACTOR = 4 * FLOAT64_ROUNDOFF


def is_worth_cells(x: CellMatrix) -> bool:
    """Return whether a matrix has cells, and several rows in each."""
    return len(x.codes) == 1 and len(x.signs[0]) * ROWS_OF_CELL <= len(x)


def reduce_cells(
    x: CellMatrix, y: np.ndarray, weights: np.ndarray | None, kernel: np.ndarray | None = None
) -> Statistics | None:
    """Return the statistics of rows by their cells; None if numbers are not finite, too large or too small.

    With `z` the parts of the rows of cell c, `R_c` the factor of `[z, y]` about their means, and `M_c` the map from the
    parts to the columns of the design, the cross-products about the mean of all rows are those of the rows

    ```python
    R_c @ M_c                                     # for each cell
    sqrt(weight_c) * (mean_c @ M_c - mean)        # for each cell
    ```

    which Householder reflections reduce. As in `moments.reduce`, y enters as residuals of a provisional fit.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        kernel: `(p, k)`, the plane of the rows before these; None if there is none.
    """
    x, y, weights = without_zero_weights(x, y, weights)
    if not len(x):
        return None
    cells = _Cells.of(x, np.asarray(y, np.float64), weights)
    if cells is None:
        return None
    features, outputs = x.shape[1], y.shape[1]
    plane = np.zeros((features, outputs)) if kernel is None else kernel
    for look in range(2):
        r, mean_of_residuals = cells.reduced(plane)
        total = np.hypot(np.linalg.norm(r[:features, features:], axis=0), residual_norms(r, features))
        is_explained = (residual_norms(r, features) ** 2 < SMALLEST_UNEXPLAINED * total**2).any()
        if look == 1 or not (kernel is None or is_explained):
            break
        plane = provisional_kernel(r, plane)
        plane[:, cells.constant[features:]] = 0.0
    mean = DoubleDouble(np.zeros(features + outputs))
    mean[:features] = cells.mean
    offset = (cells.mean - DoubleDouble(cells.centre))[None]
    mean[features:] = mean_of_residuals + DoubleDouble(cells.shift_of_y) + matmul(offset, plane)[0]
    constant = cells.constant
    mean[features:][constant[features:]] = y[0, constant[features:]]
    mean.hi[constant], mean.lo[constant] = cells.first[constant], 0.0
    r[:, constant] = 0.0
    log_weight = 0.0 if weights is None else float(np.log(weights).sum())
    return Statistics(
        nobs=len(x),
        weight=as_doubledouble(float(len(x))) if weights is None else DoubleDouble(weights).sum(),
        log_weight=log_weight,
        mean=mean,
        constant=constant,
        error=ERROR_OF_FACTOR,
        **about_plane(r, plane, ERROR_OF_RESIDUALS),
    )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Rows in the order of their cells.

    Attributes:
        parts: the numeric parts less their shift, `(q, n)`; without the part of ones.
        y: less its shift, `(k, n)`.
        root: of the weights, `(n,)`, or None.
        starts, stops: the first row of each cell, and the one after its last, `(c,)`.
        weight: of each cell, `(c,)`.
        signs: `(c, p)`.
        part_of_column: the number of the part of each column, `(p,)`; q for ones.
        shift: of each part, and 1 for ones, `(q + 1,)`.
        means: of the parts in each cell, without the shift, and of ones: double-double `(c, q + 1)`.
        mean: of the columns, double-double `(p,)`.
        constant, first: mask `(p + k,)` of constant columns, and their value.
        shift_of_y: `(k,)`.
    """

    parts: np.ndarray
    y: np.ndarray
    root: np.ndarray | None
    starts: np.ndarray
    stops: np.ndarray
    weight: np.ndarray
    signs: np.ndarray
    part_of_column: np.ndarray
    shift: np.ndarray
    means: DoubleDouble
    mean: DoubleDouble
    constant: np.ndarray
    first: np.ndarray
    shift_of_y: np.ndarray

    @classmethod
    def of(cls, x: CellMatrix, y: np.ndarray, weights: np.ndarray | None) -> "_Cells | None":
        """Return the rows in the order of their cells, or None if their numbers are none for cross-products."""
        (codes,), (signs,) = x.codes, x.signs
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes, minlength=len(signs))
        present = np.flatnonzero(counts)
        stops = np.cumsum(counts[present])
        starts = stops - counts[present]
        signs = signs[present]
        numeric = [part for part in x.parts if part is not None]
        number = np.cumsum([part is not None for part in x.parts]) - 1
        number = np.where([part is None for part in x.parts], len(numeric), number)
        of_column = number[x.part_of_column]
        parts = np.empty((len(numeric), len(x)))
        for i, part in enumerate(numeric):
            np.take(part, order, out=parts[i])
        y_sorted = np.ascontiguousarray(y.T[:, order])
        if not (_is_ordinary(parts) and _is_ordinary(y_sorted) and np.isfinite(signs).all()):
            return None
        heavy = None if weights is None else weights[order]
        constant, first = _constants(parts, y_sorted, starts, signs, of_column)
        shift, shift_of_y = parts.mean(axis=1), y_sorted.mean(axis=1)
        parts -= shift[:, None]
        y_sorted -= shift_of_y[:, None]
        weight = counts[present].astype(float) if heavy is None else np.add.reduceat(heavy, starts)
        centred, means = _centred_in_cells(parts, heavy, starts, stops, weight)
        with_ones = np.append(shift, 1.0)
        hi, lo = (np.vstack([part, np.zeros(len(present))]).T for part in (means.hi, means.lo))
        means = DoubleDouble(hi, lo)
        total = (means + DoubleDouble(with_ones))[:, of_column].times(signs)
        mean = total.times(weight[:, None]).sum(0) / DoubleDouble(weight).sum()
        root = None if heavy is None else np.sqrt(heavy)
        return cls(
            *(centred, y_sorted, root, starts, stops, weight, signs, of_column, with_ones, means, mean),
            *(constant, first, shift_of_y),
        )

    @property
    def centre(self) -> np.ndarray:
        """The numbers near the means of the columns that the plane is about, `(p,)`."""
        return self.mean.hi

    def reduced(self, kernel: np.ndarray) -> tuple[np.ndarray, DoubleDouble]:
        """Return the factor `(p + k, p + k)` of the columns and of residuals about their means, and these' means."""
        residuals, means_of_cells = self._residuals(kernel)
        total = DoubleDouble(self.weight).sum()
        mean = means_of_cells.T.times(self.weight[:, None]).sum(0) / total
        features, outputs = kernel.shape
        count, width = len(self.parts) + outputs, features + outputs
        rows = np.vstack([self.parts, residuals])
        if self.root is not None:
            rows *= self.root
        chunk = max(1, STACKED_NUMBERS // (width * (count + 1)))
        r = np.zeros((0, width))
        for begin in range(0, len(self.weight), chunk):
            some = slice(begin, begin + chunk)
            r = triangular.householder(np.asfortranarray(np.vstack([r, self._mapped(rows, some, count, features)])))
            between = self._between(some, means_of_cells, mean)
            r = triangular.householder(np.asfortranarray(np.vstack([r, between])))
        return r, mean

    def _residuals(self, kernel: np.ndarray) -> tuple[np.ndarray, DoubleDouble]:
        """Return what a plane leaves of y, centred in each cell, `(k, n)`, and the means in the cells, `(k, c)`."""
        counts, slots = self.stops - self.starts, len(self.shift)
        residuals = self.y.copy()
        for output in range(len(residuals)):
            terms = self.signs * kernel[:, output]
            slopes = np.zeros((len(terms), slots))
            for i in range(slots - 1):
                slopes[:, i] = terms[:, self.part_of_column == i].sum(axis=1)
            offsets = self.signs * (self.shift + self.means.hi)[:, self.part_of_column] - self.centre
            level = offsets @ kernel[:, output]
            residuals[output] -= np.repeat(level, counts)
            for i in range(slots - 1):  # the parts are centred in their cells, and so the level is that of their means
                residuals[output] -= self.parts[i] * np.repeat(slopes[:, i], counts)
        heavy = None if self.root is None else np.square(self.root)
        return _centred_in_cells(residuals, heavy, self.starts, self.stops, self.weight)

    def _mapped(self, rows: np.ndarray, some: slice, count: int, features: int) -> np.ndarray:
        """Return the factors of some cells, mapped to the columns of the design."""
        starts, stops, signs = self.starts[some], self.stops[some], self.signs[some]
        factors = np.zeros((len(starts), count, count + 1))  # the last column is that of ones: they have no spread
        for number, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            if stop - start > 1:
                factors[number, :, :count] = triangular.householder(np.array(rows[:, start:stop].T, order="F"))
        parts = len(self.parts)
        column = np.where(self.part_of_column == parts, count, self.part_of_column)
        mapped = np.concatenate([factors[:, :, column] * signs[:, None], factors[:, :, parts:count]], axis=2)
        return mapped.reshape(-1, features + count - parts)

    def _between(self, some: slice, means_of_cells: DoubleDouble, mean: DoubleDouble) -> np.ndarray:
        """Return the differences of the means of some cells from those of all rows, times the root of the weight."""
        means = (self.means[some] + DoubleDouble(self.shift))[:, self.part_of_column].times(self.signs[some])
        of_columns = (means - self.mean).hi
        of_residuals = (means_of_cells.T[some] - mean).hi
        return np.hstack([of_columns, of_residuals]) * np.sqrt(self.weight[some])[:, None]


def _centred_in_cells(
    rows: np.ndarray, heavy: np.ndarray | None, starts: np.ndarray, stops: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, DoubleDouble]:
    """Return rows `(q, n)` less their means in the cells, in place, and these means, double-double `(q, c)`."""

    def means() -> np.ndarray:
        return np.add.reduceat(rows if heavy is None else rows * heavy, starts, axis=1) / weight

    if not len(rows):
        return rows, DoubleDouble(np.zeros((0, len(weight))))
    first = means()
    rows -= np.repeat(first, stops - starts, axis=1)
    return rows, DoubleDouble(*two_sum(first, means()))


def _constants(
    parts: np.ndarray, y: np.ndarray, starts: np.ndarray, signs: np.ndarray, part_of_column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of the columns of x and y whose minimum equals their maximum, and their minima."""
    ones = np.ones((1, len(starts)))
    least = np.vstack([np.minimum.reduceat(parts, starts, axis=1), ones])[part_of_column].T * signs
    most = np.vstack([np.maximum.reduceat(parts, starts, axis=1), ones])[part_of_column].T * signs
    low = np.concatenate([np.minimum(least, most).min(axis=0), y.min(axis=1)])
    high = np.concatenate([np.maximum(least, most).max(axis=0), y.max(axis=1)])
    return low == high, low


def _is_ordinary(rows: np.ndarray) -> bool:
    """Return whether the numbers of each row are finite, and neither so large nor so small that squares are not."""
    for row in rows:
        largest = max(-row.min(), row.max())
        if not (largest == 0 or SMALLEST < largest < LARGEST):
            return False
    return True
