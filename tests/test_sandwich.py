"""Covariances from a second pass are statsmodels' to 9 digits, for every kind of data, and cover what they promise."""

import functools
import tracemalloc
import unittest.mock
from fractions import Fraction

import hypothesis
import keras
import numpy as np
import pandas as pd
import pytest
import rational
import scipy.sparse
import sklearn.datasets
import statsmodels.api as sm
import tensorflow as tf
from hypothesis import strategies as st
from streams import Batches, cut

import keras_linreg as klr
from keras_linreg.inference import sandwich
from keras_linreg.inference.covariance import covariance
from keras_linreg.inference.estimate import estimate_parameters
from keras_linreg.utils import threads

FIGURES = ("params", "bse", "tvalues", "pvalues", "fvalue", "f_pvalue")
HETEROSCEDASTIC = ("HC0", "HC1", "HC2", "HC3")


def dataset(name):
    data = getattr(sm.datasets, name).load_pandas()
    return data.exog, data.endog


def diabetes():
    data = sklearn.datasets.load_diabetes(as_frame=True, scaled=False)
    return data.data, data.target


def three_outputs(n=90):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(n, 3)) + np.array([0.0, 5.0, -20.0])
    noise = rng.normal(size=(n, 3)) * np.exp(x[:, :1])
    return x, x @ rng.normal(size=(3, 3)) * [1.0, 1e-6, 1e6] + noise * [1.0, 1e-6, 1e6]


def weights(n):
    return np.random.default_rng(n).uniform(0.05, 4.0, n)


PROBLEMS = {  # x, y, weights, whether there is an intercept
    "stackloss": (*dataset("stackloss"), None, True),
    "engel": (*dataset("engel"), None, True),
    "diabetes": (*diabetes(), None, True),
    "stackloss, weighted": (*dataset("stackloss"), weights(21), True),
    "diabetes, weighted": (*diabetes(), weights(442), True),
    "engel, no intercept": (*dataset("engel"), None, False),
    "stackloss, weighted, no intercept": (*dataset("stackloss"), weights(21), False),
    "three outputs": (*three_outputs(), None, True),
    "three outputs, weighted": (*three_outputs(), weights(90), True),
}
COVARIANCES = {
    **{kind: {} for kind in HETEROSCEDASTIC},
    "cluster of 13 groups": {"groups": 13},
    "cluster of many groups": {"groups": 19},
    **{f"HAC {lags}": {"maxlags": lags} for lags in (0, 1, 4, 17)},
}
ALL_PROBLEMS = pytest.mark.parametrize("name", PROBLEMS)
ALL_COVARIANCES = pytest.mark.parametrize("kind", COVARIANCES)


def options_of(kind, n):
    """The arguments of `report`, and statsmodels' of the same."""
    arguments = dict(COVARIANCES[kind])
    if "groups" in arguments:
        arguments["groups"] = np.random.default_rng(9).permutation(np.arange(n) % arguments["groups"])
    cov_type = kind.split()[0]
    return {"cov_type": cov_type, **arguments}, {"cov_type": cov_type, "cov_kwds": arguments or None}


def fitted(x, y=None, w=None, **options):
    model = klr.ExactLinearRegression(**options)
    model.fit(x, y, sample_weight=w, verbose=0)
    return model


@functools.cache
def model_of(name):
    x, y, w, use_bias = PROBLEMS[name]
    return fitted(x, y, w, use_bias=use_bias, units=y.shape[1] if np.ndim(y) > 1 else 1)


def data_of(name):
    x, y, w, _ = PROBLEMS[name]
    return (x, y) if w is None else (x, y, w)


def batch_of(x, y, w=None):
    """Arrays as a second pass reads them."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return x, y.reshape(len(x), -1), None if w is None else np.asarray(w)


def report_in_blocks(model, batches, block_numbers, cov_type, groups=None, maxlags=None):
    """The report of a second pass that reads blocks of about so many numbers."""
    estimate = model.fitted.estimate
    meat, count = sandwich.meat(estimate, batches, cov_type, groups, maxlags, block_numbers)
    return klr.RegressionReport(estimate, 0.95, cov_type, meat, count, maxlags)


def oracle(x, y, w, use_bias, **kwargs):
    """Statsmodels' results of each output."""
    design = sm.add_constant(np.asarray(x, float)) if use_bias else np.asarray(x, float)
    columns = np.asarray(y, float).reshape(len(design), -1).T
    models = [sm.OLS(one, design) if w is None else sm.WLS(one, design, w) for one in columns]
    return [model.fit(method="pinv", **kwargs) for model in models]


def figures(report):
    return {
        **{key: getattr(report, key) for key in FIGURES},
        "conf_int": report.conf_int(),
        "conf_int of 80 %": report.conf_int(level=0.8),
        "cov_params": covariance(report.estimate, report.meat),
    }


def figures_of_statsmodels(results):
    each = [
        {
            **{key: getattr(one, key) for key in FIGURES},
            "conf_int": one.conf_int(),
            "conf_int of 80 %": one.conf_int(alpha=0.2),
            "cov_params": one.cov_params(),
        }
        for one in results
    ]
    return {key: np.stack([one[key] for one in each], axis=-1) for key in each[0]}


def check_same(figures_of_report, expected, rtol):
    for key, value in expected.items():
        desired = np.asarray(value)
        actual = np.asarray(figures_of_report[key])
        if key.startswith("conf_int") and actual.ndim == 2 and desired.ndim == 3:  # pairs of limit and output
            actual = actual.reshape(len(actual), 2, -1)
        actual = actual.reshape(desired.shape)
        if key == "cov_params":  # an entry may be 0 but for rounding: by the errors of its row and column
            sd = np.sqrt(np.einsum("ii...->i...", desired))
            actual, desired = (part / (sd[:, None] * sd[None]) for part in (actual, desired))
            np.testing.assert_allclose(actual=actual, desired=desired, rtol=rtol, atol=rtol, err_msg=key)
        else:
            np.testing.assert_allclose(actual=actual, desired=desired, rtol=rtol, err_msg=key)


# Statsmodels


@ALL_COVARIANCES
@ALL_PROBLEMS
def test_every_figure_is_statsmodels(name, kind):
    ours, theirs = options_of(kind, len(PROBLEMS[name][0]))
    report = model_of(name).report(data=data_of(name), **ours)
    expected = figures_of_statsmodels(oracle(*PROBLEMS[name], **theirs))
    check_same(figures(report), expected, rtol=1e-9)
    assert report.cov_type == ours["cov_type"]


def test_more_lags_than_rows_are_all_there_are():
    # What is left of the meat is small beside its parts, and the normal tail shows ten times the error of z.
    kwargs = {"cov_type": "HAC", "cov_kwds": {"maxlags": 50}}
    (expected,) = oracle(*PROBLEMS["stackloss"], **kwargs)
    report = model_of("stackloss").report(cov_type="HAC", data=data_of("stackloss"), maxlags=50)
    np.testing.assert_allclose(actual=report.bse, desired=expected.bse, rtol=1e-9)


@pytest.mark.parametrize("name", ["stackloss", "diabetes, weighted", "stackloss, weighted, no intercept"])
def test_tests_of_restrictions_go_by_the_robust_covariance(name):
    (result,) = oracle(*PROBLEMS[name], cov_type="HC3")
    report = model_of(name).report(cov_type="HC3", data=data_of(name))
    matrix = np.eye(len(report.names))[-2:]
    matrix[0, -1] = -1.0
    for ours, theirs in (
        (report.wald_test(matrix), result.wald_test(matrix, use_f=False, scalar=True)),
        (report.f_test(matrix), result.f_test(matrix)),
    ):
        np.testing.assert_allclose(actual=ours.statistic, desired=theirs.statistic, rtol=1e-9)
        np.testing.assert_allclose(actual=ours.pvalue, desired=theirs.pvalue, rtol=1e-9)
    ours, theirs = report.t_test(matrix), result.t_test(matrix)
    np.testing.assert_allclose(actual=ours.tvalue, desired=theirs.tvalue, rtol=1e-9)
    np.testing.assert_allclose(actual=ours.conf_int(), desired=theirs.conf_int(), rtol=1e-9)


def test_figures_that_do_not_depend_on_the_covariance_stay():
    model = model_of("diabetes")
    plain, robust_report = model.report(), model.report(cov_type="HC3", data=data_of("diabetes"))
    for key in ("params", "rsquared", "rsquared_adj", "llf", "aic", "bic", "scale", "ssr", "df_resid", "nobs"):
        np.testing.assert_array_equal(actual=getattr(robust_report, key), desired=getattr(plain, key))


def test_one_output_of_several_has_the_figures_of_its_own_fit():
    x, y = three_outputs()
    report = model_of("three outputs").report(cov_type="HC2", data=(x, y))
    for j in range(3):
        alone = fitted(x, y[:, j]).report(cov_type="HC2", data=(x, y[:, j]))
        check_same(figures(report.output(j)), figures(alone), rtol=1e-11)


# Longley, of which statsmodels has 8 to 9 digits


@functools.cache
def longley():
    """Data; and, as fractions, the inverse, the scores of the rows, leverages."""
    x, y = (np.asarray(part, float) for part in dataset("longley"))
    design, target = rational.fractions(sm.add_constant(x)), rational.fractions(y)
    inverse = rational.solve(design.T @ design, np.array(rational.identity(7), object))
    left = target - design @ (inverse @ (design.T @ target))
    leverage = np.array([row @ inverse @ row for row in design])
    return x, y, inverse, design * left[:, None], leverage


def longley_meat(kind):
    *_, scores, leverage = longley()
    if kind in HETEROSCEDASTIC:
        scale = {"HC2": 1 / (1 - leverage), "HC3": 1 / (1 - leverage) ** 2}.get(kind, Fraction(1))
        return (scores.T * scale) @ scores * (Fraction(16, 9) if kind == "HC1" else 1), {}
    if kind == "cluster":
        sums = scores.reshape(8, 2, 7).sum(axis=1)
        return sums.T @ sums * Fraction(8, 7) * Fraction(15, 9), {"groups": np.arange(16) // 2}
    total = scores.T @ scores
    for lag in (1, 2, 3):
        gamma = scores[lag:].T @ scores[:-lag]
        total = total + (1 - Fraction(lag, 4)) * (gamma + gamma.T)
    return total, {"maxlags": 3}


@pytest.mark.parametrize("kind", [*HETEROSCEDASTIC, "cluster", "HAC"])
def test_longley_has_11_digits_against_fractions(kind):
    x, y, inverse, *_ = longley()
    meat, options = longley_meat(kind)
    variances = np.diag(inverse @ meat @ inverse)
    report = fitted(x, y).report(cov_type=kind, data=(x, y), **options)
    np.testing.assert_allclose(actual=report.bse, desired=np.sqrt(variances.astype(float)), rtol=1e-11)


# Groups


def labels_of(codes):
    names = np.array(["north", "south", "east", "west", "a long name of a group", "ü"])
    return names[codes]


KINDS_OF_GROUPS = {
    "int array": lambda g: g,
    "floats": lambda g: g / 3,
    "a column": lambda g: g[:, None],
    "negative and far apart": lambda g: (g - 2) * 10**12,
    "list": lambda g: g.tolist(),
    "tuple of strings": lambda g: tuple(labels_of(g).tolist()),
    "strings": labels_of,
    "objects": lambda g: labels_of(g).astype(object),
    "Series": lambda g: pd.Series(labels_of(g)),
    "categories": lambda g: pd.Series(labels_of(g), dtype="category"),
    "nullable integers": lambda g: pd.Series(g, dtype="Int64"),
    "dates": lambda g: pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(g, unit="D")),
    "tensor": tf.constant,
    "tensor of strings": lambda g: tf.constant(labels_of(g)),
    "dataset": lambda g: tf.data.Dataset.from_tensor_slices(labels_of(g)).batch(5),
    "generator": lambda g: (labels_of(g[i : i + 4]) for i in range(0, len(g), 4)),
    "generator of lists": lambda g: (labels_of(g[i : i + 4]).tolist() for i in range(0, len(g), 4)),
    "generator with an empty batch": lambda g: iter([g[:7], g[:0], g[7:]]),
    "generator that ends in an empty batch": lambda g: iter([g, g[:0]]),
}


@pytest.mark.parametrize("kind", KINDS_OF_GROUPS)
def test_groups_come_as_any_labels_whole_or_in_batches(kind):
    codes = np.random.default_rng(3).integers(0, 6, 442)
    (expected,) = oracle(*PROBLEMS["diabetes"], cov_type="cluster", cov_kwds={"groups": codes})
    model, data = model_of("diabetes"), data_of("diabetes")
    for report in (
        model.report(cov_type="cluster", data=data, groups=KINDS_OF_GROUPS[kind](codes)),
        report_in_blocks(model, [batch_of(*data)], 30, "cluster", groups=KINDS_OF_GROUPS[kind](codes)),
    ):
        np.testing.assert_allclose(actual=report.bse, desired=expected.bse, rtol=1e-9)
        assert report.groups == 6


def test_each_row_its_own_group_is_hc1_but_for_the_correction():
    x, y, _, _ = PROBLEMS["diabetes"]
    model = model_of("diabetes")
    report = model.report(cov_type="cluster", data=(x, y), groups=np.arange(442))
    np.testing.assert_allclose(actual=report.bse, desired=model.report(cov_type="HC1", data=(x, y)).bse, rtol=1e-12)


def test_groups_too_few_to_test_all_columns_have_no_f_and_a_note():
    x, y, _, _ = PROBLEMS["diabetes"]
    report = model_of("diabetes").report(cov_type="cluster", data=(x, y), groups=np.arange(442) % 5)
    assert np.isnan(report.fvalue)
    assert np.isfinite(report.bse).all()
    assert any("5 groups are too few to test 10 columns together" in note for note in report.notes)


# Every kind of data


NAMES = ["x0", "x1", "x2"]
KINDS = {
    "arrays": lambda x, y, w: (x, y, w),
    "tensors": lambda *d: tuple(tf.constant(a) for a in d),
    "frame": lambda x, y, w: (pd.DataFrame(x, columns=NAMES), pd.DataFrame(y), pd.Series(w)),
    "dict": lambda x, y, w: ({name: x[:, i] for i, name in enumerate(NAMES)}, y, w),
    "scipy sparse": lambda x, y, w: (scipy.sparse.csr_array(x), y, w),
    "sparse tensor": lambda x, y, w: (tf.sparse.from_dense(x), y, w),
    "dataset in batches of 7": lambda *d: tf.data.Dataset.from_tensor_slices(d).batch(7),
    "dataset of dicts": lambda x, y, w: tf.data.Dataset.from_tensor_slices(
        ({n: x[:, i] for i, n in enumerate(NAMES)}, y, w)
    ).batch(13),
    "PyDataset": lambda *d: Batches(cut(*d)),
    "PyDataset with workers": lambda *d: Batches(cut(*d), workers=2),
    "generator": lambda *d: (part for part in cut(*d)),
    "generator of single rows": lambda *d: (part for part in cut(*d, size=1)),
}
SECOND_PASSES = {
    **{kind: {"cov_type": kind} for kind in HETEROSCEDASTIC},
    "cluster": {"cov_type": "cluster", "groups": np.arange(90) % 11},
    "HAC": {"cov_type": "HAC", "maxlags": 9},
}


@pytest.fixture(scope="module")
def whole():
    """The data of three outputs, their model, and the figures of each covariance, read whole."""
    data = (*three_outputs(), weights(90))
    model = fitted(*data, units=3)
    return data, model, {kind: figures(model.report(data=data, **o)) for kind, o in SECOND_PASSES.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cov_type", ["HC3", "cluster", "HAC"])
def test_every_kind_of_data_gives_the_same(kind, cov_type, whole):
    data, model, expected = whole
    report = model.report(data=KINDS[kind](*data), **SECOND_PASSES[cov_type])
    check_same(figures(report), expected[cov_type], rtol=1e-11)


@pytest.mark.parametrize("cov_type", SECOND_PASSES)
@hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    cuts=st.lists(st.integers(0, 90), max_size=12).map(sorted),
    block_numbers=st.sampled_from([1, 8, 40, 2**17]),
    cores=st.sampled_from([1, 4]),
)
def test_neither_batches_nor_blocks_nor_cores_make_a_difference(whole, cov_type, cuts, block_numbers, cores):
    data, model, expected = whole
    batches = list(zip(*(np.split(part, cuts) for part in batch_of(*data)), strict=True))
    with unittest.mock.patch.object(threads, "cores", lambda: cores):
        report = report_in_blocks(model, batches, block_numbers, **SECOND_PASSES[cov_type])
    check_same(figures(report), expected[cov_type], rtol=1e-11)


@pytest.mark.parametrize("cov_type", HETEROSCEDASTIC)
def test_the_order_of_rows_makes_no_difference_to_white(cov_type, whole):
    data, model, expected = whole
    order = np.random.default_rng(5).permutation(90)
    report = model.report(cov_type=cov_type, data=tuple(part[order] for part in data))
    check_same(figures(report), expected[cov_type], rtol=1e-11)


def test_a_model_loaded_from_disk_and_merged_shards_give_the_same(whole, tmp_path):
    data, model, expected = whole
    model.save(tmp_path / "model.keras")
    shards = [klr.Moments.from_data(*(part[i::3] for part in data)) for i in range(3)]
    for other in (
        keras.models.load_model(tmp_path / "model.keras"),
        klr.ExactLinearRegression.from_moments(sum(shards[1:], shards[0])),
    ):
        check_same(figures(other.report(cov_type="HC3", data=data)), expected["HC3"], rtol=1e-10)


# Rows of weight zero


def with_zeros(x, y, w, seed=1):
    """The data with rows of weight zero among them, of nonsense; and where the true rows are."""
    rng = np.random.default_rng(seed)
    used = np.sort(rng.permutation(2 * len(x))[: len(x)])
    parts = zip((x, y, w), (1e7, -1e5, 0.0), strict=True)
    many = tuple(np.full((2 * len(x), *part.shape[1:]), fill) for part, fill in parts)
    for target, part in zip(many, (x, y, w), strict=True):
        target[used] = part
    return many, used


@pytest.fixture(scope="module")
def fitted_with_zeros(whole):
    return fitted(*with_zeros(*whole[0])[0], units=3)


@pytest.mark.parametrize("kind", ["arrays", "dataset in batches of 7", "in blocks"])
@pytest.mark.parametrize("cov_type", SECOND_PASSES)
def test_rows_of_weight_zero_are_as_left_out(cov_type, kind, whole, fitted_with_zeros):
    data, _, expected = whole
    many, used = with_zeros(*data)
    options = dict(SECOND_PASSES[cov_type])
    if "groups" in options:  # some groups have rows of weight zero alone, and do not count
        groups = 1000 + np.arange(180)
        groups[used] = options["groups"]
        options["groups"] = groups
    model = fitted_with_zeros
    if kind == "in blocks":
        report = report_in_blocks(model, [batch_of(*many)], 8, **options)
    else:
        report = model.report(data=KINDS[kind](*many), **options)
    check_same(figures(report), expected[cov_type], rtol=1e-10)
    assert report.groups == (11 if cov_type == "cluster" else None)


def test_a_batch_of_nothing_but_weight_zero_changes_nothing(whole):
    (x, y, w), model, expected = whole
    parts = cut(x, y, w, size=30)
    empty = np.full((30, 3), 1e7), np.zeros((30, 3)), np.zeros(30)
    for kind, options in SECOND_PASSES.items():
        stream = (part for part in [empty, parts[0], empty, *parts[1:], empty])
        options = dict(options)
        if "groups" in options:
            g, none = options["groups"], np.full(30, -1)
            options["groups"] = np.concatenate([none, g[:30], none, g[30:], none])
        check_same(figures(model.report(data=stream, **options)), expected[kind], rtol=1e-11)


# Columns that depend on others


def test_aliased_columns_are_out_and_the_others_are_those_of_the_fit_without_them():
    x, y, _, _ = PROBLEMS["stackloss"]
    x = np.asarray(x, float)
    wide = np.column_stack([x[:, 0], x[:, 0] * 2 + 1, x[:, 1], np.full(21, 3.0), x[:, 2]])
    with pytest.warns(UserWarning, match="depend on the bias or columns before them"):
        model = fitted(wide, y)
    kept = [0, 1, 3, 5]
    for kind in COVARIANCES:
        ours, theirs = options_of(kind, 21)
        report = model.report(data=(wide, y), **ours)
        (expected,) = oracle(x, y, None, True, **theirs)
        for key in ("bse", "tvalues", "pvalues"):
            np.testing.assert_allclose(
                actual=getattr(report, key).iloc[kept], desired=getattr(expected, key), rtol=1e-9
            )
            assert np.isnan(getattr(report, key).iloc[[2, 4]]).all()
        np.testing.assert_allclose(actual=report.fvalue, desired=expected.fvalue, rtol=1e-9)


# What cannot be


def small(n=24, seed=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, x @ [1.0, -2.0, 0.5] + rng.normal(size=n)


GROUPS = np.arange(24) % 5
BAD_ARGUMENTS = {
    "an unknown covariance": (
        {"cov_type": "HC4"},
        r"`cov_type` must be one of \['nonrobust', 'HC0', .*, 'HAC'\]. Received: cov_type='HC4'",
    ),
    "lower case": ({"cov_type": "hc3"}, "`cov_type` must be one of .* Received: cov_type='hc3'"),
    "no covariance": ({"cov_type": None}, "`cov_type` must be one of .* Received: cov_type=None"),
    "no data": ({"cov_type": "HC3", "data": None}, "`data` must be given for cov_type='HC3'.* Received: data=None"),
    "no groups": ({"cov_type": "cluster"}, "`groups` must be given for cov_type='cluster'. Received: groups=None"),
    "no lags": ({"cov_type": "HAC"}, "`maxlags` must be given for cov_type='HAC'. Received: maxlags=None"),
    "groups too many": (
        {"cov_type": "HC0", "groups": GROUPS},
        "(?s)`groups` is for cov_type='cluster'. Received: groups=.*, cov_type='HC0'",
    ),
    "groups of HAC": ({"cov_type": "HAC", "maxlags": 2, "groups": GROUPS}, "`groups` is for cov_type='cluster'"),
    "lags too many": ({"cov_type": "HC1", "maxlags": 3}, "`maxlags` is for cov_type='HAC'. Received: maxlags=3"),
    "lags of the plain one": ({"maxlags": 3}, "`maxlags` is for cov_type='HAC'"),
    **{
        f"maxlags {bad!r}": (
            {"cov_type": "HAC", "maxlags": bad},
            "`maxlags` must be an integer that is not negative. Received: maxlags=",
        )
        for bad in (-1, 1.5, 2.0, True, "3", "a", [3], float("nan"), float("inf"))
    },
    "fewer labels": ({"cov_type": "cluster", "groups": GROUPS[:-1]}, "Received: fewer labels than rows"),
    "more labels": ({"cov_type": "cluster", "groups": np.arange(25)}, "Received: more labels than rows"),
    "a batch of labels too many": (
        {"cov_type": "cluster", "groups": lambda: iter([GROUPS, GROUPS])},
        "Received: more labels than rows",
    ),
    "a batch of labels too few": (
        {"cov_type": "cluster", "groups": lambda: iter([GROUPS[:20]])},
        "Received: fewer labels than rows",
    ),
    "no labels": ({"cov_type": "cluster", "groups": []}, "Received: fewer labels than rows"),
    "one group": ({"cov_type": "cluster", "groups": np.zeros(24)}, "at least two groups. Received: 1"),
    "two labels a row": (
        {"cov_type": "cluster", "groups": np.zeros((24, 2))},
        r"`groups` must be of shape \(n,\): one label a row. Received: shape \(24, 2\)",
    ),
    "a label": ({"cov_type": "cluster", "groups": "city"}, r"`groups` must"),
    **{
        f"a missing label, {what}": (
            {"cov_type": "cluster", "groups": missing},
            "`groups` must have a label for each row of `data`. Received: missing values",
        )
        for what, missing in {
            "NaN": np.r_[np.nan, GROUPS[1:]],
            "None among strings": [None, *map(str, GROUPS[1:])],
            "NaN among strings": [float("nan"), *map(str, GROUPS[1:])],
            "NA": pd.Series([pd.NA, *GROUPS[1:]], dtype="Int64"),
            "NaT": pd.Series([pd.NaT, *[pd.Timestamp("2020-01-01")] * 23]),
        }.items()
    },
    "a level that is an alpha of 5": ({"cov_type": "HC0", "level": 5}, "`level` must be a coverage"),
}


@pytest.fixture(scope="module")
def fitted_on_small_data():
    return fitted(*small())


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_arguments_that_cannot_be_are_errors_that_say_so_and_the_model_stays(case, fitted_on_small_data):
    options, message = BAD_ARGUMENTS[case]
    x, y = small()
    model = fitted_on_small_data
    before = [w.copy() for w in model.get_weights()], str(model.report()), model.moments
    options = {"data": (x, y), **options}
    if callable(options.get("groups")):
        options["groups"] = options["groups"]()
    with pytest.raises(ValueError, match=message):
        model.report(**options)
    np.testing.assert_equal([w.copy() for w in model.get_weights()], before[0])
    assert str(model.report()) == before[1]
    assert model.moments is before[2]
    assert np.isfinite(model.report(cov_type="HC3", data=(x, y)).bse).all()


def test_an_error_does_not_print_all_labels():
    x, y = small()
    with pytest.raises(ValueError, match="`groups` is for cov_type='cluster'") as caught:
        fitted(x, y).report(cov_type="HC0", data=(x, y), groups=list(range(100_000)))
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("maxlags", [np.int64(2), np.int32(2), np.uint8(2)])
def test_numpys_integers_count_lags(maxlags):
    x, y = small()
    model = fitted(x, y)
    actual, expected = (model.report(cov_type="HAC", data=(x, y), maxlags=m) for m in (maxlags, 2))
    np.testing.assert_array_equal(actual=actual.bse, desired=expected.bse)
    assert str(actual) == str(expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cov_type", ["HC2", "HC3"])
def test_a_row_with_a_coefficient_to_itself_is_named_where_leverage_divides(cov_type, weighted):
    x, y = small()
    x = np.column_stack([x, np.arange(24) == 13])
    w = np.where(np.arange(24) == 2, 0.0, weights(24)) if weighted else None
    data = (x, y) if w is None else (x, y, w)
    model = fitted(x, y, w)
    message = f"cov_type='{cov_type}' divides by .* use 'HC0' or 'HC1'.* leverage 1 in row 13."
    with pytest.raises(ValueError, match=message):
        model.report(cov_type=cov_type, data=data)
    with pytest.raises(ValueError, match=message):
        report_in_blocks(model, [batch_of(*data)], 12, cov_type)
    kept = np.arange(24) != 2 if weighted else slice(None)
    (expected,) = oracle(x[kept], y[kept], None if w is None else w[kept], True, cov_type="HC1")
    np.testing.assert_allclose(
        actual=model.report(cov_type="HC1", data=data).bse.iloc[:-1], desired=expected.bse[:-1], rtol=1e-9
    )


@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-7, 1e-8, 1e-9])
def test_leverage_1_is_found_beside_nearly_dependent_columns(gap):
    x, y = small()
    x = np.column_stack([x[:, 0], x[:, 0] + gap * x[:, 1], np.arange(24) == 13])
    with pytest.raises(ValueError, match="leverage 1 in row 13"):
        fitted(x, y).report(cov_type="HC3", data=(x, y))


def test_many_rows_of_leverage_1_are_not_all_listed():
    x = np.column_stack([np.eye(20)[:, :9], np.random.default_rng(0).normal(size=20)])
    y = np.random.default_rng(1).normal(size=20)
    with pytest.raises(ValueError, match=r"leverage 1 in row 0, 1, 2, 3, 4, \.\.\."):
        fitted(x, y).report(cov_type="HC3", data=(x, y))


@pytest.mark.parametrize("options", SECOND_PASSES.values(), ids=SECOND_PASSES)
def test_a_penalised_fit_and_one_without_degrees_of_freedom_are_refused(options):
    x, y = small(4)
    options = {**options, **({"groups": np.arange(4)} if "groups" in options else {})}
    penalised = fitted(x, y, kernel_regularizer=keras.regularizers.L2(0.1))
    with pytest.raises(ValueError, match="A penalised fit has no standard errors"):
        penalised.report(data=(x, y), **options)
    saturated = fitted(x, y)
    with pytest.raises(ValueError, match="more rows than coefficients.* Received: 4 rows, 4 coefficients"):
        saturated.report(data=(x, y), **options)


def test_a_model_that_is_not_fitted_is_refused():
    with pytest.raises(ValueError, match="must be fitted before"):
        klr.ExactLinearRegression().report(cov_type="HC3", data=small())


# Memory, and coverage


def stream(rows, size=20_000):
    for number in range(rows // size):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(size, 5))
        yield x, x.sum(axis=1) + rng.normal(size=size) * (1 + x[:, 0] ** 2)


def peak_of(read):
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("run", "few", "many", "slack"),
    [  # the additional data would be 14 MB and 24 MB
        (lambda model, data: model.report(cov_type="HC3", data=data), 100_000, 400_000, 4 * 2**20),
        (lambda model, data: model.diagnose(data), 300_000, 800_000, 12 * 2**20),
    ],
    ids=["report", "diagnose"],
)
def test_memory_does_not_depend_on_how_many_rows_there_are(run, few, many, slack, monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    models = {rows: fitted(stream(rows)) for rows in (few, many)}
    peaks = {rows: peak_of(lambda rows=rows: run(models[rows], stream(rows))) for rows in (few, many)}
    assert peaks[many] < 1.2 * peaks[few] + slack


@functools.cache
def coverage():
    """How often 95 % intervals hold the true slope, of 2400 fits whose errors grow with a column."""
    rng = np.random.default_rng(11)
    hits = {"nonrobust": 0, "HC3": 0}
    designs, outputs, n = 24, 100, 150
    for _ in range(designs):
        x = rng.normal(size=(n, 2))
        y = (x @ [1.0, -2.0] + 3)[:, None] + rng.normal(size=(n, outputs)) * (0.2 + x[:, :1] ** 2)
        moments = klr.Moments.from_data(x, y)
        estimate = estimate_parameters(moments.statistics, moments.solve())
        for cov_type in hits:
            meat, _ = sandwich.meat(estimate, [(x, y, None)], cov_type)
            limits = klr.RegressionReport(estimate, 0.95, cov_type, meat).conf_int().loc["x0"]
            lower, upper = np.asarray(limits).reshape(2, -1)
            hits[cov_type] += int(((lower < 1) & (upper > 1)).sum())
    return {key: count / (designs * outputs) for key, count in hits.items()}, designs * outputs


def test_hc3_intervals_cover_95_percent_where_errors_grow_with_a_column():
    shares, fits = coverage()
    assert shares["HC3"] == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / fits))


def test_nonrobust_intervals_do_not():
    shares, fits = coverage()
    assert shares["nonrobust"] < 0.95 - 10 * np.sqrt(0.95 * 0.05 / fits)
