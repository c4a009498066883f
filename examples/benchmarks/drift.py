"""What it costs to monitor rows, beside reducing them to moments.

    python examples/benchmarks/drift.py                       two minutes
    python examples/benchmarks/drift.py --quick               a tenth of the rows, to see that it runs

The contestants take turns in one process; medians of five rounds, and of each round's ratio. Seconds of all cores
change less on a busy machine than those of the clock.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

import keras_linreg as klr

ROWS, COLUMNS, ROUNDS = 1_000_000, (10, 50, 100), 5

Times = list[tuple[float, float]]  # of the clock, and of all cores


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock, and those of all cores."""
    start, busy = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - busy


def compare(kind: str, x: Any, y: np.ndarray) -> None:
    """Print the times of reducing and of monitoring rows."""
    rows, columns = x.shape
    monitor = klr.DriftMonitor(klr.Moments.from_data(x[: rows // 2], y[: rows // 2]))
    contestants = {
        "reduce": lambda: klr.Moments.from_data(x, y),
        "monitor, with outcomes": lambda: monitor.update(x, y),
        "monitor, without": lambda: monitor.update(x),
    }
    times: dict[str, Times] = {name: [] for name in contestants}
    for _ in range(ROUNDS + 1):
        for name, function in contestants.items():
            times[name].append(seconds(function))
    of_reducing, *others = (taken[1:] for taken in times.values())
    clock, cores = (statistics.median(part) for part in zip(*of_reducing, strict=True))
    print(f"{rows:>9,} x {columns:<3} {kind:9}  reduce {clock:6.3f} s ({cores:6.3f} of all cores)")
    for name, taken in zip(list(contestants)[1:], others, strict=True):
        by_clock, by_cores = (
            statistics.median(own[i] / reducing[i] for own, reducing in zip(taken, of_reducing, strict=True))
            for i in range(2)
        )
        print(f"{'':25}  {name:24} {by_clock:4.2f} times by the clock, {by_cores:4.2f} times of all cores")
    start = time.perf_counter()
    monitor.report()
    print(
        f"{'':25}  the report {1000 * (time.perf_counter() - start):.1f} ms, {len(monitor.to_bytes()):,} bytes",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    scale = 10 if parser.parse_args().quick else 1
    for columns in COLUMNS:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((ROWS // scale, columns))
        y = x.sum(axis=1) + rng.standard_normal(len(x))
        compare("array", x, y)
        # Each column lies apart, as those of a file do.
        compare("DataFrame", pd.DataFrame({f"column {i}": np.ascontiguousarray(x[:, i]) for i in range(columns)}), y)


if __name__ == "__main__":
    main()
