"""Coefficients against rational arithmetic: 13 digits wherever float64 data have an answer, and honest claims."""

import numpy as np
import pytest
import sklearn.linear_model
import statsmodels.datasets
from cases import quick_and_heavy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rational import digits, independent, least_squares, norm_digits, parameter_digits, smallest

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


HARD = {
    "twins": lambda seed, hardness, k: twins(seed, 10.0 ** -(3 + 2 * hardness)),
    "twins, an exact fit": lambda seed, hardness, k: twins(seed, 10.0 ** -(3 + 2 * hardness), noise=0.0),
    "monomials": lambda seed, hardness, k: monomials(seed, 2 + 2 * hardness, outputs=k),
    "hilbert": lambda seed, hardness, k: hilbert(seed, 4 + hardness),
    "years, 1e9 and nanometres": lambda seed, hardness, k: offsets(seed),
}
BOTH_BIASES = pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no bias"])
# The same examples in each run: a failure here is a failure for everybody.
EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def data_of_full_rank(draw, decades=12):
    """x, y and weights: ordinary, exact and nearly dependent; of several outputs; weighted over 12 decades."""
    kind = draw(st.sampled_from(["ordinary", "an exact fit", "outputs of different sizes", *HARD]))
    seed, outputs, hardness = draw(st.integers(0, 99)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
    if kind in HARD:
        x, y = HARD[kind](seed, hardness, outputs)
    else:
        columns = draw(st.integers(1, 9))
        rows = columns + draw(st.integers(2, 50))
        x, y = random_problem(seed, rows, columns, outputs, noise=float(kind != "an exact fit"))
        if kind == "outputs of different sizes":
            y = y * 10.0 ** np.linspace(-9, 9, outputs)
    return x, y, weights(seed, len(x), decades) if draw(st.booleans()) else None


@st.composite
def singular_data(draw):
    """x whose columns depend on each other exactly, y of two outputs, and weights."""
    x, y = singular(draw(st.sampled_from(KINDS_OF_DEPENDENCE)), seed=draw(st.integers(0, 99)))
    order = draw(st.permutations(range(x.shape[1])))
    return x[:, order], y, weights(7, len(x)) if draw(st.booleans()) else None


def solved(x, y, w=None, shards=1, use_bias=True, **kwargs) -> Solution:
    parts = [
        klr.Moments.from_data(x[i::shards], y[i::shards], None if w is None else w[i::shards]) for i in range(shards)
    ]
    return sum(parts).solve(use_bias=use_bias, warn=False, **kwargs)


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


@EXAMPLES
@given(data=data_of_full_rank(), use_bias=st.booleans())
def test_small_data_are_solved_to_13_digits_of_every_coefficient_in_shards_too(data, use_bias):
    expected = least_squares(*data, use_bias)
    for shards in (1, 3):
        solution = solved(*data, shards, use_bias)
        assert solution.kept.all()
        check(solution, expected, 13)


@EXAMPLES
@given(data=data_of_full_rank(), use_bias=st.booleans(), l2=st.sampled_from([1e-12, 1e-3, 1.0, 1e6, 1e12]))
def test_a_penalised_solution_has_13_digits(data, use_bias, l2):
    check(solved(*data, shards=2, use_bias=use_bias, l2=l2), least_squares(*data, use_bias, l2), 13)


def test_a_penalised_weighted_solution_has_13_digits_whatever_the_rank():
    x, y = random_problem(1, 12, 3)
    x = np.column_stack([x, x[:, 0], np.ones(12), np.zeros(12)])
    w = weights(1, 12)
    solution = solved(x, y, w, l2=0.1)
    check(solution, least_squares(x, y, w, True, 0.1), 13)
    assert solution.kept.all()


@BOTH_BIASES
@pytest.mark.parametrize("is_weighted", quick_and_heavy([False, True], True), ids=["unweighted", "weighted"])
def test_float64_alone_is_no_worse_than_lapacks_least_squares(only_float64, is_weighted, use_bias):
    differences = []
    hard = [make(6, hardness, 1) for make in HARD.values() for hardness in (0, 1, 2)]
    for x, y in [*hard, *(random_problem(p, n, p) for n, p in ((8, 1), (8, 6), (25, 4), (60, 9)))]:
        w = weights(len(x), len(x)) if is_weighted else None
        expected = least_squares(x, y, w, use_bias)
        scores = []
        for seed in range(5):  # one order of the rows is one draw of the rounding errors
            rows = np.random.default_rng(seed).permutation(len(x))
            parts = x[rows], y[rows], None if w is None else w[rows]
            kernels = [lstsq(*parts, use_bias), *(solved(*parts, shards, use_bias).kernel for shards in (1, 2))]
            scores.append([norm_digits(kernel, expected.kernel, x, w, use_bias) for kernel in kernels])
        theirs, *ours = np.minimum(np.median(scores, axis=0), 13)  # one look at float64 promises no more
        differences.append(np.subtract(ours, theirs))
    # A single problem may go either way: LAPACK's own score varies by two digits with the order of the rows.
    assert np.mean(differences, axis=0).min() >= -0.25
    assert np.min(differences) >= -2.5


BOTH_ARITHMETICS = pytest.mark.parametrize("arithmetic", ["double-double", "float64"], indirect=True)


@pytest.fixture
def arithmetic(request):
    if request.param == "float64":
        request.getfixturevalue("only_float64")
    return request.param


L2 = st.sampled_from([0.0, 0.0, 1e-12, 1e-6, 1.0, 1e12])


def check_promise(data, use_bias, l2):
    solution = solved(*data, 1, use_bias, l2=l2)
    assert solution.digits.shape == (data[0].shape[1] + use_bias, data[1].shape[1])
    assert (solution.digits >= 0).all() and (solution.digits <= 15).all()
    assert (solution.digits <= parameter_digits(solution, *data, use_bias, l2) + 0.5).all()


@EXAMPLES
@given(data=data_of_full_rank(), use_bias=st.booleans(), l2=L2)
def test_each_parameter_has_the_digits_that_are_promised(data, use_bias, l2):
    check_promise(data, use_bias, l2)


@EXAMPLES
@given(data=data_of_full_rank(decades=2), use_bias=st.booleans(), l2=L2)
def test_each_parameter_has_the_digits_that_are_promised_in_float64_alone(only_float64, data, use_bias, l2):
    check_promise(data, use_bias, l2)  # of some rows of extreme weights alone float64 would lose more


@BOTH_ARITHMETICS
@EXAMPLES
@given(exponent=st.integers(-900, 400))
def test_the_unit_of_y_changes_neither_digits_nor_coefficients(arithmetic, exponent):
    x, y = monomials(1, 5)
    expected, scaled = solved(x, y), solved(x, np.ldexp(y, exponent))
    np.testing.assert_allclose(actual=np.ldexp(scaled.kernel, -exponent), desired=expected.kernel, rtol=1e-14)
    np.testing.assert_allclose(actual=scaled.digits, desired=expected.digits, rtol=0, atol=0.1)


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


KINDS_OF_DEPENDENCE = [
    "a column twice",
    "a sum of columns",
    "a constant column",
    "a zero column",
    "all levels, one hot",
    "two factors, all levels",
    "multiples of very different sizes",
]
LEAST_DIGITS = {"double-double": 13, "float64": 8}


@BOTH_ARITHMETICS
@EXAMPLES
@given(data=singular_data(), use_bias=st.booleans(), shards=st.integers(1, 3))
def test_dropped_columns_are_those_that_depend_on_earlier_ones(arithmetic, data, use_bias, shards):
    x, y, w = data
    kept = independent(x, w, use_bias)
    solution = solved(*data, shards, use_bias)
    assert solution.kept.tolist() == kept.tolist()
    assert solution.rank == kept.sum() + use_bias
    assert not solution.kernel[~kept].any()
    expected = least_squares(x[:, kept], y, w, use_bias)
    assert norm_digits(solution.kernel[kept], expected.kernel, x[:, kept], w, use_bias) >= LEAST_DIGITS[arithmetic]
    assert digits(solution.rss, expected.rss) >= LEAST_DIGITS[arithmetic]


@BOTH_ARITHMETICS
@EXAMPLES
@given(data=singular_data(), use_bias=st.booleans())
def test_the_minimum_norm_solution_is_the_shortest(arithmetic, data, use_bias):
    solution = solved(*data, 1, use_bias, dependent="min_norm")
    # A kernel of columns in units 2**80 apart has few digits in float64, and promises few.
    least = min(LEAST_DIGITS[arithmetic], solution.fewest_digits - 1)
    expected = smallest(*data, use_bias)
    size = abs(expected.kernel).max(axis=0)
    error = abs(solution.kernel - expected.kernel.astype(float)) / size.astype(float)
    assert error.max() <= 10.0**-least
    assert digits(solution.rss, expected.rss) >= least
    if use_bias:
        np.testing.assert_allclose(actual=solution.bias, desired=expected.bias.astype(float), rtol=0, atol=10.0**-least)


@EXAMPLES
@given(data=singular_data())
def test_both_rules_predict_the_same(data):
    x = data[0]
    drop, shortest = solved(*data), solved(*data, dependent="min_norm")
    fitted = x @ drop.kernel + drop.bias
    reach = np.abs(x) @ (np.abs(shortest.kernel) + np.abs(drop.kernel)) + 1
    tolerance = 10.0 ** (
        2 - min(drop.fewest_digits, shortest.fewest_digits)
    )  # rows of tiny weight hold the kernel loosely
    assert (np.abs(x @ shortest.kernel + shortest.bias - fitted) <= tolerance * reach).all()
    assert (np.linalg.norm(shortest.kernel, axis=0) <= np.linalg.norm(drop.kernel, axis=0) * (1 + 1e-12) + 1e-12).all()


@BOTH_BIASES
@BOTH_ARITHMETICS
def test_fewer_rows_than_columns_have_a_shortest_solution(arithmetic, use_bias):
    x, y = random_problem(2, 4, 7)
    solution = solved(x, y, use_bias=use_bias, dependent="min_norm")
    expected = smallest(x, y, None, use_bias)
    np.testing.assert_allclose(actual=solution.kernel, desired=expected.kernel.astype(float), rtol=1e-11)
    np.testing.assert_allclose(actual=solution.rss, desired=0, atol=1e-26)


@BOTH_ARITHMETICS
@pytest.mark.parametrize("dependent", ["drop", "min_norm"])
@pytest.mark.parametrize("x", [np.zeros((9, 2)), np.full((9, 2), 0.1)], ids=["zeros", "0.1"])
def test_columns_that_are_all_constant_leave_the_mean(arithmetic, dependent, x):
    y = np.arange(9.0)
    solution = solved(x, y, dependent=dependent)
    assert not solution.kernel.any()
    assert solution.rank == 1
    np.testing.assert_allclose(actual=solution.bias, desired=4.0, rtol=1e-15)
    np.testing.assert_allclose(actual=solution.rss, desired=60.0, rtol=1e-15)


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
        klr.Moments.from_data(*twins(1, 1e-9)).solve()


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
    assert off <= 100 * 10.0**-solution.fewest_digits
    assert solution.fewest_digits > 12 or exponent > 3
