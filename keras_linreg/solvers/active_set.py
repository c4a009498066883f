"""The certain way to one point of an elastic-net path: one column in or out at a time, never uphill.

It works on rows, not on cross-products: an orthogonal factor of the active columns has the root of their condition
number. So columns that nearly depend on each other, of which descent by coordinates makes next to nothing in thousands
of sweeps, take as many steps as any others.
"""

import dataclasses

import numpy as np
import scipy.linalg

DEPENDENT = 1e-13  # of a column's norm: no more is left of it by the columns before
MOST_STEPS = 60  # for each column


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Point:
    """The penalties of one point.

    Attributes:
        l1: `(p,)`: of the absolute weights; infinite for a column that stays out.
        l2: `(p,)`: of half the squared weights.
        positive: whether no weight may be negative.
    """

    l1: np.ndarray
    l2: np.ndarray
    positive: bool


def minimum_of_rows(rows: np.ndarray, point: Point, weights: np.ndarray, slack: float) -> np.ndarray:
    """Return the weights `(p,)` that minimise `norm(y - x @ w)**2 / 2 + l1 @ abs(w) + l2 @ w**2 / 2`.

    From a point with active columns A and their signs, the minimum over A with the signs held is a least-squares
    problem. On the way there a weight may reach zero: the walk stops, and its column leaves. At the minimum the
    inactive column whose gradient is furthest above its penalty enters. If it depends on A, the fit does not change
    along a line on which the penalty falls: the walk follows it until a weight is zero, and that column leaves. Each
    step lowers the objective, and there are finitely many sets.

    Args:
        rows: `(r, p + 1)`, `[x y]`.
        point: the penalties.
        weights: `(p,)`: where to begin.
        slack: how far a gradient may be above its penalty by rounding.

    References:
        Osborne, Presnell, Turlach, "A new approach to variable selection in least squares problems" (2000);
        Lee, Battle, Raina, Ng, "Efficient sparse coding algorithms" (2007).
    """
    columns = len(weights)
    x, y = rows[:, :-1], rows[:, -1]
    if point.l2.any():
        x, y = np.vstack([x, np.diag(np.sqrt(point.l2))]), np.concatenate([y, np.zeros(columns)])
    free = (point.l1 == 0) & (not point.positive)
    walk = _Walk(x, y, point.l1, free, weights.copy(), np.sign(weights))
    walk.drop_dependent()
    barred = ~x.any(axis=0) | np.isinf(point.l1)
    refused = np.zeros(columns, bool)  # that would leave again at once: rounding let them in
    seen: set[bytes] = set()
    for _ in range(MOST_STEPS * (columns + 1)):
        walk.to_minimum()
        key = walk.sign.tobytes()
        if key in seen and not refused.any():  # only rounding leads back to a set
            break
        seen.add(key)
        gradient = x.T @ (y - x @ walk.weights)
        excess = (gradient if point.positive else np.abs(gradient)) - point.l1
        excess[(walk.sign != 0) | barred | refused] = -np.inf
        column = int(np.argmax(excess))
        if not excess[column] > slack:
            break
        refused[column] = not walk.let_in(column, float(np.sign(gradient[column])))
    return walk.weights


@dataclasses.dataclass(slots=True, eq=False)
class _Walk:
    """Weights on the way to a minimum.

    Attributes:
        x, y: `(r, p)` and `(r,)`.
        l1: `(p,)`.
        free: mask `(p,)`: columns of any sign, without a penalty.
        weights: `(p,)`.
        sign: `(p,)`: 0 for an inactive column.
        known: the set that was factored last, and its factors.
    """

    x: np.ndarray
    y: np.ndarray
    l1: np.ndarray
    free: np.ndarray
    weights: np.ndarray
    sign: np.ndarray
    known: tuple[bytes, tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def active(self) -> np.ndarray:
        """The numbers of the active columns."""
        return np.flatnonzero(self.sign)

    def drop_dependent(self) -> None:
        """Leave out active columns that depend on other active ones; the walk lets them in again if need be."""
        active = self.active
        if not len(active):
            return
        r = self.factors()[1]
        norms = np.sqrt(np.square(r).sum(axis=0))
        if len(r) == len(active) and (np.abs(np.diag(r)) > DEPENDENT * norms).all():
            return
        q = np.zeros((len(self.y), 0))
        for column in active:
            left = _without(self.x[:, column], q)
            if np.linalg.norm(left) <= DEPENDENT * np.linalg.norm(self.x[:, column]):
                self.weights[column] = self.sign[column] = 0.0
            else:
                q = np.column_stack([q, left / np.linalg.norm(left)])

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the orthogonal and the triangular factor of the active columns."""
        active = self.active
        key = active.tobytes()
        if self.known is None or self.known[0] != key:
            self.known = key, scipy.linalg.qr(self.x[:, active], mode="economic", check_finite=False)
        return self.known[1]

    def to_minimum(self) -> None:
        """Walk to the minimum over the active columns; those whose weight reaches zero on the way leave."""
        while len(active := self.active):
            start = self.weights[active]
            target = start + self._step(active)
            turns = ~self.free[active] & (target * self.sign[active] <= 0)
            if not turns.any():
                self.weights[active] = target
                return
            shares = np.full(len(active), np.inf)
            shares[turns] = start[turns] / (start - target)[turns]
            first = int(np.argmin(shares))
            self.weights[active] = start + shares[first] * (target - start)
            self.weights[active[first]] = self.sign[active[first]] = 0.0

    def _step(self, active: np.ndarray) -> np.ndarray:
        """Return the way to the minimum over the active columns, their signs held.

        With `x[:, active] = q @ r` it is `inv(r) @ (q.T @ residuals - inv(r.T) @ (l1 * sign))`. The product by q, and
        not by x, keeps the digits that nearly dependent columns need.
        """
        q, r = self.factors()
        pull = scipy.linalg.solve_triangular(r, self.l1[active] * self.sign[active], trans="T", check_finite=False)
        step = np.zeros(len(active))
        for _ in range(2):  # the second time corrects the rounding of the first
            left = self.y - self.x[:, active] @ (self.weights[active] + step)
            step = step + scipy.linalg.solve_triangular(r, q.T @ left - pull, check_finite=False)
        return step

    def let_in(self, column: int, sign: float) -> bool:
        """Let a column in; return False if it would have to leave at once."""
        active = self.active
        left = self.x[:, column]
        if len(active):
            q, r = self.factors()
            left = _without(left, q)
        if np.linalg.norm(left) > DEPENDENT * np.linalg.norm(self.x[:, column]):
            self.sign[column] = sign
            return self._stays(column, sign)
        along = -sign * scipy.linalg.solve_triangular(r, q.T @ self.x[:, column], check_finite=False)
        shrinks = ~self.free[active] & (along * self.sign[active] < 0)
        if not shrinks.any():
            return False
        steps = np.full(len(active), np.inf)
        steps[shrinks] = -self.weights[active][shrinks] / along[shrinks]
        first = int(np.argmin(steps))
        self.weights[active] += steps[first] * along
        self.weights[active[first]] = self.sign[active[first]] = 0.0
        self.weights[column], self.sign[column] = sign * steps[first], sign
        return True

    def _stays(self, column: int, sign: float) -> bool:
        """Return whether the first step away from zero goes the way of the sign; else take the column out."""
        active = self.active
        step = self._step(active)
        if step[np.searchsorted(active, column)] * sign > 0:
            return True
        self.sign[column] = 0.0
        return False


def _without(vector: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return what orthonormal directions `(r, a)` leave of a vector; twice is enough."""
    for _ in range(2):
        vector = vector - directions @ (directions.T @ vector)
    return vector
