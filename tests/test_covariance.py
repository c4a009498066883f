"""Standard errors, tests and intervals beside statsmodels, and beside exact rational arithmetic."""

import functools

import keras
import numpy as np
import pandas as pd
import pytest
import rational
import statsmodels.api as sm
import statsmodels.formula.api as smf
import tensorflow as tf
from cases import quick_and_heavy
from scipy import stats
from sklearn.datasets import load_diabetes
from statsmodels.stats.outliers_influence import variance_inflation_factor

import keras_linreg as klr
from keras_linreg.inference import distributions
from keras_linreg.inference.intervals import KEYS

FIGURES = ("rsquared", "rsquared_adj", "fvalue", "f_pvalue", "llf", "aic", "bic", "scale", "ssr", "nobs")
ARRAYS = ("params", "bse", "tvalues", "pvalues", "conf_int", "cov_params")
PROBLEMS = ("stackloss", "engel", "diabetes", "weighted", "no intercept", "longley")
RTOL = 1e-9


def data_of(name):
    """Return x, y, weights and whether there is an intercept."""
    if name in ("stackloss", "engel", "longley"):
        table = getattr(sm.datasets, name).load_pandas()
        return table.exog, table.endog, None, True
    table = load_diabetes(as_frame=True, scaled=False)
    x, y = table.data, table.target
    if name == "weighted":
        return x, y, 10 ** np.random.default_rng(0).uniform(-3, 3, len(x)), True
    return x, y, None, name != "no intercept"


class Both:
    """A fit of ours and one of statsmodels'."""

    def __init__(self, name):
        self.x, self.y, self.weights, self.use_bias = data_of(name)
        self.model = klr.ExactLinearRegression(use_bias=self.use_bias)
        self.model.fit(self.x, self.y, sample_weight=self.weights, verbose=0)
        self.report = self.model.report()
        self.design = sm.add_constant(self.x) if self.use_bias else self.x
        theirs = sm.OLS(self.y, self.design) if self.weights is None else sm.WLS(self.y, self.design, self.weights)
        self.theirs = theirs.fit(method="pinv")


@pytest.fixture(scope="module")
def both():
    return functools.cache(Both)


def value(report, name):
    figure = getattr(report, name)
    return np.asarray(figure() if callable(figure) else figure, np.float64)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_figure_is_statsmodels(both, problem):
    fits = both(problem)
    for figure in (*FIGURES, *ARRAYS, "df_model", "df_resid", "condition_number"):
        desired = value(fits.theirs, figure)
        # A limit near zero is a difference: statsmodels' own errors show in it on Longley's columns.
        size = np.abs(desired).max() if figure == "conf_int" and problem == "longley" else 0.0
        actual = value(fits.report, figure)
        np.testing.assert_allclose(actual=actual, desired=desired, rtol=RTOL, atol=RTOL * size, err_msg=figure)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("problem", ["stackloss", "weighted", "no intercept"])
def test_limits_at_other_levels_are_statsmodels(both, problem, level):
    fits = both(problem)
    for report in (fits.report, fits.model.report(level=level)):
        limits = report.conf_int(level=level) if report is fits.report else report.conf_int()
        np.testing.assert_allclose(actual=limits, desired=fits.theirs.conf_int(1 - level), rtol=RTOL)


@pytest.mark.parametrize("problem", ["stackloss", "diabetes", "longley"])
def test_variance_inflation_is_statsmodels(both, problem):
    fits = both(problem)
    expected = [variance_inflation_factor(fits.design.to_numpy(), j) for j in range(1, fits.design.shape[1])]
    assert np.isnan(fits.report.vif["Intercept"])
    np.testing.assert_allclose(actual=fits.report.vif.iloc[1:], desired=expected, rtol=1e-8)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_intervals_and_leverage_are_statsmodels(both, problem):
    fits = both(problem)
    interval = fits.model.predict_interval(fits.x, level=0.9)
    expected = fits.theirs.get_prediction(fits.design, weights=1.0).summary_frame(alpha=0.1)
    rtol = 1e-8 if problem == "longley" else RTOL  # statsmodels is 5e-9 off there: leverage shows it below
    for key in expected.columns:
        np.testing.assert_allclose(actual=interval[key], desired=expected[key], rtol=rtol, err_msg=key)
    if fits.weights is None:
        hat = fits.theirs.get_influence().hat_matrix_diag
        np.testing.assert_allclose(actual=interval["leverage"], desired=hat, rtol=RTOL)
    np.testing.assert_allclose(actual=interval["mean"], desired=fits.model.predict(fits.x, verbose=0)[:, 0], rtol=1e-13)


def test_three_outputs_are_three_fits():
    x, y, *_ = data_of("diabetes")
    y = np.stack([y, np.sqrt(y), x["s1"] ** 2], axis=1)
    model = klr.ExactLinearRegression(units=3)
    model.fit(x, y, verbose=0)
    report, interval = model.report(), model.predict_interval(x)
    assert report.params.shape == (11, 3) and report.conf_int().shape == (11, 6)
    assert report.cov_params().shape == (11, 33) and report.rsquared.shape == (3,)
    assert interval["mean"].shape == (442, 3) and interval["leverage"].shape == (442,)
    for j in range(3):
        theirs = sm.OLS(y[:, j], sm.add_constant(x)).fit(method="pinv")
        for figure in (*FIGURES, *ARRAYS):
            for mine in (report.output(j), report.output(f"y{j}")):
                np.testing.assert_allclose(actual=value(mine, figure), desired=value(theirs, figure), rtol=RTOL)
        expected = theirs.get_prediction().summary_frame()
        np.testing.assert_allclose(
            actual=interval["obs_ci_upper", f"y{j}"], desired=expected["obs_ci_upper"], rtol=RTOL
        )


# Digits


def exact_errors(x, y, use_bias):
    """Return the standard errors in rational arithmetic, rounded at the very end."""
    design = np.concatenate([np.ones((len(x), int(use_bias))), x], axis=1)
    inverse = rational.solve(rational.cross_products(design), np.array(rational.identity(design.shape[1]), object))
    scale = rational.least_squares(x, y, use_bias=use_bias).rss[0] / (len(x) - design.shape[1])
    return np.sqrt([float(scale * inverse[j, j]) for j in range(len(inverse))])


def wampler(kind):
    x = np.arange(21.0)
    noise = np.array([759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048, 2048] * 2)[:21]
    y = sum(x**k for k in range(6)) + (noise if kind == "noisy" else 0)
    return np.stack([x**k for k in range(1, 6)], axis=1), y


@pytest.mark.parametrize("streamed", quick_and_heavy([False, True], False))
@pytest.mark.parametrize("problem", ["longley", "wampler", "no intercept", "far from zero"])
def test_standard_errors_have_thirteen_digits(problem, streamed):
    use_bias = problem != "no intercept"
    if problem == "longley":
        x, y = (part.to_numpy() for part in data_of("longley")[:2])
    elif problem == "wampler":
        x, y = wampler("noisy")
    else:
        x = np.arange(60.0, 71.0)[:, None] + (0 if problem == "no intercept" else 1e9)
        y = np.arange(130.0, 141.0) + np.cos(np.arange(11.0))
    model = klr.ExactLinearRegression(use_bias=use_bias)
    if streamed:
        model.fit(tf.data.Dataset.from_tensor_slices((x, y[:, None])).batch(4), verbose=0)
    else:
        model.fit(x, y, verbose=0)
    np.testing.assert_allclose(actual=model.report().bse, desired=exact_errors(x, y, use_bias), rtol=1e-13)


@pytest.mark.parametrize(("t", "df"), [(40.0, 900), (60.0, 400), (37.0, None), (7.0, 3)])
def test_p_values_far_out_are_small_and_not_zero(t, df):
    desired = np.log(2) + (stats.norm.logsf(t) if df is None else np.log(stats.t.sf(t, df)))
    p_values = distributions.p_of_t(np.array([t, -t]), df)
    assert (p_values > 0).all()
    np.testing.assert_allclose(actual=np.log(p_values), desired=desired, rtol=1e-10)


def test_a_certain_effect_has_a_p_value_beyond_1e_200():
    rng = np.random.default_rng(0)
    x = rng.normal(size=900)
    y = 1.6 * x + rng.normal(size=900)
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)
    expected = sm.OLS(y, sm.add_constant(x)).fit()
    assert 0 < model.report().pvalues.iloc[1] < 1e-200
    np.testing.assert_allclose(actual=model.report().pvalues, desired=expected.pvalues, rtol=1e-9)
    np.testing.assert_allclose(actual=model.report().f_pvalue, desired=expected.f_pvalue, rtol=1e-9)


# The same from whatever way the data came


@pytest.mark.parametrize("way", ["streamed", "three shards", "loaded", "from_moments", "moments loaded"])
@pytest.mark.parametrize("problem", ["longley", "weighted"])
def test_the_report_is_the_same_whatever_way_the_data_came(both, problem, way, tmp_path):
    fits = both(problem)
    weights = np.ones(len(fits.y)) if fits.weights is None else fits.weights
    x, y = fits.x.to_numpy(), fits.y.to_numpy()[:, None]
    if way == "streamed":
        model = klr.ExactLinearRegression(feature_names=list(fits.x))
        model.fit(tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(7), verbose=0)
        report = model.report()
    elif way == "three shards":
        parts = [slice(0, 4), slice(4, 11), slice(11, None)]
        moments = sum(klr.Moments.from_data(x[p], y[p], weights[p], feature_names=list(fits.x)) for p in parts)
        report = klr.ExactLinearRegression.from_moments(moments).report()
    elif way == "loaded":
        fits.model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
        report = model.report()
        again = model.predict_interval(fits.x)
        for key, part in fits.model.predict_interval(fits.x).items():
            np.testing.assert_allclose(actual=again[key], desired=part, rtol=1e-12)
    elif way == "from_moments":
        report = klr.RegressionReport.from_moments(fits.model.moments)
    else:
        fits.model.moments.save(tmp_path / "moments")
        report = klr.RegressionReport.from_moments(klr.Moments.load(tmp_path / "moments"))
    assert report.names == fits.report.names
    for figure in (*FIGURES, *ARRAYS, "vif", "condition_number"):
        desired = value(fits.report, figure)
        np.testing.assert_allclose(actual=value(report, figure), desired=desired, rtol=1e-10, err_msg=figure)


@pytest.mark.parametrize(
    "kind", ["array", "frame", "columns in another order", "dict", "dataset", "dataset with y", "sparse"]
)
def test_intervals_are_given_for_whatever_predict_takes(both, kind):
    fits = both("diabetes")
    x = fits.x
    rows = {
        "array": lambda: x.to_numpy(),
        "frame": lambda: x,
        "columns in another order": lambda: x[list(x)[::-1]],
        "dict": lambda: dict(x),
        "dataset": lambda: tf.data.Dataset.from_tensor_slices(x.to_numpy()).batch(50),
        "dataset with y": lambda: tf.data.Dataset.from_tensor_slices((x.to_numpy(), fits.y.to_numpy())).batch(50),
        "sparse": lambda: tf.sparse.from_dense(x.to_numpy()),
    }[kind]()
    interval, expected = fits.model.predict_interval(rows), fits.model.predict_interval(x)
    assert tuple(interval) == KEYS
    for key, part in expected.items():
        np.testing.assert_allclose(actual=interval[key], desired=part, rtol=1e-11, err_msg=key)


def test_rows_of_weight_zero_are_left_out(both):
    fits = both("stackloss")
    weights = (np.arange(21) % 4 > 0).astype(float)
    model, without = klr.ExactLinearRegression(), klr.ExactLinearRegression()
    model.fit(fits.x, fits.y, sample_weight=weights, verbose=0)
    without.fit(fits.x[weights > 0], fits.y[weights > 0], verbose=0)
    for figure in (*FIGURES, *ARRAYS):
        desired = value(without.report(), figure)
        np.testing.assert_allclose(actual=value(model.report(), figure), desired=desired, rtol=1e-12)


# Columns that depend on others


def dependent_data():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 60))
    x = pd.DataFrame({"a": a, "twin": a, "one": np.ones(60), "b": b, "sum": a + b})
    return x, pd.Series(a + 2 * b + rng.normal(size=60), name="y")


@pytest.mark.filterwarnings("ignore:3 of 5 columns depend")
@pytest.mark.parametrize("dependent", ["drop", "min_norm"])
def test_columns_that_depend_on_others_leave_the_figures_of_the_fit_without_them(dependent):
    x, y = dependent_data()
    model = klr.ExactLinearRegression(dependent=dependent)
    model.fit(x, y, verbose=0)
    report, theirs = model.report(), sm.OLS(y, sm.add_constant(x[["a", "b"]])).fit(method="pinv")
    for figure in FIGURES:
        np.testing.assert_allclose(actual=value(report, figure), desired=value(theirs, figure), rtol=RTOL)
    interval, expected = model.predict_interval(x), theirs.get_prediction().summary_frame()
    for key in expected.columns:
        np.testing.assert_allclose(actual=interval[key], desired=expected[key], rtol=RTOL)
    known = [0, 1, 4] if dependent == "drop" else []
    unknown = [i for i in range(6) if i not in known]
    for figures in (report.bse, report.conf_int(), report.pvalues, report.cov_params()):
        assert np.isnan(figures.to_numpy()[unknown]).all()
    np.testing.assert_allclose(actual=report.bse.iloc[known], desired=theirs.bse[: len(known)], rtol=RTOL)
    assert ("aliased" if dependent == "drop" else "n/a") in str(report)


@pytest.mark.filterwarnings("ignore:1 of 3 columns depend")
@pytest.mark.parametrize("combination", ["a + twin", "2*b - a - twin = 1"])
def test_a_combination_that_the_data_determine_is_tested_under_min_norm(combination):
    x, y = dependent_data()
    model = klr.ExactLinearRegression(dependent="min_norm")
    model.fit(x[["a", "twin", "b"]], y, verbose=0)
    report, theirs = model.report(), sm.OLS(y, sm.add_constant(x[["a", "b"]])).fit(method="pinv")
    np.testing.assert_allclose(actual=report.bse.iloc[[0, 3]], desired=theirs.bse.iloc[[0, 2]], rtol=RTOL)
    ours, expected = (
        report.t_test(combination),
        theirs.t_test(combination.replace("- a - twin", "- a").replace("a + twin", "a")),
    )
    np.testing.assert_allclose(actual=ours.tvalue, desired=np.ravel(expected.tvalue), rtol=RTOL)
    np.testing.assert_allclose(actual=ours.sd, desired=np.ravel(expected.sd), rtol=RTOL)
    for lost in ("a", "twin = 0", "a - twin"):
        with pytest.raises(ValueError, match="do not determine a|do not determine twin"):
            report.t_test(lost)


@pytest.mark.filterwarnings("ignore:1 of 3 columns depend")
@pytest.mark.parametrize("dependent", ["drop", "min_norm"])
def test_rows_that_break_the_dependence_have_no_interval(dependent):
    x, y = dependent_data()
    x = x[["a", "twin", "b"]]
    model = klr.ExactLinearRegression(dependent=dependent)
    model.fit(x, y, verbose=0)
    other = x.copy()
    other.loc[[3, 5], "twin"] += 0.1
    with pytest.warns(UserWarning, match="2 rows of `x` have no interval"):
        interval = model.predict_interval(other)
    for key in KEYS[1:]:
        assert np.flatnonzero(np.isnan(interval[key])).tolist() == [3, 5]
    assert np.isfinite(interval["mean"]).all()


def test_categories_of_a_feature_space_are_a_formulas():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"city": rng.choice(["Oslo", "Paris", "Rome"], 90), "area": rng.normal(60, 9, 90)})
    frame["rent"] = 3 * frame["area"] + (frame["city"] == "Paris") * 40 + rng.normal(size=90) * 5
    space = keras.utils.FeatureSpace(
        {"city": keras.utils.FeatureSpace.string_categorical(num_oov_indices=0), "area": "float"}, output_mode="concat"
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(dict(frame[["city", "area"]])))
    model = klr.ExactLinearRegression(preprocessor=space)
    with pytest.warns(UserWarning, match="columns depend"):
        model.fit(frame[["city", "area"]], frame["rent"], verbose=0)
    report = model.report()
    (left_out,) = [name for name, ok in zip(report.names, report.estimate.estimable, strict=True) if not ok]
    frame["area32"] = frame["area"].astype("float32").astype(float)  # as the space hands it on
    base = left_out.removeprefix("city_")
    theirs = smf.ols(f"rent ~ C(city, Treatment('{base}')) + area32", frame).fit(method="pinv")
    for figure in FIGURES:
        np.testing.assert_allclose(actual=value(report, figure), desired=value(theirs, figure), rtol=RTOL)
    mine = report.to_frame()
    for name, expected in theirs.bse.items():
        name = (
            "Intercept" if name == "Intercept" else "area" if name == "area32" else f"city_{name.split('T.')[1][:-1]}"
        )
        np.testing.assert_allclose(actual=mine.loc[name, "bse"], desired=expected, rtol=RTOL)
    interval = model.predict_interval(frame[["city", "area"]])
    expected = theirs.get_prediction().summary_frame()
    np.testing.assert_allclose(actual=interval["mean_se"], desired=expected["mean_se"], rtol=RTOL)


# Coverage


@functools.cache
def covered():
    """For each level: whether limits cover the truth, in 2500 fits of the same design, 50 outputs at a time."""
    outputs, rng = 50, np.random.default_rng(1)
    x = np.column_stack([np.linspace(-1, 2, 12), rng.normal(size=12)])
    kernel, new = np.array([2.0, -1.0]), np.array([[1.5, 0.3]])
    truth = np.array([0.5, *kernel])[:, None]
    mean = 0.5 + (new @ kernel)[0]
    hits = {level: {"parameters": [], "mean": [], "observation": []} for level in (0.5, 0.95)}
    for _ in range(50):
        y = (0.5 + x @ kernel)[:, None] + rng.normal(size=(12, outputs))
        observed = mean + rng.normal(size=outputs)
        model = klr.ExactLinearRegression.from_moments(klr.Moments.from_data(x, y))
        report = model.report()
        for level, parts in hits.items():
            limits = np.asarray(report.conf_int(level=level)).reshape(len(truth), 2, -1)
            interval = model.predict_interval(new, level=level)
            interval = {key: interval[key].to_numpy().reshape(len(new), -1) for key in KEYS}
            parts["parameters"].append((limits[:, 0] <= truth) & (truth <= limits[:, 1]))
            parts["mean"].append((interval["mean_ci_lower"] <= mean) & (mean <= interval["mean_ci_upper"]))
            is_above = interval["obs_ci_lower"] <= observed
            parts["observation"].append(is_above & (observed <= interval["obs_ci_upper"]))
    return {level: {name: np.hstack(part) for name, part in parts.items()} for level, parts in hits.items()}


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.heavy
def test_intervals_cover_what_they_say(level):
    for name, hits in covered()[level].items():
        trials, share = hits.shape[-1], hits.mean(axis=-1)
        assert trials == 2500
        assert (np.abs(share - level) < 4 * np.sqrt(level * (1 - level) / trials)).all(), (name, share)
