"""What an exact fit costs where the data are not well-behaved, and how many digits it keeps, beside scikit-learn.

    python examples/benchmarks/hard_data.py                     the whole of it: some minutes, and 4 GB of memory
    python examples/benchmarks/hard_data.py --quick             a tenth of the rows, to see that it runs
    python examples/benchmarks/hard_data.py --only sparse       one part: rows, small, many, sparse, merge or profile

Each part fits the same arrays with each contestant in one process, round by round, and prints the medians, their ratios
to an ordinary fit and to scikit-learn, and the targets. The digits beside each time are the fewest that agree with the
solution in extended precision, relative to the larger of coefficient and standard error. Draws time and digits against
noise, variance inflation, offset and the order of the rows as `hard_data.png`. scikit-learn-intelex takes part where it
is installed.
"""

import argparse
import cProfile
import gc
import os
import pstats
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import scipy.sparse
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.linear_model import LinearRegression, Ridge

import keras_linreg as klr
from keras_linreg.linalg.double_double import DoubleDouble, two_sum

ROWS, COLUMNS = 600_000, 100
OURS, SKLEARN, INTELEX = "ours", "scikit-learn", "intelex"
GROUPS = ("noise", "variance inflation", "offset", "order of the rows")


def ours(x, y):
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)
    return np.concatenate([model.bias.numpy(), model.kernel.numpy()[:, 0]])


def scikit_learn(x, y):
    model = LinearRegression().fit(x, y)
    return np.concatenate([[model.intercept_], np.ravel(model.coef_)])


def contestants() -> dict[str, Callable]:
    """Return the functions to time; say which package is not there."""
    found = {OURS: ours, SKLEARN: scikit_learn}
    try:
        from sklearnex.linear_model import LinearRegression as IntelexLinearRegression
    except ImportError:
        print("scikit-learn-intelex is left out: it is not installed (pip install scikit-learn-intelex).")
        return found

    def intelex(x, y):
        model = IntelexLinearRegression().fit(x, y)
        return np.concatenate([[model.intercept_], np.ravel(model.coef_)])

    return {**found, INTELEX: intelex}


def race(functions: dict[str, Callable], repeats: int) -> tuple[dict[str, float], dict]:
    """Return the median seconds and the result of each; all take turns, so that a slow moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    results = {name: function() for name, function in functions.items()}
    for turn in range(repeats):
        for name in functions if turn % 2 else reversed(functions):
            gc.collect()
            start = time.perf_counter()
            results[name] = functions[name]()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}, results


# Data


def problems(rows: int, columns: int):
    """Yield group, name, the most times an ordinary fit's seconds, x and y."""
    rng = np.random.default_rng(0)
    x, kernel, noise = rng.normal(size=(rows, columns)), rng.normal(size=columns), rng.normal(size=rows)
    y = x @ kernel + 1
    yield "", "ordinary", None, x, y + 3 * noise
    for share in (1e-2, 1e-4, 1e-6, 0.0):
        yield GROUPS[0], f"noise {share:g} of y" if share else "no noise", 1.15, x, y + share * y.std() * noise
    close = np.sqrt(0.1) * x + np.sqrt(0.9) * rng.normal(size=(rows, 1))
    yield GROUPS[1], "all correlated at 0.9", 2.5, close, close @ kernel + 1 + 3 * noise
    for gap, most in ((0.1, 2.5), (1e-2, 2.5), (1e-3, 4.0), (1e-6, 4.0)):
        near = x.copy()
        near[:, 1] = near[:, 0] + gap * near[:, 1]
        yield GROUPS[1], f"inflation {gap**-2:.0e}", most, near, near @ kernel + 1 + 3 * noise
    powers = x.copy()
    powers[:, :4] = np.linspace(0, 1, rows)[:, None] ** np.arange(1, 5)
    yield GROUPS[1], "a polynomial of degree 4", 4.0, powers, powers @ kernel + 1 + 3 * noise
    for offset in (1e3, 1e6):
        yield GROUPS[2], f"{offset:g} off centre", 1.5, x + offset, y + 3 * noise
    order = np.argsort(x[:, 0])
    yield GROUPS[3], "sorted by a column", 1.5, x[order], (y + 3 * noise)[order]
    drift = x + np.linspace(-5, 5, rows)[:, None] * np.arange(columns) / columns
    yield GROUPS[3], "drifting columns", 2.5, drift, drift @ kernel + 1 + 3 * noise


def reference(x: np.ndarray, y: np.ndarray) -> tuple[DoubleDouble, np.ndarray]:
    """Return the least-squares solution, intercept first, in double-double, and its standard errors.

    Steps by a QR factor of the columns, centred and scaled, in float64; the residuals of the rows, and their products
    by the columns, in double-double, number by number: none of it is the way of a fit.
    """
    centre, scale = x.mean(axis=0), x.std(axis=0)
    r = np.linalg.qr(np.column_stack([np.ones(len(x)), (x - centre) / scale]), mode="r")
    roots = np.linalg.inv(r)
    roots[1:] /= scale[:, None]
    solution = DoubleDouble(np.zeros(x.shape[1] + 1))  # of the centred columns
    for _ in range(3):
        gradient, squares = DoubleDouble(np.zeros(len(solution))), 0.0
        for start in range(0, len(x), 1024):
            block = DoubleDouble(*two_sum(x[start : start + 1024], -centre))
            rest = DoubleDouble(y[start : start + 1024]) - solution[:1] - (block * solution[None, 1:]).sum(1)
            products = (block * rest[:, None]).sum(0)
            gradient[:1] = gradient[:1] + rest.sum(0)
            gradient[1:] = gradient[1:] + products
            squares += float(rest.hi @ rest.hi)
        solution = solution + roots @ (roots.T @ gradient.hi)
    errors = np.sqrt(squares / (len(x) - len(solution)))
    roots[0] -= centre @ roots[1:]
    solution[:1] = solution[:1] - (solution[1:] * centre).sum()
    return solution, errors * np.linalg.norm(roots, axis=1)


def digits(parameters: np.ndarray, exact: DoubleDouble, errors: np.ndarray) -> float:
    """Return the fewest digits of parameters that agree with the solution, relative to the standard error or more."""
    off = np.abs((parameters - exact.hi) - exact.lo) / np.maximum(np.abs(exact.hi), errors)
    return float(min(16.0, -np.log10(max(off.max(), 1e-16))))


# Parts


def hard_rows(rows: int, columns: int, repeats: int, with_digits: bool) -> list[tuple]:
    functions = contestants()
    print(f"\n1. {rows:,} x {columns}, float64: seconds, times an ordinary fit, and the fewest digits")
    print(f"\n   {'data':28s}", *(f"{name:>22s}" for name in functions), f"{'promised':>9s}")
    results, ordinary = [], 0.0
    for group, name, most, x, y in problems(rows, columns):
        seconds, found = race({key: lambda f=f, x=x, y=y: f(x, y) for key, f in functions.items()}, repeats)
        ordinary = ordinary or seconds[OURS]
        exact = reference(x, y) if with_digits else None
        right = {key: digits(values, *exact) if exact else np.nan for key, values in found.items()}
        cells = (f"{seconds[key]:8.3f} s {right[key]:5.1f} digits" for key in functions)
        model = klr.ExactLinearRegression()
        model.fit(x, y, verbose=0)
        ratio = seconds[OURS] / ordinary
        said = (
            "" if most is None else f"  {ratio:.2f} times ordinary ({'met' if ratio <= most else 'MISSED'}: {most:g})"
        )
        print(
            f"   {name:28s}",
            *(f"{cell:>22s}" for cell in cells),
            f"{model.solution.fewest_digits:9.1f}{said}",
            flush=True,
        )
        results.append((group, name, seconds, right))
    return results


def small_fits(repeats: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 10)) + 0.5
    y = x.sum(axis=1) + rng.normal(size=1000)
    functions = {
        SKLEARN: lambda: scikit_learn(x, y),
        "Moments.from_data(x, y).solve()": lambda: klr.Moments.from_data(x, y).solve(),
        "ExactLinearRegression().fit": lambda: ours(x, y),
    }
    seconds, _ = race(functions, 10 * repeats)
    print("\n2. 1,000 x 10, warm: milliseconds, and times scikit-learn\n")
    for (name, value), most in zip(seconds.items(), (None, 5, 20), strict=True):
        ratio = value / seconds[SKLEARN]
        said = "" if most is None else f"   {ratio:5.1f} ({'met' if ratio <= most else 'MISSED'}: {most})"
        print(f"   {name:34s} {1e3 * value:7.2f} ms{said}")


def many_columns(sizes: list[tuple[int, int]], repeats: int) -> None:
    print("\n3. Many columns: seconds, and times scikit-learn's Ridge by Cholesky\n")
    for rows, columns in sizes:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(rows, columns))
        y = x @ rng.normal(size=columns) + rng.normal(size=rows)
        moments = klr.Moments.from_data(x, y)
        functions = {
            "Ridge": lambda x=x, y=y: Ridge(alpha=1e-6, solver="cholesky").fit(x, y),
            "fit": lambda x=x, y=y: ours(x, y),
            "report": lambda moments=moments: str(klr.RegressionReport.from_moments(moments)),
        }
        seconds, _ = race(functions, repeats)
        ratio = seconds["fit"] / seconds["Ridge"]
        print(
            f"   {rows:,} x {columns:,}: Ridge {seconds['Ridge']:.2f}, fit {seconds['fit']:.2f}, report "
            f"{seconds['report']:.2f}   {ratio:.2f} ({'met' if ratio <= 2 else 'MISSED'}: 2; the report "
            f"{'no longer' if seconds['report'] <= seconds['fit'] else 'LONGER'} than the fit)",
            flush=True,
        )


def sparse_rows(rows: int, columns: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    places = np.arange(rows), rng.integers(0, columns, rows)
    x = scipy.sparse.csr_matrix((np.ones(rows), places), shape=(rows, columns))
    y = x @ rng.normal(size=columns) + rng.normal(size=rows)
    functions = {
        SKLEARN: lambda: LinearRegression().fit(x, y),
        OURS: lambda: klr.Moments.from_data(x, y).solve(warn=False),
    }
    seconds, found = race(functions, repeats)
    print(f"\n4. Sparse: {rows:,} x {columns:,} one-hot columns\n")
    print(f"   {SKLEARN} (LSQR, an approximation) {seconds[SKLEARN]:.2f} s, {OURS} {seconds[OURS]:.2f} s")
    print(f"   {'met' if seconds[OURS] <= 1 else 'MISSED'}: 1 s; digits, at least {found[OURS].fewest_digits:.1f}")


def merges(columns: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * columns, columns))
    y = x @ rng.normal(size=columns) + rng.normal(size=len(x))
    a, b = (klr.Moments.from_data(x[half::2], y[half::2]) for half in (0, 1))
    times = []
    for _ in range(5 * repeats):
        start = time.perf_counter(), time.process_time()
        _ = a + b
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    clock, processor = (statistics.median(part) for part in zip(*times, strict=True))
    print(f"\n5. Merging moments of {columns:,} columns: {1e3 * clock:.0f} ms, {1e3 * processor:.0f} ms of CPU")
    print(f"   {'met' if processor <= 0.035 else 'MISSED'}: 35 ms of CPU")


def profile() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 10)) + 0.5
    y = x.sum(axis=1) + rng.normal(size=1000)
    klr.Moments.from_data(x, y).solve()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(100):
        klr.Moments.from_data(x, y).solve()
    profiler.disable()
    print("\n6. What remains of the small fit: 100 times Moments.from_data(x, y).solve()\n")
    pstats.Stats(profiler).sort_stats("cumulative").print_stats("keras_linreg", 20)


def draw(results: list[tuple], path: Path) -> None:
    """Draw seconds, with the digits beside the bars, of each group below the ordinary fit."""
    figure = Figure(figsize=(10, 1 + 0.75 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Seconds to fit {ROWS:,} x {COLUMNS}, and the fewest digits that are right (shorter is better)")
    counts = [max(1, sum(result[0] == group for result in results)) for group in ("", *GROUPS)]
    axes = figure.subplots(len(counts), 1, sharex=True, height_ratios=counts)
    for ax, group in zip(axes, ("", *GROUPS), strict=True):
        chosen = [result for result in results if result[0] == group]
        names = list(chosen[0][2]) if chosen else []
        height = 0.8 / max(len(names), 1)
        for i, name in enumerate(names):
            at = np.arange(len(chosen)) + i * height
            bars = ax.barh(at, [result[2][name] for result in chosen], height, label=name)
            labels = [f"{result[2][name]:.2f} s, {max(result[3][name], 0.0):.1f} digits" for result in chosen]
            ax.bar_label(bars, labels, padding=3, fontsize=8)
        ax.set_yticks(np.arange(len(chosen)) + 0.4 - height / 2, [result[1] for result in chosen], fontsize=9)
        ax.set_title(group or "ordinary", loc="left", fontsize=10, fontweight="bold")
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=9)
    axes[0].set_xlim(right=1.25 * max(max(result[2].values()) for result in results))
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmark_output"), help="the folder to write")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: to see that it runs, not how fast")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of which the median is taken")
    parser.add_argument("--without-digits", action="store_true", help="leave out the solutions in extended precision")
    parser.add_argument(
        "--only", choices=["rows", "small", "many", "sparse", "merge", "profile"], help="one part alone"
    )
    options = parser.parse_args()
    share = 10 if options.quick else 1
    sizes = [(20_000, 2_000), (6_000, 3_000)]
    parts = {
        "small": lambda: small_fits(options.repeats),
        "many": lambda: many_columns([(n // share, p // share) for n, p in sizes], options.repeats),
        "sparse": lambda: sparse_rows(200_000 // share, 2_000 // share, options.repeats),
        "merge": lambda: merges(1_000 // share, options.repeats),
        "profile": profile,
    }
    if options.only in (None, "rows"):
        results = hard_rows(ROWS // share, COLUMNS // share, options.repeats, not options.without_digits)
        options.output.mkdir(parents=True, exist_ok=True)
        draw(results, options.output / "hard_data.png")
        print(f"\n   The chart is {options.output / 'hard_data.png'}")
    for name, part in parts.items():
        if options.only in (None, name):
            part()


if __name__ == "__main__":
    main()
