"""What it costs to monitor rows, beside reducing them to moments.

    python examples/benchmarks/drift.py                       one minute
    python examples/benchmarks/drift.py --quick               a tenth of the rows, to see that it runs

The contestants take turns in one process; medians of five. Seconds of all cores change less on a busy machine.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import keras_linreg as klr

ROWS, COLUMNS, ROUNDS = 1_000_000, (10, 30, 100), 5


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock, and those of all cores."""
    start, busy = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - busy


def medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    clock, cores = zip(*times, strict=True)
    return statistics.median(clock), statistics.median(cores)


def compare(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns))
    y = x.sum(axis=1) + rng.standard_normal(rows)
    monitor = klr.DriftMonitor(klr.Moments.from_data(x[: rows // 2], y[: rows // 2]))
    contestants = {
        "reduce": lambda: klr.Moments.from_data(x, y),
        "monitor, with outcomes": lambda: monitor.update(x, y),
        "monitor, without": lambda: monitor.update(x),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(ROUNDS + 1):
        for name, function in contestants.items():
            times[name].append(seconds(function))
    clock, cores = medians(times["reduce"][1:])
    print(f"{rows:>9,} x {columns:<3}  reduce {clock:6.3f} s ({cores:6.3f} of all cores)")
    for name in list(contestants)[1:]:
        own_clock, _ = medians(times[name][1:])
        ratio = statistics.median(a[1] / b[1] for a, b in zip(times[name][1:], times["reduce"][1:], strict=True))
        print(f"{'':15}  {name:24} {own_clock:6.3f} s, {own_clock / clock:4.2f} times; of all cores {ratio:4.2f} times")
    start = time.perf_counter()
    monitor.report()
    print(
        f"{'':15}  the report {1000 * (time.perf_counter() - start):.1f} ms, {len(monitor.to_bytes()):,} bytes",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    scale = 10 if parser.parse_args().quick else 1
    for columns in COLUMNS:
        compare(ROWS // scale, columns)


if __name__ == "__main__":
    main()
