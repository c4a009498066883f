"""A solution as statistics sees it: parameters, what the data determine of them, and coordinates to reckon in."""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.linalg

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble, matmul
from keras_linreg.moments.reduce import Statistics
from keras_linreg.solvers.least_squares import TOLERANCES, Solution, about_zero

INTERCEPT = "Intercept"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """From rows of the p features to rows of an orthonormal basis of the design, of m coordinates.

    ```python
    z = concatenate([[level], (x - centre)[kept] @ inverse])  # level: with an intercept
    ```

    Over the rows of the fit, the weighted sum of `outer(z, z)` is the identity.

    Attributes:
        level: the root of one over the sum of the weights, `None` without an intercept.
        centre: `(2, p)`: the means, and what float64 cannot hold of them; zeros without an intercept.
        kept: mask `(p,)` of the columns that do not depend on others.
        inverse: `(r, r)`, upper triangular: of the factor of the kept columns.
        shares: `(r, d)`: what the d other columns are of the kept ones, centred.
        tolerance: of a column's size, what may be left of it where it depends on others.
        size: `(d,)`, of the columns that depend on others.
    """

    level: float | None
    centre: np.ndarray
    kept: np.ndarray
    inverse: np.ndarray
    shares: np.ndarray
    tolerance: float
    size: np.ndarray

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return the coordinates `(n, m)` of rows `(n, p)`."""
        return self.of_centred(self.centred(x))

    def of_centred(self, moved: np.ndarray) -> np.ndarray:
        """Return the coordinates `(n, m)` of rows less the means."""
        start = 0 if self.level is None else 1
        z = np.empty((len(moved), start + len(self.inverse)))
        if self.level is not None:
            z[:, 0] = self.level
        columns = slice(None) if self.kept.all() else self.kept
        np.matmul(moved[:, columns], self.inverse, out=z[:, start:])
        return z

    def centred(self, x: np.ndarray) -> np.ndarray:
        """Return the rows less the means, in float64."""
        moved = np.subtract(x, self.centre[0], dtype=np.float64)
        return moved - self.centre[1] if self.centre[1].any() else moved

    def are_determined(self, x: np.ndarray) -> np.ndarray:
        """Return the mask `(n,)` of rows for which the columns depend on each other as they do in the data."""
        if self.kept.all():
            return np.ones(len(x), bool)
        moved = self.centred(x)
        rest = np.abs(moved[:, ~self.kept] - moved[:, self.kept] @ self.shares)
        reach = np.abs(moved[:, self.kept]) @ np.abs(self.shares) + self.size
        return (rest <= 100 * self.tolerance * reach).all(axis=1)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A least-squares solution as statistics sees it: P parameters (the intercept first), k outputs.

    Attributes:
        names: of the parameters.
        output_names: of the outputs.
        has_intercept: whether the first parameter is one.
        params: `(P, k)`.
        estimable: mask `(P,)`: the parameters that the data determine.
        root: `(P, m)`: `scale * root @ root.T` is the covariance of the parameters; `None` where a penalty has
            pulled them. Rows of zeros belong to columns that depend on others.
        null: `(P, d)`: directions in which the parameters make no difference to the data.
        units: `(P,)`: the size of each column of the design, so that the parameters can be compared.
        dropped: whether columns that depend on others are out of the model, rather than sharing in it.
        coordinates: of new rows; `None` where a penalty has pulled the parameters.
        nobs: the number of rows whose weight is not zero.
        rank: the number of parameters that are estimated.
        ssr, ess, tss: `(k,)`: the sums of squares of residuals, of what is explained, of both.
        log_weight: the sum of the logarithms of the weights.
        inflation: `(P,)`: variance inflation factors, NaN for the intercept and what is not estimable.
        condition_number: of the design, the column of ones counted, as it is.
        scaled_condition_number: of the design, centred (with an intercept) and scaled.
        digits: of the coefficients that are sure.
        dtype: in which the features came.
    """

    names: tuple[str, ...]
    output_names: tuple[str, ...]
    has_intercept: bool
    params: np.ndarray
    estimable: np.ndarray
    root: np.ndarray | None
    null: np.ndarray
    units: np.ndarray
    dropped: bool
    coordinates: Coordinates | None
    nobs: int
    rank: int
    ssr: np.ndarray
    ess: np.ndarray
    tss: np.ndarray
    log_weight: float
    inflation: np.ndarray
    condition_number: float
    scaled_condition_number: float
    digits: float
    dtype: str

    @property
    def df_resid(self) -> int:
        """The degrees of freedom of the residuals."""
        return self.nobs - self.rank

    @property
    def df_model(self) -> int:
        """The degrees of freedom of the model, the intercept not counted."""
        return self.rank - self.has_intercept

    @property
    def scale(self) -> np.ndarray:
        """The variance of the residuals, `(k,)`; NaN where no degrees of freedom are left, or a penalty pulls."""
        known = self.df_resid > 0 and self.root is not None
        return self.ssr / self.df_resid if known else np.full(len(self.ssr), np.nan)


def estimated(statistics: Statistics, solution: Solution, dtype: str = "float64") -> Estimate:
    """Return what inference needs of a solution of `statistics`, whose features came in `dtype`."""
    use_bias = solution.bias is not None
    features, kept = len(solution.kernel), solution.kept
    r = statistics.factor if use_bias else about_zero(statistics)
    tss = _squares(r[:, features:])
    names = (INTERCEPT,) * use_bias + solution.feature_names
    params = solution.kernel if solution.bias is None else np.concatenate([solution.bias[None], solution.kernel])
    width = len(names)
    common: dict[str, Any] = {
        "names": names,
        "output_names": solution.output_names,
        "has_intercept": use_bias,
        "params": params,
        "dropped": solution.dependent == "drop",
        "nobs": solution.nobs,
        "rank": solution.rank,
        "ssr": solution.rss,
        "tss": tss,
        "log_weight": statistics.log_weight,
        "scaled_condition_number": solution.condition_number,
        "digits": solution.digits,
        "dtype": dtype,
    }
    if solution.l2:
        return Estimate(
            **common,
            ess=tss - solution.rss,
            estimable=np.zeros(width, bool),
            root=None,
            null=np.zeros((width, 0)),
            units=np.ones(width),
            coordinates=None,
            inflation=np.full(width, np.nan),
            condition_number=math.nan,
        )
    count = int(kept.sum())
    if count < features:
        order = np.concatenate([np.flatnonzero(kept), np.flatnonzero(~kept), features + np.arange(len(tss))])
        r = triangular.triangularise(r[:, order])
    upper, size = r[:count, :count], triangular.column_norms(as_doubledouble(r).hi[:, :features])
    powers = np.frexp(size[:count])[1]  # inverted in units of each column's own size, lest anything overflow
    inverse = triangular.back_substitute(triangular.scaled(upper, -powers), np.eye(count))
    inverse = as_doubledouble(triangular.scaled(inverse, -powers[:, None]))
    mean = statistics.mean[:features] if use_bias else as_doubledouble(np.zeros(features))
    shares = matmul(inverse, as_doubledouble(r[:count, count:features])) if count < features else inverse[:, :0]
    level = 1.0 / math.sqrt(float(statistics.weight.hi)) if use_bias else None
    root = np.zeros((width, count + use_bias))
    columns = use_bias + np.flatnonzero(kept)
    root[columns, use_bias:] = inverse.hi
    null = np.zeros((width, features - count))
    null[columns] = -shares.hi
    null[use_bias + np.flatnonzero(~kept), np.arange(features - count)] = 1.0
    if use_bias:
        root[0, 0] = level
        root[0, 1:] = -matmul(mean[kept][None], inverse).hi[0]
        null[0] = (matmul(mean[kept][None], shares) - mean[~kept][None]).hi[0]
    tolerance = TOLERANCES[dtype]
    spread = triangular.column_norms(as_doubledouble(statistics.factor).hi[:, :features]) / math.sqrt(solution.nobs)
    units = np.concatenate([np.ones(int(use_bias)), np.hypot(spread, mean.hi)])
    units[units == 0] = 1.0
    coordinates = Coordinates(
        level=level,
        centre=np.stack([mean.hi, mean.lo]),
        kept=kept,
        inverse=inverse.hi,
        shares=shares.hi,
        tolerance=tolerance,
        size=units[use_bias:][~kept],
    )
    estimated = np.concatenate([np.ones(int(use_bias), bool), kept])
    estimable = estimated.copy()
    if solution.dependent == "min_norm":
        estimable &= make_no_difference(np.eye(width), null, units, tolerance)
    inflation = np.full(width, np.nan)
    inflation[columns] = (size[:count] * triangular.column_norms(inverse.hi.T)) ** 2
    inflation[~estimable] = np.nan
    return Estimate(
        **common,
        ess=_squares(r[:count, features:]),
        estimable=estimable,
        root=root,
        null=null,
        units=units,
        coordinates=coordinates,
        inflation=inflation,
        condition_number=_condition_number(as_doubledouble(upper).hi, mean.hi[kept], level, root[estimated]),
    )


def make_no_difference(rows: np.ndarray, null: np.ndarray, units: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the mask of combinations `(q, P)` to which the directions `null`, `(P, d)`, make no difference."""
    size = (np.abs(rows) / units).max(axis=1)[:, None] * (np.abs(null) * units[:, None]).max(axis=0, initial=0.0)
    return (np.abs(rows @ null) <= 100 * tolerance * size).all(axis=1)


def _condition_number(upper: np.ndarray, mean: np.ndarray, level: float | None, root: np.ndarray) -> float:
    """Return the condition number of the design as it is, by the norms of its factor and of that's inverse."""
    if level is not None:
        whole = np.zeros((len(upper) + 1, len(upper) + 1))
        whole[0, 0], whole[0, 1:], whole[1:, 1:] = 1 / level, mean / level, upper
        upper = whole
    if not len(upper):
        return 1.0
    with np.errstate(all="ignore"):
        largest, inverse = (scipy.linalg.svdvals(a, check_finite=False)[0] for a in (upper, root))
    return float(largest * inverse)


def _squares(values) -> np.ndarray:
    values = as_doubledouble(values)
    return (values * values).sum(0).hi
