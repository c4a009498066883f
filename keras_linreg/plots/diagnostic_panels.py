"""The four diagnostic panels that R draws of a fit."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from scipy import special

from keras_linreg.plots.figures import padded_range, title
from keras_linreg.plots.style import (
    COLOURS,
    INK,
    LINE_ORDER,
    TEXT_ORDER,
    as_vector,
    check_same_size,
    draw_points,
    label_text,
    style_axes,
)
from keras_linreg.utils.types import Array

MIN_POINTS_OF_TREND = 10
TREND_SPAN = 2 / 3  # the share of all points that determines the trend at one place, as in R's lowess
TREND_PLACES = 60

Labels = Mapping[int, object]


def residuals_vs_fitted(ax: Axes, fitted: ArrayLike, residuals: ArrayLike, *, labels: Labels | None = None) -> Axes:
    """Draw residuals against fitted values, with their trend: a bend means that a straight line is not enough.

    Args:
        ax: the Axes to draw on.
        fitted: the fitted values, shape `(n,)`.
        residuals: the residuals, shape `(n,)`; values that are not finite are left out.
        labels: the labels of some points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`, the trend the last of `ax.lines`.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.residuals_vs_fitted(ax, [1.0, 2.0, 3.0], [0.1, -0.2, 0.1], labels={1: "row 1"})
    """
    x, y = _points("fitted", fitted, "residuals", residuals)
    ax.axhline(0, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE_ORDER)
    _draw_labelled(ax, x, y, labels)
    _draw_trend(ax, x, y)
    style_axes(ax, "fitted value", "residual")
    return ax


def normal_qq(ax: Axes, quantiles: ArrayLike, standardized: ArrayLike, *, labels: Labels | None = None) -> Axes:
    """Draw sorted standardised residuals against normal quantiles, and the line through their quartiles, as R does.

    Args:
        ax: the Axes to draw on.
        quantiles: normal quantiles, shape `(n,)`.
        standardized: the sorted residuals, shape `(n,)`.
        labels: the labels of some points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`, the line is `ax.lines[0]`.

    Raises:
        ValueError: the lengths differ.

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
        ax.axline((0.0, ends.mean()), slope=slope, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE_ORDER)
    _draw_labelled(ax, x, y, labels, below=8)
    ax.margins(y=0.1)
    style_axes(ax, "normal quantile", "standardised residual")
    return ax


def scale_location(ax: Axes, fitted: ArrayLike, standardized: ArrayLike, *, labels: Labels | None = None) -> Axes:
    """Draw `sqrt(abs(standardised residual))` against fitted values: a slope means unequal variances.

    Args:
        ax: the Axes to draw on.
        fitted: the fitted values, shape `(n,)`.
        standardized: the standardised residuals, shape `(n,)`; values that are not finite are left out.
        labels: the labels of some points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`, the trend the last of `ax.lines`.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.scale_location(ax, [1.0, 2.0, 3.0], [0.4, -1.2, 0.9])
    """
    x, y = _points("fitted", fitted, "standardized", standardized)
    y = np.sqrt(np.abs(y))
    _draw_labelled(ax, x, y, labels)
    _draw_trend(ax, x, y)
    style_axes(ax, "fitted value", "√|standardised residual|")
    ax.set_ylim(bottom=0)
    return ax


def residuals_vs_leverage(
    ax: Axes, leverage: ArrayLike, standardized: ArrayLike, rank: int, *, labels: Labels | None = None
) -> Axes:
    """Draw standardised residuals against leverage, with contours of Cook's distance at 0.5 and 1.

    ```python
    cooks_distance = standardized**2 / rank * leverage / (1 - leverage)
    ```

    Args:
        ax: the Axes to draw on.
        leverage: the leverage of each point, shape `(n,)`.
        standardized: the standardised residuals, shape `(n,)`; values that are not finite are left out.
        rank: the number of parameters.
        labels: the labels of some points, `{position: text}`.

    Returns:
        `ax`. The points are `ax.collections[0]`. Only the part of a contour near the points is drawn.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.residuals_vs_leverage(ax, [0.2, 0.5, 0.4], [0.4, -1.2, 0.9], rank=2)
    """
    x, y = _points("leverage", leverage, "standardized", standardized)
    ax.axhline(0, color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE_ORDER)
    _draw_labelled(ax, x, y, labels)
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
    style_axes(ax, "leverage", "standardised residual")
    return ax


def diagnostics(
    axes: Sequence[Axes] | NDArray[np.object_],
    fitted: ArrayLike,
    residuals: ArrayLike,
    standardized: ArrayLike,
    leverage: ArrayLike,
    rank: int,
    *,
    quantiles: tuple[ArrayLike, ArrayLike] | None = None,
    labels: Labels | None = None,
) -> list[Axes]:
    """Draw the four panels that R draws of a fit.

    Args:
        axes: four Axes.
        fitted: the fitted values of the rows to draw, shape `(n,)`.
        residuals: their residuals, shape `(n,)`.
        standardized: their standardised residuals, shape `(n,)`.
        leverage: their leverage, shape `(n,)`.
        rank: the number of parameters.
        quantiles: normal quantiles and sorted standardised residuals, of more rows than are drawn, each of shape
            `(m,)`; `None`: of the rows that are drawn.
        labels: the labels of some points, `{position: text}`.

    Returns:
        The four Axes: residuals against fitted values, normal Q-Q, scale-location, residuals against leverage.

    Raises:
        ValueError: there are not four Axes, or the lengths differ.

    Example:
    >>> import numpy as np
    >>> from keras_linreg import plots
    >>> picture, axes = plots.figure(panels=4, columns=2)
    >>> e = np.random.default_rng(0).normal(size=20)
    >>> axes = plots.diagnostics(axes, np.arange(20.0), e, e / e.std(), np.full(20, 0.1), rank=2)
    """
    panels: list[Axes] = np.ravel(np.asarray(axes, dtype=object)).tolist()
    if len(panels) != 4:
        raise ValueError(f"`axes` must be four Axes. Received: {len(panels)}.")
    standardized = as_vector("standardized", standardized)
    if quantiles is None:
        finite = np.sort(standardized[np.isfinite(standardized)])
        quantiles = special.ndtri((np.arange(len(finite)) + 0.5) / max(len(finite), 1)), finite
    normal, ordered = (as_vector("quantiles", part) for part in quantiles)
    residuals_vs_fitted(panels[0], fitted, residuals, labels=labels)
    normal_qq(panels[1], normal, ordered, labels=_labels_by_rank(labels or {}, standardized, ordered))
    scale_location(panels[2], fitted, standardized, labels=labels)
    residuals_vs_leverage(panels[3], leverage, standardized, rank, labels=labels)
    titles = "Residuals vs fitted", "Normal Q-Q", "Scale-location", "Residuals vs leverage"
    for ax, text in zip(panels, titles, strict=True):
        title(ax, text)
    return panels


def _labels_by_rank(labels: Labels, standardized: Array, ordered: Array) -> dict[int, object]:
    """Return the labels of points by their positions in the sorted residuals, which may lack some of the points."""
    by_rank: dict[int, object] = {}
    for position, name in labels.items():
        if np.isfinite(standardized[position]) and len(ordered):
            nearest = int(np.abs(ordered - standardized[position]).argmin())
            if abs(ordered[nearest] - standardized[position]) <= 0.01 * abs(standardized[position]):
                by_rank.setdefault(nearest, name)
    return by_rank


def _points(first: str, x: ArrayLike, second: str, y: ArrayLike) -> tuple[Array, Array]:
    """Return two arguments of equal length as float64 vectors."""
    x, y = as_vector(first, x), as_vector(second, y)
    check_same_size(first, second, len(x), len(y), "values")
    return x, y


def _draw_labelled(ax: Axes, x: Array, y: Array, labels: Labels | None, below: int = 0) -> None:
    """Draw points and the labels of some, on the side with more room: `below` points lower, clear of a rising line."""
    good = np.isfinite(x) & np.isfinite(y)
    draw_points(ax, x[good], y[good], COLOURS[0])
    middle = (x[good].min() + x[good].max()) / 2 if good.any() else 0.0
    for i, (position, name) in enumerate((labels or {}).items()):
        if good[position]:
            shift = (0, 5, -5)[i % 3]  # the labels of neighbours should not overlap
            left = x[position] > middle
            ax.annotate(
                *(label_text(name), (x[position], y[position])),
                xytext=(-5 if left else 5, (below if left else -below) or shift),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=9,
                color=INK,
                zorder=TEXT_ORDER,
            )


def _draw_trend(ax: Axes, x: Array, y: Array) -> None:
    """Draw a smooth trend: at each place, the value of a line fitted to the nearest points.

    The weight of a point falls with its distance from the place (Cleveland 1979, lowess).
    """
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < MIN_POINTS_OF_TREND or x.min() == x.max():
        return
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    # Quantiles are dense among dense points.
    places = np.unique(np.quantile(x, np.linspace(0, 1, TREND_PLACES)))
    count = max(int(TREND_SPAN * len(x)), 2)
    smooth = np.empty(len(places))
    for i, place in enumerate(places):
        distance = np.abs(x - place)
        width = max(np.partition(distance, count - 1)[count - 1], np.finfo(float).tiny)
        weight = np.clip(1 - (distance / width) ** 3, 0, None) ** 3 + 1e-12
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = np.average((x - mean_x) ** 2, weights=weight)
        slope = np.average((x - mean_x) * (y - mean_y), weights=weight) / spread if spread > 0 else 0.0
        smooth[i] = mean_y + slope * (place - mean_x)
    ax.plot(places, smooth, color=COLOURS[1], linewidth=2, zorder=LINE_ORDER)
