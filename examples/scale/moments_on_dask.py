"""Moments on Dask: each file is reduced where it is read, and eight moments at a time are added up.

python examples/scale/moments_on_dask.py "sales/*.parquet" price
"""

import glob
import sys

import dask
import pyarrow.parquet

import keras_linreg as klr


def reduce_file(path, target):
    return klr.Moments.from_arrow(pyarrow.parquet.read_table(path), target, threads=1).to_bytes()


def add(*parts):
    return sum(klr.Moments.from_bytes(part) for part in parts).to_bytes()


def moments(paths, target):
    """Return the moments of Parquet files. The order of the files fixes every bit."""
    level = [dask.delayed(reduce_file)(path, target) for path in paths]
    while len(level) > 1:
        level = [dask.delayed(add)(*level[i : i + 8]) for i in range(0, len(level), 8)]
    return klr.Moments.from_bytes(level[0].compute(scheduler="processes"))  # or that of a cluster's Client


if __name__ == "__main__":
    print(klr.RegressionReport.from_moments(moments(sorted(glob.glob(sys.argv[1])), sys.argv[2])))
