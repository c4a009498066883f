"""Intervals inside a graph: the formulas of `inference.intervals` as TensorFlow operations."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.polynomial import chebyshev
from scipy import special

from keras_linreg.inference.covariance import KEYS, two_sided
from keras_linreg.inference.estimate import Coordinates, Estimate
from keras_linreg.solvers.least_squares import TOLERANCES

FARTHEST = float(-special.ndtri(2.0**-54))  # the normal quantile of the largest level below 1 that float64 holds
DEGREE = 40
SMALLEST, LARGEST = 1e-30, 1e30
AMPLIFICATION = 8.0  # of rounding errors, up to which float32 does
FAINT = 2.0**-30  # its square is nothing beside 1
SMALL = 2**14  # numbers


class Intervals(tf.Module):
    """Means, standard errors, limits and leverage of rows of a design; products in float64, the answers float32.

    One product gives all that is linear in a row: coordinates `z`, with as many rows as the design has columns, and
    means, a column for each row of the design (numbers that lie together are reckoned with several times as fast).
    To add something to all of them, or to part them, would take as long as the product. So the square is completed
    for the intercept, which is added to a single coordinate, the `lead`, of rows that are not centred; and what stands
    in the product beside `z` is smaller by `FAINT`: the norm of the whole does not see it.

    ```python
    offset = centre @ inverse                      # 0 where rows are centred
    size = hypot(level, norm(offset))
    lead = size - x @ inverse @ offset / size
    unit = offset / norm(offset)
    z = x @ inverse - (1 - level / size) * (x @ inverse @ unit) * unit
    leverage = square(lead) + sum(square(z))       # = square(level) + sum(square(x @ inverse - offset))
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
        self._kept, self._dropped = np.flatnonzero(coordinates.kept), np.flatnonzero(~coordinates.kept)
        centre, inverse, level = coordinates.centre.sum(0), coordinates.inverse, coordinates.level or 0.0
        bias, kernel = np.split(found.params, [int(found.has_intercept)])
        powers = _powers(kernel, coordinates)
        single = single and not len(self._dropped) and float32_holds(inverse, centre @ inverse, kernel / powers, powers)
        single = single and found.scaled_condition_number <= AMPLIFICATION and _are_near_zero(coordinates)
        self.dtype = np.dtype(np.float32 if single else np.float64)

        z, lead, size = _completed(inverse, centre @ inverse if single else np.zeros(len(inverse)), level)
        weights = np.zeros((len(z) + 1 + self._units, len(centre)))
        weights[: len(z), self._kept], weights[len(z), self._kept] = z, FAINT * lead
        weights[len(z) + 1 :] = (kernel / powers).T
        self._lead, self._size, self._powers = len(z), self.dtype.type(size), powers.astype(self.dtype)
        self._mean = (bias.sum(0) + (0.0 if single else centre @ kernel)).astype(self.dtype)  # of a row of zeros
        # A constant takes no operation to read, but is written once for each signature.
        hold = tf.constant if weights.size <= SMALL else tf.Variable
        self._weights, self._centre = hold(weights.astype(self.dtype)), tf.Variable(centre)
        self._shares, self._sizes = tf.Variable(coordinates.shares), tf.Variable(coordinates.size)
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
        product = tf.matmul(self._weights, moved, transpose_b=True)
        norm = tf.raw_ops.EuclideanNorm(input=product, axis=0)
        leverage = tf.square(norm) + tf.math.squared_difference(
            product[self._lead] * self.dtype.type(1 / FAINT), -self._size
        )
        if len(self._dropped):
            leverage = tf.where(self._are_determined(moved), leverage, np.nan)
        if self._units == 1:
            mean = product[self._lead + 1] * self._powers[0] + self._mean[0]
        else:
            mean = tf.transpose(product[self._lead + 1 :]) * self._powers + self._mean
        # What is left to do loses nothing in the dtype of the answers.
        roots, leverage, mean = (tf.cast(part, tf.float32) for part in (tf.sqrt(leverage), leverage, mean))
        roots, lever = (roots, leverage) if self._units == 1 else (roots[:, None], leverage[:, None])
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
        reach = tf.matmul(tf.abs(kept), tf.abs(self._shares)) + self._sizes
        return tf.reduce_all(rest <= self._tolerance * reach, axis=1)


def _completed(inverse: np.ndarray, offset: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the rows `(r, r)` of `z` and `(r,)` of the lead, to be multiplied by rows of a design, and its size."""
    squared = float(offset @ offset)
    size = float(np.sqrt(level**2 + squared))
    if not squared:
        return inverse.T, np.zeros(len(inverse)), size
    along = inverse @ offset
    return inverse.T - (1 - level / size) / squared * np.outer(offset, along), -along / size, size


def _powers(kernel: np.ndarray, coordinates: Coordinates) -> np.ndarray:
    """Return powers of 2 `(units,)` by which to divide a kernel, so that means are faint beside coordinates."""
    kept = coordinates.kept
    of_kept = kernel[kept] + coordinates.shares @ kernel[~kept]
    of_coordinates = np.linalg.solve(coordinates.inverse, of_kept)
    return np.ldexp(1 / FAINT, np.minimum(np.frexp(np.abs(of_coordinates).max(axis=0, initial=0.0))[1], 900))


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
