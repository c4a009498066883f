"""What every linear model of this package shares."""

from keras_linreg.base.linear import MOMENTS
from keras_linreg.base.model import LinearModel

__all__ = ["MOMENTS", "LinearModel"]
