"""The text of a formula as its response, its terms and its intercept, by the parser of formulaic."""

from __future__ import annotations

import dataclasses
import keyword
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

DOT = "_every_other_column_"  # stands for the columns of `.` while nobody knows them
COLOURS = re.compile(r"\x1b\[[0-9;]*m|[⧛⧚]")  # of a terminal, in formulaic's messages
STRINGS = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`")
STRINGS_AND_WORDS = re.compile(STRINGS.pattern + r"|([^\W\d]\w*)")


@dataclasses.dataclass(frozen=True, slots=True)
class ParsedFormula:
    """A formula, taken apart.

    Attributes:
        response: the code of the left side, or None.
        terms: the codes of the factors of each term, in the order of the formula, without the intercept.
        has_intercept: whether there is one.
        has_dot: whether `.` stands for all other columns.

    Example:
    >>> parse("log(y) ~ a * b")
    ParsedFormula(response='log(y)', terms=(('a',), ('b',), ('a', 'b')), has_intercept=True, has_dot=False)
    """

    response: str | None
    terms: tuple[tuple[str, ...], ...]
    has_intercept: bool
    has_dot: bool = False


def parse(formula: str, columns: Sequence[str] | None = None) -> ParsedFormula:
    """Return a formula, taken apart.

    Args:
        formula: such as "log(price) ~ area * C(city)", with or without a left side.
        columns: what `.` may stand for; None if nobody knows yet.

    Raises:
        ValueError: it is no formula.
    """
    if not isinstance(formula, str) or not formula.strip():
        raise ValueError(f"`formula` must be text such as 'y ~ a + b'. Received: {formula!r}.")
    if "%in%" in STRINGS.sub("", formula):
        raise _refused(formula, "%in% is not known: write b + b:a, or b / a")
    from formulaic.errors import FormulaicError  # slow to import, and a saved formula does not need it

    words: dict[str, str] = {}  # that Python would spell in another way, as it does the micro sign

    def placeholder(found: re.Match[str]) -> str:
        if found[1] is None or unicodedata.normalize("NFKC", found[1]) == found[1]:
            return found[0]
        return words.setdefault(found[1], f"_word_{len(words)}_")

    def code_of(factor: Any) -> str:
        code = _code(factor)
        for word, stand_in in words.items():
            code = code.replace(stand_in, f"`{word}`")
        return code

    text = STRINGS_AND_WORDS.sub(placeholder, formula)
    context = {"__formulaic_variables_available__": [DOT] if columns is None else list(columns)}
    try:
        parsed = _parser().get_terms(text, context=context)
    except (FormulaicError, SyntaxError, RecursionError) as error:
        reason = COLOURS.sub("", str(error)).partition("\n")[0].rstrip(".") or type(error).__name__
        raise _refused(formula, reason) from None
    left = list(getattr(parsed, "lhs", ()))
    right = list(parsed.rhs if hasattr(parsed, "lhs") else getattr(parsed, "root", parsed))
    terms, has_intercept = [], False
    for term in right:
        literals = [factor.expr for factor in term.factors if _is_literal(factor)]
        if literals and len(literals) < len(term.factors):
            raise _refused(formula, f"the number {literals[0]} in the term {term} scales nothing: write I(2 * x)")
        if literals:
            has_intercept = True
        else:
            terms.append(tuple(code_of(factor) for factor in term.factors))
    has_dot = any(DOT in term for term in terms)
    response = code_of(_response(formula, left)) if left else None
    return ParsedFormula(response, tuple(terms), has_intercept, has_dot)


def _parser() -> Any:
    """Return formulaic's parser; a power yields its terms by degree, as in patsy and R."""
    from formulaic.parser import DefaultFormulaParser, DefaultOperatorResolver
    from formulaic.parser.types import Operator, OrderedSet

    def by_degree(operator: Any) -> Any:
        def to_terms(*arguments: Any) -> Any:
            return OrderedSet(sorted(operator.to_terms(*arguments), key=lambda term: term.degree))

        settings = {name: getattr(operator, name) for name in ("arity", "precedence", "associativity", "fixity")}
        return Operator(operator.symbol, to_terms=to_terms, **settings)

    class Resolver(DefaultOperatorResolver):
        """formulaic's operators, with another power."""

        @property
        def operators(self) -> Any:
            return [by_degree(one) if one.symbol in ("**", "^") else one for one in super().operators]

    return DefaultFormulaParser(operator_resolver=Resolver(), feature_flags={"TWOSIDED"})


def _is_literal(factor: Any) -> bool:
    return factor.eval_method.name == "LITERAL"


def _code(factor: Any) -> str:
    """Return a factor's code; a column is quoted where its name is no word of Python."""
    if factor.eval_method.name == "LOOKUP":
        return quoted(factor.expr)
    return factor.expr


def quoted(column: str) -> str:
    """Return the code of a column: its name, in backquotes where the name is no word of Python."""
    is_word = column.isidentifier() and not keyword.iskeyword(column)
    is_word = is_word and unicodedata.normalize("NFKC", column) == column
    return column if is_word else f"`{column}`" if "`" not in column else f"Q({column!r})"


def _response(formula: str, left: list[Any]) -> Any:
    """Return the one factor of the left side."""
    if len(left) != 1 or len(left[0].factors) != 1 or _is_literal(left[0].factors[0]):
        terms = " + ".join(map(str, left))
        raise _refused(formula, f"the left side must be one column, or one function of it, and is {terms}")
    return left[0].factors[0]


def _refused(formula: str, reason: str) -> ValueError:
    return ValueError(f"`formula` must be a formula such as 'y ~ a * C(b)': {reason}. Received: {formula!r}.")
