"""A model saved is a model loaded: weights, names, compiled state, preprocessor; a broken file is a clear error."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import quick_and_heavy

import keras_linreg as klr


@pytest.fixture(scope="module")
def models(diabetes, penguins, penguin_space):
    """One trained model of each kind, with the data it was trained on."""
    frame, target = diabetes
    penguin_frame, penguin_target = penguins
    normalization = keras.layers.Normalization()
    normalization.adapt(frame.to_numpy())
    vocabulary = keras.layers.StringLookup(output_mode="one_hot")
    vocabulary.adapt(penguin_frame["species"].to_numpy(dtype=object))
    site = keras.Input((1,), name="site")
    species = keras.Input((1,), name="species", dtype="string")
    functional = keras.Model(
        {"species": species, "site": site}, keras.layers.Concatenate()([vocabulary(species), site])
    )
    cases = {
        "matrix": ({}, frame.to_numpy(), target),
        "frame": ({}, frame, target),
        "named matrix": ({"feature_names": list(frame)}, frame.to_numpy(), target),
        "several outputs": ({"units": 2}, frame, np.stack([target, -target], axis=1)),
        "no bias, L2": ({"use_bias": False, "kernel_regularizer": keras.regularizers.L2(0.1)}, frame, target),
        "bfloat16": ({"dtype": "mixed_bfloat16"}, frame, target),
        "Normalization": ({"preprocessor": normalization}, frame, target),
        "FeatureSpace": ({"preprocessor": penguin_space}, penguin_frame, penguin_target),
        "functional": ({"preprocessor": functional}, penguin_frame[["site", "species"]], penguin_target),
    }

    class WhenAskedFor(dict):
        def __missing__(self, name):
            arguments, x, y = cases[name]
            model = klr.LinearRegression(**arguments)
            model.compile(optimizer=keras.optimizers.Adam(0.5), metrics=["mae"], run_eagerly=name != "frame")
            model.fit(x, y, epochs=2, verbose=0)
            self[name] = model, x, y
            return self[name]

    return WhenAskedFor()


KINDS = [
    "matrix",
    "frame",
    "named matrix",
    "several outputs",
    "no bias, L2",
    "bfloat16",
    "Normalization",
    "FeatureSpace",
    "functional",
]


@pytest.mark.parametrize("kind", quick_and_heavy(KINDS, "matrix", "FeatureSpace", "several outputs", "no bias, L2"))
def test_a_loaded_model_is_the_saved_one(models, kind, tmp_path):
    model, x, y = models[kind]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)
    assert loaded.feature_names == model.feature_names
    assert loaded.schema == model.schema
    assert loaded.get_config() == model.get_config() or kind in (
        "Normalization",
        "FeatureSpace",
        "functional",
    )
    for a, b in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(tf.convert_to_tensor(a), tf.convert_to_tensor(b))


@pytest.mark.parametrize("kind", ["frame", "FeatureSpace"])
def test_training_goes_on_after_loading_as_if_it_had_not_stopped(models, kind, tmp_path):
    model, x, y = models[kind]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for m in (loaded, again):
        m.fit(x, y, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(loaded.kernel, again.kernel, rtol=1e-6)
    assert not np.allclose(loaded.kernel, model.kernel)


@pytest.mark.heavy
@pytest.mark.heavy
def test_a_process_that_only_imports_the_package_loads_it_without_custom_objects(models, tmp_path):
    model, x, _ = models["frame"]
    model.save(tmp_path / "model.keras")
    x.to_pickle(tmp_path / "x.pkl")
    code = (
        "import sys, keras, numpy, pandas, keras_linreg;"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras');"
        "x = pandas.read_pickle(sys.argv[1] + '/x.pkl');"
        "numpy.save(sys.argv[1] + '/y.npy', model.predict(x, verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), rtol=1e-6)


def test_weights_alone_can_be_saved_and_loaded(models, tmp_path):
    model, x, _ = models["frame"]
    model.save_weights(tmp_path / "model.weights.h5")
    other = klr.LinearRegression()
    other.build((None, x.shape[1]))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.kernel, model.kernel)


def test_a_clone_has_the_same_arguments_and_fresh_weights(models):
    model, _, _ = models["no bias, L2"]
    clone = keras.models.clone_model(model)
    assert clone.get_config() == model.get_config()
    assert not clone.built or not np.any(clone.get_weights()[0])


def test_what_is_learned_is_not_written_into_the_constructors_argument(models):
    model, _, _ = models["frame"]
    assert model.get_config()["feature_names"] is None
    assert model.feature_names is not None


def test_a_subclass_is_saved_with_its_own_arguments(tmp_path):
    @keras.saving.register_keras_serializable(package="test")
    class Scaled(klr.LinearRegression):
        def __init__(self, factor=1.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, inputs):
            return self.factor * super().call(inputs)

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

    model = Scaled(factor=3.0)
    model.compile()
    x = np.random.default_rng(0).normal(size=(20, 2))
    model.fit(x, x[:, 0], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.factor == 3.0
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)


def test_a_subclass_with_a_layer_of_its_own_is_saved_with_it(tmp_path):
    @keras.saving.register_keras_serializable(package="test")
    class Gated(klr.LinearRegression):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.gate = keras.layers.Dense(1, activation="sigmoid")

        def build(self, input_shape):
            self.gate.build(input_shape)
            super().build(input_shape)

        def call(self, inputs):
            return self.gate(inputs) * super().call(inputs)

    model = Gated()
    x = np.random.default_rng(0).normal(size=(20, 2))
    model.fit(x, x[:, 0], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "missing"])
def test_a_corrupt_file_is_a_clear_error(models, damage, tmp_path):
    model, _, _ = models["frame"]
    path = tmp_path / "model.keras"
    model.save(path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"not a model"}[damage])
    with pytest.raises(Exception) as error:
        keras.models.load_model(path)
    assert "model.keras" in str(error.value) or "zip" in str(error.value).lower()


def test_an_unbuilt_model_is_saved_as_its_arguments(tmp_path):
    model = klr.LinearRegression(units=2, feature_names=["a"])
    with pytest.warns(UserWarning, match="not yet been built"):
        model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").get_config() == model.get_config()


@pytest.mark.parametrize("dtype", [None, "float64", "float32"])
def test_the_loss_is_saved_with_its_dtype(dtype):
    loss = klr.SquaredError(reduction="sum", dtype=dtype)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, klr.SquaredError)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("kind", [klr.LinearRegression, klr.ExactLinearRegression])
def test_hdf5_is_refused_and_nothing_is_written(kind, tmp_path):
    model = kind()
    model.build((None, 2))
    with pytest.raises(ValueError, match="`filepath` must end in .keras"):
        model.save(tmp_path / "model.h5")
    assert list(tmp_path.iterdir()) == []
