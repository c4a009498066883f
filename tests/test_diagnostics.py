"""Diagnostics of one more pass are statsmodels' to 9 digits, whatever the blocks, and their text fits the screen."""

import dataclasses
import functools
import unittest.mock
import warnings

import hypothesis
import keras
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.datasets
import statsmodels.api as sm
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from statsmodels.stats.diagnostic import het_breuschpagan, het_white
from statsmodels.stats.stattools import durbin_watson, jarque_bera
from statsmodels.tools.sm_exceptions import SingularMatrixWarning
from streams import Batches, cut

import keras_linreg as klr
from keras_linreg.inference import residual_statistics
from keras_linreg.inference.central_moments import CentralMoments
from keras_linreg.inference.diagnose import QQ_POINTS
from keras_linreg.inference.diagnose import diagnose as diagnose_rows
from keras_linreg.inference.row_influence import RowsOfFit
from keras_linreg.utils import threads

K = 6


def dataset(name):
    data = getattr(sm.datasets, name).load_pandas()
    return data.exog.to_numpy(float), data.endog.to_numpy(float)


def diabetes():
    data = sklearn.datasets.load_diabetes(scaled=False)
    return data.data, data.target


def three_outputs(n=90):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(n, 3)) + np.array([0.0, 5.0, -20.0])
    noise = rng.standard_t(4, size=(n, 3)) * np.exp(x[:, :1] / 2)
    return x, x @ rng.normal(size=(3, 3)) * [1.0, 1e-6, 1e6] + noise * [1.0, 1e-6, 1e6]


def with_dummies(n=120):
    rng = np.random.default_rng(6)
    level = rng.integers(0, 3, n)
    x = np.column_stack([rng.normal(size=n), level == 1, level == 2]).astype(float)
    return x, x @ [1.0, 2.0, 3.0] + rng.normal(size=n) * (1 + level)


def weights(n):
    return np.random.default_rng(n).uniform(0.05, 4.0, n)


def far_from_zero():
    """A column of signs and a large y: without an intercept, residuals are far from 0, all on one side."""
    rng = np.random.default_rng(2)
    return np.where(np.arange(60) % 2, 1.0, -1.0)[:, None], 1000.0 + rng.gumbel(size=60)


PROBLEMS = {  # x, y, weights, whether there is an intercept
    "stackloss": (*dataset("stackloss"), None, True),
    "engel": (*dataset("engel"), None, True),
    "diabetes": (*diabetes(), None, True),
    "dummies": (*with_dummies(), None, True),
    "stackloss, weighted": (*dataset("stackloss"), weights(21), True),
    "engel, weighted": (*dataset("engel"), weights(235), True),
    "diabetes, weighted": (*diabetes(), weights(442), True),
    "engel, no intercept": (*dataset("engel"), None, False),
    "stackloss, weighted, no intercept": (*dataset("stackloss"), weights(21), False),
    "far from zero": (*far_from_zero(), None, False),
    "three outputs": (*three_outputs(), None, True),
    "three outputs, weighted": (*three_outputs(), weights(90), True),
}
ALL_PROBLEMS = pytest.mark.parametrize("name", PROBLEMS)


def fitted(x, y=None, w=None, **options):
    model = klr.ExactLinearRegression(**options)
    model.fit(x, y, sample_weight=w, verbose=0)
    return model


def data_of(name):
    x, y, w, _ = PROBLEMS[name]
    return (x, y) if w is None else (x, y, w)


def batch_of(x, y, w=None):
    """Arrays as a second pass reads them."""
    return x, y.reshape(len(x), -1), w


def diagnose(model, batches, k=K, **settings):
    """The diagnostics of a second pass with settings of blocks, sample or quantiles."""
    rows = RowsOfFit(model.fitted.estimate, lambda: iter(batches))
    return diagnose_rows(rows, k, **settings)


@functools.cache
def model_of(name):
    x, y, w, use_bias = PROBLEMS[name]
    return fitted(x, y, w, use_bias=use_bias, units=y.shape[1] if y.ndim > 1 else 1)


@functools.cache
def diagnosed(name):
    return model_of(name).diagnose(data_of(name), k=K)


@functools.cache
def influences(name):
    """Statsmodels' influence of each output: of the rows times the roots of their weights."""
    x, y, w, use_bias = PROBLEMS[name]
    root = np.ones(len(x)) if w is None else np.sqrt(w)
    design = (sm.add_constant(x) if use_bias else x) * root[:, None]
    columns = y.reshape(len(x), -1).T * root
    return [sm.OLS(one, design).fit(method="pinv").get_influence() for one in columns]


@functools.cache
def outputs(name):
    """Our diagnostics of each output beside statsmodels' influence and its residuals."""
    whole = diagnosed(name)
    each = [whole.output(j) for j in range(len(whole.output_names))]
    return list(zip(each, influences(name), [one.resid for one in influences(name)], strict=True))


def check(actual, desired, rtol=1e-9, **kwargs):
    np.testing.assert_allclose(actual=actual, desired=desired, rtol=rtol, **kwargs)


# Statsmodels


@ALL_PROBLEMS
def test_durbin_watson_is_statsmodels(name):
    for ours, _, e in outputs(name):
        check(ours.durbin_watson, durbin_watson(e))


@ALL_PROBLEMS
def test_jarque_bera_is_statsmodels(name):
    for ours, _, e in outputs(name):
        statistic, p, skew, kurtosis = jarque_bera(e)
        check([ours.skew, ours.kurtosis], [skew, kurtosis])
        check(ours.jarque_bera, statistic)
        check(ours.jarque_bera_pvalue, p, rtol=1e-9 * max(1, statistic))


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "far from zero"])
def test_breusch_pagan_is_statsmodels(name):
    x = PROBLEMS[name][0]
    for ours, _, e in outputs(name):
        expected = het_breuschpagan(e, sm.add_constant(x))
        check(ours.breusch_pagan[:4], expected, rtol=1e-8 if name == "diabetes" else 1e-9)
        assert ours.breusch_pagan.df == x.shape[1]


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "far from zero"])
def test_white_is_statsmodels(name):
    x = PROBLEMS[name][0]
    for ours, _, e in outputs(name):
        scaled = (x - x.mean(axis=0)) / x.std(axis=0)  # the same test, of which statsmodels keeps more digits
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularMatrixWarning)  # the square of a dummy is the dummy
            expected = het_white(e, sm.add_constant(scaled))
        check(ours.white[:4], expected)
        products = sm.add_constant(scaled)[:, :, None] * sm.add_constant(scaled)[:, None]
        assert ours.white.df == np.linalg.matrix_rank(products.reshape(len(x), -1)) - 1


@ALL_PROBLEMS
def test_the_most_influential_rows_are_statsmodels(name):
    for ours, influence, e in outputs(name):
        distance = influence.cooks_distance[0]
        rows = np.argsort(-distance)[:K]
        assert ours.rows.tolist() == rows.tolist()
        assert ours.rows.dtype.kind == "i"
        check(ours.cooks_distance, distance[rows])
        check(ours.resid_studentized, influence.resid_studentized_external[rows])
        check(ours.leverage, influence.hat_matrix_diag[rows])
        check(ours.residuals, e[rows], atol=1e-11 * np.std(e))


@ALL_PROBLEMS
def test_moments_and_quantiles_of_the_residuals_are_numpys(name):
    for ours, influence, e in outputs(name):
        size = np.sqrt(np.mean(e**2))
        check(ours.mean, np.mean(e), atol=1e-11 * size)
        check(ours.std, np.std(e, ddof=1))
        check(ours.scale, influence.results.scale)
        check(ours.quantiles, np.quantile(e, [0, 0.25, 0.5, 0.75, 1]), atol=1e-11 * size)
        assert (ours.nobs, ours.rank) == (len(e), influence.k_vars)
        assert ours.exact_rows == 0


@ALL_PROBLEMS
def test_the_quantiles_to_draw_beside_normal_ones_are_all_standardised_residuals_in_order(name):
    for ours, influence, e in outputs(name):
        theoretical, standardized = ours.qq
        check(theoretical, scipy.stats.norm.ppf((np.arange(len(e)) + 0.5) / len(e)), atol=1e-12)
        check(standardized, np.sort(influence.resid_studentized_internal), atol=1e-11)


@ALL_PROBLEMS
def test_the_sample_of_few_rows_is_all_of_them(name):
    _, y, w, _ = PROBLEMS[name]
    y = y.reshape(len(y), -1)
    root = np.ones(len(y)) if w is None else np.sqrt(w)
    for j, (ours, influence, e) in enumerate(outputs(name)):
        sample, size = ours.sample, np.std(y[:, j])
        np.testing.assert_array_equal(actual=sample["rows"], desired=np.arange(len(y)))
        check(sample["y"], y[:, j], atol=1e-12 * size)
        check(sample["fitted"], y[:, j] - e / root, atol=1e-11 * size)
        check(sample["residuals"], e, atol=1e-11 * size)
        check(sample["standardized"], influence.resid_studentized_internal, atol=1e-10)
        check(sample["leverage"], influence.hat_matrix_diag)


@pytest.mark.parametrize("level", [1e4, 1e6])
def test_the_shape_of_residuals_far_from_zero_is_their_own(level):
    x, y = far_from_zero()
    y = y - 1000 + level
    e = y - x[:, 0] * (x[:, 0] @ y / 60)
    result = fitted(x, y, use_bias=False).diagnose((x, y))
    _, _, skew, kurtosis = jarque_bera(e)
    check([result.std, result.skew, result.kurtosis], [np.std(e, ddof=1), skew, kurtosis], rtol=1e-7)


def test_aliased_columns_are_not_counted():
    x, y, _, _ = PROBLEMS["stackloss"]
    wide = np.column_stack([x[:, 0], 2 * x[:, 0] - 1, x[:, 1], np.full(21, 3.0), x[:, 2]])
    with pytest.warns(UserWarning, match="depend on the bias or columns before them"):
        result = fitted(wide, y).diagnose((wide, y), k=K)
    expected = diagnosed("stackloss")
    check(result.breusch_pagan, expected.breusch_pagan)
    check(result.white, expected.white)
    assert result.rows.tolist() == expected.rows.tolist()
    for key in ("cooks_distance", "resid_studentized", "leverage", "residuals", "durbin_watson", "kurtosis"):
        check(getattr(result, key), getattr(expected, key))
    assert result.rank == 4


def test_the_smallest_kernel_has_the_diagnostics_of_the_fit_without_the_columns():
    x, y, _, _ = PROBLEMS["stackloss"]
    wide = np.column_stack([x, x[:, 0]])
    with pytest.warns(UserWarning, match="depend on"):
        result = fitted(wide, y, dependent="min_norm").diagnose((wide, y), k=K)
    check(result.cooks_distance, diagnosed("stackloss").cooks_distance)
    check(result.white, diagnosed("stackloss").white)


@hypothesis.settings(max_examples=50, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    values=nps.arrays(np.float64, st.tuples(st.integers(1, 60), st.integers(1, 3)), elements=st.floats(-1e3, 1e3)),
    cuts=st.lists(st.integers(0, 60), max_size=6).map(sorted),
    level=st.sampled_from([0.0, 1e3, -1e6]),
)
def test_merged_central_moments_are_the_moments_of_all_values(values, cuts, level):
    values = values + level
    parts = [CentralMoments.from_values(part) for part in np.split(values, cuts)]
    merged = functools.reduce(CentralMoments.merge, parts)
    deviations = values - values.mean(axis=0)
    assert merged.count == len(values)
    check(merged.mean, values.mean(axis=0), rtol=1e-13, atol=1e-9)
    for power, moment in ((2, merged.second), (3, merged.third), (4, merged.fourth)):
        size = (np.abs(deviations) ** power).sum(axis=0) + 1e-9 * (1 + abs(level))
        check(moment, (deviations**power).sum(axis=0), rtol=0, atol=1e-9 * size.max())


# Every kind of data, in every cut


KINDS = {
    "arrays": lambda *d: d,
    "frame": lambda x, y, w: (pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])]), pd.DataFrame(y), w),
    "dataset in batches of 7": lambda *d: tf.data.Dataset.from_tensor_slices(d).batch(7),
    "PyDataset": lambda *d: Batches(cut(*d)),
    "PyDataset with workers": lambda *d: Batches(cut(*d), workers=2),
    "generator of single rows": lambda *d: (part for part in cut(*d, size=1)),
}
FIGURES = (
    *("mean", "std", "quantiles", "durbin_watson", "skew", "kurtosis", "jarque_bera"),
    *("rows", "cooks_distance", "resid_studentized", "leverage", "residuals"),
)


def check_same(actual, expected, rtol=1e-10):
    for key in FIGURES:
        size = np.max(expected.std) if key in ("mean", "quantiles", "residuals") else 0.0
        check(getattr(actual, key), getattr(expected, key), rtol=rtol, atol=1e-12 * size, err_msg=key)
    for test in ("breusch_pagan", "white"):
        for ours, theirs in zip(getattr(actual, test), getattr(expected, test), strict=True):
            check(ours, theirs, rtol=rtol, err_msg=test)
    for ours, theirs in zip(actual.qq, expected.qq, strict=True):
        check(ours, theirs, rtol=rtol, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same(kind):
    result = model_of("three outputs, weighted").diagnose(KINDS[kind](*data_of("three outputs, weighted")), k=K)
    check_same(result, diagnosed("three outputs, weighted"))


@pytest.mark.parametrize("name", ["three outputs, weighted", "engel", "stackloss, weighted, no intercept"])
@hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    cuts=st.lists(st.integers(0, 235), max_size=12).map(sorted),
    block_numbers=st.sampled_from([1, 8, 40, 2**17]),
    cores=st.sampled_from([1, 4]),
)
def test_neither_batches_nor_blocks_nor_cores_make_a_difference(name, cuts, block_numbers, cores):
    parts = ([part] * (len(cuts) + 1) if part is None else np.split(part, cuts) for part in batch_of(*data_of(name)))
    with unittest.mock.patch.object(threads, "cores", lambda: cores):
        actual = diagnose(model_of(name), list(zip(*parts, strict=True)), block_numbers=block_numbers)
    check_same(actual, diagnosed(name))


@pytest.mark.parametrize("name", ["stackloss, weighted", "three outputs, weighted"])
def test_rows_of_weight_zero_are_left_out_but_counted(name):
    rng = np.random.default_rng(1)
    parts, n = data_of(name), len(PROBLEMS[name][0])
    used = np.sort(rng.permutation(2 * n)[:n])
    many = [np.full((2 * n, *part.shape[1:]), fill) for part, fill in zip(parts, (1e6, -1e4, 0.0), strict=True)]
    for target, part in zip(many, parts, strict=True):
        target[used] = part
    model, expected = fitted(*many, units=many[1].shape[1] if many[1].ndim > 1 else 1), diagnosed(name)
    for actual in (model.diagnose(tuple(many), k=K), diagnose(model, [batch_of(*many)], block_numbers=8)):
        np.testing.assert_array_equal(actual=actual.rows, desired=used[expected.rows])
        np.testing.assert_array_equal(actual=actual.sample["rows"], desired=used)
        assert actual.nobs == n
        check_same(dataclasses.replace(actual, rows=expected.rows), expected)


@pytest.mark.parametrize("k", [1, 3, 21, 500, np.int64(4)])
def test_as_many_rows_are_named_as_asked_for_and_there_are(k):
    result = model_of("stackloss").diagnose(data_of("stackloss"), k=k)
    distance = influences("stackloss")[0].cooks_distance[0]
    assert result.rows.tolist() == np.argsort(-distance)[:k].tolist()


def test_of_rows_alike_the_first_is_named():
    x, y = np.tile([0.0, 1.0, 2.0, 5.0], 3), np.tile([0.0, 1.0, 0.0, 1.0], 3)
    result = fitted(x, y).diagnose((x, y), k=12)
    distance = result.cooks_distance.round(12)
    for value in np.unique(distance):
        rows = result.rows[distance == value]
        assert rows.tolist() == sorted(rows.tolist())


# The sample


def many_rows(n=20_000):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 2))
    return x, x @ [1.0, 2.0] + rng.normal(size=n)


@pytest.fixture(scope="module")
def many():
    x, y = many_rows()
    return x, y, fitted(x, y)


def test_the_sample_is_bounded_and_each_row_as_likely(many):
    x, y, model = many
    actual = diagnose(model, [batch_of(x, y)], sample_rows=500)
    rows = actual.sample["rows"]
    assert len(rows) == len(set(rows.tolist())) == 500
    assert (np.diff(rows) > 0).all()
    counts = np.histogram(rows, bins=20, range=(0, len(x)))[0]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert scipy.stats.kstest(actual.sample["standardized"], "norm").pvalue > 1e-3
    check(actual.sample["y"], y[rows], atol=1e-12)
    assert "Pictures show 500 rows, drawn at random." in actual.notes


def test_a_model_draws_its_sample_of_many_rows(many):
    x, y, model = many
    actual = model.diagnose((x, y))
    assert len(actual.sample["rows"]) == residual_statistics.SAMPLE_ROWS < len(x)


def test_the_sample_is_the_same_each_time_and_in_every_cut(many):
    x, y, model = many
    expected = diagnose(model, [batch_of(x, y)], sample_rows=300).sample
    for batches in ([batch_of(x, y)], [batch_of(*part) for part in cut(x, y, size=777)]):
        sample = diagnose(model, batches, sample_rows=300, block_numbers=1500).sample
        for name, part in sample.items():
            check(part, expected[name], atol=1e-12)


def test_many_residuals_are_counted_within_the_documented_error(many):
    x, y, model = many
    actual = diagnose(model, [batch_of(x, y)], exact_values=1000)
    e = y - x @ model.kernel.numpy()[:, 0] - model.bias.numpy()
    expected = np.quantile(e, [0, 0.25, 0.5, 0.75, 1])
    check(actual.quantiles, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    theoretical, standardized = actual.qq
    assert len(theoretical) == len(standardized) == QQ_POINTS + 2  # the ends beside
    assert (np.diff(standardized) >= 0).all()
    inner = abs(theoretical) < 2
    check(standardized[inner], theoretical[inner], atol=0.08)


# What is not defined


def test_white_is_left_out_with_a_note_where_its_terms_are_too_many():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 24)), rng.normal(size=400)
    result = fitted(x, y).diagnose((x, y))
    assert result.white is None
    assert any("it would have 324 columns, squares and products" in note for note in result.notes)
    assert "White" not in str(result).split("*")[0]
    assert result.breusch_pagan.df == 24
    at_most = fitted(x[:, :23], y).diagnose((x[:, :23], y))
    assert at_most.white.df == 299
    assert at_most.notes == ()


@pytest.mark.parametrize(("rows", "has_white"), [(10, False), (11, True)])
def test_white_is_left_out_where_rows_are_too_few(rows, has_white):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=rows)
    result = fitted(x, y).diagnose((x, y))
    assert (result.white is not None) == has_white
    assert bool(result.notes) != has_white


@pytest.mark.parametrize("block_numbers", [2**17, 12], ids=["whole", "in blocks"])
def test_rows_of_leverage_1_are_counted_and_noted_and_the_others_are_right(block_numbers):
    x, y, _, _ = PROBLEMS["stackloss"]
    wide = np.column_stack([x, np.arange(21) == 4, np.arange(21) == 13])
    actual = diagnose(fitted(wide, y), [batch_of(wide, y)], k=30, block_numbers=block_numbers)
    assert actual.exact_rows == 2
    assert "Rows of leverage 1: 2. A coefficient serves each of them alone" in actual.notes[-1]
    assert set(actual.rows.tolist()) == set(range(21)) - {4, 13}
    kept = np.delete(np.arange(21), [4, 13])
    expected = sm.OLS(y[kept], sm.add_constant(x[kept])).fit(method="pinv").get_influence()
    order = [kept.tolist().index(row) for row in actual.rows]
    check(actual.resid_studentized, expected.resid_studentized_external[order], rtol=1e-8)
    check(actual.leverage, expected.hat_matrix_diag[order])
    assert np.isfinite(actual.qq[1]).all()
    assert len(actual.qq[1]) == 19


def test_an_intercept_alone_has_no_columns_to_test():
    y = np.random.default_rng(0).normal(size=30)
    with pytest.warns(UserWarning, match="depend on the bias"):
        model = fitted(np.ones((30, 1)), y)
    result = model.diagnose((np.ones((30, 1)), y))
    assert result.breusch_pagan is None
    assert result.white is None
    check(result.durbin_watson, durbin_watson(y - y.mean()))
    assert max(map(len, str(result).splitlines())) <= 80


def test_a_perfect_fit_can_be_diagnosed_and_printed():
    x = np.arange(10.0)
    result = fitted(x, 2 * x + 1).diagnose((x, 2 * x + 1))
    assert result.exact_rows == 0
    assert not any("leverage 1" in note for note in result.notes)
    assert np.abs(result.quantiles).max() == 0
    assert max(map(len, str(result).splitlines())) <= 80
    assert len(result.to_frame()) == len(result.rows)


@pytest.mark.parametrize("perfect", [0, 1])
def test_an_output_that_fits_perfectly_takes_nothing_from_the_others(perfect):
    x = np.arange(10.0)
    y = np.random.default_rng(0).normal(size=10)
    both = np.column_stack([y, 2 * x + 1] if perfect else [2 * x + 1, y])
    result = fitted(x, both, units=2).diagnose((x, both)).output(1 - perfect)
    expected = fitted(x, y).diagnose((x, y))
    assert result.exact_rows == 0
    assert result.rows.tolist() == expected.rows.tolist()
    check(result.cooks_distance, expected.cooks_distance)
    check(result.white[:4], expected.white[:4])


def test_with_one_degree_of_freedom_left_no_residual_can_be_studentised_from_the_others():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=4)
    result = fitted(x, y).diagnose((x, y))
    expected = sm.OLS(y, sm.add_constant(x)).fit(method="pinv").get_influence()
    check(np.sort(result.cooks_distance), np.sort(expected.cooks_distance[0]))
    assert np.isnan(result.resid_studentized).all()
    assert max(map(len, str(result).splitlines())) <= 80


# Arguments, and outputs


@pytest.mark.parametrize("k", [0, -1, 2.0, True, "3", None])
def test_a_number_of_rows_that_is_none_is_an_error(k):
    with pytest.raises(ValueError, match="`k` must be a positive integer. Received: k="):
        model_of("stackloss").diagnose(data_of("stackloss"), k=k)


def test_a_model_that_does_not_tell_is_refused():
    x, y = dataset("stackloss")
    with pytest.raises(ValueError, match="must be fitted before"):
        klr.ExactLinearRegression().diagnose((x, y))
    with pytest.raises(ValueError, match="A penalised fit"):
        fitted(x, y, kernel_regularizer=keras.regularizers.L2(0.1)).diagnose((x, y))
    with pytest.raises(ValueError, match="more rows than coefficients"):
        fitted(x[:4], y[:4]).diagnose((x[:4], y[:4]))


def test_one_output_is_found_by_name_and_number_and_has_floats():
    x, y = three_outputs()
    frame = pd.DataFrame(y, columns=["a", "b", "c"])
    result = fitted(x, frame, units=3).diagnose((x, frame), k=K)
    assert result.output_names == ("a", "b", "c")
    for key in ("durbin_watson", "scale", "mean", "std", "skew", "kurtosis", "jarque_bera", "jarque_bera_pvalue"):
        assert getattr(result, key).shape == (3,)
    for key in ("rows", "cooks_distance", "resid_studentized", "leverage", "residuals"):
        assert getattr(result, key).shape == (K, 3)
    assert result.quantiles.shape == (5, 3)
    for j, name in enumerate("abc"):
        one, alone = result.output(name), fitted(x, y[:, j]).diagnose((x, y[:, j]), k=K)
        assert one.output_names == (name,)
        check_same(one, alone)
        check_same(result.output(j), alone)
        for key in alone.sample:
            assert one.sample[key].shape == alone.sample[key].shape
        assert one.output(name) is one
    for bad in ("d", 3, -1):
        with pytest.raises(ValueError, match=r"`name` must be one of the outputs \['a', 'b', 'c'\]. Received: "):
            result.output(bad)


@pytest.mark.parametrize("name", ["stackloss", "three outputs"])
def test_figures_of_one_output_are_floats(name):
    one = diagnosed(name).output(0)
    for key in ("durbin_watson", "scale", "mean", "std", "skew", "kurtosis", "jarque_bera", "jarque_bera_pvalue"):
        assert isinstance(getattr(one, key), float), key
    for test in (one.breusch_pagan, one.white):
        assert all(isinstance(value, float) for value in test[:4])
        assert isinstance(test.df, int)


def test_as_many_outputs_as_quantiles_are_told_apart():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 5))
    result = fitted(x, y, units=5).diagnose((x, y), k=5)
    for j in range(5):
        check_same(result.output(j), fitted(x, y[:, j]).diagnose((x, y[:, j]), k=5))


def test_a_frame_has_a_row_for_each_influential_row():
    result = diagnosed("stackloss")
    frame = result.to_frame()
    assert frame.index.name == "row"
    assert frame.index.tolist() == result.rows.tolist()
    assert frame.columns.tolist() == ["cooks_distance", "resid_studentized", "leverage", "residual"]
    np.testing.assert_array_equal(actual=frame["residual"], desired=result.residuals)
    several = diagnosed("three outputs").to_frame()
    assert several.index.names == ["output", "row"]
    assert len(several) == 3 * K
    second = diagnosed("three outputs").output(1)
    np.testing.assert_array_equal(actual=several.loc["y1"]["cooks_distance"], desired=second.cooks_distance)


def test_diagnostics_are_frozen():
    with pytest.raises(AttributeError):
        diagnosed("stackloss").durbin_watson = 2.0


# The text


@ALL_PROBLEMS
def test_the_text_fits_80_columns_and_says_what_there_is(name):
    result = diagnosed(name)
    text = str(result)
    assert max(map(len, text.splitlines())) <= 80
    assert repr(result) == text
    for one in (result.output(j) for j in range(len(result.output_names))):
        assert f"Diagnostics of the regression of {one.output_names[0]}" in text
        assert f"row {one.rows[0]} " in text
    for word in ("Durbin-Watson", "Jarque-Bera", "Breusch-Pagan p-value", "Cook's distance", "Median"):
        assert text.count(word) == len(result.output_names)


@pytest.mark.parametrize("size", [1e-140, 1e-120, 1e-9, 3e-4, 1.0, 1e5, 1e9, 1e120])
@pytest.mark.parametrize("shape", ["normal", "all but one below zero"])
def test_the_text_fits_80_columns_whatever_the_unit_of_y(size, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = rng.normal(size=40) if shape == "normal" else np.where(np.arange(40) == 7, 100.0, rng.normal(size=40) / 10)
    text = str(fitted(x, size * y).diagnose((x, size * y)))
    assert max(map(len, text.splitlines())) <= 80


def test_the_text_fits_80_columns_where_all_quantiles_are_small_and_negative():
    x, y = far_from_zero()
    y = -3e-4 + 1e-5 * (y - 1000)
    text = str(fitted(x, y, use_bias=False).diagnose((x, y)))
    assert max(map(len, text.splitlines())) <= 80


def test_the_text_fits_80_columns_with_long_names_and_numbers_of_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=30), pd.Series(rng.normal(size=30), name="the price of a house " * 9)
    model = fitted(x, y)
    result = model.diagnose((x, y))
    result = dataclasses.replace(result, rows=result.rows + 10**12)
    assert max(map(len, str(result).splitlines())) <= 80
