"""What columns contribute to predictions: one row as a waterfall, many rows as a summary."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_linreg.plots.style import BAND_ORDER, COLOURS, INK, LINE_ORDER, TEXT_ORDER, label_text, style_axes
from keras_linreg.utils.types import Array

MOST_GROUPS = 12  # the others are summed up
MOST_ROWS = 2000  # of a summary
SPREAD = 0.32  # of points of a summary, in rows
OTHERS = "others"


def contributions(
    ax: Axes,
    names: Sequence[object],
    values: ArrayLike,
    baseline: float | ArrayLike = 0.0,
    *,
    errors: ArrayLike | None = None,
    most: int = MOST_GROUPS,
) -> Axes:
    """Draw what columns contribute: of one row how they lead to its prediction, of many rows how they spread.

    One row is a waterfall from the baseline, above, to the prediction, below, the largest contributions first. Many
    rows are points, one for each row, the columns that contribute most first; the sum of all is not shown.

    Args:
        ax: the Axes to draw on.
        names: of the g groups of columns.
        values: the contributions, `(g,)` of one row, or `(n, g)`.
        baseline: the prediction at the means, of one row.
        errors: standard errors of the contributions of one row, `(g,)`, drawn as intervals of two of them; or None.
        most: how many groups are drawn; the others are summed up.

    Returns:
        `ax`.

    Raises:
        ValueError: the shapes do not fit each other, or `most` is below 1.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.contributions(ax, ["age", "bmi"], [-1.5, 4.0], 150.0)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['baseline', 'bmi', 'age', 'prediction']
    """
    array = np.asarray(values, np.float64)
    if array.ndim not in (1, 2) or array.shape[-1] != len(names):
        raise ValueError(
            f"`values` must be of shape ({len(names)},) or (n, {len(names)}), for as many names. "
            f"Received: shape {array.shape}."
        )
    if most < 1:
        raise ValueError(f"`most` must be a positive integer. Received: most={most!r}.")
    if array.ndim == 2 and len(array) != 1:
        if errors is not None:
            raise ValueError(f"`errors` are drawn of one row. Received: {len(array)} rows.")
        return _summary(ax, names, array, most)
    widths = None if errors is None else np.asarray(errors, np.float64).reshape(-1)
    if widths is not None and len(widths) != len(names):
        raise ValueError(f"`errors` must be of shape ({len(names)},). Received: shape {widths.shape}.")
    return _waterfall(ax, names, array.reshape(-1), float(np.ravel(baseline)[0]), widths, most)


def _waterfall(
    ax: Axes, names: Sequence[object], values: Array, baseline: float, errors: Array | None, most: int
) -> Axes:
    order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")
    drawn, rest = order[: most if len(order) <= most else most - 1], order[most if len(order) <= most else most - 1 :]
    steps = [*values[drawn], *([values[rest].sum()] if len(rest) else [])]
    labels = [label_text(names[i], 24) for i in drawn] + [f"{len(rest)} {OTHERS}"] * bool(len(rest))
    ends = baseline + np.concatenate([[0.0], np.cumsum(steps)])
    places = np.arange(1, len(steps) + 1)
    colours = [COLOURS[0] if step >= 0 else COLOURS[1] for step in steps]
    ax.barh(places, steps, left=ends[:-1], height=0.6, color=colours, zorder=LINE_ORDER)
    for place, end in enumerate(ends):
        ax.vlines(end, place + 0.3 * (place > 0), place + 0.7, color=INK, linewidth=0.8, zorder=BAND_ORDER)
    ax.scatter([ends[0], ends[-1]], [0, len(steps) + 1], s=52, color=INK, zorder=TEXT_ORDER)
    if errors is not None:
        reach = 2 * errors[drawn]
        ax.hlines(places[: len(drawn)], ends[1 : len(drawn) + 1] - reach, ends[1 : len(drawn) + 1] + reach,
                  color=INK, linewidth=1.4, zorder=TEXT_ORDER)  # fmt: skip
    for place, (step, start) in enumerate(zip(steps, ends, strict=False), 1):
        edge = max(start, start + step)
        beyond = 2 * errors[drawn[place - 1]] if errors is not None and place <= len(drawn) else 0.0
        ax.annotate(f"{step:+.3g}", (max(edge, start + step + beyond), place), (5, 0), textcoords="offset points",
                    va="center", fontsize=9, color=INK, zorder=TEXT_ORDER)  # fmt: skip
    for place, end in ((0, ends[0]), (len(steps) + 1, ends[-1])):
        ax.annotate(f"{end:.4g}", (end, place), (8, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    style_axes(ax, "prediction" if errors is None else "prediction, and two standard errors", "")
    ax.margins(x=0.12)
    ax.set_yticks(np.arange(len(steps) + 2), ["baseline", *labels, "prediction"])
    ax.set_ylim(len(steps) + 1.6, -0.6)
    ax.grid(False, axis="y")
    return ax


def _summary(ax: Axes, names: Sequence[object], values: Array, most: int) -> Axes:
    """Draw a point for each row, beside the others of its column; a grey bar reaches one standard deviation."""
    finite = values[np.isfinite(values).all(axis=1)]
    spread = finite.std(axis=0) if len(finite) else np.zeros(len(names))
    order = np.argsort(-spread, kind="stable")[:most]
    some = finite[:: -(-len(finite) // MOST_ROWS) or 1]
    ax.axvline(0, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=BAND_ORDER)
    for place, group in enumerate(order.tolist()):
        ax.barh(place, 2 * spread[group], left=-spread[group], height=0.82, color="#eeeeee", zorder=1)
        column = some[:, group]
        colours = np.where(column >= 0, COLOURS[0], COLOURS[1])
        ax.scatter(column, place + _beside(column), s=10, c=list(colours), alpha=0.5, linewidths=0, zorder=LINE_ORDER)
    style_axes(ax, "contribution to the prediction", "")
    ax.set_yticks(np.arange(len(order)), [label_text(names[i], 24) for i in order])
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.grid(False, axis="y")
    return ax


def _beside(column: Array) -> Array:
    """Return places beside the middle for points, farther where many have about the same value."""
    places = np.zeros(len(column))
    if not len(column) or column.min() == column.max():
        return np.linspace(-SPREAD, SPREAD, len(column)) if len(column) > 1 else places
    bins = np.minimum((60 * (column - column.min()) / (column.max() - column.min())).astype(int), 59)
    counts = np.bincount(bins, minlength=60)
    for number in np.flatnonzero(counts):
        members = np.flatnonzero(bins == number)
        reach = SPREAD * counts[number] / counts.max()
        places[members] = np.linspace(-reach, reach, len(members)) if len(members) > 1 else 0.0
    return places
