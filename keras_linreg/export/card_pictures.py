"""Pictures of a card as SVG: text, lines and bars, without a library that would have to be loaded for each export."""

import html
from collections.abc import Sequence

import numpy as np

from keras_linreg.inference.tables import number, shortened
from keras_linreg.utils.types import Array

MOST_ROWS = 15
WIDTH, LEFT, RIGHT, TOP, ROW, FOOT = 760, 210, 90, 34, 22, 28
COLOUR, FAINT, INK, GREY = "#0072B2", "#8FB8D6", "#333333", "#dddddd"
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def bars(title: str, names: Sequence[str], values: Array) -> str:
    """Return bars of values that are not negative, the largest first."""
    order = _largest(values)
    finite = np.nan_to_num(values[order], nan=0.0)
    picture = _Picture(title, len(order), len(values), 0.0, float(finite.max(initial=0.0)))
    for row, (i, value) in enumerate(zip(order.tolist(), finite.tolist(), strict=True)):
        y = picture.place(row)
        picture.rectangle(0.0, value, y)
        picture.label(names[i], y)
        picture.text(picture.x(value) + 6, y, number(value, 3))
    return picture.svg()


def intervals(title: str, names: Sequence[str], values: Array, lower: Array, upper: Array) -> str:
    """Return points with their intervals, the largest in size first; fainter where the interval holds zero."""
    order = _largest(np.abs(values))
    ends = np.concatenate([values[order], lower[order], upper[order], [0.0]])
    ends = ends[np.isfinite(ends)]
    picture = _Picture(title, len(order), len(values), float(ends.min()), float(ends.max()))
    for row, i in enumerate(order.tolist()):
        y = picture.place(row)
        picture.label(names[i], y)
        if not np.isfinite(values[i]):
            continue
        is_known = np.isfinite(lower[i]) and np.isfinite(upper[i])
        colour = FAINT if not is_known or lower[i] <= 0 <= upper[i] else COLOUR
        if is_known:
            picture.line(float(lower[i]), float(upper[i]), y, colour)
        picture.point(float(values[i]), y, colour)
    return picture.svg()


def _largest(sizes: Array) -> Array:
    """Return the positions of the largest values, in their order."""
    return np.argsort(-np.nan_to_num(sizes, nan=-1.0), kind="stable")[:MOST_ROWS]


class _Picture:
    """Rows beside a scale.

    Args:
        title: above it.
        rows: how many are drawn, of how many.
        all_rows: of how many.
        low, high: what the scale holds.
    """

    def __init__(self, title: str, rows: int, all_rows: int, low: float, high: float):
        self._title = title + (f" ({rows} of {all_rows})" if rows < all_rows else "")
        self._low, self._high = low, high if high > low else low + 1.0
        self._height = TOP + rows * ROW + FOOT
        self._parts: list[str] = []
        for tick in _ticks(self._low, self._high):
            x, colour = self.x(tick), INK if tick == 0 else GREY
            self._parts.append(
                f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{self._height - FOOT}" stroke="{colour}"/>'
            )
            self.text(x, self._height - FOOT + 14, number(tick, 3), "middle")

    def x(self, value: float) -> float:
        """Return the place of a value."""
        return LEFT + (value - self._low) / (self._high - self._low) * (WIDTH - LEFT - RIGHT)

    def place(self, row: int) -> float:
        """Return the middle of a row."""
        return TOP + (row + 0.5) * ROW

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """Write text."""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}" font-size="12" fill="{INK}">'
            f"{html.escape(text)}</text>"
        )

    def label(self, name: str, y: float) -> None:
        """Write the name of a row."""
        self.text(LEFT - 8, y, shortened(name, 28), "end")

    def rectangle(self, start: float, end: float, y: float) -> None:
        """Draw a bar."""
        x, width = self.x(start), self.x(end) - self.x(start)
        self._parts.append(f'<rect x="{x:.1f}" y="{y - 7:.1f}" width="{width:.1f}" height="14" fill="{COLOUR}"/>')

    def line(self, start: float, end: float, y: float, colour: str) -> None:
        """Draw an interval."""
        ends = f'x1="{self.x(start):.1f}" x2="{self.x(end):.1f}"'
        self._parts.append(f'<line {ends} y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="3"/>')

    def point(self, value: float, y: float, colour: str) -> None:
        """Draw a point."""
        self._parts.append(f'<circle cx="{self.x(value):.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')

    def svg(self) -> str:
        """Return the picture."""
        title = html.escape(shortened(self._title, 110))
        head = f'<text x="0" y="16" font-size="14" fill="{INK}">{title}</text>'
        return (
            f'<svg viewBox="0 0 {WIDTH} {self._height}" width="{WIDTH}" height="{self._height}" role="img" '
            f'aria-label="{title}" font-family="system-ui, sans-serif">{head}{"".join(self._parts)}</svg>'
        )


def _ticks(low: float, high: float) -> list[float]:
    """Return some round numbers between two, 0 among them if it lies there."""
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in STEPS if power * factor >= rough * 0.999)
    numbers = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
    return [float(i * step) for i in numbers]
