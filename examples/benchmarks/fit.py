"""How long `fit` takes: the tape model beside Keras, an eager loop, scikit-learn and Vowpal Wabbit.

    python examples/benchmarks/fit.py             the whole of it: some 20 minutes
    python examples/benchmarks/fit.py --quick     a hundredth of the rows, once, to see that it runs
    python examples/benchmarks/fit.py --only "trials of a search"      jobs whose titles have these words

Prints the seconds of some jobs (medians of rounds in which all take turns, in one process), with the first call and
without it, and how many times as long the others take: four jobs beside everyone, then other optimizers, outputs and
precisions, sparse rows, validation, evaluate, predict, a search and streams of batches beside Keras; then the seconds
until the training loss is within 1e-6 of least squares; and draws how an epoch grows with rows, columns and batch size,
as `fit.png`. Vowpal Wabbit takes part where it is installed.
"""

import argparse
import dataclasses
import functools
import gc
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
import scipy.sparse
import tensorflow as tf
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, SGDRegressor

import keras_linreg as klr
from keras_linreg import plots

# rows, columns, batch size, epochs
JOBS = {
    "tutorial, 100 epochs": (100, 1, 100, 100),
    "100,000 x 20, batch 32": (100_000, 20, 32, 1),
    "1,000,000 x 20, batch 32": (1_000_000, 20, 32, 1),
    "1,000,000 x 100, batch 8192": (1_000_000, 100, 8192, 1),
}
RATE = 0.01
LONG_STEPS = 5_000  # of an epoch: Keras's second call is as long as its first then, and an eager loop far too long
WITHIN = 1e-6
TRIALS = 3  # of a search
PATIENCE = 60.0  # seconds to look for the optimum
OURS, KERAS, KERAS_32, EAGER = "keras_linreg", "Keras Dense(1)", "Keras, steps_per_execution=32", "eager tape loop"
SGD, WABBIT = "SGDRegressor (batch of one)", "Vowpal Wabbit (batch of one)"


def make(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    if columns == 1:
        x = np.linspace(0, 10, rows, dtype=np.float32)[:, None]
        return x, x[:, 0] + rng.normal(size=rows).astype(np.float32)
    x = rng.standard_normal((rows, columns), np.float32)
    return x, x @ rng.standard_normal(columns).astype(np.float32) + rng.standard_normal(rows, np.float32)


def sparse(rows: int, columns: int, filled: int = 20) -> scipy.sparse.csr_array:
    """Return rows of ones in so many of the columns, as categories make them."""
    rng = np.random.default_rng(1)
    at = np.repeat(np.arange(rows), filled), rng.integers(0, columns, rows * filled)
    return scipy.sparse.csr_array((np.ones(rows * filled, np.float32), at), shape=(rows, columns))


# Contestants: made for a job, they return the function that fits once more.


def ours(x, y, batch_size, epochs, **options):
    return fitting(our_model(x, y, **options), x, y, batch_size, epochs)


def stock(x, y, batch_size, epochs, **options):
    return fitting(stock_model(x, y, **options), x, y, batch_size, epochs)


def fitting(model, x, y, batch_size, epochs):
    return lambda: model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)


def our_model(x, y, optimizer=keras.optimizers.SGD, **options):
    model = klr.LinearRegression(units=1 if y.ndim == 1 else y.shape[1], **options)
    model.compile(optimizer=optimizer(RATE))
    return model


def stock_model(x, y, optimizer=keras.optimizers.SGD, dtype=None, **options):
    dense = keras.layers.Dense(1 if y.ndim == 1 else y.shape[1], kernel_initializer="zeros", dtype=dtype)
    model = keras.Sequential([keras.layers.Input((x.shape[1],), sparse=scipy.sparse.issparse(x)), dense])
    model.compile(optimizer(RATE), "mse", **options)
    return model


def eager(x, y, batch_size, epochs):
    kernel, bias = tf.Variable(tf.zeros((x.shape[1], 1))), tf.Variable(tf.zeros(1))
    design, target = tf.constant(x), tf.constant(y[:, None])

    def fit():
        for _ in range(epochs):
            order = tf.random.shuffle(tf.range(len(x)))
            for start in range(0, len(x), batch_size):
                rows = order[start : start + batch_size]
                xb, yb = tf.gather(design, rows), tf.gather(target, rows)
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(yb - (xb @ kernel + bias)))
                for variable, gradient in zip((kernel, bias), tape.gradient(loss, (kernel, bias)), strict=True):
                    variable.assign_sub(RATE * gradient)

    return fit


def regressor(x, y, batch_size, epochs):
    model = SGDRegressor(max_iter=epochs, tol=None, alpha=0.0, learning_rate="constant", eta0=1e-3)
    return lambda: model.fit(x, y)


def wabbit(x, y, batch_size, epochs):
    import vowpalwabbit

    lines = [f"{t:.6g} | {' '.join(f'{i}:{v:.6g}' for i, v in enumerate(row))}" for row, t in zip(x, y, strict=True)]
    workspace = vowpalwabbit.Workspace("--quiet")

    def fit():
        for _ in range(epochs):
            for line in lines:
                workspace.learn(line)

    return fit


def contestants(rows: int, batch_size: int, epochs: int) -> dict:
    steps = -(-rows // batch_size)
    found = {
        OURS: ours,
        KERAS: stock,
        KERAS_32: functools.partial(stock, steps_per_execution=32),
        SGD: regressor,
    }
    if steps * epochs <= LONG_STEPS:
        found[EAGER] = eager
    try:
        import vowpalwabbit  # noqa: F401
    except ImportError:
        return found
    return {**found, WABBIT: wabbit} if rows <= 100_000 else found


def seconds_of(fit) -> float:
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


@dataclasses.dataclass(frozen=True)
class Races:
    """Races of contestants.

    Attributes:
        repeats: rounds of each.
        only: words; races whose titles lack them are left out.
    """

    repeats: int
    only: str = ""

    def run(self, title: str, functions: dict, data: tuple, once: bool = False) -> None:
        """Print each contestant's median seconds of the first call, and of the second.

        Args:
            title: of the job, printed before it begins.
            functions: what makes each contestant, of the data; the function it returns fits.
            data: arguments of theirs.
            once: whether Keras fits but once a round: a second call takes it as long as the first.
        """
        if self.only not in title:
            return
        print(f"\n{title:40} {'first call':>10} {'next call':>10}   times ours", flush=True)
        times: dict = {name: ([], []) for name in functions}
        for turn in range(self.repeats):
            for name in list(functions) if turn % 2 else reversed(list(functions)):
                gc.collect()
                start = time.perf_counter()
                fit = functions[name](*data)
                if name == WABBIT:
                    start = time.perf_counter()  # numbers to text is not its fit
                fit()
                times[name][0].append(time.perf_counter() - start)
                again = times[name][0][-1] if once and name.startswith("Keras") else seconds_of(fit)
                times[name][1].append(again)
        show({name: tuple(map(statistics.median, found)) for name, found in times.items()})


def of_batches(kind: str, x, y, batch_size: int):
    """Return a stream of the rows, in their order."""
    if kind == "tf.data":
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size).prefetch(tf.data.AUTOTUNE)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return -(-len(x) // batch_size)

        def __getitem__(self, index):
            rows = slice(index * batch_size, (index + 1) * batch_size)
            return x[rows], y[rows]

    return Batches()


def variants(rows: int, races: Races) -> None:
    """Show the second job with other optimizers, outputs and precisions, and of streams, beside Keras."""
    x, y = make(rows, 20)
    cases = {
        "Adam": (y, {"optimizer": keras.optimizers.Adam}),
        "FTRL": (y, {"optimizer": keras.optimizers.Ftrl}),
        "four outputs": (np.stack([y, -y, 2 * y, y + 1], 1), {}),
        "bfloat16": (y, {"dtype": "mixed_bfloat16"}),
    }
    for title, (target, options) in cases.items():
        functions = {OURS: ours, KERAS: stock}
        made = {name: functools.partial(function, **options) for name, function in functions.items()}
        races.run(f"{rows:,} x 20, batch 32, {title}", made, (x, target, 32, 1))
    wide = sparse(len(x), 1000)
    races.run(f"{rows:,} x 1,000, batch 32, sparse", {OURS: ours, KERAS: stock}, (wide, y, 32, 1))
    models = {OURS: our_model, KERAS: stock_model}
    made = {name: functools.partial(held_out, model) for name, model in models.items()}
    races.run(f"{rows:,} x 20, batch 32, validation", made, (x, y, 32, 1))
    for call, some in (("evaluate", rows), ("predict", rows), ("predict", 1)):
        made = {name: functools.partial(asked, call, model) for name, model in models.items()}
        races.run(f"{some:,} x 20, {call}", made, (x[:some], y[:some]))
    made = {name: functools.partial(searched, model) for name, model in models.items()}
    races.run(f"{rows:,} x 20, batch 32, {TRIALS} trials of a search", made, (x, y))
    for kind in ("tf.data", "PyDataset"):
        stream = of_batches(kind, x, y, 32)
        made = {
            name: functools.partial(on_stream, function, stream, **options)
            for name, function, options in (
                (OURS, our_model, {}),
                (KERAS, stock_model, {}),
                (KERAS_32, stock_model, {"steps_per_execution": 32}),
            )
        }
        races.run(f"{rows:,} x 20, batch 32, {kind}", made, (x, y))


def held_out(make_model, x, y, batch_size, epochs):
    """Return the function that fits to four fifths of the rows and validates on the others."""
    model = make_model(x, y)
    options = {"batch_size": batch_size, "epochs": epochs, "validation_split": 0.2, "verbose": 0}
    return lambda: model.fit(x, y, **options)


def asked(call: str, make_model, x, y):
    """Return the function that evaluates a model on the rows, or predicts."""
    model = make_model(x, y)
    return (
        functools.partial(model.evaluate, x, y, verbose=0)
        if call == "evaluate"
        else lambda: model.predict(x, verbose=0)
    )


def searched(make_model, x, y):
    """Return the function that searches for a learning rate with KerasTuner."""

    def made(hp):
        model = make_model(x, y)
        model.optimizer.learning_rate = hp.Float("learning_rate", 1e-3, 0.05, sampling="log")
        return model

    def search():
        with tempfile.TemporaryDirectory() as folder:
            tuner = keras_tuner.RandomSearch(made, objective="val_loss", max_trials=TRIALS, seed=1, directory=folder)
            tuner.search(x, y, validation_split=0.2, verbose=0)

    return search


def on_stream(function, stream, x, y, **options):
    """Return the function that fits a contestant to a stream of `x` and `y`."""
    model = function(x, y, **options)
    return lambda: model.fit(stream, shuffle=False, verbose=0)


def show(found: dict[str, tuple[float, float]]) -> None:
    for name, (first, second) in found.items():
        ratios = f"{first / found[OURS][0]:8.1f} {second / found[OURS][1]:8.1f}"
        print(f"  {name:38} {first:10.4f} {second:10.4f} {ratios if name != OURS else ''}", flush=True)


# Time to the optimum


class Arrived(keras.callbacks.Callback):
    """Stops where the loss of an epoch, taken before its one step, is near enough to the optimum."""

    def __init__(self, optimum: float):
        super().__init__()
        self.optimum, self.at = optimum, None

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        if logs["loss"] <= self.optimum * (1 + WITHIN):
            self.at = epoch
        if self.at is not None or seconds > PATIENCE:
            self.model.stop_training = True


def by_descent(make_model, x, y, optimum: float, rate: float, momentum: float) -> float | None:
    """Return the seconds of full-batch descent to the optimum, all included; `None` where patience ends."""
    start = time.perf_counter()
    scale = keras.layers.Normalization()
    scale.adapt(x)
    model, arrived = make_model(scale, x.shape[1]), Arrived(optimum)
    model.compile(keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0), "mse")
    model.fit(x, y, batch_size=len(x), epochs=100_000, shuffle=False, verbose=0, callbacks=[arrived])
    return None if arrived.at is None else time.perf_counter() - start


def by_regressor(x, y, optimum: float) -> float | None:
    start = time.perf_counter()
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    model = SGDRegressor(alpha=0.0, eta0=0.01)
    while time.perf_counter() - start < PATIENCE:
        model.partial_fit(scaled, y)
        if np.mean((y - model.predict(scaled)) ** 2) <= optimum * (1 + WITHIN):
            return time.perf_counter() - start
    return None


def to_the_optimum(title: str, x, y, rate: float, momentum: float, repeats: int) -> None:
    best = klr.ExactLinearRegression()
    best.fit(x, y, verbose=0)
    optimum = best.solution.mean_squared_error

    def tape(scale, columns):
        return klr.LinearRegression(preprocessor=scale)

    def dense(scale, columns):
        return keras.Sequential([keras.layers.Input((columns,)), scale, keras.layers.Dense(1)])

    ways = {
        "tape model, full batches": lambda: by_descent(tape, x, y, optimum, rate, momentum),
        "exact model": lambda: seconds_of(lambda: klr.ExactLinearRegression().fit(x, y, verbose=0)),
        "Keras Dense(1), full batches": lambda: by_descent(dense, x, y, optimum, rate, momentum),
        "SGDRegressor": lambda: by_regressor(x, y, optimum),
        "scikit-learn LinearRegression": lambda: seconds_of(lambda: LinearRegression().fit(x, y)),
    }
    times: dict = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways) if turn % 2 else reversed(list(ways)):
            if None not in times[name]:
                times[name].append(ways[name]())
    print(f"\n{title}: seconds until the loss is within {WITHIN:g} of least squares")
    for name, found in times.items():
        shown = f"not in {PATIENCE:.0f} s" if None in found else f"{statistics.median(found):.4f}"
        print(f"  {name:36} {shown:>12}", flush=True)


# How it grows


def grow(folder: Path, rows: int, points: int | None = None) -> None:
    """Draw the seconds of an epoch, as rows, columns and the batch size grow, by so many points each at most."""
    ways = {
        "rows (20 columns, batch 32)": ([(n, 20, 32) for n in (rows // 100, rows // 10, rows)], 0),
        f"columns ({rows // 10:,} rows, batch 256)": ([(rows // 10, p, 256) for p in (1, 10, 100, 1000)], 1),
        f"batch size ({rows // 10:,} x 20)": ([(rows // 10, 20, b) for b in (8, 32, 256, 2048, 16384)], 2),
    }
    functions = {OURS: ours, KERAS: stock, KERAS_32: functools.partial(stock, steps_per_execution=32), SGD: regressor}
    styles = {
        OURS: ("tab:blue", "o-"),
        KERAS: ("tab:gray", "o-"),
        KERAS_32: ("tab:gray", "o--"),
        SGD: ("tab:orange", "s:"),
    }
    figure, axes = plots.figure(panels=3, columns=3)
    names = " ".join(f"{name:>29}" for name in functions)
    print(f"\nSeconds of an epoch\n  rows x columns, batch      {names}", flush=True)
    for ax, (label, (jobs, changing)) in zip(axes, ways.items(), strict=True):
        seconds: dict = {name: [] for name in functions}
        jobs = jobs[:points]
        for n, p, b in jobs:
            x, y = make(n, max(p, 2))
            x = x[:, :p]
            for name, function in functions.items():
                epochs = 5 if n // b < LONG_STEPS else 1
                fit = function(x, y, b, epochs)
                first = seconds_of(fit)
                again = (
                    [seconds_of(fit) for _ in range(1 if name.startswith("Keras") else 3)] if first < 10 else [first]
                )
                seconds[name].append(statistics.median(again) / epochs)
            shown = " ".join(f"{found[-1]:29.4f}" for found in seconds.values())
            print(f"  {n:>9,} x {p:>5,}, {b:>6,} {shown}", flush=True)
        for name, (colour, style) in styles.items():
            ax.loglog([job[changing] for job in jobs], seconds[name], style, color=colour, label=name)
        ax.set_xlabel(label)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("seconds of an epoch")
    axes[2].legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "fit.png", dpi=110)
    print(f"\nDrawn: {folder / 'fit.png'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmark_output"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", metavar="WORDS", help="of the title of a job")
    given = parser.parse_args()
    less, repeats = (100, 1) if given.quick else (1, given.repeats)
    races = Races(repeats, given.only)
    for title, (rows, columns, batch_size, epochs) in JOBS.items():
        rows, epochs = max(100, rows // less), -(-epochs // less)
        functions = contestants(rows, batch_size, epochs)
        data = *make(rows, columns), batch_size, epochs
        races.run(title, functions, data, once=rows // batch_size > LONG_STEPS)
    variants(100_000 // less, races)
    if given.only:
        return
    table = load_diabetes(scaled=False)
    x, y = table.data.astype(np.float32), table.target.astype(np.float32)
    to_the_optimum("diabetes, 442 x 10, raw columns", x, y, 0.15, 0.95, repeats)
    rows = 1_000_000 // less
    to_the_optimum(f"{rows:,} x 20", *make(rows, 20), 0.4, 0.0, repeats)
    grow(given.output, 1_000_000 // less, points=1 if given.quick else None)


if __name__ == "__main__":
    main()
