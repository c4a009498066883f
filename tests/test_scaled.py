"""ScaledLinearRegression: the optimizer sees columns and a target of scale 1, the user sees their own units."""

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import keras_linreg as klr
from keras_linreg.models.column_scales import column_scales
from keras_linreg.models.scaled import ScaledLinearRegression

pytestmark = pytest.mark.usefixtures("spared")
RNG = np.random.default_rng(7)
Z = RNG.normal(size=(64, 3))
X = Z * [1e-3, 1.0, 1e6] + [5e-3, -2.0, 3e6]
Y = 1e4 * (Z @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=64)) + 1e5
FIT = {"batch_size": 16, "epochs": 4, "shuffle": False, "verbose": 0}


def trained(kind, x, y, optimizer, **kwargs):
    model = kind(**kwargs)
    model.compile(optimizer)
    return model, model.fit(x, y, **FIT).history["loss"]


@pytest.fixture(scope="module")
def scaled():
    return trained(ScaledLinearRegression, X, Y, keras.optimizers.Adam(0.1))[0]


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_raw_columns_train_as_columns_and_target_of_scale_1_do(optimizer):
    penalty = keras.regularizers.L1L2(0.01, 0.1)
    model, losses = trained(ScaledLinearRegression, X, Y, optimizer(0.1, clipnorm=1.0), kernel_regularizer=penalty)
    x, y = (X - X.mean(0)) / X.std(0), (Y - Y.mean()) / Y.std()
    plain, expected = trained(klr.LinearRegression, x, y, optimizer(0.1, clipnorm=1.0), kernel_regularizer=penalty)
    np.testing.assert_allclose(actual=model.kernel.numpy(), desired=plain.kernel.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(actual=losses, desired=np.multiply(expected, Y.var()), rtol=1e-3)


def test_the_unscaled_weights_predict_the_same(scaled):
    kernel, bias = scaled.unscaled_weights()
    np.testing.assert_allclose(actual=X @ kernel + bias, desired=scaled.predict(X, verbose=0), rtol=1e-4)
    np.testing.assert_allclose(actual=scaled(X.astype("float32")), desired=scaled.predict(X, verbose=0), rtol=1e-5)


def test_the_scales_are_saved_loaded_and_served(scaled, tmp_path):
    expected = scaled.predict(X, verbose=0)
    scaled.save(tmp_path / "scaled.keras")
    loaded = keras.models.load_model(tmp_path / "scaled.keras")
    np.testing.assert_allclose(actual=loaded.predict(X, verbose=0), desired=expected, rtol=1e-6)
    scaled.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    answer = served(features=tf.constant(X, tf.float32))["predictions"]
    np.testing.assert_allclose(actual=answer, desired=expected, rtol=1e-5)


def test_a_second_fit_keeps_the_scales():
    model, _ = trained(ScaledLinearRegression, X, Y, keras.optimizers.SGD(0.01))
    before = model.center.numpy()
    model.fit(X + X.std(axis=0), Y, **FIT)
    np.testing.assert_array_equal(model.center.numpy(), before)


def test_scales_are_of_what_a_preprocessor_makes_of_a_table():
    age, city = keras.Input((1,), name="age"), keras.Input((1,), name="city", dtype="string")
    codes = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(city)
    preprocessor = keras.Model({"age": age, "city": city}, keras.layers.Concatenate()([age, codes]))
    table = {"age": X[:, 2], "city": np.where(X[:, 1] > -2, "a", "b")}
    model, _ = trained(ScaledLinearRegression, table, Y, keras.optimizers.Adam(0.1), preprocessor=preprocessor)
    np.testing.assert_allclose(actual=model.scale.numpy()[0], desired=X[:, 2].std(), rtol=1e-5)
    assert np.isfinite(model.predict(table, verbose=0)).all()


def test_a_dataset_and_sparse_rows_give_the_scales_of_the_array(scaled):
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(10)
    sparse = scipy.sparse.csr_matrix(X)
    for data in ((dataset,), (sparse, Y)):
        model = ScaledLinearRegression()
        model.compile(run_eagerly=True)
        model.fit(*data, epochs=1, verbose=0)
        np.testing.assert_allclose(
            actual=model.predict(sparse, verbose=0), desired=model.predict(X, verbose=0), rtol=1e-4
        )
        np.testing.assert_allclose(actual=model.scale.numpy(), desired=X.std(0), rtol=1e-4)
        np.testing.assert_allclose(actual=model.center.numpy(), desired=X.mean(0), rtol=1e-5)


def test_a_fit_on_bad_data_leaves_the_model_unbuilt():
    model = ScaledLinearRegression()
    bad = np.where(X > 4e6, np.nan, X)
    with pytest.raises(ValueError, match="'x2'"):
        model.fit(bad, Y, verbose=0)
    assert not model.built
    model.fit(X, Y, verbose=0)
    np.testing.assert_allclose(actual=model.scale.numpy(), desired=X.std(0), rtol=1e-5)


def test_a_generator_is_refused_because_it_can_be_read_once():
    with pytest.raises(ValueError, match="`x` must be data that can be read twice"):
        ScaledLinearRegression().fit(iter([(X, Y)]), verbose=0)


@given(st.integers(1, 64), st.booleans(), st.booleans())
def test_scales_are_the_weighted_means_and_deviations_however_the_rows_are_cut(size, is_weighted, is_centered):
    weights = np.arange(64) % 3 if is_weighted else np.ones(64)
    batches = [
        (X[i : i + size], Y[i : i + size, None], weights[i : i + size] if is_weighted else None)
        for i in range(0, 64, size)
    ]
    scales = column_scales(batches, is_centered)
    center = np.average(X, axis=0, weights=weights) if is_centered else np.zeros(3)
    np.testing.assert_allclose(actual=scales.center, desired=center, rtol=1e-12)
    deviation = np.sqrt(np.average((X - center) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(actual=scales.scale, desired=deviation, rtol=1e-12)


def test_a_column_and_a_target_that_do_not_vary_have_scale_1():
    constant = np.full((9, 1), 1e6)
    scales = column_scales([(constant, constant, None)], is_centered=True)
    assert (scales.scale[0], scales.target_scale, scales.target_center[0]) == (1.0, 1.0, 1e6)
