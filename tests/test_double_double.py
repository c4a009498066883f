"""Double-doubles keep 30 digits, in every operation that the solvers are made of."""

import operator
from fractions import Fraction

import numpy as np
import pytest
from rational import fractions

from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, concatenate, sqrt, two_product, two_sum

RNG = np.random.default_rng(11)
LIMIT = Fraction(1, 2**100)


def value(number):
    return fractions(number.hi) + fractions(number.lo)


def numbers(size=300, decades=6):
    high = RNG.normal(size=size) * 10.0 ** RNG.uniform(-decades, decades, size)
    return DoubleDouble(*two_sum(high, high * 2.0**-54 * RNG.uniform(-1, 1, size)))


def close_to(a, decades):
    """Numbers that cancel `a` to so many digits."""
    return -a * DoubleDouble(1 + 10.0**-decades * RNG.normal(size=a.shape))


OPERANDS = {
    "alike": (numbers(), numbers()),
    "of very different sizes": (numbers(decades=40), numbers(decades=40)),
    "integers": (DoubleDouble(np.arange(1.0, 100)), DoubleDouble(np.arange(100.0, 1, -1))),
    **{f"cancelling {d} digits": (a := numbers(), close_to(a, d)) for d in (3, 9, 15, 20, 28)},
}


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "truediv"])
@pytest.mark.parametrize(("a", "b"), OPERANDS.values(), ids=OPERANDS)
def test_an_operation_has_30_digits(operation, a, b):
    function = getattr(operator, operation)
    actual, expected = value(function(a, b)), function(value(a), value(b))
    scale = abs(value(a)) + abs(value(b)) if operation in ("add", "sub") else abs(expected)
    assert (abs(actual - expected) <= LIMIT * scale).all()


@pytest.mark.parametrize("a", [a for a, _ in OPERANDS.values()], ids=OPERANDS)
def test_a_square_root_has_30_digits(a):
    a = a * a
    root = value(sqrt(a))
    assert (abs(root * root - value(a)) <= 2 * LIMIT * value(a)).all()


def test_the_square_root_of_zero_is_zero_and_of_float64_is_numpys():
    root = sqrt(DoubleDouble(np.array([0.0, 4.0])))
    assert root.hi.tolist() == [0.0, 2.0]
    assert root.lo.tolist() == [0.0, 0.0]
    assert sqrt(np.array([2.0])).tolist() == [np.sqrt(2.0)]


@pytest.mark.parametrize("exponent", [-300, -1, 0, 7, 300])
def test_scaling_by_a_power_of_two_is_exact(exponent):
    a = numbers()
    assert (value(a.scaled(exponent)) == value(a) * Fraction(2) ** exponent).all()


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 64, 101, 1000])
def test_a_sum_of_any_length_has_30_digits_of_its_terms(length):
    a = numbers(2 * length)
    a = DoubleDouble(a.hi.reshape(2, length), a.lo.reshape(2, length))
    for axis, terms in ((-1, a), (1, a), (0, a.T)):
        actual, expected = value(terms.sum(axis)), value(a).sum(axis=1)
        assert actual.shape == (2,)
        assert (abs(actual - expected) <= 10 * LIMIT * abs(value(a)).sum(axis=1)).all()


def test_a_sum_that_cancels_is_exact_where_float64_has_no_digit():
    terms = np.array([1e16, 1.0, -1e16, 1e-3])
    assert float(DoubleDouble(terms).sum().hi) == 1.001
    assert float(np.sum(terms)) != 1.001


def test_the_errors_of_one_sum_and_one_product_are_exact():
    a, b = numbers().hi, numbers().hi
    for (rounded, error), expected in (
        (two_sum(a, b), fractions(a) + fractions(b)),
        (two_product(a, b), fractions(a) * fractions(b)),
    ):
        assert (fractions(rounded) + fractions(error) == expected).all()


def test_an_array_may_stand_on_either_side():
    a, b = numbers(5), np.arange(1.0, 6)
    assert (value(a * b) == value(a * DoubleDouble(b))).all()
    assert (value(-a) == -value(a)).all()
    assert as_doubledouble(a) is a


def test_parts_are_joined_as_double_doubles_where_one_is():
    a, b = numbers(3), np.arange(2.0)
    joined = concatenate([a, b])
    assert (value(joined) == np.concatenate([value(a), fractions(b)])).all()
    assert isinstance(concatenate([b, b]), np.ndarray)


def test_a_copy_does_not_change_with_the_original():
    a = numbers(4)
    copy = a.copy()
    a[1] = 5.0
    assert float(a.hi[1]) == 5.0
    assert float(copy.hi[1]) != 5.0
