"""Products of rows and coefficients with more than float64's digits, at the speed of BLAS.

A product of two float64s of b and c bits has at most b + c bits, and a sum of m of them log2(m) more. As long as that
is no more than 53, float64 holds the sum exactly, in whatever order BLAS adds. So columns and coefficients are cut into
slices of few bits that add up to them exactly: the largest products of slices are exact, and the others are so small
that their rounding errors do not count.

A slice is cut by a large number: `(a + big) - big` is a, rounded to a multiple of the last bit of `big`.

References:
    Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix multiplication by using fast routines of matrix
    multiplication and its applications" (2012).
"""

import numpy as np

from keras_linreg.linalg.double_double import DoubleDouble, fast_two_sum, two_sum
from keras_linreg.utils.threads import product_without_lock

ROW_BITS = 26  # of the upper slice of a number of a row; the lower has the rest
SLICES = 3  # of coefficients
CROSS_BITS, CROSS_ROWS = 21, 2**11  # two products of the bits, and the rows, make 53 bits
LAST_PAIR = 5  # the sum of the numbers of two slices: further products are below the last digit
LOW_SLICE, LOW_SLICES = 3, 3  # of a double-double: the first that its low part reaches, and how many follow
RELATIVE_ERROR = 2.0**-76  # of products by slices


def cut(values: np.ndarray, largest: np.ndarray, bits: int, count: int) -> list[np.ndarray]:
    """Return slices that add up to values exactly: `bits` bits each, below the power of two above `largest`.

    Args:
        values: float64, of any shape.
        largest: as large as the largest of the values, or about; it broadcasts to `values`.
        bits: of a slice; the last slice has all the rest.
        count: of slices.
    """
    slices, rest = [], values
    for i in range(1, count):
        big = _cutter(largest, i * bits)
        upper = (rest + big) - big
        slices.append(upper)
        rest = rest - upper
    return [*slices, rest]


def _cutter(largest: np.ndarray, bits: int) -> np.ndarray:
    """Return the number whose last bit is `bits` bits below the power of two above `largest`."""
    return np.ldexp(1.5, np.frexp(np.where(largest > 0, largest, 1.0))[1] + 52 - bits)


def cross_products(columns: DoubleDouble) -> tuple[DoubleDouble, DoubleDouble]:
    """Return `columns.T @ columns`, `(q, q)`, and the sums of the columns `(n, q)`, in double-double.

    Columns are cut into slices of 21 bits. A product of two has 42 bits, and 2048 of them add up exactly. So one
    product of BLAS, of all slices side by side, has all products of slices, and only their sum rounds.
    """
    width = columns.shape[1]
    largest = np.abs(columns.hi).max(axis=0, initial=0.0)
    slices = cut(columns.hi, largest, CROSS_BITS, LOW_SLICE + 1)
    if columns.lo.any():
        slices += cut(slices.pop() + columns.lo, np.ldexp(largest, -LOW_SLICE * CROSS_BITS), CROSS_BITS, LOW_SLICES)
    while len(slices) > 1 and not slices[-1].any():
        slices.pop()
    count = len(slices)
    side_by_side = np.concatenate([*slices, np.ones((len(columns), 1))], axis=1)
    pairs = [(i, j) for i in range(count) for j in range(count) if i + j <= LAST_PAIR]
    pairs.sort(key=sum, reverse=True)  # small products first
    total, sums = DoubleDouble(np.zeros((width, width))), DoubleDouble(np.zeros(width))
    for start in range(0, len(side_by_side), CROSS_ROWS):
        block = side_by_side[start : start + CROSS_ROWS]
        whole = block.T @ block
        products = whole[:-1, :-1].reshape(count, width, count, width)
        total = total + DoubleDouble(np.stack([products[i, :, j] for i, j in pairs])).sum(0)
        sums = sums + DoubleDouble(whole[-1, :-1].reshape(count, width)[::-1]).sum(0)
    return total, sums


class SlicedRows:
    """Rows less a shift, cut into slices.

    Args:
        x: `(n, p)`, of any float dtype: some thousands of rows at the most.
        shift: `(p,)`: to be subtracted; 0 for columns that are not far from 0.
        memory: float64 `(2, m, p)` for the slices, with m at least n, which a later block may use again: fresh memory
            takes longer than the cuts.
    """

    def __init__(self, x: np.ndarray, shift: np.ndarray, memory: np.ndarray | None = None):
        self._upper, self._lower = np.empty((2, *x.shape)) if memory is None else memory[:, : len(x)]
        self._columns = np.flatnonzero(shift)
        self._missing = np.zeros((len(x), 0))
        rows = x
        if x.dtype != np.float64 or len(self._columns):
            rows = self._lower
            rows[...] = x
        if len(self._columns):
            rows[:, self._columns], self._missing = two_sum(rows[:, self._columns], -shift[self._columns])
        if not self._missing.any():  # the difference of numbers close together is exact
            self._columns, self._missing = self._columns[:0], self._missing[:, :0]
        self._largest = np.maximum(rows.max(axis=0, initial=0.0), -rows.min(axis=0, initial=0.0))
        big = _cutter(self._largest, ROW_BITS)
        np.add(rows, big, out=self._upper)
        self._upper -= big
        np.subtract(rows, self._upper, out=self._lower)

    def sum(self) -> DoubleDouble:
        """Return the sums of the columns, `(p,)`."""
        ones = np.ones(len(self._upper))
        total, error = two_sum(product_without_lock(ones, self._upper), product_without_lock(ones, self._lower))
        error[self._columns] += self._missing.sum(axis=0)
        return DoubleDouble(*fast_two_sum(total, error))

    def times(self, kernel: np.ndarray) -> DoubleDouble:
        """Return `(x - shift) @ kernel`, `(n, k)`, for a kernel `(p, k)`."""
        exponents = np.frexp(np.where(self._largest > 0, self._largest, 1.0))[1]
        slices = np.ldexp(_slices(np.ldexp(kernel.T, exponents)), -exponents)
        lower, missing = kernel.T @ self._lower.T, kernel[self._columns].T @ self._missing.T
        return _added(slices @ self._upper.T, lower, missing).T

    def products_by(self, values: DoubleDouble) -> tuple[DoubleDouble, DoubleDouble]:
        """Return `(x - shift).T @ values`, `(p, k)`, and the sums of the values, `(k,)`, for values `(n, k)`."""
        high, low = (np.ascontiguousarray(part.T) for part in (values.hi, values.lo))
        slices = _slices(high)
        slices[-len(low) :] += low
        missing = np.zeros((len(high), len(self._largest)))
        missing[:, self._columns] = high @ self._missing
        upper, lower = product_without_lock(slices, self._upper), product_without_lock(high, self._lower)
        products = _added(upper, lower, missing).T
        zero = np.zeros(len(high))
        return products, _added(slices.sum(axis=1), zero, zero)


def _slices(values: np.ndarray) -> np.ndarray:
    """Return the slices `(SLICES * k, m)` of values `(k, m)`, so short that products with upper slices are exact."""
    bits = 53 - ROW_BITS - values.shape[1].bit_length()
    return np.concatenate(cut(values, np.abs(values).max(axis=1, initial=0.0, keepdims=True), bits, SLICES))


def _added(upper: np.ndarray, lower: np.ndarray, missing: np.ndarray) -> DoubleDouble:
    """Return the sum of products.

    Args:
        upper: `(SLICES * k, ...)`: of the upper slices of rows. The first two of SLICES are exact; the third is so
            small that its rounding errors do not count.
        lower: `(k, ...)`: of the lower slices, rounded: they are ROW_BITS below the largest.
        missing: `(k, ...)`: of what the shift left behind, last digits.
    """
    first, second, third = upper.reshape(SLICES, *lower.shape)
    total, error = two_sum(first, second)
    total, further = two_sum(total, lower)
    return DoubleDouble(*fast_two_sum(total, error + further + (third + missing)))
