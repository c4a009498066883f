"""Keras callbacks that watch a regression being fitted."""

from keras_linreg.callbacks.fit_plot import FitPlot

__all__ = ["FitPlot"]
