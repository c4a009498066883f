"""The whole road in one script: train, watch, save, export, load again.

python examples/quickstart.py                            the tutorial's line, then a real table
python examples/quickstart.py DATA.csv --target COLUMN   the same with a numeric table of yours
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's word on its CPU is not for here

import keras
import numpy as np
import pandas as pd

import keras_linreg as klr

FEWEST_ROWS = 10

# What the fresh processes run: a saved model needs keras_linreg imported, an exported one only TensorFlow.
RELOAD = """
import keras, numpy, pandas, keras_linreg
model = keras.models.load_model("model.keras")
numpy.save("again.npy", model.predict(pandas.read_pickle("rows.pkl"), verbose=0))
"""
SERVE = """
import numpy, pandas, tensorflow as tf
model = tf.saved_model.load("served")
columns = {name: tf.constant(c.to_numpy(dtype="float32")) for name, c in pandas.read_pickle("rows.pkl").items()}
numpy.save("again.npy", model.serve(columns)["predictions"])
"""


def tutorial(folder: Path) -> None:
    """Fit y = x + noise by gradient descent, one full batch an epoch, and draw how the line found its place."""
    print("1. A line through 100 points: SGD, learning rate 0.01, 100 epochs of one batch; the loss of each\n")
    x = np.linspace(0, 10, 100)
    y = x + np.random.default_rng(0).normal(0, 1, 100)

    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss=klr.SquaredError())
    plot = klr.callbacks.FitPlot(x, y, path=folder / "line.png", gif=folder / "line.gif")
    history = model.fit(x, y, batch_size=100, epochs=100, callbacks=[plot], verbose=0)

    losses = history.history["loss"]
    for start in range(0, 100, 10):
        print(
            f"   loss, epochs {start + 1:2d} to {start + 10:3d}:",
            *(f"{loss:9.6f}" for loss in losses[start : start + 10]),
        )
    slope, intercept = np.polyfit(x, y, 1)
    print("\n                     weight      bias      loss")
    print(f"   after 100 epochs {float(model.kernel[0, 0]):8.5f} {float(model.bias[0]):9.5f} {mse(model, x, y):9.6f}")
    print(f"   least squares    {slope:8.5f} {intercept:9.5f} {np.mean((slope * x + intercept - y) ** 2):9.6f}")
    print("   (the slope is there after a few epochs; the bias is still on its way)\n")


def table(x: pd.DataFrame, y: pd.Series, folder: Path) -> None:
    """Fit the columns of a frame, watch it, save and export it, and see a fresh process predict the same."""
    print(f"2. {len(x)} rows of {y.name!r} on {x.shape[1]} columns: {', '.join(map(repr, x))}\n")
    order = np.random.default_rng(1).permutation(len(x))  # the validation split is the last fifth: make it a random one
    x, y = x.iloc[order].reset_index(drop=True), y.iloc[order].reset_index(drop=True)
    train = int(0.8 * len(x))

    scale = keras.layers.Normalization()  # columns on one scale, inside the model: it is saved and served with it
    scale.adapt(x[:train].to_numpy(dtype="float32"))
    model = klr.LinearRegression(preprocessor=scale)
    # Of standardised columns in full batches the steps are stable up to 1 / (columns + 1), whatever the data.
    model.compile(
        optimizer=keras.optimizers.SGD(0.5 / (x.shape[1] + 1), momentum=0.9, nesterov=True), metrics=["r2_score"]
    )
    history = model.fit(
        x,
        y,
        batch_size=train,
        epochs=200,
        validation_split=0.2,
        callbacks=[
            keras.callbacks.EarlyStopping(monitor="loss", patience=20, min_delta=1e-5 * float(y.var())),
            keras.callbacks.CSVLogger(folder / "history.csv"),
            klr.callbacks.FitPlot(x, y, path=folder / "table.png"),
        ],
        verbose=0,
    ).history

    z = np.column_stack([(x - x.mean()) / x.std(), np.ones(len(x))])[:train]  # in float64, apart from the model
    optimum = 1 - np.var(y[:train] - z @ np.linalg.lstsq(z, y[:train], rcond=None)[0]) / np.var(y[:train])
    print(
        f"   {len(history['loss'])} epochs. R2 {history['r2_score'][-1]:.4f} (least squares {optimum:.4f}),",
        end=" ",
    )
    print(f"on the rows held out {history['val_r2_score'][-1]:.4f}\n")
    print("   effect of one standard deviation of each column")
    for i in np.argsort(-np.abs(model.kernel.numpy()[:, 0]))[:12]:
        print(f"   {model.feature_names[i]:>24s} {float(model.kernel[i, 0]):+12.4g}")
    print(f"   {'at the means of all':>24s} {float(model.bias[0]):+12.4g}\n")

    model.save(folder / "model.keras")
    model.export(folder / "served")
    x.to_pickle(folder / "rows.pkl")
    here = model.predict(x, verbose=0)
    for what, code in (("model.keras", RELOAD), ("served, by TensorFlow alone,", SERVE)):
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
        again = np.load(folder / "again.npy")
        apart = np.abs(again - here).max() / np.abs(here).max()
        print(f"   a fresh process loads {what:28s} and predicts the same to {apart:.0e}")
        if not apart < 1e-5:
            sys.exit(f"The predictions of {what} differ by {apart:.1e} relative: this should not happen.")
    (folder / "rows.pkl").unlink()
    (folder / "again.npy").unlink()


def mse(model, x, y) -> float:
    return float(np.mean((model.predict(x, verbose=0)[:, 0] - y) ** 2))


def diabetes() -> tuple[pd.DataFrame, pd.Series]:
    """Return the table that ships inside scikit-learn: ten measurements of 442 patients, and a year's progression."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True, scaled=False)
    return data.data, data.target.rename("progression")


def read_csv(path: Path, target: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """Return columns and target of a numeric CSV; stop with what is wrong with one that cannot be fitted."""
    try:
        frame = pd.read_csv(path, index_col=False, skipinitialspace=True).rename(columns=str.strip)
    except FileNotFoundError:
        stop(f"there is no file {path}")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        stop(f"{path} cannot be read as a CSV: {error}")
    columns = ", ".join(map(repr, frame))
    if frame.shape[1] == 1 and any(mark in columns for mark in (";", "\\t")):
        stop(f"{path} must be separated by commas; its header reads {columns}")
    if target is None:
        stop(f"name the column to predict: --target COLUMN, one of {columns}")
    if target not in frame:
        stop(f"{path} has no column {target!r}; its columns are {columns}")
    if len(frame) < FEWEST_ROWS:
        stop(f"{path} has {len(frame)} rows; {FEWEST_ROWS} are the fewest to train on and hold some out")
    if frame.shape[1] < 2:
        stop(f"{path} has no column beside the target {target!r}")
    text = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    if text:
        examples = ", ".join(f"{name!r} (like {frame[name].dropna().iloc[:1].tolist()})" for name in text)
        stop(f"only numbers can be fitted here, and these columns hold something else: {examples}. Drop or encode them")
    missing = frame.isna().sum()
    if missing.any():
        counts = ", ".join(f"{name!r} ({count})" for name, count in missing[missing > 0].items())
        stop(f"values are missing in {counts}. Fill them in, or drop those rows")
    endless = [name for name in frame if frame[name].astype("float64").abs().max() > np.finfo("float32").max]
    if endless:
        stop(f"there are infinite values, or values beyond float32, in {', '.join(map(repr, endless))}")
    if frame[target].nunique() == 1:
        stop(f"the target {target!r} has one value only: there is nothing to explain")
    constant = [name for name in frame if frame[name].nunique() == 1]
    if constant:
        print(f"Left out, for they are constant: {', '.join(map(repr, constant))}\n")
        frame = frame.drop(columns=constant)
    if frame.shape[1] < 2:
        stop("no column is left that varies, beside the target")
    # float32, in which Keras trains, must tell the values of a column apart; Normalization divides by at least 1e-7.
    spread, size = frame.std(), frame.astype("float64").abs().max()
    blurred = [name for name in frame if size[name] * 2.0**-24 > 1e-3 * spread[name]]
    if blurred:
        stop(f"float32 cannot tell the values of {', '.join(map(repr, blurred))} apart: subtract an offset from them")
    unscaled = [name for name in frame if not 1e-6 < spread[name] < 1e15]
    if unscaled:
        stop(f"give {', '.join(map(repr, unscaled))} in another unit: their spread is beyond what float32 trains on")
    return frame.drop(columns=target), frame[target]


def stop(why: str):
    sys.exit(f"quickstart: {why}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="a CSV of numbers with a header")
    parser.add_argument("--target", help="the column to predict")
    parser.add_argument("--output", type=Path, default=Path("quickstart_output"), help="the folder to write")
    options = parser.parse_args()
    if options.target and not options.data:
        parser.error("--target goes with a CSV file")

    x, y = read_csv(options.data, options.target) if options.data else diabetes()
    keras.utils.set_random_seed(0)
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tutorial(folder)
    try:
        table(x, y, folder)
    except (FloatingPointError, ValueError) as error:
        stop(str(error).rstrip("."))
    print(f"\nPictures and models are in {folder}:")
    for path in sorted(folder.iterdir()):
        print(f"   {path.name}{'/' if path.is_dir() else ''}")


if __name__ == "__main__":
    main()
