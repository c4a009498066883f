"""Keras callbacks that draw a fit while the model trains."""

from keras_linreg.callbacks.fit_plot import FitPlot

__all__ = ["FitPlot"]
