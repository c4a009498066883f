"""A fit of a formula with a factor of 50 levels and its interaction: seconds and memory, beside formulaic's matrix.

    python examples/benchmarks/formula.py              # this package's formula, formulaic dense, formulaic sparse
    python examples/benchmarks/formula.py --statsmodels    # also statsmodels' own formula

Each candidate runs in a process of its own, which prints the seconds of the fit from the table, by the clock and of all
cores, and by how much the peak of its memory grew over the table's. The small fits before are not counted: they import
libraries.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROWS, LEVELS = 1_000_000, 50
FORMULA = "y ~ a * C(g) + log(b)"
CANDIDATES = ("keras_linreg", "formulaic dense", "formulaic sparse", "statsmodels")


def table(rows):
    """A table of two numbers, a factor and a response."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, LEVELS, rows)
    a, b = 3 * rng.normal(size=rows) + 10, rng.exponential(size=rows) + 0.1
    y = a * (1 + level / LEVELS) + np.log(b) + rng.normal(size=rows)
    cities = np.array([f"city_{i:02d}" for i in range(LEVELS)])
    return pd.DataFrame({"y": y, "a": a, "g": cities[level], "b": b})


def fit(candidate, data):
    """Fit the formula; return the model."""
    if candidate == "keras_linreg":
        import keras_linreg as klr

        model = klr.ExactLinearRegression(preprocessor=klr.Formula(FORMULA))
        model.fit(data, verbose=0)
        return model
    if candidate == "statsmodels":
        import statsmodels.formula.api as smf

        return smf.ols(FORMULA.replace("log", "np.log"), data).fit()
    import formulaic

    import keras_linreg as klr

    is_sparse = candidate == "formulaic sparse"
    matrix = formulaic.model_matrix(FORMULA.partition("~")[2], data, output="sparse" if is_sparse else "pandas")
    names = list(matrix.model_spec.column_names)
    x = matrix.tocsr()[:, 1:] if is_sparse else matrix.drop(columns="Intercept")
    model = klr.ExactLinearRegression(feature_names=names[1:])
    model.fit(x, data["y"].to_numpy(), verbose=0)
    return model


def megabytes(kind):
    """The memory of this process, VmRSS now or VmHWM at its peak; Linux alone tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


def measure(candidate, repeats):
    """Print the median seconds, by the clock and of all cores, the growth of the memory's peak, and one coefficient."""
    fit(candidate, table(2_000))
    data = table(ROWS)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before, seconds, of_cores = megabytes("VmRSS"), [], []
    for _ in range(repeats):
        began, began_of_cores = time.perf_counter(), time.process_time()
        model = fit(candidate, data)
        seconds.append(time.perf_counter() - began)
        of_cores.append(time.process_time() - began_of_cores)
    grown = megabytes("VmHWM") - before
    params = model.params if candidate == "statsmodels" else model.report().params
    slope = params[next(name for name in params.index if name == "a")]
    print(f"{statistics.median(seconds):.4f} {statistics.median(of_cores):.4f} {grown:.0f} {slope:.12f}")


def main():
    """Measure each candidate in a process of its own, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--statsmodels", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.only:
        measure(arguments.only, arguments.repeats)
        return
    print(f"{ROWS:,} rows, {FORMULA}, {LEVELS} levels; medians")
    print(f"{'':18} {'seconds':>9} {'times':>7} {'of all cores':>13} {'times':>7} {'peak, MB':>9}   slope of a")
    own = None
    for candidate in CANDIDATES[: 4 if arguments.statsmodels else 3]:
        repeats = 5 if candidate == "keras_linreg" else 1
        command = [sys.executable, __file__, "--only", candidate, "--repeats", str(repeats)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        *figures, slope = result.stdout.split()[-4:]
        seconds, of_cores, grown = map(float, figures)
        own = own or (seconds, of_cores)
        by_clock = f"{seconds:9.2f} {seconds / own[0]:7.0f}"
        print(f"{candidate:18} {by_clock} {of_cores:13.2f} {of_cores / own[1]:7.0f} {grown:9,.0f}   {slope}")


if __name__ == "__main__":
    main()
