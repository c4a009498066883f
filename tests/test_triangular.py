"""Triangular factors: of float64 and of double-doubles, whatever the shape and the scale."""

import numpy as np
import pytest
from exact import cross_products, fractions, solve

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import DoubleDouble

RNG = np.random.default_rng(5)
TALL, WIDE = RNG.normal(size=(20, 4)), RNG.normal(size=(3, 5))
GRADED = RNG.normal(size=(20, 4)) * [1e-200, 1.0, 1e150, 1e-9]
ROWS = {
    "tall": TALL,
    "wide": WIDE,
    "one column": TALL[:, :1],
    "columns of very different scales": GRADED,
    "rows of very different scales": TALL * 10.0 ** RNG.uniform(-6, 6, (20, 1)),
    "a zero column": TALL * [1.0, 0.0, 1.0, 1.0],
    "nearly dependent": TALL @ np.diag([1, 1, 1e-7, 1]) @ np.ones((4, 4)) + 1e-6 * TALL,
}
KINDS = {"float64": np.asarray, "double-double": DoubleDouble}


def value(array):
    return fractions(array.hi) + fractions(array.lo) if isinstance(array, DoubleDouble) else fractions(array)


def near(found, expected, scale, digits):
    worst = abs(found - expected) * 10**digits
    assert (worst <= scale).all(), float((worst / np.where(scale == 0, 1, scale)).max())


@pytest.mark.parametrize(("kind", "digits"), [("float64", 14), ("double-double", 28)])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_the_factor_has_the_cross_products_of_its_rows(rows, kind, digits):
    r = triangular.triangularise(KINDS[kind](rows))
    assert r.shape == (rows.shape[1],) * 2
    r = value(r)
    assert (np.tril(r, -1) == 0).all()
    gram = cross_products(rows)
    sizes = fractions(np.abs(rows).max(axis=0) * len(rows) ** 0.5)
    near(r.T @ r, gram, np.outer(sizes, sizes), digits)


@pytest.mark.parametrize("kind", KINDS)
def test_gram_schmidt_tells_the_columns_that_depend_on_those_before_them(kind):
    columns = np.stack([TALL[:, 0], TALL[:, 1], TALL[:, 0] - 2 * TALL[:, 1], TALL[:, 2], np.zeros(20), TALL[:, 3]])
    r, kept, directions = triangular.gram_schmidt(KINDS[kind](columns), 1e-10, 5)
    assert kept.tolist() == [True, True, False, True, False, True]
    r, directions = value(r).astype(float), value(directions).astype(float)
    np.testing.assert_allclose(r.T @ r, columns @ columns.T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(directions @ directions.T, np.diag(kept.astype(float)), rtol=0, atol=1e-13)
    assert not r[2].any()


def test_only_candidates_are_passed_over():
    columns = np.stack([TALL[:, 0], TALL[:, 1], 1e-12 * TALL[:, 2] + TALL[:, 0]])
    assert triangular.gram_schmidt(columns, 1e-10, 2)[1].all()
    assert triangular.gram_schmidt(columns, 1e-10, 3)[1].tolist() == [True, True, False]
    assert triangular.gram_schmidt(columns)[1].all()


@pytest.mark.parametrize(("kind", "digits"), [("float64", 13), ("double-double", 27)])
def test_back_substitution_solves(kind, digits):
    upper = np.triu(RNG.normal(size=(6, 6))) + 3 * np.eye(6)
    right = RNG.normal(size=(6, 2))
    found = value(triangular.back_substitute(KINDS[kind](upper), KINDS[kind](right)))
    expected = solve(fractions(upper), fractions(right))
    near(found, expected, abs(expected).max(), digits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 5), (1, 4), (4, 4), (0, 3)], ids=str)
def test_the_smallest_solution_is_the_pseudo_inverse(kind, shape):
    matrix, right = RNG.normal(size=shape), RNG.normal(size=(shape[0], 2))
    found = value(triangular.smallest(KINDS[kind](matrix), KINDS[kind](right))).astype(float)
    np.testing.assert_allclose(found, np.linalg.pinv(matrix) @ right, rtol=0, atol=1e-12)


def test_inverse_norms_are_the_roots_of_variance_inflation_factors():
    design = RNG.normal(size=(30, 4)) @ (np.eye(4) + 0.8) * [1.0, 1e5, 1e-5, 1.0]
    unit = design / np.linalg.norm(design, axis=0)
    expected = np.diag(np.linalg.inv(unit.T @ unit))
    found = triangular.inverse_norms(triangular.triangularise(design)) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_inverse_norms_of_a_singular_factor_are_infinite():
    assert np.isinf(triangular.inverse_norms(np.array([[1.0, 1.0], [0.0, 0.0]]))).all()


@pytest.mark.parametrize("scale", [1.0, 1e-120, 1e120])
def test_the_condition_number_is_that_of_columns_of_norm_one(scale):
    design = RNG.normal(size=(30, 4)) @ (np.eye(4) + 0.8)
    r = triangular.triangularise(design * [1.0, scale, 1.0, 1.0])
    expected = np.linalg.cond(design / np.linalg.norm(design, axis=0))
    assert triangular.condition_number(r) == pytest.approx(expected, rel=1e-10)


def test_the_condition_number_of_no_columns_is_one_and_of_equal_ones_infinite():
    assert triangular.condition_number(np.zeros((0, 0))) == 1.0
    assert triangular.condition_number(np.array([[1.0, 1.0], [0.0, 0.0]])) > 1e15


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200])
def test_norms_neither_overflow_nor_vanish(scale):
    expected = scale * np.linalg.norm(TALL, axis=0)
    np.testing.assert_allclose(triangular.column_norms(scale * TALL), expected, rtol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_factors_are_the_factor_of_all_rows(kind):
    wrap = KINDS[kind]
    found = value(
        triangular.stacked(triangular.triangularise(wrap(TALL[:12])), triangular.triangularise(wrap(TALL[12:])))
    )
    expected = value(triangular.triangularise(wrap(TALL)))
    found, expected = found.astype(float), expected.astype(float)
    np.testing.assert_allclose(found.T @ found, expected.T @ expected, rtol=1e-13, atol=1e-13)


def test_a_column_of_zeros_takes_nothing_from_those_after_it():
    rows = np.random.default_rng(2).normal(size=(9, 4))
    rows[:, 1] = 0.0
    r = triangular.triangularise(rows)
    np.testing.assert_array_equal(r[1], 0.0)
    np.testing.assert_allclose(r.T @ r, rows.T @ rows, atol=1e-13)
