"""Whether to believe a fit: the four panels of R."""

import numpy as np
from matplotlib.axes import Axes
from scipy import special

from keras_linreg.plots.canvas import padded_range, title
from keras_linreg.plots.style import COLOURS, INK, LINE, NAMES, same, scatter, text, tidy, vector

FEWEST_FOR_TREND = 10
SPAN = 2 / 3  # of the points, that a trend looks at around each place, as R's lowess does
PLACES = 60


def residuals_vs_fitted(ax: Axes, fitted, residuals, *, labels=None) -> Axes:
    """Draw residuals against fitted values, with their trend: a bend says that a straight line is not enough.

    Args:
        ax: the Axes to draw on.
        fitted: the fitted values, shape `(n,)`.
        residuals: shape `(n,)`; what is not finite is left out.
        labels: names of points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`, the trend the last of `ax.lines`.

    Raises:
        ValueError: when the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.residuals_vs_fitted(ax, [1.0, 2.0, 3.0], [0.1, -0.2, 0.1], labels={1: "row 1"})
    """
    x, y = _points("fitted", fitted, "residuals", residuals)
    ax.axhline(0, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE)
    _draw(ax, x, y, labels)
    _trend(ax, x, y)
    tidy(ax, "fitted value", "residual")
    return ax


def normal_qq(ax: Axes, quantiles, standardized, *, labels=None) -> Axes:
    """Draw ordered standardised residuals against normal quantiles, and the line through their quartiles, as R does.

    Args:
        ax: the Axes to draw on.
        quantiles: normal quantiles, shape `(n,)`.
        standardized: the residuals at them, shape `(n,)`.
        labels: names of points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`, the line is `ax.lines[0]`.

    Raises:
        ValueError: when the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.normal_qq(ax, [-0.97, 0.0, 0.97], [-1.1, 0.1, 0.9])
    """
    x, y = _points("quantiles", quantiles, "standardized", standardized)
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() > 1:
        ends = np.quantile(y[good], [0.25, 0.75])
        slope = (ends[1] - ends[0]) / (2 * special.ndtri(0.75))
        ax.axline((0.0, ends.mean()), slope=slope, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE)
    _draw(ax, x, y, labels, below=8)
    ax.margins(y=0.1)
    tidy(ax, "normal quantile", "standardised residual")
    return ax


def scale_location(ax: Axes, fitted, standardized, *, labels=None) -> Axes:
    """Draw the roots of the sizes of standardised residuals against fitted values: a slope says unequal variances.

    Args:
        ax: the Axes to draw on.
        fitted: the fitted values, shape `(n,)`.
        standardized: the standardised residuals, shape `(n,)`; what is not finite is left out.
        labels: names of points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`, the trend the last of `ax.lines`.

    Raises:
        ValueError: when the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.scale_location(ax, [1.0, 2.0, 3.0], [0.4, -1.2, 0.9])
    """
    x, y = _points("fitted", fitted, "standardized", standardized)
    y = np.sqrt(np.abs(y))
    _draw(ax, x, y, labels)
    _trend(ax, x, y)
    tidy(ax, "fitted value", "√|standardised residual|")
    ax.set_ylim(bottom=0)
    return ax


def residuals_vs_leverage(ax: Axes, leverage, standardized, rank, *, labels=None) -> Axes:
    """Draw standardised residuals against leverage, with contours of Cook's distance at 0.5 and 1.

    ```python
    cooks_distance = standardized**2 / rank * leverage / (1 - leverage)
    ```

    Args:
        ax: the Axes to draw on.
        leverage: shape `(n,)`.
        standardized: the standardised residuals, shape `(n,)`; what is not finite is left out.
        rank: the number of parameters.
        labels: names of points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`; contours are drawn where they are within reach of the points.

    Raises:
        ValueError: when the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.residuals_vs_leverage(ax, [0.2, 0.5, 0.4], [0.4, -1.2, 0.9], rank=2)
    """
    x, y = _points("leverage", leverage, "standardized", standardized)
    ax.axhline(0, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE)
    _draw(ax, x, y, labels)
    good = np.isfinite(x) & np.isfinite(y)
    right = min(1.08 * x[good].max(initial=0.0), 0.999) or 0.1
    low, high = padded_range(y[good], [0.0])
    reach = np.linspace(right / 200, right, 200)
    for distance in (0.5, 1.0):
        contour = np.sqrt(distance * rank * (1 - reach) / reach)
        for sign, end in ((1, high), (-1, -low)):
            inside = contour <= end
            if inside.any():
                ax.plot(reach[inside], sign * contour[inside], color=COLOURS[1], linewidth=1.2, linestyle="--")
                ax.annotate(
                    *(f"{distance:g}", (reach[-1], sign * contour[-1])),
                    xytext=(3, 0),
                    textcoords="offset points",
                    fontsize=9,
                    color=COLOURS[1],
                    va="center",
                    annotation_clip=False,
                )
    ax.set(xlim=(0, right), ylim=(low, high))
    tidy(ax, "leverage", "standardised residual")
    return ax


def diagnostics(axes, fitted, residuals, standardized, leverage, rank, *, quantiles=None, labels=None) -> list[Axes]:
    """Draw the four panels that R draws of a fit.

    Args:
        axes: four Axes.
        fitted, residuals, standardized, leverage: of the rows to draw, shape `(n,)`.
        rank: the number of parameters.
        quantiles: `(normal, standardised)` quantiles, of more rows than are drawn; `None` takes those of the rows.
        labels: names of points, `{position: text}`.

    Returns:
        The four Axes: residuals against fitted values, normal Q-Q, scale-location, residuals against leverage.

    Raises:
        ValueError: when there are not four Axes, or the lengths differ.

    Example:
    >>> import numpy as np
    >>> from keras_linreg import plots
    >>> picture, axes = plots.figure(panels=4, columns=2)
    >>> e = np.random.default_rng(0).normal(size=20)
    >>> axes = plots.diagnostics(axes, np.arange(20.0), e, e / e.std(), np.full(20, 0.1), rank=2)
    """
    axes = list(np.ravel(axes))
    if len(axes) != 4:
        raise ValueError(f"`axes` must be four Axes. Received: {len(axes)}.")
    standardized = vector("standardized", standardized)
    if quantiles is None:
        there = np.sort(standardized[np.isfinite(standardized)])
        quantiles = special.ndtri((np.arange(len(there)) + 0.5) / max(len(there), 1)), there
    normal, ordered = (vector("quantiles", part) for part in quantiles)
    named: dict[int, str] = {}
    for place, name in (labels or {}).items():  # of many rows not every one is among the quantiles
        if np.isfinite(standardized[place]) and len(ordered):
            nearest = int(np.abs(ordered - standardized[place]).argmin())
            if abs(ordered[nearest] - standardized[place]) <= 0.01 * abs(standardized[place]):
                named.setdefault(nearest, name)
    residuals_vs_fitted(axes[0], fitted, residuals, labels=labels)
    normal_qq(axes[1], normal, ordered, labels=named)
    scale_location(axes[2], fitted, standardized, labels=labels)
    residuals_vs_leverage(axes[3], leverage, standardized, rank, labels=labels)
    for ax, name in zip(
        axes, ("Residuals vs fitted", "Normal Q-Q", "Scale-location", "Residuals vs leverage"), strict=True
    ):
        title(ax, name)
    return axes


def _points(first: str, x, second: str, y) -> tuple[np.ndarray, np.ndarray]:
    x, y = vector(first, x), vector(second, y)
    same(first, second, len(x), len(y), "values")
    return x, y


def _draw(ax: Axes, x: np.ndarray, y: np.ndarray, labels, below: int = 0) -> None:
    """Draw the points, and the names of some of them on the side where there is room, `below` a rising line or not."""
    good = np.isfinite(x) & np.isfinite(y)
    scatter(ax, x[good], y[good], COLOURS[0])
    middle = (x[good].min() + x[good].max()) / 2 if good.any() else 0.0
    for i, (place, name) in enumerate((labels or {}).items()):
        if good[place]:
            beside = (0, 5, -5)[i % 3]  # names of neighbours
            left = x[place] > middle
            ax.annotate(
                *(text(name), (x[place], y[place])),
                xytext=(-5 if left else 5, (below if left else -below) or beside),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=9,
                color=INK,
                zorder=NAMES,
            )


def _trend(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draw a smooth trend: lines fitted around each of some places, near points weighing more (Cleveland 1979)."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < FEWEST_FOR_TREND or x.min() == x.max():
        return
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    # At places as dense as the points are.
    places = np.unique(np.quantile(x, np.linspace(0, 1, PLACES)))
    count = max(int(SPAN * len(x)), 2)
    smooth = np.empty(len(places))
    for i, place in enumerate(places):
        distance = np.abs(x - place)
        width = max(np.partition(distance, count - 1)[count - 1], np.finfo(float).tiny)
        weight = np.clip(1 - (distance / width) ** 3, 0, None) ** 3 + 1e-12
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = np.average((x - mean_x) ** 2, weights=weight)
        slope = np.average((x - mean_x) * (y - mean_y), weights=weight) / spread if spread > 0 else 0.0
        smooth[i] = mean_y + slope * (place - mean_x)
    ax.plot(places, smooth, color=COLOURS[1], linewidth=2, zorder=LINE)
