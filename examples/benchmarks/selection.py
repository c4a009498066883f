"""What it costs to choose a penalty, beside our own exact fit and beside scikit-learn's LassoCV.

    python examples/benchmarks/selection.py                       all of it: some ten minutes
    python examples/benchmarks/selection.py --quick               a tenth of the rows, to see that it runs
    python examples/benchmarks/selection.py --skip-peers          without LassoCV, which takes most of the time
    python examples/benchmarks/selection.py --skip-stream         without the stream

10 folds, 100 penalties. The contestants take turns in one process; medians of three. The stream is read in a process of
its own, whose memory is measured.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.linear_model import LassoCV
from sklearn.model_selection import PredefinedSplit

import keras_linreg as klr
from keras_linreg.moments.dealing import ByRowNumber

SIZES = [(1_000_000, 10), (1_000_000, 100), (100_000, 500)]
PEERS = [(1_000, 10), (100_000, 500), (1_000_000, 100)]
ROUNDS = 3
STREAM_ROWS, STREAM_COLUMNS, STREAM_BATCH = 20_000_000, 20, 50_000


def data(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return columns of which a fifth matters, and y."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns))
    weights = np.zeros(columns)
    weights[: max(3, columns // 5)] = rng.standard_normal(max(3, columns // 5))
    return x, x @ weights + 3 * rng.standard_normal(rows)


def seconds(function: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Return the seconds of the clock, and those of all cores, which a busy machine changes less."""
    start, busy = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - start, time.process_time() - busy


def medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    clock, cores = zip(*times, strict=True)
    return statistics.median(clock), statistics.median(cores)


def fit_exact(x: np.ndarray, y: np.ndarray) -> Any:
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)
    return model


def fit_lasso(x: np.ndarray, y: np.ndarray) -> Any:
    model = klr.ElasticNetRegression()
    model.fit(x, y, verbose=0)
    return model


def beside_exact(scale: int) -> None:
    print("Beside our own exact fit (medians of 3, taking turns):")
    for rows, columns in SIZES:
        x, y = data(rows // scale, columns)
        fit_exact(x, y), fit_lasso(x, y)
        times = [(seconds(fit_exact, x, y), seconds(fit_lasso, x, y)) for _ in range(ROUNDS)]
        exact, lasso = (medians(list(part)) for part in zip(*times, strict=True))
        print(
            f"  {len(x):>9,} x {columns:<3}  exact {exact[0]:7.3f} s   lasso {lasso[0]:7.3f} s   "
            f"{lasso[0] / exact[0]:5.2f} times; of all cores {exact[1]:.3f} and {lasso[1]:.3f} s, "
            f"{lasso[1] / exact[1]:.2f} times",
            flush=True,
        )


def beside_lasso_cv(scale: int) -> None:
    print("Beside scikit-learn's LassoCV(n_jobs=2) on the same folds:")
    for rows, columns in PEERS:
        x, y = data(rows if rows < 10_000 else rows // scale, columns)
        folds = PredefinedSplit(ByRowNumber("runs", 10).numbers(0, len(x)))
        fit_lasso(x, y)
        rounds = ROUNDS if rows < 10_000 else 1
        own = medians([seconds(fit_lasso, x, y) for _ in range(ROUNDS)])
        peer = LassoCV(cv=folds, n_jobs=2)
        other = medians([seconds(peer.fit, x, y) for _ in range(rounds)])
        path = klr.FoldMoments.from_data(x, y).elastic_net(standardize=False)
        print(
            f"  {len(x):>9,} x {columns:<3}  LassoCV {other[0]:7.2f} s   ours {own[0]:7.3f} s   "
            f"{other[0] / own[0]:6.1f} times; of all cores {other[1] / own[1]:.1f} times; "
            f"errors differ by {np.abs(path.fold_errors / peer.mse_path_ - 1).max():.0e} (its tol is 1e-4)",
            flush=True,
        )


def batches(rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(STREAM_COLUMNS) * (rng.random(STREAM_COLUMNS) < 0.3)
    for _ in range(rows // STREAM_BATCH):
        x = rng.standard_normal((STREAM_BATCH, STREAM_COLUMNS))
        yield x, x @ weights + rng.standard_normal(STREAM_BATCH)


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_stream(rows: int) -> None:
    klr.ElasticNetRegression().fit(batches(STREAM_BATCH * 4), verbose=0)
    before = megabytes()
    model = klr.ElasticNetRegression()
    took, _ = seconds(lambda: model.fit(batches(rows), verbose=0))
    print(f"  {rows:>10,} x {STREAM_COLUMNS}: {took:6.1f} s, {megabytes() - before:5.0f} MB more than 200,000 rows, "
          f"{np.count_nonzero(model.kernel)} coefficients")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--quick", "--skip-peers", "--skip-stream"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "The choice is the last penalty")
    if arguments.stream:
        read_stream(arguments.stream)
        return
    scale = 10 if arguments.quick else 1
    beside_exact(scale)
    if not arguments.skip_peers:
        beside_lasso_cv(scale)
    if not arguments.skip_stream:
        print("From a stream:", flush=True)
        for rows in (STREAM_ROWS // 10 // scale, STREAM_ROWS // scale):
            subprocess.run([sys.executable, __file__, "--stream", str(rows)], check=True)


if __name__ == "__main__":
    main()
