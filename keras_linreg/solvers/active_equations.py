"""The equations of an active set, `gram[active, active] @ weights = right`, while columns enter and leave it.

The equations of few columns are factored for each set. Of many columns the inverse P is kept, for from one set to the
next few of them change. Columns enter with their cross-products B by the columns of the set, and C by each other:

```python
U = P @ B;  S = C - B.T @ U
P_after = block([[P + U @ inv(S) @ U.T, -U @ inv(S)], [-inv(S) @ U.T, inv(S)]])
```

S holds what the set leaves of the new columns, so its pivots tell whether they depend on the set. Columns r leave from
what is kept, k: `P_after = P[k, k] - P[k, r] @ inv(P[r, r]) @ P[r, k]`. An inverse collects rounding errors from set to
set. Who solves by it checks the solution, and asks for a fresh factor where it is off.

References:
    Hager, "Updating the inverse of a matrix", SIAM Review 31 (1989), for both formulas.
"""

import dataclasses

import numpy as np
from scipy.linalg import lapack

SMALLEST_PIVOT = 1e-9  # of a column of norm 1: with less, cross-products do not tell dependent columns apart
MANY = 48  # columns: the equations of fewer are solved in no time
WORTH_INVERSE = 200  # columns: a fresh factor of fewer is as fast
FEW_CHANGES = 1 / 8  # of the columns of a set: with more, a fresh factor is as fast
WORTH_ROWS = 1 / 3  # of all columns: the cross-products of a smaller set with all columns are gathered


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SetEquations:
    """Equations of one set, ready to be solved: by a factor, a stack of matrices, or an inverse.

    Attributes:
        order: `(a,)`: the columns of the set, in the order of the equations.
        factor: `(a, a)`, by Cholesky; None if there is an inverse.
        inverse: `(a, a)`, made of that of another set; or None.
        stack: `(m, a, a)`: one matrix a penalty; or None.
        rows: `(a, p)`: the cross-products of the set with all columns; None if most columns are in it.
    """

    order: np.ndarray
    factor: np.ndarray | None
    inverse: np.ndarray | None = None
    stack: np.ndarray | None = None
    rows: np.ndarray | None = None

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return the solutions `(a, m)` of right sides `(a, m)`."""
        if self.stack is not None:
            return np.linalg.solve(self.stack, right.T[:, :, None])[:, :, 0].T
        if self.inverse is not None:
            return self.inverse @ right
        return lapack.dpotrs(self.factor, right, lower=1)[0]

    def products(self, gram: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return `gram[:, order] @ weights`, `(p, m)`."""
        if self.rows is not None:
            return self.rows.T @ weights
        whole = np.zeros((len(gram), weights.shape[1]))
        whole[self.order] = weights
        return gram @ whole


class ActiveEquations:
    """The equations of one active set after the other.

    Args:
        gram: `(p, p)`: cross-products of columns with a norm near 1.
    """

    def __init__(self, gram: np.ndarray):
        self._gram = gram
        self._last: SetEquations | None = None

    def of_set(self, active: np.ndarray) -> SetEquations | None:
        """Return the equations of a set of columns, `(a,)`; None if the columns depend on each other."""
        if self._last is None:
            return self.anew(active)
        is_active = np.zeros(len(self._gram), bool)
        is_active[active] = True
        stays = is_active[self._last.order]
        shared, before = np.count_nonzero(stays), len(stays)
        if shared == before == len(active):
            return self._last
        is_large = min(len(active), before) >= WORTH_INVERSE
        if is_large and len(active) + before - 2 * shared <= FEW_CHANGES * len(active):
            is_active[self._last.order] = False
            return self._keep(self._updated(self._last, stays, np.flatnonzero(is_active)))
        return self.anew(active)

    def anew(self, active: np.ndarray) -> SetEquations | None:
        """Return the equations of a set, factored; None if its columns depend on each other."""
        return self._keep(penalised_equations(self._gram, active, None))

    def _keep(self, equations: SetEquations | None) -> SetEquations | None:
        if equations is not None:
            self._last = equations
        return equations

    def _updated(self, last: SetEquations, stays: np.ndarray, new: np.ndarray) -> SetEquations | None:
        """Return the equations of a set by the inverse of the set before.

        Args:
            last: of the set before.
            stays: mask `(a,)`: which of its columns stay.
            new: `(m,)`: the columns that enter.
        """
        inverse, order = _inverse(last), last.order
        if not stays.all():
            kept, left = np.flatnonzero(stays), np.flatnonzero(~stays)
            cross = inverse[np.ix_(kept, left)]
            inverse = inverse[np.ix_(kept, kept)] - cross @ np.linalg.solve(inverse[np.ix_(left, left)], cross.T)
            order = order[kept]
        if len(new):
            entered = _with_columns(inverse, self._gram[np.ix_(order, new)], self._gram[np.ix_(new, new)])
            if entered is None:
                return None
            inverse, order = entered, np.concatenate([order, new])
        return SetEquations(order, None, inverse, rows=_rows(self._gram, order))


def penalised_equations(gram: np.ndarray, active: np.ndarray, penalty: np.ndarray | None) -> SetEquations | None:
    """Return the equations of a set, factored; None if its columns depend on each other.

    Args:
        gram: `(p, p)`.
        active: `(a,)`: the columns.
        penalty: `(a, m)`: what is added to the diagonal, for each of m penalties; None for nothing.
    """
    rows = _rows(gram, active)
    equations = gram[np.ix_(active, active)] if rows is None else rows[:, active]
    where = np.arange(len(active))
    diagonal = equations[where, where]
    if penalty is not None:
        equations[where, where] = diagonal + penalty[:, -1]
    factor = _cholesky(equations)
    if factor is None:
        return None
    if penalty is None or penalty.shape[1] == 1:
        return SetEquations(active, factor, rows=rows)
    stack = np.repeat(equations[None], penalty.shape[1], axis=0)
    stack[:, where, where] = diagonal + penalty.T
    return SetEquations(active, factor, stack=stack, rows=rows)


def _rows(gram: np.ndarray, order: np.ndarray) -> np.ndarray | None:
    return gram[order] if len(order) <= WORTH_ROWS * len(gram) or len(order) < MANY else None


def _cholesky(equations: np.ndarray) -> np.ndarray | None:
    """Return the factor of equations; None if their columns depend on each other."""
    if len(equations) < MANY:
        factor, failed = lapack.dpotrf(equations, lower=1, clean=0)
        if failed:
            return None
    else:  # NumPy lets other threads go on, SciPy does not
        try:
            factor = np.linalg.cholesky(equations)
        except np.linalg.LinAlgError:
            return None
    return None if (np.diag(factor) ** 2 <= SMALLEST_PIVOT * np.diag(equations)).any() else factor


def _inverse(equations: SetEquations) -> np.ndarray:
    if equations.inverse is not None:
        return equations.inverse
    lower = np.tril(lapack.dpotri(equations.factor, lower=1)[0])
    return lower + np.tril(lower, -1).T


def _with_columns(inverse: np.ndarray, cross: np.ndarray, own: np.ndarray) -> np.ndarray | None:
    """Return the inverse `(a + m, a + m)` with m more columns; None if they depend on the others.

    Args:
        inverse: `(a, a)`.
        cross: `(a, m)`: cross-products of the columns of the set by the new ones.
        own: `(m, m)`: cross-products of the new ones.
    """
    a, moved = len(inverse), inverse @ cross
    left = own - cross.T @ moved
    factor = _cholesky(left)
    if factor is None or (np.diag(factor) ** 2 <= SMALLEST_PIVOT * np.diag(own)).any():
        return None
    of_new = np.linalg.inv(left)
    shares = moved @ of_new
    result = np.empty((a + len(own), a + len(own)))
    np.matmul(shares, moved.T, out=result[:a, :a])
    result[:a, :a] += inverse
    result[:a, a:] = -shares
    result[a:, :a] = -shares.T
    result[a:, a:] = of_new
    return result
