"""Two logical devices on one CPU for the strategies, and the data that many tests share."""

import dataclasses
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import hypothesis
import keras
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import tensorflow as tf
from exported_models import ExportedModels

from keras_linreg.models.linear_model import LinearModel
from keras_linreg.moments import accumulator
from keras_linreg.training.loop.array_loop import ArrayLoop
from keras_linreg.training.loop.stream_loop import StreamLoop

# Only possible before TensorFlow has touched the device, so it is done for every test.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# The first call of a TensorFlow function takes long, and a stored failure would differ from one machine to the next.
hypothesis.settings.register_profile("tests", deadline=None, database=None)
hypothesis.settings.load_profile("tests")


def spare():
    """Spare garbage collections, of which KerasTuner makes two in each trial, all that is there now."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish():
    spare()


@pytest.fixture
def spared():
    """Of what earlier tests have left, too: TensorFlow keeps the graphs of each optimizer for good."""
    spare()


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(7)


@pytest.fixture(scope="session")
def mirrored():
    """A strategy of two replicas: one for a process, for TensorFlow takes the gradients of a second for its own."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="session")
def tutorial():
    """The tutorial's data: x on [0, 10], y = x + N(0, 1)."""
    x = np.linspace(0, 10, 100)
    return x, x + np.random.default_rng(0).normal(size=100)


@pytest.fixture(scope="session")
def diabetes():
    """scikit-learn's diabetes with standardised columns, as a frame and a named Series."""
    data = sklearn.datasets.load_diabetes(as_frame=True, scaled=False)
    frame = (data.data - data.data.mean()) / data.data.std()
    return frame, data.target


@pytest.fixture(scope="session")
def penguins():
    """A made table with a number, an integer code and strings, and a target that depends on all of them."""
    rng = np.random.default_rng(3)
    n = 90
    frame = pd.DataFrame(
        {
            "bill": rng.normal(44, 5, n),
            "site": rng.integers(1, 4, n),
            "species": rng.choice(["Adelie", "Chinstrap", "Gentoo"], n),
        }
    )
    effect = {"Adelie": 0.0, "Chinstrap": 1.0, "Gentoo": 3.0}
    return frame, 0.05 * frame["bill"] + frame["site"] + frame["species"].map(effect) + rng.normal(0, 0.1, n)


@pytest.fixture(scope="session")
def penguin_space(penguins):
    """A FeatureSpace adapted on the penguins."""
    frame, _ = penguins
    space = keras.utils.FeatureSpace(
        {"bill": "float_normalized", "site": "integer_categorical", "species": "string_categorical"}
    )
    space.adapt(tf.data.Dataset.from_tensor_slices({name: frame[name].to_numpy() for name in frame}))
    return space


@pytest.fixture(scope="session")
def exported(tmp_path_factory, penguins, penguin_space):
    """One exported model of each kind, made when it is first asked for."""
    return ExportedModels(tmp_path_factory.mktemp("exported"), penguins, penguin_space)


@pytest.fixture
def only_float64(monkeypatch):
    """No data are small enough for double-double arithmetic."""
    monkeypatch.setattr(accumulator, "ALWAYS_EXACT", 0)
    monkeypatch.setattr(accumulator, "WORTH_EXACT", 0)


@pytest.fixture
def loop_settings(monkeypatch):
    """A function that changes the loop settings of all models: `loop_settings(chunk_numbers=30)`."""

    def change(**settings):
        monkeypatch.setattr(LinearModel, "loop_settings", dataclasses.replace(LinearModel.loop_settings, **settings))

    return change


@pytest.fixture
def always_loop(loop_settings):
    """Run the steps in blocks, however short the fit is."""
    loop_settings(compile_after_seconds=0.0)


@pytest.fixture
def blocks(monkeypatch):
    """The compiled blocks that loops have run, by their method, "train_step" or "test_step": first step, and steps."""
    recorded = {"train_step": [], "test_step": []}
    for loop_class in (ArrayLoop, StreamLoop):

        def run_steps(self, first, count, original=loop_class.run_steps):
            if getattr(self, "compiles", True):
                recorded[self.functions.method].append((first, count))
            return original(self, first, count)

        monkeypatch.setattr(loop_class, "run_steps", run_steps)
    return recorded


@pytest.fixture
def trained_blocks(blocks):
    """The blocks of train steps that loops have run."""
    return blocks["train_step"]


@pytest.fixture
def evaluated_blocks(blocks):
    """The blocks of test steps that loops have run."""
    return blocks["test_step"]
