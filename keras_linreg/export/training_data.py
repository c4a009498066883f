"""What the moments of a fit say about the columns of its data."""

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.types import Array


def means_and_deviations(moments: Moments) -> tuple[Array, Array]:
    """Return the weighted means and standard deviations, float64 `(p + k,)`, of p features and k outputs."""
    statistics = moments.statistics
    norms = triangular.column_norms(as_doubledouble(statistics.factor).hi)
    return statistics.mean.hi, norms / np.sqrt(float(statistics.weight.hi))
