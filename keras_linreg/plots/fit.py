"""The fitted line over its points, predictions against observations, and the loss of the training."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import ArrayLike

from keras_linreg.plots import intervals
from keras_linreg.plots.figures import padded_range
from keras_linreg.plots.style import (
    COLOURS,
    INK,
    LINE_ORDER,
    Names,
    add_legend,
    as_columns,
    check_same_size,
    draw_points,
    output_labels,
    style_axes,
)

# From the arguments of `bands` to the keys of `predict_interval`.
LIMITS = {
    "mean_lower": "mean_ci_lower",
    "mean_upper": "mean_ci_upper",
    "obs_lower": "obs_ci_lower",
    "obs_upper": "obs_ci_upper",
}


def fitted_line(
    ax: Axes,
    x: ArrayLike,
    y: ArrayLike,
    line_x: ArrayLike,
    line_y: ArrayLike,
    *,
    xlabel: object = "x",
    ylabel: object = "y",
    label: Names | None = None,
    bands: Mapping[str, ArrayLike] | None = None,
) -> Axes:
    """Draw the points of one feature and the fitted line.

    Each of several outputs has its own colour, and a legend names them.

    Args:
        ax: the Axes to draw on.
        x: the feature, shape `(n,)`.
        y: the observed values, shape `(n,)` or `(n, outputs)`.
        line_x: values of the feature to draw the line through, shape `(m,)`, in any order.
        line_y: the predictions at `line_x`, shape `(m,)` or `(m, outputs)`.
        xlabel: the feature's name.
        ylabel: the target's name.
        label: the name of the line in the legend, or a sequence with one name per output. `None` (default): no legend
            for one output, `y0, y1, ...` for several.
        bands: the result of `ExactLinearRegression.predict_interval(line_x)`: limits of shape `(m,)` or
            `(m, outputs)`, drawn as confidence and prediction bands. `None`: no bands.

    Returns:
        `ax`. The line of output `j` is `ax.lines[j]`, its points are `ax.collections[j]`; the bands come after all
        points.

    Raises:
        ValueError: `x` and `y`, or `line_x` and `line_y`, differ in length, or `y` and `line_y` in outputs.

    Example:
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from keras_linreg import plots
    >>> x = np.linspace(0.0, 10.0, 100)
    >>> ax = plots.fitted_line(Figure().subplots(), x, x + np.sin(x), [0, 10], [0.1, 9.9], xlabel="rooms")
    >>> ax.get_xlabel()
    'rooms'
    """
    x, line_x = np.ravel(x), np.ravel(line_x)
    y, line_y = as_columns("y", y), as_columns("line_y", line_y)
    check_same_size("x", "y", len(x), len(y), "rows")
    check_same_size("line_x", "line_y", len(line_x), len(line_y), "rows")
    check_same_size("y", "line_y", y.shape[1], line_y.shape[1], "outputs")
    order = np.argsort(line_x, kind="stable")
    several = y.shape[1] > 1
    names = output_labels(label, y.shape[1])
    named = several or label is not None
    for j in range(y.shape[1]):
        # One output: blue points under an orange line. Several: one colour for the points and the line of each.
        colour = COLOURS[j % len(COLOURS)]
        draw_points(ax, x, y[:, j], colour)
        line_colour = colour if several else COLOURS[1]
        name = names[j] if named else None
        ax.plot(line_x[order], line_y[order, j], color=line_colour, linewidth=2.5, zorder=LINE_ORDER, label=name)
    for j in range(y.shape[1]):
        if bands is not None:
            limits = {argument: as_columns(argument, bands[key])[:, j] for argument, key in LIMITS.items()}
            band_colour = COLOURS[j % len(COLOURS)] if several else None
            intervals.bands(ax, line_x, colour=band_colour, named=not several, **limits)
    style_axes(ax, xlabel, ylabel)
    if named or bands is not None:
        add_legend(ax, len(names))
    return ax


def actual_vs_predicted(
    ax: Axes, y: ArrayLike, predicted: ArrayLike, *, names: Names | None = None, unit: object = None
) -> Axes:
    """Draw predictions against observed values, and the diagonal: the points of a perfect fit lie on it.

    Both axes have the same limits and scale, so that the distance from the diagonal is the error.

    Args:
        ax: the Axes to draw on.
        y: the observed values, shape `(n,)` or `(n, outputs)`.
        predicted: the predictions, of the shape of `y` up to a trailing dimension of 1.
        names: a name for each output, for the legend; `None` (default): `y0, y1, ...`. There is no legend for one
            output, or for more than six, because there are only six colours.
        unit: the name of the target, for the axes' labels: `"actual price"`, `"predicted price"`.

    Returns:
        `ax`. The diagonal is `ax.lines[0]`, the points of output `j` are `ax.collections[j]`.

    Raises:
        ValueError: `y` and `predicted` differ in rows or outputs.

    Example:
    >>> from matplotlib.figure import Figure
    >>> from keras_linreg import plots
    >>> ax = plots.actual_vs_predicted(Figure().subplots(), [1.0, 2.0, 3.0], [1.1, 1.9, 3.2], unit="price")
    >>> ax.get_ylabel()
    'predicted price'
    """
    y, predicted = as_columns("y", y), as_columns("predicted", predicted)
    check_same_size("y", "predicted", len(y), len(predicted), "rows")
    check_same_size("y", "predicted", y.shape[1], predicted.shape[1], "outputs")
    low, high = padded_range(y, predicted)
    # A line without ends still crosses the picture if the caller sets other limits.
    ax.axline((low, low), (high, high), color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE_ORDER)
    outputs = y.shape[1]
    labels = output_labels(names, outputs)
    for j in range(outputs):
        draw_points(ax, y[:, j], predicted[:, j], COLOURS[j % len(COLOURS)], label=labels[j], total=y.size)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set_aspect("equal", adjustable="box")
    suffix = "" if unit is None else f" {unit}"
    style_axes(ax, f"actual{suffix}", f"predicted{suffix}")
    # Both axes get the same ticks: by default the longer one has more.
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if outputs > 1:
        add_legend(ax, outputs)
    return ax


def loss_curve(ax: Axes, epochs: ArrayLike, loss: ArrayLike, val_loss: ArrayLike | None = None) -> Axes:
    """Draw the loss, and the validation loss if there is one, over the epochs.

    The scale is logarithmic if the losses are positive and span more than a factor of ten. Values that are not finite
    are left out, so an epoch without validation may have a `val_loss` of NaN.

    Args:
        ax: the Axes to draw on.
        epochs: the numbers of the epochs, shape `(m,)`.
        loss: the training loss, shape `(m,)`.
        val_loss: the validation loss, shape `(m,)`, or `None`.

    Returns:
        `ax`. The training loss is `ax.lines[0]`, the validation loss `ax.lines[1]`.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from matplotlib.figure import Figure
    >>> from keras_linreg import plots
    >>> plots.loss_curve(Figure().subplots(), [1, 2, 3], [33.0, 4.0, 1.1]).get_yscale()
    'log'
    """
    epochs = np.ravel(np.asarray(epochs, dtype="float64"))
    curves = {"loss": loss} if val_loss is None else {"loss": loss, "val_loss": val_loss}
    names = {"loss": "training", "val_loss": "validation"}
    drawn = []
    for (argument, curve), colour in zip(curves.items(), COLOURS, strict=False):
        values = np.ravel(np.asarray(curve, dtype="float64"))
        check_same_size("epochs", argument, len(epochs), len(values), "values")
        finite = np.isfinite(values)
        drawn.append(values[finite])
        # A single point has no line, and the points of a short run are of interest.
        marker = "o" if finite.sum() <= 30 else None
        ax.plot(
            *(epochs[finite], values[finite]),
            color=colour,
            linewidth=2,
            linestyle="-" if argument == "loss" else (0, (4, 2)),
            marker=marker,
            markersize=5 if finite.sum() <= 12 else 3,
            zorder=LINE_ORDER,
            label=names[argument],
        )
    values = np.concatenate(drawn)
    style_axes(ax, "epoch", "loss")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if values.size and values.min() > 0 and values.max() > 10 * values.min():
        _log_scale(ax, values.min(), values.max())
    if len(epochs) == 1:
        ax.set(xlim=(epochs[0] - 1, epochs[0] + 1), xticks=epochs)
    if val_loss is not None:
        add_legend(ax, 2)
    return ax


def _log_scale(ax: Axes, low: float, high: float) -> None:
    """Set a logarithmic scale, with plain numbers as labels if there are few decades."""
    ax.set_yscale("log")
    decades = np.log10(high / low)
    if decades <= 4:  # 0.5, 1, 2, 5 rather than powers of ten
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades <= 2.5 else (1,), numticks=12))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
