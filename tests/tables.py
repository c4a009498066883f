"""One table as every library holds it, for tests of what is taken by name."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

# From a pandas frame of numbers, without missing values, to the same table of each kind.
TABLES = {
    "pandas": lambda frame: frame,
    "pandas, nullable": lambda frame: frame.convert_dtypes(),
    "pandas, on Arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "pandas, labels of numbers": lambda frame: frame,
    "polars": lambda frame: pl.DataFrame(arrays(frame)),
    "pyarrow": lambda frame: pa.table(arrays(frame)),
    "record batch": lambda frame: pa.record_batch(arrays(frame)),
    "chunked pyarrow": lambda frame: pa.concat_tables([pa.table(arrays(frame[:5])), pa.table(arrays(frame[5:]))]),
    "duckdb": lambda frame: duckdb.from_arrow(pa.table(arrays(frame))),
    "dict of arrays": lambda frame: arrays(frame),
    "dict of lists": lambda frame: {str(name): frame[name].tolist() for name in frame},
    "dict of polars columns": lambda frame: {str(name): pl.Series(frame[name].to_numpy()) for name in frame},
}


def arrays(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the columns of a frame by name."""
    return {str(name): frame[name].to_numpy() for name in frame}
