"""The Cholesky factor of cross-products in double-double."""

import numpy as np
import scipy.linalg

from keras_linreg.linalg.condition import inflation_factors
from keras_linreg.linalg.double_double import UNIT_ROUNDOFF, DoubleDouble
from keras_linreg.linalg.slices import cross_products

NEWTON_STEPS, LARGEST_STEP = 8, 1e-3
UNIT = 2.0**-52


def cholesky(products: DoubleDouble) -> DoubleDouble | None:
    """Return R with `R.T @ R == products`, `(q, q)`, in double-double; None if they are not well conditioned.

    Newton's method corrects LAPACK's factor. With `E = products - R.T @ R`, the next factor is `R + U @ R`, where U is
    upper triangular with `U.T + U == inv(R.T) @ E @ inv(R)`. Only E needs more digits than float64 has, so the number
    of operations on arrays does not grow with q.
    """
    try:
        start = np.linalg.cholesky(products.hi).T
    except np.linalg.LinAlgError:
        return None
    factor = DoubleDouble(start)
    slowest = float(inflation_factors(start).max(initial=1.0)) * UNIT  # of a step, what the next one must correct
    for _ in range(NEWTON_STEPS):
        error = (products - cross_products(factor)[0]).hi
        half = scipy.linalg.solve_triangular(start, error, trans="T", check_finite=False)
        both = scipy.linalg.solve_triangular(start, half.T, trans="T", check_finite=False)
        step = np.triu(both)
        np.fill_diagonal(step, 0.5 * np.diag(both))
        factor = factor + step @ start
        size = float(np.abs(both).max(initial=0.0))
        if not size <= LARGEST_STEP:
            return None
        if size * max(size, slowest) <= UNIT_ROUNDOFF:
            return DoubleDouble(np.triu(factor.hi), np.triu(factor.lo))
    return None
