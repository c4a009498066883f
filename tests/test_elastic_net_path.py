"""The elastic-net path: every point meets the conditions of the minimum, on easy data and on hard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_linreg.solvers.active_equations import ActiveEquations
from keras_linreg.solvers.active_set import Point, minimum_of_rows
from keras_linreg.solvers.elastic_net import PathProblem, elastic_net_path, elastic_net_paths

LARGEST_GAP = 1e-10


def columns(kind, rows, width, rng):
    x = rng.standard_normal((rows, width))
    if kind == "collinear":
        x = rng.standard_normal((rows, 1)) + 1e-4 * x
    if kind == "duplicate":
        x[:, width // 2 :] = x[:, : width - width // 2]
    if kind == "nearly duplicate":
        x[:, width // 2 :] = x[:, : width - width // 2] + 1e-8 * x[:, width // 2 :]
    if kind == "chained":
        for j in range(1, width):
            x[:, j] = 0.99 * x[:, j - 1] + 0.1 * x[:, j]
    if kind == "powers":
        x = np.linspace(-1, 1, rows)[:, None] ** np.arange(1, width + 1)
    if kind == "constant":
        x[:, 0] = 3.0
    return x


def problem(x, y, with_rows=False, positive=False, l1=None, l2=None):
    x, y = x - x.mean(axis=0), y - y.mean()
    sd = x.std(axis=0)
    x = x / np.where(sd > 0, sd, 1.0)
    rows = np.linalg.qr(np.column_stack([x, y]))[1] / np.sqrt(len(x)) if with_rows else None
    ones = np.ones(x.shape[1])
    parts = x.T @ x / len(x), x.T @ y / len(x), float(y @ y) / len(x)
    return PathProblem(*parts, ones if l1 is None else l1, ones if l2 is None else l2, positive, rows)


def penalties(of, l1_ratio, count=60):
    top = of.largest_alpha(l1_ratio) or 1.0  # with `positive` there may be nothing to find
    return np.geomspace(top, top * 1e-3, count)


KINDS = ["easy", "collinear", "duplicate", "nearly duplicate", "chained", "powers", "constant"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(KINDS),
    st.sampled_from([(8, 12), (40, 6), (30, 40), (200, 15)]),
    st.sampled_from([1.0, 0.7, 0.05]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_each_point_meets_the_conditions_of_the_minimum(kind, shape, l1_ratio, with_rows, positive, seed):
    rng = np.random.default_rng(seed)
    x = columns(kind, *shape, rng)
    y = x @ (rng.standard_normal(shape[1]) * (rng.random(shape[1]) < 0.4)) + 0.1 * rng.standard_normal(shape[0])
    of = problem(x, y, with_rows, positive)
    alphas = penalties(of, l1_ratio)
    weights = elastic_net_path(of, alphas, l1_ratio)
    assert of.kkt_gaps(alphas, l1_ratio, weights).max() <= LARGEST_GAP
    assert not weights[:, 0].any()
    assert not positive or (weights >= 0).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sampled_from(KINDS),
    st.sampled_from([(12, 9), (40, 6), (90, 1), (200, 40), (200, 60)]),
    st.sampled_from([1.0, 0.7, 0.05]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_folds_that_are_solved_together_have_the_paths_of_each_alone(kind, shape, l1_ratio, positive, seed):
    rng = np.random.default_rng(seed)
    is_easy = kind in ("easy", "constant")
    x, factors = columns(kind, *shape, rng), rng.choice([0.0 if is_easy else 0.5, 1.0, 2.0], shape[1])
    factors[-1] = 1.0
    y = x @ rng.standard_normal(shape[1]) + rng.standard_normal(len(x))
    folds = [problem(x[i::3], y[i::3], True, positive, factors, factors) for i in range(3)]
    alphas = penalties(folds[0], l1_ratio)
    together = elastic_net_paths(folds, alphas, l1_ratio, lambda function, some: list(map(function, some)))
    for fold, weights in zip(folds, together, strict=True):
        alone = elastic_net_path(fold, alphas, l1_ratio)
        assert fold.kkt_gaps(alphas, l1_ratio, weights).max() <= LARGEST_GAP
        # The fits are the same; of columns that depend on each other the weights need not be.
        fits = (fold.rows[:, :-1] @ of for of in (weights, alone))
        size = np.sqrt(fold.square)
        np.testing.assert_allclose(*fits, rtol=0, atol=1e-7 * size)
        if is_easy and len(x) > 3 * shape[1]:
            np.testing.assert_allclose(actual=weights, desired=alone, rtol=1e-8, atol=1e-10 * size)


def test_the_gram_condition_at_which_descent_by_coordinates_stalls():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((400, 1)) + 7e-5 * rng.standard_normal((400, 30))
    y = 1e4 * (x @ rng.standard_normal(30)) + rng.standard_normal(400)
    of = problem(x, y)
    assert np.linalg.cond(of.gram) > 4e8
    alphas = penalties(of, 1.0)
    assert of.kkt_gaps(alphas, 1.0, elastic_net_path(of, alphas, 1.0)).max() <= LARGEST_GAP


def test_a_column_without_a_penalty_is_there_at_all_of_them():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((100, 5))
    y = x[:, 0] + 2 * x[:, 3] + rng.standard_normal(100)
    factors = np.array([1.0, 1.0, 0.0, 1.0, 2.0])
    of = problem(x, y, l1=factors, l2=factors)
    alphas = penalties(of, 0.5)
    weights = elastic_net_path(of, alphas, 0.5)
    assert of.kkt_gaps(alphas, 0.5, weights).max() <= LARGEST_GAP
    assert (weights[2] != 0).all()
    assert np.count_nonzero(weights[:, 0]) == 1


def test_the_slow_way_finds_the_minimum_that_the_fast_one_finds():
    rng = np.random.default_rng(2)
    x = columns("chained", 60, 8, rng)
    y = x @ rng.standard_normal(8) + rng.standard_normal(60)
    of = problem(x, y, with_rows=True)
    alphas = penalties(of, 0.8, 12)
    fast = elastic_net_path(of, alphas, 0.8)
    for alpha, expected in zip(alphas, fast.T, strict=True):
        point = Point(alpha * 0.8 * of.l1, alpha * 0.2 * of.l2, False)
        found = minimum_of_rows(of.rows, point, np.zeros(8), 1e-14)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("positive", [False, True])
def test_a_y_that_no_column_explains_has_a_path_of_zeros(positive):
    of = problem(np.random.default_rng(0).standard_normal((20, 3)), np.full(20, 7.0), positive=positive)
    assert of.largest_alpha(1.0) == 0
    assert not elastic_net_path(of, np.array([1e-3, 1e-9]), 1.0).any()


@pytest.mark.parametrize("share", [0.003, 0.01])
def test_weights_of_a_set_do_not_depend_on_the_sets_before_it(share):
    """Sets of many columns are solved by the inverse of the set before, and once more for its rounding errors."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1300, 600)) + 2 * rng.normal(size=(1300, 1))
    gram = x.T @ x / 1300
    equations, is_active, updated = ActiveEquations(gram), rng.random(600) < 0.8, 0
    for _ in range(30):
        found = equations.of_set(np.flatnonzero(is_active))
        updated += found.inverse is not None
        right = rng.normal(size=(len(found.order), 2))
        expected = np.linalg.solve(gram[np.ix_(found.order, found.order)], right)
        np.testing.assert_array_equal(np.sort(found.order), np.flatnonzero(is_active))
        solved = found.solve(right)
        solved += found.solve(right - found.products(gram, solved)[found.order])
        np.testing.assert_allclose(solved, expected, rtol=1e-8, atol=1e-10)
        whole = np.zeros((600, 2))
        whole[found.order] = expected
        np.testing.assert_allclose(found.products(gram, expected), gram @ whole, rtol=1e-9, atol=1e-9)
        is_active = is_active ^ (rng.random(600) < share)
    assert updated > 20


def test_a_column_that_depends_on_a_set_is_noticed_when_it_enters():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(900, 300))
    x[:, -1] = x[:, :7].sum(axis=1)
    equations = ActiveEquations(x.T @ x / 900)
    assert equations.of_set(np.arange(298)) is not None
    assert equations.of_set(np.arange(299)).inverse is not None
    assert equations.of_set(np.arange(300)) is None
    assert equations.of_set(np.arange(1, 300)) is not None
