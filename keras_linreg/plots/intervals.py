"""Coefficients with their intervals, and bands around a line."""

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

FAINT = "#8FB8D6"


def coefficients(
    ax: Axes,
    names: Sequence[object],
    params: ArrayLike,
    conf_int: ArrayLike,
    *,
    level: float = 0.95,
    standardized: bool = False,
) -> Axes:
    """Draw coefficients with their intervals, the first on top.

    An interval that holds zero is fainter. A coefficient without an interval (aliased, or not estimable) is a hollow
    point.

    Args:
        ax: the Axes to draw on.
        names: the p names of the coefficients.
        params: the coefficients, shape `(p,)`.
        conf_int: their limits, shape `(p, 2)`; NaN for a coefficient without an interval.
        level: the coverage, for the axis's label.
        standardized: whether the coefficients are standard deviations of y for each standard deviation of a column, for
            the axis's label.

    Returns:
        `ax`. `ax.collections[0]` holds the intervals, from top to bottom.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.coefficients(ax, ["age", "bmi"], [0.1, 5.6], [[-0.4, 0.6], [4.2, 7.0]])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['age', 'bmi']
    """
    params, limits = as_vector("params", params), np.asarray(conf_int, dtype="float64")
    check_same_size("names", "params", len(names), len(params), "coefficients")
    if limits.shape != (len(params), 2):
        raise ValueError(f"`conf_int` must be of shape ({len(params)}, 2). Received: shape {limits.shape}.")
    places = np.arange(len(params))
    known = np.isfinite(limits).all(axis=1)
    holds_zero = known & (limits[:, 0] <= 0) & (limits[:, 1] >= 0)
    colours = np.where(holds_zero, FAINT, COLOURS[0])
    ax.axvline(0, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=BAND_ORDER)
    lower, upper = limits[known].T
    ax.hlines(places[known], lower, upper, colors=list(colours[known]), linewidth=2.5, zorder=LINE_ORDER)
    ax.scatter(params[known], places[known], s=42, c=colours[known], zorder=TEXT_ORDER)
    ax.scatter(params[~known], places[~known], s=42, facecolors="white", edgecolors=COLOURS[0], zorder=TEXT_ORDER)
    label = "standardized coefficient" if standardized else "coefficient"
    style_axes(ax, f"{label}, {100 * level:g} % interval" if known.any() else label, "")
    ax.set_yticks(places, [label_text(name, 24) for name in names])
    ax.set_ylim(len(params) - 0.4, -0.6)
    ax.grid(False, axis="y")
    return ax


def bands(
    ax: Axes,
    x: ArrayLike,
    *,
    mean_lower: ArrayLike,
    mean_upper: ArrayLike,
    obs_lower: ArrayLike | None = None,
    obs_upper: ArrayLike | None = None,
    colour: str | None = None,
    named: bool = False,
) -> Axes:
    """Draw a confidence band, and a prediction band around it, under a line and over its points.

    Args:
        ax: the Axes that `fitted_line` has drawn on.
        x: the feature, shape `(m,)`, in any order.
        mean_lower, mean_upper: confidence limits of the line at `x`, shape `(m,)`.
        obs_lower, obs_upper: prediction limits of an observation at `x`, shape `(m,)`, or `None`.
        colour: the colour of the bands; `None`: the colour of the line of one output.
        named: whether a legend names the bands.

    Returns:
        `ax`.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.bands(ax, [0.0, 1.0], mean_lower=[0.0, 0.8], mean_upper=[0.4, 1.2])
    """
    x = as_vector("x", x)
    order = np.argsort(x, kind="stable")
    colour = COLOURS[1] if colour is None else colour
    for kind, lower, upper, alpha, name in (
        ("obs", obs_lower, obs_upper, 0.13, "interval of an observation"),
        ("mean", mean_lower, mean_upper, 0.28, "interval of the mean"),
    ):
        if lower is None or upper is None:
            continue
        low, high = as_vector(f"{kind}_lower", lower), as_vector(f"{kind}_upper", upper)
        check_same_size("x", f"{kind}_lower", len(x), len(low), "values")
        check_same_size("x", f"{kind}_upper", len(x), len(high), "values")
        label = name if named else None
        ax.fill_between(
            x[order], low[order], high[order], color=colour, alpha=alpha, linewidth=0, zorder=BAND_ORDER, label=label
        )
    return ax
