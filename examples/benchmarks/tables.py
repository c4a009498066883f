"""What an exact fit of a table costs beside the fit of the same numbers as one NumPy array.

    python examples/benchmarks/tables.py            1,000,000 rows of 20 columns
    python examples/benchmarks/tables.py --quick    a tenth of them

Fits the tables in turn, round by round, in one process, and prints the medians, their ratios to the array, and the
memory that NumPy takes during a fit beside the numbers themselves. polars and pyarrow must be installed.
"""

import argparse
import os
import statistics
import time
import tracemalloc

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

import keras_linreg as klr

COLUMNS = 20
HIGHEST_RATIO = 1.3


def tables(rows: int) -> dict:
    """Return the same numbers as each kind of table, and y."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, COLUMNS))
    columns = {f"c{i}": np.ascontiguousarray(x[:, i]) for i in range(COLUMNS)}
    y = x @ np.linspace(-1, 1, COLUMNS) + rng.normal(size=rows)
    return {
        "NumPy": (x, y),
        "polars": (pl.DataFrame(columns), pl.Series("y", y)),
        "Arrow": (pa.table(columns), pa.array(y)),
        "pandas": (pd.DataFrame(columns), pd.Series(y)),
        "dict": (columns, y),
    }


def fit(x, y) -> None:
    """Fit one model."""
    klr.ExactLinearRegression().fit(x, y, verbose=0)


def moments(x, y) -> None:
    """Take the moments alone."""
    klr.Moments.from_data(x, y)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rows = 100_000 if arguments.quick else 1_000_000
    data = tables(rows)
    size = rows * (COLUMNS + 1) * 8
    print(f"{rows:,} rows of {COLUMNS} float64 columns, {size / 2**20:.0f} MiB with y; medians of {arguments.rounds}")
    print(f"{'':10}{'fit':>10}{'ratio':>8}{'moments':>10}{'ratio':>8}{'memory of a fit':>20}")
    times: dict = {(kind, task): [] for kind in data for task in (fit, moments)}
    for turn in range(arguments.rounds + 1):  # the first is a warm-up
        for task in (fit, moments):
            for kind, parts in data.items():
                began = time.perf_counter()
                task(*parts)
                if turn:
                    times[kind, task].append(time.perf_counter() - began)
    medians = {key: statistics.median(each) for key, each in times.items()}
    for kind, parts in data.items():
        tracemalloc.start()
        fit(*parts)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        cells = [f"{kind:10}"]
        for task in (fit, moments):
            seconds = medians[kind, task]
            cells.append(f"{seconds:8.3f} s{seconds / medians['NumPy', task]:8.2f}")
        print(*cells, f"{peak / 2**20:9.1f} MiB, {peak / size:4.0%}", sep="")
    worst = max(medians[kind, fit] / medians["NumPy", fit] for kind in ("polars", "Arrow"))
    print(f"\nThe slower of polars and Arrow takes {worst:.2f} times the array; at most {HIGHEST_RATIO} is wanted.")


if __name__ == "__main__":
    main()
