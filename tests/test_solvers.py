"""Coefficients against rational arithmetic: 13 digits wherever float64 data have an answer, and honest claims."""

import functools

import numpy as np
import pytest
import sklearn.linear_model
import statsmodels.datasets
from exact import digits, independent, least_squares, norm_digits, smallest

import keras_linreg as klr
from keras_linreg.solvers import Solution


def random_problem(seed, n, p, outputs=1, noise=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, x @ rng.normal(size=(p, outputs)) + noise * rng.normal(size=(n, outputs))


def twins(seed, gap, noise=1.0):
    x, y = random_problem(seed, 40, 3, noise=noise)
    x[:, 1] = x[:, 0] + gap * x[:, 1]
    return x, y


def monomials(seed, degree, n=40, outputs=1):
    t = np.linspace(0.1, 1, n)[:, None]
    return t ** np.arange(1, degree + 1), random_problem(seed, n, 1, outputs)[1] + np.sin(5 * t)


def hilbert(seed, p, n=30):
    return 1 / (np.arange(n)[:, None] + np.arange(1.0, p + 1)), random_problem(seed, n, 1)[1]


def offsets(seed, n=40):
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [np.arange(1980.0, 1980 + n), 1e9 + rng.normal(size=n), 1e-9 * rng.normal(size=n), 1e-9 * (5 + rng.random(n))]
    )
    return x, x @ [[2.0], [-1.0], [3e9], [1e9]] + rng.normal(size=(n, 1))


def weights(seed, n, decades=12):
    return 10.0 ** np.random.default_rng(seed + 1000).uniform(-decades / 2, decades / 2, n)


PROBLEMS = {
    **{f"{n} rows of {p}": random_problem(p, n, p) for n, p in ((8, 1), (8, 6), (25, 4), (60, 9))},
    "three outputs": random_problem(1, 30, 4, 3),
    "outputs of different sizes": (random_problem(2, 30, 4, 3)[0], random_problem(2, 30, 4, 3)[1] * [1e-9, 1.0, 1e9]),
    "an exact fit": random_problem(3, 20, 3, noise=0.0),
    **{f"twins {gap:.0e} apart": twins(4, gap) for gap in (1e-3, 1e-6, 1e-8, 1e-9)},
    "twins 1e-09 apart, an exact fit": twins(5, 1e-9, noise=0.0),
    **{f"monomials to degree {d}": monomials(6, d) for d in (3, 6, 8)},
    "monomials, two outputs": monomials(7, 6, outputs=2),
    **{f"hilbert {p}": hilbert(8, p) for p in (6, 7)},
    "years, 1e9 and nanometres": offsets(9),
}
BOTH_BIASES = pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no bias"])
ALL_PROBLEMS = pytest.mark.parametrize("name", PROBLEMS)
ALL_WEIGHTS = pytest.mark.parametrize("decades", [None, 12], ids=["unweighted", "weights over 12 decades"])


def solved(x, y, w=None, shards=1, use_bias=True, **kwargs) -> Solution:
    parts = [
        klr.Moments.from_data(x[i::shards], y[i::shards], None if w is None else w[i::shards]) for i in range(shards)
    ]
    return sum(parts).solve(use_bias=use_bias, warn=False, **kwargs)


@functools.cache
def problem(name, decades, use_bias, l2=0.0):
    x, y = PROBLEMS[name]
    w = weights(len(x), len(x), decades) if decades else None
    return x, y, w, least_squares(x, y, w, use_bias, l2)


def check(solution, expected, least, rss=True):
    assert digits(solution.kernel, expected.kernel) >= least
    if expected.bias is not None:
        assert digits(solution.bias, expected.bias) >= least
    if rss and all(float(r) > 1e-25 for r in expected.rss):
        assert digits(solution.rss, expected.rss) >= least


def lstsq(x, y, w, use_bias):
    root = np.ones(len(x)) if w is None else np.sqrt(w)
    design = np.concatenate([x, np.ones((len(x), int(use_bias)))], axis=1) * root[:, None]
    return np.linalg.lstsq(design, y * root[:, None], rcond=1e-20)[0][: x.shape[1]]


@BOTH_BIASES
@ALL_WEIGHTS
@ALL_PROBLEMS
def test_small_data_are_solved_to_13_digits_of_every_coefficient_in_shards_too(name, decades, use_bias):
    x, y, w, expected = problem(name, decades, use_bias)
    for shards in (1, 3):
        solution = solved(x, y, w, shards, use_bias)
        assert solution.kept.all()
        check(solution, expected, 13)


@BOTH_BIASES
@ALL_PROBLEMS
@pytest.mark.parametrize("l2", [1e-3, 1e12])
def test_a_penalised_solution_has_13_digits(name, l2, use_bias):
    x, y, _, expected = problem(name, None, use_bias, l2)
    check(solved(x, y, shards=2, use_bias=use_bias, l2=l2), expected, 13)


def test_a_penalised_weighted_solution_has_13_digits_whatever_the_rank():
    x, y = random_problem(1, 12, 3)
    x = np.column_stack([x, x[:, 0], np.ones(12), np.zeros(12)])
    w = weights(1, 12)
    solution = solved(x, y, w, l2=0.1)
    check(solution, least_squares(x, y, w, True, 0.1), 13)
    assert solution.kept.all()


@BOTH_BIASES
@ALL_WEIGHTS
def test_float64_alone_is_no_worse_than_lapacks_least_squares(only_float64, decades, use_bias):
    differences = []
    for name in PROBLEMS:
        x, y, w, expected = problem(name, decades, use_bias)
        scores = []
        for seed in range(5):  # one order of the rows is one draw of the rounding errors
            rows = np.random.default_rng(seed).permutation(len(x))
            parts = x[rows], y[rows], None if w is None else w[rows]
            kernels = [lstsq(*parts, use_bias), *(solved(*parts, shards, use_bias).kernel for shards in (1, 2))]
            scores.append([norm_digits(kernel, expected.kernel, x, w, use_bias) for kernel in kernels])
        theirs, *ours = np.minimum(np.median(scores, axis=0), 13)  # more are not promised of one look at float64
        differences.append(np.subtract(ours, theirs))
    # A single problem may go either way: LAPACK's own score varies by two digits with the order of the rows.
    assert np.mean(differences, axis=0).min() >= -0.25
    assert np.min(differences) >= -2.5


@BOTH_BIASES
@ALL_WEIGHTS
@ALL_PROBLEMS
@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
def test_no_more_digits_are_promised_than_there_are(request, arithmetic, name, decades, use_bias):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    x, y, w, expected = problem(name, decades, use_bias)
    solution = solved(x, y, w, 1, use_bias)
    assert 0 <= solution.digits <= 15
    there = norm_digits(solution.kernel, expected.kernel, x, w, use_bias)
    assert solution.digits <= there + 1


@pytest.mark.parametrize("l2", [1e-12, 1e-6, 1.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("name", ["25 rows of 4", "twins 1e-06 apart", "monomials to degree 6", "hilbert 6"])
def test_no_more_digits_of_a_penalised_solution_are_promised_than_there_are(only_float64, name, l2):
    x, y, _, expected = problem(name, None, True, l2)
    solution = solved(x, y, l2=l2)
    there = norm_digits(solution.kernel, expected.kernel, x)
    assert solution.digits <= there + 1


@pytest.mark.parametrize("exponent", [-900, -300, 300, 400])
@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
def test_the_unit_of_y_changes_neither_digits_nor_coefficients(request, arithmetic, exponent):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    x, y = monomials(1, 5)
    expected, found = solved(x, y), solved(x, np.ldexp(y, exponent))
    np.testing.assert_allclose(np.ldexp(found.kernel, -exponent), expected.kernel, rtol=1e-14)
    assert found.digits == pytest.approx(expected.digits, abs=0.1)


# Ranks


def one_hot(n, levels):
    return np.eye(levels)[np.arange(n) % levels]


def singular(kind, seed=3, n=24):
    x, y = random_problem(seed, n, 3, 2)
    x = np.round(x * 16) / 16  # sums of columns are exact
    extra = {
        "a column twice": [x[:, 0]],
        "a sum of columns": [x[:, 0] + x[:, 1] - 2 * x[:, 2], x[:, 0] - x[:, 1]],
        "a constant column": [np.full(n, 0.1)],
        "a zero column": [np.zeros(n)],
        "all levels, one hot": [*one_hot(n, 4).T],
        "two factors, all levels": [*one_hot(n, 3).T, *one_hot(n, 4)[np.argsort(x[:, 0])].T],
        "multiples of very different sizes": [2.0**40 * x[:, 0], 2.0**-40 * x[:, 0]],
    }[kind]
    return np.column_stack([*extra[:1], x, *extra[1:]]), y


SINGULAR = pytest.mark.parametrize(
    "kind",
    [
        "a column twice",
        "a sum of columns",
        "a constant column",
        "a zero column",
        "all levels, one hot",
        "two factors, all levels",
        "multiples of very different sizes",
    ],
)


@SINGULAR
@BOTH_BIASES
@ALL_WEIGHTS
@pytest.mark.parametrize("shards", [1, 2], ids=["at once", "in two shards"])
@pytest.mark.parametrize(("arithmetic", "least"), [("double-double", 13), ("float64", 9)])
def test_dropped_columns_are_those_that_depend_on_earlier_ones(
    request, arithmetic, least, kind, use_bias, decades, shards
):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    x, y = singular(kind)
    w = weights(7, len(x), decades) if decades else None
    kept = independent(x, w, use_bias)
    solution = solved(x, y, w, shards, use_bias)
    assert solution.kept.tolist() == kept.tolist()
    assert solution.rank == kept.sum() + use_bias
    assert not solution.kernel[~kept].any()
    expected = least_squares(x[:, kept], y, w, use_bias)
    assert digits(solution.kernel[kept], expected.kernel) >= least
    assert digits(solution.rss, expected.rss) >= least


@SINGULAR
@BOTH_BIASES
@ALL_WEIGHTS
@pytest.mark.parametrize(("arithmetic", "least"), [("double-double", 13), ("float64", 8)])
def test_the_minimum_norm_solution_is_the_shortest(request, arithmetic, least, kind, use_bias, decades):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    x, y = singular(kind)
    w = weights(7, len(x), decades) if decades else None
    solution = solved(x, y, w, 1, use_bias, dependent="min_norm")
    expected = smallest(x, y, w, use_bias)
    size = abs(expected.kernel).max(axis=0)
    error = abs(solution.kernel - expected.kernel.astype(float)) / size.astype(float)
    assert error.max() <= 10.0**-least
    assert digits(solution.rss, expected.rss) >= least
    if use_bias:
        np.testing.assert_allclose(solution.bias, expected.bias.astype(float), rtol=10.0**-least)


@SINGULAR
def test_both_rules_predict_the_same(kind):
    x, y = singular(kind)
    drop, shortest = solved(x, y), solved(x, y, dependent="min_norm")
    fitted = x @ drop.kernel + drop.bias
    np.testing.assert_allclose(x @ shortest.kernel + shortest.bias, fitted, rtol=0, atol=1e-11)
    assert (np.linalg.norm(shortest.kernel, axis=0) <= np.linalg.norm(drop.kernel, axis=0) + 1e-12).all()


@BOTH_BIASES
@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
def test_fewer_rows_than_columns_have_a_shortest_solution(request, arithmetic, use_bias):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    x, y = random_problem(2, 4, 7)
    solution = solved(x, y, use_bias=use_bias, dependent="min_norm")
    expected = smallest(x, y, None, use_bias)
    np.testing.assert_allclose(solution.kernel, expected.kernel.astype(float), rtol=1e-11)
    np.testing.assert_allclose(solution.rss, 0, atol=1e-26)


@pytest.mark.parametrize("arithmetic", ["double-double", "float64"])
@pytest.mark.parametrize("dependent", ["drop", "min_norm"])
@pytest.mark.parametrize("x", [np.zeros((9, 2)), np.full((9, 2), 0.1)], ids=["zeros", "0.1"])
def test_columns_that_are_all_constant_leave_the_mean(request, arithmetic, dependent, x):
    if arithmetic == "float64":
        request.getfixturevalue("only_float64")
    y = np.arange(9.0)
    solution = solved(x, y, dependent=dependent)
    assert not solution.kernel.any()
    assert solution.rank == 1
    np.testing.assert_allclose(solution.bias, 4.0, rtol=1e-15)
    np.testing.assert_allclose(solution.rss, 60.0, rtol=1e-15)


@pytest.mark.parametrize(("dtype", "gap", "kept"), [("float64", 1e-8, True), ("float32", 1e-4, True)])
def test_columns_that_differ_by_more_than_their_rounding_are_kept(dtype, gap, kept):
    x, y = twins(1, gap)
    assert solved(x.astype(dtype), y).kept.all() == kept


@pytest.mark.parametrize(("dtype", "gap"), [("float64", 1e-12), ("float32", 1e-7), ("float16", 1e-3)])
def test_columns_that_differ_by_their_rounding_depend(dtype, gap):
    x, y = twins(1, gap)
    assert solved(x.astype(dtype), y).kept.tolist() == [True, False, True]


# Certified data sets

T = np.arange(21.0)
DELTA = [759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048, 2048, -2048]
DELTA = np.array([*DELTA[:11], *DELTA[9::-1]], float)
POWERS = T[:, None] ** np.arange(1, 6)
W1 = 1 + POWERS.sum(axis=1)
W2 = 1 + POWERS @ 0.1 ** np.arange(1, 6)


@pytest.mark.parametrize(
    "y",
    [W1, W2, W1 + DELTA, W1 + 100 * DELTA, W1 + 10000 * DELTA],
    ids=["Wampler1", "Wampler2", "Wampler3", "Wampler4", "Wampler5"],
)
def test_wampler(y):
    solution = solved(POWERS, y)
    expected = least_squares(POWERS, y)
    check(solution, expected, 14)
    if y is not W2:
        assert solution.kernel[:, 0].tolist() == [1.0] * 5
        assert solution.bias.tolist() == [1.0]


def test_wamplers_deltas_are_orthogonal_to_the_powers():
    assert len(DELTA) == 21
    assert not (POWERS.T @ DELTA).any()
    assert DELTA.sum() == 0


def test_noint1():
    x, y = np.arange(60.0, 71), np.arange(130.0, 141)
    solution = solved(x, y, use_bias=False)
    check(solution, least_squares(x, y, use_bias=False), 14)
    assert solution.bias is None
    np.testing.assert_allclose(solution.kernel, [[2.07438016528926]], rtol=1e-14)  # NIST
    np.testing.assert_allclose(solution.rss, 127.272727272727, rtol=1e-14)


def test_longley():
    data = statsmodels.datasets.longley.load_pandas()
    x, y = data.exog.to_numpy(float), data.endog.to_numpy(float)
    solution = solved(x, y)
    check(solution, least_squares(x, y), 14)
    np.testing.assert_allclose(solution.bias, -3482258.63459582, rtol=1e-14)  # NIST
    np.testing.assert_allclose(solution.rss, 836424.055505915, rtol=1e-14)


# What a solution tells


def test_the_training_loss_averages_over_all_rows_and_outputs():
    x, y = random_problem(4, 20, 3, 2)
    w = np.r_[np.zeros(5), np.ones(10), np.full(5, 2.0)]
    solution = solved(x, y, w)
    residuals = y - x @ solution.kernel - solution.bias
    np.testing.assert_allclose(solution.rss, (w[:, None] * residuals**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(solution.mean_squared_error, (w[:, None] * residuals**2).mean(), rtol=1e-12)
    assert (solution.nobs, solution.rows) == (15, 20)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("l2", [1e-4, 0.1, 10.0])
def test_a_penalty_is_scikit_learns_alpha_over_rows_and_outputs(l2, outputs):
    x, y = random_problem(4, 30, 4, outputs)
    w = weights(1, 30, 2)
    ridge = sklearn.linear_model.Ridge(alpha=30 * outputs * l2).fit(x, y, sample_weight=w)
    solution = solved(x, y, w, l2=l2)
    np.testing.assert_allclose(solution.kernel, np.reshape(ridge.coef_, (outputs, 4)).T, rtol=1e-10)
    np.testing.assert_allclose(solution.bias, ridge.intercept_, rtol=1e-10)


@BOTH_BIASES
def test_the_condition_number_is_of_unit_columns(use_bias):
    x, y = twins(1, 1e-3)
    design = x - x.mean(axis=0) if use_bias else x
    expected = np.linalg.cond(design / np.linalg.norm(design, axis=0))
    solution = solved(x * [1.0, 1e6, 1e-6], y, use_bias=use_bias)
    assert solution.scaled_condition_number == pytest.approx(expected, rel=1e-9)


def test_dependent_columns_are_named_in_a_warning():
    x, y = random_problem(1, 20, 2)
    moments = klr.Moments.from_data(np.column_stack([x, x[:, 0]]), y, feature_names=["a", "b", "copy"])
    with pytest.warns(UserWarning, match="1 of 3 columns depend on the bias or columns before them: 'copy'; they have"):
        solution = moments.solve()
    assert solution.dependent_names == ("copy",)
    with pytest.warns(UserWarning, match="depend on columns before them: 'copy'; the kernel of smallest norm"):
        moments.solve(dependent="min_norm", use_bias=False)
    assert moments.solve(l2=0.1).dependent_names == ()


def test_more_columns_than_rows_come_with_advice():
    with pytest.warns(UserWarning, match="more coefficients than rows: a penalty, or dependent='min_norm'"):
        klr.Moments.from_data(*random_problem(1, 5, 12)).solve()


def test_few_sure_digits_are_warned_of(only_float64):
    with pytest.warns(UserWarning, match=r"Only about \d digits of the coefficients are sure.*condition number"):
        klr.Moments.from_data(*twins(1, 1e-7)).solve()


@pytest.mark.parametrize("l2", [-1.0, np.nan, np.inf])
def test_a_penalty_that_is_none_is_an_error(l2):
    with pytest.raises(ValueError, match=f"`l2` must be a finite number that is not negative. Received: l2={l2!r}"):
        solved(*random_problem(1, 9, 2), l2=l2)


def test_a_rule_that_there_is_not_is_an_error():
    with pytest.raises(
        ValueError, match="`dependent` must be one of .*'drop', 'min_norm'.* Received: dependent='keep'"
    ):
        solved(*random_problem(1, 9, 2), dependent="keep")


@pytest.mark.parametrize("exponent", [3, 9, 11])
@pytest.mark.filterwarnings("ignore:1 of 6 columns depend", "ignore:Only about . digits")
def test_the_smallest_kernel_in_units_far_apart_claims_no_digits_that_it_lacks(exponent):
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(40, 5))
    x = np.column_stack([columns, columns[:, 0] + columns[:, 1] - columns[:, 3]])
    y = columns.sum(axis=1) + 0.1 * rng.normal(size=40)
    design = np.column_stack([np.ones(40), columns])
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    x = x * 10.0 ** np.linspace(-exponent, exponent - 1, 6)
    solution = klr.Moments.from_data(x, y).solve(dependent="min_norm")
    off = np.abs(x @ solution.kernel[:, 0] + solution.bias - expected).max()
    assert off <= 100 * 10.0**-solution.digits
    assert solution.digits > 12 or exponent > 3
