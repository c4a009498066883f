"""Intervals inside a graph: the formulas of `inference.intervals` as TensorFlow operations."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.polynomial import chebyshev
from scipy import special

from keras_linreg.estimate import Estimate
from keras_linreg.inference import KEYS, two_sided
from keras_linreg.solvers import TOLERANCES

FARTHEST = float(-special.ndtri(2.0**-54))  # the normal quantile of the largest level below 1 that float64 holds
DEGREE = 40
SMALLEST, LARGEST = 1e-30, 1e30
AMPLIFICATION = 8.0  # of rounding errors, up to which float32 does


class Intervals(tf.Module):
    """Means, standard errors, limits and leverage of rows of a design; products in float64, the answers float32.

    Args:
        found: the estimate, with coordinates and degrees of freedom.
        input_dtype: in which the rows came, before they were float64: what is left of a column that depends on
            others cannot be smaller than its rounding.
        stacked: whether the design is the transpose of stacked columns.
        single: whether float32 is enough for the predictions; so it is for the leverage, then, if the columns are
            neither nearly dependent nor far from 0.
    """

    def __init__(self, found: Estimate, input_dtype: str, stacked: bool, single: bool = False):
        super().__init__()
        self._stacked = stacked
        coordinates = found.coordinates
        assert coordinates is not None
        self._units, self._df = len(found.ssr), found.df_resid
        self._level_squared = (coordinates.level or 0.0) ** 2
        self._tolerance = 100 * max(coordinates.tolerance, TOLERANCES[input_dtype])
        self._kept = np.flatnonzero(coordinates.kept)
        self._dropped = np.flatnonzero(~coordinates.kept)
        centre = coordinates.centre.sum(0)
        offsets = np.abs(centre[self._kept]) @ np.abs(coordinates.inverse)  # whose rows are of the size of the level
        single = single and not len(self._dropped) and found.scaled_condition_number <= AMPLIFICATION
        single = single and bool((offsets <= AMPLIFICATION * (coordinates.level or 0.0)).all())
        single = single and float32_holds(coordinates.inverse, centre @ coordinates.inverse)
        self.dtype = np.dtype(np.float32 if single else np.float64)
        # Variables: a constant would be written once for each signature.
        self._centre, self._inverse = tf.Variable(centre), tf.Variable(coordinates.inverse.astype(self.dtype))
        self._shift = tf.Variable((-centre[self._kept] @ coordinates.inverse).astype(np.float32))
        self._shares, self._size = tf.Variable(coordinates.shares), tf.Variable(coordinates.size)
        deviation = np.sqrt(found.scale).astype(np.float32)
        self._deviation = deviation[0] if self._units == 1 else deviation

    def at(self, level: float) -> Callable:
        """Return the function `(design, mean) -> dict` for one level; mean `(n, units)`, the answer as `KEYS`."""
        quantile = two_sided(level, self._df)
        return lambda design, mean: self._limits(design, mean, quantile)

    def at_any(self) -> Callable:
        """Return the function `(design, mean, level) -> dict` for a level `(n,)` in each row."""
        quantile = t_quantile(self._df)

        def limits(design, mean, level):
            reach = tf.cast(quantile(level), tf.float32)
            return self._limits(design, mean, reach if self._units == 1 else reach[:, None])

        return limits

    def _limits(self, design, mean, quantile):
        if self.dtype == np.float32:  # one operation
            z = tf.nn.bias_add(tf.matmul(design, self._inverse), self._shift)
        else:
            moved = self._centred(design)
            kept = tf.gather(moved, self._kept, axis=1) if len(self._dropped) else moved
            z = tf.matmul(kept, self._inverse)
        # By a product: to sum short rows takes longer.
        squares = tf.matmul(tf.square(z), tf.ones((len(self._kept), 1), self.dtype))
        leverage = tf.squeeze(squares, 1) + self._level_squared
        if len(self._dropped):
            leverage = tf.where(self._are_determined(moved, kept), leverage, np.nan)
        # What is left to do loses nothing in the dtype of the answers.
        leverage, mean = tf.cast(leverage, tf.float32), tf.cast(mean, tf.float32)
        lever = leverage if self._units == 1 else leverage[:, None]
        mean = tf.squeeze(mean, 1) if self._units == 1 else mean
        mean_se = self._deviation * tf.sqrt(lever)
        reach, obs_reach = quantile * mean_se, quantile * (self._deviation * tf.sqrt(1 + lever))
        values = (mean, mean_se, mean - reach, mean + reach, mean - obs_reach, mean + obs_reach, leverage)
        return dict(zip(KEYS, values, strict=True))

    def _centred(self, design):
        if self._stacked:  # transposes cancel, or are part of the product: no number is moved
            return tf.transpose(tf.transpose(design) - self._centre[:, None])
        return design - self._centre

    def _are_determined(self, moved, kept):
        rest = tf.abs(tf.gather(moved, self._dropped, axis=1) - tf.matmul(kept, self._shares))
        reach = tf.matmul(tf.abs(kept), tf.abs(self._shares)) + self._size
        return tf.reduce_all(rest <= self._tolerance * reach, axis=1)


def float32_holds(*parts) -> bool:
    """Return whether numbers, and their products, are far from where float32 ends."""
    sizes = np.concatenate([np.abs(np.ravel(part)) for part in parts])
    sizes = sizes[sizes > 0]
    return bool(((sizes > SMALLEST) & (sizes < LARGEST)).all())


def t_quantile(df: int) -> Callable:
    """Return the TensorFlow function `level -> t`: what t exceeds in size by `1 - level`; float64 `(n,)`.

    ```python
    z = -ndtri((1 - level) / 2)
    t = z * exp(polynomial_of_df(z))
    ```

    `log(t / z)` is smooth in z, whatever the degrees of freedom: a polynomial through its values at the Chebyshev
    points, which are reckoned here and now, leaves no more than 1e-8 of it for any df from 1 up and any level.
    """
    order = np.arange(DEGREE + 1)
    points = np.cos(np.pi * (order + 0.5) / (DEGREE + 1))
    z = (points + 1) / 2 * FARTHEST
    coefficients = chebyshev.chebfit(points, np.log(-special.stdtrit(df, special.ndtr(-z)) / z), DEGREE)

    def quantile(level):
        z = -tf.math.ndtri((1 - level) / 2)
        angle = tf.acos(tf.clip_by_value(2 / FARTHEST * z - 1, -1.0, 1.0))
        return z * tf.exp(tf.linalg.matvec(tf.cos(angle[:, None] * order), coefficients))

    return quantile
