"""Products by slices have more digits than float64, whatever the numbers."""

import numpy as np
import pytest
from rational import fractions

from keras_linreg.linalg.double_double import DoubleDouble
from keras_linreg.linalg.slices import SlicedRows, cross_products, cut

RNG = np.random.default_rng(6)
NORMAL = RNG.normal(size=(300, 7))
ROWS = {
    "normal": (NORMAL, 0.0),
    "far from zero": (1e6 + NORMAL, 1e6),
    "a shift that float64 cannot take exactly": (NORMAL, 0.3),
    "heavy tails": (RNG.standard_cauchy((300, 7)), 0.0),
    "scales": (NORMAL * 10.0 ** np.arange(-9, 12, 3), 0.0),
    "integers": (np.round(100 * NORMAL), 0.0),
    "zeros": (np.zeros((300, 7)), 0.0),
    "float32": (NORMAL.astype("float32"), 0.0),
}
BITS = 70


def value(numbers):
    return fractions(numbers.hi) + fractions(numbers.lo)


@pytest.mark.parametrize("kind", ROWS)
def test_products_of_rows_have_70_bits_of_their_terms(kind):
    x, shift = ROWS[kind]
    kernel = RNG.normal(size=(7, 2)) * 10.0 ** RNG.integers(-4, 5, (7, 1))
    values = DoubleDouble(RNG.normal(size=(300, 2)), 1e-17 * RNG.normal(size=(300, 2)))
    rows, exact = SlicedRows(x, np.full(7, shift)), fractions(x) - fractions(shift)
    largest = abs(exact).max(axis=0)
    error = abs(value(rows.times(kernel)) - exact @ fractions(kernel))
    assert (error * 2**BITS <= largest @ abs(fractions(kernel))).all()
    products, sums = rows.products_by(values)
    error = abs(value(products) - exact.T @ value(values))
    assert (error * 2**BITS <= 300 * largest[:, None] * abs(value(values)).max()).all()
    assert (abs(value(sums) - value(values).sum(axis=0)) * 2**BITS <= 300 * abs(value(values)).max()).all()
    assert (abs(value(rows.sum()) - exact.sum(axis=0)) * 2**BITS <= 300 * largest).all()


@pytest.mark.parametrize(
    ("kind", "rows"), [*((kind, rows) for kind in ROWS for rows in (1, 300)), ("heavy tails", 3000), ("scales", 3000)]
)
def test_cross_products_have_100_bits(kind, rows):
    x = np.resize(np.asarray(ROWS[kind][0], np.float64), (rows, 7))
    x = x / np.maximum(np.abs(x).max(axis=0), 1e-300)
    columns = DoubleDouble(x, 2.0**-54 * RNG.uniform(-1, 1, x.shape) * np.abs(x))
    products, sums = cross_products(columns)
    some = slice(0, 3)
    exact = value(columns)[:, some]
    assert (abs(value(products)[some, some] - exact.T @ exact) * 2**100 <= rows).all()
    assert (abs(value(sums)[some] - exact.sum(axis=0)) * 2**100 <= rows).all()


@pytest.mark.parametrize("bits", [11, 21, 26])
def test_slices_add_up_to_the_number_and_the_upper_ones_are_short(bits):
    slices = cut(NORMAL, np.abs(NORMAL).max(axis=0), bits, 3)
    np.testing.assert_array_equal(actual=fractions(sum(fractions(part) for part in slices)), desired=fractions(NORMAL))
    for part in slices[:2]:
        mantissas = np.abs(np.frexp(part)[0]) * 2.0**bits
        assert (mantissas == np.round(mantissas)).all()
