"""One pass over the rows: means and factors of the same digits, whatever the order, layout and number of them."""

import math

import numpy as np
import pytest
from rational import cross_products, fractions, weighted_means

import keras_linreg as klr
from keras_linreg.data import ColumnMatrix
from keras_linreg.linalg import condition
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble
from keras_linreg.moments import accumulator as accumulators
from keras_linreg.moments import checks, row_products
from keras_linreg.moments import reduce as reduction
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.frame import Frame
from keras_linreg.moments.reduce import first_frame, reduce_rows
from keras_linreg.moments.small_data import reduce_in_double_double
from keras_linreg.sufficient_statistics import Statistics, merge
from keras_linreg.utils import threads

RNG = np.random.default_rng(8)
N = 5000
X = RNG.normal(size=(N, 4)) @ (np.eye(4) + 0.3)
Y = X @ RNG.normal(size=(4, 2)) + RNG.normal(size=(N, 2))
W = RNG.uniform(0.1, 3, N)


def gram(statistics):
    r = as_doubledouble(statistics.factor).hi
    return r.T @ r


def centred(x, y, w=None):
    """Means and cross-products in the longest floats there are."""
    rows = np.concatenate([x, y], axis=1).astype(np.longdouble)
    heavy = np.ones(len(rows), np.longdouble) if w is None else w.astype(np.longdouble)
    mean = (heavy[:, None] * rows).sum(axis=0) / heavy.sum()
    return mean.astype(float), ((rows - mean) * heavy[:, None]).T @ (rows - mean)


def check(statistics, x, y, w=None, rtol=1e-12):
    mean, products = centred(x, y, w)
    np.testing.assert_allclose(statistics.mean.hi, mean, rtol=1e-12, atol=1e-14)
    size = np.sqrt(np.diag(products).astype(float))
    size = np.where(size > 0, size, 1.0)
    scale = np.outer(size, size)
    np.testing.assert_allclose(gram(statistics) / scale, products.astype(float) / scale, rtol=0, atol=rtol)
    used = np.ones(len(x), bool) if w is None else w > 0
    assert statistics.nobs == used.sum()
    np.testing.assert_allclose(statistics.weight.hi, len(x) if w is None else w.sum(), rtol=1e-14)
    np.testing.assert_allclose(statistics.log_weight, 0 if w is None else np.log(w[used]).sum(), rtol=1e-12)


@pytest.fixture
def only_reflections(monkeypatch):
    monkeypatch.setattr(reduction, "_by_cross_products", lambda *_: None)


@pytest.fixture
def no_reflections(monkeypatch):
    monkeypatch.setattr(reduction, "by_reflections", lambda *_: pytest.fail("well conditioned"))


WEIGHTS = pytest.mark.parametrize("w", [None, W, np.where(np.arange(N) % 3, W, 0)], ids=["none", "weights", "zeros"])
FAR = np.arange(N)[:, None] >= 100
ORDERS = {
    "shuffled": (X, Y),
    "sorted": (np.sort(X, axis=0), Y),
    "the first rows constant": (np.where(FAR, X, 0.0), Y),
    "the first rows far away": (np.where(FAR, X, X + 1e6), Y),
    "a trend": (X + np.arange(N)[:, None], Y + np.arange(N)[:, None]),
    "1e9 and noise": (X + 1e9, Y - 1e9),
    "the first rows 0, then 1e9": (np.where(FAR, X + 1e9, 0.0)[64:], Y[64:]),
    "nanometres and light years": (X * [1e-9, 1e16, 1.0, 1e-200], Y * [1e100, 1.0]),
}


@WEIGHTS
@pytest.mark.parametrize("order", ORDERS)
def test_cross_products_and_reflections_agree(request, order, w):
    x, y = ORDERS[order]
    w = None if w is None else w[: len(x)]
    check(reduce_rows(x, y, w), x, y, w)
    request.getfixturevalue("only_reflections")
    check(reduce_rows(x, y, w), x, y, w)


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_sorted_well_conditioned_rows_cost_no_reflections(no_reflections, offset):
    order = np.argsort(X[:, 0])
    reduce_rows(X[order] + offset, Y[order])


def test_rows_all_at_once_far_from_the_first_ones_keep_their_digits():
    x = np.concatenate([np.zeros((64, 2)), 1e9 + X[:, :2]])
    x = x[np.r_[np.arange(64), np.arange(64, len(x))]]
    y = np.concatenate([np.zeros((64, 2)), Y])
    w = np.r_[np.full(64, 1e-30), np.ones(N)]
    check(reduce_rows(x, y, w), x, y, w, rtol=1e-10)


@pytest.mark.parametrize("path", ["cross-products", "reflections"])
def test_threads_give_the_bits_that_one_thread_gives(request, monkeypatch, path):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(90000, 4)) + 5, rng.uniform(1, 2, 90000)
    y = x[:, :1] + rng.normal(size=(90000, 1))
    assert x.size > row_products.WORTH_THREADS
    if path == "reflections":
        request.getfixturevalue("only_reflections")
    monkeypatch.setattr(threads, "cores", lambda: 4)
    together = reduce_rows(x, y, w)
    monkeypatch.setattr(threads, "cores", lambda: 1)
    alone = reduce_rows(x, y, w)
    np.testing.assert_array_equal(gram(together), gram(alone))
    np.testing.assert_array_equal(together.mean.hi, alone.mean.hi)
    check(together, x, y, w)


CHUNKS = np.repeat(np.arange(10), 500)[:, None]  # of the rows
MOVING = {
    "a random order": (X + 1e6, Y),
    "columns that drift": (X + 1e6 * CHUNKS, Y - 1e3 * CHUNKS),
    "a column that is constant in each chunk": (np.hstack([X[:, :2], 5.0 + CHUNKS // 3, X[:, 2:]]), Y),
    "a column that is constant in the first chunks": (np.where(CHUNKS < 4, [7.0, 0, 0, 0], X), Y),
    "columns that depend in the first chunks": (np.where(CHUNKS < 4, X[:, :1], X), Y),
    "a y that is explained in the last chunks": (X, np.where(CHUNKS < 4, Y, X[:, :2] + 1e-6 * Y)),
    "another scale in the last chunks": (np.where(CHUNKS < 8, X, 1e-9 * X), Y * 1e8),
}


@pytest.mark.parametrize("kind", MOVING)
@pytest.mark.parametrize("by_columns", [False, True], ids=["an array", "columns"])
def test_chunks_that_do_not_suit_the_frame_of_the_chunk_before_keep_their_digits(monkeypatch, kind, by_columns):
    monkeypatch.setattr(accumulators, "WORTH_EXACT", 0)
    x, y = MOVING[kind]
    accumulator = Accumulator(x.shape[1], 2)
    for start in range(0, N, 500):
        part = x[start : start + 500]
        accumulator.update(ColumnMatrix(list(part.T), "float64") if by_columns else part, y[start : start + 500])
        accumulator.so_far()  # reduces the chunk
    check(accumulator.so_far(), x, y)


def test_rows_in_a_random_order_are_sampled_once(monkeypatch):
    monkeypatch.setattr(accumulators, "WORTH_EXACT", 0)
    samples = []
    monkeypatch.setattr(reduction, "first_frame", lambda *args: samples.append(1) or first_frame(*args))
    accumulator = Accumulator(4, 2)
    for start in range(0, N, 1000):
        accumulator.update(X[start : start + 1000] + 1e6, Y[start : start + 1000])
        accumulator.so_far()
    assert len(samples) == 1


@pytest.mark.parametrize("cores", [1, 4], ids=["one thread", "threads"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_found_in_many_rows(monkeypatch, cores, value):
    monkeypatch.setattr(threads, "cores", lambda: cores)
    x = np.random.default_rng(1).normal(size=(90000, 4))
    y = x[:, :1] * 2
    x[70001, 2] = value
    with pytest.raises(ValueError, match=r"`x` must be finite. Received: -?(nan|inf) in column 2, row 70101"):
        reduce_rows(x, y, first_row=100)


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.ascontiguousarray(a[::-1])[::-1],
        lambda a: np.broadcast_to(a, (1, *a.shape))[0],
    ],
    ids=["fortran", "every other row", "every other column", "reversed", "read-only"],
)
@pytest.mark.parametrize("path", ["cross-products", "reflections", "exactly"])
def test_the_layout_in_memory_makes_no_difference(request, layout, path):
    if path == "reflections":
        request.getfixturevalue("only_reflections")
    function = reduce_in_double_double if path == "exactly" else reduce_rows
    x, y = layout(X), layout(Y)
    before = x.copy()
    found, expected = function(x, y, W), function(X, Y, W)
    np.testing.assert_allclose(gram(found), gram(expected), rtol=1e-12)
    assert (x == before).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_other_dtypes_are_read_without_rounding(dtype):
    x, y = (X > 0 if dtype == "bool" else 10 * X).astype(dtype), np.round(Y, 1).astype("float32")
    check(reduce_rows(x, y, W), x.astype(float), y.astype(float), W)


CONSTANTS = [0.0, 0.1, -1 / 3, 1e-300, 1e300, 1e9 + 0.1]


@WEIGHTS
@pytest.mark.parametrize("path", ["cross-products", "reflections", "exactly"])
@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_constant_column_is_known_exactly(request, constant, path, w):
    if path == "reflections":
        request.getfixturevalue("only_reflections")
    x = np.column_stack([X[:, 0], np.full(N, constant), X[:, 1]])
    if path == "exactly":
        statistics = reduce_in_double_double(x, Y, None if w is None else w + 1e-9)
    else:
        statistics = reduce_rows(x, Y, w)
    assert statistics.constant.tolist() == [False, True, False, False, False]
    assert not as_doubledouble(statistics.factor).hi[:, 1].any()
    assert statistics.mean.hi[1] == constant
    assert statistics.mean.lo[1] == 0


def test_a_column_that_varies_once_is_not_constant():
    x = np.full((N, 1), 0.1)
    x[-1] = np.nextafter(0.1, 1)
    assert not reduce_rows(x, Y).constant[0]
    assert not reduce_in_double_double(x, Y).constant[0]
    assert reduce_rows(x, Y, np.r_[np.ones(N - 1), 0.0]).constant[0]


@pytest.mark.parametrize("function", [reduce_rows, reduce_in_double_double])
def test_shards_with_different_constants_make_a_column_that_varies(function):
    a, b = np.full((20, 1), 0.1), np.full((30, 1), 0.3)
    same = merge(function(a, Y[:20]), function(a[:10], Y[20:30]))
    assert same.constant.tolist() == [True, False, False]
    assert not as_doubledouble(same.factor).hi[:, 0].any()
    different = merge(function(a, Y[:20]), function(b, Y[20:50]))
    assert not different.constant.any()
    check(different, np.concatenate([a, b]), Y[:50])


def test_double_double_statistics_lose_only_the_digits_of_the_offset():
    x, y, w = X[:50] * [1e-9, 1.0, 1e9, 1.0] + [0, 1e9, 0, 2000], Y[:50], 10.0 ** RNG.uniform(-6, 6, 50)
    rows = np.concatenate([x, y], axis=1)
    whole = cross_products(np.concatenate([np.ones((50, 1)), rows], axis=1), w)
    expected = whole[1:, 1:] - np.outer(whole[0, 1:], whole[0, 1:]) / whole[0, 0]
    parts = [reduce_in_double_double(x[i::3], y[i::3], w[i::3]) for i in range(3)]
    for statistics in (reduce_in_double_double(x, y, w), merge(merge(*parts[:2]), parts[2])):
        assert statistics.is_double_double
        r = fractions(statistics.factor.hi) + fractions(statistics.factor.lo)
        size = fractions(np.sqrt(np.diag(expected).astype(float)))
        assert (abs(r.T @ r - expected) * 10**20 <= np.outer(size, size)).all()
        mean = fractions(statistics.mean.hi) + fractions(statistics.mean.lo)
        exact = weighted_means(rows, w)
        assert (abs(mean - exact) * 10**27 <= abs(exact) + size).all()


@pytest.mark.parametrize("function", [reduce_rows, reduce_in_double_double])
@pytest.mark.parametrize("unit", [1e-200, 1e-100, 1.0, 1e100, 1e200])
def test_the_unit_of_the_weights_makes_no_difference_to_a_merge(function, unit):
    exponent = round(np.log2(unit))
    a, b = (function(X[at], Y[at], np.ldexp(W[at], exponent)) for at in (slice(0, 20), slice(20, 50)))
    merged = merge(a, b)
    found = np.ldexp(as_doubledouble(merged.factor).hi, -exponent // 2)
    assert exponent % 2 == 0
    _, products = centred(X[:50], Y[:50], W[:50])
    np.testing.assert_allclose(found.T @ found, products.astype(float), rtol=1e-12, atol=1e-12)


def test_a_merge_with_no_rows_changes_nothing():
    full = reduce_in_double_double(X[:9], Y[:9])
    none = reduce_rows(X[:9], Y[:9], np.zeros(9))
    assert none.nobs == 0
    assert merge(full, none) is full
    assert merge(none, full) is full
    assert merge(none, none).nobs == 0


def test_a_merge_of_double_double_and_float64_is_float64():
    merged = merge(reduce_in_double_double(X[:50], Y[:50]), reduce_rows(X[50:90], Y[50:90]))
    assert not merged.is_double_double
    check(merged, X[:90], Y[:90])


@pytest.mark.parametrize("height", [1, 7, 640, N])
def test_batches_of_any_height_give_the_same(height):
    accumulator = Accumulator(4, 2)
    for start in range(0, N, height):
        accumulator.update(X[start : start + height], Y[start : start + height], W[start : start + height])
    assert accumulator.rows == N
    check(accumulator.result(), X, Y, W)
    check(accumulator.so_far(), X, Y, W)


def test_so_far_may_be_asked_for_at_any_time():
    accumulator = Accumulator(4, 2)
    assert accumulator.so_far().nobs == 0
    for start in (0, 1000, 2000):
        accumulator.update(X[start : start + 1000], Y[start : start + 1000])
        check(accumulator.so_far(), X[: start + 1000], Y[: start + 1000])


def test_small_data_are_held_in_double_double_and_large_ones_in_float64(monkeypatch):
    def result(x, y) -> Statistics:
        accumulator = Accumulator(x.shape[1], y.shape[1])
        accumulator.update(x, y)
        return accumulator.result()

    twins = np.column_stack([X[:, 0], X[:, 0] + 1e-3 * X[:, 1]])
    assert isinstance(result(X[:100], Y[:100]).factor, DoubleDouble)
    monkeypatch.setattr(accumulators, "ALWAYS_EXACT", 1000)
    assert not result(X, Y).is_double_double
    assert result(twins, Y).is_double_double  # worth the time where the columns are nearly dependent
    monkeypatch.setattr(accumulators, "WORTH_EXACT", 1000)
    assert not result(twins, Y).is_double_double


def test_a_stream_that_outgrows_double_double_loses_no_row(monkeypatch):
    monkeypatch.setattr(accumulators, "WORTH_EXACT", 100 * 36)
    accumulator = Accumulator(4, 2)
    for start in range(0, N, 50):
        accumulator.update(X[start : start + 50], Y[start : start + 50])
    assert not accumulator.result().is_double_double
    check(accumulator.result(), X, Y)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("float64", "float32", "float32"),
        ("float32", "bfloat16", "bfloat16"),
        ("int64", "float64", "float64"),
        ("int8", "int32", "float64"),
        ("float16", "float32", "float16"),
    ],
)
def test_the_coarsest_dtype_is_remembered(a, b, expected):
    assert accumulators.coarser(a, b) == accumulators.coarser(b, a) == expected


def test_the_memory_of_this_machine_is_known_or_unknown():
    there = checks.memory_limit()
    assert there is None or there > 2**20


@pytest.mark.parametrize("kind", ["correlated", "drifting"])
def test_columns_that_depend_on_each_other_a_little_keep_13_digits_in_one_look(kind):
    rng = np.random.default_rng(3)
    x, kernel = rng.normal(size=(40_000, 30)), rng.normal(size=30)
    common = rng.normal(size=(len(x), 1)) if kind == "correlated" else np.linspace(-5, 5, len(x))[:, None]
    x = np.sqrt(0.1) * x + np.sqrt(0.9) * common
    y = x @ kernel + 3 * rng.normal(size=len(x))
    solution = klr.Moments.from_data(x, y).solve()
    assert solution.digits_of_kernel >= 13
    design = np.column_stack([np.ones(len(x)), x]).astype(np.longdouble)
    residuals = y - design @ np.append(solution.bias, solution.kernel).astype(np.longdouble)
    step = np.linalg.solve((design.T @ design).astype(float), (design.T @ residuals).astype(float))
    assert (np.abs(step[1:]) <= 10.0 ** -solution.digits[1:, 0] * np.abs(solution.kernel[:, 0])).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_dummies_of_all_groups_but_a_small_one_keep_the_digits_of_lapack(seed):
    rng = np.random.default_rng(seed)
    x = (rng.integers(0, 41, 20_000)[:, None] == np.arange(40)).astype(float)
    y = x @ rng.normal(size=40) + 100 + 20 * rng.normal(size=len(x))
    solution = klr.Moments.from_data(x, y).solve()
    groups = np.append(x, 1 - x.sum(axis=1, keepdims=True), axis=1) == 1
    means = np.array([math.fsum(y[group]) / group.sum() for group in groups.T])
    np.testing.assert_allclose(solution.kernel[:, 0], means[:-1] - means[-1], rtol=0, atol=2e-13)


@pytest.mark.parametrize(("gap", "columns"), [(1e-1, 30), (1e-3, 30), (1e-6, 30), (1e-3, 4)])
def test_only_columns_that_nearly_depend_on_others_are_turned(gap, columns):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, columns)) * 10.0 ** rng.integers(-3, 4, columns)
    x[:, 2] = x[:, 0] / np.abs(x[:, 0]).max() + gap * x[:, 1] / np.abs(x[:, 1]).max()
    r = np.linalg.qr(x, mode="r")
    frame = Frame(columns, np.zeros(columns + 1), np.ones(1)).turned(r)
    np.testing.assert_array_equal(frame.turned_columns, [2])
    z = x @ frame.inverse
    np.testing.assert_array_equal(z[:, [0, 1, 3]], x[:, [0, 1, 3]])
    np.testing.assert_allclose(z @ frame.factor, x, rtol=1e-13, atol=1e-15 * np.abs(x).max())
    assert condition.inflation_factors(np.linalg.qr(z, mode="r")).max() < 10


def test_columns_of_which_most_depend_on_others_are_turned_as_a_whole():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 1)) + 0.01 * rng.normal(size=(4000, 20))
    frame = Frame(20, np.zeros(21), np.ones(1)).turned(np.linalg.qr(x, mode="r"))
    assert frame.turned_columns is None
    np.testing.assert_allclose(np.linalg.norm(x @ frame.inverse, axis=0), 1.0, rtol=1e-10)
