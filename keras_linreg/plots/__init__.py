"""Pictures of a regression: functions of arrays and a Matplotlib Axes.

Each function draws on an Axes and returns it. It keeps no state and never touches `pyplot`, so it needs no display and
leaves no figure open. It sets labels, scale and grid; the caller sets size and title, and saves the picture. `figure`
makes a Figure to draw on.
"""

from keras_linreg.plots.contributions import contributions
from keras_linreg.plots.diagnostic_panels import (
    diagnostics,
    normal_qq,
    residuals_vs_fitted,
    residuals_vs_leverage,
    scale_location,
)
from keras_linreg.plots.drift import column_shifts, variance_ratios
from keras_linreg.plots.figures import figure, padded_range, save_gif, title
from keras_linreg.plots.fit import actual_vs_predicted, fitted_line, loss_curve
from keras_linreg.plots.intervals import bands, coefficients
from keras_linreg.plots.regularization import coefficient_path, cross_validation_curve
from keras_linreg.plots.style import COLOURS

__all__ = [
    "COLOURS",
    "actual_vs_predicted",
    "bands",
    "coefficient_path",
    "coefficients",
    "column_shifts",
    "contributions",
    "cross_validation_curve",
    "diagnostics",
    "figure",
    "fitted_line",
    "loss_curve",
    "normal_qq",
    "padded_range",
    "residuals_vs_fitted",
    "residuals_vs_leverage",
    "save_gif",
    "scale_location",
    "title",
    "variance_ratios",
]
