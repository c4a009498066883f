"""How sure a fit is: coefficients with intervals, bands around a line."""

import numpy as np
from matplotlib.axes import Axes

from keras_linreg.plots.style import BAND, COLOURS, INK, LINE, NAMES, same, text, tidy, vector


def coefficients(ax: Axes, names, params, conf_int, *, level=0.95) -> Axes:
    """Draw coefficients with their intervals, the first on top.

    An interval that holds zero is fainter; a coefficient without one (aliased, or not estimable) is a hollow point.

    Args:
        ax: the Axes to draw on.
        names: of the coefficients, p of them.
        params: the coefficients, shape `(p,)`.
        conf_int: their limits, shape `(p, 2)`; NaN where there are none.
        level: the coverage, for the axis's label.

    Returns:
        `ax`. `ax.collections[0]` holds the intervals, from top to bottom.

    Raises:
        ValueError: when the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.coefficients(ax, ["age", "bmi"], [0.1, 5.6], [[-0.4, 0.6], [4.2, 7.0]])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['age', 'bmi']
    """
    params, limits = vector("params", params), np.asarray(conf_int, dtype="float64")
    same("names", "params", len(names), len(params), "coefficients")
    if limits.shape != (len(params), 2):
        raise ValueError(f"`conf_int` must be of shape ({len(params)}, 2). Received: shape {limits.shape}.")
    places = np.arange(len(params))
    known = np.isfinite(limits).all(axis=1)
    holds_zero = known & (limits[:, 0] <= 0) & (limits[:, 1] >= 0)
    colours = np.where(holds_zero, "#8FB8D6", COLOURS[0])
    ax.axvline(0, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=BAND)
    lower, upper = limits[known].T
    ax.hlines(places[known], lower, upper, colors=list(colours[known]), linewidth=2.5, zorder=LINE)
    ax.scatter(params[known], places[known], s=42, c=colours[known], zorder=NAMES)
    ax.scatter(params[~known], places[~known], s=42, facecolors="white", edgecolors=COLOURS[0], zorder=NAMES)
    tidy(ax, f"coefficient and {100 * level:g} % interval" if known.any() else "coefficient", "")
    ax.set_yticks(places, [text(name, 24) for name in names])
    ax.set_ylim(len(params) - 0.4, -0.6)
    ax.grid(False, axis="y")
    return ax


def bands(ax: Axes, x, *, mean_lower, mean_upper, obs_lower=None, obs_upper=None, colour=None, named=False) -> Axes:
    """Draw a confidence band, and a prediction band around it, under a line and over its points.

    Args:
        ax: the Axes that `fitted_line` has drawn on.
        x: the feature, shape `(m,)`, in any order.
        mean_lower, mean_upper: confidence limits of the line there, shape `(m,)`.
        obs_lower, obs_upper: prediction limits of an observation there, shape `(m,)`, or `None`.
        colour: of the bands; `None` is that of the line of one output.
        named: whether a legend is to name them.

    Returns:
        `ax`.

    Raises:
        ValueError: when the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.bands(ax, [0.0, 1.0], mean_lower=[0.0, 0.8], mean_upper=[0.4, 1.2])
    """
    x = vector("x", x)
    order = np.argsort(x, kind="stable")
    colour = COLOURS[1] if colour is None else colour
    pairs = {"obs_lower": obs_lower, "obs_upper": obs_upper}, {"mean_lower": mean_lower, "mean_upper": mean_upper}
    looks = (0.13, "interval of an observation"), (0.28, "interval of the mean")
    for pair, (alpha, name) in zip(pairs, looks, strict=True):
        if any(limit is None for limit in pair.values()):
            continue
        limits = {key: vector(key, limit) for key, limit in pair.items()}
        for key, limit in limits.items():
            same("x", key, len(x), len(limit), "values")
        lower, upper = (limit[order] for limit in limits.values())
        label = name if named else None
        ax.fill_between(x[order], lower, upper, color=colour, alpha=alpha, linewidth=0, zorder=BAND, label=label)
    return ax
