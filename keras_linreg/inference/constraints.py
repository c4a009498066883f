"""Linear constraints on named parameters, as a user writes them: "a = b", "2*a + b = 3, c = 0".

A test takes them as `restrictions`. Text is parsed by recursive descent, with one method for each rule of the grammar:

```
equations = item ("," item)*
item      = "(" equations ")" | equation
equation  = sum ("=" sum)*
sum       = product (("+" | "-") product)*
product   = factor (("*" | "/") factor)*
factor    = ("+" | "-") factor | "(" sum ")" | number | name
```

The value of an expression is a row of P + 1 numbers: its coefficients of the P parameters, and its constant.
"""

import contextlib
import difflib
import itertools
import math
import re
import reprlib
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keras_linreg.utils.text import visible
from keras_linreg.utils.types import Array

# Text, a list of texts, an array of coefficients, or a tuple of coefficients and values.
Restrictions: TypeAlias = Any

NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")
QUOTED = re.compile(r"`([^`]*)`|\"([^\"]*)\"|'([^']*)'")
SIGNS = "+-*/()=,"
SHOWN_NAMES = 8
SHOWN_LIKE = 4  # names that are like an unknown one
DEEPEST = 100  # brackets in brackets


def parse_restrictions(restrictions: Restrictions, names: tuple[str, ...]) -> tuple[Array, Array, tuple[str, ...]]:
    """Return `matrix` and `value` of `matrix @ params == value`, `(q, P)` and `(q,)`, and the text of each row.

    Args:
        restrictions: text, or a list of texts. The name of a term of several parameters, "C(city)", says that each of
            them is 0. Equations may stand in brackets, as in statsmodels. A name stands as it is, or in quotes or
            backticks if an operator or a number would be read into it. An expression without `=` is compared with 0.
            Or an array `(P,)` or `(q, P)`; or a tuple of such an array and the values `(q,)`.
        names: of the P parameters.

    Raises:
        ValueError: a name does not exist, an expression is not linear, or a shape does not fit.
    """
    texts = [restrictions] if isinstance(restrictions, str) else restrictions
    if isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts):
        equations = [equation for text in texts for equation in _term(text, names) or _Parser(text, names).equations()]
        rows = np.stack([row for row, _ in equations])
        return rows[:, :-1], -rows[:, -1], tuple(text for _, text in equations)
    return _parse_arrays(restrictions, names)


def _term(text: str, names: tuple[str, ...]) -> list[tuple[Array, str]]:
    """Return a row and a text for each parameter of a term of several, "C(city)"; none if the text names no such term.

    The parameters of a term are called as it is, with a level or a number in square brackets behind each factor of
    several columns: "C(city)[T.Paris]", "area:C(city)[T.Paris]".
    """
    term = text.strip()
    if not term or term in names:
        return []
    level = r"(?:\[(?:[^\]]|\](?!:|$))*\])?"
    pattern = re.compile(re.escape(term).replace(":", level + ":") + level, re.DOTALL)
    rows = np.eye(len(names), len(names) + 1)
    return [(row, f"{name} = 0") for row, name in zip(rows, names, strict=True) if pattern.fullmatch(name)]


def _parse_arrays(restrictions: Restrictions, names: tuple[str, ...]) -> tuple[Array, Array, tuple[str, ...]]:
    """Return the matrix, the values and the texts of restrictions that are arrays."""
    is_pair = isinstance(restrictions, tuple) and len(restrictions) == 2 and np.ndim(restrictions[0]) >= 1
    try:
        if any(map(np.iscomplexobj, restrictions if is_pair else [restrictions])):
            raise TypeError
        matrix = np.atleast_2d(np.asarray(restrictions[0] if is_pair else restrictions, np.float64))
        value = np.ravel(np.asarray(restrictions[1], np.float64)) if is_pair else np.zeros(len(matrix))
    except (TypeError, ValueError, OverflowError):
        matrix, value = np.zeros((0, 0)), np.zeros(0)
    fits = matrix.ndim == 2 and matrix.shape[1] == len(names) and matrix.size > 0
    if not fits or value.shape not in ((len(matrix),), (1,)):
        shown = ", ".join(map(visible, names[:4])) + ", ..." * (len(names) > 4)
        raise ValueError(
            f"`restrictions` must be text like 'a = b', or an array of {len(names)} columns ({shown}) with a value "
            f"for each row. Received: {restrictions!r}."
        )
    if not (np.isfinite(matrix).all() and np.isfinite(value).all()):
        raise ValueError(f"`restrictions` must be finite. Received: {restrictions!r}.")
    return matrix, np.broadcast_to(value, len(matrix)).copy(), tuple(f"c{i}" for i in range(len(matrix)))


class _Token(NamedTuple):
    kind: str  # "name", "number" or "sign"
    text: str
    start: int  # its position in the whole text


class _Parser:
    """Parses the equations of a text; each method reads the tokens of its rule and returns their value."""

    def __init__(self, text: str, names: tuple[str, ...]):
        self.text, self.names = text, names
        # Without quotes, a text like "3" is the number, even if a column is called so.
        self.names_longest_first = sorted({n for n in names if n and not NUMBER.fullmatch(n)}, key=len, reverse=True)
        self.tokens = list(self._tokens())
        self.next = self.depth = 0

    def equations(self) -> list[tuple[Array, str]]:
        """Return a row that must be zero, and its text, for each equation; a chain `a = b = c` is two equations."""
        with np.errstate(over="ignore", invalid="ignore"):  # `_chain` refuses what is not finite
            equations = self._items()
        if self.next < len(self.tokens):
            raise self._error(f"{self.tokens[self.next].text!r} instead of an operator")
        return equations

    def _items(self) -> list[tuple[Array, str]]:
        equations = []
        while True:
            if self._opens_equations():
                with self._brackets():
                    equations += self._items()
            else:
                equations += self._chain()
            if not self._accept(","):
                return equations

    def _opens_equations(self) -> bool:
        """Return whether the next token is a bracket around whole equations, not around a part of one."""
        depth, has_equation = 0, False
        for position in range(self.next, len(self.tokens)):
            kind, text, _ = self.tokens[position]
            if kind == "sign":
                depth += (text == "(") - (text == ")")
                has_equation |= text in "=,"
            if depth == 0:
                return has_equation
        return False

    def _chain(self) -> list[tuple[Array, str]]:
        start = self._next_start()
        sides = [self._sum()]
        while self._accept("="):
            sides.append(self._sum())
        text = self.text[start : self._next_start()].strip()
        rows = [left - right for left, right in itertools.pairwise(sides)] or sides
        for row in rows:
            if not np.isfinite(row).all():
                raise self._error("a number that is not finite")
            if not row[:-1].any():
                raise self._error("an equation without parameters")
        texts = [text] if len(rows) == 1 else [f"{text} ({number})" for number in range(1, len(rows) + 1)]
        return list(zip(rows, texts, strict=True))

    def _sum(self) -> Array:
        total = self._product()
        while sign := self._accept("+", "-"):
            total = total + self._product() if sign == "+" else total - self._product()
        return total

    def _product(self) -> Array:
        product = self._factor()
        while sign := self._accept("*", "/"):
            other = self._factor()
            if sign == "*" and product[:-1].any():
                product, other = other, product
            if (other if sign == "/" else product)[:-1].any():
                raise self._error("a product or quotient that is not linear")
            if sign == "/" and other[-1] == 0:
                raise self._error("a division by zero")
            product = product / other[-1] if sign == "/" else product[-1] * other
        return product

    def _factor(self) -> Array:
        sign = 1.0
        while text := self._accept("+", "-"):
            sign = -sign if text == "-" else sign
        return sign * self._unsigned_factor()

    def _unsigned_factor(self) -> Array:
        if self._next_is("("):
            with self._brackets():
                return self._sum()
        if self.next == len(self.tokens) or self.tokens[self.next].kind == "sign":
            raise self._error(f"no name or number at position {self._next_start()}")
        token = self.tokens[self.next]
        self.next += 1
        row = np.zeros(len(self.names) + 1)
        if token.kind == "number":
            row[-1] = float(token.text)
            if not math.isfinite(row[-1]):
                raise self._error(f"the number {token.text}, which is not finite")
        else:
            row[self.names.index(token.text)] = 1.0
        return row

    @contextlib.contextmanager
    def _brackets(self) -> Iterator[None]:
        """Go on behind an opening bracket, and afterwards behind the closing one."""
        self.next += 1
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(f"brackets more than {DEEPEST} deep")
        yield
        if not self._accept(")"):
            raise self._error("a bracket that is not closed")
        self.depth -= 1

    def _accept(self, *signs: str) -> str | None:
        """Return the next token's text and go on behind it, if it is one of the signs; else return None."""
        if not self._next_is(*signs):
            return None
        self.next += 1
        return self.tokens[self.next - 1].text

    def _next_is(self, *signs: str) -> bool:
        token = self.tokens[self.next] if self.next < len(self.tokens) else None
        return token is not None and token.kind == "sign" and token.text in signs

    def _next_start(self) -> int:
        return self.tokens[self.next].start if self.next < len(self.tokens) else len(self.text)

    def _tokens(self) -> Iterator[_Token]:
        start = 0
        while start < len(self.text):
            rest = self.text[start:]
            if rest[0].isspace():
                start += 1
                continue
            if quoted := QUOTED.match(rest):
                name = next(group for group in quoted.groups() if group is not None)
                if name not in self.names:
                    raise self._error(f"the name {name!r}")
                yield _Token("name", name, start)
                start += quoted.end()
            elif name := next((name for name in self.names_longest_first if _begins_with(rest, name)), ""):
                yield _Token("name", name, start)
                start += len(name)
            elif number := NUMBER.match(rest):
                yield _Token("number", number.group(), start)
                start += number.end()
            elif rest[0] in SIGNS:
                yield _Token("sign", rest[0], start)
                start += 1
            else:
                raise self._error(self._unknown_name(start))

    def _unknown_name(self, start: int) -> str:
        """Return the words of an error for a name that does not exist: the whole name, and those that are like it."""
        begin = start
        while begin and self.text[begin - 1] not in f"{SIGNS} ":
            begin -= 1  # a known name may be the beginning of an unknown one: "area:city" of "area"
        word = re.match(r"[^\s=,+*/()]+", self.text[begin:])
        name = word.group() if word else self.text[start]
        close = [known for known in self.names if known.startswith(name)]
        close = close or difflib.get_close_matches(name, self.names, SHOWN_LIKE, 0.6)
        like = f"; like it: {', '.join(map(repr, close[:SHOWN_LIKE]))}" if close else ""
        return f"the name {name!r}{like}"

    def _error(self, received: str) -> ValueError:
        names = ", ".join(map(repr, self.names[:SHOWN_NAMES])) + ", ..." * (len(self.names) > SHOWN_NAMES)
        return ValueError(
            f"`restrictions` must be linear equations in the parameters {names}. "
            f"Received: {received}, in {reprlib.repr(self.text) if len(self.text) > 500 else repr(self.text)}."
        )


def _begins_with(text: str, name: str) -> bool:
    """Return whether a text begins with a whole name: "x10 = 0" begins with "x10", not with "x1"."""
    if not text.startswith(name):
        return False
    after = text[len(name) : len(name) + 1]
    return not (name[-1].isalnum() or name[-1] == "_") or not (after.isalnum() or after == "_")
