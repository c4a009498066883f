"""Uses of a report: hypotheses and models are tested, it is printed and exported, and bad requests are refused."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.datasets import load_diabetes

import keras_linreg as klr
from keras_linreg.inference.constraints import parse_restrictions
from keras_linreg.inference.tables import shortened

COLUMNS = ["age", "bmi", "bp", "s5"]
RTOL = 1e-9


@pytest.fixture(scope="module")
def data():
    table = load_diabetes(as_frame=True, scaled=False)
    return table.data[COLUMNS], table.target


@pytest.fixture(scope="module")
def model(data):
    fitted = klr.ExactLinearRegression()
    fitted.fit(*data, verbose=0)
    return fitted


@pytest.fixture(scope="module")
def theirs(data):
    return sm.OLS(data[1], sm.add_constant(data[0])).fit(method="pinv")


def report_of(x, y, **options):
    options = {"dependent": "drop", "use_bias": True, "l2": 0.0, **options}
    return klr.RegressionReport.from_moments(klr.Moments.from_data(x, y), **options)


# Hypotheses

WAYS = [
    ("bmi = 0", [[0, 0, 1, 0, 0]], [0]),
    ("bmi", [[0, 0, 1, 0, 0]], [0]),
    ("bmi = bp", [[0, 0, 1, -1, 0]], [0]),
    ("2*bmi - bp/4 = 3 + s5", [[0, 0, 2, -0.25, -1]], [3]),
    ("age + 1 = -(bmi - 2) * 3", [[0, 1, 3, 0, 0]], [5]),
    ("bmi = 5, s5 = 60", [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]], [5, 60]),
    (["bmi = 5", "`s5` = 6e1"], [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]], [5, 60]),
    ("(bmi = 5), (s5 = 60)", [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]], [5, 60]),
    ("age = bp = bmi", [[0, 1, 0, -1, 0], [0, 0, -1, 1, 0]], [0, 0]),
    ("Intercept = -300.5", [[1, 0, 0, 0, 0]], [-300.5]),
    (np.array([0, 1, 0, 2, 0]), [[0, 1, 0, 2, 0]], [0]),
    (([[0, 1, 0, 2, 0], [1, 0, 0, 0, 0]], [1, 2]), [[0, 1, 0, 2, 0], [1, 0, 0, 0, 0]], [1, 2]),
]


TEXTS = ["(bmi = bp), (s5 = 2)", "(bmi = bp), s5 = 2", "((bmi = bp))", "(bmi = bp, s5 = 2)", "(bmi + bp) = 1, (s5)"]
TEXTS += ["(bmi) = (bp)", "(2 * (bmi - bp) = 3), ((s5 = 2))", "(age = bp = bmi)", "-(bmi - 1) = +-s5"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_statsmodels_restrictions_means_what_it_means_there(model, theirs, text):
    ours, expected = model.report().f_test(text), theirs.f_test(text)
    np.testing.assert_allclose(actual=ours.fvalue, desired=expected.fvalue, rtol=RTOL)
    assert ours.df_num == expected.df_num


@pytest.mark.parametrize(("restrictions", "matrix", "value"), WAYS, ids=[str(way[0])[:30] for way in WAYS])
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC3"])
def test_restrictions_are_tested_as_statsmodels_tests_them(data, model, restrictions, matrix, value, cov_type):
    x, y = data
    options = {} if cov_type == "nonrobust" else {"cov_type": cov_type, "data": data}
    report = model.report(**options)
    theirs = sm.OLS(y, sm.add_constant(x)).fit(method="pinv", cov_type=cov_type)
    pair = np.array(matrix, float), np.array(value, float)
    ours, expected = report.t_test(restrictions), theirs.t_test(pair)
    for name in ("effect", "sd", "tvalue", "pvalue"):
        desired = np.ravel(getattr(expected, name))
        np.testing.assert_allclose(actual=getattr(ours, name), desired=desired, rtol=RTOL, err_msg=name)
    np.testing.assert_allclose(actual=ours.conf_int(level=0.9), desired=expected.conf_int(alpha=0.1), rtol=RTOL)
    ours, expected = report.f_test(restrictions), theirs.f_test(pair)
    np.testing.assert_allclose(actual=ours.fvalue, desired=expected.fvalue, rtol=RTOL)
    np.testing.assert_allclose(actual=ours.pvalue, desired=expected.pvalue, rtol=RTOL)
    assert (ours.df_num, ours.df_denom) == (len(matrix), 437)
    for use_f in (None, False, True):
        ours = report.wald_test(restrictions, use_f=use_f)
        expected = theirs.wald_test(pair, use_f=use_f, scalar=True)
        np.testing.assert_allclose(actual=ours.statistic, desired=expected.statistic, rtol=RTOL)
        np.testing.assert_allclose(actual=ours.pvalue, desired=expected.pvalue, rtol=RTOL)


@pytest.mark.parametrize(
    ("text", "row", "value"),
    [
        ("fixed acidity = 1", [1, 0, 0, 0, 0], 1),
        ("x1 = x10", [0, 1, -1, 0, 0], 0),
        ("a-b = 2 * x1", [0, -2, 0, 1, 0], 0),
        ("`a-b` - x1 = 0", [0, -1, 0, 1, 0], 0),
        ('"3" = 3', [0, 0, 0, 0, 1], 3),
        ("1.5e1*x10 = .5", [0, 0, 15, 0, 0], 0.5),
    ],
)
def test_names_may_hold_spaces_operators_numbers_and_each_other(text, row, value):
    matrix, values, _ = parse_restrictions(text, ("fixed acidity", "x1", "x10", "a-b", "3"))
    np.testing.assert_array_equal(actual=matrix, desired=[row])
    np.testing.assert_array_equal(actual=values, desired=[value])


@pytest.mark.parametrize(
    ("restrictions", "message"),
    [
        ("weight = 0", "Received: the name 'weight'"),
        ("bmi:age = 0", "Received: the name 'bmi:age'; like it: 'bmi'"),
        ("bmu = 0", "Received: the name 'bmu'; like it: 'bmi'"),
        ("bmi * bp = 0", "not linear"),
        ("1 / bmi", "not linear"),
        ("bmi / 0 = 1", "division by zero"),
        ("bmi = ", "no name or number"),
        ("(bmi = 0", "bracket"),
        ("bmi bp = 0", "'bp' instead of an operator"),
        ("3 = 3", "without parameters"),
        ("bmi = bmi", "without parameters"),
        ("", "no name or number"),
        ([[1.0, 0.0]], "array of 5 columns"),
        (([[1.0, 0, 0, 0, 0]], [1.0, 2.0]), "a value for each row"),
        ([[np.nan, 0, 0, 0, 0]], "finite"),
        (None, "Received: None"),
    ],
)
def test_restrictions_that_make_no_sense_are_named(model, restrictions, message):
    with pytest.raises(ValueError, match=f"`restrictions`.*{message}|`restrictions`.*Received.*{message}"):
        model.report().t_test(restrictions)


def test_restrictions_that_are_not_independent_are_refused(model):
    with pytest.raises(ValueError, match="independent"):
        model.report().f_test("bmi = 0, 2*bmi = 1")


def test_tests_print_what_they_are(model):
    report = model.report()
    assert "bmi = bp" in str(report.t_test("bmi = bp")) and "P>|t|" in str(report.t_test("bmi"))
    assert str(report.f_test("bmi = bp")).startswith("H0: bmi = bp\nF(1, 437) = ")
    assert "chi2(1)" in str(report.wald_test("bmi", use_f=False))


# Nested models


@pytest.mark.parametrize("left", [["age"], ["age", "bp"], COLUMNS[:3]])
def test_nested_models_are_compared_as_statsmodels_compares_them(data, model, theirs, left):
    smaller = [name for name in COLUMNS if name not in left]
    restricted = klr.RegressionReport.from_moments(model.moments.select(smaller))
    comparison = model.report().compare(restricted)
    expected = sm.OLS(data[1], sm.add_constant(data[0][smaller])).fit(method="pinv")
    f, f_p, df = theirs.compare_f_test(expected)
    ratio, ratio_p, _ = theirs.compare_lr_test(expected)
    actual = [comparison.fvalue, comparison.f_pvalue, comparison.df_diff, comparison.lr_stat, comparison.lr_pvalue]
    np.testing.assert_allclose(actual=actual, desired=[f, f_p, df, ratio, ratio_p], rtol=1e-8)  # theirs: a difference
    assert "Likelihood ratio" in str(comparison)


def test_a_fit_without_intercept_is_nested_too(data, model, theirs):
    comparison = model.report().compare(klr.RegressionReport.from_moments(model.moments, use_bias=False))
    f, f_p, _ = theirs.compare_f_test(sm.OLS(data[1], data[0]).fit(method="pinv"))
    np.testing.assert_allclose(actual=[comparison.fvalue, comparison.f_pvalue], desired=[f, f_p], rtol=1e-8)


def test_models_that_are_not_nested_or_of_other_data_are_refused(data, model):
    x, y = data
    report = model.report()
    other = report_of(x[["age", "bmi"]], y * 1.01)
    fewer = report_of(x[["age", "bmi"]][:-1], y[:-1])
    foreign = report_of(x[["age"]].rename(columns={"age": "years"}), y)
    penalised = klr.RegressionReport.from_moments(model.moments, l2=1.0)
    for restricted, message in (
        (other, "other data"),
        (fewer, "441 rows"),
        (foreign, "years"),
        (report, "fewer of them"),
        (penalised, "penalised"),
        (model.report(cov_type="HC0", data=data), "HC0"),
        ("age", "RegressionReport"),
    ):
        with pytest.raises(ValueError, match=message):
            report.compare(restricted)


# Reading it


def wide_names():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(50, 3)), columns=["a" * 70 + "1", "a" * 70 + "2", "short"])
    x["short"] *= 1e-100
    return x, pd.Series(rng.normal(size=50) * 1e100, name="y" * 90)


REPORTS = {
    "plain": lambda: report_of(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9.0)),
    "long names, extreme numbers": lambda: report_of(*wide_names()),
    "two outputs": lambda: report_of(np.arange(6.0), np.random.default_rng(0).normal(size=(6, 2))),
    "aliased": lambda: report_of(
        np.stack([np.arange(6.0), np.arange(6.0) * 2], 1), np.random.default_rng(0).normal(size=6)
    ),
    "not estimable": lambda: report_of(
        np.stack([np.arange(6.0), np.arange(6.0) * 2], 1), np.arange(6.0) ** 2, dependent="min_norm"
    ),
    "penalised": lambda: report_of(np.arange(6.0), np.arange(6.0) ** 2, l2=0.1),
    "no degrees of freedom": lambda: report_of(np.arange(2.0), np.array([1.0, 5.0])),
    "perfect": lambda: report_of(np.arange(6.0), 2 * np.arange(6.0) + 1),
    "constant output": lambda: report_of(np.arange(6.0), np.full(6, 3.0)),
    "constant column": lambda: report_of(np.ones(6), np.arange(6.0)),
    "no intercept": lambda: report_of(np.arange(6.0), np.arange(6.0) ** 2, use_bias=False),
    "too few digits": lambda: report_of(
        np.stack([np.arange(9000.0), np.arange(9000.0) + 1e-7 * np.sin(np.arange(9000.0))] * 5, 1)[:, :7], np.ones(9000)
    ),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_is_read_in_eighty_columns_in_a_notebook_and_as_json(kind):
    report = REPORTS[kind]()
    text = str(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "nan" not in text
    for name in report.names:
        shown = shortened(name, 8)
        assert shown[:3] in text and shown[-3:] in text
    assert report._repr_html_().count("<caption>") == len(report.output_names)
    again = json.loads(report.to_json())
    assert again["names"] == list(report.names) and list(again["outputs"]) == list(report.output_names)
    frame = report.to_frame()
    assert len(frame) == len(report.names) * len(report.output_names)
    np.testing.assert_allclose(actual=frame["bse"], desired=np.ravel(np.asarray(report.bse).T))


def test_a_frame_and_json_hold_the_figures(model):
    report = model.report()
    frame = report.to_frame()
    assert list(frame.index) == ["Intercept", *COLUMNS]
    np.testing.assert_array_equal(actual=frame[["ci_lower", "ci_upper"]], desired=report.conf_int())
    output = json.loads(report.to_json())["outputs"]["target"]
    assert output["coefficients"]["bmi"]["pvalues"] == report.pvalues["bmi"]
    assert output["coefficients"]["Intercept"]["vif"] is None and output["rsquared"] == report.rsquared


def test_html_escapes_what_users_name_their_columns():
    x = pd.DataFrame({"<b>&": np.arange(6.0)})
    page = report_of(x, pd.Series(np.arange(6.0) ** 2, name="<script>"))._repr_html_()
    assert "&lt;b&gt;&amp;" in page and "<b>" not in page and "<script>" not in page


def test_a_report_cannot_be_changed(model):
    report = model.report()
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.level = 0.5
    params = report.params
    params.iloc[:] = 0
    np.testing.assert_array_equal(actual=report.params.iloc[1:], desired=model.kernel.numpy()[:, 0])
    with pytest.raises(ValueError, match=r"must be one of the outputs \['target'\]. Received: 'y'"):
        report.output("y")


def test_the_repr_of_a_test_is_its_table(model):
    report = model.report()
    for test in (report.t_test("bmi = 0"), report.f_test("bmi = 0, bp = 0")):
        assert repr(test) == str(test) and "bmi" in repr(test)


def test_the_equations_of_a_chain_are_numbered_within_it(model):
    tested = model.report().t_test("age = bmi = bp, bp = s5 = age").restrictions
    assert tested == tuple(f"{chain} ({i})" for chain in ("age = bmi = bp", "bp = s5 = age") for i in (1, 2))


def test_a_robust_name_over_other_errors_is_refused(model):
    with pytest.raises(ValueError, match=r"`meat` must be given with a robust `cov_type`.*Received: cov_type='HC3'"):
        klr.RegressionReport(model.report().estimate, cov_type="HC3")


def test_a_constant_output_is_not_called_a_perfect_fit():
    notes = report_of(np.arange(6.0), np.full(6, 3.0)).notes
    assert not any("perfect" in note for note in notes)


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("aliased", "Aliased: x1"),
        ("not estimable", "Not estimable: x0, x1"),
        ("penalised", "from_moments"),
        ("no degrees of freedom", "2 rows for 2 coefficients"),
        ("perfect", "perfect up to rounding"),
        ("constant output", "constant"),
        ("constant column", "Aliased: x0"),
    ],
)
def test_figures_that_the_data_do_not_determine_are_nan_and_a_note_says_why(kind, note):
    report = REPORTS[kind]()
    assert any(note in each for each in report.notes)
    assert all(word in str(report) for word in note.split())
    if kind in ("penalised", "no degrees of freedom"):
        for figures in (report.bse, report.pvalues, report.conf_int()):
            assert np.isnan(np.asarray(figures)).all()
        assert np.isnan(report.scale) and np.isnan(report.fvalue)
        assert report.rsquared > 0.8
    if kind in ("aliased", "constant column"):
        assert np.isnan(report.bse.iloc[-1]) and np.isfinite(report.bse["Intercept"])


# Refusals


@pytest.mark.parametrize("level", [0, 1, 95, -0.5, "0.95 %", None, np.nan])
def test_a_level_that_is_no_coverage_is_refused(model, data, level):
    for ask in (model.report, lambda level: model.predict_interval(data[0], level=level)):
        with pytest.raises(ValueError, match="`level` must be a coverage between 0 and 1"):
            ask(level=level)
    if level is not None:
        with pytest.raises(ValueError, match="`level` must be a coverage between 0 and 1"):
            model.report().conf_int(level=level)


def test_conf_int_takes_no_alpha_by_position(model):
    with pytest.raises(TypeError):
        model.report().conf_int(0.05)


def test_a_penalised_model_refuses_tests_and_intervals(data):
    model = klr.ExactLinearRegression(kernel_regularizer="l2")
    model.fit(*data, verbose=0)
    for ask in (
        lambda: model.report().t_test("bmi"),
        lambda: model.report().f_test("bmi"),
        lambda: model.predict_interval(data[0]),
        lambda: model.diagnose(data),
        lambda: model.report(cov_type="HC3", data=data),
    ):
        with pytest.raises(ValueError, match="penalised fit has no standard errors"):
            ask()


def test_a_model_without_degrees_of_freedom_refuses_intervals(data):
    model = klr.ExactLinearRegression()
    model.fit(data[0][:5], data[1][:5], verbose=0)
    for ask in (
        lambda: model.predict_interval(data[0]),
        lambda: model.diagnose((data[0][:5], data[1][:5])),
        lambda: model.report(cov_type="HC1", data=(data[0][:5], data[1][:5])),
    ):
        with pytest.raises(ValueError, match="more rows than coefficients.*Received: 5 rows, 5 coefficients"):
            ask()


@pytest.mark.parametrize("method", ["report", "predict_interval", "diagnose"])
def test_a_model_of_the_tape_says_how_to_get_a_report(data, method):
    model = klr.LinearRegression()
    with pytest.raises(ValueError, match=rf"`{method}`.*ExactLinearRegression.*Moments\.from_data"):
        getattr(model, method)(data)


@pytest.mark.parametrize("method", ["report", "predict_interval", "diagnose"])
def test_a_model_that_is_not_fitted_says_so(data, method):
    arguments = () if method == "report" else (data[0],)
    with pytest.raises(ValueError, match="must be fitted before it can estimate its errors"):
        getattr(klr.ExactLinearRegression(), method)(*arguments)


def test_weights_that_were_set_have_no_report(data):
    model = klr.ExactLinearRegression()
    model.fit(*data, verbose=0)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    with pytest.raises(ValueError, match="must be fitted"):
        model.report()


def test_shortened_names_keep_both_ends_apart():
    names = [f"a very long name of a column of the {place} region" for place in ("north", "south")]
    assert [len(shortened(name, 8)) for name in names] == [8, 8]
    short = [shortened(name, 24) for name in names]
    assert max(map(len, short)) <= 24 and short[0] != short[1]


def test_data_that_are_no_pair_are_named(data, model):
    x = data[0]
    for bad, kind in ((x, "DataFrame"), (x.to_numpy(), "ndarray"), (3, "int")):
        with pytest.raises(ValueError, match=rf"`data` must be \(x, y\).* Received: {kind}"):
            model.report(data=bad)
