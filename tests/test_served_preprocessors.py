"""A served model with a preprocessor, or with a subclass's own `call`, predicts what `predict` predicts."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.export import saved_model

RNG = np.random.default_rng(2)
SPACE = keras.utils.FeatureSpace
IDS = 2**24 + np.arange(4)


def served(model, folder, inputs, **options):
    model.export(folder, verbose=False, **options)
    with saved_model.open_session(folder) as run:
        return run("serving_default", inputs)["predictions"]


def train(x, y, preprocessor, rate=0.01):
    model = klr.LinearRegression(preprocessor=preprocessor)
    model.compile(optimizer=keras.optimizers.SGD(rate))
    model.fit(x, y, epochs=5, verbose=0)
    return model


def adapt(frame, features, **options):
    space = SPACE(features, **options)
    space.adapt(tf.data.Dataset.from_tensor_slices({name: frame[name].to_numpy() for name in frame}))
    return space


@pytest.mark.parametrize("named", [False, True], ids=["matrix", "frame"])
def test_codes_that_float32_does_not_hold_are_served_as_integers(named, tmp_path):
    known = IDS[RNG.integers(0, 4, 60)]
    x = pd.DataFrame({"shop": known}) if named else known[:, None]
    lookup = keras.layers.IntegerLookup(vocabulary=IDS.tolist(), output_mode="one_hot")
    model = train(x, (known - IDS[0]) * 10.0, lookup, rate=0.3)
    asked = pd.DataFrame({"shop": IDS}) if named else IDS[:, None]
    expected = model.predict(asked, verbose=0)
    assert len(np.unique(expected)) == 4
    inputs = {"shop": IDS} if named else {"features": IDS[:, None]}
    np.testing.assert_allclose(served(model, tmp_path / "model", inputs), expected, rtol=1e-6)
    klr.publish(model, tmp_path / "versions", warmup=x)
    with pytest.raises(ValueError, match="must hold integers"):
        model.predict(asked + 0.5, verbose=0)


@pytest.mark.parametrize(
    "x",
    [
        tf.sparse.from_dense(np.arange(20)[:, None]),
        pd.DataFrame({"a": pd.array(np.arange(20), "Int64")}),
        np.arange(20, dtype="uint8")[:, None],
    ],
    ids=["sparse tensor", "nullable", "uint8"],
)
def test_integers_of_every_kind_pass_a_layer_of_numbers(x):
    model = train(x, np.arange(20.0), keras.layers.Dense(1, kernel_initializer="ones"), rate=1e-3)
    assert [column.dtype for column in model.schema.inputs] == ["float32"]


def test_small_integers_before_a_layer_of_numbers_are_served_as_numbers(tmp_path):
    scale = keras.layers.Normalization()
    x = np.arange(20)[:, None]
    scale.adapt(x.astype("float32"))
    model = train(x, np.arange(20.0), scale)
    inputs = {"features": np.array([[1.5]], "float32")}
    np.testing.assert_allclose(served(model, tmp_path / "model", inputs), model.predict([[1.5]], verbose=0), rtol=1e-5)


@pytest.mark.parametrize(("offset", "warns"), [(1.7e9, True), (0.0, False)])
def test_export_warns_where_float32_would_spoil_what_a_float64_preprocessor_takes(offset, warns, tmp_path):
    x = np.column_stack([RNG.uniform(0, 100, 60) + offset, RNG.normal(size=60)])
    scale = keras.layers.Normalization(dtype="float64")
    scale.adapt(x)
    model = klr.ExactLinearRegression(preprocessor=scale)
    model.fit(x, x.sum(axis=1) - offset, verbose=0)
    if not warns:
        model.export(tmp_path / "model", verbose=False)
        return
    with pytest.warns(UserWarning, match="the preprocessor computes in float64.*input_dtype='float64'"):
        model.export(tmp_path / "model", verbose=False)
    with pytest.warns(UserWarning, match="tf.Example holds float32 alone"):
        predictions = served(model, tmp_path / "wide", {"features": x[:5]}, input_dtype="float64")
    np.testing.assert_allclose(predictions, model.predict(x[:5], verbose=0), rtol=1e-6)


def test_a_subclass_with_a_call_of_its_own_is_served_as_it_predicts(tmp_path):
    class Exponential(klr.ExactLinearRegression):
        def call(self, inputs, training=None):
            return keras.ops.exp(super().call(inputs, training=training))

    x = RNG.normal(size=(60, 2))
    model = Exponential()
    model.fit(x, x.sum(axis=1), verbose=0)
    inputs = {"features": x[:3].astype("float32")}
    np.testing.assert_allclose(
        served(model, tmp_path / "model", inputs), model.predict(inputs["features"], verbose=0), rtol=1e-5
    )


def test_crossed_features_are_served(tmp_path):
    frame = pd.DataFrame({"city": ["Paris", "Rome"] * 20, "code": [0, 1, 2, 3] * 10})
    cross = SPACE.cross(("city", "code"), crossing_dim=8)
    features = {"city": SPACE.string_hashed(num_bins=8), "code": "integer_categorical"}
    model = train(frame, np.arange(40.0), adapt(frame, features, crosses=[cross]))
    inputs = {"city": np.array(["Paris", "Rome"], object), "code": np.array([0, 3])}
    expected = model.predict(frame.iloc[[0, 3]], verbose=0)
    np.testing.assert_allclose(served(model, tmp_path / "model", inputs), expected, rtol=1e-5)
    assert served(model, tmp_path / "model", {name: value[:0] for name, value in inputs.items()}).shape == (0, 1)


def test_names_that_no_graph_takes_are_served_by_a_feature_space(tmp_path):
    frame = pd.DataFrame({"größe": np.arange(40.0), "big size": np.arange(40.0) % 7})
    space = adapt(frame, dict.fromkeys(frame, "float_normalized"))
    before = [layer.name for layer in space.preprocessors.values()]
    model = train(frame, frame["größe"], space)
    inputs = {name: frame[name].to_numpy("float32")[:3] for name in frame}
    expected = model.predict(frame[:3], verbose=0)
    np.testing.assert_allclose(served(model, tmp_path / "model", inputs), expected, rtol=1e-5, atol=1e-5)
    assert [layer.name for layer in space.preprocessors.values()] == before


@pytest.mark.parametrize("how", ["served", "predict", "dataset"])
def test_nan_before_a_preprocessor_that_would_hide_it_is_nan_in_its_row(how, tmp_path):
    frame = pd.DataFrame({"age": RNG.normal(40, 10, 60)})
    model = train(frame, frame["age"], adapt(frame, {"age": SPACE.float_discretized(num_bins=4)}))
    ages = np.array([np.nan, np.inf, 30.0], "float32")
    if how == "served":
        predictions = served(model, tmp_path / "model", {"age": ages})
    elif how == "predict":
        predictions = model.predict(pd.DataFrame({"age": ages}), verbose=0)
    else:
        predictions = model.predict(tf.data.Dataset.from_tensor_slices({"age": ages}).batch(2), verbose=0)
    np.testing.assert_array_equal(np.isnan(predictions[:, 0]), [True, False, False])
