"""The drift monitor: what it tells of new rows, beside SciPy and statsmodels, and what rows it takes."""

import dataclasses
import json

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
import statsmodels.api as sm
import tensorflow as tf
from statsmodels.stats.multitest import multipletests

import keras_linreg as klr
from keras_linreg.drift.level_errors import holm
from keras_linreg.drift.row_shapes import row_shapes
from keras_linreg.utils import threads as threads_module

RNG = np.random.default_rng(3)
NAMES = ["age", "fare", "rare"]


def rows(n, seed, shift=0.0, scale=1.0):
    """Rows of a normal, an exponential and a rare indicator column, and outcomes."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(shift, scale, n), rng.exponential(size=n), rng.random(n) < 0.1])
    return x, x @ [1.0, -2.0, 3.0] + 5 + rng.normal(size=n)


X, Y = rows(5000, 1)
NEW, OUTCOMES = rows(3000, 2)
FIT = klr.Moments.from_data(X, Y, feature_names=NAMES)


@pytest.fixture(scope="module")
def model():
    model = klr.ExactLinearRegression()
    model.fit(pd.DataFrame(X, columns=NAMES), Y, verbose=0)
    return model


def watched(*batches, fit=FIT):
    monitor = klr.DriftMonitor(fit)
    for batch in batches:
        monitor.update(*batch)
    return monitor


def assert_same(report, expected, rtol=1e-9):
    """Assert that two reports have the same figures."""

    def flat(value, path=""):
        if isinstance(value, dict):
            return {k: v for key, part in value.items() for k, v in flat(part, f"{path}.{key}").items()}
        if isinstance(value, list):
            return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{path}.{i}").items()}
        return {path: value}

    one, other = flat(report.to_dict()), flat(expected.to_dict())
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, float):
            np.testing.assert_allclose(value, other[key], rtol=rtol, atol=1e-10, err_msg=key)
        else:
            assert value == other[key], key


def test_tests_of_means_are_those_of_scipy():
    age, fare, rare = watched((NEW,)).report().columns
    for column, j in ((age, 0), (fare, 1)):
        expected = scipy.stats.ttest_ind(NEW[:, j], X[:, j], equal_var=False)
        np.testing.assert_allclose(column.shift_pvalue, expected.pvalue, rtol=1e-9)
        np.testing.assert_allclose(column.shift, (NEW[:, j].mean() - X[:, j].mean()) / X[:, j].std(ddof=1), rtol=1e-9)
        np.testing.assert_allclose(column.variance_ratio, NEW[:, j].var(ddof=1) / X[:, j].var(ddof=1), rtol=1e-9)
    table = [[part[:, 2].sum(), len(part) - part[:, 2].sum()] for part in (NEW, X)]
    expected = scipy.stats.chi2_contingency(table, correction=False)
    np.testing.assert_allclose(rare.shift_pvalue, expected.pvalue, rtol=1e-9)
    assert (age.kind, rare.kind) == ("number", "indicator") and rare.variance_reason


def test_variances_are_compared_with_the_kurtosis_of_the_rows():
    fare = watched((NEW,)).report().columns[1]
    assert np.isnan(fare.variance_pvalue) and "tails too heavy, or too few rows" in fare.variance_reason
    new = rows(50_000, 5)[0]
    kurtosis = scipy.stats.kurtosis(new[:, 1])
    fit = klr.Moments.from_data(*rows(60_000, 6), feature_names=NAMES)
    fare = watched((new,), fit=fit).report().columns[1]
    z = np.log(fare.variance_ratio) / np.sqrt((kurtosis + 2) * (1 / 50_000 + 1 / 60_000))
    df = 50_000 / (8 * (kurtosis + 2) ** 2)  # of heavy tails
    np.testing.assert_allclose(fare.variance_pvalue, 2 * scipy.stats.t.sf(abs(z), df), rtol=1e-6)
    age = watched((new,), fit=fit).report().columns[0]
    z = np.log(age.variance_ratio) / np.sqrt((scipy.stats.kurtosis(new[:, 0]) + 2) * (1 / 50_000 + 1 / 60_000))
    np.testing.assert_allclose(age.variance_pvalue, 2 * scipy.stats.norm.sf(abs(z)), rtol=1e-6)


def test_hotelling_is_the_regression_of_the_sample_on_the_columns():
    report = watched((NEW,)).report()
    both = np.concatenate([X, NEW])
    is_new = np.repeat([0.0, 1.0], [len(X), len(NEW)])
    expected = sm.OLS(is_new, sm.add_constant(both)).fit()  # Fisher: the same F
    np.testing.assert_allclose(report.means.fvalue, expected.fvalue, rtol=1e-8)
    np.testing.assert_allclose(report.means.pvalue, expected.f_pvalue, rtol=1e-8)


def test_chow_is_the_f_test_of_all_interactions_with_the_sample():
    report = watched((NEW, OUTCOMES)).report()
    both, y = sm.add_constant(np.concatenate([X, NEW])), np.concatenate([Y, OUTCOMES])
    is_new = np.repeat([0.0, 1.0], [len(X), len(NEW)])[:, None]
    f, p, df = sm.OLS(y, np.hstack([both, both * is_new])).fit().compare_f_test(sm.OLS(y, both).fit())
    (outcome,) = report.outcomes
    np.testing.assert_allclose([outcome.chow, outcome.chow_pvalue], [f, p], rtol=1e-7)
    assert outcome.chow_df == (int(df), len(y) - 8)


def test_calibration_and_residual_variance_are_those_of_the_predictions(model):
    (outcome,) = watched((NEW, OUTCOMES), fit=model).report().outcomes
    residuals = OUTCOMES - model.predict(NEW, verbose=0)[:, 0]
    fitted = sm.OLS(Y, sm.add_constant(X)).fit()
    mean_row = np.concatenate([[1.0], NEW.mean(axis=0)])
    error = np.sqrt(residuals.var(ddof=1) / len(NEW) + mean_row @ fitted.cov_params() @ mean_row)
    np.testing.assert_allclose([outcome.calibration, outcome.calibration_se], [residuals.mean(), error], rtol=1e-8)
    np.testing.assert_allclose(outcome.scale, residuals.var(ddof=1), rtol=1e-9)
    np.testing.assert_allclose(outcome.scale_ratio, residuals.var(ddof=1) / fitted.scale, rtol=2e-3)


def test_the_mean_leverage_is_that_of_predict_interval(model):
    report = watched((NEW,), fit=model).report()
    leverage = model.predict_interval(pd.DataFrame(NEW, columns=NAMES))["leverage"].mean()
    np.testing.assert_allclose(report.leverage.mean, leverage, rtol=1e-8)
    np.testing.assert_allclose(report.leverage.expected, 4 / len(X), rtol=1e-12)


def test_the_covariance_is_described_by_the_direction_that_grew_most():
    change = watched((rows(3000, 7, scale=2.0)[0],)).report().covariance
    assert change.largest[0].ratio == pytest.approx(4, rel=0.1) and next(iter(change.largest[0].columns)) == "age"
    assert change.without_change[0] < 1 < change.without_change[1] < 1.2
    for direction in (*change.largest, change.smallest):
        first, second = direction.columns.values()
        assert first > 0 and first >= abs(second)


def test_what_has_changed_is_named():
    x, y = rows(3000, 8, shift=0.5)
    report = watched((x, y + 0.5)).report()
    assert report.alarms()[0].startswith("the mean of 'age' has moved by 0.")
    assert any("the predictions are off by 0." in alarm for alarm in report.alarms())
    assert not watched((NEW, OUTCOMES)).report().alarms()
    text = str(report)
    assert "Hotelling" in text and "Chow's F" in text and max(map(len, text.splitlines())) <= 80
    assert json.loads(report.to_json())["columns"][0]["name"] == "age"
    assert list(report.to_frame().index) == NAMES


@hypothesis.given(cuts=st.lists(st.integers(0, len(NEW)), max_size=5), known=st.integers(0, len(NEW)))
@hypothesis.example(cuts=[1], known=4)
@hypothesis.settings(max_examples=15)
def test_batches_and_monitors_in_any_parts_tell_the_same(cuts, known):
    y = np.where(np.arange(len(NEW)) < known, OUTCOMES, np.nan)
    parts = list(zip(np.split(NEW, sorted(cuts)), np.split(y, sorted(cuts)), strict=True))
    whole = watched((NEW, y)).report()
    assert_same(watched(*parts).report(), whole)
    assert_same(sum(watched(part) for part in parts).report(), whole)


def test_moments_tell_the_same_but_for_the_fourth_powers():
    monitor = klr.DriftMonitor(FIT)
    monitor.update_moments(klr.Moments.from_data(NEW, OUTCOMES, feature_names=NAMES).select(NAMES[::-1]))
    report, expected = monitor.report(), watched((NEW, OUTCOMES)).report()
    for mine, other in zip(report.columns, expected.columns, strict=True):
        np.testing.assert_allclose(mine.shift_pvalue, other.shift_pvalue, rtol=1e-9)
    np.testing.assert_allclose(report.outcomes[0].chow, expected.outcomes[0].chow, rtol=1e-9)
    np.testing.assert_allclose(report.means.fvalue, expected.means.fvalue, rtol=1e-9)
    assert np.isnan(report.columns[0].variance_pvalue) and report.columns[0].variance_reason
    with pytest.raises(ValueError, match="must have the feature_names"):
        monitor.update_moments(klr.Moments.from_data(NEW[:, :2], OUTCOMES))
    with pytest.raises(ValueError, match="must be keras_linreg.Moments"):
        monitor.update_moments(NEW)


def test_bytes_bring_the_monitor_back_and_damage_is_refused():
    monitor = watched((NEW, OUTCOMES))
    data = monitor.to_bytes()
    again = klr.DriftMonitor.from_bytes(data)
    assert_same(again.report(), monitor.report(), rtol=0)
    again.update(NEW)
    assert again.rows == 6000
    for damaged in (data[:-1], data[:60], b"", data[:100] + b"x" + data[101:], data + b"x", "text", None):
        with pytest.raises(ValueError, match="must be bytes that DriftMonitor.to_bytes returned"):
            klr.DriftMonitor.from_bytes(damaged)


def test_monitors_of_different_fits_are_not_added():
    with pytest.raises(ValueError, match="same fit"):
        watched((NEW,)) + watched((NEW,), fit=klr.Moments.from_data(NEW, OUTCOMES, feature_names=NAMES))
    with pytest.raises(TypeError):
        watched((NEW,)) + 1


def test_columns_are_matched_by_name_and_an_error_loses_nothing(model):
    frame = pd.DataFrame(NEW, columns=NAMES)
    monitor = watched((frame[NAMES[::-1]].assign(y=OUTCOMES), "y"), fit=model)
    expected = watched((NEW, OUTCOMES)).report()
    assert_same(monitor.report(), expected)
    for bad, rule in (
        ((frame.drop(columns="fare"),), "fare"),
        ((frame, OUTCOMES[:5]), "same number of rows"),
        ((frame.assign(age=np.inf),), "must be finite"),
        ((frame, np.full(len(frame), np.inf)), "must be finite"),
        ((frame.assign(age="old"),), "age"),
        ((frame, "z"), "must be a column"),
        ((None,), "missing"),
        ((frame, None, -np.ones(len(frame))), "not negative"),
    ):
        with pytest.raises(ValueError, match=rule):
            monitor.update(*bad)
    assert_same(monitor.report(), expected)


def test_rows_without_a_value_are_counted_and_left_out(model):
    frame = pd.DataFrame(NEW, columns=NAMES)
    frame.loc[[3, 5], "age"] = np.nan
    frame.loc[5, "fare"] = np.nan
    report = watched((frame, OUTCOMES), fit=model).report()
    assert (report.rows, report.nobs, report.missing.missing) == (3000, 2998, 2)
    assert report.missing.columns == {"age": 2, "fare": 1}
    kept = np.delete(NEW, [3, 5], axis=0)
    np.testing.assert_allclose([c.mean for c in report.columns], kept.mean(axis=0), rtol=1e-9)
    everything = watched((frame * np.nan,), fit=model).report()
    assert everything.nobs == 0 and everything.missing.missing == 3000 and "no rows yet" in str(everything)


def test_outcomes_that_are_not_back_yet_leave_their_rows_in_the_columns():
    y = np.where(np.arange(3000) % 3 == 0, OUTCOMES, np.nan)
    report = watched((NEW, y)).report()
    assert (report.nobs, report.outcomes[0].rows) == (3000, 1000)
    expected = watched((NEW[::3], OUTCOMES[::3])).report().outcomes
    np.testing.assert_allclose(report.outcomes[0].calibration_pvalue, expected[0].calibration_pvalue, rtol=1e-9)


def test_rows_far_from_those_of_the_fit_have_a_report():
    for new in (NEW * [1.0, 1e9, 1.0], NEW * 1e-3 + 1e9, NEW + np.array([0.0, 0.0, 1e6])):
        report = watched((new, OUTCOMES)).report()
        assert np.isfinite([report.means.t_squared, report.leverage.mean, report.covariance.largest[0].ratio]).all()
        assert any("mean of" in alarm or "variance of" in alarm for alarm in report.alarms())
        json.loads(report.to_json())
        report.plot()


def test_rows_without_a_weight_are_counted_and_left_out():
    report = watched((NEW, OUTCOMES, np.where(np.arange(3000) < 10, np.nan, 1.0))).report()
    assert (report.nobs, report.missing.columns) == (2990, {"sample_weight": 10})


def test_no_rows_have_a_report():
    for monitor in (klr.DriftMonitor(FIT), watched((NEW[:0],)), watched((NEW[:0], OUTCOMES[:0]))):
        report = monitor.report()
        assert (report.rows, report.outcomes, report.covariance) == (0, (), None)
        assert "no rows yet" in str(report) and report.alarms() == []
        json.loads(report.to_json())
        report.plot()
        klr.DriftMonitor.from_bytes(monitor.to_bytes())


@pytest.mark.parametrize("n", [1, 2, 5, 29])
def test_a_few_rows_are_described_and_not_tested(n):
    report = watched((NEW[:n], OUTCOMES[:n])).report()
    assert all(
        np.isnan(column.shift_pvalue) and column.shift_reason == "fewer than 30 rows" for column in report.columns
    )
    assert np.isnan([report.means.pvalue, report.outcomes[0].chow_pvalue]).all()
    str(report), report.to_json(), report.plot()


def test_a_constant_column_that_moves_is_an_alarm_and_one_that_stands_still_too():
    fit = klr.Moments.from_data(np.column_stack([X, np.full(len(X), 7.0)]), Y, feature_names=[*NAMES, "unit"])
    still = watched((np.column_stack([NEW, np.full(3000, 7.0)]), OUTCOMES), fit=fit).report()
    assert still.columns[3].shift_reason == "constant" and still.alarms() == []
    assert still.means.columns == 3 and np.isfinite(still.means.pvalue)
    for unit in (np.full(3000, 8.0), RNG.normal(7, 1, 3000)):
        moved = watched((np.column_stack([NEW, unit]), OUTCOMES), fit=fit).report()
        assert "'unit' was constant in the fit" in moved.alarms()
        json.loads(moved.to_json())
        moved.plot()
    stale = NEW.copy()
    stale[:, 0] = 0.5
    assert "'age' has the same number in all rows" in watched((stale,)).report().alarms()


def test_a_column_without_a_value_in_all_rows_is_an_alarm():
    dead = pd.DataFrame(NEW, columns=NAMES).assign(fare=np.nan)
    assert watched((dead,)).report().alarms() == ["'fare' has no value in any row"]
    dead.loc[0, "fare"] = 1.0
    assert watched((dead,)).report().alarms() == []


def test_dependent_columns_are_tested_once():
    fit = klr.Moments.from_data(np.column_stack([X, X[:, 0] + X[:, 1]]), Y, feature_names=[*NAMES, "sum"])
    report = watched((np.column_stack([NEW, NEW[:, 0] + NEW[:, 1]]), OUTCOMES), fit=fit).report()
    expected = watched((NEW, OUTCOMES)).report()
    np.testing.assert_allclose(report.means.fvalue, expected.means.fvalue, rtol=1e-6)
    np.testing.assert_allclose(report.outcomes[0].chow, expected.outcomes[0].chow, rtol=1e-6)
    np.testing.assert_allclose(report.leverage.mean, expected.leverage.mean, rtol=1e-6)


def test_more_columns_than_new_rows_do_not_stop_it():
    x = RNG.normal(size=(500, 60))
    fit = klr.Moments.from_data(x, x[:, 0] + RNG.normal(size=500))
    new = RNG.normal(size=(40, 60))
    report = watched((new, new[:, 0] + RNG.normal(size=40)), fit=fit).report()
    (outcome,) = report.outcomes
    assert outcome.chow_df == (40, 439) and outcome.chow > 0  # Chow's second test
    assert 0 < report.means.pvalue < 1


def test_weights_of_new_rows_count_by_their_effective_number_and_zero_is_left_out():
    weights = np.resize([1.0, 1.0, 0.0], 3000)
    used = weights > 0
    expected = watched((NEW[used], OUTCOMES[used])).report()
    expected = dataclasses.replace(expected, rows=3000, missing=dataclasses.replace(expected.missing, rows=3000))
    assert_same(watched((NEW, OUTCOMES, weights)).report(), expected)
    uneven = RNG.uniform(0.5, 1.5, 3000)
    column = watched((NEW, None, uneven)).report().columns[0]
    mean = np.average(NEW[:, 0], weights=uneven)
    variance = np.average((NEW[:, 0] - mean) ** 2, weights=uneven)
    rows = uneven.sum() ** 2 / (uneven**2).sum()
    t = (mean - X[:, 0].mean()) / np.sqrt(variance / (rows - 1) + X[:, 0].var(ddof=1) / len(X))
    np.testing.assert_allclose(column.shift_pvalue, 2 * scipy.stats.norm.sf(abs(t)), rtol=1e-2)


def test_a_fit_of_different_weights_says_that_its_means_cannot_be_tested():
    fit = klr.Moments.from_data(X, Y, sample_weight=RNG.uniform(0.5, 2, len(X)), feature_names=NAMES)
    report = watched((NEW, OUTCOMES), fit=fit).report()
    assert {column.shift_reason for column in report.columns} == {"the rows of the fit have different weights"}
    assert np.isnan(report.means.pvalue) and 0 < report.outcomes[0].chow_pvalue < 1
    equal = klr.Moments.from_data(X, Y, sample_weight=np.full(len(X), 3.0), feature_names=NAMES)
    assert np.isfinite(watched((NEW,), fit=equal).report().columns[0].shift_pvalue)


def test_rare_and_skewed_columns_say_how_many_rows_they_need():
    x = np.column_stack([RNG.random(5000) < 0.002, RNG.lognormal(0, 2, 5000)])
    report = watched((x[:300],), fit=klr.Moments.from_data(x, RNG.normal(size=5000))).report()
    rare, skewed = report.columns
    assert rare.shift_reason.startswith("too rare: some") and skewed.shift_reason.startswith("too skewed: some")
    assert "rows are needed" in str(report) and np.isnan(report.means.pvalue)


def test_numbers_of_any_size_have_a_report():
    scale = np.array([1e-120, 1e120, 1.0])
    report = watched((NEW * scale, OUTCOMES), fit=klr.Moments.from_data(X * scale, Y)).report()
    expected = watched((NEW, OUTCOMES)).report()
    for mine, other in zip(report.columns, expected.columns, strict=True):
        np.testing.assert_allclose(mine.shift, other.shift, rtol=1e-6)
        assert mine.shift_reason == "" or "fourth powers" in mine.shift_reason
    json.loads(report.to_json())


def test_a_shift_of_a_tenth_of_a_standard_deviation_is_found_in_5000_rows():
    found = [
        watched((rows(5000, seed, shift=0.1)[0],)).report().columns[0].shift_pvalue_holm < 0.05 for seed in range(40)
    ]
    assert np.mean(found) > 0.9


def test_several_outputs_have_a_line_each():
    both = np.column_stack([Y, -Y])
    fit = klr.Moments.from_data(X, both, feature_names=NAMES)
    report = watched((NEW, np.column_stack([OUTCOMES, 1 - OUTCOMES])), fit=fit).report()
    first, second = report.outcomes
    np.testing.assert_allclose([second.calibration - 1, second.scale], [-first.calibration, first.scale], rtol=1e-8)
    assert "the predictions of 'y1' are off by" in " ".join(report.alarms())


def test_a_fit_without_intercept_is_watched():
    model = klr.ExactLinearRegression(use_bias=False)
    model.fit(X, Y, verbose=0)
    (outcome,) = watched((NEW, OUTCOMES), fit=model).report().outcomes
    residuals = OUTCOMES - model.predict(NEW, verbose=0)[:, 0]
    np.testing.assert_allclose(outcome.calibration, residuals.mean(), rtol=1e-8)
    assert outcome.chow_df[0] == 3


def test_a_penalised_fit_says_what_it_cannot_tell():
    model = klr.ElasticNetRegression(l1=0.1, l2=0.0)
    model.fit(X, Y, verbose=0)
    (outcome,) = watched((NEW, OUTCOMES), fit=model).report().outcomes
    residuals = OUTCOMES - model.predict(NEW, verbose=0)[:, 0]
    np.testing.assert_allclose(outcome.calibration, residuals.mean(), rtol=1e-6)
    assert "penalised" in outcome.calibration_reason and 0 < outcome.chow_pvalue < 1


def test_a_model_without_moments_is_refused():
    for fit in (klr.LinearRegression(), klr.ExactLinearRegression(), None, X):
        with pytest.raises(ValueError, match="must be a fitted ExactLinearRegression"):
            klr.DriftMonitor(fit)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    city = rng.choice(["Paris", "Rome", "Oslo"], 600)
    area = rng.uniform(20, 100, 600)
    return pd.DataFrame(
        {"area": area, "city": city, "price": np.exp(area / 100 + (city == "Rome") + rng.normal(size=600) / 5)}
    )


def test_unseen_levels_are_counted_and_left_out_and_the_response_comes_out_of_the_table(table):
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("log(price) ~ area + city"))
    model.fit(table, verbose=0)
    new = table.copy()
    new.loc[[0, 1, 2], "city"] = "Bonn"
    new.loc[3, "city"] = None
    report = watched((new,), fit=model).report()
    assert (report.unseen.missing, report.unseen.columns) == (3, {"city": 3})
    assert (report.missing.columns, report.nobs, report.outcomes[0].rows) == ({"city": 1}, 596, 596)
    requests = watched((new.drop(columns="price"),), fit=model)
    assert requests.report().outcomes == () and requests.report().nobs == 596
    again = klr.DriftMonitor.from_bytes(requests.to_bytes(), model)
    again.update(new.drop(columns="price"))
    assert again.report().nobs == 1192
    alone = klr.DriftMonitor.from_bytes(requests.to_bytes())
    with pytest.raises(ValueError, match="Give the model"):
        alone.update(new)
    assert (alone + requests).report().nobs == 1192
    other = klr.ExactLinearRegression(preprocessor=klr.Formula("log(price) ~ area"))
    other.fit(table, verbose=0)
    with pytest.raises(ValueError, match="must be the one"):
        klr.DriftMonitor.from_bytes(requests.to_bytes(), other)


def test_levels_that_a_formula_takes_for_another_are_counted_and_kept(table):
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("price ~ area + C(city, unseen='Oslo')"))
    model.fit(table, verbose=0)
    report = watched((table.assign(city=["Bonn"] * 10 + table["city"].tolist()[10:]),), fit=model).report()
    assert report.unseen.missing == 10 and report.nobs == 600


def test_unknown_categories_of_a_feature_space_are_counted(table):
    kinds = keras.utils.FeatureSpace
    space = kinds({"area": kinds.float(), "city": kinds.string_categorical()})
    space.adapt(tf.data.Dataset.from_tensor_slices(dict(table[["area", "city"]])))
    model = klr.ExactLinearRegression(preprocessor=space)
    with pytest.warns(UserWarning, match="depend on the bias"):
        model.fit(table[["area", "city"]], table["price"], verbose=0)
    new = table.assign(city=["Bonn"] * 4 + table["city"].tolist()[4:])
    report = watched((new, "price"), fit=model).report()
    assert report.unseen.columns == {"city": 4} and report.outcomes[0].rows == 600


def test_streams_and_files_are_watched(model, tmp_path):
    frame = pd.DataFrame(NEW, columns=NAMES)
    expected = watched((NEW, OUTCOMES)).report()
    stream = watched(
        ((part for part in [(frame[:1000], OUTCOMES[:1000]), (frame[1000:], OUTCOMES[1000:])]),), fit=model
    )
    assert_same(stream.report(), expected)
    frame.assign(y=OUTCOMES, other="text").to_parquet(tmp_path / "requests.parquet")
    assert_same(watched((tmp_path / "requests.parquet", "y"), fit=model).report(), expected)


def test_shapes_of_columns_are_scipys_dense_sparse_and_weighted():
    x, y = rows(20_000, 9)
    x[:, 0] += 1e6
    fit = np.ones((3, 1)), np.zeros(1), (np.array([2.0, 3.0, 4.0]), np.full(1, 5.0))
    for data in (x, np.asfortranarray(x), scipy.sparse.csr_array(x)):
        columns, residuals = row_shapes(data, y[:, None], None, *fit)
        np.testing.assert_allclose(columns.kurtosis() - 3, scipy.stats.kurtosis(x), rtol=1e-6)
        np.testing.assert_allclose(columns.skewness(), scipy.stats.skew(x), rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(residuals.kurtosis() - 3, scipy.stats.kurtosis(y[:, None] - x @ fit[0]), rtol=1e-6)
    twice = row_shapes(x, None, np.full(len(x), 2.0), *fit)[0]
    np.testing.assert_allclose(twice.kurtosis(), scipy.stats.kurtosis(x) + 3, rtol=1e-6)


def test_the_bits_of_a_monitor_do_not_depend_on_the_number_of_threads():
    x, y = rows(60_000, 10)
    told = []
    for threads in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threads_module, "cores", lambda threads=threads: threads)
            told.append(watched((x, y)).to_bytes())
    assert told[0] == told[1] == told[2]


@hypothesis.settings(max_examples=25)
@hypothesis.given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_that_of_statsmodels(p):
    np.testing.assert_allclose(holm(np.array(p)), multipletests(p, method="holm")[1], rtol=1e-12)
    np.testing.assert_allclose(holm(np.array([*p, np.nan]))[:-1], holm(np.array(p)), rtol=1e-12)
