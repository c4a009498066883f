"""What a report, and robust standard errors, cost beside statsmodels'.

    python examples/benchmarks/inference.py                 1,000,000 x 100: minutes, and some 8 GB of memory
    python examples/benchmarks/inference.py --rows 50000    to see that it runs

Both fit the same float64 arrays in one process, taking turns. Prints the medians and their ratios, and how far the
standard errors are apart. statsmodels must be installed.
"""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import keras_linreg as klr

BATCH = 20_000


def make(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns, and a target whose errors grow with the first of them: what HC3 is for."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns))
    y = x @ rng.standard_normal(columns) + rng.standard_normal(rows) * np.exp(0.3 * x[:, 0]) + 3
    return x, y


def batches(x: np.ndarray, y: np.ndarray):
    """Yield the rows in batches, as from a file."""
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH], y[start : start + BATCH]


def timed(function: Callable) -> tuple[float, object]:
    gc.collect()
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="rounds of which the median is taken")
    options = parser.parse_args()
    try:
        import statsmodels.api as sm
    except ImportError:
        parser.exit(1, "statsmodels is not installed: pip install statsmodels\n")
    x, y = make(options.rows, options.columns)

    model = klr.ExactLinearRegression()
    small = slice(0, 20 * options.columns)
    model.fit(x[small], y[small], verbose=0)  # what the first call imports is not its time
    str(model.report(cov_type="HC3", data=(x[small], y[small])))

    def fit():
        model.fit(x, y, verbose=0)

    def report():
        found = model.report()
        str(found)
        return found.bse

    def hc3():
        return model.report(cov_type="HC3", data=(x, y)).bse

    def hc3_streamed():
        return model.report(cov_type="HC3", data=batches(x, y)).bse

    def their_fit():
        return sm.OLS(y, sm.add_constant(x)).fit()

    def their_report():
        found = sm.OLS(y, sm.add_constant(x)).fit()
        str(found.summary())
        return found.bse

    def their_hc3():
        return sm.OLS(y, sm.add_constant(x)).fit(cov_type="HC3").bse

    jobs = {
        "fit": fit,
        "report, printed": report,
        "HC3 of arrays": hc3,
        "HC3 of a stream": hc3_streamed,
        "statsmodels: fit": their_fit,
        "statsmodels: fit and summary, printed": their_report,
        "statsmodels: fit with HC3": their_hc3,
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    found = {}
    for turn in range(options.repeats):
        # `fit` comes before what needs it, whichever way round.
        ours, theirs = list(jobs)[:4], list(jobs)[4:]
        for name in ours + theirs if turn % 2 == 0 else theirs + ours:
            took, found[name] = timed(jobs[name])
            seconds[name].append(took)

    print(f"{options.rows:,} rows x {options.columns} columns, float64; median seconds of {options.repeats} rounds\n")
    median = {name: statistics.median(each) for name, each in seconds.items()}
    for name, value in median.items():
        print(f"   {name:40s} {value:9.4f}")
    whole, their_whole = median["fit"] + median["report, printed"], median["statsmodels: fit and summary, printed"]
    robust, their_robust = median["fit"] + median["HC3 of a stream"], median["statsmodels: fit with HC3"]
    print(f"\n   fit and report: statsmodels takes {their_whole / whole:.1f} times as long")
    print(f"   fit and streamed HC3: statsmodels takes {their_robust / robust:.1f} times as long")
    apart = {
        "report, printed": "statsmodels: fit and summary, printed",
        "HC3 of arrays": "statsmodels: fit with HC3",
        "HC3 of a stream": "statsmodels: fit with HC3",
    }
    print("\n   Standard errors, largest relative difference from statsmodels'")
    for mine, theirs in apart.items():
        print(f"   {mine:40s} {np.abs(np.asarray(found[mine]) / np.asarray(found[theirs]) - 1).max():9.1e}")


if __name__ == "__main__":
    main()
