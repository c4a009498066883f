"""Rows of factors and numbers, reduced cell by cell, without writing the indicator columns.

Within a cell, a combination of levels, each column of the design is a numeric part times 1, -1 or 0. So the statistics
of the few parts and of y are all that a cell needs to tell. They are mapped to the columns of the design at the end.
"""

import dataclasses

import numpy as np

from keras_linreg.data import CellMatrix
from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul
from keras_linreg.moments.cell_statistics import CellStatistics, merged, statistics_of_rows
from keras_linreg.moments.frame import MOST_PATTERNS, PATTERN_ERRORS
from keras_linreg.moments.reduce import SMALLEST_UNEXPLAINED, residual_norms
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF, Statistics, about_plane, provisional_kernel
from keras_linreg.utils.counts import counts
from keras_linreg.utils.threads import in_order

ROWS_OF_CELL = 4  # on average; with fewer, it is as fast to write the rows
SAMPLE_ROWS = 2**13  # whose plane is near that of all rows
BLOCK_ROWS = 2**16  # that the cache of a core holds
BLOCK_OF_CELL = 64  # rows of a cell in a block, on average, at least
STACKED_NUMBERS = 2**21  # of rows of cells that are reduced at once
LARGEST, SMALLEST = 1e120, 1e-120  # of numbers; others are left to `moments.reduce`
ERROR_OF_FACTOR = 4 * FLOAT64_ROUNDOFF


def is_worth_cells(x: CellMatrix) -> bool:
    """Return whether a matrix has cells, and several rows in each."""
    return len(x.codes) == 1 and len(x.signs[0]) * ROWS_OF_CELL <= len(x)


def reduce_cells(
    x: CellMatrix, y: np.ndarray, weights: np.ndarray | None, kernel: np.ndarray | None = None
) -> Statistics | None:
    """Return the statistics of rows by their cells; None if numbers are not finite, too large or too small.

    With `R_c` the factor of the parts and of y about their means in cell c, and `M_c` the map from the parts to the
    columns of the design, the cross-products about the mean of all rows are those of the rows

    ```python
    R_c @ M_c                                     # for each cell
    sqrt(weight_c) * (mean_c @ M_c - mean)        # for each cell
    ```

    which Householder reflections reduce. As in `moments.reduce`, y enters as residuals of a provisional fit, which a
    sample of the rows tells.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        kernel: `(p, k)`, the plane of the rows before these; None if there is none.
    """
    x, y, weights = without_zero_weights(x, y, weights)
    y = np.asarray(y, np.float64)
    parts = [part for part in x.parts if part is not None]
    if not len(x):
        return None
    extremes = np.array([(column.min(), column.max()) for column in (*parts, *y.T)])
    if not _are_ordinary(extremes) or not np.isfinite(x.signs[0]).all():
        return None
    features, outputs = x.shape[1], y.shape[1]
    constant = _constants(x, extremes[:, 0] == extremes[:, 1], (extremes == 0).all(axis=1))
    value = np.append(x[0], y[0])
    step = -(-len(x) // max(SAMPLE_ROWS, 16 * len(x.signs[0]), 8 * features))
    some = slice(None, None, step)
    start = _Frame(np.zeros(len(parts)), np.zeros(features), np.zeros(outputs), np.zeros((features, outputs)))
    sample = _reduced(x[some], y[some], None if weights is None else weights[some], start)
    shift = np.array([part[some].mean() for part in parts])
    frame = _Frame(shift, sample.mean.hi, sample.mean_of_residuals.hi, np.zeros((features, outputs)))
    frame = dataclasses.replace(frame, kernel=provisional_kernel(sample.r, frame.kernel) if kernel is None else kernel)
    frame.kernel[:, constant[features:]] = 0.0
    reduced = _reduced(x, y, weights, frame)
    if reduced.is_explained:
        kernel = provisional_kernel(reduced.r, frame.kernel)
        reduced = _reduced(x, y, weights, dataclasses.replace(frame, kernel=kernel))
    r, plane = reduced.r, reduced.frame.kernel
    offset = (reduced.mean - DoubleDouble(frame.centre))[None]
    mean = DoubleDouble(np.zeros(features + outputs))
    mean[:features] = reduced.mean
    mean[features:] = reduced.mean_of_residuals + DoubleDouble(frame.level) + matmul(offset, plane)[0]
    mean.hi[constant], mean.lo[constant], r[:, constant] = value[constant], 0.0, 0.0
    return Statistics(
        nobs=len(x),
        weight=as_doubledouble(float(len(x))) if weights is None else DoubleDouble(weights).sum(),
        log_weight=0.0 if weights is None else float(np.log(weights).sum()),
        mean=mean,
        constant=constant,
        error=ERROR_OF_FACTOR,
        **about_plane(r, plane, _error_of_residuals([part[some] for part in parts], len(x.signs[0]))),
    )


def _error_of_residuals(parts: list[np.ndarray], cells: int) -> float:
    """Return the rounding error of residuals, as a part of the norm of y and of all terms, as in `moments.frame`.

    Each part adds a rounding error to a row. Those of different rows are as good as random, of few patterns they are
    not. The numbers that all rows of a cell share are exact to double-double.
    """
    patterns = max((len(np.unique(part)) for part in parts), default=cells)
    return FLOAT64_ROUNDOFF * (2 + len(parts) ** 0.5) * PATTERN_ERRORS / min(patterns, MOST_PATTERNS) ** 0.5


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """What is subtracted from rows before they are multiplied.

    Attributes:
        shift: of each part, `(q,)`.
        centre: numbers near the means of the columns, `(p,)`, and of y, `level` `(k,)`.
        kernel: of a plane through them, `(p, k)`.
    """

    shift: np.ndarray
    centre: np.ndarray
    level: np.ndarray
    kernel: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Reduced:
    """Rows, reduced.

    Attributes:
        frame: of the rows.
        r: the factor `(p + k, p + k)` of columns and residuals about their means.
        mean: of the columns, double-double `(p,)`.
        mean_of_residuals: double-double `(k,)`.
    """

    frame: _Frame
    r: np.ndarray
    mean: DoubleDouble
    mean_of_residuals: DoubleDouble

    @property
    def is_explained(self) -> bool:
        """Whether residuals of another kernel would keep more digits."""
        features, left = len(self.frame.kernel), residual_norms(self.r, len(self.frame.kernel))
        total = np.hypot(np.linalg.norm(self.r[:features, features:], axis=0), left)
        return bool((left**2 < SMALLEST_UNEXPLAINED * total**2).any())


def _reduced(x: CellMatrix, y: np.ndarray, weights: np.ndarray | None, frame: _Frame) -> _Reduced:
    """Return rows reduced by their cells, in a frame."""
    parts = [part for part in x.parts if part is not None]
    slots = np.cumsum([part is not None for part in x.parts]) - 1
    of_column = np.where([part is None for part in x.parts], len(parts), slots)[x.part_of_column]
    signs, count = x.signs[0], len(parts)
    slopes, levels = _planes_of_cells(signs, frame, of_column)
    cells = merged(_blocks(x, y, weights, frame, slopes.hi, levels.hi))
    # What float64 lacks of the plane is a plane, too, which the statistics of the cells can still be moved by.
    cells.factor[:, :, count:] -= cells.factor[:, :, :count] @ slopes.lo
    terms = (cells.mean.hi[:, :count, None] * slopes.lo).sum(axis=1)
    cells.mean[:, count:] = cells.mean[:, count:] - DoubleDouble(levels.lo + terms)
    # The part of ones stands last: its mean is 1, and it has no spread.
    means = _joined(cells.mean[:, :count] + DoubleDouble(frame.shift), np.ones((len(signs), 1)))[:, of_column]
    means = means.times(signs)
    total = DoubleDouble(cells.weight).sum()
    mean = means.times(cells.weight[:, None]).sum(0) / total
    mean_of_residuals = cells.mean[:, count:].times(cells.weight[:, None]).sum(0) / total
    between = np.hstack([(means - mean).hi, (cells.mean[:, count:] - mean_of_residuals).hi])
    between *= np.sqrt(cells.weight)[:, None]
    width, height = len(of_column) + y.shape[1], cells.factor.shape[1]
    r = np.zeros((0, width))
    step = max(1, STACKED_NUMBERS // (width * (height + 1)))
    padded = np.concatenate([cells.factor, np.zeros((len(signs), height, 1))], axis=2)
    column = np.where(of_column == count, height, of_column)
    for start in range(0, len(signs), step):
        some = slice(start, start + step)
        within = np.concatenate([padded[some][:, :, column] * signs[some, None], cells.factor[some][:, :, count:]], 2)
        rows = np.vstack([r, within.reshape(-1, width), between[some]])
        r = triangular.householder(np.asfortranarray(rows[rows.any(axis=1)]))
    return _Reduced(frame, r if len(r) else np.zeros((width, width)), mean, mean_of_residuals)


def _planes_of_cells(signs: np.ndarray, frame: _Frame, of_column: np.ndarray) -> tuple[DoubleDouble, DoubleDouble]:
    """Return the plane of each cell in the parts less their shift: slopes `(c, q, k)`, levels `(c, k)`, without y's.

    ```python
    (x - centre) @ kernel == levels[c] + (z - shift) @ slopes[c]
    ```
    """
    cells, parts, outputs = len(signs), len(frame.shift), frame.kernel.shape[1]
    slopes = DoubleDouble(np.zeros((cells, parts, outputs)))
    levels = DoubleDouble(np.zeros((cells, outputs)))
    offsets = DoubleDouble(signs * np.append(frame.shift, 1.0)[of_column]) - DoubleDouble(frame.centre)
    for output in range(outputs):
        kernel = frame.kernel[:, output]
        levels[:, output] = offsets.times(kernel).sum(1)
        for i in range(parts):
            slopes[:, i, output] = DoubleDouble(signs[:, of_column == i] * kernel[of_column == i]).sum(1)
    return slopes, levels


def _blocks(
    x: CellMatrix,
    y: np.ndarray,
    weights: np.ndarray | None,
    frame: _Frame,
    slopes: np.ndarray,
    levels: np.ndarray,
) -> list[CellStatistics]:
    """Return the statistics of the cells of each block of rows."""
    parts, codes, cells = [part for part in x.parts if part is not None], x.codes[0], len(x.signs[0])
    height = max(BLOCK_ROWS, BLOCK_OF_CELL * cells)

    def block(start: int) -> CellStatistics:
        some = slice(start, start + height)
        of_rows = codes[some]
        rows = np.empty((len(parts) + y.shape[1], len(of_rows)))
        for i, part in enumerate(parts):
            np.subtract(part[some], frame.shift[i], out=rows[i])
        for output in range(y.shape[1]):
            residual = np.subtract(y[some, output], frame.level[output], out=rows[len(parts) + output])
            if frame.kernel[:, output].any():
                residual -= levels[:, output].take(of_rows)
                for i in range(len(parts)):
                    residual -= slopes[:, i, output].take(of_rows) * rows[i]
        return statistics_of_rows(rows, of_rows, None if weights is None else weights[some], cells)

    return list(in_order(block, range(0, len(x), height)))


def _joined(first: DoubleDouble, second: np.ndarray) -> DoubleDouble:
    return DoubleDouble(np.hstack([first.hi, second]), np.hstack([first.lo, np.zeros_like(second)]))


def _constants(x: CellMatrix, is_constant: np.ndarray, is_zero: np.ndarray) -> np.ndarray:
    """Return the mask of the columns of x and y whose minimum equals their maximum.

    A column is constant if its part is, and its sign in all cells that have rows; or if it is zero.

    Args:
        x: the rows.
        is_constant, is_zero: masks of the numeric parts, and of y.
    """
    signs = x.signs[0][np.flatnonzero(counts(x.codes[0], len(x.signs[0])))]
    numeric = np.array([part is not None for part in x.parts])
    of_part, zeros = np.ones(len(numeric), bool), np.zeros(len(numeric), bool)
    of_part[numeric], zeros[numeric] = is_constant[: numeric.sum()], is_zero[: numeric.sum()]
    same_sign = (signs == signs[0]).all(axis=0)
    of_x = (same_sign & of_part[x.part_of_column]) | ~signs.any(axis=0) | zeros[x.part_of_column]
    return np.concatenate([of_x, is_constant[numeric.sum() :]])


def _are_ordinary(extremes: np.ndarray) -> bool:
    """Return whether columns of these minima and maxima `(q, 2)` have numbers whose squares float64 holds well."""
    largest = np.abs(extremes).max(axis=1)
    return bool(((largest == 0) | ((largest > SMALLEST) & (largest < LARGEST))).all())
