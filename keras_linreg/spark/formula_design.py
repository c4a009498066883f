"""Formulas on a cluster: the driver lets one learn from rows that the workers choose, and plans the design for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from keras_linreg.data.arrow import check_columns
from keras_linreg.data.table_preprocessor import check_no_target
from keras_linreg.formula import Formula
from keras_linreg.formula.categorical import CategoricalFactor
from keras_linreg.formula.expressions import FUNCTIONS, Expression, function_of
from keras_linreg.formula.numeric import LARGEST_PRODUCT, NumericFactor
from keras_linreg.formula.parsing import DOT, parse
from keras_linreg.formula.structure import Structure
from keras_linreg.spark.design_rows import DesignRows, Levels
from keras_linreg.spark.frame import check_numeric, selected
from keras_linreg.spark.learn_rows import LearnPartition
from keras_linreg.spark.partitions import run
from keras_linreg.spark.terms import Program, Term

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

OPERATORS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
WORDS = {"number": "numbers", "text": "text"}


def check_formula(preprocessor: Any) -> None:
    """Refuse anything but a formula.

    Raises:
        ValueError: the preprocessor is a layer or a FeatureSpace, which need TensorFlow.
    """
    if not isinstance(preprocessor, Formula):
        raise ValueError(
            "`preprocessor` must be a klr.Formula: any other would need TensorFlow on each worker. "
            f"Received: {type(preprocessor).__name__}."
        )


def check_columns_of(
    formula: Formula, df: DataFrame, target: Any, weight: str | None, left_out: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Return the columns of a DataFrame that a formula reads, and those of y, () if the formula makes it.

    Args:
        formula: as the user made it, or adapted.
        df: the DataFrame.
        target: the columns of y, if the formula does not make it; else None.
        weight: the column of weights, or None.
        left_out: columns that `.` does not stand for.

    Raises:
        ValueError: a column is not there, or `target` and the formula do not go together.
    """
    check_no_target(formula, target)
    if target is None and formula.response_name is None:
        raise ValueError(f"`target` must name a column of `df`, {df.columns}. Received: none.")
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    weights = [] if weight is None else [weight]
    known = [name for name in df.columns if name not in (*targets, *weights, *left_out)]
    named = list(formula.named_columns) or known
    check_has_named(df, named)
    once = [name for name in df.columns if df.columns.count(name) == 1]
    check_columns("target", targets, once, "df")
    check_columns("weight", weights, [name for name in once if name not in targets], "df")
    check_numeric(df, weights)
    return named, targets


def check_has_named(df: DataFrame, names: Sequence[str]) -> None:
    """Refuse a DataFrame without the columns that a formula names.

    Raises:
        ValueError: it lacks one, or has it twice.
    """
    lacking = [name for name in names if df.columns.count(name) != 1]
    if lacking:
        raise ValueError(
            f"`df` must have each column that the formula names once. Received: {df.columns}, for {lacking}."
        )


def learn(formula: Formula, df: DataFrame, names: Sequence[str], others: Sequence[str], weight: str | None) -> None:
    """Let a formula learn from one pass over a DataFrame, unless it has.

    Each worker chooses rows that hold all levels of its partitions, and the ends of splines whose knots are given. What
    the formula learns of them is what it would learn of all rows. Means and quantiles it cannot learn so.

    Args:
        formula: to learn.
        df: the DataFrame.
        names: of the columns that the formula reads.
        others: the columns of y.
        weight: the column of weights, or None.

    Raises:
        ValueError: the formula has a transform that learns from all rows; or there is no row with all values.
    """
    if formula.is_adapted:
        return
    import pyarrow

    parsed = parse(formula.formula, names)
    codes = [code for term in parsed.terms for code in term]
    expressions = [Expression(code) for code in codes if code != DOT]
    response = [] if parsed.response is None else [Expression(parsed.response)]
    ranges = tuple(_ranges([*expressions, *response]))
    used = list(dict.fromkeys([*names, *others, *([] if weight is None else [weight])]))
    work = LearnPartition(tuple(names), _columns_of_levels(expressions, df, names), weight, ranges)
    messages = run(selected(df, used), used, work)
    tables = [pyarrow.ipc.open_stream(message.data).read_all() for message in messages]
    if not tables:
        raise ValueError("`df` must have a row with all its values. Received: none.")
    formula.adapt(pyarrow.concat_tables(tables))


def _ranges(expressions: Sequence[Expression]) -> Iterator[Term]:
    """Yield the numbers of which transforms learn the smallest and the largest, and nothing else.

    Raises:
        ValueError: a transform learns from all rows.
    """
    for expression in expressions:
        for call in expression.calls():
            factor, spelled = NumericFactor(expression), expression.spelled(call)
            if not factor.transforms[spelled].learns_range_alone:
                raise ValueError(
                    "`preprocessor` must have learned if it has a term that learns from all rows, center, scale, poly, "
                    "or bs without knots=: call `formula.adapt(sample)` with rows in memory, or give bs its knots=. "
                    f"Received: the term {spelled!r} of {expression.name!r}, not adapted."
                )
            yield Term(spelled, expression.columns, _program(call.args[0], factor), factor.advice())


def _columns_of_levels(expressions: Sequence[Expression], df: DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns whose values are levels: text, booleans, and those inside of C()."""
    from pyspark.sql.types import BooleanType, StringType

    kinds = {field.name: field.dataType for field in df.schema.fields}
    found = [name for name in names if isinstance(kinds[name], StringType | BooleanType)]
    found += [one.columns[0] for one in expressions if function_of(one.tree) == "C"]
    return tuple(dict.fromkeys(found))


def design_rows(
    formula: Formula, df: DataFrame, targets: Sequence[str] | None, weight: str | None, missing: str
) -> DesignRows:
    """Return what reads rows on the workers as the design of a formula that has learned.

    Args:
        formula: it has learned.
        df: the DataFrame.
        targets: the columns of y; () if the formula makes it; None if y is not needed.
        weight: the column of weights, or None.
        missing: the rule for rows without a value.

    Raises:
        ValueError: a column is of another kind than the formula knows.
    """
    structure = formula.structure
    plan, response = structure.plan, None if targets is None else structure.response
    assert plan is not None
    numeric = {code: f for code, f in structure.factors.items() if isinstance(f, NumericFactor)}
    _check_kinds(df, structure, [*numeric.values(), *([response] if response else [])], targets or ())
    numbers = list(numeric)
    levels = [
        Levels(factor.column, tuple(factor.levels or ()), _unseen(factor), plan.signs(code)[:-1])  # none is missing
        for code, factor in structure.factors.items()
        if isinstance(factor, CategoricalFactor)
    ]
    return DesignRows(
        names=formula.design_names,
        terms=tuple(_term(factor) for factor in numeric.values()),
        levels=tuple(levels),
        parts=tuple(tuple((numbers.index(code), i) for code, i in part) for part in plan.distinct_parts),
        part_of_column=tuple(plan.part_of_column.tolist()),
        response=None if response is None else _term(response),
        targets=tuple(targets or ()),
        weight=weight,
        missing=missing,
    )


def _unseen(factor: CategoricalFactor) -> int | None:
    """Return the code of the level that new levels are taken for; None if there is none."""
    tree = factor.expression.tree
    for keyword in tree.keywords if isinstance(tree, ast.Call) else ():
        if keyword.arg == "unseen":
            return (factor.levels or []).index(factor.expression.literal(keyword.value))
    return None


def _check_kinds(df: DataFrame, structure: Structure, numeric: Sequence[NumericFactor], targets: Sequence[str]) -> None:
    """Refuse columns that hold something else than the formula, or y, takes.

    Raises:
        ValueError: there is one.
    """
    from pyspark.sql.types import BooleanType, NumericType, StringType

    kinds = {field.name: field.dataType for field in df.schema.fields}
    wanted = {name: "number" for factor in numeric for name in factor.columns} | dict.fromkeys(targets, "number")
    for factor in structure.factors.values():
        if isinstance(factor, CategoricalFactor):
            wanted[factor.column] = "text" if factor.kind == "text" else "number"
    for name, kind in wanted.items():
        if not isinstance(kinds[name], StringType if kind == "text" else NumericType | BooleanType):
            raise ValueError(
                f"Column {name!r} of `df` must hold {WORDS[kind]}. Received: {kinds[name].simpleString()}."
            )


def _term(factor: NumericFactor) -> Term:
    return Term(factor.name, factor.columns, _program(factor.expression.tree, factor), factor.advice())


def _program(node: ast.AST, factor: NumericFactor) -> Program:
    """Return the program of a part of a factor whose transforms have learned."""

    def of(inner: ast.AST) -> Program:
        return _program(inner, factor)

    function, expression = function_of(node), factor.expression
    if isinstance(node, ast.Constant):
        return "number", float(expression.literal(node))
    if isinstance(node, ast.Name) or function == "Q":
        return "column", expression.column_of(node)
    if isinstance(node, ast.UnaryOp):
        return ("negative", of(node.operand)) if isinstance(node.op, ast.USub) else of(node.operand)
    if isinstance(node, ast.BinOp):
        power = node.right.value if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant) else None
        if isinstance(power, int) and 1 <= power <= LARGEST_PRODUCT:
            return "product", of(node.left), power
        return OPERATORS[type(node.op)], of(node.left), of(node.right)
    assert isinstance(node, ast.Call)
    if function == "I":
        return of(node.args[0])
    if function in FUNCTIONS:
        return function, of(node.args[0])
    return "function", of(node.args[0]), factor.transforms[expression.spelled(node)].function
