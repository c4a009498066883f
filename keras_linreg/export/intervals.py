"""Intervals inside a graph: the formulas of `inference.intervals` as TensorFlow operations."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.polynomial import chebyshev
from scipy import special

from keras_linreg.estimate import Coordinates, Estimate
from keras_linreg.inference import KEYS, two_sided
from keras_linreg.solvers import TOLERANCES

FARTHEST = float(-special.ndtri(2.0**-54))  # the normal quantile of the largest level below 1 that float64 holds
DEGREE = 40
SMALLEST, LARGEST = 1e-30, 1e30
AMPLIFICATION = 8.0  # of rounding errors, up to which float32 does


class Intervals(tf.Module):
    """Means, standard errors, limits and leverage of rows of a design; products in float64, the answers float32.

    One product gives coordinates and means, a column for each row of the design: rows of numbers that lie together are
    reckoned with several times as fast as columns of them are.

    ```python
    z = concatenate([[level], (x - centre) @ inverse])
    mean = bias + centre @ kernel + (x - centre) @ kernel
    leverage = sum(square(z))
    mean_se = deviation * sqrt(leverage)
    ```

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
        self._tolerance = 100 * max(coordinates.tolerance, TOLERANCES[input_dtype])
        self._kept = np.flatnonzero(coordinates.kept)
        self._dropped = np.flatnonzero(~coordinates.kept)
        centre = coordinates.centre.sum(0)
        single = single and not len(self._dropped) and found.scaled_condition_number <= AMPLIFICATION
        single = (
            single and _are_near_zero(coordinates) and float32_holds(coordinates.inverse, centre @ coordinates.inverse)
        )
        self.dtype = np.dtype(np.float32 if single else np.float64)
        bias, kernel = np.split(found.params, [int(found.has_intercept)])
        weights = np.zeros((1 + len(self._kept) + self._units, len(centre)))
        weights[1 : -self._units, self._kept] = coordinates.inverse.T
        weights[-self._units :] = kernel.T
        shift = np.zeros((len(weights), 1))
        shift[0] = coordinates.level or 0.0
        shift[-self._units :, 0] = bias.sum(0)
        if single:
            shift[1 : -self._units, 0] = -centre @ coordinates.inverse
        else:
            shift[-self._units :, 0] += centre @ kernel
        # Variables: a constant would be written once for each signature.
        self._weights, self._shift = tf.Variable(weights.astype(self.dtype)), tf.Variable(shift.astype(self.dtype))
        self._centre = tf.Variable(centre)
        self._shares, self._size = tf.Variable(coordinates.shares), tf.Variable(coordinates.size)
        deviation = np.sqrt(found.scale).astype(np.float32)
        self._deviation = deviation[0] if self._units == 1 else deviation

    def at(self, level: float) -> Callable:
        """Return the function `design -> dict` for one level; design `(n, p)`, the answer as `KEYS`."""
        quantile = np.float32(two_sided(level, self._df))
        return lambda design: self._limits(design, quantile)

    def at_any(self) -> Callable:
        """Return the function `(design, level) -> dict` for a level `(n,)` in each row."""
        quantile = t_quantile(self._df)

        def limits(design, level):
            reach = tf.cast(quantile(level), tf.float32)
            return self._limits(design, reach if self._units == 1 else reach[:, None])

        return limits

    def _limits(self, design, quantile):
        moved = design if self.dtype == np.float32 else self._centred(design)
        product = tf.matmul(self._weights, moved, transpose_b=True) + self._shift
        z, mean = tf.split(product, [1 + len(self._kept), self._units])
        root = tf.raw_ops.EuclideanNorm(input=z, axis=0)  # of the leverage
        if len(self._dropped):
            root = tf.where(self._are_determined(moved), root, np.nan)
        # What is left to do loses nothing in the dtype of the answers.
        root, mean = tf.cast(root, tf.float32), tf.cast(mean, tf.float32)
        leverage = tf.square(root)
        if self._units == 1:
            mean, roots, lever = tf.squeeze(mean, 0), root, leverage
        else:
            mean, roots, lever = tf.transpose(mean), root[:, None], leverage[:, None]
        mean_se = self._deviation * roots
        reach, obs_reach = quantile * mean_se, quantile * self._deviation * tf.sqrt(1 + lever)
        values = (mean, mean_se, mean - reach, mean + reach, mean - obs_reach, mean + obs_reach, leverage)
        return dict(zip(KEYS, values, strict=True))

    def _centred(self, design):
        if self._stacked:  # transposes cancel, or are part of the product: no number is moved
            return tf.transpose(tf.transpose(design) - self._centre[:, None])
        return design - self._centre

    def _are_determined(self, moved):
        kept = tf.gather(moved, self._kept, axis=1)
        rest = tf.abs(tf.gather(moved, self._dropped, axis=1) - tf.matmul(kept, self._shares))
        reach = tf.matmul(tf.abs(kept), tf.abs(self._shares)) + self._size
        return tf.reduce_all(rest <= self._tolerance * reach, axis=1)


def _are_near_zero(coordinates: Coordinates) -> bool:
    """Return whether rows that are not centred are no farther from 0 than their coordinates can tell in float32."""
    offsets = np.abs(coordinates.centre.sum(0)[coordinates.kept]) @ np.abs(coordinates.inverse)
    return bool((offsets <= AMPLIFICATION * (coordinates.level or 0.0)).all())


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
