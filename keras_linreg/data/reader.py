"""Reader: from the user's data to the design matrix, in memory and inside a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_linreg.data import batches, graph, preprocessing, preprocessor_columns
from keras_linreg.data import columns as column_kinds
from keras_linreg.data.arrow import row_label_columns
from keras_linreg.data.arrow_source import ArrowSource, is_arrow_source, open_source
from keras_linreg.data.arrow_stream import arrow_stream, learn_from_source, raw_batches
from keras_linreg.data.inputs import Inputs, read_columns, read_matrix
from keras_linreg.data.kinds import is_scipy_sparse, is_stream
from keras_linreg.data.learning import learn_inputs, names_of_design, takes_columns
from keras_linreg.data.missing import MissingMask, check_rule, find, keep_rows, nan_masks
from keras_linreg.data.pairing import check_lengths, check_no_names, common_labels, keep_groups, take_named
from keras_linreg.data.prepared import Prepared, Rows, prepared_rows, target_names
from keras_linreg.data.schema import MATRIX, Schema
from keras_linreg.data.table_preprocessor import (
    TableInputs,
    TablePreprocessor,
    check_no_target,
    forgetting_on_error,
    has_response,
    pick,
)
from keras_linreg.data.table_rows import counting_rows, not_a_table, read_table
from keras_linreg.data.tables import Table, as_table, match
from keras_linreg.data.targets import check_some_weight, check_units, read_targets, read_weights
from keras_linreg.data.values import as_array, read
from keras_linreg.utils.types import Data


class Reader:
    """Turns `x`, `y` and `sample_weight` of every kind into data for Keras's adapters and the train step.

    Args:
        units: how many outputs `y` has; `None` to learn it.
        dtype: the float dtype of matrices that are made of columns.
        feature_names: the user's names for the columns of the design, or `None`.
        preprocessor: a FeatureSpace, layer or model from the user's columns to the design, or `None`.
        schema: the inputs that an earlier `prepare` learned, or `None` before the first.
        missing: "error" to refuse rows without a value, "drop" to leave them out; predictions of them are NaN.
        drops_in_graph: whether a dataset's graph drops such rows; else `Stream.dense` does, and counts them.
    """

    def __init__(
        self,
        units: int | None,
        dtype: str,
        feature_names: Sequence[str] | None = None,
        preprocessor: Any = None,
        schema: Schema | None = None,
        missing: str = "error",
        drops_in_graph: bool = True,
    ):
        self.units = units
        self.dtype = dtype
        self.feature_names = tuple(feature_names) if feature_names else None
        self.preprocessor = preprocessor
        self.schema: Schema | None = schema
        self.missing = check_rule(missing)
        self.drops_in_graph = drops_in_graph

    def prepare(
        self,
        x: Data,
        y: Data = None,
        sample_weight: Data = None,
        targets: bool = True,
        fitting: bool = False,
        groups: Data = None,
        steps: int | None = None,
    ) -> Prepared:
        """Return the data ready for Keras; the first call learns the schema.

        Args:
            x: arrays, a table, a dict of columns, or a stream that holds `y` (and weights) as well.
            y: the targets, `None` for a stream; the name of a column of a table.
            sample_weight: the weight of each row, or `None`; the name of a column of a table.
            targets: whether `y` is needed; predictions do not need it.
            fitting: whether these are all the data of a fit: then some weight must be positive.
            groups: a label for each row; the name of a column of a table.
            steps: how many batches of a stream are read; None: all.

        Raises:
            ValueError: on data that cannot be fitted; it names the argument, the rule and the value received.
        """
        if x is None:
            raise ValueError("`x` is missing: give arrays, a table, a dict of columns or a dataset. Received: x=None.")
        x, y = column_kinds.only_element(x), column_kinds.only_element(y)
        learns = fitting and self.learns
        if self.preprocessor is not None and not learns:
            preprocessing.check_adapted(self.preprocessor)
        check_no_target(self.preprocessor, y)
        if is_arrow_source(x):
            source = open_source(x)
            if learns:
                learn_from_source(self, source, y, sample_weight)
            return self._prepare_source(source, y, sample_weight, targets, groups, steps)
        if is_stream(x):
            for name, part in (("y", y), ("sample_weight", sample_weight)):
                if part is not None:
                    raise ValueError(
                        "`y` and `sample_weight` must be part of `x` where `x` is a stream of batches. "
                        f"Received: x of type {type(x).__name__} and {name} beside it."
                    )
            if learns:
                batches.learn_from_stream(self, x, steps)
            return batches.prepare_stream(self, x, targets, groups, steps)
        if targets and y is None and not has_response(self.preprocessor):
            raise ValueError("`y` is missing: a linear regression needs targets. Received: y=None.")
        with forgetting_on_error(self.preprocessor):
            return self.rows(x, y, sample_weight, fitting, groups=groups, targets=targets)

    def _prepare_source(
        self, source: ArrowSource, y: Data, sample_weight: Data, targets: bool, groups: Data, steps: int | None
    ) -> Prepared:
        """Return the rows of files, or of a reader of record batches, as a stream."""
        if groups is not None:
            raise ValueError(f"`groups` must be left out where `x` are files. Received: {type(groups).__name__}.")
        if source.reads_again:
            return arrow_stream(self, source, y, sample_weight, targets)
        return batches.prepare_stream(self, raw_batches(self, source, y, sample_weight, targets), targets, None, steps)

    def columns_of_model(self) -> tuple[str, ...] | None:
        """Return the names of the columns that the model takes, or None if it takes all that it is first given."""
        if self.schema is not None and self.schema.named:
            return self.schema.names
        return preprocessor_columns.input_names(self.preprocessor) or self.feature_names

    def prepare_packed(
        self, data: Data, argument: str = "validation_data", groups: Data = None, steps: int | None = None
    ) -> Prepared:
        """Return the user's data, a stream or a tuple, ready for Keras; `argument` is their name in errors."""
        if isinstance(data, (tuple, list)) and len(data) == 1 and is_stream(data[0]):
            data = data[0]
        if has_response(self.preprocessor) and not isinstance(data, tuple) and not is_stream(data):
            return self.prepare(data, groups=groups, steps=steps)
        if isinstance(data, (tuple, list)):
            if len(data) not in (2, 3):
                raise ValueError(
                    f"`{argument}` must be (x, y), (x, y, sample_weight) or a stream. Received: {len(data)} elements."
                )
            x, y, sample_weight = (*data, None)[:3]
            return self.prepare(x, y, sample_weight, groups=groups, steps=steps)
        if not is_stream(data):
            raise ValueError(
                f"`{argument}` must be (x, y), (x, y, sample_weight) or a stream. Received: {type(data).__name__}."
            )
        return self.prepare(data, groups=groups, steps=steps)

    def rows(
        self,
        x: Data,
        y: Data = None,
        sample_weight: Data = None,
        fitting: bool = False,
        empty: bool = False,
        groups: Data = None,
        targets: bool = True,
        is_reduced: bool = False,
    ) -> Rows:
        """Return data in memory, checked; a batch of a stream may be `empty`.

        A formula makes y of `x`, for `targets`. Rows that are to be `is_reduced` are not read for NaN, which the
        reduction finds.
        """
        x = x.tocsr() if is_scipy_sparse(x) else x  # SciPy's dok_array is a dict
        table = as_table(x)
        parts = {"y": y, "sample_weight": sample_weight, "groups": groups}
        if table is None:
            check_no_names(x, parts)
        else:
            if not table.columns:
                raise ValueError("`x` must have at least one column. Received: none.")
            wanted = self.columns_of_model() or ()
            table, y, sample_weight, groups = take_named(table, parts, wanted)
            if fitting and self.schema is None:  # record batches come without those that are not asked for
                table = table.without(row_label_columns(getattr(x, "schema", None)) - set(wanted))
        x = table if table is not None else as_array(x, "`x`") if isinstance(x, list | tuple) else x
        labels = common_labels({"x": x, "y": y, "sample_weight": sample_weight, "groups": groups})
        known = () if self.schema is None else self.schema.output_names
        target, outputs = (None, ()) if y is None else read_targets(y, self.units, self.dtype, known)
        weight = read_weights(sample_weight)
        inputs, schema = self._read(x, weight, targets)
        if makes_y := targets and has_response(self.preprocessor):
            outputs = (self.preprocessor.response_name,)
            check_units((inputs.rows, 1), self.units)
        needs_y = makes_y or target is not None
        lengths = {"x": inputs.rows}
        lengths |= {"y": int(target.shape[0])} if target is not None else {}
        lengths |= {"sample_weight": len(weight)} if weight is not None else {}
        check_lengths(lengths, empty)
        found = self._missing(inputs, target, weight, outputs, fitting or is_reduced) if needs_y else None
        if found is not None and self.missing == "error":
            raise found.error(labels)
        kept = None if found is None else ~found.rows
        if kept is not None:
            if fitting and not kept.any():
                raise ValueError(f"`x` must have a row with all its values. Received: {found and found.counts}.")
            inputs, target, weight = inputs.keep(kept), keep_rows(target, kept), keep_rows(weight, kept)
            labels = np.flatnonzero(kept) if labels is None else labels[kept]
            groups = None if groups is None else keep_groups(groups, kept)
        if fitting:
            check_some_weight(weight)
        if self.preprocessor is not None and needs_y:
            inputs.check_no_infinity()
        if isinstance(inputs, TableInputs) and fitting and self.learns:
            counting = counting_rows(inputs, weight)
            self.preprocessor.learn(lambda: [counting])
        if isinstance(inputs, TableInputs) and makes_y:
            target = inputs.target()  # of a left side that learns, too, as center(y)
        design = inputs.design(self.preprocessor)
        self._learn(schema or self._schema_of_inputs(), int(design.shape[-1]), outputs)
        return prepared_rows(
            *(design, target, weight),
            output_names=outputs,
            groups=groups,
            labels=labels,
            kept=kept,
            missing=None if found is None else found.counts,
        )

    def served_inputs(self, x: Data, ignores_others: bool = False) -> dict[str, Any]:
        """Return the inputs of a served graph for `x` in memory, by the names of the schema: columns, or the matrix.

        Args:
            x: as in `predict`.
            ignores_others: whether columns that the schema does not know are ignored.
        """
        schema, x = self.schema, column_kinds.only_element(x)
        if schema is None:
            raise ValueError("The schema must be known: prepare some data first.")
        table = as_table(x)
        x = table if table is not None else as_array(x, "`x`") if isinstance(x, list | tuple) else x
        if isinstance(x, Table) and ignores_others:
            x = Table(pick(x.columns, schema.names), x.labels)
        if schema.named:
            return read_columns(x, schema, frozenset()).columns or {}
        return {schema.names[0]: self._inputs(x, schema).matrix}

    def graph_design(self, x: Any, checks: bool | None = None) -> Any:
        """Return the design of a batch inside a graph: of a dict of tensors `[batch]`, or of one matrix.

        Args:
            x: the dict or the matrix.
            checks: of a formula: whether a term that is not finite ends the graph with an error; None: the graph is of
                a server, which refuses missing categories instead.
        """
        if isinstance(self.preprocessor, TablePreprocessor):
            if not isinstance(x, Mapping):
                raise not_a_table(x)
            return self.preprocessor(x) if checks is None else self.preprocessor.graph_design(x, checks)  # type: ignore
        schema = self.schema or learn_inputs(x, self.preprocessor, self.feature_names)
        names = None
        if isinstance(x, Mapping) and not takes_columns(self.preprocessor, schema):
            names = self.names_to_match(schema, x) or tuple(x)
        x = graph.inputs(x, schema, names, self.dtype, takes_columns(self.preprocessor, schema))
        return x if self.preprocessor is None else preprocessing.apply(self.preprocessor, x)

    def match_columns(self, schema: Schema, specs: Mapping[str, Any]) -> None:
        """Refuse the columns of a dataset if they are not those of the model."""
        match(specs, self.names_to_match(schema, specs) or tuple(specs))

    def learn_width(self, schema: Schema, width: int) -> None:
        """Keep the schema of a stream whose width is known, unless one is known."""
        self._learn(schema, width, ())

    def learn_inputs_of_formula(self) -> None:
        """Keep the schema of a formula that has learned, unless one is known."""
        self._learn(self._schema_of_inputs(), len(self.preprocessor.design_names), ())

    def names_to_match(self, schema: Schema, columns: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the names to match columns by; or None to take them in their order, the first time.

        Raises:
            ValueError: the model knows a matrix without names, and the columns have names.
        """
        if schema.named:
            return schema.names
        if self.preprocessor is None and self.feature_names:
            return self.feature_names
        names = self.feature_names or schema.feature_names
        if set(columns) == set(names) or not names:
            return names or None
        raise ValueError(
            "`x` must be a matrix without names, as the one that the model was built on: names cannot be matched. Pass "
            f"`.to_numpy()` to take columns by position, or build the model with `feature_names`. "
            f"Received columns {list(columns)}."
        )

    @property
    def learns(self) -> bool:
        """Whether the preprocessor waits for the data of a fit, to learn from them."""
        return isinstance(self.preprocessor, TablePreprocessor) and not self.preprocessor.is_adapted

    def _read(
        self, x: Table | Data, weight: np.ndarray | None, targets: bool
    ) -> tuple[Inputs | TableInputs, Schema | None]:
        """Return rows in memory before the preprocessor, and their schema; a formula tells it once it has learned."""
        if isinstance(self.preprocessor, TablePreprocessor):
            return read_table(self.preprocessor, x, weight, targets), None
        schema = self.schema or learn_inputs(x, self.preprocessor, self.feature_names)
        return self._inputs(x, schema), schema

    def _schema_of_inputs(self) -> Schema:
        """Return the inputs of a formula that has learned."""
        return Schema(self.preprocessor.inputs, True, ())

    def _inputs(self, x: Table | Data, schema: Schema) -> Inputs:
        """Return what the preprocessor, or the model, takes of rows in memory."""
        if takes_columns(self.preprocessor, schema):
            x = x if isinstance(x, Table) else read(x, "`x`", text=True).array
            return read_columns(x, schema, preprocessor_columns.text_names(self.preprocessor))
        names = self.names_to_match(schema, x.columns) if isinstance(x, Table) else None
        strings = self.preprocessor is not None or (schema.inputs[0].dtype == "string" and self.schema is not None)
        is_flat = self.preprocessor is None and (self.schema is None or len(schema.inputs[0].shape) < 2)
        is_category = MATRIX not in preprocessor_columns.text_names(self.preprocessor)
        return read_matrix(x, schema, names, self.dtype, strings, is_flat, is_category)

    def _missing(
        self, inputs: Inputs | TableInputs, y: Any, weight: np.ndarray | None, outputs: tuple[str, ...], fitting: bool
    ) -> MissingMask | None:
        """Return the rows without a value; of a fit that refuses them, only if they are known without reading all."""
        own = nan_masks(weight, ["sample_weight"])
        if not has_response(self.preprocessor):  # which counts by the columns that it is made of
            own = nan_masks(y, target_names(outputs, y)) | own
        reads_all = self.missing == "drop" or self.preprocessor is not None or not fitting
        if isinstance(inputs, Inputs) and not (
            reads_all or inputs.masks or any(mask is not None for mask in own.values())
        ):
            return None  # the pass over the rows finds NaN by itself
        return find(inputs.all_masks() | own, weight)

    def _learn(self, schema: Schema, width: int, outputs: tuple[str, ...]) -> None:
        """Keep a schema, with names for the columns of the design, unless one is known."""
        if self.schema is not None:
            return
        names = names_of_design(schema, width, self.feature_names, self.preprocessor)
        outputs = outputs if len(outputs) > 1 else ()
        self.schema = dataclasses.replace(schema, feature_names=names, output_names=outputs)
