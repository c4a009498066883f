"""SquaredError is Keras's mean squared error in the predictions' own precision, and never broadcasts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_linreg as klr

RNG = np.random.default_rng(1)
TRUE, PRED = RNG.normal(size=(9, 2)), RNG.normal(size=(9, 2))
WEIGHTS = RNG.uniform(size=9)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None])
@pytest.mark.parametrize("weights", [None, WEIGHTS, WEIGHTS[:, None]], ids=["unweighted", "(n,)", "(n, 1)"])
def test_it_equals_keras_mean_squared_error(reduction, weights):
    expected = keras.losses.MeanSquaredError(reduction=reduction, dtype="float64")(TRUE, PRED, weights)
    loss = klr.SquaredError(reduction=reduction)(TRUE, PRED, weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [("float64", "float64"), ("float32", "float32"), ("float16", "float32"), ("bfloat16", "float32")],
)
def test_it_computes_in_the_predictions_dtype_but_not_below_float32(dtype, computed):
    loss = klr.SquaredError()(TRUE, tf.cast(PRED, dtype))
    assert loss.dtype == computed


def test_float64_keeps_digits_that_keras_own_loss_loses():
    y, p = np.array([1.0]), np.array([1.0 + 1e-9])
    assert float(klr.SquaredError()(y, p)) == pytest.approx(1e-18, rel=1e-6)
    assert float(keras.losses.MeanSquaredError()(y, p)) == 0.0


def test_half_precision_does_not_overflow():
    assert float(klr.SquaredError()(np.array([300.0]), tf.constant([[0.0]], "float16"))) == 90000.0


def test_the_users_dtype_is_used():
    assert klr.SquaredError(dtype="float32")(TRUE, PRED).dtype == "float32"


@pytest.mark.parametrize("true", [(5,), (5, 1)])
@pytest.mark.parametrize("pred", [(5,), (5, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_trailing_dimension_of_one_does_not_change_the_loss(true, pred, weighted):
    y, p, w = RNG.normal(size=5), RNG.normal(size=5), RNG.uniform(size=5)
    expected = np.mean((w if weighted else 1) * (y - p) ** 2)
    loss = klr.SquaredError()(y.reshape(true), p.reshape(pred), w if weighted else None)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("true", "pred"), [((5, 2), (5, 1)), ((5,), (5, 2)), ((4,), (5, 1)), ((5, 1, 1), (5, 2, 1))])
def test_shapes_that_would_broadcast_are_an_error(true, pred):
    with pytest.raises(ValueError, match=r"must have the same shape.*Received: y_true of shape \(.*y_pred of shape \("):
        klr.SquaredError()(np.zeros(true), np.zeros(pred))


def test_masked_rows_do_not_count():
    rows = np.where(np.arange(9)[:, None] < 4, PRED, 0.0)
    masked = keras.layers.Masking(mask_value=0.0, dtype="float64")(rows)
    expected = np.mean((TRUE[:4] - PRED[:4]) ** 2)
    assert float(klr.SquaredError()(TRUE, masked)) == pytest.approx(expected, rel=1e-12)


def test_it_trains_any_keras_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss=klr.SquaredError())
    history = model.fit(TRUE, PRED[:, 0], epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
