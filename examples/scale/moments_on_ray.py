"""Moments on Ray Data: each block is reduced where it lies, and the moments are added up in the order of the blocks.

python examples/scale/moments_on_ray.py sales price
"""

import sys

import pyarrow
import ray.data

import keras_linreg as klr


def reduce_block(table, target):
    parts = [klr.Moments.from_arrow(table, target, threads=1).to_bytes()] if table.num_rows else []
    return pyarrow.table({"moments": pyarrow.array(parts, pyarrow.binary())})


def moments(rows, target):
    """Return the moments of a Dataset. The order of its blocks fixes every bit."""
    rows.context.execution_options.preserve_order = True
    parts = rows.map_batches(reduce_block, fn_args=(target,), batch_format="pyarrow", batch_size=None)
    return sum(klr.Moments.from_bytes(part["moments"]) for part in parts.iter_rows())


if __name__ == "__main__":
    rows = ray.data.read_parquet(sys.argv[1])  # a folder of files
    print(klr.RegressionReport.from_moments(moments(rows, sys.argv[2])))
