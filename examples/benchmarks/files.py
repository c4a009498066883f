"""What moments and fits of Parquet files cost, beside pyarrow that decodes the same columns and does nothing.

    python examples/benchmarks/files.py                    20,000,000 rows of 20 columns: 1.6 GB of disk, some minutes
    python examples/benchmarks/files.py --rows 2000000     fewer rows
    python examples/benchmarks/files.py --only from_arrow polars --repeats 9

Each contestant runs in a process of its own, in turns. Prints the median CPU seconds (of all threads), wall seconds,
the ratios to decoding, the peak memory above that of the bare process, and the digits of the coefficients. polars,
duckdb and scikit-learn-intelex take part where they are installed: they add up sums of products, which a solution
begins with. polars does it in the float32 of the columns, which leaves no digit, and in float64, as duckdb.
"""

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

COLUMNS = 20
GROUP = 250_000  # rows of a row group
OFFSET = 1000.0  # of each column: sums of squares lose digits by it
NAMES = [f"x{i}" for i in range(COLUMNS)]
CONTESTANTS = (
    "decode",
    "from_arrow",
    "fit",
    "decode and write",
    "predict_to",
    "polars",
    "polars float64",
    "duckdb",
    "intelex",
)
BESIDE = {"predict_to": "decode and write"}


def rows_of(number: int, rows: int) -> dict[str, np.ndarray]:
    """Return a row group: columns far from zero, and y with noise."""
    rng = np.random.default_rng(number)
    x = rng.normal(OFFSET, 1.0, (rows, COLUMNS)).astype("float32")
    y = (x - OFFSET) @ kernel() + rng.normal(size=rows)
    return {**{name: x[:, i] for i, name in enumerate(NAMES)}, "y": y.astype("float32")}


def kernel() -> np.ndarray:
    return np.random.default_rng(99).normal(size=COLUMNS)


def write(path: Path, rows: int) -> None:
    writer = None
    for number, start in enumerate(range(0, rows, GROUP)):
        table = pa.table(rows_of(number, min(GROUP, rows - start)))
        writer = writer or pa.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=GROUP)
    assert writer is not None
    writer.close()


# Contestants: each returns its coefficients, or None


def decode(path: Path):
    for _ in pa.dataset.dataset(path).to_batches():
        pass


def from_arrow(path: Path):
    import keras_linreg as klr

    return klr.Moments.from_arrow(pa.dataset.dataset(path), "y").solve().kernel[:, 0]


def fit(path: Path):
    import keras_linreg as klr

    model = klr.ExactLinearRegression()
    model.fit(path, target="y", verbose=0)
    return model.kernel.numpy()[:, 0]


def decode_and_write(path: Path):
    data = pa.dataset.dataset(path)
    schema = pa.schema([("row", pa.int64()), *((f"c{i}", pa.float64()) for i in range(7))])
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file, pa.parquet.ParquetWriter(file.name, schema) as writer:
        for batch in data.to_batches():
            numbers = pa.array(np.random.default_rng(0).normal(size=batch.num_rows))
            arrays = [pa.array(np.arange(batch.num_rows)), *[numbers] * 7]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def predict_to(path: Path):
    import keras_linreg as klr

    first = pa.parquet.ParquetFile(path).read_row_group(0).slice(0, 100_000)
    model = klr.ExactLinearRegression(feature_names=NAMES)
    model.fit(first.select(NAMES), first.column("y"), verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.predict_to(path, Path(folder) / "out.parquet", interval=True)


def polars(path: Path, is_double: bool = False):
    import polars as pl

    names = [*NAMES, "y"]
    columns = {name: pl.col(name).cast(pl.Float64) if is_double else pl.col(name) for name in names}
    sums = [(columns[a] * columns[b]).sum().alias(f"{a} {b}") for i, a in enumerate(names) for b in names[i:]]
    totals = [columns[a].sum().alias(a) for a in names]
    found = (
        pl.scan_parquet(path).select(pl.len().alias("n"), *totals, *sums).collect(engine="streaming").row(0, named=True)
    )
    return of_sums(found, names)


def polars_double(path: Path):
    return polars(path, is_double=True)


def duckdb(path: Path):
    import duckdb as db

    names = [*NAMES, "y"]
    sums = [f'sum({a}::double * {b}::double) as "{a} {b}"' for i, a in enumerate(names) for b in names[i:]]
    totals = [f"sum({a}::double) as {a}" for a in names]
    row = db.sql(f"select count(*) as n, {', '.join([*totals, *sums])} from '{path}'").fetchdf().iloc[0]
    return of_sums(row.to_dict(), names)


def of_sums(found: dict, names: list[str]) -> np.ndarray:
    n, mean = found["n"], np.array([found[a] for a in names]) / found["n"]
    cross = np.zeros((len(names), len(names)))
    for i, a in enumerate(names):
        for j, b in enumerate(names[i:], i):
            cross[i, j] = cross[j, i] = found[f"{a} {b}"] / n - mean[i] * mean[j]
    return np.linalg.solve(cross[:-1, :-1], cross[:-1, -1])


def intelex(path: Path):
    from sklearnex.linear_model import IncrementalLinearRegression

    model = IncrementalLinearRegression()
    for batch in pa.dataset.dataset(path).to_batches():
        x = np.column_stack([batch.column(name).to_numpy() for name in NAMES])
        model.partial_fit(x, batch.column("y").to_numpy())
    return model.coef_


FUNCTIONS = {
    "decode": decode,
    "from_arrow": from_arrow,
    "fit": fit,
    "decode and write": decode_and_write,
    "predict_to": predict_to,
    "polars": polars,
    "polars float64": polars_double,
    "duckdb": duckdb,
    "intelex": intelex,
}
MODULES = {"polars": "polars", "polars float64": "polars", "duckdb": "duckdb", "intelex": "sklearnex"}


def run(name: str, path: Path) -> None:
    """Run one contestant on few rows, so that imports are done, then on all; print what that took."""
    small = path.with_name("small.parquet")
    FUNCTIONS[name](small)
    usage, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    coefficients = FUNCTIONS[name](path)
    seconds, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "cpu": after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime,
        "wall": seconds,
        "memory": (after.ru_maxrss - usage.ru_maxrss) / 1024,
        "coefficients": None if coefficients is None else np.asarray(coefficients, float).tolist(),
    }
    print("RESULT" + json.dumps(result))


def digits(coefficients: list[float] | None, exact: list[float]) -> str:
    """Return how many digits agree with those of numbers that are centred before they are multiplied."""
    if coefficients is None:
        return "-"
    off = np.abs(np.array(coefficients) / np.array(exact) - 1).max()
    return f"{min(16.0, -np.log10(max(off, 1e-16))):.1f}"


def exact_solution(path: Path) -> list[float]:
    """Return the coefficients, by cross-products of centred columns; they are added up and solved in long doubles."""
    total = np.zeros((COLUMNS + 2, COLUMNS + 2), np.longdouble)
    for batch in pa.dataset.dataset(path).to_batches(batch_size=2**13):
        x = np.column_stack([batch.column(name).to_numpy() for name in NAMES]).astype(np.float64) - OFFSET
        block = np.column_stack([np.ones(len(x)), x, batch.column("y").to_numpy().astype(np.float64)])
        total += block.T @ block
    for i in range(COLUMNS + 1):  # elimination
        for j in range(COLUMNS + 1):
            if j != i:
                total[j] -= total[i] * (total[j, i] / total[i, i])
    return [float(total[i, -1] / total[i, i]) for i in range(1, COLUMNS + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="contestants beside decoding; all, where none is named")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run, options.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write(path, options.rows)
        write(path.with_name("small.parquet"), 1000)
        there = [n for n in CONTESTANTS if n not in MODULES or importlib.util.find_spec(MODULES[n])]
        wanted = {"decode", *options.only, *(BESIDE[name] for name in options.only if name in BESIDE)}
        there = [name for name in there if not options.only or name in wanted]
        results: dict[str, list[dict]] = {name: [] for name in there}
        for turn in range(options.repeats):
            for name in there if turn % 2 else reversed(there):
                command = [sys.executable, __file__, "--run", name, "--path", str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if "RESULT" not in done.stdout:
                    sys.exit(f"{name} failed:\n{done.stderr}")
                results[name].append(json.loads(done.stdout.partition("RESULT")[2]))
        exact = exact_solution(path)
    print(f"{options.rows:,} rows x {COLUMNS}, float32, Parquet; medians of {options.repeats}")
    print(f"{'':18s}{'CPU s':>8s}{'wall s':>8s}{'times':>7s}{'wall x':>8s}{'MB more':>9s}{'digits':>8s}")
    medians = {
        n: {k: statistics.median(r[k] for r in found) for k in ("cpu", "wall", "memory")}
        for n, found in results.items()
    }
    for name, found in medians.items():
        beside = medians[BESIDE.get(name, "decode")]
        right = digits(results[name][0]["coefficients"], exact)
        print(
            f"{name:18s}{found['cpu']:8.2f}{found['wall']:8.2f}{found['cpu'] / beside['cpu']:7.2f}"
            f"{found['wall'] / beside['wall']:8.2f}{found['memory']:9.0f}{right:>8s}"
        )


if __name__ == "__main__":
    main()
