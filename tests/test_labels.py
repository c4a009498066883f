"""Results carry the labels of parameters, outputs and rows, and scores are those of scikit-learn."""

import keras
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.linear_model
import statsmodels.api as sm
import tensorflow as tf
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import keras_linreg as klr

N = 50
RNG = np.random.default_rng(3)
INDEX = pd.Index([f"house {i}" for i in range(N)], name="house")
X = pd.DataFrame({"area": RNG.normal(100, 20, N), "age": RNG.normal(30, 9, N)}, index=INDEX)
PRICE = pd.Series(X.to_numpy() @ [3.0, -0.5] + RNG.standard_t(3, size=N), index=INDEX, name="price")
WEIGHTS = RNG.uniform(0.5, 2, N)
PARAMETERS = ["Intercept", "area", "age"]
TWO = pd.DataFrame({"price": PRICE, "rent": RNG.normal(size=N)}, index=INDEX)


@pytest.fixture(scope="module")
def model():
    model = klr.ExactLinearRegression()
    model.fit(X, PRICE, verbose=0)
    return model


@pytest.fixture(scope="module")
def of_two():
    model = klr.ExactLinearRegression(units=2)
    model.fit(X, TWO, verbose=0)
    return model


@pytest.fixture(scope="module")
def ols():
    return sm.OLS(PRICE, sm.add_constant(X)).fit()


@pytest.mark.parametrize("name", ["params", "bse", "tvalues", "pvalues"])
def test_figures_of_parameters_are_series_by_name(model, of_two, ols, name):
    figures = getattr(model.report(), name)
    assert figures.index.tolist() == PARAMETERS and figures.name == name
    np.testing.assert_allclose(actual=figures, desired=getattr(ols, name), rtol=1e-9)
    assert figures["area"] == figures.iloc[1] == np.asarray(figures)[1]
    both = getattr(of_two.report(), name)
    assert both.index.tolist() == PARAMETERS and both.columns.tolist() == ["price", "rent"]
    np.testing.assert_allclose(actual=both["price"], desired=figures, rtol=1e-9)


def test_inflation_factors_are_one_series_of_all_outputs(of_two):
    assert of_two.report().vif.index.tolist() == PARAMETERS and np.isnan(of_two.report().vif["Intercept"])


def test_limits_and_covariances_are_frames_by_name(model, of_two, ols):
    report, both = model.report(), of_two.report()
    np.testing.assert_allclose(actual=report.conf_int(level=0.9), desired=ols.conf_int(alpha=0.1), rtol=1e-9)
    assert report.conf_int().columns.tolist() == ["lower", "upper"]
    np.testing.assert_allclose(actual=report.cov_params(), desired=ols.cov_params(), rtol=1e-9)
    assert report.cov_params().loc["area", "age"] == pytest.approx(ols.cov_params().loc["area", "age"], rel=1e-9)
    assert both.conf_int().loc["area", ("lower", "price")] == pytest.approx(report.conf_int().loc["area", "lower"])
    covariance = both.cov_params().xs("price", axis=1, level="output")
    np.testing.assert_allclose(actual=covariance, desired=report.cov_params(), rtol=1e-9)


def test_intervals_have_the_index_of_the_rows(model, of_two, ols):
    interval = model.predict_interval(X)
    assert interval.index.equals(INDEX)
    expected = ols.get_prediction(sm.add_constant(X)).summary_frame()
    for name in ("mean", "mean_se", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper"):
        np.testing.assert_allclose(actual=interval[name], desired=expected[name], rtol=1e-9)
    assert model.predict_interval(pl.from_pandas(X)).index.tolist() == list(range(N))
    both = of_two.predict_interval(X)
    assert both.columns.tolist()[:2] == [("mean", "price"), ("mean", "rent")] and both.columns[-1] == ("leverage", "")
    np.testing.assert_allclose(actual=both["mean"]["price"], desired=interval["mean"], rtol=1e-12)
    assert both["leverage"].shape == (N,)


# The influence of rows


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
def test_influence_is_that_of_statsmodels_by_the_labels_of_rows(weights):
    model = klr.ExactLinearRegression()
    model.fit(X, PRICE, sample_weight=weights, verbose=0)
    data = (X, PRICE) if weights is None else (X, PRICE, weights)
    influence = model.diagnose(data).influence()
    root = 1.0 if weights is None else np.sqrt(weights)
    design = sm.add_constant(X).mul(root, axis=0)  # what a weighted fit sees
    expected = sm.OLS(PRICE * root, design).fit().get_influence()
    frame = expected.summary_frame().rename(columns={"dfb_const": "dfb_Intercept"})
    assert influence.index.equals(INDEX)
    for name in influence:
        np.testing.assert_allclose(actual=influence[name], desired=frame[name], rtol=1e-7, atol=1e-12)


def test_influence_of_a_stream_comes_in_frames(model):
    stream = tf.data.Dataset.from_tensor_slices((dict(X), PRICE.to_numpy())).batch(11)
    frames = list(model.diagnose(stream).influence())
    whole = model.diagnose((X, PRICE)).influence()
    np.testing.assert_allclose(actual=pd.concat(frames), desired=whole, rtol=1e-9)
    assert pd.concat(frames).index.tolist() == list(range(N))
    once = model.diagnose(batch for batch in [(X, PRICE)])
    with pytest.raises(ValueError, match="can be read again.*Received: a generator"):
        list(once.influence())


def test_influence_of_several_outputs_has_pairs_of_columns(model, of_two):
    influence = of_two.diagnose((X, TWO)).influence()
    one = model.diagnose((X, PRICE)).influence()
    np.testing.assert_allclose(actual=influence["dfb_area"]["price"], desired=one["dfb_area"], rtol=1e-9)
    assert influence["hat_diag"].shape == (N,)


def test_the_outlier_test_is_that_of_r(model, of_two):
    y = PRICE.copy()
    y["house 7"] += 40
    spoiled = klr.ExactLinearRegression()
    spoiled.fit(X, y, verbose=0)
    diagnostics = spoiled.diagnose((X, y))
    expected = sm.OLS(y, sm.add_constant(X)).fit().outlier_test(order=True)
    shown = diagnostics.outlier_test(cutoff=1.0, n_max=5)
    assert shown.index.tolist() == expected.index[:5].tolist()
    columns = ["student_resid", "unadj_p", "bonf(p)"]
    np.testing.assert_allclose(actual=shown, desired=expected[columns][:5], rtol=1e-9)
    assert diagnostics.outlier_test().index.tolist() == ["house 7"]
    assert len(model.diagnose((X, PRICE)).outlier_test(cutoff=1e-12)) == 1  # the largest, in any case
    assert set(of_two.diagnose((X, TWO)).outlier_test().index.get_level_values("output")) == {"price", "rent"}
    with pytest.raises(ValueError, match="`n_max` must be an integer from 1 to 100. Received: n_max=0"):
        diagnostics.outlier_test(n_max=0)
    with pytest.raises(ValueError, match="`cutoff` must be a probability above 0. Received: cutoff=5"):
        diagnostics.outlier_test(cutoff=5)


def test_diagnostics_name_rows_by_their_labels(model):
    diagnostics = model.diagnose((X, PRICE), k=3)
    assert diagnostics.row_labels.tolist() == INDEX[diagnostics.rows].tolist()
    assert diagnostics.to_frame().index.tolist() == diagnostics.row_labels.tolist()
    assert f"row {diagnostics.row_labels[0]}" in str(diagnostics)


# Scores


def test_the_score_is_r_squared_of_new_data(model, of_two):
    new = X + 3.0
    expected = r2_score(PRICE, model.predict(new, verbose=0), sample_weight=WEIGHTS)
    assert model.score(new, PRICE, WEIGHTS) == pytest.approx(expected, rel=1e-12)
    assert of_two.score(new, TWO) == pytest.approx(r2_score(TWO, of_two.predict(new, verbose=0)), rel=1e-12)
    stream = tf.data.Dataset.from_tensor_slices((dict(new), PRICE.to_numpy(), WEIGHTS)).batch(9)
    assert model.score(stream) == pytest.approx(expected, rel=1e-12)
    unknown = new.assign(**{new.columns[0]: [np.nan, *new.iloc[1:, 0]]}), PRICE, np.r_[0.0, WEIGHTS[1:]]
    assert model.score(*unknown) == pytest.approx(model.score(new, PRICE, unknown[2]), rel=1e-12)
    assert np.isnan(model.score(new, np.ones(N)))
    with pytest.raises(ValueError, match="must be fitted"):
        klr.ExactLinearRegression().score(X, PRICE)


def test_the_score_of_the_tape_model():
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(1e-6), run_eagerly=True)
    model.fit(X, PRICE, verbose=0)
    assert model.score(X, PRICE) == pytest.approx(r2_score(PRICE, model.predict(X, verbose=0)), rel=1e-5)


def test_scikit_learn_takes_the_exact_model():
    def estimator(model):
        return keras.wrappers.SKLearnRegressor(model, fit_kwargs={"verbose": 0})

    x, y = X.to_numpy(), PRICE.to_numpy()
    expected = sklearn.linear_model.LinearRegression()
    np.testing.assert_allclose(
        actual=cross_val_score(estimator(klr.ExactLinearRegression()), x, y, cv=2),
        desired=cross_val_score(expected, x, y, cv=2),
        rtol=1e-9,
    )
    pipeline = make_pipeline(StandardScaler(), estimator(klr.ExactLinearRegression())).fit(x, y)
    assert pipeline.score(x, y) == pytest.approx(expected.fit(x, y).score(x, y), rel=1e-9)

    def build(X, y, l2):
        return klr.ExactLinearRegression(kernel_regularizer=keras.regularizers.L2(l2))

    search = GridSearchCV(
        keras.wrappers.SKLearnRegressor(build, fit_kwargs={"verbose": 0}),
        {"model_kwargs": [{"l2": 1e-6}, {"l2": 1e6}]},
        cv=2,
    ).fit(x, y)
    assert search.best_params_ == {"model_kwargs": {"l2": 1e-6}}
