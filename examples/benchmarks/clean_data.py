"""What looking for NaN, infinity and divergence costs on clean data.

    python examples/benchmarks/clean_data.py

Fits one model on the same arrays in one process, alternating: as it is, and with a callback that says that it looks
itself (a `TerminateOnNaN` whose hook does nothing), so that the model does not. Prints the medians and their ratio.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_linreg as klr

RUNS, ROWS, COLUMNS = 41, 200_000, 20


class LooksItself(keras.callbacks.TerminateOnNaN):
    """Keeps the model from looking, and looks at nothing."""

    on_batch_end = keras.callbacks.Callback.on_batch_end


def seconds(fit, *arguments, **options) -> float:
    start = time.perf_counter()
    fit(*arguments, **options)
    return time.perf_counter() - start


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
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
            for _ in range(2):
                model.fit(x, y, **options)  # compiled once, for both
            times = {True: [], False: []}
            for run in range(RUNS):
                for looks in (True, False) if run % 2 else (False, True):
                    callbacks = [] if looks else [LooksItself()]
                    times[looks].append(seconds(model.fit, x, y, callbacks=callbacks, **options))
            looking, bare = statistics.median(times[True]), statistics.median(times[False])
            print(
                f"{optimizer.__name__:9s} {batch_size:6d} {looking:9.4f} s {bare:13.4f} s {looking / bare:7.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
