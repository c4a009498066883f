"""The factors of a formula, by the kinds of its columns: what they learn from rows, and the design that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.data.columns import check_same_rows
from keras_linreg.data.graph import FINITE_RULE, LEVELS_RULE, VALUE_RULE
from keras_linreg.data.integers import cast_exactly
from keras_linreg.data.schema import Column
from keras_linreg.data.table_preprocessor import pick
from keras_linreg.data.tables import Table
from keras_linreg.formula.categorical import CategoricalFactor
from keras_linreg.formula.categories import KINDS, kind_of, read_categories
from keras_linreg.formula.design import Plan
from keras_linreg.formula.expressions import Expression, function_of
from keras_linreg.formula.frame import Frame, read_numbers
from keras_linreg.formula.numeric import NumericFactor
from keras_linreg.formula.parsing import ParsedFormula
from keras_linreg.formula.spread import Spread

SPREAD_ROWS = 2**16  # of a table, that tell a column's standard deviation
SERVED_DTYPES = {"text": "string", "boolean": "bool", "integer": "float32", "float": "float32"}


class Structure:
    """The factors of a formula.

    Args:
        parsed: the formula, `.` replaced.
        kinds: of its columns: "text", "boolean", "integer" or "float".
        declared: the columns that are categories, whatever their kind.

    Attributes:
        factors: by their codes.
        response: the left side, or None.
        plan: of the design, once the factors have learned; None before.
    """

    def __init__(self, parsed: ParsedFormula, kinds: Mapping[str, str], declared: Iterable[str] = ()):
        self.parsed, self.kinds, self.declared = parsed, dict(kinds), frozenset(declared)
        self.plan: Plan | None = None
        self._traced: Any = None  # a function of TensorFlow
        self.spread: dict[str, tuple[float, float]] = {}  # mean and deviation, by column of numbers
        codes = dict.fromkeys(code for term in parsed.terms for code in term)
        self.factors = {code: self._factor(Expression(code)) for code in codes}
        self.response = None if parsed.response is None else self._response(Expression(parsed.response))

    def _factor(self, expression: Expression) -> CategoricalFactor | NumericFactor:
        column = expression.columns[0]
        is_level = self.kinds[column] in ("text", "boolean") or column in self.declared
        if expression.is_column() and is_level:
            return CategoricalFactor(expression)
        factor = factor_of(expression)
        for column in expression.columns if isinstance(factor, NumericFactor) else ():
            if self.kinds[column] == "text":
                raise expression.wrong(f"column {column!r} holds text, of which C({column}) makes a factor")
        return factor

    def _response(self, expression: Expression) -> NumericFactor:
        for column in expression.columns:
            if self.kinds.get(column) == "text":
                raise expression.wrong(f"the left side must be numeric, and column {column!r} holds text")
        if function_of(expression.tree) == "C":
            raise expression.wrong("the left side must be numeric")
        response = NumericFactor(expression)
        if response.suffixes != ("",):
            raise expression.wrong("the left side must be one column")
        return response

    # Columns

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that predictions need."""
        return tuple(dict.fromkeys(column for factor in self.factors.values() for column in factor.columns))

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns with the dtypes of a served graph; integers that are levels stay integers."""
        levels = {column for factor in self.factors.values() if factor.is_categorical for column in factor.columns}
        dtypes = {column: SERVED_DTYPES[self.kinds[column]] for column in self.columns}
        whole = {column: "int64" for column in levels if self.kinds[column] == "integer"}
        return tuple(Column(column, (dtypes | whole)[column]) for column in self.columns)

    def _used(self, is_categorical: bool) -> list[str]:
        factors = [factor for factor in self.factors.values() if factor.is_categorical is is_categorical]
        return list(dict.fromkeys(column for factor in factors for column in factor.columns))

    def read(self, table: Table, with_target: bool) -> Frame:
        """Return the rows of a table."""
        response = self.response.columns if self.response is not None and with_target else ()
        columns = pick(table.columns, dict.fromkeys([*self.columns, *response]))
        categories = {
            name: read_categories(columns[name], f"Column {name!r} of `x`") for name in self._used(is_categorical=True)
        }
        numbers = {
            name: read_numbers(columns[name], name)
            for name in dict.fromkeys([*self._used(is_categorical=False), *response])
        }
        check_same_rows(
            {
                name: part if isinstance(part, np.ndarray) else part.codes
                for name, part in (numbers | categories).items()
            }
        )
        return Frame(self, numbers, categories, table.labels)

    # Learning

    def learn(self, batches: Callable[[], Iterable[Frame]]) -> None:
        """Learn levels, means and knots from rows; a transform of a transform takes another pass.

        Raises:
            ValueError: a column has no value, a term is not finite, or there are no columns.
        """
        numeric = [*self._numeric(), *([self.response] if self.response is not None else [])]
        steps: list[list[tuple[NumericFactor, str]]] = [[]]
        for factor in numeric:
            for key, depth in _depths(factor).items():
                steps += [[] for _ in range(depth - len(steps) + 1)]
                steps[depth].append((factor, key))
        for number, step in enumerate(steps):
            learners: list[Any] = [factor.transforms[key] for factor, key in step]
            levels = [factor for factor in self.factors.values() if isinstance(factor, CategoricalFactor)]
            learners += levels if number == 0 else []
            spreads = {name: Spread() for name in self._used(is_categorical=False)} if number == 0 else {}
            for learner in learners:
                learner.start()
            for frame in batches() if learners or spreads else ():
                for name, spread in spreads.items():
                    spread.add(frame.numbers[name][:: frame.rows // SPREAD_ROWS + 1])
                for factor, key in step:
                    if set(factor.columns) <= set(frame.numbers):
                        values = factor.argument(key, frame.tensors(factor.columns))
                        frame.check_finite(values, factor, repr(key))
                        factor.transforms[key].update(values[~np.isnan(values)])
                for level in levels if number == 0 else ():
                    level.update(frame.categories[level.column])
            for learner in learners:
                learner.finish()
            self.spread |= {name: (spread.mean, spread.deviation) for name, spread in spreads.items()}
        self.make_plan()

    def make_plan(self) -> None:
        """Plan the design, of factors that have learned."""
        self._traced = None
        self.plan = Plan(self.parsed.terms, self.factors, self.parsed.has_intercept)
        if not self.plan.names:
            raise ValueError(
                "The formula must make at least one column beside the intercept: klr.RegressionReport.from_moments("
                f"moments.select([])) reports the mean alone. Received: the terms {list(self.parsed.terms)}."
            )

    def tables(self) -> list[Any]:
        """Return the look-up tables of the levels."""
        levels = [factor.table for factor in self.factors.values() if isinstance(factor, CategoricalFactor)]
        return [table for table in levels if table is not None]

    def _numeric(self) -> list[NumericFactor]:
        return [factor for factor in self.factors.values() if isinstance(factor, NumericFactor)]

    def unseen(self, frame: Frame) -> dict[str, tuple[np.ndarray, bool]]:
        """Return the rows of a frame with a level that was not seen, by column, and whether the formula takes them."""
        found: dict[str, tuple[np.ndarray, bool]] = {}
        for factor in self.factors.values():
            if not isinstance(factor, CategoricalFactor):
                continue
            rows = factor.unseen(frame.categories[factor.column])
            if rows is not None and (factor.column not in found or not rows[1]):
                found[factor.column] = rows
        return found

    # The design

    def design(self, frame: Frame) -> Any:
        """Return the design of rows in memory."""
        assert self.plan is not None
        numeric: dict[str, list[Any]] = {}
        codes: dict[str, np.ndarray] = {}
        for code, factor in self.factors.items():
            if isinstance(factor, NumericFactor):
                numeric[code] = frame.evaluate(factor)
            else:
                codes[code] = factor.codes(frame.categories[factor.column], frame.ignored)
        return self.plan.matrix(numeric, codes, frame.rows)

    def graph_design(self, columns: Mapping[str, tf.Tensor], checks: bool, refuses_missing: bool) -> tf.Tensor:
        """Return the design of a batch inside a graph, NaN in rows without a value; traced once for all graphs.

        Args:
            columns: by name.
            checks: whether a number that is not finite, made of finite ones, ends the graph with an error.
            refuses_missing: whether a missing category does.
        """
        columns = {name: _flat(column) for name, column in pick(columns, self.columns).items()}
        if self._traced is None:
            self._traced = tf.function(self._traced_design, autograph=False, reduce_retracing=True)
        return self._traced(columns, checks=checks, refuses_missing=refuses_missing)

    def _traced_design(self, columns: Mapping[str, tf.Tensor], checks: bool, refuses_missing: bool) -> tf.Tensor:
        assert self.plan is not None
        rows = tf.shape(next(iter(columns.values())))[0]
        numbers = {name: self._number(columns[name], name) for name in self._used(is_categorical=False)}
        numeric: dict[str, list[tf.Tensor]] = {}
        codes: dict[str, tf.Tensor] = {}
        bad = tf.zeros((rows,), bool)
        for code, factor in self.factors.items():
            if isinstance(factor, NumericFactor):
                numeric[code] = factor.evaluate(numbers)
                if checks:
                    numeric[code] = [_checked(part, factor, numbers) for part in numeric[code]]
            else:
                found, missing = factor.graph_codes(columns[factor.column])
                safe = _refusing_unseen(found, missing, columns[factor.column], factor.column, refuses_missing)
                codes[code], bad = tf.maximum(safe, 0), bad | missing
        design = self.plan.graph_matrix(numeric, codes, rows)
        if codes:
            design = tf.where(bad[:, None], tf.constant(np.nan, tf.float64), design)
        return tf.ensure_shape(design, (None, len(self.plan.names)))

    def graph_target(self, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the response of a batch inside a graph, `[batch, 1]`."""
        assert self.response is not None
        picked = pick(columns, self.response.columns)
        numbers = {name: self._number(_flat(column), name) for name, column in picked.items()}
        (part,) = self.response.evaluate(numbers)
        return _checked(part, self.response, numbers)[:, None]

    def _number(self, column: tf.Tensor, name: str) -> tf.Tensor:
        if column.dtype == tf.string:
            raise ValueError(f"Column {name!r} of `x` must be numeric. Received: strings.")
        return cast_exactly(column, "float64", f"Column {name!r} of `x`")


def factor_of(expression: Expression) -> CategoricalFactor | NumericFactor:
    """Return the factor that code makes of columns of numbers: C() makes levels of them."""
    is_call_of_c = function_of(expression.tree) == "C"
    return CategoricalFactor(expression) if is_call_of_c else NumericFactor(expression)


def kinds_of(table: Table, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the kinds of columns, and which of them are categories named by numbers or text."""
    kinds, declared = {}, []
    for name, column in pick(table.columns, names).items():
        kind = kind_of(column)
        if kind == "category":
            declared.append(name)
            kind = KINDS[read_categories(column, f"Column {name!r} of `x`").values.dtype.kind]
        kinds[name] = kind
    return kinds, declared


def _depths(factor: NumericFactor) -> dict[str, int]:
    """Return for each transform of a factor how many transforms are inside of each other within it."""
    depths: dict[str, int] = {}
    for call in factor.expression.calls():
        inner = [factor.expression.spelled(other) for other in factor.expression.calls(call.args[0])]
        depths[factor.expression.spelled(call)] = max((depths[key] + 1 for key in inner), default=0)
    return depths


def _flat(column: tf.Tensor) -> tf.Tensor:
    """Return a column `[batch]` of `[batch]` or `[batch, 1]`."""
    return tf.reshape(column, [-1]) if column.shape.rank != 1 else column


def _checked(part: tf.Tensor, factor: NumericFactor, numbers: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Return a column of a factor; NaN or infinity in a row whose columns are finite ends the graph with an error."""
    bad = ~tf.math.is_finite(part)
    for column in factor.columns:
        bad &= tf.math.is_finite(numbers[column])
    rule = f"The term {factor.name!r} {FINITE_RULE} Received: it is not, for the values"
    values = [tf.boolean_mask(numbers[column], bad)[:1] for column in factor.columns]
    with tf.control_dependencies([_assert(~tf.reduce_any(bad), rule, *values)]):
        return tf.identity(part)


def _refusing_unseen(
    codes: tf.Tensor, missing: tf.Tensor, values: tf.Tensor, column: str, refuses_missing: bool
) -> tf.Tensor:
    """Return codes; a level that was not seen ends the graph with an error, and so may a missing one."""
    unseen = (codes < 0) & ~missing
    rule = f"Column {column!r} of `x` {LEVELS_RULE} Received:"
    checks = [_assert(~tf.reduce_any(unseen), rule, tf.boolean_mask(values, unseen)[:3])]
    if refuses_missing:
        rule = f"Column {column!r} of `x` {VALUE_RULE} Received: rows without one:"
        checks.append(_assert(~tf.reduce_any(missing), rule, tf.where(missing)[:3, 0]))
    with tf.control_dependencies(checks):
        return tf.identity(codes)


def _assert(condition: tf.Tensor, rule: str, *received: tf.Tensor) -> tf.Operation:
    """Return an operation that fails with a message; `tf.debugging.Assert` adds a branch, which is slower."""
    return tf.raw_ops.Assert(condition=condition, data=[tf.constant(rule), *received], summarize=3)
