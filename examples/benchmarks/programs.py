"""Many models in one process: the first fit of a second model, the memory that models leave, and what searches find.

python examples/benchmarks/programs.py fits             # seconds of the first fits of two models
python examples/benchmarks/programs.py memory [MODELS]  # megabytes that fitted and dropped models leave; programs.png
python examples/benchmarks/programs.py searches         # the best of 10 trials beside least squares, by tuner and table
"""

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner as kt
import numpy as np
from sklearn.datasets import load_diabetes

import keras_linreg as klr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
Y = X.sum(axis=1) + RNG.normal(size=400)
TUNERS: dict[str, Callable[..., Any]] = {
    "random": lambda model, **kwargs: kt.RandomSearch(model, max_trials=10, **kwargs),
    "grid": lambda model, **kwargs: kt.GridSearch(model, max_trials=10, **kwargs),
    "Bayesian": lambda model, **kwargs: kt.BayesianOptimization(model, max_trials=10, **kwargs),
    # 3 rounds: 9 trials of 3 epochs, 5 of 7, 3 of 20, and those that go on: 190 epochs; the others have 200
    "Hyperband": lambda model, **kwargs: kt.Hyperband(model, max_epochs=20, factor=3, **kwargs),
}


def fit_tape(optimizer: str = "adam", epochs: int = 20) -> None:
    """Fit a tape model in compiled blocks, and drop it."""
    model = klr.LinearRegression()
    model.compile(optimizer)
    model.fit(X, Y, epochs=epochs, batch_size=32, verbose=0)


def fit_exact() -> None:
    """Fit an exact model, and drop it."""
    klr.ExactLinearRegression().fit(X, Y, verbose=0)


def time_fits() -> None:
    """Print the seconds of an epoch of 100,000 x 20: of a model, of a second one like it, and of that one again."""
    x = RNG.normal(size=(100_000, 20)).astype(np.float32)
    y = x.sum(axis=1)
    for optimizer in ("sgd", "adam"):
        seconds = []
        for _ in range(2):
            model = klr.LinearRegression()
            model.compile(optimizer)
            for _ in range(2):
                start = time.perf_counter()
                model.fit(x, y, batch_size=32, verbose=0)
                seconds.append(time.perf_counter() - start)
        first, _, second, again = seconds
        print(f"{optimizer}: the first model {first:.3f} s, a second one {second:.3f} s, again {again:.3f} s")


def resident_megabytes() -> float:
    """Return the memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_memory(models: int) -> None:
    """Print, and draw, the memory that models leave which were fitted and dropped."""
    figure, (ax,) = klr.plots.figure()
    every = max(1, models // 20)
    for label, fit in (("tape model", fit_tape), ("exact model", fit_exact)):
        for _ in range(10):
            fit()
        counts, resident = [0], [resident_megabytes()]
        for count in range(1, models + 1):
            fit()
            if count % every == 0:
                counts.append(count)
                resident.append(resident_megabytes())
        print(f"{label}: {(resident[-1] - resident[0]) / counts[-1]:.4f} MB each, of {counts[-1]}", flush=True)
        ax.plot(counts, resident, label=label)
    ax.set(xlabel="models fitted and dropped", ylabel="memory of the process, MB", ylim=(0, None))
    ax.legend()
    folder = Path("programs_output").resolve()
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "programs.png", dpi=100)
    print(f"Picture: {folder / 'programs.png'}")


def tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield a real table and made ones, in raw units: name, columns, target."""
    data = load_diabetes(scaled=False)
    order = np.random.default_rng(0).permutation(len(data.target))
    yield "diabetes", data.data[order], data.target[order]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 2)) * [1e-3, 1e6] + [5e-3, 3e6]
    yield "2 columns", x, x @ [4e3, 2e-6] + rng.normal(size=1000)
    z, scales = rng.normal(size=(2000, 20)), 10 ** rng.uniform(-3, 6, 20)
    z[:, 10:] = z[:, :10] + 0.05 * rng.normal(size=(2000, 10))
    yield "20, in near pairs", (z + 5) * scales, 1e5 * (z @ rng.normal(size=20) + rng.normal(size=2000)) + 1e6
    z, scales = rng.normal(size=(1500, 60)), 10 ** rng.uniform(-3, 6, 60)
    z[:, 1:] += 2 * z[:, :1]
    yield "60, one factor", z * scales, 1e-3 * (z @ rng.normal(size=60) + 5 * rng.normal(size=1500))
    z, scales = np.exp(rng.normal(size=(3000, 30))), 10 ** rng.uniform(-3, 6, 30)
    z[:, 20:] = z[:, :10] + z[:, 10:20]
    yield "30, skewed, dependent", z * scales, z @ rng.normal(size=30) + 3 * rng.normal(size=3000)


def least_squares_loss(x: np.ndarray, y: np.ndarray) -> float:
    """Return the loss of least squares on the last fifth of the rows, fitted to the others."""
    train = int(len(y) * 0.8)
    z = (x - x[:train].mean(axis=0)) / x[:train].std(axis=0)
    design = np.column_stack([z, np.ones(len(y))])
    weights = np.linalg.lstsq(design[:train], y[:train], rcond=1e-10)[0]
    return float(np.mean((design[train:] @ weights - y[train:]) ** 2))


def compare_searches() -> None:
    """Print the loss of the best trial, divided by that of least squares, and the seconds of the search."""
    print(f"{'columns':24}" + "".join(f"{name:>20}" for name in TUNERS))
    for name, x, y in tables():
        cells = []
        for make in TUNERS.values():
            tuner = make(
                klr.HyperLinearRegression(),
                objective="val_mean_squared_error",
                seed=0,
                directory=tempfile.mkdtemp(),
            )
            start = time.perf_counter()
            tuner.search(x, y, epochs=20, validation_split=0.2, verbose=0)
            ratio = tuner.oracle.get_best_trials()[0].score / least_squares_loss(x, y)
            cells.append(f"{ratio:.3f} ({time.perf_counter() - start:.1f} s)")
        print(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def main() -> None:
    """Run the part that the command names."""
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    keras.utils.set_random_seed(0)
    if part == "fits":
        time_fits()
    elif part == "memory":
        measure_memory(int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
    elif part == "searches":
        compare_searches()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
