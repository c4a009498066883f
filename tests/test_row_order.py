"""Statistics of the order of the rows warn where a second pass reads them in another order than the fit."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_linreg as klr

N = 400
TIME = np.arange(N)
X = np.stack([np.sin(TIME / 40), TIME / 100], axis=1)
Y = X.sum(axis=1) + np.cumsum(np.random.default_rng(0).normal(size=N)) / 5
SHUFFLED = np.random.default_rng(1).permutation(N)
WARNING = "depends on the order of the rows, and `data` came in another order"


def dataset(shuffles=False, dtype="float64", buffer=N):
    rows = tf.data.Dataset.from_tensor_slices((X.astype(dtype), Y.astype(dtype)))
    return (rows.shuffle(buffer) if shuffles else rows).batch(50)


@pytest.fixture(scope="module")
def model():
    fitted = klr.ExactLinearRegression()
    fitted.fit(X, Y, verbose=0)
    return fitted


def figures(model, data):
    return model.report(cov_type="HAC", maxlags=8, data=data).bse, model.diagnose(data).durbin_watson


SAME = {
    "arrays": (X, Y),
    "a frame of lists": ([[*row] for row in X], list(Y)),
    "a dataset": dataset(),
    "a generator": ((X[i : i + 7], Y[i : i + 7]) for _ in range(1) for i in range(0, N, 7)),
}


@pytest.mark.parametrize("data", SAME.values(), ids=SAME)
def test_rows_in_the_order_of_the_fit_do_not_warn(model, data):
    model.report(cov_type="HAC", maxlags=8, data=data)


OTHER = {
    "shuffled arrays": (X[SHUFFLED], Y[SHUFFLED]),
    "backwards": (X[::-1], Y[::-1]),
    "a dataset that shuffles": dataset(shuffles=True),
    "a small buffer": dataset(shuffles=True, buffer=8),
    "the last rows changed places": (np.r_[X[:-2], X[:-3:-1]], np.r_[Y[:-2], Y[:-3:-1]]),
}


@pytest.mark.parametrize("data", OTHER.values(), ids=OTHER)
def test_another_order_warns_of_hac_and_of_durbin_watson(model, data):
    with pytest.warns(UserWarning, match=f"The HAC covariance {WARNING}"):
        model.report(cov_type="HAC", maxlags=8, data=data)
    with pytest.warns(UserWarning, match=f"The Durbin-Watson statistic {WARNING}"):
        model.diagnose(data)


def test_statistics_without_an_order_do_not_warn(model):
    for options in ({"cov_type": "HC3"}, {}):
        report = model.report(data=OTHER["shuffled arrays"], **options)
        expected = model.report(data=(X, Y), **options)
        np.testing.assert_allclose(actual=report.bse, desired=expected.bse, rtol=1e-10)


def test_a_shuffling_dataset_that_was_fitted_warns_however_the_rows_come_back():
    model = klr.ExactLinearRegression()
    shuffling = dataset(shuffles=True)
    model.fit(shuffling, verbose=0)
    for data in (shuffling, (X, Y)):
        with pytest.warns(UserWarning, match=WARNING):
            model.diagnose(data)


def test_a_loaded_model_still_knows_the_order_and_no_row_of_the_data(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = figures(model, (X, Y))
    for ours, theirs in zip(figures(loaded, (X, Y)), expected, strict=True):
        np.testing.assert_allclose(actual=ours, desired=theirs, rtol=1e-12)
    with pytest.warns(UserWarning, match=WARNING):
        loaded.diagnose((X[SHUFFLED], Y[SHUFFLED]))
    assert loaded.fitted.order is None and loaded.fitted.saved_order.shape == (2, 32)


def test_a_model_of_moments_alone_knows_a_dataset_that_begins_with_other_rows_each_time(model):
    unordered = klr.ExactLinearRegression.from_moments(model.moments)
    with pytest.warns(UserWarning, match=WARNING):
        unordered.diagnose(dataset(shuffles=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unordered.diagnose(dataset())
        unordered.diagnose((X, Y))


def test_data_of_fewer_digits_are_in_no_other_order():
    model = klr.ExactLinearRegression()
    model.fit(X.astype("float32"), Y.astype("float32"), verbose=0)
    model.diagnose((X, Y))


def test_rows_of_weight_zero_may_hold_anything_at_the_ends():
    x, weight = X.copy(), np.ones(N)
    x[[0, -1]], weight[[0, -1]] = 1e200, 0
    model = klr.ExactLinearRegression()
    model.fit(x, Y, sample_weight=weight, verbose=0)
    model.diagnose((x, Y, weight))
    model.diagnose((X[1:-1], Y[1:-1], weight[1:-1]))  # a row of weight 0 is a row left out
