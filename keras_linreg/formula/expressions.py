"""The code of one factor: what it may say, the columns that it needs, and its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

FUNCTIONS = ("log", "log1p", "log10", "exp", "sqrt", "abs")
TRANSFORMS = ("center", "scale", "standardize", "bs", "poly")  # they learn from the data
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
GRAMMAR = (
    "a term may hold names of columns, `quoted names`, Q('quoted names'), numbers, + - * / ** inside I(), C(column, "
    "Treatment('level') or Sum, unseen='level'), bs(x, df=, knots=, degree=, include_intercept=, lower_bound=, "
    "upper_bound=, extrapolate=), poly(x, degree), center(x), scale(x), standardize(x), "
    + ", ".join(f"{name}(x)" for name in FUNCTIONS)
    + " and their np. spellings"
)
LITERALS_AND_QUOTES = re.compile(r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|`([^`]*)`")


class Expression:
    """The code of one factor of a term, checked.

    Args:
        code: such as "log(area)", "C(city)" or "`living area`".

    Attributes:
        name: the code as `ast.unparse` spells it; of a quoted name alone, the name.
        tree: its syntax tree.
        columns: the names of the columns that it needs.

    Raises:
        ValueError: the code is not in the grammar; the error names it, and lists the grammar.

    Example:
    >>> expression = Expression("I(a**2+`b c`)")
    >>> expression.name, expression.columns
    ('I(a ** 2 + `b c`)', ('a', 'b c'))
    """

    def __init__(self, code: str):
        self.code = code
        self._quoted: dict[str, str] = {}  # the columns, by the words that stand for them
        try:
            self.tree = ast.parse(LITERALS_AND_QUOTES.sub(self._placeholder, code).strip(), mode="eval").body
        except SyntaxError as error:
            raise self.refused(f"it is no code of Python ({error.msg})") from None
        self.name = self._spelled()
        self._check_root()
        self.columns = tuple(dict.fromkeys(self._columns(self.tree)))
        if not self.columns:
            raise self.refused("it must name a column")

    def _placeholder(self, found: re.Match[str]) -> str:
        """Return a word of Python for a quoted name; literal text stays."""
        if found[1] is not None:
            return found[1]
        word = f"_quoted_{len(self._quoted)}_"
        self._quoted[word] = found[2]
        return word

    def _spelled(self) -> str:
        if isinstance(self.tree, ast.Name):
            return self.column_of(self.tree)
        return self.spelled(self.tree)

    def spelled(self, node: ast.AST) -> str:
        """Return the code of a part of the tree, with its backquotes."""
        text = ast.unparse(node)
        for word, name in self._quoted.items():
            text = text.replace(word, f"`{name}`")
        return text

    def column_of(self, node: ast.AST) -> str:
        """Return the column of a name or of a call of Q."""
        if isinstance(node, ast.Name):
            return self._quoted.get(node.id, node.id)
        if isinstance(node, ast.Call) and function_of(node) == "Q" and not node.keywords and len(node.args) == 1:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                return argument.value
        raise self.refused(f"{self.spelled(node)} must be a column, such as a or Q('a b')")

    def is_column(self) -> bool:
        """Return whether the factor is a column as it is."""
        return isinstance(self.tree, ast.Name) or function_of(self.tree) == "Q"

    def calls(self, node: ast.AST | None = None) -> Iterator[ast.Call]:
        """Yield the calls of transforms, the inner before the outer."""
        node = self.tree if node is None else node
        for child in ast.iter_child_nodes(node):
            yield from self.calls(child)
        if isinstance(node, ast.Call) and function_of(node) in TRANSFORMS:
            yield node

    def literal(self, node: ast.expr) -> Any:
        """Return a number, text, boolean, None, or a list of these."""
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError):
            raise self.refused(f"{self.spelled(node)} must be a number or text, written out") from None

    def _check_root(self) -> None:
        if not (isinstance(self.tree, ast.Name | ast.Call)):
            raise self.refused(f"arithmetic goes inside of I(): I({self.name})")
        if function_of(self.tree) == "C":
            return  # `Factor` checks it
        self._check(self.tree)

    def _check(self, node: ast.AST) -> None:
        """Refuse what is not in the grammar."""
        if isinstance(node, ast.Call):
            self._check_call(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            raise self.refused("inside of I() a power is **, as ^ is another operator of Python")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, OPERATORS):
            self._check(node.left)
            self._check(node.right)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
            self._check(node.operand)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, bool) or not isinstance(node.value, int | float):
                raise self.refused(f"{node.value!r} is no number")
        elif not isinstance(node, ast.Name):
            raise self.refused(f"{self.spelled(node)} is not known")

    def _check_call(self, node: ast.Call) -> None:
        function = function_of(node)
        if function == "Q":
            self.column_of(node)
            return
        if function not in (*FUNCTIONS, *TRANSFORMS, "I"):
            raise self.refused(f"{self.spelled(node.func)}() is not known" + " here" * (function == "C"))
        if function in ("bs", "poly") and node is not self.tree:
            raise self.refused(f"{function}() makes several columns, and must be a factor of its own")
        if function in TRANSFORMS:
            if not node.args:
                raise self.refused(f"{function}() takes a column")
            self._check(node.args[0])
        elif len(node.args) != 1 or node.keywords:
            raise self.refused(f"{function}() takes one argument")
        else:
            self._check(node.args[0])

    def _columns(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Name) or (isinstance(node, ast.Call) and function_of(node) == "Q"):
            yield self.column_of(node)
        elif isinstance(node, ast.Call):
            for argument in node.args[:1]:
                yield from self._columns(argument)
        else:
            for child in ast.iter_child_nodes(node):
                yield from self._columns(child)

    def refused(self, reason: str) -> ValueError:
        """Return the error for code that is not in the grammar."""
        return ValueError(
            f"A term of the formula cannot be read: {reason}. {_sentence(GRAMMAR)}. Received: the term {self.code!r}."
        )

    def wrong(self, reason: str) -> ValueError:
        """Return the error for code that can be read, and does not suit the data."""
        return ValueError(f"A term of the formula does not suit the data: {reason}. Received: the term {self.code!r}.")


def function_of(node: ast.AST) -> str | None:
    """Return the name of a called function, without np.; None for anything else."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "np":
        return function.attr if function.attr in FUNCTIONS else f"np.{function.attr}"
    return ast.unparse(function)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
