"""Linear restrictions on named parameters, as a user writes them: "a = b", "2*a + b = 3, c = 0"."""

import itertools
import re

import numpy as np

NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")
QUOTED = re.compile(r"`([^`]*)`|\"([^\"]*)\"|'([^']*)'")
SIGNS = "+-*/()=,"


def parse(given, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return `matrix` and `value` of `matrix @ params == value`, `(q, P)` and `(q,)`, and what each row is called.

    Args:
        given: text, or a list of texts; names are the parameters' own, in quotes or backticks where an operator or a
            number would be read into them; an expression without `=` is compared with 0. Or an array `(P,)` or
            `(q, P)`, or a tuple of such an array and the values `(q,)`.
        names: of the P parameters.

    Raises:
        ValueError: a name that there is not, an expression that is not linear, a shape that does not fit.
    """
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts):
        rows = [row for text in texts for row in _Parser(text, names).rows()]
        matrix = np.stack([row for row, _ in rows])
        return matrix[:, :-1], -matrix[:, -1], tuple(text for _, text in rows)
    pair = isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) >= 1
    try:
        matrix = np.atleast_2d(np.asarray(given[0] if pair else given, np.float64))
        value = np.ravel(np.asarray(given[1], np.float64)) if pair else np.zeros(len(matrix))
    except (TypeError, ValueError):
        matrix, value = np.zeros((0, 0)), np.zeros(0)
    if (
        matrix.ndim != 2
        or matrix.shape[1] != len(names)
        or not matrix.size
        or value.shape not in ((len(matrix),), (1,))
    ):
        raise ValueError(
            f"`restrictions` must be text like 'a = b', or an array of {len(names)} columns ({', '.join(names[:4])}"
            f"{', ...' if len(names) > 4 else ''}) with a value for each row. Received: {given!r}."
        )
    if not (np.isfinite(matrix).all() and np.isfinite(value).all()):
        raise ValueError(f"`restrictions` must be finite. Received: {given!r}.")
    return matrix, np.broadcast_to(value, len(matrix)).copy(), tuple(f"c{i}" for i in range(len(matrix)))


class _Parser:
    """Reads an expression as a row over the parameters, and the constant last."""

    def __init__(self, text: str, names: tuple[str, ...]):
        self.text, self.names = text, names
        # A name that is a number is one in quotes only.
        self.longest_first = sorted({name for name in names if not NUMBER.fullmatch(name)}, key=len, reverse=True)
        self.tokens = list(self._tokens())
        self.place = 0

    def rows(self) -> list[tuple[np.ndarray, str]]:
        """Return the rows that are to be zero, with their texts."""
        equations: list[tuple[np.ndarray, str]] = []
        while True:
            start = self._position()
            sides = [self._sum()]
            while self._take("="):
                sides.append(self._sum())
            text = self.text[start : self._position()].strip()
            rows = [left - right for left, right in itertools.pairwise(sides)] or sides
            for number, row in enumerate(rows, start=1):
                if not row[:-1].any():
                    raise self._error("an equation without parameters")
                equations.append((row, text if len(rows) == 1 else f"{text} ({number})"))
            if not self._take(","):
                break
        if self.place < len(self.tokens):
            raise self._error(f"{self.tokens[self.place][1]!r} where an operator is expected")
        return equations

    def _sum(self) -> np.ndarray:
        total = self._product()
        while sign := self._take("+", "-"):
            total = total + self._product() if sign == "+" else total - self._product()
        return total

    def _product(self) -> np.ndarray:
        product = self._factor()
        while sign := self._take("*", "/"):
            other = self._factor()
            if sign == "*" and product[:-1].any():
                product, other = other, product
            if (other if sign == "/" else product)[:-1].any():
                raise self._error("a product or quotient that is not linear")
            if sign == "/" and other[-1] == 0:
                raise self._error("a division by zero")
            product = product / other[-1] if sign == "/" else product[-1] * other
        return product

    def _factor(self) -> np.ndarray:
        if sign := self._take("+", "-"):
            return -self._factor() if sign == "-" else self._factor()
        if self._take("("):
            inside = self._sum()
            if not self._take(")"):
                raise self._error("a bracket that is not closed")
            return inside
        if self.place == len(self.tokens) or self.tokens[self.place][0] == "sign":
            raise self._error("no name or number where one is expected")
        kind, value, _ = self.tokens[self.place]
        self.place += 1
        row = np.zeros(len(self.names) + 1)
        row[-1 if kind == "number" else self.names.index(value)] = float(value) if kind == "number" else 1.0
        return row

    def _take(self, *signs: str) -> str | None:
        if self.place < len(self.tokens) and self.tokens[self.place][:2] in [("sign", sign) for sign in signs]:
            self.place += 1
            return self.tokens[self.place - 1][1]
        return None

    def _position(self) -> int:
        return self.tokens[self.place][2] if self.place < len(self.tokens) else len(self.text)

    def _tokens(self):
        position = 0
        while position < len(self.text):
            rest = self.text[position:]
            if rest[0].isspace():
                position += 1
                continue
            if quoted := QUOTED.match(rest):
                name = next(group for group in quoted.groups() if group is not None)
                if name not in self.names:
                    raise self._error(f"the name {name!r}")
                yield "name", name, position
                position += quoted.end()
            elif name := next((n for n in self.longest_first if n and _begins_with(rest, n)), None):
                yield "name", name, position
                position += len(name)
            elif number := NUMBER.match(rest):
                yield "number", number.group(), position
                position += number.end()
            elif rest[0] in SIGNS:
                yield "sign", rest[0], position
                position += 1
            else:
                word = re.match(r"\w+|.", rest)
                raise self._error(f"the name {word.group() if word else rest!r}")

    def _error(self, received: str) -> ValueError:
        return ValueError(
            "`restrictions` must be linear equations in the parameters "
            f"{', '.join(map(repr, self.names[:8]))}{', ...' if len(self.names) > 8 else ''}. "
            f"Received: {received}, in {self.text!r}."
        )


def _begins_with(text: str, name: str) -> bool:
    """Return whether a name stands there, and not the beginning of a longer word."""
    if not text.startswith(name):
        return False
    after = text[len(name) : len(name) + 1]
    return not (name[-1].isalnum() or name[-1] == "_") or not (after.isalnum() or after == "_")
