"""The fit and how it came about: the line over its points, predictions against what was observed, the loss."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from keras_linreg.plots import intervals
from keras_linreg.plots.canvas import padded_range
from keras_linreg.plots.style import COLOURS, INK, LINE, columns, legend, names_of, same, scatter, tidy

LIMITS = {
    "mean_lower": "mean_ci_lower",
    "mean_upper": "mean_ci_upper",
    "obs_lower": "obs_ci_lower",
    "obs_upper": "obs_ci_upper",
}


def fitted_line(ax: Axes, x, y, line_x, line_y, *, xlabel="x", ylabel="y", label=None, bands=None) -> Axes:
    """Draw the points of one feature and the fitted line.

    Where there are several outputs, each has its colour, and a legend names them.

    Args:
        ax: the Axes to draw on.
        x: the feature, shape `(n,)`.
        y: the observed values, shape `(n,)` or `(n, outputs)`.
        line_x: where the line was evaluated, shape `(m,)`, in any order.
        line_y: the line there, shape `(m,)` or `(m, outputs)`.
        xlabel: the feature's name.
        ylabel: the target's name.
        label: what the legend calls the line, or a sequence with one name per output. `None` (default): no
            legend for one output, `y0, y1, ...` for several.
        bands: what `ExactLinearRegression.predict_interval` returns at `line_x`: limits of shape `(m,)` or
            `(m, outputs)`, drawn as bands of confidence and prediction; `None`: no bands.

    Returns:
        `ax`. The line of output `j` is `ax.lines[j]`, its points are `ax.collections[j]`, ahead of the
        bands.

    Raises:
        ValueError: when `x` and `y`, or `line_x` and `line_y`, differ in length, or `y` and `line_y` in
            outputs.

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
    y, line_y = columns("y", y), columns("line_y", line_y)
    same("x", "y", len(x), len(y), "rows")
    same("line_x", "line_y", len(line_x), len(line_y), "rows")
    same("y", "line_y", y.shape[1], line_y.shape[1], "outputs")
    order = np.argsort(line_x, kind="stable")
    several = y.shape[1] > 1
    names = names_of(label, y.shape[1])
    named = several or label is not None
    for j in range(y.shape[1]):
        # One output: blue points under an orange line. Several: the colour says which output, for both.
        colour = COLOURS[j % len(COLOURS)]
        scatter(ax, x, y[:, j], colour)
        line_colour = colour if several else COLOURS[1]
        name = names[j] if named else None
        ax.plot(line_x[order], line_y[order, j], color=line_colour, linewidth=2.5, zorder=LINE, label=name)
    for j in range(y.shape[1] if bands is not None else 0):
        limits = {key: columns(key, bands[theirs])[:, j] for key, theirs in LIMITS.items()}
        own = COLOURS[j % len(COLOURS)] if several else None
        intervals.bands(ax, line_x, colour=own, named=not several, **limits)
    tidy(ax, xlabel, ylabel)
    if named or bands is not None:
        legend(ax, len(names))
    return ax


def actual_vs_predicted(ax: Axes, y, predicted, *, names=None, unit=None) -> Axes:
    """Draw predictions against what was observed, with the diagonal on which a perfect fit lies.

    Both axes have the same limits and scale, so that the distance from the diagonal is the error.

    Args:
        ax: the Axes to draw on.
        y: the observed values, shape `(n,)` or `(n, outputs)`.
        predicted: the predictions, of the shape of `y` up to a trailing dimension of 1.
        names: a name for each output, for the legend; `None` (default): `y0, y1, ...`. One output has no
            legend, nor have more than six: there are no more colours that everyone can tell apart.
        unit: what is predicted, for the axes' labels: `"actual price"`, `"predicted price"`.

    Returns:
        `ax`. The diagonal is `ax.lines[0]`, the points of output `j` are `ax.collections[j]`.

    Raises:
        ValueError: when `y` and `predicted` differ in rows or outputs.

    Example:
    >>> from matplotlib.figure import Figure
    >>> from keras_linreg import plots
    >>> ax = plots.actual_vs_predicted(Figure().subplots(), [1.0, 2.0, 3.0], [1.1, 1.9, 3.2], unit="price")
    >>> ax.get_ylabel()
    'predicted price'
    """
    y, predicted = columns("y", y), columns("predicted", predicted)
    same("y", "predicted", len(y), len(predicted), "rows")
    same("y", "predicted", y.shape[1], predicted.shape[1], "outputs")
    low, high = padded_range(y, predicted)
    # Without ends, so that it still crosses the whole picture when the caller sets other limits.
    ax.axline((low, low), (high, high), color=INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=LINE)
    outputs = y.shape[1]
    labels = names_of(names, outputs)
    for j in range(outputs):
        scatter(ax, y[:, j], predicted[:, j], COLOURS[j % len(COLOURS)], label=labels[j], crowd=y.size)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set_aspect("equal", adjustable="box")
    suffix = "" if unit is None else f" {unit}"
    tidy(ax, f"actual{suffix}", f"predicted{suffix}")
    # The same limits deserve the same ticks, which each axis would choose for itself by its own length.
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if outputs > 1:
        legend(ax, outputs)
    return ax


def loss_curve(ax: Axes, epochs, loss, val_loss=None) -> Axes:
    """Draw the loss, and the validation loss if there is one, over the epochs.

    The scale is logarithmic where the losses are positive and span more than a factor of ten. Values that are
    not finite are left out, so epochs without validation may hold NaN.

    Args:
        ax: the Axes to draw on.
        epochs: the epochs' numbers, shape `(m,)`.
        loss: the training loss, shape `(m,)`.
        val_loss: the validation loss, shape `(m,)`, or `None`.

    Returns:
        `ax`. The training loss is `ax.lines[0]`, the validation loss `ax.lines[1]`.

    Raises:
        ValueError: when the lengths differ.

    Example:
    >>> from matplotlib.figure import Figure
    >>> from keras_linreg import plots
    >>> plots.loss_curve(Figure().subplots(), [1, 2, 3], [33.0, 4.0, 1.1]).get_yscale()
    'log'
    """
    epochs = np.ravel(np.asarray(epochs, dtype="float64"))
    curves = {"loss": loss} if val_loss is None else {"loss": loss, "val_loss": val_loss}
    names = {"loss": "training", "val_loss": "validation"}
    seen = []
    for (argument, values), colour in zip(curves.items(), COLOURS, strict=False):
        values = np.ravel(np.asarray(values, dtype="float64"))
        same("epochs", argument, len(epochs), len(values), "values")
        finite = np.isfinite(values)
        seen.append(values[finite])
        # A lone point has no line to be seen by, and a short run is read point by point.
        marker = "o" if finite.sum() <= 30 else None
        ax.plot(
            *(epochs[finite], values[finite]),
            color=colour,
            linewidth=2,
            linestyle="-" if argument == "loss" else (0, (4, 2)),
            marker=marker,
            markersize=5 if finite.sum() <= 12 else 3,
            zorder=LINE,
            label=names[argument],
        )
    values = np.concatenate(seen)
    tidy(ax, "epoch", "loss")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if values.size and values.min() > 0 and values.max() > 10 * values.min():
        _log_scale(ax, values.min(), values.max())
    if len(epochs) == 1:
        ax.set(xlim=(epochs[0] - 1, epochs[0] + 1), xticks=epochs)
    if val_loss is not None:
        legend(ax, 2)
    return ax


def _log_scale(ax, low, high):
    ax.set_yscale("log")
    decades = np.log10(high / low)
    if decades <= 4:  # few enough for plain numbers: 0.5, 1, 2, 5 rather than powers of ten
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades <= 2.5 else (1,), numticks=12))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
