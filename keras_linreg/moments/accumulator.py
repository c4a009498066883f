"""From rows to statistics in one pass: means and the triangular factor, whatever the number of rows."""

import contextlib
import functools
import os

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble, sqrt
from keras_linreg.moments.reduce import (
    LARGEST_INFLATION,
    SMALLEST_UNEXPLAINED,
    Statistics,
    check_finite,
    check_held,
    exactly,
    norms_of_rest,
    nothing,
    reduce,
    without_zeros,
)
from keras_linreg.utils.threads import one_blas_thread

CHUNK_NUMBERS = 2**21  # of small batches gathered before they are reduced
CHUNK_HEIGHT = 16  # so many times as many rows as columns at best: merging factors is work too
LARGEST_CHUNK = 2**25
SQUARES = 8  # of the columns are held at once, at the most
ALWAYS_EXACT = 2**18  # what double-double takes some milliseconds for, in the measure of `_work`
WORTH_EXACT = 2**23  # and some tenths of a second, for data that need it


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Return the statistics of the rows of both (Chan, Golub, LeVeque 1983, for factors in place of sums)."""
    if not a.nobs or not b.nobs:
        return a if a.nobs else b
    weight = a.weight + b.weight
    apart = b.mean - a.mean
    # Weights may be of any size, their products not: by an even power of two they come near 1.
    power = 2 * (int(np.frexp(weight.hi)[1]) // 2)
    near = [total.scaled(-power) for total in (a.weight, b.weight, weight)]
    between = (sqrt(near[0] * near[1] / near[2]) * apart).scaled(power // 2)
    if a.exact and b.exact:
        parts = [a.factor, b.factor, between[None]]
    else:
        parts = [as_doubledouble(part).hi for part in (a.factor, b.factor, between[None])]
    constant = a.constant & b.constant & (apart.hi == 0)
    return Statistics(
        nobs=a.nobs + b.nobs,
        weight=weight,
        log_weight=a.log_weight + b.log_weight,
        mean=a.mean + near[1] / near[2] * apart,
        factor=triangular.stacked(*parts),
        constant=constant,
        error=max(a.error_elsewhere, b.error_elsewhere),
    )


class Accumulator:
    """Takes batches of rows, and gives their statistics at any time.

    Data so small that double-double costs next to nothing are kept until they are not; of others only factors remain.

    Args:
        features: p, the number of columns of x.
        outputs: k, the number of columns of y.
    """

    def __init__(self, features: int, outputs: int):
        self.features, self.outputs = features, outputs
        self.rows = 0
        self.coarsest = "float64"
        width = features + outputs
        check_memory(width)
        self._reduced: Statistics | None = None
        self._waiting: list[tuple] = []
        self._waiting_rows = 0
        self._kept: list[tuple] | None = []
        self._kept_rows = 0
        self._first_row = 0  # of what is waiting, among all rows
        self._chunk = max(CHUNK_NUMBERS // width, min(CHUNK_HEIGHT * width, max(LARGEST_CHUNK // width, width)))

    def update(self, x, y, sample_weight=None) -> None:
        """Add a batch: `x` `(n, p)`, `y` `(n, k)`, any float dtype, and finite weights `(n,)` that are not negative.

        Raises:
            ValueError: the batch is of other widths or lengths; or a number of x or y is not finite, which may show
                in a later call: it names column and row.
        """
        if (x.shape[1], y.shape[1]) != (self.features, self.outputs):
            raise ValueError(
                f"Each batch must have {self.features} columns of `x` and {self.outputs} of `y`. "
                f"Received: {x.shape[1]} and {y.shape[1]}."
            )
        lengths = {len(part) for part in (x, y, sample_weight) if part is not None}
        if len(lengths) > 1:
            raise ValueError(
                "`x`, `y` and `sample_weight` of a batch must have the same number of rows. "
                f"Received: {len(x)}, {len(y)}" + ("." if sample_weight is None else f" and {len(sample_weight)}.")
            )
        self.coarsest = coarser(self.coarsest, x.dtype.name)
        if self._waiting_rows + len(x) > self._chunk:
            self._reduce()
        self._waiting.append((x, y, sample_weight))
        self._waiting_rows += len(x)
        self.rows += len(x)
        if self._kept is not None:
            if _work(self.rows, self.features + self.outputs) <= WORTH_EXACT:
                self._kept.append((x, y, sample_weight))
            else:
                self._kept = None
        if self._waiting_rows >= self._chunk:
            self._reduce()

    def so_far(self) -> Statistics:
        """Return the statistics in float64 of the rows so far."""
        self._reduce()
        found = self._reduced if self._reduced is not None else nothing(self.features + self.outputs)
        check_held(found, self.features)
        return found

    def result(self) -> Statistics:
        """Return the statistics, in double-double where the data are small, and the smaller the sooner."""
        width = self.features + self.outputs
        if not self._kept or not self.rows:
            return self.so_far()
        if _work(self.rows, width) > ALWAYS_EXACT:
            plain = self.so_far()
            if _is_well_conditioned(plain, self.features):
                return plain
        x, y, weights = _gathered(self._kept)
        check_finite(x, y, weights, 0)
        x, y, weights = without_zeros(x, y, weights)
        if not len(x):
            return nothing(width)
        with np.errstate(over="ignore", invalid="ignore"):
            found = exactly(x, y, weights)
        check_held(found, self.features)
        return found

    def _reduce(self) -> None:
        if not self._waiting:
            return
        x, y, weights = _gathered(self._waiting)
        with one_blas_thread():
            chunk = reduce(x, y, weights, self._first_row)
            with np.errstate(over="ignore", invalid="ignore"):  # `so_far` tells of what is too large
                self._reduced = chunk if self._reduced is None else merge(self._reduced, chunk)
        self._first_row += len(x)
        self._waiting, self._waiting_rows = [], 0


def _work(rows: int, width: int) -> int:
    """Return about how many products double-double takes, the passes over the columns counted."""
    return rows * width * (width + 8)


def check_memory(width: int) -> None:
    """Refuse so many columns that their cross-products do not fit in memory."""
    needed, there = SQUARES * 8 * width**2, memory()
    if there is not None and needed > there:
        raise MemoryError(
            f"The exact solution for {width} columns needs {needed / 2**30:,.1f} GiB for their cross-products, and "
            f"{there / 2**30:,.1f} GiB are there. LinearRegression, trained by gradient descent, needs memory for the "
            "kernel alone."
        )


@functools.cache  # files are read for it: of a small fit that is a tenth of the time
def memory() -> int | None:
    """Return the bytes of memory that this process may use at the most, `None` where the system does not tell."""
    limits = []
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(os.sysconf_names):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            limits.append(int(file.read()))
    return min((limit for limit in limits if limit > 0), default=None)


def coarser(a: str, b: str) -> str:
    """Return the name of the dtype with fewer digits; integers count as float64."""
    digits = {"float32": 24, "float16": 11, "bfloat16": 8}
    coarsest = min(a, b, key=lambda name: digits.get(name, 53))
    return coarsest if coarsest in digits else "float64"


def _gathered(batches: list[tuple]) -> tuple:
    if len(batches) == 1:
        return batches[0]
    x, y, weights = (list(parts) for parts in zip(*batches, strict=True))
    weighted = any(weight is not None for weight in weights)
    each = [np.ones(len(part)) if weight is None else weight for part, weight in zip(x, weights, strict=True)]
    return np.concatenate(x), np.concatenate(y), np.concatenate(each) if weighted else None


def _is_well_conditioned(statistics: Statistics, features: int) -> bool:
    """Return whether cross-products in float64 would have kept 13 digits."""
    used = ~statistics.constant[:features]
    r = as_doubledouble(statistics.factor).hi
    norms = triangular.column_norms(r)
    if (np.abs(np.diag(r)) <= 1e-6 * norms)[:features][used].any():
        return False
    left = norms_of_rest(r, features)
    total = norms[features:]
    if ((left**2 < SMALLEST_UNEXPLAINED * total**2) & (total > 0)).any():
        return False
    return bool((triangular.inverse_norms(r[:features, :features][np.ix_(used, used)]) ** 2 < LARGEST_INFLATION).all())
