"""What has become of columns since a fit: the shifts of their means, and the ratios of their variances."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_linreg.plots.style import (
    BAND_ORDER,
    COLOURS,
    INK,
    LINE_ORDER,
    TEXT_ORDER,
    as_vector,
    check_same_size,
    label_text,
    style_axes,
)
from keras_linreg.utils.types import Array

FAINT = "#8FB8D6"


def column_shifts(
    ax: Axes, names: Sequence[object], shifts: ArrayLike, p_values: ArrayLike, *, level: float = 0.05
) -> Axes:
    """Draw the shift of the mean of each column, in standard deviations of the fit, the first on top.

    Args:
        ax: the Axes to draw on.
        names: of the p columns.
        shifts: `(p,)`; NaN for a column without one.
        p_values: `(p,)`, adjusted; NaN where there is none. A shift with one below `level` is drawn in red, one with
            none hollow.
        level: of the tests.

    Returns:
        `ax`.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.column_shifts(ax, ["age", "bmi"], [0.1, -0.8], [0.4, 0.001])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['age', 'bmi']
    """
    values = as_vector("shifts", shifts)
    _draw(ax, names, values, as_vector("p_values", p_values), 0.0, level)
    style_axes(ax, "shift of the mean, in sds of the fit", "")
    return _with_names(ax, names)


def variance_ratios(
    ax: Axes, names: Sequence[object], ratios: ArrayLike, p_values: ArrayLike, *, level: float = 0.05
) -> Axes:
    """Draw the variance of each column divided by that of the fit, on a scale of powers; arguments as above.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.variance_ratios(ax, ["age", "bmi"], [1.1, 4.0], [0.4, 0.001])
    """
    values = as_vector("ratios", ratios)
    with np.errstate(invalid="ignore", divide="ignore"):
        powers = np.where(values > 0, np.log2(values), np.nan)
    _draw(ax, names, powers, as_vector("p_values", p_values), 0.0, level)
    style_axes(ax, "variance, times that of the fit", "")
    reach = max(1, int(np.ceil(np.abs(powers[np.isfinite(powers)]).max(initial=1.0))))
    step = -(-reach // 4)
    ticks = np.arange(-(reach // step) * step, reach + 1, step)
    ax.set_xticks(ticks, [f"{2.0**tick:.3g}" for tick in ticks.tolist()])
    ax.set_xlim(-1.08 * reach, 1.08 * reach)
    return _with_names(ax, names)


def _draw(ax: Axes, names: Sequence[object], values: Array, p_values: Array, centre: float, level: float) -> None:
    check_same_size("names", "values", len(names), len(values), "columns")
    check_same_size("names", "p_values", len(names), len(p_values), "columns")
    places = np.arange(len(values))
    finite = np.where(np.isfinite(values), values, np.nan)
    tested = ~np.isnan(p_values)
    colours = np.where(tested & (p_values < level), COLOURS[1], np.where(tested, COLOURS[0], FAINT))
    ax.axvline(centre, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=BAND_ORDER)
    ax.hlines(places, centre, finite, colors=list(colours), linewidth=2.5, zorder=LINE_ORDER)
    ax.scatter(finite[tested], places[tested], s=42, c=colours[tested], zorder=TEXT_ORDER)
    ax.scatter(finite[~tested], places[~tested], s=42, facecolors="white", edgecolors=FAINT, zorder=TEXT_ORDER)


def _with_names(ax: Axes, names: Sequence[object]) -> Axes:
    ax.set_yticks(np.arange(len(names)), [label_text(name, 24) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")
    return ax
