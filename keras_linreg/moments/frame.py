"""Frames: the coordinates in which cross-products of rows keep their digits, found on a sample of the rows.

Three things make cross-products lose digits: columns far from their means, nearly dependent columns, and a y that the
columns explain almost entirely. A sample of the rows tells of all three, so that the pass over all rows can avoid them:
it multiplies rows less their means, in a basis in which they are almost orthonormal, and the residuals of a provisional
fit in place of y.
"""

import dataclasses
import math

import numpy as np
from scipy.linalg import lapack

from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.slices import SlicedRows
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF
from keras_linreg.utils.types import Batch

SLABS = 16  # of consecutive rows that make a sample
SHIFT_ROWS = 128  # of a sample that only tells the means
SAMPLE_HEIGHT = 4  # times as many rows as columns has a sample that tells of dependence
SAMPLE_SHARE, SAMPLE_ROWS = 64, 4096  # one row of so many is in a sample, up to so many rows
WORTH_SAMPLE = 16  # times as many rows as columns: fewer rows are multiplied as they are, and once more if need be

MOST_MISSES = 2  # of a known frame: then the rows drift, and to try it takes longer than a sample
DEPENDENT = 10.0  # variance inflation: a column with more is replaced by what others leave of it
DEPENDENT_TOGETHER = 5.0  # condition number: with more, columns are replaced though each depends on others by little
MOST_DEPENDENT = 1 / 4  # of all columns: with more, one product by a whole matrix is as fast
ROUNDS = 3  # of looking for such columns
PATTERN_ERRORS, MOST_PATTERNS = 1.5, 400


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Coordinates of rows of p columns and k outputs.

    ```python
    z = (x - shift[:p]) @ inv(factor)
    residuals = y - shift[p:] - (x - shift[:p]) @ kernel
    ```

    Attributes:
        features: p.
        shift: `(p + k,)`.
        size: `(k,)`: the root of the mean square of y less its shift.
        kernel: `(p, k)`, of a provisional fit; None for zeros.
        factor, inverse: `(p, p)`, upper triangular; None for the identity.
        scale: `(p,)`: the norms of z, as a sample has them.
        turned_columns: the columns in which z is not x; None for all of them.
        patterns: at least so many different rows there are: their rounding errors are independent.
    """

    features: int
    shift: np.ndarray
    size: np.ndarray
    kernel: np.ndarray | None = None
    factor: np.ndarray | None = None
    inverse: np.ndarray | None = None
    scale: np.ndarray | None = None
    turned_columns: np.ndarray | None = None
    patterns: int = 1

    @property
    def error(self) -> float:
        """The rounding error of residuals, as a part of the norm of y and of all terms of `x @ kernel`.

        The product of p numbers rounds by a part of the root of p. The errors of different rows are as good as random,
        and those of rows of few patterns, as dummies have, are not.
        """
        return FLOAT64_ROUNDOFF * (1 + math.sqrt(self.features) / 4) * self._share_of_errors

    @property
    def error_of_factor(self) -> float:
        """The relative rounding error of the factor of x: a product by the inverse rounds as its condition says."""
        if self.factor is None or self.inverse is None or self.scale is None:
            return FLOAT64_ROUNDOFF
        factor, inverse = self.factor * self.scale[:, None], self.inverse / self.scale
        norms = triangular.column_norms(factor)
        product = np.linalg.norm(factor / norms, 2) * np.linalg.norm(inverse * norms[:, None], 2)
        return FLOAT64_ROUNDOFF * (1 + float(product) * self._share_of_errors)

    @property
    def _share_of_errors(self) -> float:
        return PATTERN_ERRORS / math.sqrt(min(self.patterns, MOST_PATTERNS))

    def turned(self, factor: np.ndarray) -> "Frame":
        """Return the frame in a basis of rows with this factor, in which they are almost orthogonal.

        Where few columns nearly depend on others, each of them is replaced by what the columns before leave of it, and
        the others stay. Their factor is `basis`, and that of x is `basis @ inv(basis) @ factor`. Else the basis is
        orthonormal.

        The inverse is rounded, and the factor that belongs to it is another one. With `product = factor @ inverse`,
        that is `inv(product) @ factor`, and as the product is near the identity, two terms of a series do.
        """
        columns, scale = _dependent_columns(factor), np.ones(len(factor))
        if columns is not None:
            basis = factor.copy()
            basis[:, columns] = 0.0
            basis[columns, columns] = factor[columns, columns]
            scale = triangular.column_norms(basis)
            of_others = lapack.dtrtrs(basis, factor[:, columns])[0]
            factor = np.eye(len(factor))
            factor[:, columns] = of_others
            factor[columns, columns] = 1.0
        inverse = lapack.dtrtri(factor)[0]
        product = SlicedRows(factor, np.zeros(len(factor))).times(inverse)
        rest = -((product.hi - np.eye(len(factor))) + product.lo)
        correction = rest @ factor
        factor = np.triu(factor + correction + rest @ correction)
        return dataclasses.replace(self, factor=factor, inverse=inverse, scale=scale, turned_columns=columns)


def are_dependent(factor: np.ndarray) -> bool:
    """Return whether columns depend on each other: one of them on others, or all of them together, each by a little."""
    return condition.is_inflated(factor, DEPENDENT) or _are_dependent_together(factor)


def _are_dependent_together(factor: np.ndarray) -> bool:
    """Return whether the condition number is large, as that of dummies of all groups but one.

    Of very many columns it takes too long to tell.
    """
    is_short = len(factor) <= condition.EXACT_CONDITION
    return is_short and condition.scaled_condition_number(factor) > DEPENDENT_TOGETHER


def _dependent_columns(factor: np.ndarray) -> np.ndarray | None:
    """Return columns without which, and with what others leave of them, no column depends on others.

    It is None if they are many, or if the others depend on each other together.
    """
    unit = factor / triangular.column_norms(factor)
    left = np.diag(unit)
    is_dependent = left**2 * DEPENDENT < 1.0
    for _ in range(ROUNDS):
        if np.count_nonzero(is_dependent) > MOST_DEPENDENT * len(unit):
            return None
        basis = np.where(is_dependent, np.diag(left), unit)
        inflated = condition.inflation_factors(basis) > DEPENDENT
        if not inflated.any():
            return None if _are_dependent_together(basis) else np.flatnonzero(is_dependent)
        is_dependent |= inflated
    return None


class KnownFrame:
    """The frame of the rows before, which rows in a random order share: it is found once."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._constant = np.zeros(0, bool)
        self._misses = 0

    def frame_for(self, x: np.ndarray, y: np.ndarray, constant: np.ndarray) -> Frame | None:
        """Return the frame if it may suit rows whose constant columns are these; else None."""
        if self._frame is None or self._misses > MOST_MISSES or not np.array_equal(constant, self._constant):
            return None
        first = np.concatenate([x[0], y[0]])
        # The numbers of a constant column must be zero in a frame.
        return self._frame if (self._frame.shift[constant] == first[constant]).all() else None

    def miss(self) -> None:
        """Take note that the frame did not suit some rows."""
        self._misses += 1

    def keep(self, frame: Frame, constant: np.ndarray) -> None:
        """Keep the frame in which some rows were accurate, `constant` `(q,)` being the mask of constant columns."""
        self._frame, self._constant = frame, constant


def is_worth_sample(rows: int, width: int) -> bool:
    """Return whether a sample costs little beside all rows of so many columns."""
    return rows >= WORTH_SAMPLE * width


def sample(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Batch:
    """Return some of the rows in float64, from all parts of the data: sorted rows are not like the first of them."""
    rows, width = len(x), x.shape[1] + y.shape[1]
    enough = max(SAMPLE_HEIGHT * width, min(rows // SAMPLE_SHARE, SAMPLE_ROWS))
    count = enough if is_worth_sample(rows, width) else SHIFT_ROWS
    if count >= rows:
        slabs = [slice(0, rows)]
    else:
        height = -(-count // SLABS)
        slabs = [slice(int(start), int(start) + height) for start in np.linspace(0, rows - height, SLABS)]

    def rows_of(part: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(part[slab], np.float64) for slab in slabs])

    return rows_of(x), rows_of(y), None if weights is None else rows_of(weights)


def numbers_near_means(values: np.ndarray) -> np.ndarray:
    """Return a number to subtract from each column of a sample: about its mean, 0 if that is near 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = values.mean(axis=0)
        return np.where(np.abs(mean) <= values.std(axis=0), 0.0, mean)


def usable_factor(r: np.ndarray, smallest: float) -> np.ndarray | None:
    """Return a factor `(p, p)` with 1 on the diagonal for columns of zeros; None if columns depend on each other.

    Args:
        r: `(p, p)`, upper triangular.
        smallest: what must be left of a column, as a part of its norm.
    """
    factor, norms = r.copy(), triangular.column_norms(r)
    zeros = ~r.any(axis=0)
    factor[zeros, zeros] = 1.0
    is_independent = np.abs(np.diag(factor)) > smallest * np.where(zeros, 0.0, norms)
    return factor if is_independent.all() and np.isfinite(factor).all() else None
