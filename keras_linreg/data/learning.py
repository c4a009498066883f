"""What a model learns of its first data: the columns or the matrix that it takes, and the names of its design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_linreg.data import preprocessing, preprocessor_columns
from keras_linreg.data.columns import are_beyond_float32, is_text, own_dtype, row_shape
from keras_linreg.data.schema import Column, Schema, default_names
from keras_linreg.data.tables import Table, match
from keras_linreg.utils.types import Data


def learn_inputs(x: Table | Data, preprocessor: Any, feature_names: Sequence[str] | None) -> Schema:
    """Return the inputs of `x` as a schema, without names of the design.

    Args:
        x: a table, a matrix, or the specs of a dataset's columns or matrix.
        preprocessor, feature_names: of the model.
    """
    columns = x.columns if isinstance(x, Table) else dict(x) if isinstance(x, Mapping) else None
    wanted = preprocessor_columns.input_names(preprocessor)
    if wanted is not None:
        if columns is None:
            raise ValueError(
                f"`preprocessor` takes the named columns {list(wanted)}: `x` must be a table or a dict of them. "
                f"Received: {type(x).__name__}."
            )
        columns = match(columns, wanted)
    elif columns is not None and feature_names and (preprocessor is None or set(columns) == set(feature_names)):
        columns = match(columns, feature_names)
    if columns is None:
        return _matrix_schema(x, preprocessor)
    if not columns:
        raise ValueError("`x` must have at least one column. Received: none.")
    declared = preprocessor_columns.input_dtypes(preprocessor)
    if not declared and preprocessor is not None and any(is_text(column) for column in columns.values()):
        declared = {name: own_dtype(column) for name, column in columns.items()}
    elif not declared and all(are_codes(column, preprocessor) for column in columns.values()):
        declared = dict.fromkeys(columns, "int64")
    inputs = tuple(Column(name, declared.get(name, "float32"), row_shape(column)) for name, column in columns.items())
    return Schema(inputs, True, ())


def _matrix_schema(x: Data, preprocessor: Any) -> Schema:
    shape = tuple(getattr(x, "shape", None) or np.shape(x))
    dtype = "string" if is_text(x) else "int64" if are_codes(x, preprocessor) else "float32"
    return Schema((Column("features", dtype, (1,) if len(shape) < 2 else shape[1:]),), False, ())


def are_codes(data: Data, preprocessor: Any) -> bool:
    """Return whether data, or their spec, are integers that the preprocessor would not recognise in float32."""
    if preprocessor is None or own_dtype(data) != "int64":
        return False
    return preprocessing.takes_codes(preprocessor) or are_beyond_float32(data)


def takes_columns(preprocessor: Any, schema: Schema) -> bool:
    """Return whether the preprocessor gets the columns by name, not stacked to one matrix."""
    if preprocessor is None:
        return False
    if preprocessor_columns.input_names(preprocessor) is not None:
        return True
    return schema.named and len({column.dtype for column in schema.inputs}) > 1


def names_of_design(
    schema: Schema, width: int, feature_names: tuple[str, ...] | None, preprocessor: Any
) -> tuple[str, ...]:
    """Return the names of the design's columns: the user's, the preprocessor's, the table's, or x0, x1, ...

    Raises:
        ValueError: the user's names are not as many.
    """
    names = feature_names
    if names is not None and len(names) != width:
        raise ValueError(
            f"`feature_names` must name each of the {width} columns of the design. "
            f"Received: {len(names)} names, {list(names)}."
        )
    if names is None and preprocessor is not None:
        names = preprocessor_columns.output_names(preprocessor, width, schema.names if schema.named else None)
    elif names is None and schema.named:
        names = schema.names
    return names or default_names(width)
