"""Least squares without a penalty: which columns are independent, and back substitution."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from keras_linreg.linalg import condition, triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble
from keras_linreg.linalg.triangular import Factor
from keras_linreg.solvers.penalty import Minimum, Penalty, Problem, zeros_like


@dataclasses.dataclass(frozen=True, slots=True)
class NoPenalty(Penalty):
    """Nothing is added to the mean squared error."""

    @property
    def is_zero(self) -> bool:
        """True."""
        return True

    @classmethod
    def from_regularizer(cls, class_name: str, config: Mapping[str, Any]) -> Self | None:
        """Return None: no regularizer of Keras stands for no penalty."""
        return None

    def solve(self, problem: Problem) -> Minimum:
        """Return the least-squares kernel.

        With `factor = [[R, Q], [0, S]]` over `[x y]`, the sum of squares is `norm(R @ kernel - Q)**2 + norm(S)**2`.
        Where the columns of x are independent, R is regular, the first part can be made zero, and back substitution
        does so. Where a column depends on those before it, its diagonal element of R is zero up to rounding. Then
        `"drop"` leaves the column out, and solves for the others. `"min_norm"` takes, of all kernels with
        `R @ kernel = Q`, the smallest in the user's units.
        """
        features = problem.features
        factor, kept = _independent_columns(problem.factor, features, problem.tolerance)
        usable = ~problem.constant
        kept = kept & usable
        upper, right = factor[:features, :features], factor[:features, features:]
        if not kept.all():
            upper, right = upper[kept], right[kept]
        independent = upper if kept.all() else upper[:, kept]
        kernel = zeros_like(problem.factor, (features, problem.outputs))
        condition_of_rows = None
        if problem.dependent == "min_norm" and not kept.all():
            exponents = problem.x_exponents
            own_units = triangular.scaled(upper, exponents)[:, usable]
            kernel[usable] = triangular.scaled(triangular.min_norm_solution(own_units, right), exponents[usable, None])
            condition_of_rows = condition.scaled_condition_number(as_doubledouble(own_units).hi.T)
        else:
            kernel[kept] = triangular.back_substitute(independent, right)
        return Minimum(kernel, kept, independent, np.zeros(problem.outputs), condition_of_rows)


FEW_DEPENDENT = 8
NO_PENALTY = NoPenalty()


def _independent_columns(factor: Factor, features: int, tolerance: float) -> tuple[Factor, np.ndarray]:
    """Return the factor without the directions of dependent columns, and the mask of independent ones."""
    plain = as_doubledouble(factor).hi
    norms = triangular.column_norms(plain)
    if (np.abs(np.diag(plain)) > tolerance * norms)[:features].all():
        return factor, np.ones(features, bool)
    found = None if isinstance(factor, DoubleDouble) else _without_some(factor, features, tolerance)
    if found is not None:
        return found
    reduced, kept, _ = triangular.gram_schmidt(factor.T, tolerance, features)
    return reduced, kept[:features]


def _without_some(factor: np.ndarray, features: int, tolerance: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what `_independent_columns` returns if few columns depend on others; else None.

    A column that is left out takes its direction with it, and the factor of the others is made triangular again.
    """
    norms, outputs = triangular.column_norms(factor), np.arange(features, len(factor))
    kept, reduced = np.ones(features, bool), factor
    for _ in range(FEW_DEPENDENT):
        small = np.flatnonzero(kept & (np.abs(np.diag(reduced)) <= tolerance * norms)[:features])
        if not len(small):
            return reduced, kept
        column = small[0]
        kept[column] = False
        if not reduced[column, column + 1 :].any():  # it has no direction
            reduced = reduced.copy()
            reduced[column, column] = 0.0
            continue
        order = np.concatenate([np.flatnonzero(kept), outputs, np.flatnonzero(~kept)])
        r = triangular.triangularise(factor[:, order])
        reduced, count = np.zeros_like(factor), int(kept.sum())
        reduced[np.ix_(order[:count], order)] = r[:count]
        reduced[np.ix_(outputs, outputs)] = r[count : count + len(outputs), count : count + len(outputs)]
    return None
