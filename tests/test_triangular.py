"""Triangular factors: of float64 and of double-doubles, whatever the shape and the scale."""

import numpy as np
import pytest
from rational import cross_products, fractions, solve

from keras_linreg.linalg import condition, triangular
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
ARITHMETICS = {"float64": np.asarray, "double-double": DoubleDouble}
BOTH_ARITHMETICS = pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS)


def value(array):
    """The exact values, as fractions."""
    return fractions(array.hi) + fractions(array.lo) if isinstance(array, DoubleDouble) else fractions(array)


def as_float(array):
    return value(array).astype(float)


def check_digits(actual, desired, scale, digits):
    """The error is below so many digits of the scale; all in fractions."""
    error = abs(actual - desired) * 10**digits
    assert (error <= scale).all(), float((error / np.where(scale == 0, 1, scale)).max())


@pytest.mark.parametrize(("arithmetic", "digits"), [(np.asarray, 14), (DoubleDouble, 28)], ids=ARITHMETICS)
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_the_factor_has_the_cross_products_of_its_rows(rows, arithmetic, digits):
    r = triangular.triangularise(arithmetic(rows))
    assert r.shape == (rows.shape[1],) * 2
    r = value(r)
    assert (np.tril(r, -1) == 0).all()
    norms = fractions(np.abs(rows).max(axis=0) * len(rows) ** 0.5)
    check_digits(actual=r.T @ r, desired=cross_products(rows), scale=np.outer(norms, norms), digits=digits)


@BOTH_ARITHMETICS
def test_gram_schmidt_drops_columns_that_depend_on_those_before_them(arithmetic):
    columns = np.stack([TALL[:, 0], TALL[:, 1], TALL[:, 0] - 2 * TALL[:, 1], TALL[:, 2], np.zeros(20), TALL[:, 3]])
    r, kept, directions = triangular.gram_schmidt(arithmetic(columns), tolerance=1e-10, candidates=5)
    assert kept.tolist() == [True, True, False, True, False, True]
    r, directions = as_float(r), as_float(directions)
    np.testing.assert_allclose(actual=r.T @ r, desired=columns @ columns.T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        actual=directions @ directions.T, desired=np.diag(kept.astype(float)), rtol=0, atol=1e-13
    )
    assert not r[2].any()


def test_only_candidates_are_dropped():
    columns = np.stack([TALL[:, 0], TALL[:, 1], 1e-12 * TALL[:, 2] + TALL[:, 0]])
    assert triangular.gram_schmidt(columns, tolerance=1e-10, candidates=2)[1].all()
    assert triangular.gram_schmidt(columns, tolerance=1e-10, candidates=3)[1].tolist() == [True, True, False]
    assert triangular.gram_schmidt(columns)[1].all()


@pytest.mark.parametrize(("arithmetic", "digits"), [(np.asarray, 13), (DoubleDouble, 27)], ids=ARITHMETICS)
def test_back_substitution_solves(arithmetic, digits):
    upper = np.triu(RNG.normal(size=(6, 6))) + 3 * np.eye(6)
    right = RNG.normal(size=(6, 2))
    solution = value(triangular.back_substitute(arithmetic(upper), arithmetic(right)))
    expected = solve(fractions(upper), fractions(right))
    check_digits(actual=solution, desired=expected, scale=abs(expected).max(), digits=digits)


def test_back_substitution_solves_with_the_transposed_factor_too():
    upper = np.triu(RNG.normal(size=(6, 6))) + 3 * np.eye(6)
    right = RNG.normal(size=(6, 2))
    solution = triangular.back_substitute(upper, right, transposed=True)
    np.testing.assert_allclose(actual=upper.T @ solution, desired=right, rtol=1e-12)


@BOTH_ARITHMETICS
@pytest.mark.parametrize("shape", [(3, 5), (1, 4), (4, 4), (0, 3)], ids=str)
def test_the_solution_of_smallest_norm_is_the_pseudo_inverses(arithmetic, shape):
    matrix, right = RNG.normal(size=shape), RNG.normal(size=(shape[0], 2))
    solution = as_float(triangular.min_norm_solution(arithmetic(matrix), arithmetic(right)))
    np.testing.assert_allclose(actual=solution, desired=np.linalg.pinv(matrix) @ right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gap", [1.0, 0.3, 0.1, 0.02, 1e-6, 0.0])
@pytest.mark.parametrize("columns", [5, 320])
def test_a_column_above_the_limit_of_inflation_is_found_among_few_and_among_many(columns, gap):
    x = RNG.normal(size=(2000, columns)) * 10.0 ** RNG.uniform(-50, 50, columns)
    x[:, 3] = x[:, 1] * (1 + gap * RNG.normal(size=2000))
    factor = triangular.triangularise(np.column_stack([x, RNG.normal(size=2000)]))
    largest = condition.inflation_factors(factor[:columns, :columns]).max()
    for limit in (2.0, 10.0, 100.0, 1e4):
        assert condition.is_inflated(factor, limit, columns) == (not largest <= limit)


def test_inflation_factors_are_the_diagonal_of_the_inverse_correlations():
    design = RNG.normal(size=(30, 4)) @ (np.eye(4) + 0.8) * [1.0, 1e5, 1e-5, 1.0]
    unit = design / np.linalg.norm(design, axis=0)
    inflation = condition.inflation_factors(triangular.triangularise(design))
    np.testing.assert_allclose(actual=inflation, desired=np.diag(np.linalg.inv(unit.T @ unit)), rtol=1e-9)


def test_the_inflation_factors_of_a_singular_factor_are_infinite():
    assert np.isinf(condition.inflation_factors(np.array([[1.0, 1.0], [0.0, 0.0]]))).all()


@pytest.mark.parametrize("scale", [1.0, 1e-120, 1e120])
def test_the_scaled_condition_number_is_that_of_columns_of_norm_one(scale):
    design = RNG.normal(size=(30, 4)) @ (np.eye(4) + 0.8)
    r = triangular.triangularise(design * [1.0, scale, 1.0, 1.0])
    expected = np.linalg.cond(design / np.linalg.norm(design, axis=0))
    assert condition.scaled_condition_number(r) == pytest.approx(expected, rel=1e-10)


def test_the_condition_number_of_no_columns_is_one_and_of_equal_ones_infinite():
    assert condition.scaled_condition_number(np.zeros((0, 0))) == 1.0
    assert condition.scaled_condition_number(np.array([[1.0, 1.0], [0.0, 0.0]])) > 1e15


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200])
def test_norms_neither_overflow_nor_vanish(scale):
    expected = scale * np.linalg.norm(TALL, axis=0)
    np.testing.assert_allclose(actual=triangular.column_norms(scale * TALL), desired=expected, rtol=1e-15)


@BOTH_ARITHMETICS
def test_stacked_factors_are_the_factor_of_all_rows(arithmetic):
    upper, lower, whole = (triangular.triangularise(arithmetic(rows)) for rows in (TALL[:12], TALL[12:], TALL))
    actual, desired = as_float(triangular.stacked(upper, lower)), as_float(whole)
    np.testing.assert_allclose(actual=actual.T @ actual, desired=desired.T @ desired, rtol=1e-13, atol=1e-13)


def test_a_column_of_zeros_takes_nothing_from_those_after_it():
    rows = np.random.default_rng(2).normal(size=(9, 4))
    rows[:, 1] = 0.0
    r = triangular.triangularise(rows)
    np.testing.assert_array_equal(actual=r[1], desired=0.0)
    np.testing.assert_allclose(actual=r.T @ r, desired=rows.T @ rows, atol=1e-13)
