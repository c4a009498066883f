"""Elastic-net paths of several problems at once: the folds of one cross-validation, of few columns.

The equations of few columns take less time than the interpreter between them. So the problems of all folds take each
step of `elastic_net` together, as stacks of matrices. Each has a penalty and an active set of its own; an inactive
column has the equation `weight = 0`. A problem leaves where its columns depend on each other, or where its sets go in
circles: `elastic_net_path` solves it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_linreg.solvers.active_equations import SMALLEST_PIVOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_linreg.solvers.elastic_net import PathProblem

MOST_COLUMNS = 48  # of more, the equations of the active columns alone are faster
AHEAD, AHEAD_PENALISED = 24, 6  # for so many of the next penalties a set is tried at once
STEPS = 25  # for one penalty, before a problem leaves
ENOUGH, MOST = 1e-13, 1e-11  # of the largest gradient: solved equations that are further off are solved again, or left


def paths_in_lockstep(
    problems: Sequence[PathProblem], alphas: np.ndarray, l1_ratio: float, slack: float
) -> list[np.ndarray | None]:
    """Return the weights `(p, L)` of each problem at each penalty; None for a problem that left.

    Args:
        problems: of the same columns, at most `MOST_COLUMNS`.
        alphas, l1_ratio: as in `elastic_net_path`.
        slack: the part of the largest gradient by which a gradient may be off.
    """
    stack = _Stack(problems, alphas, l1_ratio, slack)
    while stack.running.any():
        stack.step()
    return [None if left else weights for left, weights in zip(stack.left, stack.weights, strict=True)]


class _Stack:
    """Problems that take their steps together.

    Attributes:
        weights: `(K, p, L)`.
        start: `(K,)`: the number of the first penalty that is not solved yet.
        left: mask `(K,)`: the problems that left.
    """

    def __init__(self, problems: Sequence[PathProblem], alphas: np.ndarray, l1_ratio: float, slack: float):
        def stacked(name: str) -> np.ndarray:
            return np.stack([getattr(problem, name) for problem in problems])

        self._gram, self._right = stacked("gram"), stacked("right")
        self._l1, self._l2 = stacked("l1") * l1_ratio, stacked("l2") * (1 - l1_ratio)
        self._is_penalised, self._positive = l1_ratio < 1, problems[0].positive
        largest = np.array([problem.largest_gradient for problem in problems])[:, None, None]
        self._largest, self._slack = largest, slack * largest
        varies = np.diagonal(self._gram, axis1=1, axis2=2) > 0
        self._free = (self._l1 == 0) & varies & (not self._positive)
        self._alphas = alphas
        self._sign = self._free.astype(float)
        self._tries = np.zeros(len(problems), int)
        self.weights = np.zeros((*self._right.shape, len(alphas)))
        self.start, self.left = np.zeros(len(problems), int), np.zeros(len(problems), bool)

    @property
    def running(self) -> np.ndarray:
        """The mask of the problems that are not done, `(K,)`."""
        return ~self.left & (self.start < len(self._alphas))

    def step(self) -> None:
        """Solve for the active sets, fill in the weights of the penalties for which they hold, and change them."""
        now = np.flatnonzero(self.running)
        points = self.start[now, None] + np.arange(AHEAD_PENALISED if self._is_penalised else AHEAD)
        alphas = self._alphas[np.minimum(points, len(self._alphas) - 1)][:, None]
        sign = self._sign[now][:, :, None]
        solved, gradient, is_solved = self._solved(now, sign, alphas)
        self.left[now[~is_solved]] = True
        size = gradient if self._positive else np.abs(gradient)
        active = sign != 0
        enter = ~active & (size > self._l1[now][:, :, None] * alphas + self._slack[now])
        leave = active & (solved * sign <= 0) & ~self._free[now][:, :, None]
        fails = (enter | leave).any(axis=1)
        reached = np.where(fails.any(axis=1), np.argmax(fails, axis=1), fails.shape[1])
        for i, k in enumerate(now):
            begin, end = self.start[k], min(self.start[k] + reached[i], len(self._alphas))
            self.weights[k, :, begin:end] = solved[i, :, : end - begin]
            if reached[i] < fails.shape[1]:
                at = reached[i]
                self._sign[k] = np.where(enter[i, :, at], np.sign(gradient[i, :, at]), self._sign[k])
                self._sign[k][leave[i, :, at]] = 0.0
            self._tries[k] = 0 if reached[i] else self._tries[k] + 1
            self.start[k] = end
        self.left |= self._tries >= STEPS

    def _solved(
        self, now: np.ndarray, sign: np.ndarray, alphas: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights and gradients `(r, p, m)` of r problems, and the mask `(r,)` of those whose equations tell.

        Args:
            now: `(r,)`: the numbers of the problems.
            sign: `(r, p, 1)`: of the active columns, 0 for others.
            alphas: `(r, 1, m)`.
        """
        gram, right, active = self._gram[now], self._right[now][:, :, None], sign != 0
        l1 = self._l1[now][:, :, None] * sign * alphas
        where = np.arange(gram.shape[1])
        equations = gram * (active & active.swapaxes(1, 2))
        equations[:, where, where] += ~active[:, :, 0]
        is_solved = _are_independent(equations)
        equations[~is_solved] = np.eye(len(where))
        penalty = np.zeros(())
        if self._is_penalised:  # a matrix for each penalty
            penalty = self._l2[now][:, :, None] * alphas * active
            equations = np.repeat(equations[:, None], alphas.shape[2], axis=1)
            equations[:, :, where, where] += penalty.swapaxes(1, 2)
        solved = _solutions(equations, active * (right - l1))
        for _ in range(2):
            gradient = right - gram @ solved - penalty * solved
            rest = active * (gradient - l1)
            off = np.abs(rest).max(axis=(1, 2), keepdims=True)
            if (off <= ENOUGH * self._largest[now])[is_solved].all():
                break
            solved = solved + _solutions(equations, rest)
        return solved, gradient, is_solved & (off <= MOST * self._largest[now])[:, 0, 0]


def _solutions(equations: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions `(r, p, m)` of `(r, p, p)` or `(r, m, p, p)` equations."""
    if equations.ndim == 3:
        return np.linalg.solve(equations, right)
    return np.linalg.solve(equations, right.swapaxes(1, 2)[..., None])[..., 0].swapaxes(1, 2)


def _are_independent(equations: np.ndarray) -> np.ndarray:
    """Return the mask of the matrices `(r, p, p)` that have no small pivot."""
    try:
        factors = np.linalg.cholesky(equations)
    except np.linalg.LinAlgError:
        if len(equations) == 1:
            return np.array([False])
        return np.concatenate([_are_independent(one[None]) for one in equations])
    pivots = np.diagonal(factors, axis1=1, axis2=2) ** 2
    return np.all(pivots > SMALLEST_PIVOT * np.diagonal(equations, axis1=1, axis2=2), axis=1)
