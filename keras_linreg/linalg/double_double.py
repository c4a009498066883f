"""Numbers of twice float64's precision: each the exact sum of two float64s, `hi + lo`."""

from typing import Any

import numpy as np

SPLIT = 134217729.0  # 2**27 + 1 halves the 53 bits of a float64, so that the products of halves are exact
UNIT_ROUNDOFF = 2.0**-104  # of one product or sum, a bound


class DoubleDouble:
    """An array of double-doubles: `+ - * /`, sums and roots with about 31 digits.

    Numbers beyond about 1e290 in size overflow in a product; whoever may meet them scales by powers of two first.

    Args:
        hi: float64 array of any shape, the values rounded to float64.
        lo: what they exceed `hi` by, at most half a unit in its last place; 0 where omitted.

    References:
        Dekker, "A floating-point technique for extending the available precision" (1971); Ogita, Rump, Oishi,
        "Accurate sum and dot product" (2005), algorithms 3.1 to 3.3.

    Example:
    >>> from keras_linreg.linalg.double_double import DoubleDouble
    >>> third = DoubleDouble(1.0) / DoubleDouble(3.0)
    >>> float((third * DoubleDouble(3.0) - DoubleDouble(1.0)).hi)
    0.0
    """

    __slots__ = ("hi", "lo")
    __array_ufunc__ = None  # an array on the left leaves the operation to us

    def __init__(self, hi, lo=None):
        self.hi = np.asarray(hi, np.float64)
        self.lo = np.zeros_like(self.hi) if lo is None else np.asarray(lo, np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.hi.shape

    @property
    def T(self) -> "DoubleDouble":
        """The transpose."""
        return DoubleDouble(self.hi.T, self.lo.T)

    def __len__(self) -> int:
        return len(self.hi)

    def __getitem__(self, key) -> "DoubleDouble":
        return DoubleDouble(self.hi[key], self.lo[key])

    def __setitem__(self, key, value) -> None:
        value = as_doubledouble(value)
        self.hi[key], self.lo[key] = value.hi, value.lo

    def __neg__(self) -> "DoubleDouble":
        return DoubleDouble(-self.hi, -self.lo)

    def __add__(self, other) -> "DoubleDouble":
        other = as_doubledouble(other)
        high, error = two_sum(self.hi, other.hi)
        low, rest = two_sum(self.lo, other.lo)
        high, error = fast_two_sum(high, error + low)
        return DoubleDouble(*fast_two_sum(high, error + rest))

    def __sub__(self, other) -> "DoubleDouble":
        return self + -as_doubledouble(other)

    def __mul__(self, other) -> "DoubleDouble":
        other = as_doubledouble(other)
        product, error = two_product(self.hi, other.hi)
        error += self.hi * other.lo + self.lo * other.hi
        return DoubleDouble(*fast_two_sum(product, error))

    def __truediv__(self, other) -> "DoubleDouble":
        other = as_doubledouble(other)
        first = DoubleDouble(self.hi / other.hi)
        rest = self - other * first
        second = DoubleDouble(rest.hi / other.hi)
        rest = rest - other * second
        return first + second + DoubleDouble(rest.hi / other.hi)

    def times(self, other) -> "DoubleDouble":
        """Return the product with float64 numbers."""
        product, error = two_product(self.hi, other)
        return DoubleDouble(*fast_two_sum(product, error + self.lo * other))

    def scaled(self, exponent) -> "DoubleDouble":
        """Return the numbers times `2**exponent`, exactly."""
        return DoubleDouble(np.ldexp(self.hi, exponent), np.ldexp(self.lo, exponent))

    def copy(self) -> "DoubleDouble":
        """Return a copy."""
        return DoubleDouble(self.hi.copy(), self.lo.copy())

    def sum(self, axis: int = -1) -> "DoubleDouble":
        """Return the sum along an axis, added up pairwise."""
        terms = DoubleDouble(np.moveaxis(self.hi, axis, -1), np.moveaxis(self.lo, axis, -1))
        if terms.shape[-1] == 0:
            return DoubleDouble(np.zeros(terms.shape[:-1]))
        while (length := terms.shape[-1]) > 1:
            half = length // 2
            folded = terms[..., :half] + terms[..., half : 2 * half]
            terms = folded if length % 2 == 0 else concatenate([folded, terms[..., -1:]], axis=-1)
        return terms[..., 0]


def as_doubledouble(value) -> DoubleDouble:
    """Return `value` as double-doubles; a float64 is one exactly."""
    return value if isinstance(value, DoubleDouble) else DoubleDouble(value)


def two_sum(a, b) -> tuple[Any, Any]:
    """Return `a + b` rounded, and the rounding error, exactly."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def fast_two_sum(a, b) -> tuple[Any, Any]:
    """Return `a + b` rounded, and the error, exactly where `|a| >= |b|`."""
    total = a + b
    return total, b - (total - a)


def two_product(a, b) -> tuple[Any, Any]:
    """Return `a * b` rounded, and the rounding error, exactly."""
    product = a * b
    a_hi, a_lo = split(a)
    b_hi, b_lo = split(b)
    return product, ((a_hi * b_hi - product) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


def split(a) -> tuple[Any, Any]:
    """Return the upper and the lower half of the bits of `a`."""
    shifted = SPLIT * a
    upper = shifted - (shifted - a)
    return upper, a - upper


def sqrt(a):
    """Return the square root of an array of float64 or of double-doubles, of numbers that are not negative."""
    if not isinstance(a, DoubleDouble):
        return np.sqrt(a)
    root = np.sqrt(a.hi)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = (a - DoubleDouble(*two_product(root, root))).hi / (2 * root)
    return DoubleDouble(*fast_two_sum(root, np.where(root > 0, correction, 0.0)))


def matmul(a, b) -> DoubleDouble:
    """Return the matrix product of double-doubles, column by column of `b`."""
    product = DoubleDouble(np.zeros((a.shape[0], b.shape[1])))
    for j in range(b.shape[1]):
        product[:, j] = (a * b.T[j][None]).sum(-1)
    return product


def concatenate(parts, axis: int = 0):
    """Return arrays of one kind, float64 or double-double, one after the other."""
    if not any(isinstance(part, DoubleDouble) for part in parts):
        return np.concatenate(parts, axis)
    parts = [as_doubledouble(part) for part in parts]
    return DoubleDouble(np.concatenate([p.hi for p in parts], axis), np.concatenate([p.lo for p in parts], axis))
