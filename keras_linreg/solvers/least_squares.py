"""From statistics to coefficients: which columns are independent, and least squares with or without a penalty."""

import dataclasses
import math

import numpy as np

from keras_linreg.linalg import double_double, triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble, matmul
from keras_linreg.linalg.triangular import Factor
from keras_linreg.moments.reduce import Statistics
from keras_linreg.utils import warnings

# Of a column's norm, what columns before it must leave of it for it to be independent: more than its own rounding.
TOLERANCES = {"float64": 1e-10, "float32": 1e-6, "bfloat16": 1e-2, "float16": 1e-2}
DEPENDENT = ("drop", "min_norm")
FEW_DIGITS = 6.0
SHOWN_NAMES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Solution:
    """The coefficients that minimise the mean squared error, plus `l2` times the squared kernel.

    Attributes:
        kernel: float64 `(p, k)`, 0 for a column dropped.
        bias: float64 `(k,)`, or `None` without an intercept.
        feature_names: of the p rows of the kernel.
        output_names: of its k columns.
        kept: mask `(p,)`: the columns that do not depend on those before them, or on the bias.
        rank: the number of coefficients that the data determine, the bias included.
        rss: float64 `(k,)`, the weighted sum of squared residuals.
        nobs: the number of rows whose weight is not zero.
        rows: the number of rows given.
        l2: the penalty.
        dependent: what was done about dependent columns, `"drop"` or `"min_norm"`.
        condition_number: of the design, its columns centred (with a bias) and scaled to norm 1, kept ones only.
        unexplained: the norm of the residuals beside that of what the (centred) columns explain, the penalty counted.
        digits: how many decimal digits of the kernel agree, as far as the arithmetic goes, with the exact solution of
            the numbers given: a bound for the whole kernel in the columns' own scales (or, where that is larger, for
            its standard error), at most 15.
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    kept: np.ndarray
    rank: int
    rss: np.ndarray
    nobs: int
    rows: int
    l2: float
    dependent: str
    condition_number: float
    unexplained: float
    digits: float

    @property
    def mean_squared_error(self) -> float:
        """The training loss: squared residuals, averaged over all rows given and over the outputs."""
        return float(self.rss.sum() / (self.rows * len(self.rss)))

    @property
    def dependent_names(self) -> tuple[str, ...]:
        """The names of the columns that depend on those before them, or on the bias."""
        return tuple(name for name, kept in zip(self.feature_names, self.kept, strict=True) if not kept)


def check_penalty(l2) -> float:
    """Return `l2` as a float; refuse what is no penalty."""
    try:
        value = float(l2)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"`l2` must be a finite number that is not negative. Received: l2={l2!r}.")
    return value


def check_dependent(dependent) -> str:
    """Return `dependent` where it is a rule that there is."""
    if dependent not in DEPENDENT:
        raise ValueError(f"`dependent` must be one of {list(DEPENDENT)}. Received: dependent={dependent!r}.")
    return dependent


def solve(
    statistics: Statistics,
    rows: int,
    feature_names: tuple[str, ...],
    output_names: tuple[str, ...],
    dtype: str = "float64",
    l2: float = 0.0,
    dependent: str = "drop",
    use_bias: bool = True,
) -> Solution:
    """Return the least-squares solution of the rows that `statistics` are of.

    ```python
    minimise  sum(weight * square(y - x @ kernel - bias)) / (rows * units) + l2 * sum(square(kernel))
    ```

    By back substitution in the triangular factor, below which a penalty stands as `p` more rows (Björck 1996, section
    2.8). A column depends on those before it when no more than a tolerance of its norm is left of it: 1e-10 for data
    of float64, 1e-6 for float32, 1e-2 for bfloat16.

    Args:
        statistics: of the rows.
        rows: how many rows were given, those of weight zero included.
        feature_names, output_names: p and k names.
        dtype: the coarsest dtype of x, which the tolerance goes by.
        l2: the penalty, as in `keras.regularizers.L2`.
        dependent: `"drop"` gives a dependent column weight 0; `"min_norm"` takes the smallest kernel.
        use_bias: whether to fit an intercept.
    """
    features = len(feature_names)
    r = statistics.factor if use_bias else about_zero(statistics)
    # In units of each column's own size no square overflows, and the outputs' unit makes no difference.
    units = np.frexp(triangular.column_norms(as_doubledouble(r).hi))[1]
    x_units, y_units = units[:features], units[features:]
    r = triangular.scaled(r, -units)
    kernel = _zeros(r, (features, len(output_names)))
    kept, own_condition = np.ones(features, bool), 1.0
    penalty = DoubleDouble(np.zeros(features))
    if l2:
        root = double_double.sqrt(DoubleDouble(rows) * len(output_names) * l2)
        penalty = DoubleDouble(np.full(features, root.hi), np.full(features, root.lo)).scaled(-x_units)
        system = _penalised(r, penalty)
        kernel = triangular.back_substitute(system[:features, :features], system[:features, features:])
    else:
        system, kept = _independent(r, features, TOLERANCES[dtype])
        usable = ~statistics.constant[:features] if use_bias else np.ones(features, bool)
        kept &= usable
        upper, right = system[:features, :features][kept], system[:features, features:][kept]
        if dependent == "min_norm" and not kept.all():
            own = triangular.scaled(upper, x_units)[:, usable]  # the smallest kernel in the user's units
            own_condition = triangular.condition_number(as_doubledouble(own).hi.T)
            kernel[usable] = triangular.scaled(triangular.smallest(own, right), x_units[usable, None])
        else:
            kernel[kept] = triangular.back_substitute(upper[:, kept], right)
    kernel, r = as_doubledouble(kernel), as_doubledouble(r)
    explained = matmul(r[:, :features], kernel)
    rss = _squares(explained - r[:, features:])
    pulled = _squares(kernel * penalty[:, None]).hi
    condition = triangular.condition_number(as_doubledouble(system).hi[:features, :features][np.ix_(kept, kept)])
    noise = rss.hi / max(statistics.nobs, 1)  # what is explained by chance: a kernel of nothing has no digits to lose
    unexplained = _largest_root(rss.hi + pulled, _squares(explained).hi + pulled + noise)
    kernel = kernel.scaled(y_units - x_units[:, None])
    mean = statistics.mean[None]
    bias = (mean[:, features:] - matmul(mean[:, :features], kernel))[0] if use_bias else None
    with np.errstate(over="ignore"):
        rss = rss.scaled(2 * y_units)
    return Solution(
        kernel=kernel.hi,
        bias=None if bias is None else bias.hi,
        feature_names=feature_names,
        output_names=output_names,
        kept=kept,
        rank=int(kept.sum()) + int(use_bias),
        rss=rss.hi,
        nobs=statistics.nobs,
        rows=rows,
        l2=l2,
        dependent=dependent,
        condition_number=condition,
        unexplained=unexplained,
        digits=digits(
            max(condition, own_condition),
            unexplained,
            statistics.error_elsewhere if l2 or not use_bias else statistics.error,
        ),
    )


def warn(solution: Solution) -> None:
    """Warn of dependent columns, by name, and of digits that are few."""
    names = solution.dependent_names
    if names:
        shown = ", ".join(repr(name) for name in names[:SHOWN_NAMES])
        shown += f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        what = "the bias or " if solution.bias is not None else ""
        done = (
            "they have weight 0; the others, and the predictions on these data, do not need them"
            if solution.dependent == "drop"
            else "the kernel of smallest norm was taken"
        )
        more = solution.rank + len(names) > solution.nobs
        advice = " There are more coefficients than rows: a penalty, or dependent='min_norm', may suit them." * (
            more and solution.dependent == "drop"
        )
        warnings.warn(
            f"{len(names)} of {len(solution.kept)} columns depend on {what}columns before them: {shown}; {done}."
            f"{advice}"
        )
    if solution.digits < FEW_DIGITS:
        warnings.warn(
            f"Only about {max(solution.digits, 0):.0f} digits of the coefficients are sure: the columns are nearly "
            f"dependent (condition number {solution.condition_number:.1e}). Rescaling does not help; fewer columns do, "
            "or a penalty."
        )


def about_zero(statistics: Statistics) -> Factor:
    """Return R of the columns as they are, not about their means."""
    level = (double_double.sqrt(statistics.weight) * statistics.mean)[None]
    return triangular.stacked(statistics.factor, level if statistics.exact else level.hi)


def _penalised(r: Factor, penalty: DoubleDouble) -> Factor:
    """Return R with a row more for each feature: what a penalty adds to the sum of squares."""
    rows = _zeros(r, (len(penalty), r.shape[1]))
    for j in range(len(penalty)):
        rows[j, j] = penalty[j] if isinstance(r, DoubleDouble) else penalty.hi[j]
    # Reflections lose small rows below which large ones stand.
    return triangular.stacked(rows, r) if penalty.hi.max() > 1 else triangular.stacked(r, rows)


def _largest_root(over: np.ndarray, under: np.ndarray) -> float:
    """Return the root of the largest of the ratios; 0 over 0 is 0."""
    ratios = np.divide(over, under, out=np.where(over > 0, np.inf, 0.0), where=under > 0)
    return math.sqrt(ratios.max(initial=0.0))


def _independent(r: Factor, features: int, tolerance: float) -> tuple[Factor, np.ndarray]:
    """Return R without directions of columns that depend on those before them, and the mask of the others."""
    plain = as_doubledouble(r).hi
    norms = triangular.column_norms(plain)
    if (np.abs(np.diag(plain)) > tolerance * norms)[:features].all():
        return r, np.ones(features, bool)
    reduced, kept, _ = triangular.gram_schmidt(r.T, tolerance, features)
    return reduced, kept[:features]


def amplified(condition: float, unexplained: float) -> float:
    """Return how much of a rounding error of the factor the coefficients see, at most (Wedin 1973)."""
    return 8 * condition * (1 + condition * unexplained)


def digits(condition: float, unexplained: float, error: float) -> float:
    """Return the digits that rounding of that size leaves."""
    lost = error * amplified(condition, unexplained) + 2.0**-53
    return float(np.clip(-math.log10(lost), 0.0, 15.0)) if math.isfinite(lost) else 0.0


def _zeros(like: Factor, shape: tuple) -> Factor:
    return DoubleDouble(np.zeros(shape)) if isinstance(like, DoubleDouble) else np.zeros(shape)


def _squares(values: DoubleDouble) -> DoubleDouble:
    return (values * values).sum(0)
