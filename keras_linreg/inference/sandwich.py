"""Covariances that hold without equal variances or independence: the meat of the sandwich, from a second pass.

In the orthonormal coordinates z of the design, the covariance of the parameters is `root @ meat @ root.T`. All are
those of statsmodels' `OLS(...).fit(cov_type=...)`.
"""

import reprlib
from collections.abc import Iterable

import numpy as np

from keras_linreg.inference.estimate import Estimate
from keras_linreg.inference.second_pass import Block, least_left, read

COV_TYPES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster", "HAC")
SHOWN_ROWS = 5


class Heteroscedastic:
    """White's covariance and its corrections for leverage.

    ```python
    meat = sum(residual**2 * outer(z, z) / (1 - leverage)**power)  # HC0: power 0, HC2: 1, HC3: 2
    HC1 = HC0 * nobs / (nobs - rank)
    ```

    References:
        White (1980); MacKinnon, White, "Some heteroskedasticity-consistent covariance matrix estimators" (1985).
    """

    def __init__(self, estimate: Estimate, cov_type: str):
        self.estimate, self.cov_type = estimate, cov_type
        self.power = {"HC2": 1, "HC3": 2}.get(cov_type, 0)
        self.sums = np.zeros((estimate.rank, estimate.rank, len(estimate.ssr)))
        self.exact_rows: list[int] = []

    def of(self, block: Block) -> tuple:
        """Return the rows that have a coefficient to themselves, and the sum over the others."""
        scores = block.residuals
        exact = np.zeros(0, int)
        if self.power:
            left = 1 - block.leverage
            exact = block.rows[left < least_left(self.estimate)]
            scores = scores / (left if self.power == 2 else np.sqrt(left))[:, None]
        return exact, _stacked([_square(block.z * scores[:, j : j + 1]) for j in range(scores.shape[1])])

    def add(self, of_block: tuple) -> None:
        """Add what a block said."""
        self.exact_rows.extend(of_block[0].tolist())
        self.sums += of_block[1]

    def meat(self) -> np.ndarray:
        """Return the meat `(m, m, k)`."""
        if self.exact_rows:
            shown = ", ".join(map(str, self.exact_rows[:SHOWN_ROWS])) + ", ..." * (len(self.exact_rows) > SHOWN_ROWS)
            raise ValueError(
                f"`cov_type` {self.cov_type!r} divides by one less the leverage, which is 1 where a coefficient serves "
                f"a single row: take 'HC0' or 'HC1'. Received: leverage 1 in row {shown}."
            )
        return self.sums * (self.estimate.nobs / self.estimate.df_resid if self.cov_type == "HC1" else 1.0)


class Clustered:
    """The covariance of residuals that depend on each other within groups of rows, and not between them.

    ```python
    meat = sum over groups of outer(s, s), s = sum over rows of residual * z
    correction = groups / (groups - 1) * (nobs - 1) / (nobs - rank)
    ```

    References:
        Liang, Zeger (1986); Cameron, Miller, "A practitioner's guide to cluster-robust inference" (2015).
    """

    def __init__(self, estimate: Estimate, groups):
        self.estimate = estimate
        self.labels = _Labels(groups)
        self.sums = np.zeros((0, estimate.rank, len(estimate.ssr)))
        self.there = np.zeros(0, bool)  # groups of which a row has a weight

    def of(self, block: Block) -> tuple:
        """Return how many rows there were, which were used, and their scores."""
        return block.given, block.used, block.z[:, :, None] * block.residuals[:, None]

    def add(self, of_block: tuple) -> None:
        """Add each row's score to its group."""
        given, used, scores = of_block
        codes = self.labels.take(given)
        codes = codes if used is None else codes[used]
        if not len(codes):
            return
        more = codes.max() + 1 - len(self.sums)
        if more > 0:
            more = max(more, len(self.sums))
            self.sums = np.concatenate([self.sums, np.zeros((more, *self.sums.shape[1:]))])
            self.there = np.concatenate([self.there, np.zeros(more, bool)])
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        present = codes[order][starts]
        self.sums[present] += np.add.reduceat(scores[order], starts, axis=0)
        self.there[present] = True

    @property
    def count(self) -> int:
        """The number of groups."""
        return int(self.there.sum())

    def meat(self) -> np.ndarray:
        """Return the meat `(m, m, k)`, the correction for few groups included."""
        self.labels.refuse_more()
        count, nobs = self.count, self.estimate.nobs
        if count < 2:
            raise ValueError(f"`groups` must name at least two groups. Received: {count}.")
        correction = count / (count - 1) * (nobs - 1) / self.estimate.df_resid
        return correction * _stacked([_square(self.sums[:, :, j]) for j in range(self.sums.shape[2])])


class Autocorrelated:
    """The covariance of residuals that depend on those up to `maxlags` rows before; the order of the rows matters.

    ```python
    meat = sum over lags of (1 - lag / (maxlags + 1)) * (gamma(lag) + gamma(lag).T)  # lag 0 once
    gamma(lag) = sum over rows i of outer(s[i], s[i - lag]), s = residual * z
    ```

    References:
        Newey, West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent covariance
        matrix" (1987).
    """

    def __init__(self, estimate: Estimate, maxlags: int):
        self.maxlags = maxlags
        outputs = len(estimate.ssr)
        self.sums = np.zeros((estimate.rank, estimate.rank, outputs))
        self.last = np.zeros((0, estimate.rank, outputs))

    def of(self, block: Block) -> np.ndarray:
        """Return the scores."""
        return block.z[:, :, None] * block.residuals[:, None]

    def add(self, of_block: np.ndarray) -> None:
        """Add the products of the scores with those of the rows before them."""
        before = len(self.last)
        scores = np.concatenate([self.last, of_block])
        for j in range(scores.shape[2]):
            mine = np.ascontiguousarray(scores[:, :, j])
            self.sums[:, :, j] += _square(mine[before:])
            for lag in range(1, min(self.maxlags, len(mine) - 1) + 1):
                first = max(before, lag)
                gamma = mine[first:].T @ mine[first - lag : len(mine) - lag]
                self.sums[:, :, j] += (1 - lag / (self.maxlags + 1)) * (gamma + gamma.T)
        self.last = scores[max(len(scores) - self.maxlags, 0) :]

    def meat(self) -> np.ndarray:
        """Return the meat `(m, m, k)`."""
        return self.sums


def meat(
    estimate: Estimate, batches: Iterable[tuple], cov_type: str, groups=None, maxlags=None
) -> tuple[np.ndarray | None, int | None]:
    """Return the meat `(m, m, k)` of a covariance, by a second pass; and the number of groups, if there are any.

    Args:
        estimate: of the fit.
        batches: `(x, y, sample_weight)` of its rows once more.
        cov_type: one of `COV_TYPES`; of `"nonrobust"` there is no meat, but the rows are compared.
        groups: of each row, for `"cluster"`.
        maxlags: for `"HAC"`.
    """
    if cov_type == "nonrobust":
        read(estimate, batches, [])
        return None, None
    reading: Heteroscedastic | Clustered | Autocorrelated
    if cov_type == "cluster":
        reading = Clustered(estimate, groups)
    elif cov_type == "HAC":
        reading = Autocorrelated(estimate, maxlags)
    else:
        reading = Heteroscedastic(estimate, cov_type)
    read(estimate, batches, [reading])
    return reading.meat(), reading.count if isinstance(reading, Clustered) else None


def check(cov_type, data, groups, maxlags) -> None:
    """Refuse a covariance that there is not, or the arguments of another one."""
    if cov_type not in COV_TYPES:
        raise ValueError(f"`cov_type` must be one of {list(COV_TYPES)}. Received: cov_type={cov_type!r}.")
    if cov_type != "nonrobust" and data is None:
        raise ValueError(
            f"`data` must be given for cov_type={cov_type!r}, which needs the residuals of each row: what the model "
            "was fitted on, as (x, y), (x, y, sample_weight) or a stream. Received: data=None."
        )
    for name, value, owner in (("groups", groups, "cluster"), ("maxlags", maxlags, "HAC")):
        if (value is None) == (cov_type == owner):
            rule = f"must be given for cov_type={owner!r}" if value is None else f"is for cov_type={owner!r}"
            raise ValueError(f"`{name}` {rule}. Received: {name}={reprlib.repr(value)}, cov_type={cov_type!r}.")
    whole = isinstance(maxlags, int | np.integer) and not isinstance(maxlags, bool)
    if maxlags is not None and not (whole and maxlags >= 0):
        raise ValueError(f"`maxlags` must be an integer that is not negative. Received: maxlags={maxlags!r}.")


class _Labels:
    """Hands out the groups of the next rows as small integers; the user gives them whole, or in batches."""

    def __init__(self, groups):
        if not hasattr(groups, "__iter__"):
            raise ValueError(f"`groups` must be of shape (n,): one label a row. Received: groups={groups!r}.")
        listed = isinstance(groups, list | tuple | range)
        whole = hasattr(groups, "shape") or (listed and not any(np.ndim(label) for label in groups[:1]))
        self.batches = iter([groups] if whole else groups)
        self.codes: dict = {}
        self.waiting = np.zeros(0, int)

    def take(self, rows: int) -> np.ndarray:
        while len(self.waiting) < rows:
            batch = next(self.batches, None)
            if batch is None:
                raise ValueError("`groups` must have a label for each row of `data`. Received: fewer labels than rows.")
            self.waiting = np.concatenate([self.waiting, self._coded(batch)])
        taken, self.waiting = self.waiting[:rows], self.waiting[rows:]
        return taken

    def refuse_more(self) -> None:
        if len(self.waiting) or any(len(self._coded(batch)) for batch in self.batches):
            raise ValueError("`groups` must have a label for each row of `data`. Received: more labels than rows.")

    def _coded(self, batch) -> np.ndarray:
        import pandas  # slow to import

        # As an array, a list of strings and NaN would be strings.
        labels = np.asarray(batch, object if isinstance(batch, list | tuple) else None)
        if labels.ndim > 1 and labels.shape[1:] != (1,):
            raise ValueError(f"`groups` must be of shape (n,): one label a row. Received: shape {labels.shape}.")
        codes, distinct = pandas.factorize(labels.ravel())
        if (codes < 0).any():
            raise ValueError("`groups` must have a label for each row of `data`. Received: missing values.")
        return np.array([self.codes.setdefault(label, len(self.codes)) for label in distinct.tolist()], int)[codes]


def _square(rows: np.ndarray) -> np.ndarray:
    return rows.T @ rows


def _stacked(parts: list[np.ndarray]) -> np.ndarray:
    return np.stack(parts, axis=-1)
