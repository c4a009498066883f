"""What an exact fit costs, beside others that solve least squares, and beside the least it could cost.

    python examples/benchmarks/exact_fit.py                       the whole of it: minutes, and some 8 GB of memory
    python examples/benchmarks/exact_fit.py --quick               a tenth of the rows, to see that it runs
    python examples/benchmarks/exact_fit.py --skip-stream         without the fits of streams

Fits the same arrays with each contestant in one process, round by round, and prints the medians and their ratios, how
far the coefficients are apart, the time of a small fit, and the memory that a stream of many rows takes. Draws the
medians as `exact_fit.png`. scikit-learn-intelex and statsmodels take part where they are installed.
"""

import argparse
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import sklearn
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.linear_model import LinearRegression, Ridge

import keras_linreg as klr

SIZES = [(1_000_000, 20), (1_000_000, 100), (100_000, 500)]
HARD = (1, "float64")  # the size and dtype that the targets against the other libraries are for
SMALL, SMALL_RUNS = (1_000, 10), 30
STREAM_ROWS, QUICK_STREAM_ROWS, STREAM_COLUMNS, STREAM_BATCH = 1_000_000, 5_000_000, 20, 50_000
STATSMODELS_ROUNDS = 3  # it takes many seconds a fit
BLOCK_NUMBERS = 160_000

TIMES_LINEAR_REGRESSION = 10.0
OF_INCREMENTAL = 1.1
OF_BLOCKS = 1.3
SMALL_SECONDS = 0.030
STREAM_MEGABYTES = 100.0

OURS, SKLEARN, INCREMENTAL, BLOCKS = "ours", "sklearn Linear", "intelex increm.", "X.T X, blocks"
OLS = "statsmodels*"
LONG_NAMES = {
    OURS: "keras_linreg ExactLinearRegression",
    SKLEARN: "scikit-learn LinearRegression",
    "sklearn Ridge": "scikit-learn Ridge, Cholesky",
    "intelex Linear": "scikit-learn-intelex LinearRegression",
    INCREMENTAL: "scikit-learn-intelex IncrementalLinearRegression",
    OLS: "statsmodels OLS",
    "X.T X": "X.T @ X alone",
    BLOCKS: "X.T @ X alone, block by block",
}


# The contestants: each fits (or multiplies) once, from the arrays as they are, with a new model.


def ours(x, y):
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)
    return model.kernel.numpy()[:, 0]


def linear(x, y):
    return LinearRegression().fit(x, y).coef_


def ridge(x, y):
    return Ridge(alpha=1e-6, solver="cholesky").fit(x, y).coef_


def cross_products(x, y):
    x = x.astype("float64", copy=False)
    return x.T @ x


def cross_products_of_blocks(x, y):
    """Blocks stay in the cache, so that a float32 array is cast without a copy of it going through memory."""
    rows, columns = x.shape
    height = max(BLOCK_NUMBERS // columns, 1)
    products = np.zeros((columns, columns))
    for start in range(0, rows, height):
        block = x[start : start + height].astype("float64", copy=False)
        products += block.T @ block
    return products


def contestants() -> dict:
    """Return the functions to time; say which packages are not there."""
    found = {OURS: ours, SKLEARN: linear, "sklearn Ridge": ridge}
    try:
        # Their own classes, unpatched: what scikit-learn itself does is measured above.
        from sklearnex.linear_model import IncrementalLinearRegression
        from sklearnex.linear_model import LinearRegression as IntelexLinearRegression
    except ImportError:
        print("scikit-learn-intelex is left out: it is not installed (pip install scikit-learn-intelex).")
    else:

        def incremental(x, y):
            # All rows at once is its fastest; its own choice, batches of 5 rows a column, takes 2 to 13 times as long.
            return IncrementalLinearRegression(batch_size=len(x)).fit(x, y).coef_

        found["intelex Linear"] = lambda x, y: IntelexLinearRegression().fit(x, y).coef_
        found[INCREMENTAL] = incremental
    try:
        import statsmodels.api
    except ImportError:
        print("statsmodels is left out: it is not installed (pip install statsmodels).")
    else:
        found[OLS] = lambda x, y: statsmodels.api.OLS(y, statsmodels.api.add_constant(x)).fit().params[1:]
    return {**found, "X.T X": cross_products, BLOCKS: cross_products_of_blocks}


def timed(function, *arguments) -> tuple[float, np.ndarray]:
    gc.collect()  # what the one before left is not this one's to clear away
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def make(rows: int, columns: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns), dtype)
    y = x @ rng.standard_normal(columns).astype(dtype) + rng.standard_normal(rows, dtype) + np.asarray(3, dtype)
    return x, y


def race(functions: dict, x, y, repeats: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return each contestant's median seconds and result; all take turns, so that a slow moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    results = {}
    for function in functions.values():
        function(x[:1000], y[:1000])  # what is imported or compiled at the first call is not the fit's time
    for turn in range(repeats):
        order = list(functions)
        for name in order if turn % 2 else reversed(order):
            if name == OLS and turn >= STATSMODELS_ROUNDS:
                continue
            seconds, results[name] = timed(functions[name], x, y)
            times[name].append(seconds)
    return {name: statistics.median(found) for name, found in times.items()}, results


def apart(a, b) -> float:
    """Return the largest difference of coefficients, relative to the largest coefficient."""
    return float(np.abs(np.asarray(a, "float64") - b).max() / np.abs(b).max())


def verdict(value: float | None, target: float, at_least: bool = False) -> str:
    if value is None:
        return f"not measured (target {target:g})"
    met = value >= target if at_least else value <= target
    return f"{'met' if met else 'MISSED'} (at {'least' if at_least else 'most'} {target:g})"


def fits(functions: dict, sizes: list[tuple[int, int]], repeats: int) -> dict:
    """Time all sizes, printing each as it is done; return the medians."""
    print(f"\n1. Median seconds of {repeats} rounds, all contestants taking turns")
    if OLS in functions:
        print(f"   (* statsmodels of {min(STATSMODELS_ROUNDS, repeats)} rounds, for it takes long)")
    print(f"\n   {'rows x columns':>15s} {'dtype':7s}", *(f"{name:>15s}" for name in functions))
    medians, accuracy = {}, []
    for number, (rows, columns) in enumerate(sizes):
        for dtype in ("float32", "float64"):
            x, y = make(rows, columns, dtype)
            medians[number, dtype], found = race(functions, x, y, repeats)
            size = f"{rows:,} x {columns}"
            values = (f"{seconds:15.4f}" for seconds in medians[number, dtype].values())
            print(f"   {size:>15s} {dtype:7s}", *values, flush=True)
            # In float32 scikit-learn rounds more than we do: who is right, its float64 fit of the same numbers tells.
            reference = found[SKLEARN] if dtype == "float64" else linear(x.astype("float64"), y.astype("float64"))
            distances = apart(found[OURS], found[SKLEARN]), apart(found[OURS], reference)
            accuracy.append((size, dtype, *distances, apart(found[SKLEARN], reference)))
            del x, y, found, reference

    print("\n   Ratios of these medians, and their targets\n")
    head = f"   {'rows x columns':>15s} {'dtype':7s}"
    print(f"{head} {'sklearn Linear/ours':>20s} {'ours/intelex increm.':>21s} {'ours/X.T X, blocks':>19s}")
    for (number, dtype), seconds in medians.items():
        rows, columns = sizes[number]
        faster = seconds[SKLEARN] / seconds[OURS]
        beside = seconds[OURS] / seconds[INCREMENTAL] if INCREMENTAL in seconds else None
        limit = seconds[OURS] / seconds[BLOCKS]
        if (number, dtype) == HARD:
            said = (
                f"sklearn: {verdict(faster, TIMES_LINEAR_REGRESSION, at_least=True)}; "
                f"intelex: {verdict(beside, OF_INCREMENTAL)}"
            )
        else:
            said = f"blocks: {verdict(limit, OF_BLOCKS)}"
        against = "-" if beside is None else f"{beside:.2f}"
        size = f"{rows:,} x {columns}"
        print(f"   {size:>15s} {dtype:7s} {faster:20.2f} {against:>21s} {limit:19.2f}   {said}")

    print("\n   Largest difference of coefficients, relative to the largest: speed was not bought with digits\n")
    print(f"{head} {'ours - sklearn':>16s} {'ours - reference':>18s} {'sklearn - reference':>21s}")
    for size, dtype, *differences in accuracy:
        first, second, third = (f"{difference:.1e}" for difference in differences)
        print(f"   {size:>15s} {dtype:7s} {first:>16s} {second:>18s} {third:>21s}")
    print("   (reference: scikit-learn in float64, of the same numbers)")
    return medians


def small_fit() -> None:
    x, y = make(*SMALL, "float64")
    ours(x, y)
    seconds = statistics.median(timed(ours, x, y)[0] for _ in range(SMALL_RUNS))
    print(f"\n2. A fit of {SMALL[0]:,} x {SMALL[1]} in a warm process, median of {SMALL_RUNS} runs")
    said = verdict(1e3 * seconds, 1e3 * SMALL_SECONDS)
    print(f"\n   {1e3 * seconds:.1f} ms   {said}")


# A fit of a stream


def stream(rows: int) -> tuple[tf.data.Dataset, np.ndarray]:
    """Return a dataset that makes its rows when they are asked for, and the coefficients that it makes them with."""
    kernel = np.random.default_rng(0).standard_normal((STREAM_COLUMNS, 1)).astype("float32")

    def batch(number):
        height = tf.minimum(np.int64(STREAM_BATCH), rows - number * STREAM_BATCH)
        seed = tf.stack([number, 1])
        x = tf.random.stateless_normal([height, STREAM_COLUMNS], seed)
        noise = tf.random.stateless_normal([height, 1], seed + 1)
        return tf.ensure_shape(x, (None, STREAM_COLUMNS)), tf.ensure_shape(x @ kernel + noise + 3.0, (None, 1))

    # Fixed numbers of batches under way: what AUTOTUNE holds ready is no memory of the fit.
    numbers = tf.data.Dataset.range(math.ceil(rows / STREAM_BATCH))
    return numbers.map(batch, num_parallel_calls=os.cpu_count() or 1).prefetch(2), kernel[:, 0]


def peak_megabytes() -> float:
    """Return the most memory that this process has held.

    Linux counts in a child's ru_maxrss what its parent held when it started it; VmHWM is the child's alone.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def fit_stream(rows: int) -> None:
    """Fit a stream, and print as JSON what it took: what a process of its own is started for."""
    data, kernel = stream(rows)
    model = klr.ExactLinearRegression()
    before = peak_megabytes()
    start = time.perf_counter()
    model.fit(data, verbose=0)
    seconds = time.perf_counter() - start
    if model.moments.rows != rows:
        sys.exit(f"The fit saw {model.moments.rows:,} of {rows:,} rows: this should not happen.")
    error = apart(model.kernel.numpy()[:, 0], kernel)
    print(json.dumps({"before": before, "peak": peak_megabytes(), "seconds": seconds, "error": error}))


def streamed_fits(big_rows: int) -> None:
    print(f"\n3. A stream of {STREAM_COLUMNS} float32 columns made on the fly, each fit in a process of its own\n")
    print(f"   {'rows':>13s} {'seconds':>9s} {'peak memory':>13s} {'before the fit':>16s} {'error of kernel':>17s}")
    peaks = []
    for rows in (STREAM_ROWS, big_rows):
        command = [sys.executable, os.path.abspath(__file__), "--stream-rows", str(rows)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        took = json.loads(done.stdout.splitlines()[-1])
        peaks.append(took["peak"])
        memory = f"{took['peak']:10.0f} MB {took['before']:13.0f} MB"
        print(f"   {rows:13,d} {took['seconds']:9.2f} {memory} {took['error']:17.1e}", flush=True)
    difference = peaks[1] - peaks[0]
    print(f"\n   difference of the peaks {difference:.0f} MB   {verdict(difference, STREAM_MEGABYTES)}")


def draw(medians: dict, sizes: list[tuple[int, int]], path: Path) -> None:
    panels = [(size, medians[number, "float64"]) for number, size in enumerate(sizes)]
    count = len(panels[0][1])
    figure = Figure(figsize=(9.5, 1.2 + len(panels) * (0.7 + 0.3 * count)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Seconds to fit float64 arrays in memory, median (shorter is better)", fontsize=12)
    axes = figure.subplots(len(panels), 1)
    for ax, ((rows, columns), found) in zip(axes, panels, strict=True):
        colours = ["#d1495b" if name == OURS else "#b9c0c9" if "X.T" in name else "#5b7a9d" for name in found]
        bars = ax.barh([LONG_NAMES[name] for name in found], list(found.values()), color=colours, height=0.72)
        ax.bar_label(bars, [f"{seconds:.3g} s" for seconds in found.values()], padding=4, fontsize=9)
        ax.set_xlim(0, 1.15 * max(found.values()))
        ax.set_title(f"{rows:,} rows x {columns} columns", loc="left", fontsize=11, fontweight="bold")
        ax.invert_yaxis()
        ax.get_yticklabels()[0].set_fontweight("bold")
        ax.tick_params(axis="y", length=0, labelsize=9)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmark_output"), help="the folder to write")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: to see that it runs, not how fast")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of which the median is taken")
    parser.add_argument("--big-rows", type=int, help="rows of the longer stream (default 100,000,000)")
    parser.add_argument("--skip-stream", action="store_true", help="leave out the fits of streams")
    parser.add_argument("--stream-rows", type=int, help=argparse.SUPPRESS)  # what the processes of streams are given
    options = parser.parse_args()
    if options.stream_rows:
        fit_stream(options.stream_rows)
        return
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")

    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [(rows // 10, columns) for rows, columns in SIZES] if options.quick else SIZES
    print(
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores; "
        f"NumPy {np.__version__}, TensorFlow {tf.__version__}, scikit-learn {sklearn.__version__}"
    )
    if options.quick:
        print("A tenth of the rows: the targets are for all of them.")
    medians = fits(contestants(), sizes, options.repeats)
    small_fit()
    if not options.skip_stream:
        streamed_fits(options.big_rows or (QUICK_STREAM_ROWS if options.quick else 100_000_000))
    draw(medians, sizes, folder / "exact_fit.png")
    print(f"\nThe chart is {folder / 'exact_fit.png'}")


if __name__ == "__main__":
    main()
