"""Diagnostics of one more pass are statsmodels' to 9 digits, whatever the blocks, and their text fits the screen."""

import functools
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.datasets
import statsmodels.api as sm
import tensorflow as tf
from statsmodels.stats.diagnostic import het_breuschpagan, het_white
from statsmodels.stats.stattools import durbin_watson, jarque_bera
from statsmodels.tools.sm_exceptions import SingularMatrixWarning

import keras_linreg as klr
from keras_linreg.inference import diagnostics, quantiles, residual_statistics, second_pass
from keras_linreg.utils import threads
from tests.streams import Batches, cut

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
    found = diagnosed(name)
    each = [found.output(j) for j in range(len(found.output_names))]
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
        theoretical, found = ours.qq
        check(theoretical, scipy.stats.norm.ppf((np.arange(len(e)) + 0.5) / len(e)), atol=1e-12)
        check(found, np.sort(influence.resid_studentized_internal), atol=1e-11)


@ALL_PROBLEMS
def test_the_sample_of_few_rows_is_all_of_them(name):
    _, y, w, _ = PROBLEMS[name]
    y = y.reshape(len(y), -1)
    root = np.ones(len(y)) if w is None else np.sqrt(w)
    for j, (ours, influence, e) in enumerate(outputs(name)):
        sample, size = ours.sample, np.std(y[:, j])
        np.testing.assert_array_equal(sample["rows"], np.arange(len(y)))
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
    found = fitted(x, y, use_bias=False).diagnose((x, y))
    _, _, skew, kurtosis = jarque_bera(e)
    check([found.std, found.skew, found.kurtosis], [np.std(e, ddof=1), skew, kurtosis], rtol=1e-7)


def test_aliased_columns_are_not_counted():
    x, y, _, _ = PROBLEMS["stackloss"]
    wide = np.column_stack([x[:, 0], 2 * x[:, 0] - 1, x[:, 1], np.full(21, 3.0), x[:, 2]])
    with pytest.warns(UserWarning, match="depend on the bias or columns before them"):
        found = fitted(wide, y).diagnose((wide, y), k=K)
    expected = diagnosed("stackloss")
    check(found.breusch_pagan, expected.breusch_pagan)
    check(found.white, expected.white)
    assert found.rows.tolist() == expected.rows.tolist()
    for key in ("cooks_distance", "resid_studentized", "leverage", "residuals", "durbin_watson", "kurtosis"):
        check(getattr(found, key), getattr(expected, key))
    assert found.rank == 4


def test_the_smallest_kernel_has_the_diagnostics_of_the_fit_without_the_columns():
    x, y, _, _ = PROBLEMS["stackloss"]
    wide = np.column_stack([x, x[:, 0]])
    with pytest.warns(UserWarning, match="depend on"):
        found = fitted(wide, y, dependent="min_norm").diagnose((wide, y), k=K)
    check(found.cooks_distance, diagnosed("stackloss").cooks_distance)
    check(found.white, diagnosed("stackloss").white)


# Every kind of data, in every cut


KINDS = {
    "arrays": lambda *d: d,
    "frame": lambda x, y, w: (pd.DataFrame(x), pd.DataFrame(y), w),
    "dataset in batches of 7": lambda *d: tf.data.Dataset.from_tensor_slices(d).batch(7),
    "PyDataset": lambda *d: Batches(cut(*d)),
    "PyDataset with workers": lambda *d: Batches(cut(*d), workers=2),
    "generator of single rows": lambda *d: (part for part in cut(*d, size=1)),
}
FIGURES = (
    *("mean", "std", "quantiles", "durbin_watson", "skew", "kurtosis", "jarque_bera"),
    *("rows", "cooks_distance", "resid_studentized", "leverage", "residuals"),
)


def check_same(found, expected, rtol=1e-10):
    for key in FIGURES:
        size = np.max(expected.std) if key in ("mean", "quantiles", "residuals") else 0.0
        check(getattr(found, key), getattr(expected, key), rtol=rtol, atol=1e-12 * size, err_msg=key)
    for test in ("breusch_pagan", "white"):
        for ours, theirs in zip(getattr(found, test), getattr(expected, test), strict=True):
            check(ours, theirs, rtol=rtol, err_msg=test)
    for ours, theirs in zip(found.qq, expected.qq, strict=True):
        check(ours, theirs, rtol=rtol, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same(kind):
    found = model_of("three outputs, weighted").diagnose(KINDS[kind](*data_of("three outputs, weighted")), k=K)
    check_same(found, diagnosed("three outputs, weighted"))


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("numbers", [1, 8, 40])
@pytest.mark.parametrize("name", ["three outputs, weighted", "engel", "stackloss, weighted, no intercept"])
def test_neither_blocks_nor_cores_make_a_difference(name, numbers, cores, monkeypatch):
    monkeypatch.setattr(second_pass, "BLOCK_NUMBERS", numbers)
    monkeypatch.setattr(threads, "cores", lambda: cores)
    check_same(model_of(name).diagnose(data_of(name), k=K), diagnosed(name))


@pytest.mark.parametrize("numbers", [2**17, 8], ids=["whole", "in blocks"])
@pytest.mark.parametrize("name", ["stackloss, weighted", "three outputs, weighted"])
def test_rows_of_weight_zero_are_left_out_but_counted(name, numbers, monkeypatch):
    monkeypatch.setattr(second_pass, "BLOCK_NUMBERS", numbers)
    rng = np.random.default_rng(1)
    parts, n = data_of(name), len(PROBLEMS[name][0])
    used = np.sort(rng.permutation(2 * n)[:n])
    many = [np.full((2 * n, *part.shape[1:]), fill) for part, fill in zip(parts, (1e6, -1e4, 0.0), strict=True)]
    for target, part in zip(many, parts, strict=True):
        target[used] = part
    found = fitted(*many, units=many[1].shape[1] if many[1].ndim > 1 else 1).diagnose(tuple(many), k=K)
    expected = diagnosed(name)
    np.testing.assert_array_equal(found.rows, used[expected.rows])
    np.testing.assert_array_equal(found.sample["rows"], used)
    assert found.nobs == n
    object.__setattr__(found, "rows", expected.rows)
    check_same(found, expected)


@pytest.mark.parametrize("k", [1, 3, 21, 500, np.int64(4)])
def test_as_many_rows_are_named_as_asked_for_and_there_are(k):
    found = model_of("stackloss").diagnose(data_of("stackloss"), k=k)
    distance = influences("stackloss")[0].cooks_distance[0]
    assert found.rows.tolist() == np.argsort(-distance)[:k].tolist()


def test_of_rows_alike_the_first_is_named():
    x, y = np.tile([0.0, 1.0, 2.0, 5.0], 3), np.tile([0.0, 1.0, 0.0, 1.0], 3)
    found = fitted(x, y).diagnose((x, y), k=12)
    distance = found.cooks_distance.round(12)
    for value in np.unique(distance):
        rows = found.rows[distance == value]
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


def test_the_sample_is_bounded_and_each_row_as_likely(many, monkeypatch):
    monkeypatch.setattr(residual_statistics, "SAMPLE_ROWS", 500)
    x, y, model = many
    found = model.diagnose((x, y))
    rows = found.sample["rows"]
    assert len(rows) == len(set(rows.tolist())) == 500
    assert (np.diff(rows) > 0).all()
    counts = np.histogram(rows, bins=20, range=(0, len(x)))[0]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert scipy.stats.kstest(found.sample["standardized"], "norm").pvalue > 1e-3
    check(found.sample["y"], y[rows], atol=1e-12)
    assert "Pictures show 500 rows, drawn at random." in found.notes


def test_the_sample_is_the_same_each_time_and_in_every_cut(many, monkeypatch):
    monkeypatch.setattr(residual_statistics, "SAMPLE_ROWS", 300)
    x, y, model = many
    expected = model.diagnose((x, y)).sample
    monkeypatch.setattr(second_pass, "BLOCK_NUMBERS", 1500)
    for data in ((x, y), tf.data.Dataset.from_tensor_slices((x, y)).batch(777)):
        for name, part in model.diagnose(data).sample.items():
            check(part, expected[name], atol=1e-12)


def test_many_residuals_are_counted_within_the_documented_error(many, monkeypatch):
    monkeypatch.setattr(quantiles, "MOST_VALUES", 1000)
    x, y, model = many
    found = model.diagnose((x, y))
    e = y - x @ model.kernel.numpy()[:, 0] - model.bias.numpy()
    expected = np.quantile(e, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(actual=found.quantiles, desired=expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    theoretical, standardized = found.qq
    assert len(theoretical) == len(standardized) == diagnostics.QQ_POINTS + 2  # the ends beside
    assert (np.diff(standardized) >= 0).all()
    inner = abs(theoretical) < 2
    np.testing.assert_allclose(actual=standardized[inner], desired=theoretical[inner], atol=0.08)


# What is not defined


def test_white_is_left_out_with_a_note_where_its_terms_are_too_many():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 24)), rng.normal(size=400)
    found = fitted(x, y).diagnose((x, y))
    assert found.white is None
    assert any("White's test is left out: its squares and products are 324" in note for note in found.notes)
    assert "White" not in str(found).split("*")[0]
    assert found.breusch_pagan.df == 24
    at_most = fitted(x[:, :23], y).diagnose((x[:, :23], y))
    assert at_most.white.df == 299
    assert at_most.notes == ()


@pytest.mark.parametrize(("rows", "there"), [(10, False), (11, True)])
def test_white_is_left_out_where_rows_are_too_few(rows, there):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=rows)
    found = fitted(x, y).diagnose((x, y))
    assert (found.white is not None) == there
    assert bool(found.notes) != there


@pytest.mark.parametrize("numbers", [2**17, 12], ids=["whole", "in blocks"])
def test_rows_of_leverage_1_are_counted_and_noted_and_the_others_are_right(numbers, monkeypatch):
    monkeypatch.setattr(second_pass, "BLOCK_NUMBERS", numbers)
    x, y, _, _ = PROBLEMS["stackloss"]
    wide = np.column_stack([x, np.arange(21) == 4, np.arange(21) == 13])
    found = fitted(wide, y).diagnose((wide, y), k=30)
    assert found.exact_rows == 2
    assert "Rows of leverage 1: 2. A coefficient serves each of them alone" in found.notes[-1]
    assert set(found.rows.tolist()) == set(range(21)) - {4, 13}
    kept = np.delete(np.arange(21), [4, 13])
    expected = sm.OLS(y[kept], sm.add_constant(x[kept])).fit(method="pinv").get_influence()
    order = [kept.tolist().index(row) for row in found.rows]
    check(found.resid_studentized, expected.resid_studentized_external[order], rtol=1e-8)
    check(found.leverage, expected.hat_matrix_diag[order])
    assert np.isfinite(found.qq[1]).all()
    assert len(found.qq[1]) == 19


def test_an_intercept_alone_has_no_columns_to_test():
    y = np.random.default_rng(0).normal(size=30)
    with pytest.warns(UserWarning, match="depend on the bias"):
        model = fitted(np.ones((30, 1)), y)
    found = model.diagnose((np.ones((30, 1)), y))
    assert found.breusch_pagan is None
    assert found.white is None
    check(found.durbin_watson, durbin_watson(y - y.mean()))
    assert max(map(len, str(found).splitlines())) <= 80


def test_a_perfect_fit_can_be_diagnosed_and_printed():
    x = np.arange(10.0)
    found = fitted(x, 2 * x + 1).diagnose((x, 2 * x + 1))
    assert found.exact_rows == 0
    assert not any("leverage 1" in note for note in found.notes)
    assert np.abs(found.quantiles).max() == 0
    assert max(map(len, str(found).splitlines())) <= 80
    assert len(found.to_frame()) == len(found.rows)


@pytest.mark.parametrize("perfect", [0, 1])
def test_an_output_that_fits_perfectly_takes_nothing_from_the_others(perfect):
    x = np.arange(10.0)
    y = np.random.default_rng(0).normal(size=10)
    both = np.column_stack([y, 2 * x + 1] if perfect else [2 * x + 1, y])
    found = fitted(x, both, units=2).diagnose((x, both)).output(1 - perfect)
    expected = fitted(x, y).diagnose((x, y))
    assert found.exact_rows == 0
    assert found.rows.tolist() == expected.rows.tolist()
    check(found.cooks_distance, expected.cooks_distance)
    check(found.white[:4], expected.white[:4])


def test_with_one_degree_of_freedom_left_no_residual_can_be_studentised_from_the_others():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=4)
    found = fitted(x, y).diagnose((x, y))
    expected = sm.OLS(y, sm.add_constant(x)).fit(method="pinv").get_influence()
    check(np.sort(found.cooks_distance), np.sort(expected.cooks_distance[0]))
    assert np.isnan(found.resid_studentized).all()
    assert max(map(len, str(found).splitlines())) <= 80


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
    found = fitted(x, frame, units=3).diagnose((x, frame), k=K)
    assert found.output_names == ("a", "b", "c")
    for key in ("durbin_watson", "scale", "mean", "std", "skew", "kurtosis", "jarque_bera", "jarque_bera_pvalue"):
        assert getattr(found, key).shape == (3,)
    for key in ("rows", "cooks_distance", "resid_studentized", "leverage", "residuals"):
        assert getattr(found, key).shape == (K, 3)
    assert found.quantiles.shape == (5, 3)
    for j, name in enumerate("abc"):
        one, alone = found.output(name), fitted(x, y[:, j]).diagnose((x, y[:, j]), k=K)
        assert one.output_names == (name,)
        check_same(one, alone)
        check_same(found.output(j), alone)
        for key in alone.sample:
            assert one.sample[key].shape == alone.sample[key].shape
        assert one.output(name) is one
    for bad in ("d", 3, -1):
        with pytest.raises(ValueError, match=r"`name` must be one of the outputs \['a', 'b', 'c'\]. Received: "):
            found.output(bad)


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
    found = fitted(x, y, units=5).diagnose((x, y), k=5)
    for j in range(5):
        check_same(found.output(j), fitted(x, y[:, j]).diagnose((x, y[:, j]), k=5))


def test_a_frame_has_a_row_for_each_influential_row():
    found = diagnosed("stackloss")
    frame = found.to_frame()
    assert frame.index.name == "row"
    assert frame.index.tolist() == found.rows.tolist()
    assert frame.columns.tolist() == ["cooks_distance", "resid_studentized", "leverage", "residual"]
    np.testing.assert_array_equal(frame["residual"], found.residuals)
    several = diagnosed("three outputs").to_frame()
    assert several.index.names == ["output", "row"]
    assert len(several) == 3 * K
    second = diagnosed("three outputs").output(1)
    np.testing.assert_array_equal(several.loc["y1"]["cooks_distance"], second.cooks_distance)


def test_diagnostics_are_frozen():
    with pytest.raises(AttributeError):
        diagnosed("stackloss").durbin_watson = 2.0


# The text


@ALL_PROBLEMS
def test_the_text_fits_80_columns_and_says_what_there_is(name):
    found = diagnosed(name)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert repr(found) == text
    for one in (found.output(j) for j in range(len(found.output_names))):
        assert f"Diagnostics of the regression of {one.output_names[0]}" in text
        assert f"row {one.rows[0]} " in text
    for word in ("Durbin-Watson", "Jarque-Bera", "Breusch-Pagan p-value", "Cook's distance", "Median"):
        assert text.count(word) == len(found.output_names)


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
    found = model.diagnose((x, y))
    object.__setattr__(found, "rows", found.rows + 10**12)
    assert max(map(len, str(found).splitlines())) <= 80
