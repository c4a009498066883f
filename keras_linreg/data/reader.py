"""Reader: from the user's data to the design matrix, in memory and inside a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.data import arrays, batches, preprocessing
from keras_linreg.data import columns as column_kinds
from keras_linreg.data.kinds import is_dense_tensor, is_tensor
from keras_linreg.data.prepared import Prepared, is_stream
from keras_linreg.data.schema import Column, Schema, default_names
from keras_linreg.utils.lazy import LazyModule
from keras_linreg.utils.types import Batch, Data

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = LazyModule("tensorflow")


class Reader:
    """Turns `x`, `y` and `sample_weight` of every kind into data for Keras's adapters and the train step.

    Args:
        units: how many outputs `y` has; `None` to learn it.
        dtype: the float dtype of matrices that are made of columns.
        feature_names: the user's names for the columns of the design, or `None`.
        preprocessor: a FeatureSpace, layer or model from the user's columns to the design, or `None`.
        schema: the inputs that an earlier `prepare` learned, or `None` before the first.
    """

    def __init__(
        self,
        units: int | None,
        dtype: str,
        feature_names: Sequence[str] | None = None,
        preprocessor: Any = None,
        schema: Schema | None = None,
    ):
        self.units = units
        self.dtype = dtype
        self.feature_names = tuple(feature_names) if feature_names else None
        self.preprocessor = preprocessor
        self.schema: Schema | None = schema

    def prepare(
        self, x: Data, y: Data = None, sample_weight: Data = None, targets: bool = True, fitting: bool = False
    ) -> Prepared:
        """Return the data ready for Keras; the first call learns the schema.

        Args:
            x: arrays, a frame, a dict of columns, or a stream that holds `y` (and weights) as well.
            y: the targets, `None` for a stream.
            sample_weight: the weight of each row, or `None`.
            targets: whether `y` is needed; predictions do not need it.
            fitting: whether these are all the data of a fit: then some weight must be positive.

        Raises:
            ValueError: on data that cannot be fitted; it names the argument, the rule and the value received.
        """
        if x is None:
            raise ValueError("`x` is missing: give arrays, a frame, a dict of columns or a dataset. Received: x=None.")
        x, y = column_kinds.only_element(x), column_kinds.only_element(y)
        if isinstance(x, (list, tuple)):
            x = arrays.to_array(x, "`x`", strings=self.preprocessor is not None)
        if self.preprocessor is not None:
            preprocessing.check_adapted(self.preprocessor)
        if is_stream(x):
            if y is not None or sample_weight is not None:
                raise ValueError(
                    "`y` and `sample_weight` must be part of `x` where `x` is a stream of batches. "
                    f"Received: x of type {type(x).__name__} and {'y' if y is not None else 'sample_weight'} beside it."
                )
            return batches.prepare_stream(self, x, targets)
        if targets and y is None:
            raise ValueError("`y` is missing: a linear regression needs targets. Received: y=None.")
        x, y, sample_weight = self.rows(x, y, sample_weight, fitting=fitting)
        return Prepared(x, y, sample_weight, lambda: iter([(None, x, y, sample_weight)]))

    def prepare_packed(self, data: Data, argument: str = "validation_data") -> Prepared:
        """Return the user's data, a stream or a tuple, ready for Keras; `argument` is their name in errors."""
        if isinstance(data, (tuple, list)) and len(data) == 1 and is_stream(data[0]):
            data = data[0]
        if isinstance(data, (tuple, list)):
            if len(data) not in (2, 3):
                raise ValueError(
                    f"`{argument}` must be (x, y), (x, y, sample_weight) or a stream. Received: {len(data)} elements."
                )
            return self.prepare(*data)
        if not is_stream(data):
            raise ValueError(
                f"`{argument}` must be (x, y), (x, y, sample_weight) or a stream. Received: {type(data).__name__}."
            )
        return self.prepare(data)

    def rows(
        self, x: Data, y: Data = None, sample_weight: Data = None, fitting: bool = False, empty: bool = False
    ) -> Batch:
        """Return `(design, y, sample_weight)` of data in memory, checked; a batch of a stream may be empty."""
        y = None if y is None else arrays.targets(y, self.units, self.dtype)
        sample_weight = arrays.weights(sample_weight, fitting)
        design = self.design(x, finite=y is not None)
        arrays.check_lengths(design, y, sample_weight, empty)
        return design, y, sample_weight

    def design(self, x: Data, finite: bool = False) -> Any:
        """Return the design matrix of `x` in memory: `(n, p)`, an array or a (sparse) tensor.

        For training, the input of a preprocessor must be `finite`: in a bin or a code the loss would not see a NaN.
        """
        schema = self.schema or self.inputs_of(x)
        columns = arrays.named_columns(x)
        if self._takes_columns(schema):
            raw = self._raw_columns(x, columns, schema)
            if finite:
                for name, column in raw.items():
                    column_kinds.check_finite(column, [name])
            design = preprocessing.apply(self.preprocessor, raw)
        else:
            matrix = self._matrix(x, columns, schema)
            if self.preprocessor is not None and finite:
                column_kinds.check_finite(matrix, schema.names if schema.named else default_names(matrix.shape[-1]))
            design = (
                matrix
                if self.preprocessor is None
                else preprocessing.apply(self.preprocessor, column_kinds.as_tensor(matrix))
            )
        self.learn(schema, design.shape[-1])
        return design

    def inputs(self, x: Data) -> dict[str, Any]:
        """Return the inputs of a served graph for `x` in memory, by the names of the schema: columns, or the matrix."""
        schema, x = self.schema, column_kinds.only_element(x)
        if schema is None:
            raise ValueError("The schema must be known: prepare some data first.")
        columns = arrays.named_columns(x)
        if schema.named:
            return self._raw_columns(x, columns, schema)
        return {schema.names[0]: self._matrix(x, columns, schema)}

    def graph_design(self, x: Any) -> Any:
        """Return the design of a batch inside a graph: of a dict of tensors `[batch]`, or of one matrix."""
        schema = self.schema or self.inputs_of(x)
        if self._takes_columns(schema):
            columns = arrays.match(x, schema.names) if isinstance(x, Mapping) else column_kinds.by_position(x, schema)
            x = {c.name: column_kinds.as_declared(columns[c.name], c.dtype) for c in schema.inputs}
        elif isinstance(x, Mapping):
            columns = arrays.match(x, self.names_to_match(schema, x) or tuple(x))
            for name, column in columns.items():
                if column.shape.rank not in (None, 1) and tuple(column.shape[1:]) != (1,):
                    raise ValueError(
                        f"Column {name!r} of `x` must be of shape (batch,) or (batch, 1). Received: {column.shape}."
                    )
            dtype = "float64" if all(c.dtype == tf.float64 for c in columns.values()) else self.dtype
            dtype = dtype if schema.inputs[0].dtype == "float32" else schema.inputs[0].dtype
            flat = [c if c.shape.rank == 1 else tf.reshape(c, [-1]) for c in columns.values()]
            if len({c.dtype for c in flat}) > 1:
                flat = [tf.cast(c, dtype) for c in flat]
            x = tf.transpose(tf.cast(tf.stack(flat), dtype))  # faster than to interleave them
        elif x.shape.rank == 1:
            x = tf.expand_dims(x, -1)
        if not isinstance(x, Mapping):
            column_kinds.check_width(x.shape, schema)
        return x if self.preprocessor is None else preprocessing.apply(self.preprocessor, x)

    # The schema

    def inputs_of(self, x: Data) -> Schema:
        """Return the inputs of `x` (data, or the specs of a dataset) as a schema, without names of the design."""
        columns = arrays.named_columns(x)
        wanted = preprocessing.input_names(self.preprocessor)
        if wanted is not None:
            if columns is None:
                raise ValueError(
                    f"`preprocessor` takes the named columns {list(wanted)}: `x` must be a frame or a dict of them. "
                    f"Received: {type(x).__name__}."
                )
            columns = arrays.match(columns, wanted)
        elif (
            columns is not None
            and self.feature_names
            and (self.preprocessor is None or set(columns) == set(self.feature_names))
        ):
            columns = arrays.match(columns, self.feature_names)
        if columns is None:
            shape = tuple(getattr(x, "shape", None) or np.shape(x))
            dtype = "string" if column_kinds.is_text(x) else "int64" if self._are_codes(x) else "float32"
            return Schema((Column("features", dtype, (1,) if len(shape) == 1 else shape[1:]),), False, ())
        if not columns:
            raise ValueError("`x` must have at least one column. Received: none.")
        declared = preprocessing.input_dtypes(self.preprocessor)
        if (
            not declared
            and self.preprocessor is not None
            and any(column_kinds.is_text(column) for column in columns.values())
        ):
            declared = {name: column_kinds.own_dtype(column) for name, column in columns.items()}
        elif not declared and all(self._are_codes(column) for column in columns.values()):
            declared = dict.fromkeys(columns, "int64")
        inputs = tuple(
            Column(name, declared.get(name, "float32"), column_kinds.row_shape(column))
            for name, column in columns.items()
        )
        return Schema(inputs, True, ())

    def learn(self, schema: Schema, width: int) -> None:
        """Keep a schema, with names for the columns of the design, unless one is known."""
        if self.schema is not None:
            return
        names = self.feature_names
        if names is not None and len(names) != width:
            raise ValueError(
                f"`feature_names` must name each of the {width} columns of the design. "
                f"Received: {len(names)} names, {list(names)}."
            )
        if names is None and self.preprocessor is not None:
            names = preprocessing.output_names(self.preprocessor, width, schema.names if schema.named else None)
        elif names is None and schema.named:
            names = schema.names
        self.schema = dataclasses.replace(schema, feature_names=names or default_names(width))

    def names_to_match(self, schema: Schema, columns: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the names to match columns by, or None to take them in their order: a nameless matrix has none."""
        if schema.named:
            return schema.names
        if self.preprocessor is None and self.feature_names:
            return self.feature_names
        names = self.feature_names or schema.feature_names
        return names if set(columns) == set(names) else None

    def _are_codes(self, data: Data) -> bool:
        """Return whether data, or their spec, are integers that the preprocessor would not recognise in float32."""
        if self.preprocessor is None or column_kinds.own_dtype(data) != "int64":
            return False
        return preprocessing.takes_codes(self.preprocessor) or column_kinds.are_beyond_float32(data)

    def _takes_columns(self, schema: Schema) -> bool:
        """Return whether the preprocessor gets the columns by name, not stacked to one matrix."""
        if self.preprocessor is None:
            return False
        if preprocessing.input_names(self.preprocessor) is not None:
            return True
        return schema.named and len({column.dtype for column in schema.inputs}) > 1

    def _raw_columns(self, x: Data, columns: Mapping[str, Any] | None, schema: Schema) -> dict[str, tf.Tensor]:
        """Return the columns of `x` as tensors: by name, or for a matrix by position."""
        columns = column_kinds.by_position(x, schema) if columns is None else arrays.match(columns, schema.names)
        raw = {}
        for column in schema.inputs:
            array = arrays.to_array(
                columns[column.name], f"Column {column.name!r} of `x`", strings=column.dtype == "string"
            )
            if column.dtype == "string" and not column_kinds.is_text(array):
                array = np.asarray(array).astype(str).astype(object)  # codes that the preprocessor takes as text
            if column.dtype == "int64":
                column_kinds.check_whole(array, column.name)
            if not len(array.shape):
                raise ValueError(f"Column {column.name!r} of `x` must have a value for each row. Received: a scalar.")
            raw[column.name] = column_kinds.as_declared(tf.convert_to_tensor(array), column.dtype)
        lengths = {name: int(tensor.shape[0]) for name, tensor in raw.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"The columns of `x` must have the same number of rows. Received: {lengths}.")
        return raw

    def _matrix(self, x: Data, columns: Mapping[str, Any] | None, schema: Schema) -> Any:
        """Return the one matrix that the model takes, of `x` or of its columns."""
        if columns is not None and (names := self.names_to_match(schema, columns)):
            columns = arrays.match(columns, names)
        strings, codes = (schema.inputs[0].dtype == kind for kind in ("string", "int64"))
        if columns is not None and strings:
            x = np.column_stack([arrays.to_array(c, f"Column {n!r} of `x`", True) for n, c in columns.items()])
        elif columns is not None:
            x = arrays.stack(columns, "int64" if codes else self.dtype)
        matrix = self._checked_matrix(
            x, self.preprocessor is not None or (strings and self.schema is not None), len(schema.inputs[0].shape)
        )
        column_kinds.check_width(matrix.shape, schema)
        return column_kinds.as_codes(matrix, schema.names[0]) if codes else matrix

    def _checked_matrix(self, x: Data, strings: bool, rank: int) -> Any:
        array = arrays.to_array(x, "`x`", strings)
        if len(array.shape) == 0:
            raise ValueError("`x` must have one row for each observation. Received: a scalar.")
        if len(array.shape) == 1:
            return tf.expand_dims(array, -1) if is_tensor(array) else array.reshape(-1, 1)
        is_matrix = self.preprocessor is None and (self.schema is None or rank < 2)
        if 0 in array.shape[1:] or (len(array.shape) > 2 and is_matrix):
            raise ValueError(
                f"`x` must be of shape (n,) or (n, p), with at least one column. Received: shape {tuple(array.shape)}."
            )
        names = self.schema.feature_names if self.schema else self.feature_names
        if is_dense_tensor(array) and array.dtype.is_integer and tf.executing_eagerly():
            array = array.numpy()
        if preprocessing.takes_codes(self.preprocessor) or (self.schema and self.schema.inputs[0].dtype == "int64"):
            return array  # codes are not rounded
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.ndim == 2:
            for i in range(array.shape[1]):
                name = names[i] if names and len(names) == array.shape[1] else f"x{i}"
                arrays.warn_of_rounding(array[:, i], name, self.dtype)
        return array
