"""Least squares in rational arithmetic: every float64 is a fraction, and nothing is rounded until it is compared."""

import dataclasses
import math
from fractions import Fraction

import numpy as np


@dataclasses.dataclass(frozen=True)
class Exact:
    kernel: np.ndarray  # (p, k) of Fraction
    bias: np.ndarray | None  # (k,) of Fraction
    rss: np.ndarray  # (k,) of Fraction


def fractions(values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return np.array([Fraction(float(v)) for v in values.ravel()], object).reshape(values.shape)


def cross_products(columns, weights=None) -> np.ndarray:
    """The Gram matrix of float64 columns `(n, q)`, in integers as far as possible: that is fast."""
    scaled, exponents = [], []
    for column in np.asarray(columns, np.float64).T:
        numbers, exponent = _integers(column)
        scaled.append(numbers)
        exponents.append(exponent)
    rows = np.array(scaled, object).reshape(len(scaled), -1)
    heavy, exponent = _integers(np.ones(rows.shape[1]) if weights is None else np.asarray(weights, np.float64))
    products = (rows * heavy) @ rows.T
    powers = [[Fraction(2) ** (a + b + exponent) for b in exponents] for a in exponents]
    return products * np.array(powers, object)


def solve(matrix, right) -> np.ndarray:
    """Gaussian elimination of Fractions, `(m, m)` positive definite, `(m, k)`; ZeroDivisionError where singular."""
    rows = np.concatenate([matrix, right], axis=1)
    size = len(matrix)
    for j in range(size):
        rows[j] = rows[j] / rows[j, j]
        for i in range(size):
            if i != j and rows[i, j]:
                rows[i, j:] = rows[i, j:] - rows[i, j] * rows[j, j:]
    return rows[:, size:]


def least_squares(x, y, weights=None, use_bias=True, l2=0.0) -> Exact:
    """minimise sum_i weight_i |y_i - x_i w - b|^2 + n k l2 |w|^2, of float64 `(n, p)` and `(n, k)`."""
    x, y = _matrix(x), _matrix(y)
    p, k = x.shape[1], y.shape[1]
    ones = np.ones((len(x), int(use_bias)))
    gram = cross_products(np.concatenate([x, ones, y], axis=1), weights)
    m = p + int(use_bias)
    normal = gram[:m, :m].copy()
    for j in range(p):
        normal[j, j] += len(x) * k * Fraction(float(l2))
    found = solve(normal, gram[:m, m:]) if m else np.zeros((0, k), object)
    whole = np.concatenate([found, -np.array(identity(k), object)])
    rss = np.array([whole[:, j] @ gram @ whole[:, j] for j in range(k)], object)
    return Exact(found[:p], found[p] if use_bias else None, rss)


def independent(x, weights=None, use_bias=True) -> np.ndarray:
    """Which columns do not depend, exactly, on those before them (or on the bias)."""
    x = _matrix(x)
    rows = cross_products(np.concatenate([np.ones((len(x), int(use_bias))), x], axis=1), weights)
    kept = []
    for j in range(len(rows)):
        kept.append(rows[j, j] != 0)
        if kept[-1]:
            for i in range(j + 1, len(rows)):
                rows[i] = rows[i] - rows[i, j] / rows[j, j] * rows[j]
    return np.array(kept[int(use_bias) :], bool)


def smallest(x, y, weights=None, use_bias=True) -> Exact:
    """The least-squares solution whose kernel is the shortest: x_c = x_c[:, kept] @ spread, w = spread' t."""
    x = _matrix(x)
    kept = independent(x, weights, use_bias)
    fitted = least_squares(x[:, kept], y, weights, use_bias)
    spread = least_squares(x[:, kept], x, weights, use_bias).kernel
    kernel = spread.T @ solve(spread @ spread.T, fitted.kernel)
    bias = None
    if use_bias:
        means = weighted_means(np.concatenate([x, _matrix(y)], axis=1), weights)
        bias = means[x.shape[1] :] - means[: x.shape[1]] @ kernel
    return Exact(kernel, bias, fitted.rss)


def weighted_means(columns, weights=None) -> np.ndarray:
    columns = fractions(columns)
    heavy = fractions(np.ones(len(columns)) if weights is None else weights)
    return heavy @ columns / sum(heavy)


def relative_error(found, expected) -> float:
    """The largest of the relative errors; a number that should be 0 and is not has error 1."""
    pairs = zip(fractions(found).ravel(), np.asarray(expected, object).ravel(), strict=True)
    return max((float(abs(f - e) / abs(e)) if e else float(f != 0) for f, e in pairs), default=0.0)


def digits(found, expected) -> float:
    """NIST's log relative error, of the worst number: how many decimal digits are right, 16 at the most."""
    error = relative_error(found, expected)
    return 16.0 if error < 1e-16 else -math.log10(error)


def parameter_digits(solution, x, y, weights=None, use_bias=True, l2=0.0) -> np.ndarray:
    """The digits of each parameter of a solution, relative to the larger of parameter and standard error: `(P, k)`."""
    x, y = _matrix(x), _matrix(y)
    expected = least_squares(x, y, weights, use_bias, l2)
    found, exact = solution.kernel, expected.kernel
    design = np.ones((len(x), int(use_bias)))
    if use_bias:
        found, exact = np.vstack([solution.bias, found]), np.vstack([expected.bias, exact])
    gram = cross_products(np.concatenate([design, x], axis=1), weights)
    variances = np.diag(solve(gram, np.array(identity(len(gram)), object)))
    used = len(x) if weights is None else int(np.count_nonzero(weights))
    freedom = used - len(gram)
    digits = np.full(found.shape, 16.0)
    for (i, j), value in np.ndenumerate(found):
        square = variances[i] * expected.rss[j] / freedom if freedom > 0 and not l2 else Fraction(0)
        size = max(exact[i, j] ** 2, square)
        error = (Fraction(float(value)) - exact[i, j]) ** 2
        if error:
            digits[i, j] = 0.0 if error >= size else min(-_log10(error / size) / 2, 16.0)
    return digits


def _log10(ratio: Fraction) -> float:
    """Of fractions of any size: `math.log10` overflows."""
    return (math.log2(ratio.numerator) - math.log2(ratio.denominator)) * math.log10(2)


def norm_digits(found, expected, x, weights=None, use_bias=True) -> float:
    """The digits of a kernel as a whole, each coefficient times its column's (centred) norm."""
    x = _matrix(x)
    gram = cross_products(np.concatenate([np.ones((len(x), 1)), x], axis=1), weights)
    squares = [gram[j, j] - (gram[0, j] ** 2 / gram[0, 0] if use_bias else 0) for j in range(1, len(gram))]
    scale = np.array(squares, object)[:, None]
    error = ((fractions(found) - expected) ** 2 * scale).sum()
    size = (np.asarray(expected, object) ** 2 * scale).sum()
    if not size:
        return 16.0 if not error else 0.0
    return 16.0 if error < Fraction(1, 10**32) * size else -math.log10(error / size) / 2


def identity(size: int) -> list[list[Fraction]]:
    return [[Fraction(int(i == j)) for j in range(size)] for i in range(size)]


def _integers(column) -> tuple[np.ndarray, int]:
    ratios = [float(v).as_integer_ratio() for v in column]
    least = max((below.bit_length() - 1 for _, below in ratios), default=0)
    return np.array([above << (least - below.bit_length() + 1) for above, below in ratios], object), -least


def _matrix(values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[:, None] if values.ndim == 1 else values
