"""Figures to draw on, their titles and limits, and animations."""

import io
from collections.abc import Iterable
from typing import NoReturn

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from keras_linreg.plots import style
from keras_linreg.plots.style import INK, finite_values
from keras_linreg.utils.types import PathLike


class Picture(Figure):
    """A Matplotlib Figure outside of `pyplot`. A notebook shows it if it is the last value of a cell."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()

    def show(self, warn: bool = True) -> NoReturn:
        """Raise an AttributeError that says how to see the picture: there is no window."""
        raise AttributeError(
            "A picture outside of pyplot has no window. Save it by `.savefig(path)`, or make it the last value of a "
            "notebook's cell."
        )


def figure(panels: int = 1, *, columns: int | None = None, height: float | None = None) -> tuple[Figure, list[Axes]]:
    """Return a new Figure, outside of `pyplot`, and its Axes, side by side or in a grid.

    Args:
        panels: the number of Axes.
        columns: the number of Axes in a row; `None` (default): all of them.
        height: the height of one Axes, in inches; `None` (default): 4.5, or 4 if there are several rows.

    Returns:
        The Figure, and the list of its Axes.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (left, right) = plots.figure(panels=2)
    >>> ax = plots.loss_curve(right, [1, 2], [0.5, 0.4])
    >>> picture, axes = plots.figure(panels=4, columns=2)
    >>> len(axes)
    4
    """
    columns = min(columns or panels, panels)
    rows = -(-panels // columns)
    width = 5.5 if columns == 1 else 5 * columns
    height = height or (4.5 if rows == 1 else 4)
    picture = Picture(figsize=(width, height * rows), facecolor="white", layout="constrained")
    picture.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(picture)
    return picture, [picture.add_subplot(rows, columns, 1 + panel) for panel in range(panels)]


def save_gif(
    path: PathLike, picture: Figure, steps: Iterable[object], *, dpi: float = 80, seconds: float = 0.12, hold: float = 2
) -> None:
    """Write an animation: one frame after each of `steps`.

    Args:
        path: the file to write.
        picture: the Figure. Its layout does not change after the first step.
        steps: an iterable, not empty. It redraws the picture before it yields each item.
        dpi: pixels per inch of the Figure's size; the Figure keeps this value.
        seconds: the time that a frame stays, in seconds.
        hold: the time that the last frame stays, in seconds; the first frame stays for half of it.

    Example:
    ```python
    picture, (ax,) = plots.figure()
    steps = (plots.fitted_line(ax.clear() or ax, x, y, x, slope * x) for slope in np.linspace(0, 1, 20))
    plots.save_gif("slope.gif", picture, steps)
    ```
    """
    frames = []
    # `savefig` would draw everything twice.
    canvas = FigureCanvasAgg(picture)
    picture.set_dpi(dpi)
    for _ in steps:
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
        # A palette takes a third of the memory. Pillow's default palette has only the 216 web colours.
        frames.append(image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE))
        picture.set_layout_engine("none")
    durations = [round(1000 * seconds)] * len(frames)
    durations[0], durations[-1] = round(500 * hold), round(1000 * hold)
    # Matplotlib's PillowWriter has one duration for all frames.
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def title(ax: Axes, text: object) -> Axes:
    """Set a title above the left end of the Axes, and return the Axes."""
    ax.set_title(style.label_text(text), fontsize=13, loc="left", color=INK)
    return ax


def padded_range(values: ArrayLike, *others: ArrayLike, reach: float | None = None) -> tuple[float, float]:
    """Return axis limits that hold the finite `values` and `others`, with a little space around them.

    Args:
        values: an array of any shape; the limits hold all of it.
        *others: arrays of any shape.
        reach: how far the `others` may widen the limits, in widths of `values`; `None` (default): without a limit.

    Example:
    >>> from keras_linreg import plots
    >>> low, high = plots.padded_range([0.0, 10.0], [5.0, 1e9], reach=0.5)
    >>> round(low, 2), round(high, 2)
    (-0.75, 15.75)
    """
    own = finite_values(values)
    rest = np.concatenate([finite_values(other) for other in others]) if others else own[:0]
    if not own.size:
        own, rest = rest, rest[:0]
    if not own.size:
        return 0.0, 1.0
    low, high = own.min(), own.max()
    if rest.size:
        width = (high - low) or abs(high) or 1.0
        far = np.inf if reach is None else reach * width
        low, high = min(low, max(rest.min(), low - far)), max(high, min(rest.max(), high + far))
    padding = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    return float(low - padding), float(high + padding)
