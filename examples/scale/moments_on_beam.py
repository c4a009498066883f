"""Moments on Apache Beam: a CombineFn whose accumulator is the bytes of moments.

    python examples/scale/moments_on_beam.py "sales/*.parquet" price

Beam adds up in an order of its own: the last bits may differ from run to run.
"""

import sys

import apache_beam as beam

import keras_linreg as klr


class AddMoments(beam.CombineFn):
    """Adds up Arrow tables."""

    def __init__(self, target):
        self.target = target

    def create_accumulator(self):
        return b""

    def add_input(self, total, table):
        if not table.num_rows:
            return total
        return self.merge_accumulators([total, klr.Moments.from_arrow(table, self.target, threads=1).to_bytes()])

    def merge_accumulators(self, parts):
        parts = [klr.Moments.from_bytes(part) for part in parts if part]
        return sum(parts).to_bytes() if parts else b""

    def extract_output(self, total):
        return total


def moments_of(pattern, target):
    """Return a transform from the start of a pipeline to the bytes of the moments of Parquet files."""
    return beam.io.ReadFromParquetBatched(pattern) | beam.CombineGlobally(AddMoments(target))


if __name__ == "__main__":
    with beam.Pipeline() as pipeline:
        report = moments_of(*sys.argv[1:3]) | beam.Map(
            lambda b: klr.RegressionReport.from_moments(klr.Moments.from_bytes(b))
        )
        pipeline | report | beam.Map(print)
