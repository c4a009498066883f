"""The null model of the bias alone, and fits without a bias whose columns span the constant, beside statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm

import keras_linreg as klr
from keras_linreg.inference.tables import number

N = 80
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
Y = 2 + X @ [1.0, 0.2, 0.0] + RNG.normal(size=N)
WEIGHT = RNG.uniform(0.5, 2, N)
FIGURES = ["rsquared", "rsquared_adj", "llf", "aic", "bic", "ssr", "scale"]
SINGULAR = pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.SingularMatrixWarning")
WEIGHTS = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])


def reports(weight):
    moments = klr.Moments.from_data(X, Y, weight)
    theirs = sm.WLS(Y, sm.add_constant(X), np.ones(N) if weight is None else weight).fit()
    null = sm.WLS(Y, np.ones(N), np.ones(N) if weight is None else weight).fit()
    return moments, theirs, null


@WEIGHTS
def test_the_null_model_is_statsmodels(weight):
    moments, _, theirs = reports(weight)
    report = klr.RegressionReport.from_moments(moments.select(features=[]))
    for name in FIGURES:
        desired = getattr(theirs, name)
        np.testing.assert_allclose(actual=getattr(report, name), desired=desired, rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(actual=np.ravel(report.params), desired=theirs.params, rtol=1e-10)
    np.testing.assert_allclose(actual=np.ravel(report.bse), desired=theirs.bse, rtol=1e-10)
    assert np.isnan(report.fvalue) and "0 features," in repr(moments.select(features=[]))
    assert "Intercept" in str(report)


@WEIGHTS
def test_a_model_is_compared_with_the_null_model_as_by_its_own_f(weight):
    moments, theirs, null = reports(weight)
    report = klr.RegressionReport.from_moments(moments)
    comparison = report.compare(klr.RegressionReport.from_moments(moments.select(features=[])))
    np.testing.assert_allclose(actual=comparison.fvalue, desired=report.fvalue, rtol=1e-10)
    ratio, p, _ = theirs.compare_lr_test(null)
    np.testing.assert_allclose(actual=[comparison.lr_stat, comparison.lr_pvalue], desired=[ratio, p], rtol=1e-9)
    assert comparison.df_diff == 3


def test_null_moments_are_merged_saved_and_solved_with_any_rule(tmp_path):
    null = klr.Moments.from_data(X, Y).select(features=[])
    null.save(tmp_path / "null")
    twice = klr.Moments.load(tmp_path / "null") + null
    for options in ({}, {"l2": 1.0}, {"dependent": "min_norm"}):
        solution = twice.solve(**options)
        assert solution.kernel.shape == (0, 1)
        np.testing.assert_allclose(actual=solution.bias, desired=[Y.mean()], rtol=1e-14)
    assert twice.solve(use_bias=False).rank == 0
    with pytest.raises(ValueError, match="`moments` must have at least one feature"):
        klr.ExactLinearRegression.from_moments(null)


GROUP = np.arange(N) % 3
DUMMIES = (GROUP[:, None] == np.arange(3)).astype(float)
SPANNING = {
    "ones": np.column_stack([np.ones(N), X]),
    "dummies": np.column_stack([DUMMIES, X[:, 0]]),
    "shares": np.column_stack([np.abs(X), 5 - np.abs(X).sum(axis=1)]),
    "ones twice": np.column_stack([np.ones(N), X, np.ones(N)]),
}
OTHER = {
    "columns": X,
    "two of three dummies": np.column_stack([DUMMIES[:, :2], X[:, 0]]),
    "a large offset": X + 1e6,
    "a dependent column": np.column_stack([X, X[:, :2].sum(axis=1)]),
}


@SINGULAR
@WEIGHTS
@pytest.mark.parametrize("x", SPANNING.values(), ids=SPANNING)
def test_without_a_bias_a_note_gives_statsmodels_r_squared_where_the_columns_span_the_constant(x, weight):
    theirs = sm.WLS(Y, x, np.ones(N) if weight is None else weight).fit()
    moments = klr.Moments.from_data(x, np.column_stack([Y, 3 * Y]), weight)
    report = klr.RegressionReport.from_moments(moments, use_bias=False)
    for one in report.outputs():
        figures = f"{number(theirs.rsquared)} (adjusted {number(theirs.rsquared_adj)})"
        assert one.notes[-1].endswith(f"statsmodels centres it then: {figures}.")
        centred = 1 - one.estimate.ssr / one.estimate.centred_tss
        np.testing.assert_allclose(actual=centred, desired=[theirs.rsquared], rtol=1e-9)
        assert one.rsquared != pytest.approx(theirs.rsquared, rel=1e-3)


@SINGULAR
@pytest.mark.parametrize("x", OTHER.values(), ids=OTHER)
def test_no_note_where_they_do_not_or_where_there_is_a_bias(x):
    moments = klr.Moments.from_data(x, Y)
    report = klr.RegressionReport.from_moments(moments, use_bias=False)
    assert report.estimate.centred_tss is None and not any("centres" in note for note in report.notes)
    theirs = sm.OLS(Y, x).fit()
    np.testing.assert_allclose(actual=report.rsquared, desired=theirs.rsquared, rtol=1e-6)
    with_bias = klr.RegressionReport.from_moments(klr.Moments.from_data(SPANNING["dummies"], Y))
    assert with_bias.estimate.centred_tss is None
