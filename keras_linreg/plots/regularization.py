"""Pictures of a regularisation path: the coefficients at each penalty, and the cross-validated errors."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_linreg.plots.style import (
    BAND_ORDER,
    COLOURS,
    INK,
    LINE_ORDER,
    TEXT_ORDER,
    as_columns,
    as_vector,
    check_same_size,
    label_text,
    style_axes,
)
from keras_linreg.utils.types import Array

NAMED = 8  # coefficients that get a name at their end
COUNTS = 6  # numbers of coefficients along the top
NEAREST = 0.045  # of the height of the picture, between two names


def coefficient_path(
    ax: Axes,
    penalties: ArrayLike,
    coefficients: ArrayLike,
    names: Sequence[str],
    *,
    counts: ArrayLike | None = None,
    choices: Mapping[str, int] | None = None,
    penalty_name: str = "l1",
    standardized: bool = False,
) -> Axes:
    """Draw the coefficients against the penalty, the largest on the left, so that columns enter from left to right.

    Args:
        ax: the Axes to draw on.
        penalties: positive, shape `(L,)`.
        coefficients: shape `(L, p)`.
        names: of the p columns; those that enter first are named at the right end.
        counts: how many coefficients are not zero, `(L,)`, for the top; `None` for none.
        choices: numbers of penalties to mark, by the names of the rules.
        penalty_name: for the axis.
        standardized: whether the coefficients are standard deviations of y for each standard deviation of a column, for
            the axis.

    Returns:
        `ax`.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.coefficient_path(ax, [1.0, 0.1], [[0.0, 0.0], [2.0, -1.0]], ["a", "b"])
    """
    x, values = as_vector("penalties", penalties), as_columns("coefficients", coefficients)
    check_same_size("penalties", "coefficients", len(x), len(values), "penalties")
    check_same_size("coefficients", "names", values.shape[1], len(names), "columns")
    last = values[-1] if len(values) else np.zeros(len(names))
    largest = np.lexsort([-np.abs(last), -np.count_nonzero(values, axis=0)])[:NAMED]  # those that enter first
    largest = largest[last[largest] != 0]
    for j in range(values.shape[1]):
        is_named = j in largest
        colour = COLOURS[int(np.flatnonzero(largest == j)[0]) % len(COLOURS)] if is_named else "#9A9A9A"
        width, alpha = (1.9, 1.0) if is_named else (1.0, 0.6)
        ax.plot(x, values[:, j], color=colour, linewidth=width, alpha=alpha, zorder=LINE_ORDER)
    ax.axhline(0, color=INK, linewidth=0.8, zorder=BAND_ORDER)
    _scale(ax, x, penalty_name, "standardized coefficient" if standardized else "coefficient")
    _name_ends(ax, last, largest, names)
    _mark(ax, x, counts, choices)
    return ax


def cross_validation_curve(
    ax: Axes,
    penalties: ArrayLike,
    errors: ArrayLike,
    standard_errors: ArrayLike,
    *,
    counts: ArrayLike | None = None,
    choices: Mapping[str, int] | None = None,
    penalty_name: str = "l1",
) -> Axes:
    """Draw the cross-validated errors against the penalty, the largest on the left, with a band of a standard error.

    Args:
        ax: the Axes to draw on.
        penalties, errors, standard_errors: shape `(L,)`.
        counts: how many coefficients are not zero, `(L,)`, for the top; `None` for none.
        choices: numbers of penalties to mark, by the names of the rules.
        penalty_name: for the axis.

    Returns:
        `ax`.

    Raises:
        ValueError: the lengths differ.

    Example:
    >>> from keras_linreg import plots
    >>> picture, (ax,) = plots.figure()
    >>> ax = plots.cross_validation_curve(ax, [1.0, 0.1], [3.0, 1.0], [0.2, 0.1], choices={"min": 1})
    """
    x, mean, error = (
        as_vector(name, part)
        for name, part in (("penalties", penalties), ("errors", errors), ("standard_errors", standard_errors))
    )
    check_same_size("penalties", "errors", len(x), len(mean), "penalties")
    check_same_size("penalties", "standard_errors", len(x), len(error), "penalties")
    ax.fill_between(x, mean - error, mean + error, color=COLOURS[0], alpha=0.18, linewidth=0, zorder=BAND_ORDER)
    ax.plot(x, mean, color=COLOURS[0], linewidth=2, zorder=LINE_ORDER)
    ax.scatter(x, mean, s=9, color=COLOURS[0], zorder=LINE_ORDER)
    _scale(ax, x, penalty_name, "mean squared error on the folds")
    _mark(ax, x, counts, choices)
    return ax


def _scale(ax: Axes, x: Array, penalty_name: str, ylabel: str) -> None:
    ax.set_xscale("log")
    if len(x) > 1:
        ax.set_xlim(x.max() * 1.05, x.min() / 1.05)
    style_axes(ax, f"penalty {penalty_name}, from large to small", ylabel)


def _name_ends(ax: Axes, last: Array, largest: Array, names: Sequence[str]) -> None:
    """Name the largest coefficients at the right end, no name over another."""
    low, high = ax.get_ylim()
    gap = NEAREST * (high - low)
    order = sorted(largest, key=lambda column: last[column])
    # Pushed apart upwards and downwards; the middle of the two is as far apart, and near the ends of the lines.
    up, down = last[order].copy(), last[order].copy()
    for i in range(1, len(order)):
        up[i] = max(up[i], up[i - 1] + gap)
        down[-1 - i] = min(down[-1 - i], down[-i] - gap)
    for j, height in zip(order, (up + down) / 2, strict=True):
        ax.annotate(
            label_text(names[j], 18),
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            color=COLOURS[int(np.flatnonzero(largest == j)[0]) % len(COLOURS)],
            zorder=TEXT_ORDER,
        )


def _mark(ax: Axes, x: Array, counts: ArrayLike | None, choices: Mapping[str, int] | None) -> None:
    """Mark the choices by lines, and write numbers of coefficients along the top."""
    styles = ((0, (5, 3)), (0, (1, 2)))
    same = choices is not None and len(set(choices.values())) == 1 and len(choices) > 1
    marks = {" = ".join(choices): next(iter(choices.values()))} if same and choices else dict(choices or {})
    for style, (rule, index) in zip(styles, marks.items(), strict=False):
        ax.axvline(x[index], color=INK, linewidth=1.3, linestyle=style, zorder=BAND_ORDER, label=rule)
    if marks:
        ax.legend(fontsize=10.5, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK, loc="best")
    if counts is not None and len(x) > 1:
        numbers = as_vector("counts", counts)
        check_same_size("penalties", "counts", len(x), len(numbers), "penalties")
        where = np.unique(np.linspace(0, len(x) - 1, COUNTS).astype(int))
        top = ax.secondary_xaxis("top")
        top.set_xticks(x[where], [f"{numbers[i]:.3g}" for i in where])
        top.set_xticks([], minor=True)
        top.tick_params(which="both", length=0, labelsize=10, colors=INK)
        top.set_xlabel("coefficients", fontsize=10, color=INK)
        top.spines["top"].set_visible(False)
