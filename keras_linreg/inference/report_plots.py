"""Pictures of a report: coefficients with their intervals, and the line of a fit of one feature with its bands."""

from typing import TYPE_CHECKING

import numpy as np

from keras_linreg.inference.intervals import intervals, typical_rows
from keras_linreg.inference.report_statistics import ReportStatistics
from keras_linreg.utils.types import Array, Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

BAND_POINTS = 200


def plot_coefficients(
    report: ReportStatistics, ax: "Axes | None", intercept: bool, standardized: bool
) -> "Figure | SubFigure":
    """Draw the coefficients of each output with their intervals, as `RegressionReport.plot` describes it."""
    from keras_linreg import plots  # Matplotlib is slow to import

    outputs = report.outputs()
    height = max(4.5, 0.3 * len(report.names) + 1)
    axes = [ax] if ax is not None else plots.figure(len(outputs), height=height)[1]
    for panel, one in zip(axes, outputs, strict=True):
        first = int(one.estimate.has_intercept and (standardized or not intercept) and len(one.names) > 1)
        figures = one.coefficients()
        unit = _standard_units(one) if standardized else np.ones(len(one.names))
        params = unit * figures["params"]
        limits = unit[:, None] * np.column_stack([figures["ci_lower"], figures["ci_upper"]])
        plots.coefficients(
            *(panel, one.names[first:], params[first:], limits[first:]), level=one.level, standardized=standardized
        )
        plots.title(panel, one.output_names[0])
    return axes[0].figure


def _standard_units(report: ReportStatistics) -> Array:
    """Return the factors `(P,)` that bring coefficients to standard deviations of y for each one of a column."""
    columns, output = report.estimate.deviations
    return np.divide(columns, output, out=np.full(len(columns), np.nan), where=output > 0)


def plot_line(report: ReportStatistics, x: Data, y: Data, ax: "Axes | None") -> "Figure | SubFigure":
    """Draw the line of a fit of one feature with its bands, as `RegressionReport.plot_line` describes it.

    Raises:
        ValueError: there are several features, or the feature does not vary; x or y is missing; or the fit is
        penalised.
    """
    from keras_linreg import plots  # Matplotlib is slow to import

    estimate = report.estimate
    estimate.unpenalised_coordinates()
    features = len(report.names) - estimate.has_intercept
    if features != 1:
        raise ValueError(f"`plot_line` draws a fit of one feature. Received: {features} features.")
    if not estimate.estimable[-1]:
        raise ValueError(f"`plot_line` needs a feature that varies. Received: {report.names[-1]!r}, which is constant.")
    if (x is None) != (y is None):
        raise ValueError(f"`x` and `y` must be given together. Received: {'y' if x is None else 'x'} alone.")
    if x is None:
        x, y = [np.nan], np.full((1, len(report.output_names)), np.nan)
        grid = typical_rows(estimate, BAND_POINTS)
    else:
        x = np.asarray(x, np.float64).ravel()
        grid = np.linspace(*_ends(x), BAND_POINTS)[:, None]
    line = intervals(estimate, grid, report.level)
    ax = plots.figure()[1][0] if ax is None else ax
    is_single = len(report.output_names) == 1
    plots.fitted_line(
        *(ax, x, y, grid, line["mean"]),
        xlabel=report.names[-1],
        ylabel=(is_single and report.output_names[0]) or "y",
        label=None if is_single else report.output_names,
        bands=line,
    )
    return ax.figure


def _ends(x: Array) -> tuple[float, float]:
    """Return the smallest and the largest finite number."""
    finite = x[np.isfinite(x)]
    if not finite.size:
        raise ValueError("`x` must have at least one finite number. Received: none.")
    return float(finite.min()), float(finite.max())
