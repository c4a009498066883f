"""The look of all pictures (colours, points, labels), and the checks of their arrays."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_linreg.utils.text import visible
from keras_linreg.utils.types import Array

# The colours of Okabe and Ito, which people with any common colour blindness can tell apart. Their yellow is left out:
# it is too faint for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
INK = "#333333"
POINT_ORDER, BAND_ORDER, LINE_ORDER, TEXT_ORDER = 2.0, 2.5, 3.0, 4.0  # z-orders

Names = str | Iterable[object]


def finite_values(values: ArrayLike) -> Array:
    """Return the finite values of an array of any shape, as one float64 vector."""
    flat = np.ravel(np.asarray(values, dtype="float64"))
    return flat[np.isfinite(flat)]


def as_columns(argument: str, values: ArrayLike) -> Array:
    """Return values of shape `(n,)` or `(n, outputs)` as float64 `(n, outputs)`."""
    array = np.asarray(values, dtype="float64")
    if array.ndim not in (1, 2):
        raise ValueError(f"`{argument}` must be of shape (n,) or (n, outputs). Received: shape {array.shape}.")
    return array.reshape(len(array), -1) if array.size else array.reshape(0, 1)


def as_vector(argument: str, values: ArrayLike) -> Array:
    """Return values of shape `(n,)` or `(n, 1)` as float64 `(n,)`."""
    array = np.asarray(values, dtype="float64")
    if array.shape not in ((array.size,), (array.size, 1)):
        raise ValueError(f"`{argument}` must be of shape (n,), one output. Received: shape {array.shape}.")
    return array.ravel()


def check_same_size(first: str, second: str, first_size: int, second_size: int, unit: str) -> None:
    """Raise a ValueError if two arguments differ in size: in the number of "rows", of "outputs"."""
    if first_size != second_size:
        raise ValueError(
            f"`{first}` and `{second}` must have the same number of {unit}. Received: {first_size} and {second_size}."
        )


def output_labels(names: Names | None, outputs: int) -> list[str]:
    """Return a label for each output: the user's names, or `y0, y1, ...`."""
    if names is None:
        return [f"y{j}" for j in range(outputs)]
    names = [names] if isinstance(names, str) else list(names)
    check_same_size("names", "y", len(names), outputs, "outputs")
    return [label_text(name) for name in names]


def label_text(name: object, longest: int = 40) -> str:
    """Return a column's name as a label: shortened, and without characters that mean something to Matplotlib."""
    text = visible(name)
    if len(text) > longest:  # shorten the middle: names of one family differ at their ends
        half = (longest - 1) // 2
        text = f"{text[: longest - 1 - half]}…{text[-half:]}"
    # Matplotlib keeps a label that begins with an underscore out of legends; a hair space brings it back.
    return ("\u200a" + text if text.startswith("_") else text).replace("$", r"\$")


def draw_points(
    ax: Axes, x: Array, y: Array, colour: str, *, label: str | None = None, total: int | None = None
) -> None:
    """Draw points; the more there are, the smaller and fainter they are, so that density shows.

    Args:
        ax: the Axes to draw on.
        x, y: the points, each of shape `(n,)`.
        colour: their colour.
        label: their name in the legend.
        total: the number of all points on the Axes; `None`: n.
    """
    n = max(total or len(x), 1)
    size, alpha = np.clip(42 * (80 / n) ** 0.4, 5, 42), np.clip(0.65 * (200 / n) ** 0.3, 0.2, 0.65)
    # Vector formats would otherwise hold an object for each point.
    rasterized = n > 5000
    ax.scatter(
        x, y, s=size, color=colour, alpha=alpha, linewidths=0, zorder=POINT_ORDER, label=label, rasterized=rasterized
    )


def style_axes(ax: Axes, xlabel: object, ylabel: object) -> None:
    """Label the axes, and leave a light grid and two spines."""
    ax.set_xlabel(label_text(xlabel), fontsize=12, color=INK)
    ax.set_ylabel(label_text(ylabel), fontsize=12, color=INK)
    ax.tick_params(which="both", labelsize=10.5, colors=INK, length=0)
    ax.grid(True, color="#E3E3E3", linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#B0B0B0")


def add_legend(ax: Axes, entries: int) -> None:
    """Add a legend, unless there are more entries than colours."""
    if entries > len(COLOURS):
        return
    box = ax.legend(fontsize=10.5, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK)
    handles: list[Any] = box.legend_handles
    for handle in handles:
        if hasattr(handle, "set_sizes"):  # points, however small and faint they are in the picture
            handle.set_alpha(1)
            handle.set_sizes([40])
