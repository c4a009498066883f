"""FoldMoments: rows dealt to folds in one pass, whatever the batches; merged, saved, selected."""

import time

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_linreg as klr
from keras_linreg.moments.dealing import DEALS, ByRowNumber


def data(rows=400, width=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width)) * np.exp(rng.standard_normal(width)) + 3 * rng.standard_normal(width)
    y = x @ (rng.standard_normal(width) * (rng.random(width) < 0.6)) + rng.standard_normal(rows)
    return x, y


def assert_same_moments(a, b, rtol=1e-12):
    assert (a.rows, a.nobs, a.feature_names) == (b.rows, b.nobs, b.feature_names)
    np.testing.assert_allclose(a.means, b.means, rtol=rtol, atol=1e-300)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=rtol, atol=rtol * np.abs(b.covariance).max())
    np.testing.assert_array_equal(a.statistics.constant, b.statistics.constant)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(DEALS),
    st.integers(2, 12),
    st.integers(0, 2**40),
    st.integers(1, 3000),
    st.integers(1, 700),
    st.integers(0, 10**8),
)
def test_the_fold_of_a_row_depends_on_its_number_alone(deal, folds, seed, rows, batch, first):
    dealer = ByRowNumber(deal, folds, seed, first)
    whole = dealer.numbers(0, rows)
    parts = [dealer.numbers(start, min(start + batch, rows)) for start in range(0, rows, batch)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    counts = np.bincount(ByRowNumber(deal, folds, seed).numbers(0, rows), minlength=folds)
    assert rows < folds or counts.min() >= 1
    assert counts.max() - counts.min() <= 1 + rows / folds / 3


def test_runs_are_runs_and_draws_are_draws():
    runs = ByRowNumber("runs", 10).numbers(0, 10**6)
    assert np.count_nonzero(np.diff(runs)) < 900
    draws = [ByRowNumber("random", 5, seed).numbers(0, 1000) for seed in (0, 1)]
    assert (draws[0] != draws[1]).mean() > 0.7
    assert abs(np.corrcoef(draws[0][:-5], draws[0][5:])[0, 1]) < 0.15
    stripes = ByRowNumber("stripes", 4).numbers(0, 200)
    np.testing.assert_array_equal(stripes[:100], stripes[4:104])


@pytest.mark.parametrize("deal", DEALS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_moments_of_each_fold_are_those_of_its_rows(deal, weighted):
    x, y = data(900)
    weights = np.random.default_rng(1).integers(0, 4, 900) * 0.5 if weighted else None
    folds = klr.FoldMoments.from_data(x, y, folds=4, deal=deal, seed=3, sample_weight=weights)
    numbers = ByRowNumber(deal, 4, 3).numbers(0, 900)
    assert_same_moments(folds.moments, klr.Moments.from_data(x, y, weights))
    for k, fold in enumerate(folds.folds):
        own = numbers == k
        assert_same_moments(fold, klr.Moments.from_data(x[own], y[own], None if weights is None else weights[own]))


HARD = {
    "far from zero": lambda x: x + 1e9,
    "collinear": lambda x: x[:, :1] + 1e-7 * x,
    "duplicate": lambda x: np.column_stack([x, x[:, 0]]),
    "constant": lambda x: np.column_stack([x, np.full(len(x), 0.1)]),
    "constant in folds": lambda x: np.column_stack([x, np.arange(len(x)) // 100]),
    "a few rows": lambda x: x[:7],
    "large": lambda x: x * 1e120,
    "drifting": lambda x: x + 1e6 * np.arange(len(x))[:, None],
}


@pytest.mark.parametrize("kind", HARD)
def test_hard_columns_keep_their_digits_in_each_fold(kind):
    x, y = data(600, 4)
    x = HARD[kind](x)
    y = y[: len(x)]
    folds = klr.FoldMoments.from_data(x, y, folds=3, deal="random")
    numbers = ByRowNumber("random", 3).numbers(0, len(x))
    for k, fold in enumerate(folds.folds):
        assert_same_moments(fold, klr.Moments.from_data(x[numbers == k], y[numbers == k]), 1e-9)
    expected = klr.Moments.from_data(x, y).covariance
    np.testing.assert_allclose(folds.moments.covariance, expected, rtol=1e-12, atol=1e-15 * np.abs(expected).max())


def test_batches_of_any_size_and_parts_that_know_their_first_row_are_the_same_folds():
    x, y = data(1500)
    whole = klr.FoldMoments.from_data(x, y, folds=5)
    batches = klr.FoldMoments.from_data(((x[i : i + 64], y[i : i + 64]) for i in range(0, 1500, 64)), folds=5)
    days = [
        klr.FoldMoments.from_data(x[a:b], y[a:b], folds=5, first_row=a)
        for a, b in ((0, 333), (333, 1000), (1000, 1500))
    ]
    expected = whole.elastic_net()
    for other in (batches, sum(days), klr.FoldMoments.from_bytes(whole.to_bytes())):
        path = other.elastic_net()
        assert (path.index_min, path.index_1se) == (expected.index_min, expected.index_1se)
        np.testing.assert_allclose(path.kernels, expected.kernels, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(path.cv_mean, expected.cv_mean, rtol=1e-10)


def test_equal_moments_give_equal_bytes_at_any_time_of_day(tmp_path, monkeypatch):
    x, y = data(60)
    written = set()
    for year in (1, 30):
        monkeypatch.setattr(time, "time", lambda year=year: 1e9 + year * 3e7)
        folds = klr.FoldMoments.from_data(x, y, folds=3)
        folds.moments.save(tmp_path / "moments.npz")
        written.add((folds.to_bytes(), (tmp_path / "moments.npz").read_bytes()))
    assert len(written) == 1
    assert klr.Moments.load(tmp_path / "moments.npz").rows == 60


def test_a_fold_for_each_row_by_an_array_a_series_and_a_column():
    x, y = data(60, 3)
    numbers = np.arange(60) % 4
    expected = klr.FoldMoments.from_data(x, y, folds=numbers)
    assert [fold.rows for fold in expected.folds] == [15] * 4
    table = pd.DataFrame(x, columns=["x0", "x1", "x2"], index=np.arange(60) + 5).assign(y=y, part=numbers)
    by_name = klr.FoldMoments.from_data(table, "y", folds="part")
    by_series = klr.FoldMoments.from_data(table[["x0", "x1", "x2"]], table["y"], folds=table["part"])
    stream = klr.FoldMoments.from_data(((x[i : i + 7], y[i : i + 7]) for i in range(0, 60, 7)), folds=numbers)
    for other in (by_name, by_series, stream):
        for a, b in zip(other.folds, expected.folds, strict=True):
            assert_same_moments(a, b, 1e-11)
    with pytest.raises(ValueError, match="labels"):
        klr.FoldMoments.from_data(table[["x0", "x1", "x2"]], table["y"], folds=table["part"].iloc[::-1])


def test_rows_of_one_group_stay_in_one_fold():
    x, y = data(90, 2)
    groups = np.repeat(["a", "b", "c", "d", "e", "f"], 15)
    folds = klr.FoldMoments.from_data(x, y, folds=3, groups=groups)
    assert [fold.rows for fold in folds.folds] == [30] * 3
    by_name = klr.FoldMoments.from_data(pd.DataFrame({"u": x[:, 0], "v": x[:, 1], "g": groups}), y, folds=3, groups="g")
    stream = klr.FoldMoments.from_data(
        ((x[i : i + 8], y[i : i + 8]) for i in range(0, 90, 8)),
        folds=3,
        groups=(groups[i : i + 8] for i in range(0, 90, 8)),
    )
    for a, b, c in zip(folds.folds, by_name.folds, stream.folds, strict=True):
        np.testing.assert_allclose(a.means, b.means, rtol=1e-12)
        np.testing.assert_allclose(a.means, c.means, rtol=1e-12)


def test_rows_without_a_value_are_left_out_of_their_fold():
    x, y = data(80, 3)
    x[::9, 1] = np.nan
    numbers, kept = np.arange(80) % 4, ~np.isnan(x[:, 1])
    folds = klr.FoldMoments.from_data(x, y, folds=numbers, missing="drop")
    assert folds.moments.missing is not None
    assert [fold.rows for fold in folds.folds] == np.bincount(numbers[kept]).tolist()


def test_sparse_rows_are_the_same_as_dense_ones():
    x, y = data(300, 5)
    x[np.random.default_rng(0).random(x.shape) < 0.8] = 0
    dense = klr.FoldMoments.from_data(x, y, folds=3)
    sparse = klr.FoldMoments.from_data(scipy.sparse.csr_array(x), y, folds=3)
    for a, b in zip(dense.folds, sparse.folds, strict=True):
        assert_same_moments(a, b, 1e-11)


def test_saved_and_selected_fold_moments_are_what_they_were(tmp_path):
    x, y = data(200)
    folds = klr.FoldMoments.from_data(x, y, folds=3)
    folds.save(tmp_path / "folds.klr")
    loaded = klr.FoldMoments.load(tmp_path / "folds.klr")
    np.testing.assert_array_equal(loaded.elastic_net().kernels, folds.elastic_net().kernels)
    some = loaded.select(name for name in ("x3", "x1"))
    direct = klr.FoldMoments.from_data(x[:, [3, 1]], y, folds=3, feature_names=["x3", "x1"])
    np.testing.assert_allclose(some.elastic_net().kernels, direct.elastic_net().kernels, rtol=1e-10, atol=1e-13)
    content = bytearray((tmp_path / "folds.klr").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "folds.klr").write_bytes(content)
    with pytest.raises(ValueError, match="must be a file that FoldMoments.save wrote"):
        klr.FoldMoments.load(tmp_path / "folds.klr")
    with pytest.raises(ValueError, match="must be bytes"):
        klr.FoldMoments.from_bytes(b"")


X, Y = data(20, 2)
BAD = [
    ({"folds": 1}, "integer of at least 2"),
    ({"folds": 2.5}, "integer of at least 2"),
    ({"folds": True}, "integer of at least 2"),
    ({"folds": 21}, "must not be more than the rows"),
    ({"folds": np.arange(20) % 3 * 2}, "without a gap"),
    ({"folds": np.arange(20) % 3 - 1}, "without a gap"),
    ({"folds": np.zeros(20)}, "at least two"),
    ({"folds": np.full(20, np.nan)}, "without a gap"),
    ({"folds": np.arange(10) % 3}, "fold of each row"),
    ({"folds": "part"}, "`folds` must be values, or the name of a column"),
    ({"deal": "shuffled"}, "`deal`"),
    ({"seed": -1}, "`seed`"),
    ({"groups": np.arange(20) // 5}, "more than the groups"),
    ({"groups": ["a"] * 19}, "label for each row"),
    ({"folds": np.arange(20) % 2, "groups": np.arange(20)}, "`groups` must be None"),
    ({"first_row": -1}, "`first_row`"),
    ({"sample_weight": np.zeros(20)}, "weight"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_folds_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        klr.FoldMoments.from_data(X, Y, **arguments)


def test_a_name_that_is_no_column_is_refused():
    table = pd.DataFrame(X, columns=["a", "b"])
    with pytest.raises(ValueError, match=r"`folds` must be a column of `x`.*'part'"):
        klr.FoldMoments.from_data(table, Y, folds="part")
    with pytest.raises(ValueError, match=r"`groups` must be a column of `x`.*'shop'"):
        klr.FoldMoments.from_data(table, Y, groups="shop")


@pytest.mark.parametrize("unit", [1e170, 1e-170])
def test_columns_whose_squares_are_no_floats_are_named(unit):
    folds = klr.FoldMoments.from_data(X * [1.0, unit], Y, folds=3)
    with pytest.raises(ValueError, match="'x1' to another unit"):
        folds.elastic_net()


def test_parts_that_do_not_fit_are_not_added():
    folds = klr.FoldMoments.from_data(X, Y, folds=3)
    with pytest.raises(ValueError, match="numbers of folds"):
        folds + klr.FoldMoments.from_data(X, Y, folds=4)
    with pytest.raises(ValueError, match="feature_names"):
        folds + klr.FoldMoments.from_data(X, Y, folds=3, feature_names=["a", "b"])


def test_a_number_that_is_not_finite_is_named_by_its_row():
    x, y = data(3000, 2)
    x[2345, 1] = np.inf
    with pytest.raises(ValueError, match=r"'x1'.*row 2345"):
        klr.FoldMoments.from_data(x, y)
