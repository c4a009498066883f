"""A warning of new rows with a category that no row of the fit had."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_linreg.data import Prepared, Rows, preprocessor_columns
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.types import Array, Data
from keras_linreg.utils.warnings import warn_user


def warn_of_unseen_categories(preprocessor: Any, moments: Moments, prepared: Prepared, x: Data) -> None:
    """Warn of rows in memory with a category that the fit has not seen, by its column and value.

    The weight of such a category is 0. So the prediction is the one for the category that the fit left out. Streams are
    not read for it.

    Args:
        preprocessor: of the model.
        moments: of the fit.
        prepared: the new rows.
        x: the new rows as the user gave them.
    """
    if not isinstance(prepared, Rows):
        return
    for position, column in preprocessor_columns.unknown_columns(preprocessor).items():
        if not moments.statistics.constant[position]:
            continue
        rows = np.flatnonzero(np.asarray(prepared.x[:, position]) == 1)
        if rows.size:
            first = rows[0] if prepared.kept is None else np.flatnonzero(prepared.kept)[rows[0]]
            warn_user(
                f"{rows.size} of {prepared.count} rows have a category in {column!r} that no row of the fit had. The "
                f"first is row {first}{_value(x, column, first)}. The fit has no weight for it: the predictions are "
                "those for the category that the fit left out, and the intervals are NaN. To refuse such rows, give "
                "the feature num_oov_indices=0 in the FeatureSpace."
            )


def _value(x: Data, column: str, row: int) -> str:
    """Return the category in a row, as text for a message; nothing if the data do not name the column."""
    try:
        values: Array = np.asarray(x[column]) if isinstance(x, Mapping) or hasattr(x, "columns") else np.array(0)
    except (KeyError, TypeError):
        return ""
    return f", {values[row].item() if isinstance(values[row], np.generic) else values[row]!r}" if values.ndim else ""
