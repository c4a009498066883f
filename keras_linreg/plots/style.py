"""How all pictures look: colours, points, labels; and how their arrays are checked."""

import numpy as np

# Okabe and Ito's colours, told apart with every common colour blindness; the yellow is left out (too faint
# for lines).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
INK = "#333333"
POINTS, BAND, LINE, NAMES = 2.0, 2.5, 3.0, 4.0  # z-orders


def finite(values) -> np.ndarray:
    """Return the finite values, as one row."""
    values = np.ravel(np.asarray(values, dtype="float64"))
    return values[np.isfinite(values)]


def columns(argument, values) -> np.ndarray:
    """Return values of shape `(n,)` or `(n, outputs)` as `(n, outputs)`, in float64."""
    values = np.asarray(values, dtype="float64")
    if values.ndim not in (1, 2):
        raise ValueError(f"`{argument}` must be of shape (n,) or (n, outputs). Received: shape {values.shape}.")
    return values.reshape(len(values), -1) if values.size else values.reshape(0, 1)


def vector(argument, values) -> np.ndarray:
    """Return values of shape `(n,)` or `(n, 1)` as `(n,)`, in float64."""
    values = np.asarray(values, dtype="float64")
    if values.shape not in ((values.size,), (values.size, 1)):
        raise ValueError(f"`{argument}` must be of shape (n,), one output. Received: shape {values.shape}.")
    return values.ravel()


def same(first, second, first_size, second_size, what):
    """Refuse two arguments whose sizes differ."""
    if first_size != second_size:
        raise ValueError(
            f"`{first}` and `{second}` must have the same number of {what}. Received: {first_size} and {second_size}."
        )


def names_of(names, outputs) -> list[str]:
    """Return a label for each output: those given, or `y0, y1, ...`."""
    if names is None:
        return [f"y{j}" for j in range(outputs)]
    names = [names] if isinstance(names, str) else list(names)
    same("names", "y", len(names), outputs, "outputs")
    return [text(name) for name in names]


def text(name, longest: int = 40) -> str:
    """Make a label of a column's name, which may hold what Matplotlib takes for mathematics or hides."""
    name = " ".join(str(name).split())
    if len(name) > longest:  # in its middle: names of one family differ at their ends
        half = (longest - 1) // 2
        name = f"{name[: longest - 1 - half]}…{name[-half:]}"
    # Matplotlib keeps a label that begins with an underscore out of legends; a hair space brings it back.
    return ("\u200a" + name if name.startswith("_") else name).replace("$", r"\$")


def scatter(ax, x, y, colour, *, label=None, crowd=None):
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
        zorder=POINTS,
        label=label,
        rasterized=n > 5000,
    )


def tidy(ax, xlabel, ylabel):
    """Label the axes, and leave a light grid and two spines."""
    ax.set_xlabel(text(xlabel), fontsize=12, color=INK)
    ax.set_ylabel(text(ylabel), fontsize=12, color=INK)
    ax.tick_params(which="both", labelsize=10.5, colors=INK, length=0)
    ax.grid(True, color="#E3E3E3", linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#B0B0B0")


def legend(ax, entries):
    """Name what is drawn, where there are colours enough for the entries."""
    if entries > len(COLOURS):
        return
    box = ax.legend(fontsize=10.5, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK)
    for handle in box.legend_handles:
        if hasattr(handle, "set_sizes"):  # points, however small and faint they are in the picture
            handle.set_alpha(1)
            handle.set_sizes([40])
