"""B-splines: knots from the data, and the basis as operations of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

ROUNDING = 2.0**-22  # of float32, and of a function of it


def knot_vector(inner: Sequence[float], low: float, high: float, degree: int) -> list[float]:
    """Return all knots: the inner ones, and each boundary `degree + 1` times."""
    return [low] * (degree + 1) + sorted(inner) + [high] * (degree + 1)


def b_splines(x: tf.Tensor, knots: Sequence[float], degree: int, extrapolate: bool) -> list[tf.Tensor]:
    """Return the values of the basis, `len(knots) - degree - 1` tensors of the shape of `x`.

    By the recursion of Cox and de Boor, from indicators of the intervals between knots up to the degree:

    ```python
    basis[i, d] = (x - t[i]) / (t[i + d] - t[i]) * basis[i, d - 1]
                + (t[i + d + 1] - x) / (t[i + d + 1] - t[i + 1]) * basis[i + 1, d - 1]
    ```

    The last interval holds its right end. Outside of the boundary knots the values are NaN; or, to extrapolate, those
    of the polynomials of the first and the last interval, as R's `predict` of `bs` goes on.

    Args:
        x: float64, `(n,)`.
        knots: sorted, the boundary ones repeated.
        degree: of the polynomials, 0 or more.
        extrapolate: whether to go on outside.

    References:
        de Boor, A Practical Guide to Splines (2001), chapter IX, equation 14.
    """
    t = [float(knot) for knot in knots]
    if not extrapolate:
        x = _within(x, t[0], t[-1])
    intervals = [i for i in range(len(t) - 1) if t[i] < t[i + 1]]
    everywhere = tf.fill(tf.shape(x), True)
    basis: list[tf.Tensor | None] = [None] * (len(t) - 1)  # None: zero everywhere
    for i in intervals:
        is_first, is_last = i == intervals[0], i == intervals[-1]
        above = everywhere if extrapolate and is_first else x >= t[i]
        below = everywhere if extrapolate and is_last else x <= t[i + 1] if is_last else x < t[i + 1]
        basis[i] = tf.cast(above & below, x.dtype)
    for d in range(1, degree + 1):
        basis = [_next(x, t, basis, i, d) for i in range(len(t) - d - 1)]
    is_bad = tf.math.is_nan(x) if extrapolate else ~((x >= t[0]) & (x <= t[-1]))
    nan = tf.constant(float("nan"), x.dtype)
    return [tf.where(is_bad, nan, tf.zeros_like(x) if part is None else part) for part in basis]


def _within(x: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Return numbers, those beyond a boundary by a rounding error of float32 on it.

    A server takes float32, in which the largest number of the data may lie beyond itself.
    """
    reach = ROUNDING * max(abs(low), abs(high))
    x = tf.where((x < low) & (x >= low - reach), tf.constant(low, x.dtype), x)
    return tf.where((x > high) & (x <= high + reach), tf.constant(high, x.dtype), x)


def _next(x: tf.Tensor, t: list[float], basis: list[tf.Tensor | None], i: int, d: int) -> tf.Tensor | None:
    parts = []
    if basis[i] is not None and t[i + d] > t[i]:
        parts.append((x - t[i]) / (t[i + d] - t[i]) * basis[i])
    if basis[i + 1] is not None and t[i + d + 1] > t[i + 1]:
        parts.append((t[i + d + 1] - x) / (t[i + d + 1] - t[i + 1]) * basis[i + 1])
    return None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]
