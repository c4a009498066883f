"""Moments on a cluster of Spark beside MLlib's LinearRegression: CPU seconds, digits, standard errors, kills.

    python examples/benchmarks/spark.py                     5,000,000 rows of 50 columns: 2 GB of disk, 12 GB of memory
    python examples/benchmarks/spark.py --rows 500000       fewer rows

It starts a standalone master and two workers of one core on loopback, and ends them. It needs pyspark and Java. CPU
seconds are those of all processes of the cluster and of the driver; medians of `--runs` alternating runs, after
one that does not count.
"""

import argparse
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from rational import least_squares
from spark_cluster import NEEDS_JAVA, alone, children, has_java, spark_session, standalone_cluster

import keras_linreg as klr

COLUMNS, HARD_ROWS = 50, 200_000
NAMES = [f"x{i}" for i in range(COLUMNS)]
TICKS = os.sysconf("SC_CLK_TCK")


def mllib(df, names, solver="normal"):
    """Return MLlib's intercept and coefficients."""
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.regression import LinearRegression

    rows = VectorAssembler(inputCols=names, outputCol="features").transform(df)
    fit = LinearRegression(labelCol="y", solver=solver, maxIter=1000, tol=1e-12).fit(rows)
    return np.array([fit.intercept, *fit.coefficients])


def ours(df, names):
    """Return the intercept and coefficients of the moments."""
    solution = klr.spark.moments(df, "y", names).solve(warn=False)
    return np.array([solution.bias[0], *solution.kernel[:, 0]])


def with_children(pids):
    """Return processes and all that they have started, each once: executors are started by workers, and those by us."""
    return set(pids).union(*(with_children(children(pid)) for pid in pids))


def cpu():
    """Return the CPU seconds so far of the executors, the driver and its JVM, the master and the workers."""
    total = 0.0
    for pid in with_children([os.getpid()]):
        with contextlib.suppress(OSError):  # it has ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / TICKS
    return total


@contextlib.contextmanager
def small_partitions(spark):
    """Cut files into partitions of 2 MB, in place of 128."""
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(2**21))
    try:
        yield
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")


def race(contestants, runs):
    """Print the median CPU and wall seconds of contestants, in turns."""
    figures = {name: [] for name in contestants}
    for run in range(runs + 1):
        for name, work in contestants.items():
            began, used = time.perf_counter(), cpu()
            work()
            if run:
                figures[name].append((cpu() - used, time.perf_counter() - began))
    medians = {name: [statistics.median(part) for part in zip(*times, strict=True)] for name, times in figures.items()}
    reference = next(iter(medians.values()))[0]
    for name, (used, wall) in medians.items():
        print(
            f"  {name:32} {used:8.1f} CPU s   {wall:8.1f} s   {used / reference:6.2f} of the CPU seconds of the first"
        )


def large(spark, folder, rows, runs):
    print(f"{rows:,} rows of {COLUMNS} columns, Parquet")
    made = spark.range(rows).selectExpr(
        *(f"randn({i}) as {name}" for i, name in enumerate(NAMES)), "randn(99) as noise"
    )
    made.selectExpr(*NAMES, f"{' + '.join(NAMES)} + noise as y").write.parquet(f"{folder}/large")
    df = spark.read.parquet(f"{folder}/large")
    race({"MLlib normal": lambda: mllib(df, NAMES), "klr.spark.moments": lambda: ours(df, NAMES)}, runs)
    cached = df.cache()
    cached.count()
    print("the same, cached in Spark")
    race({"MLlib normal": lambda: mllib(cached, NAMES), "klr.spark.moments": lambda: ours(cached, NAMES)}, runs)
    cached.unpersist(blocking=True)


def hard_rows():
    """Return a year, its square, a price and columns far from zero."""
    rng = np.random.default_rng(0)
    year = rng.integers(1950, 2025, HARD_ROWS).astype(float)
    frame = pd.DataFrame({"year": year, "year2": year**2, "price": np.round(np.exp(rng.normal(12, 0.3, HARD_ROWS)), 2)})
    for i, offset in enumerate((1e5, 1e6, 1e7)):
        frame[f"far{i}"] = offset + rng.normal(size=HARD_ROWS)
    frame["y"] = year / 10 - frame.price / 1e5 + frame.far0 - frame.far1 + rng.normal(size=HARD_ROWS)
    return frame


def digits(values, exact):
    """Return the fewest correct decimal digits of a coefficient, relative to itself; 0 for one that is no number."""
    with np.errstate(all="ignore"):
        error = np.abs(values - exact) / np.abs(exact)
    return float(np.clip(-np.log10(np.maximum(np.nan_to_num(error, nan=1.0), 1e-16)), 0, None).min())


def hard(spark, folder):
    frame = hard_rows()
    names = list(frame.columns[:-1])
    frame.to_parquet(f"{folder}/hard.parquet", index=False, row_group_size=20_000)
    df = spark.read.parquet(f"{folder}/hard.parquet")
    fit = least_squares(frame[names], frame.y)
    exact = np.array([fit.bias[0], *fit.kernel[:, 0]], np.float64)
    print(f"\nCorrect digits of the worst coefficient, {HARD_ROWS:,} rows of {names}")
    for name, work in {
        "klr.spark.moments": lambda: ours(df, names),
        "MLlib normal": lambda: mllib(df, names),
        "MLlib l-bfgs": lambda: mllib(df, names, "l-bfgs"),
    }.items():
        print(f"  {name:32} {digits(work(), exact):8.1f}")


def errors(spark, folder):
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(50_000, 6)), columns=[f"x{i}" for i in range(6)])
    frame["y"] = frame.sum(axis=1) + rng.normal(size=50_000) * (1 + frame.x0**2)
    frame["city"], frame["kind"] = rng.integers(0, 500, 50_000), rng.choice(["a", "b", "c"], 50_000)
    names, text = list(frame.columns[:6]), "y ~ x0 * kind + bs(x1, df=5)"
    frame.to_parquet(f"{folder}/errors.parquet", index=False, row_group_size=5_000)
    df = spark.read.parquet(f"{folder}/errors.parquet").repartition(6)
    formula = klr.Formula(text)
    formula.adapt(frame)
    of_formula = klr.spark.moments(df, preprocessor=formula)
    print("\nStandard errors beside statsmodels in memory, largest relative difference")
    for of, model, fit in (
        ("columns", klr.spark.moments(df, "y", names), sm.OLS(frame.y, sm.add_constant(frame[names]))),
        (text, klr.ExactLinearRegression.from_moments(of_formula, preprocessor=formula), smf.ols(text, frame)),
    ):
        for kind, groups, expected in (
            ("HC3", None, fit.fit(cov_type="HC3")),
            ("cluster", "city", fit.fit(cov_type="cluster", cov_kwds={"groups": frame.city})),
        ):
            report = klr.spark.report(model, df, kind, groups=groups)
            largest = float(np.abs(report.bse.to_numpy() / expected.bse.to_numpy() - 1).max())
            print(f"  {kind:8} {of:32} {largest:8.1e}")


def kills(spark, cluster, folder, count):
    """Kill an executor while it reduces, so many times."""
    df = spark.read.parquet(f"{folder}/hard.parquet")
    names = [name for name in df.columns if name != "y"]
    slow = df.mapInArrow(_slowly, df.schema)
    expected, same = klr.spark.moments(df, "y", names).to_bytes(), 0
    for number in range(count):
        before = cluster.executors()

        def kill(number=number, before=before):
            time.sleep(0.5 + 0.1 * number)
            os.kill(before[number % len(before)], signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        same += klr.spark.moments(slow, "y", names).to_bytes() == expected
        thread.join()
        while len(cluster.executors()) < len(before):
            time.sleep(0.1)
    print(f"\n{count} kills of an executor in the middle: identical bits {same} times")


def _slowly(batches):
    import time

    for batch in batches:
        time.sleep(0.2)
        yield batch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    if not has_java():
        sys.exit(NEEDS_JAVA)
    settings = {"spark.executor.memory": "4g", "spark.driver.memory": "2g"}
    with (
        alone(),
        tempfile.TemporaryDirectory() as folder,
        standalone_cluster(folder, memory="5G") as cluster,
        spark_session(cluster.master, settings) as spark,
    ):
        with small_partitions(spark):
            hard(spark, folder)
        errors(spark, folder)
        large(spark, folder, arguments.rows, arguments.runs)
        with small_partitions(spark):
            kills(spark, cluster, folder, arguments.kills)


if __name__ == "__main__":
    main()
