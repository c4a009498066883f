"""Moments on Ray Data: each file is reduced by a task of its own, and bytes come back.

python examples/scale/moments_on_ray.py "sales/*.parquet" price
"""

import glob
import sys

import pyarrow as pa
import pyarrow.parquet
import ray

import keras_linreg as klr


def moments(paths, target):
    """Return the moments of Parquet files. The order of the files fixes every bit."""

    def reduce_files(table):
        paths, orders = table["path"].to_pylist(), table["order"]
        tables = (pyarrow.parquet.read_table(path) for path in paths)
        return pa.table({"order": orders, "moments": [klr.Moments.from_arrow(t, target).to_bytes() for t in tables]})

    files = ray.data.from_arrow(pa.table({"order": range(len(paths)), "path": paths})).repartition(len(paths))
    rows = files.map_batches(reduce_files, batch_format="pyarrow", batch_size=1).take_all()
    return sum(klr.Moments.from_bytes(row["moments"]) for row in sorted(rows, key=lambda row: row["order"]))


if __name__ == "__main__":
    print(klr.RegressionReport.from_moments(moments(sorted(glob.glob(sys.argv[1])), sys.argv[2])))
