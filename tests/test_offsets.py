"""Columns far from zero: after the fit, too, every number is as good as with columns near zero."""

import keras
import numpy as np
import pytest

import keras_linreg as klr
from keras_linreg.export.saved_model import open_session, signature_defs

START = 1.7e12  # milliseconds since 1970


@pytest.fixture(scope="module", params=["1.7e12 + 0..49", "the same in 40,000 rows", "two columns, weighted"])
def fits(request):
    """A fit of far columns, its data, and the fit of the same columns near zero."""
    rng = np.random.default_rng(0)
    rows = 50 if request.param.startswith("1.7") else 40_000
    near = np.arange(float(rows))[:, None] % 50
    if request.param.startswith("two"):
        near = np.hstack([near, np.round(rng.normal(size=(rows, 1)), 6)])
    weights = rng.uniform(0.5, 2, rows) if request.param.startswith("two") else None
    y = near @ np.arange(2.0, 2.0 + near.shape[1]) + rng.normal(size=rows)
    far = near + np.array([START, 2.0**40])[: near.shape[1]]
    near = far - far[:1]  # the numbers that float64 holds
    models = []
    for x in (far, near):
        models.append(klr.ExactLinearRegression())
        models[-1].fit(x, y, sample_weight=weights, verbose=0)
    return models[0], (far, y) if weights is None else (far, y, weights), models[1], near


@pytest.fixture(scope="module", params=["fitted", "loaded"])
def model(request, fits, tmp_path_factory):
    if request.param == "fitted":
        return fits[0]
    path = tmp_path_factory.mktemp("offsets") / "model.keras"
    fits[0].save(path)
    return keras.models.load_model(path)


def test_predictions_lose_no_digits_to_an_offset(model, fits):
    _, data, other, near = fits
    expected = other.predict(near, verbose=0)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(actual=model.predict(data[0], verbose=0), desired=expected, **close)
    np.testing.assert_allclose(actual=model.predict_on_batch(data[0]), desired=expected, **close)
    np.testing.assert_allclose(actual=model(data[0]).numpy(), desired=expected, **close)
    np.testing.assert_allclose(
        actual=model.evaluate(*data[:2], verbose=0), desired=other.evaluate(near, data[1], verbose=0), rtol=1e-12
    )
    intervals, others = model.predict_interval(data[0]), other.predict_interval(near)
    for key, values in others.items():
        np.testing.assert_allclose(actual=intervals[key], desired=values, rtol=1e-10, err_msg=key)


def test_the_rows_of_the_fit_are_never_refused_whatever_their_offset(model, fits):
    _, data, other, near = fits
    report = model.report(cov_type="HC3", data=data)
    expected = other.report(cov_type="HC3", data=(near, *data[1:]))
    np.testing.assert_allclose(actual=np.asarray(report.bse)[1:], desired=np.asarray(expected.bse)[1:], rtol=1e-9)
    diagnostics, others = model.diagnose(data), other.diagnose((near, *data[1:]))
    assert diagnostics.rows.tolist() == others.rows.tolist()
    np.testing.assert_allclose(actual=diagnostics.residuals, desired=others.residuals, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:A tf.Example holds float32 alone")
def test_the_served_graph_predicts_about_the_means(fits, tmp_path):
    far, data, other, near = fits
    far.export(tmp_path / "model", verbose=False, input_dtype="float64")
    expected = other.predict(near, verbose=0).astype("float32")[:, 0]
    with open_session(tmp_path / "model") as run:
        for key, output in (("serving_default", "predictions"), ("predict_interval", "mean")):
            (name,) = signature_defs(tmp_path / "model")[key].inputs
            served = np.ravel(run(key, {name: data[0]})[output])
            np.testing.assert_allclose(actual=served, desired=expected, rtol=1e-6, atol=1e-6)


def test_other_weights_predict_what_they_say(fits):
    far, data, _, _ = fits
    model = klr.ExactLinearRegression.from_moments(far.moments)
    kernel, bias = model.get_weights()
    model.kernel.assign(2 * kernel)
    model.bias.assign(bias + 5)
    expected = model.predict(data[0], verbose=0)
    np.testing.assert_allclose(actual=expected, desired=data[0] @ (2 * kernel) + bias + 5, rtol=1e-12)
    model.set_weights([kernel * 0 + 1, bias * 0])
    assert model.moments is None
    np.testing.assert_allclose(actual=model.predict(data[0], verbose=0)[:, 0], desired=data[0].sum(axis=1), rtol=1e-15)
