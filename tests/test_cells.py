"""Rows of factors, reduced cell by cell, beside the same rows written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_linreg as klr
from keras_linreg.data import CellMatrix
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments import cell_statistics, cells
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.reduce import reduce_rows
from keras_linreg.moments.small_data import reduce_in_double_double

# The columns of y ~ a * C(g) + b with four levels, as the parts 1, a and b and the signs of each cell.
PARTS = [0, 0, 0, 1, 1, 1, 1, 2]
SIGNS = np.hstack([np.eye(4)[:, 1:], np.ones((4, 1)), np.eye(4)[:, 1:], np.ones((4, 1))])
SUMS = np.hstack([np.vstack([np.eye(3), -np.ones(3)])] * 2)


def matrix(rows, offset=0.0, seed=0, signs=SIGNS, ordered=False):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(signs), rows)
    codes = np.sort(codes) if ordered else codes
    a, b = rng.normal(size=rows) + offset, rng.exponential(size=rows)
    parts = PARTS if signs.shape[1] == len(PARTS) else [0, 0, 0, 1, 1, 1]
    return CellMatrix([None, a, b], [codes], [signs], parts)


def cross_products(statistics):
    factor = as_doubledouble(statistics.factor).hi
    return factor.T @ factor


@settings(max_examples=25, derandomize=True)
@given(
    rows=st.integers(20, 3000),
    outputs=st.integers(1, 2),
    weighted=st.booleans(),
    ordered=st.booleans(),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
    signs=st.sampled_from(["treatment", "sum"]),
    block=st.sampled_from([64, 2**16]),
    seed=st.integers(0, 1000),
)
def test_statistics_of_cells_are_those_of_the_rows_written_out(
    rows, outputs, weighted, ordered, offset, signs, block, seed
):
    x = matrix(rows, offset, seed, SIGNS if signs == "treatment" else SUMS, ordered)
    rng = np.random.default_rng(seed + 1)
    dense = np.asarray(x)
    y = dense @ rng.normal(size=(dense.shape[1], outputs)) + rng.normal(size=(rows, outputs))
    weights = rng.integers(0, 3, rows).astype(float) if weighted else None
    if weighted:
        weights[:5] = 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "BLOCK_ROWS", block)
        patch.setattr(cells, "BLOCK_OF_CELL", 1)
        statistics = cells.reduce_cells(x, y, weights)
    expected = reduce_rows(dense, y, weights)
    assert statistics.nobs == expected.nobs
    np.testing.assert_array_equal(statistics.constant, expected.constant)
    means = np.average(np.hstack([dense, y]), axis=0, weights=weights)
    np.testing.assert_allclose(statistics.mean.hi, means, rtol=1e-12, atol=1e-12)
    scale = np.sqrt(np.outer(*[np.diag(cross_products(expected))] * 2)) + 1e-300
    np.testing.assert_allclose(cross_products(statistics) / scale, cross_products(expected) / scale, atol=1e-12)


@pytest.mark.parametrize("ordered", [False, True], ids=["mixed", "sorted by level"])
def test_an_accumulator_takes_cells_in_batches_and_dense_rows_between_them(ordered):
    x, rng = matrix(700_000, ordered=ordered), np.random.default_rng(1)
    y = np.asarray(x) @ np.arange(8.0)[:, None] + rng.normal(size=(len(x), 1))
    mixed, dense = Accumulator(8, 1), Accumulator(8, 1)
    for start in range(0, len(x), 200_000):
        rows = slice(start, start + 200_000)
        mixed.update(x[rows] if start else np.asarray(x[rows]), y[rows])
        dense.update(np.asarray(x[rows]), y[rows])
    names = [f"x{i}" for i in range(8)], ["y"]
    ours, expected = (klr.Moments.of(one, one.result(), *names).solve(warn=False) for one in (mixed, dense))
    np.testing.assert_allclose(ours.kernel, expected.kernel, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ours.rss, expected.rss, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_the_digits_that_cells_promise_hold(offset):
    x, rng = matrix(60_000, offset), np.random.default_rng(1)
    y = np.asarray(x) @ np.linspace(1, 2, 8)[:, None] + rng.normal(size=(len(x), 1))
    accumulator = Accumulator(8, 1)
    accumulator.update(x, y)
    names = [f"x{i}" for i in range(8)], ["y"]
    solution = klr.Moments.of(accumulator, accumulator.result(), *names).solve(warn=False)
    moments = klr.Moments.of(accumulator, reduce_in_double_double(np.asarray(x), y, None), *names)
    exact, errors = moments.solve(warn=False), klr.RegressionReport.from_moments(moments).bse.to_numpy()[:, None]
    params, expected = (np.vstack([one.bias, one.kernel]) for one in (solution, exact))
    digits = -np.log10(np.abs(params - expected) / np.maximum(np.abs(expected), errors) + 1e-17)
    assert (digits >= solution.digits - 0.05).all()
    assert solution.fewest_digits > (12 if offset == 0 else 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_numbers_that_are_none_for_cross_products_are_left_to_the_rows_written_out(value):
    x = matrix(100)
    x.parts[1][7] = value
    assert cells.reduce_cells(x, np.ones((100, 1)), None) is None


def test_a_level_that_has_lost_its_rows_is_a_column_of_zeros():
    x = matrix(5000)
    kept = x[x.codes[0] != 2]
    statistics = cells.reduce_cells(kept, np.random.default_rng(0).normal(size=(len(kept), 1)), None)
    assert statistics.constant.tolist() == [False, True, False, False, False, True, False, False, False]


def test_a_cell_matrix_reads_as_the_array_that_it_stands_for():
    x = matrix(50)
    dense = np.asarray(x)
    np.testing.assert_array_equal(x[3:9], dense[3:9])
    np.testing.assert_array_equal(x[np.arange(50) % 3 == 0], dense[::3])
    np.testing.assert_array_equal(x[:, 4], dense[:, 4])
    np.testing.assert_array_equal(x[-1], dense[-1])
    two = CellMatrix(x.parts, [x.codes[0], x.codes[0]], [SIGNS, np.ones((4, 8))], x.part_of_column)
    np.testing.assert_array_equal(two, dense)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(x, copy=False)


def test_cells_of_tiny_numbers_keep_their_digits():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [50, 1, 40])
    rows = rng.normal(size=(3, 91))
    rows[:, :50] *= 1e-140  # whose squares are nothing
    rows[2, 51:] = rows[0, 51:]
    factor = cell_statistics.statistics_of_rows(rows.copy(), codes, None, 4).factor
    for cell in range(3):
        own = rows[:, codes == cell]
        expected = np.linalg.qr((own - own.mean(axis=1, keepdims=True)).T, mode="r")
        scale = max(np.abs(expected).max(), 1e-300)
        largest = len(expected)
        assert np.abs(np.abs(factor[cell, :largest]) - np.abs(expected)).max() <= 1e-14 * scale
    assert not factor[3].any()
