"""Robust covariances: the meat of the sandwich, from a second pass over the rows.

With the design X, y and errors of covariance Omega, the least-squares parameters have the sandwich covariance

```python
bread @ meat @ bread  # bread = inv(X.T @ X), meat = X.T @ Omega @ X
```

If Omega is `scale * identity`, the meat is `scale * X.T @ X`, and one bread cancels. The covariances here do not assume
that. Each estimates the meat by sums of products of scores: the score of a row is its residual times its row of X.

We write the sandwich in orthonormal coordinates. `Z = X @ root` has `Z.T @ Z == identity`, and `root @ root.T` is the
bread. The parameters differ from the truth by `root @ Z.T @ errors`, so their covariance is

```python
root @ meat @ root.T  # meat = Z.T @ Omega @ Z
```

(`keras_linreg.inference.covariance.covariance`), and the score of a row is its residual times its coordinates z. No
cross-product is inverted, and nearly dependent columns cost as few digits as in the coefficients. Where rows have
weights, residuals and coordinates contain the roots of the weights.

All numbers are the same as in statsmodels' `OLS(...).fit(cov_type=...)`.
"""

import reprlib
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from keras_linreg.inference.cluster_labels import ClusterLabels
from keras_linreg.inference.distributions import COV_TYPES
from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.second_pass import (
    BLOCK_NUMBERS,
    Block,
    BlockAccumulator,
    has_leverage_one,
    run_second_pass,
)
from keras_linreg.utils.threads import product_without_lock
from keras_linreg.utils.types import Array, Batch, Data

LEVERAGE_POWERS = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2}
SHOWN_ROWS = 5


class MeatAccumulator(BlockAccumulator[Any], Protocol):
    """Accumulates the meat of a covariance over the blocks of a second pass."""

    def meat(self) -> Array:
        """Return the meat `(m, m, k)` of the rows so far, after the last block."""


def meat(
    estimate: Estimate,
    batches: Iterable[Batch],
    cov_type: str,
    groups: Data = None,
    maxlags: int | None = None,
    block_numbers: int = BLOCK_NUMBERS,
) -> tuple[Array | None, int | None]:
    """Return the meat `(m, m, k)` of a covariance, and the number of groups, by a second pass over the rows.

    Args:
        estimate: of the fit.
        batches: `(x, y, sample_weight)` of its rows once more.
        cov_type: one of `COV_TYPES`. For `"nonrobust"` the rows are compared with the fit, and the meat is None.
        groups: a label for each row, for `"cluster"`; else the number of groups is None.
        maxlags: for `"HAC"`.
        block_numbers: about how many numbers the x of a block has.
    """
    if cov_type == "nonrobust":
        run_second_pass(estimate, batches, [], block_numbers)
        return None, None
    accumulator: MeatAccumulator
    if cov_type == "cluster":
        accumulator = ClusterMeat(estimate, groups)
    elif cov_type == "HAC":
        accumulator = HACMeat(estimate, maxlags or 0)
    else:
        accumulator = HCMeat(estimate, cov_type)
    run_second_pass(estimate, batches, [accumulator], block_numbers)
    return accumulator.meat(), accumulator.groups if isinstance(accumulator, ClusterMeat) else None


def check_arguments(cov_type: str, data: Data, groups: Data, maxlags: int | None) -> None:
    """Check the arguments of a report.

    Raises:
        ValueError: there is no such covariance, it lacks an argument, or an argument belongs to another one.
    """
    if not isinstance(cov_type, str) or cov_type not in COV_TYPES:
        raise ValueError(f"`cov_type` must be one of {list(COV_TYPES)}. Received: cov_type={cov_type!r}.")
    if cov_type != "nonrobust" and data is None:
        raise ValueError(
            f"`data` must be given for cov_type={cov_type!r}, which needs the residual of each row: pass the data "
            "of the fit, as (x, y), (x, y, sample_weight) or a stream. Received: data=None."
        )
    for name, value, owner in (("groups", groups, "cluster"), ("maxlags", maxlags, "HAC")):
        if (value is None) == (cov_type == owner):
            rule = f"must be given for cov_type={owner!r}" if value is None else f"is for cov_type={owner!r}"
            raise ValueError(f"`{name}` {rule}. Received: {name}={reprlib.repr(value)}, cov_type={cov_type!r}.")
    is_integer = isinstance(maxlags, int | np.integer) and not isinstance(maxlags, bool)
    if maxlags is not None and not (is_integer and maxlags >= 0):
        raise ValueError(f"`maxlags` must be an integer that is not negative. Received: maxlags={maxlags!r}.")


class HCMeat:
    """Accumulates White's meat for unequal variances, with a correction for leverage.

    A squared residual estimates the variance of its row. The estimate is too low, because each row pulls the fit: with
    equal variances its mean is `scale * (1 - leverage)`. HC2 divides by that factor. HC3 divides twice, which gives the
    squared residual of the fit without the row.

    ```python
    meat = sum(residual**2 / (1 - leverage) ** power * outer(z, z))  # HC0, HC1: power 0, HC2: 1, HC3: 2
    HC1 = HC0 * nobs / (nobs - rank)
    ```

    References:
        White, "A heteroskedasticity-consistent covariance matrix estimator and a direct test for heteroskedasticity"
        (1980); MacKinnon, White, "Some heteroskedasticity-consistent covariance matrix estimators with improved finite
        sample properties" (1985).
    """

    def __init__(self, estimate: Estimate, cov_type: str):
        self._estimate, self._cov_type = estimate, cov_type
        self._sum = np.zeros((estimate.rank, estimate.rank, len(estimate.ssr)))
        self._exact_rows: list[int] = []

    def contribution(self, block: Block) -> tuple[Array, Array]:
        """Return the numbers of rows of leverage 1, if the covariance divides by `1 - leverage`, and the meat."""
        power = LEVERAGE_POWERS[self._cov_type]
        exact_rows = block.row_numbers[has_leverage_one(self._estimate, block.leverage)] if power else np.zeros(0, int)
        return exact_rows, heteroscedastic_meat(block.z, block.residuals, block.leverage, power)

    def add(self, contribution: tuple[Array, Array]) -> None:
        """Add the meat of the next block."""
        exact_rows, block_meat = contribution
        self._exact_rows.extend(exact_rows.tolist())
        self._sum += block_meat

    @property
    def total(self) -> tuple[Array, Array]:
        """The contribution of all rows so far, as that of a block."""
        return np.array(self._exact_rows, int), self._sum

    def meat(self) -> Array:
        """Return the meat.

        Raises:
            ValueError: a row has leverage 1, and the covariance divides by `1 - leverage`.
        """
        rows = self._exact_rows
        if rows:
            shown = ", ".join(map(str, rows[:SHOWN_ROWS])) + ", ..." * (len(rows) > SHOWN_ROWS)
            raise ValueError(
                f"cov_type={self._cov_type!r} divides by 1 - leverage, which is 0 in a row that has a coefficient to "
                f"itself: use 'HC0' or 'HC1'. Received: leverage 1 in row {shown}."
            )
        return self._sum * (self._estimate.nobs / self._estimate.df_resid if self._cov_type == "HC1" else 1.0)


class ClusterMeat:
    """Accumulates the meat for errors that depend on each other within groups of rows, and not between groups.

    Within a group every product of two errors counts, so the scores of a group are added before they are multiplied:

    ```python
    meat = correction * sum(outer(s, s) for s in scores_of_groups)  # s = sum(residual * z) over the rows of a group
    correction = groups / (groups - 1) * (nobs - 1) / (nobs - rank)
    ```

    References:
        Liang, Zeger, "Longitudinal data analysis using generalized linear models" (1986); Cameron, Miller, "A
        practitioner's guide to cluster-robust inference" (2015), section II.
    """

    def __init__(self, estimate: Estimate, groups: Data):
        self._estimate = estimate
        self._labels = ClusterLabels(groups)
        self._scores = np.zeros((0, estimate.rank, len(estimate.ssr)))
        self._has_weight = np.zeros(0, bool)

    @property
    def groups(self) -> int:
        """The number of groups that have a row whose weight is not zero."""
        return int(self._has_weight.sum())

    def contribution(self, block: Block) -> tuple[int, Array | None, Array]:
        """Return the number of rows read, the mask of rows used, and the scores `(n, m, k)` of these."""
        return block.height, block.used, scores(block.z, block.residuals)

    def add(self, contribution: tuple[int, Array | None, Array]) -> None:
        """Add the score of each row of the next block to its group."""
        height, used, block_scores = contribution
        codes = self._labels.read(height)
        codes = codes if used is None else codes[used]
        if not len(codes):
            return
        self._grow(int(codes.max()) + 1)
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        groups = codes[order][starts]
        self._scores[groups] += np.add.reduceat(block_scores[order], starts, axis=0)
        self._has_weight[groups] = True

    def meat(self) -> Array:
        """Return the meat.

        Raises:
            ValueError: there are more labels than rows, or fewer than two groups.
        """
        self._labels.refuse_more()
        return clustered_meat(self._estimate, self.groups, sum_of_squares(self._scores))

    @property
    def group_scores(self) -> tuple[Array, Array]:
        """The numbers `(g,)` of the groups that have a weight, in the order of their labels, and scores `(g, m, k)`."""
        numbers = np.flatnonzero(self._has_weight)
        return numbers, self._scores[numbers]

    def _grow(self, groups: int) -> None:
        """Hold sums of at least so many groups; the arrays at least double, so that few copies are made."""
        if groups > len(self._scores):
            more = max(groups - len(self._scores), len(self._scores))
            self._scores = np.concatenate([self._scores, np.zeros((more, *self._scores.shape[1:]))])
            self._has_weight = np.concatenate([self._has_weight, np.zeros(more, bool)])


class HACMeat:
    """Accumulates the meat for errors that depend on the errors up to `maxlags` rows before; the rows have an order.

    ```python
    meat = sum(weight(lag) * (gamma(lag) + gamma(lag).T) for lag in range(maxlags + 1))  # lag 0 counts once
    gamma(lag) = sum(outer(score[i], score[i - lag]) for i in rows)
    weight(lag) = 1 - lag / (maxlags + 1)
    ```

    Bartlett's weights fall with the lag. Equal weights could give a negative variance; Bartlett's cannot.

    References:
        Newey, West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent covariance
        matrix" (1987).
    """

    def __init__(self, estimate: Estimate, maxlags: int):
        self._maxlags = maxlags
        outputs = len(estimate.ssr)
        self._sum = np.zeros((estimate.rank, estimate.rank, outputs))
        self._last_scores = np.zeros((0, estimate.rank, outputs))

    def contribution(self, block: Block) -> Array:
        """Return the scores `(n, m, k)` of a block."""
        return scores(block.z, block.residuals)

    def add(self, contribution: Array) -> None:
        """Add the products of the next block's scores with themselves and with those of the rows before them."""
        all_scores = np.concatenate([self._last_scores, contribution])
        self._sum += autocorrelated_meat(all_scores, len(self._last_scores), self._maxlags)
        self._last_scores = all_scores[max(len(all_scores) - self._maxlags, 0) :]

    def meat(self) -> Array:
        """Return the meat."""
        return self._sum


def clustered_meat(estimate: Estimate, groups: int, squares: Array) -> Array:
    """Return the meat of so many groups, corrected for their number, from `sum(outer(s, s))` over their scores.

    Raises:
        ValueError: there are fewer than two groups.
    """
    if groups < 2:
        raise ValueError(f"`groups` must name at least two groups. Received: {groups}.")
    return groups / (groups - 1) * (estimate.nobs - 1) / estimate.df_resid * squares


def scores(z: Array, residuals: Array) -> Array:
    """Return the scores `(n, m, k)` of rows with coordinates `(n, m)` and residuals `(n, k)`: their products."""
    return z[:, :, None] * residuals[:, None]


def sum_of_squares(row_scores: Array) -> Array:
    """Return `sum(outer(s, s))` over scores `(n, m, k)`, for each output: `(m, m, k)`."""
    parts = (np.ascontiguousarray(row_scores[:, :, j]) for j in range(row_scores.shape[2]))
    return np.stack([product_without_lock(part.T, part) for part in parts], axis=-1)


def heteroscedastic_meat(z: Array, residuals: Array, leverage: Array, power: int) -> Array:
    """Return `sum(residual**2 / (1 - leverage) ** power * outer(z, z))`, for each output: `(m, m, k)`."""
    if power:
        residuals = residuals / ((1 - leverage) ** (power / 2))[:, None]
    weighted = (z * residuals[:, j : j + 1] for j in range(residuals.shape[1]))
    return np.stack([product_without_lock(part.T, part) for part in weighted], axis=-1)


def autocorrelated_meat(row_scores: Array, before: int, maxlags: int) -> Array:
    """Return the Newey-West sums `(m, m, k)` of scores, counted from row `before` on; earlier rows are lags only."""
    total = sum_of_squares(row_scores[before:])
    for j in range(row_scores.shape[2]):
        s = np.ascontiguousarray(row_scores[:, :, j])
        for lag in range(1, min(maxlags, len(s) - 1) + 1):
            first = max(before, lag)
            gamma = s[first:].T @ s[first - lag : len(s) - lag]
            total[:, :, j] += (1 - lag / (maxlags + 1)) * (gamma + gamma.T)
    return total
