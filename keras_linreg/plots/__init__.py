"""Pictures of a regression: functions of arrays and a Matplotlib Axes.

They draw on the Axes they are given and return it, keep no state and never touch `pyplot`, so they need no
display and leave no figure open. Each sets only what it knows (labels, scale, grid); size, title and saving
are the caller's. `figure` makes a Figure to draw on where the caller has none.
"""

from keras_linreg.plots.canvas import figure, padded_range, save_gif, title
from keras_linreg.plots.fit import actual_vs_predicted, fitted_line, loss_curve
from keras_linreg.plots.intervals import bands, coefficients
from keras_linreg.plots.panels import diagnostics, normal_qq, residuals_vs_fitted, residuals_vs_leverage, scale_location
from keras_linreg.plots.style import COLOURS

__all__ = [
    "COLOURS",
    "actual_vs_predicted",
    "bands",
    "coefficients",
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
]
