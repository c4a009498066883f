"""Terms of a formula by their names: tests of all their levels; levels nobody has seen; robust intervals of means."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from formulas import survey

import keras_linreg as klr

FORMULA = "income ~ age * party + C(educ) + bs(popul, df=4)"


def fitted(formula, table):
    model = klr.ExactLinearRegression(preprocessor=klr.Formula(formula))
    model.fit(table, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return fitted(FORMULA, survey())


@pytest.fixture(scope="module")
def theirs():
    return smf.ols(FORMULA, survey()).fit()


def test_the_name_of_a_term_tests_all_its_parameters_as_statsmodels_does(model, theirs):
    expected = theirs.wald_test_terms(scalar=True).table
    for term in ("party", "age", "age:party", "C(educ)", "bs(popul, df=4)"):
        ours = model.report().f_test(term)
        np.testing.assert_allclose(
            [ours.statistic, ours.pvalue], expected.loc[term, ["statistic", "pvalue"]], rtol=1e-9
        )
        assert ours.df_num == expected.loc[term, "df_constraint"]
    both = model.report().f_test(["party", "age = 0"])
    assert both.restrictions == ("party[T.ind] = 0", "party[T.rep] = 0", "age = 0")


def test_t_test_of_a_term_has_a_row_for_each_level(model, theirs):
    ours = model.report().t_test("C(educ)")
    names = [name for name in theirs.params.index if name.startswith("C(educ)")]
    assert list(ours.restrictions) == [f"{name} = 0" for name in names]
    np.testing.assert_allclose(ours.pvalue, theirs.pvalues[names], rtol=1e-9)


def test_a_level_may_hold_brackets_and_colons_and_no_part_of_a_term_is_one(model):
    levels = np.array(["a]b", "c:d", "e", "[f]"])[np.arange(40) % 4]
    table = {"y": np.arange(40.0) ** 1.5, "g": levels, "gg": np.arange(40) % 3}
    report = fitted("y ~ g * gg", table).report()
    assert report.f_test("g").df_num == 3
    assert report.f_test("g:gg").df_num == 3
    with pytest.raises(ValueError, match=r"'C\(edu'"):
        model.report().f_test("C(edu")
    with pytest.raises(ValueError, match="Received"):
        report.f_test("h")


def test_labels_of_tests_are_printed_whole(model):
    text = "age:party[T.rep] - 2*age:party[T.ind] + 0*age + bs(popul, df=4)[3] = 17"
    lines = str(model.report().t_test([text, "age = 0"])).splitlines()
    assert text in lines
    assert max(map(len, lines)) <= 80


def test_an_unseen_level_is_named_with_its_rows_and_the_error_says_how_to_go_on():
    table = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "g": ["u", "v", "u", "v"]})
    model = fitted("y ~ g", table)
    new = pd.DataFrame({"g": ["u", "x", "w", "x"]})
    with pytest.raises(ValueError, match=r"Received: 'x' \(2 rows\), 'w' \(1 row\)\.") as error:
        model.predict(new, verbose=0)
    assert "C(g, unseen='u')" in str(error.value) and "Leave out the rows" in str(error.value)
    with pytest.raises(ValueError, match="10 more levels"):
        model.predict(pd.DataFrame({"g": [f"new {i}" for i in range(60)]}), verbose=0)


@pytest.mark.parametrize("cov_type", ["HC0", "HC3", "cluster", "HAC"])
def test_a_robust_interval_of_the_mean_is_statsmodels(model, theirs, cov_type):
    table, new = survey(), survey().iloc[5:200:13]
    groups = np.arange(len(table)) // 20
    options = {"cluster": {"groups": groups}, "HAC": {"maxlags": 4}}.get(cov_type, {})
    robust = theirs.get_robustcov_results(cov_type, use_t=False, **options)
    expected = robust.get_prediction(new).summary_frame(alpha=0.1)
    ours = model.predict_interval(new, 0.9, cov_type=cov_type, data=table, **options)
    assert list(ours.columns) == ["mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "leverage"]
    for name in ours.columns[:4]:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-9)
    np.testing.assert_array_equal(ours["leverage"], model.predict_interval(new)["leverage"])


def test_a_robust_interval_needs_the_rows_of_the_fit(model):
    table = survey()
    with pytest.raises(ValueError, match="`data`"):
        model.predict_interval(table.iloc[:3], cov_type="HC3")
    with pytest.raises(ValueError, match="must be the data of the fit"):
        model.predict_interval(table.iloc[:3], cov_type="HC3", data=table.iloc[:-1])
