"""What looking for NaN, infinity and divergence costs on clean data.

    python examples/benchmarks/clean_data.py

Fits the same model through `LinearRegression.fit`, which looks, and through `keras.Model.fit`, which does not, on the
same arrays in one process, alternating, and prints the medians and their ratio.
"""

import os
import statistics
import time
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_linreg as klr

RUNS, ROWS, COLUMNS = 20, 32_000, 20


def seconds(fit, *arguments, **options) -> float:
    start = time.perf_counter()
    fit(*arguments, **options)
    return time.perf_counter() - start


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, COLUMNS)).astype("float32")
    y = x.sum(axis=1)
    print(f"{ROWS:,} x {COLUMNS} float32, one epoch, median of {RUNS} alternating runs\n")
    print("optimizer  batch    looking    not looking   ratio")
    for optimizer in (keras.optimizers.SGD, keras.optimizers.Adam):
        for batch_size in (32, 1024):
            model = klr.LinearRegression()
            model.compile(optimizer=optimizer(1e-3))
            options = {"batch_size": batch_size, "verbose": 0}
            model.fit(x, y, **options)  # traced once, for both
            times = {True: [], False: []}
            for run in range(RUNS):
                for looks in (True, False) if run % 2 else (False, True):
                    fit = model.fit if looks else partial(keras.Model.fit, model)
                    times[looks].append(seconds(fit, x, y, **options))
            looking, bare = statistics.median(times[True]), statistics.median(times[False])
            print(
                f"{optimizer.__name__:9s} {batch_size:6d} {looking:9.3f} s {bare:13.3f} s {looking / bare:7.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
