"""Training sets: the moments of all rows but one fold's, and the elastic-net problems that they pose.

What two folds have in common is their sum, so all but fold k is a difference:

```python
weight = total.weight - fold.weight
shift = -fold.weight / weight * d  # of the mean, with d = fold.mean - total.mean
products = total.products - fold.products - total.weight * fold.weight / weight * outer(d, d)
```

Next to nothing cancels, for a fold is a small part. Where columns nearly depend on each other next to nothing is too
much. Then the factors of the other folds, one below the other, are rows with the same cross-products and twice the
digits, and problems are solved on them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble
from keras_linreg.solvers.elastic_net import PathProblem
from keras_linreg.sufficient_statistics import Statistics

LARGEST_INFLATION = 1e6  # cross-products lose as many digits as the variance inflation has
TALL = 2  # times as many rows as columns are made triangular


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSet:
    """Weighted means and cross-products of `[x y]`.

    Attributes:
        features: p.
        weight: the sum of the weights.
        shift: `(q,)`: the mean, less the mean of all rows.
        mean: `(q,)`: the mean itself.
        products: `(q, q)`: about the mean; without a bias about zero.
        spread: `(q,)`: the sums of squares about the mean.
        rows: `(r, q)`: with these cross-products and more digits; None if they need none.
    """

    features: int
    weight: float
    shift: np.ndarray
    mean: np.ndarray
    products: np.ndarray
    spread: np.ndarray
    rows: np.ndarray | None = None

    @functools.cached_property
    def sd(self) -> np.ndarray:
        """The standard deviations of x and y, `(q,)`: of sums divided by the weight."""
        return np.sqrt(np.maximum(self.spread, 0.0) / self.weight)

    @functools.cached_property
    def units(self) -> np.ndarray:
        """The root mean squares of the columns of x, `(p,)`; 1 for a column of zeros."""
        units = np.sqrt(np.maximum(np.diag(self.products)[: self.features], 0.0) / self.weight)
        return np.where(units > 0, units, 1.0)

    @functools.cached_property
    def gram(self) -> np.ndarray:
        """The mean cross-products of the columns of x, in their units."""
        p = self.features
        return self.products[:p, :p] / self.weight / np.outer(self.units, self.units)

    def problem(self, output: int, factors: np.ndarray, standardize: bool, positive: bool) -> PathProblem:
        """Return the elastic net of one output.

        Args:
            output: its number.
            factors: `(p,)`: the share of each column in the penalty.
            standardize: whether a column pays by its standard deviation.
            positive: whether no weight may be negative.
        """
        p, y = self.features, self.features + output
        scale = (self.sd[:p] if standardize else 1.0) / self.units
        rows = self.rows
        if rows is not None:
            rows = np.column_stack([rows[:, :p] / self.units, rows[:, y]]) / np.sqrt(self.weight)
        return PathProblem(
            gram=self.gram,
            right=self.products[:p, y] / self.weight / self.units,
            square=float(self.products[y, y] / self.weight),
            l1=factors * scale,
            l2=factors * scale**2,
            positive=positive,
            factor=rows,
        )


def training_sets(
    total: Statistics,
    folds: Sequence[Statistics],
    features: int,
    use_bias: bool,
    apply: Callable[[Callable[[int], TrainingSet], Iterable[int]], list[TrainingSet]],
) -> tuple[TrainingSet, list[TrainingSet]]:
    """Return all rows, and all rows but those of each fold; there may be no folds.

    Args:
        total, folds: of all rows and of each fold.
        features: p.
        use_bias: whether there is an intercept.
        apply: returns a function of each item, on as many cores as it likes.
    """
    every = range(len(folds))
    if _is_hard(total, features):
        parts = list(folds) or [total]

        def without(fold: int) -> TrainingSet:
            return _of_rows(total, [part for j, part in enumerate(parts) if j != fold], features, use_bias)

        return without(-1), apply(without, every)
    r = as_doubledouble(total.factor).hi
    products, weight = r.T @ r, float(total.weight.hi)
    whole = _training_set(total, weight, np.zeros(len(r)), products, None, features, use_bias)

    def rest(fold: int) -> TrainingSet:
        own, factor = float(folds[fold].weight.hi), as_doubledouble(folds[fold].factor).hi
        mean, left = (folds[fold].mean - total.mean).hi, weight - own
        others = products - factor.T @ factor - (own * weight / left) * np.outer(mean, mean)
        return _training_set(total, left, -own / left * mean, others, None, features, use_bias)

    return whole, apply(rest, every)


def standard_deviations(statistics: Statistics) -> np.ndarray:
    """Return the standard deviations of x and y, `(q,)`: of sums divided by the weight."""
    norms = triangular.column_norms(as_doubledouble(statistics.factor).hi)
    return np.where(statistics.constant, 0.0, norms / np.sqrt(float(statistics.weight.hi)))


def _is_hard(total: Statistics, features: int) -> bool:
    """Return whether the columns need more than cross-products in float64."""
    used = np.flatnonzero(~total.constant[:features])
    r = as_doubledouble(total.factor).hi[np.ix_(used, used)]
    if not len(used):
        return False
    if (np.abs(np.diag(r)) <= triangular.column_norms(r) / np.sqrt(LARGEST_INFLATION)).any():
        return True
    return not (condition.inflation_factors(r) <= LARGEST_INFLATION).all()


def _of_rows(total: Statistics, parts: Sequence[Statistics], features: int, use_bias: bool) -> TrainingSet:
    """Return the training set of some folds, with its rows."""
    weights = [float(part.weight.hi) for part in parts]
    factors = [as_doubledouble(part.factor).hi for part in parts]
    means = np.stack([(part.mean - total.mean).hi for part in parts])
    weight = sum(weights)
    shift = np.array(weights) / weight @ means
    apart = np.sqrt(weights)[:, None] * (means - shift)
    rows = np.vstack([*(factor[factor.any(axis=1)] for factor in factors), apart])
    if len(rows) > TALL * rows.shape[1]:
        rows = triangular.triangularise(rows)
    return _training_set(total, weight, shift, rows.T @ rows, rows, features, use_bias)


def _training_set(
    total: Statistics,
    weight: float,
    shift: np.ndarray,
    products: np.ndarray,
    rows: np.ndarray | None,
    features: int,
    use_bias: bool,
) -> TrainingSet:
    mean, spread = (total.mean + DoubleDouble(shift)).hi, np.diag(products).copy()
    spread[total.constant] = 0.0
    if not use_bias:
        level = np.sqrt(weight) * mean
        products = products + np.outer(level, level)
        rows = None if rows is None else np.vstack([rows, level])
    return TrainingSet(features, weight, shift, mean, products, spread, rows)


def errors_of_fold(
    fold: Statistics, total: Statistics, trained: TrainingSet, weights: np.ndarray, output: int, use_bias: bool
) -> np.ndarray:
    """Return the mean squared errors `(L,)` on a fold of kernels `(p, L)`, from the moments of the fold alone.

    With R the factor of the fold and `v = [-kernel, 1]`, the squares about the fold's mean are `norm(R @ v)**2`, and
    the residual at the mean is `(fold.mean - trained.mean) @ v`.
    """
    p = trained.features
    columns = [*range(p), p + output]
    v = np.vstack([-weights, np.ones((1, weights.shape[1]))])
    r = as_doubledouble(fold.factor).hi[:, columns]
    level = (fold.mean - total.mean).hi - trained.shift if use_bias else fold.mean.hi
    return np.square(r @ v).sum(axis=0) / float(fold.weight.hi) + np.square(level[columns] @ v)
