"""The whole road in one script: train, watch, fit exactly, report, save, export, load again.

python examples/quickstart.py                            the tutorial's line, then a real table
python examples/quickstart.py DATA.csv --target COLUMN   the same with a table of yours
"""

import keras_linreg.utils.quiet  # first: TensorFlow then writes no log lines

# isort: split
import argparse
import keyword
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import keras_linreg as klr

FEWEST_ROWS = 10
MOST_CATEGORIES = 50  # of a column of text; one with more is taken for names or identifiers
# The same pattern for all rows of a column: what is 1 February in one row must not be 2 January in another.
DATES = ("ISO8601", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M")

# What the fresh processes run: a saved model needs keras_linreg imported, an exported one only TensorFlow.
RELOAD = """
import keras, numpy, pandas, keras_linreg.utils.quiet
model = keras.models.load_model("model.keras")
numpy.save("again.npy", model.predict(pandas.read_pickle("rows.pkl"), verbose=0))
"""
SERVE = """
import numpy, pandas, tensorflow as tf
model, rows = tf.saved_model.load("served"), pandas.read_pickle("rows.pkl")
columns = {name: tf.constant(column.to_numpy()) for name, column in rows.items()}
numpy.save("again.npy", model.serve(columns))
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
    print(f"   after 100 epochs {float(model.kernel[0, 0]):8.5f} {float(model.bias[0]):9.5f} {losses[-1]:9.6f}")
    print(f"   least squares    {slope:8.5f} {intercept:9.5f} {np.mean((slope * x + intercept - y) ** 2):9.6f}")
    print("   (the slope is there after a few epochs; the bias is still on its way)\n")


def exactly(table: pd.DataFrame, target: str, folder: Path) -> klr.ExactLinearRegression:
    """Fit a table exactly, print the report, and see that fresh processes predict the same."""
    print(f"2. {target!r} on the other columns, exactly: one pass, no learning rate\n")
    model = klr.ExactLinearRegression(preprocessor=klr.Formula(f"{quoted(target)} ~ ."), missing="drop")
    model.fit(table, verbose=0)
    report = model.report()
    print(report)
    report.plot(standardized=True).savefig(folder / "coefficients.png", dpi=150)

    model.save(folder / "model.keras")
    model.export(folder / "served", input_dtype="float64", verbose=False)
    rows = table.dropna().drop(columns=target)
    rows.to_pickle(folder / "rows.pkl")
    here = model.predict(rows, verbose=0)
    print()
    for what, code in (("model.keras", RELOAD), ("served, by TensorFlow alone,", SERVE)):
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"The process that loads {what} failed:\n{done.stderr}")
        apart = np.abs(np.load(folder / "again.npy") - here).max() / np.abs(here).max()
        print(f"   a fresh process loads {what:28s} and predicts the same to {apart:.0e}")
        if not apart < 1e-5:
            sys.exit(f"The predictions of {what} differ by {apart:.1e} relative: this should not happen.")
    (folder / "rows.pkl").unlink()
    (folder / "again.npy").unlink()
    return model


def by_descent(table: pd.DataFrame, target: str, exact: klr.ExactLinearRegression, folder: Path) -> None:
    """Come to the same answer by gradient descent, with rows held out, callbacks and a picture."""
    print("\n3. The same by gradient descent, a fifth of the rows held out\n")
    table = table.dropna().sample(frac=1, random_state=1)  # the last fifth is held out: make it a random one
    features = table.drop(columns=target)
    terms = [f"scale({quoted(name)})" if is_number(table[name]) else quoted(name) for name in features]
    model = klr.LinearRegression(preprocessor=klr.Formula(f"{quoted(target)} ~ {' + '.join(terms)}"))
    # Steps of Adam are of the size of its learning rate: a part of the spread of y.
    rate = keras.optimizers.schedules.ExponentialDecay(0.05 * float(table[target].std()), 300, 0.5)
    model.compile(optimizer=keras.optimizers.Adam(rate), metrics=["r2_score"])
    history = model.fit(
        table,
        batch_size=len(table),
        epochs=600,
        validation_split=0.2,
        callbacks=[
            keras.callbacks.CSVLogger(folder / "history.csv"),
            klr.callbacks.FitPlot(table, target, path=folder / "table.png"),
        ],
        verbose=0,
    ).history
    print(f"   R2 {history['r2_score'][-1]:.4f}, on the rows held out {history['val_r2_score'][-1]:.4f};", end=" ")
    print(f"the exact fit of all rows has {exact.report().rsquared:.4f}")


def diabetes() -> tuple[pd.DataFrame, str]:
    """Return the table that ships inside scikit-learn: ten measurements of 442 patients, and a year's progression."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True, scaled=False)
    return data.data.assign(progression=data.target), "progression"


def quoted(name: str) -> str:
    """Return the name of a column as a formula takes it."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"Q({name!r})"


def is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


# A table of one's own


def read_csv(path: Path, target: str | None) -> tuple[pd.DataFrame, str]:
    """Return a table that can be fitted, and its target; say what was done to it, or stop with what is wrong."""
    frame = parse(path)
    columns = ", ".join(map(repr, frame))
    if target is None:
        stop(f"name the column to predict: --target COLUMN, one of {columns}")
    if target not in frame:
        stop(f"{path} has no column {target!r}; its columns are {columns}")
    if len(frame) < FEWEST_ROWS:
        stop(f"{path} has {len(frame)} rows; {FEWEST_ROWS} are the fewest to train on and hold some out")
    for name in frame.columns[frame.isna().all()]:
        left_out(name, "it is empty")
        frame = frame.drop(columns=name)
    frame = frame.apply(as_days)
    if target not in frame or not is_number(frame[target]):
        stop(f"the target {target!r} must hold numbers; it holds values like {sample_of(frame, target)}")
    complete = frame.dropna()
    if len(complete) < len(frame):
        lacking = ", ".join(f"{name!r} ({count})" for name, count in frame.isna().sum().items() if count)
        print(f"   {len(frame) - len(complete)} of {len(frame)} rows are dropped, for they lack a value of {lacking}.")
    if len(complete) < FEWEST_ROWS:
        stop(f"only {len(complete)} rows have a value in each column; {FEWEST_ROWS} are the fewest")
    numbers = [name for name in complete if is_number(complete[name])]
    endless = [name for name in numbers if np.isinf(complete[name].to_numpy(dtype="float64")).any()]
    if endless:
        stop(f"there are infinite values in {', '.join(map(repr, endless))}")
    if complete[target].nunique() == 1:
        stop(f"the target {target!r} has one value only: there is nothing to explain")
    frame = frame[[name for name in frame if name == target or is_usable(complete[name])]]
    if frame.shape[1] < 2:
        stop(f"{path} has no column beside the target {target!r} that can be fitted")
    print()
    return frame, target


def parse(path: Path) -> pd.DataFrame:
    """Return the CSV as it is: the separator is the one that its first line has most of."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        stop(f"{path} cannot be read: {error.strerror}")
    encodings = ["utf-16"] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "cp1252", "latin-1"]
    if encodings[0] != "utf-16" and b"\0" in raw[:4096]:
        stop(f"{path} cannot be read as a CSV: it is not text")
    for encoding in encodings:
        try:
            header = raw.decode(encoding).lstrip().partition("\n")[0]
            break
        except UnicodeError:
            continue
    else:
        stop(f"{path} cannot be read as a CSV: it is not text")
    separator = max(",;\t|", key=header.count)
    decimal = "," if separator == ";" else "."
    options = {"sep": separator, "encoding": encoding, "index_col": False, "skipinitialspace": True}
    try:
        frame = pd.read_csv(path, decimal=decimal, **options).rename(columns=str.strip)
    except (ValueError, pd.errors.ParserError) as error:
        stop(f"{path} cannot be read as a CSV: {error}")
    if encoding not in ("utf-8-sig", "utf-16"):
        print(f"   {path} is not UTF-8: it is read as {encoding}.")
    return frame


def as_days(column: pd.Series) -> pd.Series:
    """Return a column of dates as days since the first of them, and any other column as it is."""
    if is_number(column) or pd.api.types.is_bool_dtype(column):
        return column
    for pattern in DATES:
        dates = pd.to_datetime(column, errors="coerce", format=pattern, utc=True)
        if dates.isna().sum() == column.isna().sum():
            print(f"   {column.name!r} holds dates ({pattern}): it becomes the days since {dates.min():%Y-%m-%d}.")
            return (dates - dates.min()) / pd.Timedelta(days=1)
    return column.astype(object).where(column.notna(), None)


def is_usable(column: pd.Series) -> bool:
    """Return whether a column can explain something; say why one cannot."""
    count = column.nunique()
    if count == 1:
        return left_out(column.name, "it is constant")
    if is_number(column):
        return True
    if count > min(MOST_CATEGORIES, len(column) / 2):
        return left_out(column.name, f"it is text with {count} different values in {len(column)} rows")
    print(f"   {column.name!r} is a category of {count} levels.")
    return True


def left_out(name: str, why: str) -> bool:
    print(f"   {name!r} is left out, for {why}.")
    return False


def sample_of(frame: pd.DataFrame, name: str) -> list:
    return frame[name].dropna().iloc[:2].tolist() if name in frame else []


def stop(why: str):
    sys.exit(f"quickstart: {why}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="a CSV with a header")
    parser.add_argument("--target", help="the column to predict")
    parser.add_argument("--output", type=Path, default=Path("quickstart_output"), help="the folder to write")
    options = parser.parse_args()
    if options.target and not options.data:
        parser.error("--target goes with a CSV file")

    frame, target = read_csv(options.data, options.target) if options.data else diabetes()
    keras.utils.set_random_seed(0)
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tutorial(folder)
    try:
        exact = exactly(frame, target, folder)
        by_descent(frame, target, exact, folder)
    except (FloatingPointError, ValueError) as error:
        stop(str(error).rstrip("."))
    print(f"\nPictures and models are in {folder}:")
    for path in sorted(folder.iterdir()):
        print(f"   {path.name}{'/' if path.is_dir() else ''}")


if __name__ == "__main__":
    main()
