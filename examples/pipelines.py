"""LinearRegression in the pipelines that Keras and scikit-learn users already have.

    python examples/pipelines.py

The same table, five ways; each prints its R2 on rows held out, and their predictions are drawn side by side. The linear
models all come to least squares, so their R2 are alike; only the network, which is not linear, has another one.
"""

import keras_linreg.utils.quiet  # first: TensorFlow then writes no log lines

# isort: split
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import keras_linreg as klr

EPOCHS = 120  # of one step each: full batches come to least squares, small ones stay around it


def after_normalization(x, y):
    """A layer of a functional model, behind keras.layers.Normalization."""
    scale = keras.layers.Normalization()
    scale.adapt(x.to_numpy())
    inputs = keras.Input((x.shape[1],))
    model = keras.Model(inputs, klr.LinearRegression()(scale(inputs)))
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=klr.SquaredError())
    model.fit(x, y, batch_size=len(x), epochs=EPOCHS, verbose=0)
    return lambda rows: model.predict(rows, verbose=0)


def last_layer(x, y):
    """The last layer of a network that is trained end to end."""
    scale = keras.layers.Normalization()
    scale.adapt(x.to_numpy())
    model = keras.Sequential([scale, keras.layers.Dense(16, activation="relu"), klr.LinearRegression()])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    model.fit(x, y, batch_size=32, epochs=40, verbose=0)
    return lambda rows: model.predict(rows, verbose=0)


def feature_space(x):
    """A FeatureSpace: numbers standardised, the sex as a category."""
    space = keras.utils.FeatureSpace(
        {name: "integer_categorical" if name == "sex" else "float_normalized" for name in x}
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(columns(x)))
    return space


def columns(x):
    return {name: x[name].to_numpy(dtype="int64" if name == "sex" else "float32") for name in x}


def with_a_preprocessor(x, y):
    """A FeatureSpace as preprocessor: the model takes the frame itself, is saved and served with it."""
    model = klr.LinearRegression(preprocessor=feature_space(x))
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(x, y, batch_size=len(x), epochs=EPOCHS, verbose=0)
    return lambda rows: model.predict(rows, verbose=0)


def behind_tf_data(x, y):
    """A tf.data pipeline that is mapped through the FeatureSpace."""
    space = feature_space(x)
    dataset = tf.data.Dataset.from_tensor_slices((columns(x), y)).shuffle(len(x)).batch(len(x))
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(dataset.map(lambda features, target: (space(features), target)), epochs=EPOCHS, verbose=0)
    return lambda rows: model.predict(space(columns(rows)), verbose=0)


def inside_scikit_learn(x, y):
    """An estimator in a scikit-learn Pipeline, with cross_val_score and GridSearchCV."""

    def regression(X, y, rate=0.1):
        model = klr.LinearRegression()
        model.compile(optimizer=keras.optimizers.SGD(rate, momentum=0.9))
        return model

    pipeline = make_pipeline(StandardScaler(), keras.wrappers.SKLearnRegressor(regression))
    # Keras's wrapper forgets its own fit_kwargs when scikit-learn clones it: they go with the call.
    fit = {"sklearnregressor__epochs": EPOCHS, "sklearnregressor__batch_size": len(x), "sklearnregressor__verbose": 0}
    scores = cross_val_score(pipeline, x, y, cv=3, params=fit)
    print(f"   cross_val_score: R2 {', '.join(f'{score:.3f}' for score in scores)}")
    grid = {"sklearnregressor__model_kwargs": [{"rate": 0.0001}, {"rate": 0.1}]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(x, y, **fit)
    print(f"   GridSearchCV chose {search.best_params_['sklearnregressor__model_kwargs']}")
    return search.predict


def main() -> None:
    keras.utils.set_random_seed(0)
    tf.get_logger().setLevel("ERROR")  # each way makes models of its own, which TensorFlow would warn of
    keras.config.disable_interactive_logging()  # the scikit-learn wrapper predicts with a progress bar
    data = load_diabetes(as_frame=True, scaled=False)
    order = np.random.default_rng(1).permutation(len(data.data))
    x = data.data.iloc[order].reset_index(drop=True).astype("float32")
    x["sex"] = x["sex"].astype("int64")
    y = data.target.iloc[order].to_numpy(dtype="float32")
    train = len(x) * 4 // 5

    exact = klr.ExactLinearRegression()
    exact.fit(x[:train], y[:train], verbose=0)
    print(f"{'least squares':22s} R2 {exact.score(x[train:], y[train:]):.3f} on {len(x) - train} rows held out")
    figure, axes = klr.plots.figure(panels=5)
    ways = [after_normalization, last_layer, with_a_preprocessor, behind_tf_data, inside_scikit_learn]
    for ax, way in zip(axes, ways, strict=True):
        predict = way(x[:train], y[:train])
        predicted = np.ravel(predict(pd.DataFrame(x[train:])))
        r2 = 1 - np.mean((y[train:] - predicted) ** 2) / np.var(y[train:])
        print(f"{way.__name__.replace('_', ' '):22s} R2 {r2:.3f} on {len(x) - train} rows held out")
        klr.plots.actual_vs_predicted(ax, y[train:], predicted, unit="progression")
        klr.plots.title(ax, f"{way.__name__.replace('_', ' ')}: R2 {r2:.2f}")
    low, high = zip(*(ax.get_xlim() for ax in axes), strict=True)
    for ax in axes:  # to be compared
        ax.set(xlim=(min(low), max(high)), ylim=(min(low), max(high)))
    path = Path("pipelines_output", "pipelines.png").resolve()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"\nThe picture is {path}")


if __name__ == "__main__":
    main()
