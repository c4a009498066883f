"""The elastic net: its whole path of penalties, from cross-products, each point solved to rounding.

```python
minimise  w @ gram @ w / 2 - right @ w + alpha * (l1_ratio * l1 @ abs(w) + (1 - l1_ratio) / 2 * l2 @ w**2)
```

At a minimum the gradient `right - gram @ w - alpha * (1 - l1_ratio) * l2 * w` is `alpha * l1_ratio * l1 * sign(w)`
where w is not zero, and no larger elsewhere. So the minimum is known once the columns with a weight and their signs
are: it solves linear equations. From one penalty to the next few of them change. An active set is guessed, the
equations are solved, columns whose sign turned leave, columns whose gradient is too large enter, all at once (Newton's
method for equations that are not smooth), until none does. Without a squared part the weights of one set are linear in
the penalty, so one solution tells for how many of the next penalties the set holds.

Where that goes in circles, or columns depend on each other, the slow and certain way of `active_set` takes over.

References:
    Hintermüller, Ito, Kunisch, "The primal-dual active set strategy as a semismooth Newton method" (2002);
    Zou, Hastie, "Regularization and variable selection via the elastic net" (2005).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from keras_linreg.solvers.active_equations import ActiveEquations, SetEquations, penalised_equations
from keras_linreg.solvers.active_set import Point, minimum_of_rows
from keras_linreg.solvers.lockstep import MOST_COLUMNS, paths_in_lockstep

NEWTON_STEPS = 25  # for one penalty, before the certain way
SLACK = 1e-13  # of the largest gradient: less is rounding
ENOUGH = 1e-12  # of the largest gradient: how far the equations may be off before they are solved again
ENOUGH_OF_INVERSE = 1e-14  # the same, where the next set inherits the errors
WORK_AHEAD = 5e4  # products: for so many of the next penalties a set is tried at once


@dataclasses.dataclass(frozen=True, eq=False)
class PathProblem:
    """One elastic net, in units in which columns have a norm near 1.

    Attributes:
        gram: `(p, p)`: mean cross-products of the columns.
        right: `(p,)`: mean products of the columns by y.
        square: the mean square of y.
        l1, l2: `(p,)`, not negative: the shares of each column in the penalties; 0 in both for a column without one.
        positive: whether no weight may be negative.
        factor: `(r, p + 1)`: rows of `[x y]` with these cross-products, and more digits; None if there are none.
    """

    gram: np.ndarray
    right: np.ndarray
    square: float
    l1: np.ndarray
    l2: np.ndarray
    positive: bool = False
    factor: np.ndarray | None = None

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Rows `(r, p + 1)` of `[x y]` with these cross-products."""
        if self.factor is not None:
            return self.factor
        whole = np.block([[self.gram, self.right[:, None]], [self.right[None], np.full((1, 1), self.square)]])
        values, vectors = np.linalg.eigh(whole)
        return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T

    @functools.cached_property
    def largest_gradient(self) -> float:
        """The largest gradient at zero, `max(abs(right))`."""
        return float(np.abs(self.right).max(initial=0.0))

    def largest_alpha(self, l1_ratio: float) -> float:
        """Return the smallest penalty at which every penalised weight is zero; 0 if they are at any penalty."""
        weights, penalised = np.zeros(len(self.right)), self.l1 > 0
        gradient = self.right
        if not penalised.all():
            point = Point(np.where(penalised, np.inf, 0.0), np.zeros(len(penalised)), self.positive)
            weights = minimum_of_rows(self.rows, point, weights, SLACK * self.largest_gradient)
            gradient = _precise_gradient(self, weights)
        gradient = gradient[penalised] if self.positive else np.abs(gradient[penalised])
        return float((gradient / (self.l1[penalised] * l1_ratio)).max(initial=0.0))

    def kkt_gaps(self, alphas: np.ndarray, l1_ratio: float, weights: np.ndarray) -> np.ndarray:
        """Return how far weights `(p, L)` are off the conditions of the minimum, relative to the largest gradient."""
        gradient = _precise_gradient(self, weights) - alphas * (1 - l1_ratio) * self.l2[:, None] * weights
        l1 = alphas * l1_ratio * self.l1[:, None]
        inactive = gradient - l1 if self.positive else np.abs(gradient) - l1
        gaps = np.where(weights != 0, np.abs(gradient - l1 * np.sign(weights)), np.maximum(inactive, 0.0))
        largest = gaps.max(axis=0, initial=0.0)
        return np.divide(largest, self.largest_gradient, out=largest, where=self.largest_gradient > 0)


def elastic_net_paths(
    problems: Sequence[PathProblem], alphas: np.ndarray, l1_ratio: float, apply: Callable[..., list[np.ndarray]]
) -> list[np.ndarray]:
    """Return the weights `(p, L)` of several problems of the same columns, each as `elastic_net_path` returns them.

    Args:
        problems, alphas, l1_ratio: as in `elastic_net_path`.
        apply: returns the function of each problem, as `map` does.
    """
    is_together = len(problems) > 1 and len(problems[0].right) <= MOST_COLUMNS
    found = paths_in_lockstep(problems, alphas, l1_ratio, SLACK) if is_together else [None] * len(problems)
    left = [problem for problem, weights in zip(problems, found, strict=True) if weights is None]
    solved = iter(apply(lambda problem: elastic_net_path(problem, alphas, l1_ratio), left))
    return [next(solved) if weights is None else weights for weights in found]


def elastic_net_path(problem: PathProblem, alphas: np.ndarray, l1_ratio: float) -> np.ndarray:
    """Return the weights `(p, L)` at each penalty.

    Args:
        problem: what is minimised.
        alphas: `(L,)`, descending, not negative.
        l1_ratio: in [0, 1].
    """
    weights = np.zeros((len(problem.right), len(alphas)))
    free = (problem.l1 == 0) & (np.diag(problem.gram) > 0) & (not problem.positive)
    state = _Path(problem, alphas, l1_ratio, weights, free, SLACK * problem.largest_gradient)
    sign, start = free.astype(float), 0
    while start < len(alphas):
        reached, sign = state.solve(start, sign)
        start += reached
    return weights


@dataclasses.dataclass(slots=True, eq=False)
class _Path:
    """A path while it is made: `weights` is filled from its first column on.

    Attributes:
        problem, alphas, l1_ratio: what is solved.
        weights: `(p, L)`.
        free: mask `(p,)`: columns without an l1 penalty.
        slack: how far a gradient may be off by rounding.
        equations: of the active sets.
    """

    problem: PathProblem
    alphas: np.ndarray
    l1_ratio: float
    weights: np.ndarray
    free: np.ndarray
    slack: float
    equations: ActiveEquations = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.equations = ActiveEquations(self.problem.gram)

    def solve(self, start: int, sign: np.ndarray) -> tuple[int, np.ndarray]:
        """Fill in the weights at `start` and at as many of the next penalties as the same active set solves.

        Args:
            start: the number of the penalty.
            sign: `(p,)`: the signs to begin with, 0 for an inactive column.

        Returns:
            How many columns were filled in, and the signs to begin with at the next one.
        """
        seen: set[bytes] = set()
        for _ in range(NEWTON_STEPS):
            stop = min(start + self._ahead(int(np.count_nonzero(sign))), len(self.alphas))
            found = self._of_set(sign, slice(start, stop))
            if found is None:
                break
            active, weights, gradient = found
            size = gradient if self.problem.positive else np.abs(gradient)
            enter = size > self.problem.l1[:, None] * (self.alphas[start:stop] * self.l1_ratio) + self.slack
            enter[active] = False
            leave = (weights * sign[active, None] <= 0) & ~self.free[active, None]
            holds = ~(leave.any(axis=0) | enter.any(axis=0))
            reached = len(holds) if holds.all() else int(np.argmin(holds))
            self.weights[active, start : start + reached] = weights[:, :reached]
            if reached == len(holds):
                return reached, sign
            seen.add(sign.tobytes())
            sign = np.where(enter[:, reached], np.sign(gradient[:, reached]), sign)
            sign[active[leave[:, reached]]] = 0.0
            if reached:
                return reached, sign
            if sign.tobytes() in seen:
                break
        return 1, self._certain(start)

    def _ahead(self, active: int) -> int:
        """Return for how many penalties to try a set of so many columns."""
        work = active**3 / 2 if self.l1_ratio < 1 and active else active * len(self.problem.right)
        return int(WORK_AHEAD / max(work, 1)) + 1

    def _of_set(self, sign: np.ndarray, points: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return an active set's columns `(a,)`, weights `(a, m)`, and gradients `(p, m)`; None if they are dependent.

        Args:
            sign: `(p,)`: the signs, 0 for an inactive column.
            points: the m penalties.
        """
        active, alphas = np.flatnonzero(sign), self.alphas[points]
        if not len(active):
            return active, np.zeros((0, len(alphas))), np.repeat(self.problem.right[:, None], len(alphas), axis=1)
        if self.l1_ratio < 1:
            penalty = self.problem.l2[active, None] * (alphas * (1 - self.l1_ratio))
            return self._solved(penalised_equations(self.problem.gram, active, penalty), sign, alphas, penalty)
        equations = self.equations.of_set(active)
        solved = self._solved(equations, sign, alphas)
        if solved is None and equations is not None and equations.inverse is not None:
            solved = self._solved(self.equations.anew(active), sign, alphas)
        return solved

    def _solved(
        self, equations: SetEquations | None, sign: np.ndarray, alphas: np.ndarray, penalty: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return what `_of_set` returns, by the equations of the set; None if there are none, or they tell too little.

        Args:
            equations: of the set.
            sign, alphas: `(p,)` and `(m,)`.
            penalty: `(a, m)`: what the equations have on their diagonal beside the cross-products.
        """
        if equations is None:
            return None
        problem, active, right = self.problem, equations.order, self.problem.right[:, None]
        l1 = (problem.l1[active] * sign[active])[:, None] * (alphas * self.l1_ratio)
        enough = ENOUGH if equations.inverse is None else ENOUGH_OF_INVERSE
        solved = equations.solve(right[active] - l1)
        for is_last in (False, True):
            gradient = right - equations.products(problem.gram, solved)
            if penalty is not None:
                gradient[active] -= penalty * solved
            left = gradient[active] - l1
            size = max(left.max(), -left.min())
            if is_last or size <= enough * problem.largest_gradient:
                break
            solved = solved + equations.solve(left)
        return (active, solved, gradient) if size <= 10 * enough * problem.largest_gradient else None

    def _certain(self, start: int) -> np.ndarray:
        """Fill in the weights at one penalty by the slow way, and return their signs."""
        alpha, problem = self.alphas[start], self.problem
        l1, l2 = alpha * self.l1_ratio * problem.l1, alpha * (1 - self.l1_ratio) * problem.l2
        before = self.weights[:, start - 1] if start else np.zeros(len(l1))
        point = Point(l1, l2, problem.positive)
        self.weights[:, start] = minimum_of_rows(problem.rows, point, before, self.slack)
        return np.where(self.free, 1.0, np.sign(self.weights[:, start]))


def _precise_gradient(problem: PathProblem, weights: np.ndarray) -> np.ndarray:
    """Return `right - gram @ weights`; of rows that have more digits, by their residuals."""
    if problem.factor is None:
        gram, right = problem.gram, problem.right
        return (right - gram @ weights) if weights.ndim == 1 else right[:, None] - gram @ weights
    x, y = problem.factor[:, :-1], problem.factor[:, -1]
    return x.T @ ((y if weights.ndim == 1 else y[:, None]) - x @ weights)
