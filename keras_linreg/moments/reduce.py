"""From rows to means and a triangular factor, at the speed of matrix products."""

import dataclasses
from typing import Any

import numpy as np
from scipy.linalg import lapack

from keras_linreg.data.row_blocks import without_zero_weights
from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul, two_sum
from keras_linreg.moments.checks import check_finite
from keras_linreg.moments.frame import (
    Frame,
    KnownFrame,
    are_dependent,
    is_worth_sample,
    numbers_near_means,
    sample,
    usable_factor,
)
from keras_linreg.moments.row_products import cross_products, reflections
from keras_linreg.sufficient_statistics import FLOAT64_ROUNDOFF, Statistics, about_plane, empty, provisional_kernel

# Cross-products lose as many digits as the variance inflation has. Where a sample tells that they would lose one, a
# basis is taken in which they lose none; where all rows tell that they have lost two, the rows are multiplied again.
LARGEST_INFLATION = 100.0
SMALLEST_UNEXPLAINED = 1e-4  # the residual sum of squares loses as many digits as this has
UNEXPLAINED = 1e-2  # of a sample: with more, cross-products of y itself keep the digits
MODEST_CONDITION = 4.0  # of a sample: with less, cross-products of y itself keep 13 digits
FARTHEST_MEAN = 16.0  # squared distance of the mean from the shift, in variances
ROUNDING_ERRORS = 8.0  # of y, that residuals may consist of
SMALLEST_INDEPENDENT = 1e-9  # what a sample must leave of a column, as a part of its norm
LARGEST_TERMS_BEFORE = 4.0  # of the kernel of the rows before, beside those of these rows' own
LOOKS = 3  # at the rows, each in the frame that the one before found
LARGEST_EXPONENT = 300  # of two, of y
CONSTANT_ROWS = 4096  # that are compared at a time


def reduce_rows(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None = None,
    first_row: int = 0,
    kernel: np.ndarray | None = None,
    known: KnownFrame | None = None,
) -> Statistics:
    """Return the statistics of rows in memory, in float64.

    Blocks are multiplied, on all cores, in a frame that a sample of the rows tells, and once more where it proves to be
    a bad one. Householder reflections reduce what has no good frame: columns that depend on each other.

    Args:
        x, y, weights: `(n, p)`, `(n, k)`, and `(n,)` or None.
        first_row: the number of the first of these rows among all rows, for errors.
        kernel: `(p, k)`, the plane of the rows before these; None if there is none.
        known: the frame of the rows before, in which these are read first; it keeps their own.

    Raises:
        NotFinite: a number of x or y is NaN or infinite.
    """
    all_rows = x, y, weights
    x, y, weights = without_zero_weights(x, y, weights)
    if not len(x):
        check_finite(*all_rows, first_row)
        return empty(x.shape[1] + y.shape[1])
    constant = np.concatenate([constant_columns(x), constant_columns(y)])
    exponents = _extreme_exponents(y)
    if exponents.any():
        y = np.ldexp(np.asarray(y, np.float64), -exponents)
        kernel = None if kernel is None else np.ldexp(kernel, -exponents)
        known = None  # frames are of y as it is
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        reduced = _by_cross_products(x, y, weights, constant, kernel, known or KnownFrame())
        if reduced is None:
            check_finite(*all_rows, first_row)
            reduced = by_reflections(x, y, weights, constant)
        weight = as_doubledouble(reduced.total) if weights is None else DoubleDouble(weights).sum()
        log_weight = 0.0 if weights is None else float(np.log(weights).sum())
        statistics = Statistics(len(x), weight, log_weight, constant=constant, **reduced.fields(constant))
        return statistics.with_outputs_scaled(exponents) if exponents.any() else statistics


def _extreme_exponents(y: np.ndarray) -> np.ndarray:
    """Return powers of two by which y is too large or too small for squares of its residuals; 0 for ordinary y."""
    exponents = np.frexp(np.abs(np.asarray(y[:64], np.float64)).max(axis=0))[1]
    return np.where(np.abs(exponents) > LARGEST_EXPONENT, exponents, 0)


def residual_norms(r: np.ndarray, features: int) -> np.ndarray:
    """Return the norm of each output's residuals: the root of its residual sum of squares, from its part of R."""
    return triangular.column_norms(r[features:, features:])


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Reduced:
    """Rows in a frame, reduced.

    Attributes:
        frame: of the rows.
        total: the sum of their weights.
        offset: `(p + k,)`: the means of `[z residuals]`.
        r: `(p + k, p + k)`: the factor of `[z residuals]` about these means; None if they are too far from the shift.
        is_inflated: whether another basis would keep more digits.
        is_explained: whether residuals of another kernel would keep more digits.
        is_nearly_explained: the same, with a margin: other rows may be explained somewhat better.
    """

    frame: Frame
    total: float
    offset: np.ndarray
    r: np.ndarray | None
    is_inflated: bool = False
    is_explained: bool = False
    is_nearly_explained: bool = True

    @property
    def is_accurate(self) -> bool:
        """Whether nearly all digits are there."""
        return self.r is not None and not self.is_inflated and not self.is_explained

    def fields(self, constant: np.ndarray) -> dict[str, Any]:
        """Return the fields of `Statistics`: the mean, the factor, and the plane if the frame has one."""
        features, kernel = self.frame.features, self.frame.kernel
        r, offset = self.of_columns()
        r[:, constant] = 0.0
        offset[constant] = 0.0
        mean = DoubleDouble(*two_sum(self.frame.shift, offset))
        if kernel is None:
            return {"mean": mean, "factor": r, "error": self.frame.error_of_factor}
        mean[features:] = mean[features:] + matmul(DoubleDouble(offset[None, :features]), kernel)[0]
        return {"mean": mean, "error": self.frame.error_of_factor, **about_plane(r, kernel, self.frame.error)}

    def of_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the factor and the means of `[x residuals]`, of the columns themselves."""
        assert self.r is not None
        r, offset, factor, features = self.r.copy(order="K"), self.offset.copy(), self.frame.factor, self.frame.features
        if factor is not None:
            r[:features, :features] = np.triu(r[:features, :features] @ factor)
            offset[:features] = offset[:features] @ factor
        return r, offset

    def better_frame(self) -> Frame | None:
        """Return the frame that these rows themselves tell, or None if their columns depend on each other."""
        frame, features = self.frame, self.frame.features
        if self.r is None:
            offset = self.offset.copy()
            if frame.factor is not None:
                offset[:features] = offset[:features] @ frame.factor
        else:
            r, offset = self.of_columns()
            factor = usable_factor(r[:features, :features], SMALLEST_INDEPENDENT)
            if factor is None:
                return None
            before = np.zeros((features, len(r) - features)) if frame.kernel is None else frame.kernel
            is_turned = frame.factor is not None or are_dependent(factor)
            frame = dataclasses.replace(frame, kernel=provisional_kernel(r, before))
            frame = frame.turned(factor) if is_turned else frame
        if self.frame.kernel is not None:
            offset[features:] += offset[:features] @ self.frame.kernel
        return dataclasses.replace(frame, shift=frame.shift + offset)


def constant_columns(values: np.ndarray) -> np.ndarray:
    """Return the mask of columns whose minimum equals their maximum."""
    if isinstance(values, np.ndarray) and values.strides[0] == 0:  # one row, repeated without a copy
        return np.ones(values.shape[1], bool)
    first = np.asarray(values[:64])
    varies = (first != first[0]).any(axis=0)
    for start in range(0, len(values), CONSTANT_ROWS):
        if varies.all():
            break
        where = np.flatnonzero(~varies)
        varies[where] = (np.asarray(values[start : start + CONSTANT_ROWS])[:, where] != first[0, where]).any(axis=0)
    return ~varies


def _by_cross_products(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    constant: np.ndarray,
    kernel: np.ndarray | None,
    known: KnownFrame,
) -> _Reduced | None:
    """Return the rows reduced in a good frame, or None if they have none."""
    frame = known.frame_for(x, y, constant)
    if frame is not None:
        reduced = _reduced(cross_products(x, y, weights, frame), frame, constant)
        if reduced is not None and reduced.is_accurate:
            return reduced
        known.miss()
    frame = first_frame(x, y, weights, constant, kernel)
    for _ in range(LOOKS):
        if frame is None:
            return None
        reduced = _reduced(cross_products(x, y, weights, frame), frame, constant)
        if reduced is not None and reduced.is_accurate:
            known.keep(frame, constant)
        if reduced is None or reduced.is_accurate:
            return reduced
        frame = reduced.better_frame()
    return None


def first_frame(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, constant: np.ndarray, kernel: np.ndarray | None
) -> Frame | None:
    """Return the frame that a sample of the rows tells, or None if in the sample columns depend on each other.

    The plane of the rows before is kept where it fits: planes of the same kernel merge without a rounding error.
    """
    some_x, some_y, some_weights = sample(x, y, weights)
    frame = _shifted_frame(some_x, some_y, constant)
    if not is_worth_sample(len(x), len(constant)):
        return frame
    constant = np.concatenate([constant_columns(some_x), constant_columns(some_y)])
    reduced = _reduced(cross_products(some_x, some_y, some_weights, frame), frame, constant)
    if reduced is None or reduced.r is None or reduced.is_inflated:
        reduced = by_reflections(some_x, some_y, some_weights, constant)
    better = reduced.better_frame()
    if better is None or better.kernel is None:
        return None
    if better.inverse is None and not reduced.is_nearly_explained and not _is_worth_plane(reduced):
        return dataclasses.replace(better, kernel=None)  # a plane costs a pass over the block, and saves no digit
    own = better.kernel
    if kernel is None or (_terms(reduced, kernel) > LARGEST_TERMS_BEFORE * _terms(reduced, own)).any():
        kernel = own
    patterns = len(np.unique(some_x @ kernel[:, 0]))
    return dataclasses.replace(better, kernel=kernel, patterns=patterns)


def _is_worth_plane(reduced: _Reduced) -> bool:
    """Return whether the columns of a sample depend on each other enough for a plane to save a look at the rows."""
    features = reduced.frame.features
    if features > condition.EXACT_CONDITION:  # a plane costs little beside the products of so many columns
        return True
    factor = usable_factor(reduced.of_columns()[0][:features, :features], SMALLEST_INDEPENDENT)
    return factor is None or condition.scaled_condition_number(factor) > MODEST_CONDITION


def _terms(reduced: _Reduced, kernel: np.ndarray) -> np.ndarray:
    """Return the norms of y and of the terms of a kernel, `(k,)`, for rows in a frame without one."""
    norms = triangular.column_norms(reduced.of_columns()[0])
    return np.hypot(norms[len(kernel) :], np.linalg.norm(kernel * norms[: len(kernel), None], axis=0))


def _shifted_frame(x: np.ndarray, y: np.ndarray, constant: np.ndarray) -> Frame:
    """Return the frame of a sample that only its means are taken from."""
    first = np.concatenate([x[0], y[0]])
    shift = np.concatenate([numbers_near_means(x), numbers_near_means(y)])
    shift[constant] = first[constant]
    features = x.shape[1]
    size = np.sqrt(np.square(y - shift[features:]).mean(axis=0))
    return Frame(features, shift, size)


def _reduced(products: np.ndarray, frame: Frame, constant: np.ndarray) -> _Reduced | None:
    """Return the rows of cross-products, reduced; or None if numbers are not finite, too large, or dependent."""
    if not np.isfinite(products).all():
        return None
    width, features = len(frame.shift), frame.features
    total = products[width, width]
    offset = products[:width, width] / total
    offset[constant] = 0.0
    centred = products[:width, :width] - total * np.outer(offset, offset)
    spread = np.diag(centred)
    rounding = np.zeros(width)
    if frame.kernel is not None:  # residuals may be nothing but rounding errors
        rounding[features:] = total * (ROUNDING_ERRORS * FLOAT64_ROUNDOFF * frame.size) ** 2
    if (total * offset**2 > FARTHEST_MEAN * spread + rounding)[~constant].any():
        return _Reduced(frame, total, offset, None)
    used = ~constant & ~((np.arange(width) >= features) & (spread <= 1e-4 * rounding))
    if not ((spread > 1e-250) & (spread < 1e250))[used].all():
        return None
    where, count = np.flatnonzero(used), int(used[:features].sum())
    scale = np.sqrt(spread[where])
    some = (centred if used.all() else centred[np.ix_(where, where)]) / scale
    some /= scale[:, None]
    unit, failed = lapack.dpotrf(some.T, clean=1, overwrite_a=1)
    if failed:
        return None
    left = np.diag(unit)[count:] ** 2
    r = of_used = unit * scale
    if not used.all():
        r = np.zeros((width, width))
        r[np.ix_(where, where)] = of_used
    return _Reduced(
        frame,
        total,
        offset,
        r,
        is_inflated=condition.is_inflated(unit, LARGEST_INFLATION, count),
        is_explained=bool(((left < SMALLEST_UNEXPLAINED) & (spread > rounding)[where[count:]]).any()),
        is_nearly_explained=bool((left < UNEXPLAINED).any()),
    )


def by_reflections(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, constant: np.ndarray) -> _Reduced:
    """Return the rows reduced by reflections."""
    some_x, some_y, _ = sample(x, y, weights)
    frame = _shifted_frame(some_x, some_y, constant)
    shift = np.where(np.isfinite(frame.shift), frame.shift, 0.0)  # the mean of the largest numbers overflows
    r = reflections(x, y, weights, shift)
    total = r[0, 0] ** 2 if weights is not None else float(len(x))
    offset, r = r[0, 1:] / r[0, 0], np.ascontiguousarray(r[1:, 1:])
    used = np.flatnonzero(r[:, : frame.features].any(axis=0))
    is_inflated = condition.is_inflated(r[np.ix_(used, used)], LARGEST_INFLATION)
    return _Reduced(dataclasses.replace(frame, shift=shift), total, offset, r, is_inflated)
