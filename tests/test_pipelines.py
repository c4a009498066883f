"""The model in the pipelines that Keras and scikit-learn users already have."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import keras_linreg as klr


@pytest.fixture(scope="module")
def table(diabetes):
    frame, target = diabetes
    return (5 * frame.to_numpy() + 3).astype("float32"), target.to_numpy(dtype="float32")


def test_after_normalization_in_a_functional_model(table):
    x, y = table
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((10,))
    regression = klr.LinearRegression()
    model = keras.Model(inputs, regression(normalization(inputs)))
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss=klr.SquaredError())
    model.fit(x, y, epochs=20, verbose=0)
    z = (x - x.mean(0)) / x.std(0)
    best = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), y, rcond=None)[0]
    optimum = np.mean((np.column_stack([z, np.ones(len(z))]) @ best - y) ** 2)
    assert model.evaluate(x, y, verbose=0) < 1.05 * optimum
    assert regression.trainable_weights == model.trainable_weights


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.heavy
def test_as_the_last_layer_it_is_trained_end_to_end(table, functional, tmp_path):
    x, y = table[0] / 10, (table[1] - 150) / 77
    keras.utils.set_random_seed(1)
    hidden, last = (
        keras.layers.Dense(8, activation="relu"),
        klr.LinearRegression(kernel_initializer="glorot_uniform"),
    )
    if functional:
        inputs = keras.Input((10,))
        model = keras.Model(inputs, last(hidden(inputs)))
    else:
        model = keras.Sequential([hidden, last])
    model.compile(optimizer="adam", loss="mse")
    before = model.evaluate(x, y, verbose=0)
    first = [np.array(w) for w in hidden.get_weights()]
    history = model.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert history[-1] < before
    assert not np.allclose(first[0], hidden.get_weights()[0])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_the_last_layer_equals_dense(table):
    x, y = table
    models = []
    for last in (klr.LinearRegression(), keras.layers.Dense(1, kernel_initializer="zeros")):
        keras.utils.set_random_seed(3)
        hidden = keras.layers.Dense(4, activation="tanh", kernel_initializer=keras.initializers.GlorotUniform(seed=5))
        model = keras.Sequential([keras.Input((10,)), hidden, last])
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
        model.fit(x, y, epochs=3, shuffle=False, verbose=0)
        models.append(model)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.heavy
def test_behind_tf_data_mapped_through_a_featurespace(penguins, penguin_space):
    frame, target = penguins
    raw = {name: frame[name].to_numpy() for name in frame}
    dataset = tf.data.Dataset.from_tensor_slices((raw, target.to_numpy())).batch(30)
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.fit(dataset.map(lambda x, y: (penguin_space(x), y)), epochs=60, verbose=0)
    assert model.evaluate(dataset.map(lambda x, y: (penguin_space(x), y)), verbose=0) < 0.1 * target.var()


def test_one_model_holds_featurespace_and_regression_for_raw_data(penguins, penguin_space):
    frame, target = penguins
    regression = klr.LinearRegression()
    model = keras.Model(dict(penguin_space.get_inputs()), regression(penguin_space.get_encoded_features()))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    raw = {name: frame[name].to_numpy() for name in frame}
    dataset = tf.data.Dataset.from_tensor_slices((raw, target.to_numpy())).batch(30)
    history = model.fit(dataset, epochs=20, shuffle=False, verbose=0).history["loss"]
    assert history[-1] < 0.2 * history[0]


def regression(X, y, rate=0.05, l2=0.0):
    model = klr.LinearRegression(kernel_regularizer=keras.regularizers.L2(l2))
    model.compile(optimizer=keras.optimizers.SGD(rate))
    return model


# Keras's wrapper forgets its `fit_kwargs` when scikit-learn clones it: they go with the call instead.
FIT = {"sklearnregressor__epochs": 15, "sklearnregressor__verbose": 0}


def pipeline():
    return make_pipeline(StandardScaler(), keras.wrappers.SKLearnRegressor(regression))


def test_inside_a_scikit_learn_pipeline_with_cross_validation(table):
    x, y = table
    scores = cross_val_score(pipeline(), x, y, cv=3, params=FIT)
    assert scores.shape == (3,)
    assert scores.min() > 0.35


def test_inside_a_grid_search(table):
    x, y = table
    grid = {"sklearnregressor__model_kwargs": [{"rate": 1e-5}, {"rate": 0.05}]}
    search = GridSearchCV(pipeline(), grid, cv=2).fit(x, y, **FIT)
    assert search.best_params_["sklearnregressor__model_kwargs"] == {"rate": 0.05}
    assert search.predict(x).shape == (len(y),)
