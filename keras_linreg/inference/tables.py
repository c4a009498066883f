"""Text tables of at most 80 columns, and the numbers in them."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from keras_linreg.utils.text import visible

WIDTH = 80
NAME_WIDTH = 24
SHORTEST_NAME = 8
WIDEST_GAP = 3

Facts = Sequence[Sequence[tuple[str, str]]]  # lines of pairs of a name and a value, at most two pairs a line
Rows = Sequence[tuple[str, Sequence[str]]]  # a name and cells; cells may be missing on the right


def facts_table(title: str, facts: Facts) -> str:
    """Return pairs of names and values below a title, two pairs a line."""
    half = (WIDTH - 4) // 2
    lines = [title, "=" * WIDTH]
    for pair in facts:
        lines.append("    ".join(f"{name}{value:>{half - len(name)}}" for name, value in pair).rstrip())
    return "\n".join([*lines, "-" * WIDTH])


def table(head: Sequence[str], rows: Rows, whole_names: bool = False) -> str:
    """Return a table with a name before each row. Long names are shortened until it fits; numbers are not.

    Args:
        head: the names of the columns.
        rows: a name and cells each.
        whole_names: whether a name that is too long stands whole, on a line of its own, and is not shortened.
    """
    cells = [[*cells, *[""] * (len(head) - len(cells))] for _, cells in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    names = [shortened(name, NAME_WIDTH) for name, _ in rows]
    name_width = max(map(len, names), default=0)
    spare = WIDTH - name_width - sum(widths)
    if spare < len(widths):
        names = [shortened(name, max(name_width - (len(widths) - spare), SHORTEST_NAME)) for name, _ in rows]
        name_width = max(map(len, names))
        spare = WIDTH - name_width - sum(widths)
    gap = max(1, min(WIDEST_GAP, spare // len(widths)))

    def line(name: str, values: Sequence[str]) -> str:
        padded = "".join(f"{value:>{width + gap}}" for value, width in zip(values, widths, strict=True))
        return f"{name:<{name_width}}{padded}".rstrip()

    body = []
    for (name, _), short, values in zip(rows, names, cells, strict=True):
        is_cut = whole_names and short != visible(name)
        body += [visible(name), line("", values)] if is_cut else [line(short, values)]
    return "\n".join([line("", head), "-" * WIDTH, *body, "-" * WIDTH])


def with_notes(blocks: Sequence[str], notes: Sequence[str]) -> str:
    """Return tables with an empty line between them, and notes below."""
    lines = [line for note in notes for line in textwrap.wrap(f"* {note}", WIDTH, subsequent_indent="  ")]
    return "\n".join(["\n\n".join(blocks), *lines])


def shortened(name: object, width: int) -> str:
    """Return a name of at most so many characters: the middle is left out, because the ends tell columns apart."""
    text = visible(name)
    if len(text) <= width:
        return text
    head = width // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def number(value: float | None, digits: int = 5) -> str:
    """Return a number with so many digits; the empty text for NaN and None."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if -4 <= power < max(digits, 6):
        return f"{value:.{max(digits - 1 - power, 0)}f}"
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def p_value(p: float) -> str:
    """Return a p-value with four decimals, or in powers of ten if it is small; the empty text for NaN."""
    if math.isnan(p):
        return ""
    return f"{p:.4f}" if p >= 1e-3 else f"{p:.1e}".replace("e-0", "e-") if p > 0 else "0"


def estimate_head(letter: str, level: float) -> tuple[str, ...]:
    """Return the head of the columns of `estimate_cells`: the letter is "t", or "z" for the normal distribution."""
    tail = (1 - level) / 2
    return "std err", letter, f"P>|{letter}|", f"[{tail:.3g}", f"{1 - tail:.6g}]"


def estimate_cells(value: float, error: float, t: float, p: float, lower: float, upper: float) -> list[str]:
    """Return the cells of an estimate: value, standard error, t, p-value and confidence limits."""
    return [number(value), number(error, 4), number(t, 4), p_value(p), number(lower, 4), number(upper, 4)]


def as_list(values: Any) -> list[float]:
    """Return one figure, or an array of figures, as a list."""
    return values.tolist() if hasattr(values, "tolist") else [values]
