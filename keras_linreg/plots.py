"""Pictures of a regression: functions of arrays and a Matplotlib Axes.

They draw on the Axes they are given and return it, keep no state and never touch `pyplot`, so they need no
display and leave no figure open. Each sets only what it knows (labels, scale, grid); size, title and saving
are the caller's. `figure` makes a Figure to draw on where the caller has none.
"""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from PIL import Image

# Okabe and Ito's colours, told apart with every common colour blindness; the yellow is left out (too faint
# for lines).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_INK = "#333333"
_POINTS, _LINE = 2.0, 3.0  # z-orders; a confidence band goes between, at 2.5


def fitted_line(ax: Axes, x, y, line_x, line_y, *, xlabel="x", ylabel="y", label=None) -> Axes:
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

    Returns:
        `ax`. The line of output `j` is `ax.lines[j]`, its points are `ax.collections[j]`. A band belongs
        between them: `ax.fill_between(line_x, lower, upper, alpha=0.2, zorder=2.5)`.

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
    y, line_y = _columns("y", y), _columns("line_y", line_y)
    _same("x", "y", len(x), len(y), "rows")
    _same("line_x", "line_y", len(line_x), len(line_y), "rows")
    _same("y", "line_y", y.shape[1], line_y.shape[1], "outputs")
    order = np.argsort(line_x, kind="stable")
    several = y.shape[1] > 1
    names = _names(label, y.shape[1])
    for j in range(y.shape[1]):
        # One output: blue points under an orange line. Several: the colour says which output, for both.
        colour = COLOURS[j % len(COLOURS)]
        _scatter(ax, x, y[:, j], colour)
        line_colour = colour if several else COLOURS[1]
        ax.plot(line_x[order], line_y[order, j], color=line_colour, linewidth=2.5, zorder=_LINE, label=names[j])
    _tidy(ax, xlabel, ylabel)
    if label is not None or several:
        _legend(ax, len(names))
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
    y, predicted = _columns("y", y), _columns("predicted", predicted)
    _same("y", "predicted", len(y), len(predicted), "rows")
    _same("y", "predicted", y.shape[1], predicted.shape[1], "outputs")
    low, high = padded_range(y, predicted)
    # Without ends, so that it still crosses the whole picture when the caller sets other limits.
    ax.axline((low, low), (high, high), color=_INK, linewidth=1.2, linestyle=(0, (5, 4)), zorder=_LINE)
    outputs = y.shape[1]
    labels = _names(names, outputs)
    for j in range(outputs):
        _scatter(ax, y[:, j], predicted[:, j], COLOURS[j % len(COLOURS)], label=labels[j], crowd=y.size)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set_aspect("equal", adjustable="box")
    suffix = "" if unit is None else f" {unit}"
    _tidy(ax, f"actual{suffix}", f"predicted{suffix}")
    # The same limits deserve the same ticks, which each axis would choose for itself by its own length.
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if outputs > 1:
        _legend(ax, outputs)
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
        _same("epochs", argument, len(epochs), len(values), "values")
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
            zorder=_LINE,
            label=names[argument],
        )
    values = np.concatenate(seen)
    _tidy(ax, "epoch", "loss")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if values.size and values.min() > 0 and values.max() > 10 * values.min():
        _log_scale(ax, values.min(), values.max())
    if len(epochs) == 1:
        ax.set(xlim=(epochs[0] - 1, epochs[0] + 1), xticks=epochs)
    if val_loss is not None:
        _legend(ax, 2)
    return ax


def figure(panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a Figure, outside of `pyplot`, with a row of Axes: `(figure, [ax, ...])`.

    Args:
        panels: the number of Axes, side by side.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (left, right) = plots.figure(panels=2)
    >>> ax = plots.loss_curve(right, [1, 2], [0.5, 0.4])
    """
    picture = Figure(figsize=(5.5 if panels == 1 else 5 * panels, 4.5), facecolor="white", layout="constrained")
    picture.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(picture)
    return picture, list(picture.subplots(1, panels, squeeze=False)[0])


def save_gif(path, picture: Figure, steps: Iterable, *, dpi: float = 80, seconds: float = 0.12, hold: float = 2):
    """Write an animation: the picture as it is after each of `steps`.

    Args:
        path: the file to write.
        picture: the Figure, whose layout stays as it is after the first step.
        steps: an iterable, not empty, that redraws the picture each time it is asked for its next item.
        dpi: pixels per inch of the Figure's size; the Figure keeps it.
        seconds: how long a frame stays.
        hold: how long the last one stays, in seconds; the first stays for half of that.

    Example:
    ```python
    picture, (ax,) = plots.figure()
    steps = (plots.fitted_line(ax.clear() or ax, x, y, x, slope * x) for slope in np.linspace(0, 1, 20))
    plots.save_gif("slope.gif", picture, steps)
    ```
    """
    frames = []
    # Straight from the canvas: savefig draws everything twice.
    canvas = FigureCanvasAgg(picture)
    picture.set_dpi(dpi)
    for _ in steps:
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
        # As a palette, a third of the memory, and at Pillow's best rather than its web colours.
        frames.append(image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE))
        picture.set_layout_engine("none")
    durations = [round(1000 * seconds)] * len(frames)
    durations[0], durations[-1] = round(500 * hold), round(1000 * hold)
    # Matplotlib's PillowWriter has one duration for all frames.
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def title(ax: Axes, text) -> Axes:
    """Set a title, above the left end of the Axes."""
    ax.set_title(_text(text), fontsize=13, loc="left", color=_INK)
    return ax


def padded_range(values, *others, reach: float | None = None) -> tuple[float, float]:
    """Return axis limits that hold the finite `values` and `others`, with a little air.

    Args:
        values: an array of any shape that is held in full.
        *others: arrays of any shape.
        reach: how far the `others` may widen the limits, in widths of `values`; `None` (default): as far as
            they go.

    Example:
    >>> from keras_linreg import plots
    >>> low, high = plots.padded_range([0.0, 10.0], [5.0, 1e9], reach=0.5)
    >>> round(low, 2), round(high, 2)
    (-0.75, 15.75)
    """
    own = _finite(values)
    rest = np.concatenate([_finite(other) for other in others]) if others else own[:0]
    if not own.size:
        own, rest = rest, rest[:0]
    if not own.size:
        return 0.0, 1.0
    low, high = own.min(), own.max()
    if rest.size:
        width = (high - low) or abs(high) or 1.0
        far = np.inf if reach is None else reach * width
        low, high = min(low, max(rest.min(), low - far)), max(high, min(rest.max(), high + far))
    air = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    return float(low - air), float(high + air)


def _finite(values) -> np.ndarray:
    values = np.ravel(np.asarray(values, dtype="float64"))
    return values[np.isfinite(values)]


def _columns(argument, values) -> np.ndarray:
    values = np.asarray(values, dtype="float64")
    if values.ndim not in (1, 2):
        raise ValueError(f"`{argument}` must be of shape (n,) or (n, outputs). Received: shape {values.shape}.")
    return values.reshape(len(values), -1) if values.size else values.reshape(0, 1)


def _same(first, second, first_size, second_size, what):
    if first_size != second_size:
        raise ValueError(
            f"`{first}` and `{second}` must have the same number of {what}. Received: {first_size} and {second_size}."
        )


def _names(names, outputs) -> list[str]:
    if names is None:
        return [f"y{j}" for j in range(outputs)]
    names = [names] if isinstance(names, str) else list(names)
    _same("names", "y", len(names), outputs, "outputs")
    return [_text(name) for name in names]


def _text(name, longest: int = 40) -> str:
    """Make a label of a column's name, which may hold what Matplotlib takes for mathematics or hides."""
    name = " ".join(str(name).split())
    name = name if len(name) <= longest else name[: longest - 1] + "…"
    # Matplotlib keeps a label that begins with an underscore out of legends; a hair space brings it back.
    return ("\u200a" + name if name.startswith("_") else name).replace("$", r"\$")


def _scatter(ax, x, y, colour, *, label=None, crowd=None):
    """Draw points that are smaller and fainter the more there are, so that density shows."""
    n = max(crowd or len(x), 1)
    size, alpha = np.clip(42 * (80 / n) ** 0.4, 5, 42), np.clip(0.65 * (200 / n) ** 0.3, 0.2, 0.65)
    # Vector formats would otherwise hold an object for each point.
    ax.scatter(
        x,
        y,
        s=size,
        color=colour,
        alpha=alpha,
        linewidths=0,
        zorder=_POINTS,
        label=label,
        rasterized=n > 5000,
    )


def _tidy(ax, xlabel, ylabel):
    ax.set_xlabel(_text(xlabel), fontsize=12, color=_INK)
    ax.set_ylabel(_text(ylabel), fontsize=12, color=_INK)
    ax.tick_params(which="both", labelsize=10.5, colors=_INK, length=0)
    ax.grid(True, color="#E3E3E3", linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#B0B0B0")


def _legend(ax, entries):
    if entries > len(COLOURS):
        return
    legend = ax.legend(fontsize=10.5, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=_INK)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([40])


def _log_scale(ax, low, high):
    ax.set_yscale("log")
    decades = np.log10(high / low)
    if decades <= 4:  # few enough for plain numbers: 0.5, 1, 2, 5 rather than powers of ten
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades <= 2.5 else (1,), numticks=12))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
