"""Numbers of twice float64's precision: each is the exact sum of two float64s, `hi + lo`.

Everything here follows from two facts about float64 arithmetic that rounds to nearest.

**The error of a sum is a float64.** Let `total` be `a + b` rounded. The error `a + b - total` is a multiple of the last
bit of the smaller number. It is also no larger than that number, because `total` is the float64 nearest to `a + b`, and
the larger number is a candidate. So the error has at most 53 bits. `two_sum` computes it: `total - a` is the part of b
that arrived in the total, and `total` less this part is the part of a that arrived. The rest of each number was lost.
Knuth proves that the sum of the two rests is the error, exactly, whichever number is larger.

**The error of a product is a float64**, if nothing overflows or underflows. The product of two numbers of 53 bits has
at most 106 bits, and the rounded product holds the upper 53. To compute the rest, `split` cuts each number into halves
of at most 26 bits. A product of two halves has at most 52 bits, so float64 holds it exactly. `two_product` starts from
the largest of the four products of halves, subtracts the rounded product, and adds the other three. No step rounds.

Double-double arithmetic uses these errors: it computes with `hi`, and adds the error of each operation to `lo`.

References:
    Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B (two_sum); Dekker, "A floating-point
    technique for extending the available precision" (1971) (fast_two_sum, split, two_product, division); Ogita, Rump,
    Oishi, "Accurate sum and dot product" (2005), algorithms 3.1 to 3.3.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from keras_linreg.utils.types import Array

SPLIT = 134217729.0  # 2**27 + 1: see `split`
UNIT_ROUNDOFF = 2.0**-104  # a bound of the relative error of one product or sum


class DoubleDouble:
    """An array of double-doubles: `+ - * /`, sums and roots with about 31 digits.

    Numbers beyond about 1e290 in size overflow in a product. A caller that may meet such numbers scales them first by
    powers of two, which is exact.

    Args:
        hi: float64 array of any shape: the values, rounded to float64.
        lo: the values less `hi`, at most half a unit in the last place of `hi`. None: zeros.

    Example:
    >>> from keras_linreg.linalg.double_double import DoubleDouble
    >>> third = DoubleDouble(1.0) / DoubleDouble(3.0)
    >>> float((third * DoubleDouble(3.0) - DoubleDouble(1.0)).hi)
    0.0
    """

    __slots__ = ("hi", "lo")
    __array_ufunc__ = None  # NumPy must not treat a DoubleDouble as an object array

    def __init__(self, hi: Any, lo: Any = None):
        self.hi: Array = np.asarray(hi, np.float64)
        order: Literal["C", "F"] = "F" if self.hi.flags.fnc else "C"
        # Memory of `np.zeros` is not written, that of `np.zeros_like` is.
        self.lo: Array = np.zeros(self.hi.shape, order=order) if lo is None else np.asarray(lo, np.float64)

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

    def __getitem__(self, key: Any) -> "DoubleDouble":
        return DoubleDouble(self.hi[key], self.lo[key])

    def __setitem__(self, key: Any, value: "Operand") -> None:
        value = as_doubledouble(value)
        self.hi[key], self.lo[key] = value.hi, value.lo

    def __neg__(self) -> "DoubleDouble":
        return DoubleDouble(-self.hi, -self.lo)

    def __add__(self, other: "Operand") -> "DoubleDouble":
        """Return the sum: the high parts and the low parts are added, and both errors join the low part."""
        other = as_doubledouble(other)
        high, error = two_sum(self.hi, other.hi)
        low, error_of_low = two_sum(self.lo, other.lo)
        high, error = fast_two_sum(high, error + low)
        return DoubleDouble(*fast_two_sum(high, error + error_of_low))

    def __sub__(self, other: "Operand") -> "DoubleDouble":
        return self + -as_doubledouble(other)

    def __mul__(self, other: "Operand") -> "DoubleDouble":
        """Return the product; the product of the two low parts is below the last digit and is left out."""
        other = as_doubledouble(other)
        product, error = two_product(self.hi, other.hi)
        error += self.hi * other.lo + self.lo * other.hi
        return DoubleDouble(*fast_two_sum(product, error))

    def __truediv__(self, other: "Operand") -> "DoubleDouble":
        """Return the quotient by long division: each step divides the remainder, and yields 53 more bits."""
        other = as_doubledouble(other)
        first = DoubleDouble(self.hi / other.hi)
        remainder = self - other * first
        second = DoubleDouble(remainder.hi / other.hi)
        remainder = remainder - other * second
        return first + second + DoubleDouble(remainder.hi / other.hi)

    def times(self, other: Array) -> "DoubleDouble":
        """Return the product with float64 numbers, which costs less than with double-doubles."""
        product, error = two_product(self.hi, other)
        return DoubleDouble(*fast_two_sum(product, error + self.lo * other))

    def scaled(self, exponent: Array | int) -> "DoubleDouble":
        """Return the numbers times `2**exponent`, exactly."""
        return DoubleDouble(np.ldexp(self.hi, exponent), np.ldexp(self.lo, exponent))

    def copy(self) -> "DoubleDouble":
        """Return a copy."""
        return DoubleDouble(self.hi.copy(), self.lo.copy())

    def sum(self, axis: int = -1) -> "DoubleDouble":
        """Return the sum along an axis, added up in pairs: errors grow with the logarithm of its length only."""
        hi, lo = np.moveaxis(self.hi, axis, 0), np.moveaxis(self.lo, axis, 0)
        if not len(hi):
            return DoubleDouble(np.zeros(hi.shape[1:]))
        while (length := len(hi)) > 1:
            half = length // 2
            total, error = two_sum(hi[:half], hi[half : 2 * half])
            error += lo[:half] + lo[half : 2 * half]
            if length % 2:
                total[0], rest = two_sum(total[0], hi[-1])
                error[0] += rest + lo[-1]
            hi, lo = fast_two_sum(total, error)
        return DoubleDouble(hi[0], lo[0])


Operand: TypeAlias = DoubleDouble | Array | float
Numbers = TypeVar("Numbers", Array, DoubleDouble)


def as_doubledouble(value: Any) -> DoubleDouble:
    """Return `value` as double-doubles; a float64 is one exactly."""
    return value if isinstance(value, DoubleDouble) else DoubleDouble(value)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return `a + b` rounded, and its error, exactly."""
    total = a + b
    b_in_total = total - a
    a_in_total = total - b_in_total
    return total, (a - a_in_total) + (b - b_in_total)


def fast_two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return `a + b` rounded, and its error, exactly if `|a| >= |b|`: then all of a arrives in the total."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return `a * b` rounded, and its error, exactly."""
    product = a * b
    a_hi, a_lo = split(a)
    b_hi, b_lo = split(b)
    return product, ((a_hi * b_hi - product) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


def split(a: Array) -> tuple[Array, Array]:
    """Return the upper and the lower half of the bits of `a`.

    The last bit of `shifted` is worth `2**27` times the last bit of a. So `shifted - (shifted - a)` is a, rounded to
    its upper 26 bits. The lower half needs 26 bits more, because its sign stands for the 53rd.
    """
    shifted = SPLIT * a
    upper = shifted - (shifted - a)
    return upper, a - upper


def sqrt(a: Numbers) -> Numbers:
    """Return the square root of float64s or of double-doubles that are not negative.

    One step of Newton's method, from the root r of the high part, doubles the digits: `r + (a - r**2) / (2 * r)`.
    """
    if not isinstance(a, DoubleDouble):
        return np.sqrt(a)
    root = np.sqrt(a.hi)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = (a - DoubleDouble(*two_product(root, root))).hi / (2 * root)
    return DoubleDouble(*fast_two_sum(root, np.where(root > 0, correction, 0.0)))


def matmul(a: DoubleDouble, b: Operand) -> DoubleDouble:
    """Return the matrix product `(n, m) @ (m, k)`, column by column of `b` to save memory."""
    b = as_doubledouble(b)
    product = DoubleDouble(np.zeros((a.shape[0], b.shape[1])))
    for j in range(b.shape[1]):
        product[:, j] = (a * b.T[j][None]).sum(-1)
    return product


def concatenate(parts: Sequence[DoubleDouble | Array], axis: int = 0) -> DoubleDouble | Array:
    """Return arrays one after the other: double-doubles if one of them is, else float64."""
    if not any(isinstance(part, DoubleDouble) for part in parts):
        return np.concatenate(parts, axis)  # type: ignore[arg-type]
    pairs = [as_doubledouble(part) for part in parts]
    return DoubleDouble(np.concatenate([p.hi for p in pairs], axis), np.concatenate([p.lo for p in pairs], axis))
