"""Predictions with intervals inside a graph: the formulas of `inference.intervals` in TensorFlow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_linreg.export.float32 import MAX_ERROR_GROWTH, is_within_float32, stored
from keras_linreg.export.t_quantile import t_quantile
from keras_linreg.inference.distributions import two_sided_quantile
from keras_linreg.inference.estimate import Coordinates, Estimate
from keras_linreg.inference.intervals import KEYS
from keras_linreg.solvers import TOLERANCES
from keras_linreg.utils.types import Array

FAINT = 2.0**-30  # its square is less than a rounding error of 1
LARGEST_EXPONENT = 900
EXTRAPOLATES = "extrapolates"  # the output beside those of `predict_interval`

Tensors = dict[str, tf.Tensor]


def check_threshold(leverage_threshold: object) -> None:
    """Raise a ValueError unless a leverage may be above this threshold."""
    is_number = isinstance(leverage_threshold, int | float | np.integer | np.floating)
    if not is_number or isinstance(leverage_threshold, bool) or not leverage_threshold > 0:  # type: ignore[operator]
        raise ValueError(
            "`leverage_threshold` must be a positive number or None. "
            f"Received: leverage_threshold={leverage_threshold!r}."
        )


class Intervals(tf.Module):
    """Means, standard errors, limits and leverage of the rows of a design: computed in float64, returned in float32.

    Beside them, `extrapolates` tells whether the leverage of a row is above a threshold, or unknown.

    With the coordinates `z0 = x @ inverse - offset` and `level = 1 / sqrt(sum(weights))`, the leverage of a row is
    `level**2 + sum(z0**2)`. One matrix product computes everything that is linear in a row, and one norm sums the
    squares. A shift of all rows, or a norm of only some columns of the product, would take as long as the product
    itself. Two rearrangements avoid both.

    First, the square is completed. Only the coordinate along `unit = offset / norm(offset)` is shifted. With
    `t = x @ inverse @ unit` and `size = hypot(level, norm(offset))`,

    ```python
    level**2 + (t - norm(offset))**2 == (size - t * norm(offset) / size)**2 + (level / size * t)**2
    ```

    so a single number of each row, the `lead`, is shifted, and the coordinate along `unit` shrinks:

    ```python
    offset = centre @ inverse                      # 0 if rows are centred
    lead = size - x @ inverse @ offset / size
    z = x @ inverse - (1 - level / size) * (x @ inverse @ unit) * unit
    leverage = square(lead) + sum(square(z))
    mean_se = deviation * sqrt(leverage)
    ```

    Second, the lead and the means are computed in the same product as `z`, but smaller by the factor `FAINT`: so
    their squares do not change the norm of the whole.

    Args:
        estimate: the estimate of the fit, with coordinates and degrees of freedom.
        input_dtype: the dtype of numbers in a request. Its rounding errors limit how well a row can show that its
            columns depend on each other.
        is_transposed: whether the design is the transpose of stacked columns.
        leverage_threshold: above it, a row extrapolates.
        predict_in_float32: whether float32 suffices for the predictions. Then it suffices for the leverage too, if the
            columns are neither nearly dependent nor far from 0.
    """

    def __init__(
        self,
        estimate: Estimate,
        input_dtype: str,
        is_transposed: bool,
        leverage_threshold: float,
        predict_in_float32: bool = False,
    ):
        super().__init__()
        self._threshold = np.float32(leverage_threshold)
        self._is_transposed = is_transposed
        coordinates = estimate.coordinates
        assert coordinates is not None
        self._units, self._df = len(estimate.ssr), estimate.df_resid
        self._tolerance = 100 * max(coordinates.tolerance, TOLERANCES[input_dtype])
        self._kept, self._dropped = np.flatnonzero(coordinates.kept), np.flatnonzero(~coordinates.kept)
        centre, inverse, level = coordinates.centre[0], coordinates.inverse, coordinates.level or 0.0
        bias, kernel = np.split(estimate.params, [int(estimate.has_intercept)])
        scales = _mean_scales(kernel, coordinates)
        in_float32 = (
            predict_in_float32
            and not len(self._dropped)
            and is_within_float32(inverse, centre @ inverse, kernel / scales, scales)
            and estimate.scaled_condition_number <= MAX_ERROR_GROWTH
            and _is_near_zero(coordinates)
        )
        self.dtype = np.dtype(np.float32 if in_float32 else np.float64)

        # Rows near 0 need no centring, which is one operation less.
        offset = centre @ inverse if in_float32 else np.zeros(len(inverse))
        z, lead, size = _complete_square(inverse, offset, level)
        weights = np.zeros((len(z) + 1 + self._units, len(centre)))
        weights[: len(z), self._kept], weights[len(z), self._kept] = z, FAINT * lead
        weights[len(z) + 1 :] = (kernel / scales).T
        self._lead, self._size, self._scales = len(z), self.dtype.type(size), scales.astype(self.dtype)
        # Rows are centred about the means in float64, and what these lack of the means is a part of the predictions.
        mean_of_zeros = bias.sum(0) if in_float32 else estimate.mean_of_outputs[0] - coordinates.centre[1] @ kernel
        self._mean_of_zeros = mean_of_zeros.astype(self.dtype)
        self._weights, self._centre = stored(weights.astype(self.dtype)), stored(centre)
        self._shares, self._sizes = stored(coordinates.shares), stored(coordinates.size)
        deviation = np.sqrt(estimate.scale).astype(np.float32)
        self._deviation = deviation[0] if self._units == 1 else deviation

    def at_level(self, level: float) -> Callable[[tf.Tensor], Tensors]:
        """Return the function `design -> dict` for one level: of a design `(n, p)`, `KEYS` and `extrapolates`."""
        quantile = np.float32(two_sided_quantile(level, self._df))
        return lambda design: self._answer(design, quantile)

    def at_levels(self) -> Callable[[tf.Tensor, tf.Tensor], Tensors]:
        """Return the function `(design, level) -> dict` for a level of each row, `(n,)`."""
        quantile_of = t_quantile(self._df)

        def answer(design: tf.Tensor, level: tf.Tensor) -> Tensors:
            quantile = tf.cast(quantile_of(level), tf.float32)
            return self._answer(design, quantile if self._units == 1 else quantile[:, None])

        return answer

    def _answer(self, design: tf.Tensor, quantile: Any) -> Tensors:
        """Return the outputs of a signature for a design and the quantile of t."""
        rows = design if self.dtype == np.float32 else self._centred(design)
        product = tf.matmul(self._weights, rows, transpose_b=True)
        norm = tf.raw_ops.EuclideanNorm(input=product, axis=0)
        lead = product[self._lead] * self.dtype.type(1 / FAINT)
        leverage = tf.square(norm) + tf.math.squared_difference(lead, -self._size)
        if len(self._dropped):
            leverage = tf.where(self._are_determined(rows), leverage, np.nan)
        if self._units == 1:
            mean = product[self._lead + 1] * self._scales[0] + self._mean_of_zeros[0]
        else:
            mean = tf.transpose(product[self._lead + 1 :]) * self._scales + self._mean_of_zeros
        # The rest loses nothing in the dtype of the answer.
        root, leverage, mean = (tf.cast(part, tf.float32) for part in (tf.sqrt(leverage), leverage, mean))
        column, leverage_column = (root, leverage) if self._units == 1 else (root[:, None], leverage[:, None])
        mean_se = self._deviation * column
        mean_reach, obs_reach = quantile * mean_se, quantile * self._deviation * tf.sqrt(1 + leverage_column)
        limits = (mean - mean_reach, mean + mean_reach, mean - obs_reach, mean + obs_reach)
        answer = dict(zip(KEYS, (mean, mean_se, *limits, leverage), strict=True))
        # NaN is not below the threshold. TensorFlow's optimizer makes of `not <=` a `>`, which NaN is not either.
        return {**answer, EXTRAPOLATES: tf.where(leverage <= self._threshold, False, True)}

    def _centred(self, design: tf.Tensor) -> tf.Tensor:
        if self._is_transposed:  # two transposes cancel, and the product takes the third: none of them moves a number
            return tf.transpose(tf.transpose(design) - self._centre[:, None])
        return design - self._centre

    def _are_determined(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the mask of centred rows with the same dependence between columns as the training data."""
        kept = tf.gather(rows, self._kept, axis=1)
        rest = tf.abs(tf.gather(rows, self._dropped, axis=1) - tf.matmul(kept, self._shares))
        size = tf.matmul(tf.abs(kept), tf.abs(self._shares)) + self._sizes
        return tf.reduce_all(rest <= self._tolerance * size, axis=1)


def _complete_square(inverse: Array, offset: Array, level: float) -> tuple[Array, Array, float]:
    """Return the matrices `(r, r)` of `z` and `(r,)` of the lead, to multiply with rows of a design, and the size."""
    squared = float(offset @ offset)
    size = float(np.sqrt(level**2 + squared))
    if not squared:
        return inverse.T, np.zeros(len(inverse)), size
    along = inverse @ offset
    return inverse.T - (1 - level / size) / squared * np.outer(offset, along), -along / size, size


def _mean_scales(kernel: Array, coordinates: Coordinates) -> Array:
    """Return powers of 2 `(units,)`: divided by them, means are smaller than the coordinates by the factor `FAINT`."""
    kept = coordinates.kept
    of_kept = kernel[kept] + coordinates.shares @ kernel[~kept]
    of_coordinates = np.linalg.solve(coordinates.inverse, of_kept)
    exponents = np.frexp(np.abs(of_coordinates).max(axis=0, initial=0.0))[1]
    return np.ldexp(1 / FAINT, np.minimum(exponents, LARGEST_EXPONENT))


def _is_near_zero(coordinates: Coordinates) -> bool:
    """Return whether the training data are so close to 0 that float32 coordinates need no centred rows."""
    offsets = np.abs(coordinates.centre.sum(0)[coordinates.kept]) @ np.abs(coordinates.inverse)
    return bool((offsets <= MAX_ERROR_GROWTH * (coordinates.level or 0.0)).all())
