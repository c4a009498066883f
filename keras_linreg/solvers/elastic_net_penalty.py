"""The elastic net as a penalty: a point of a path, whose kernel the path has found."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from keras_linreg.linalg import triangular
from keras_linreg.linalg.double_double import as_doubledouble
from keras_linreg.solvers.penalty import Minimum, Penalty, Problem

IMMOVABLE = 1e150


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ElasticNet(Penalty):
    """`sum(l1 * abs(kernel)) + sum(l2 * square(kernel))` is added; a path has found the minimum.

    Attributes:
        kernel: `(p, k)`, of the minimum.
        l1_of_columns, l2_of_columns: `(p, k)`: the penalty of each coefficient.
    """

    kernel: np.ndarray
    l1_of_columns: np.ndarray
    l2_of_columns: np.ndarray

    @classmethod
    def from_regularizer(cls, class_name: str, config: Mapping[str, Any]) -> Self | None:
        """Return None: the kernel of a path does not follow from a regularizer alone."""
        return None

    def solve(self, problem: Problem) -> Minimum:
        """Return the kernel of the path.

        The factor says how sure it is. The columns without weight stay out whatever the last digits are, so their
        part of it is so large that nothing moves them; the others are as sure as least squares over them with the
        squared part.
        """
        p, rows = problem.features, problem.rows * problem.outputs
        y_exponents = problem.exponents[p:]
        kernel = np.ldexp(self.kernel, problem.x_exponents[:, None] - y_exponents)
        plain = as_doubledouble(problem.factor).hi
        active = np.flatnonzero(self.kernel.any(axis=1))
        upper = np.diag(np.full(p, IMMOVABLE))
        if len(active):
            squared = np.sqrt(rows * self.l2_of_columns[active].min(axis=1))
            below = np.diag(np.ldexp(squared, -problem.x_exponents[active]))
            upper[np.ix_(active, active)] = triangular.triangularise(np.vstack([plain[:, active], below]))
        with np.errstate(over="ignore"):
            added = (self.l1_of_columns * np.abs(self.kernel) + self.l2_of_columns * np.square(self.kernel)).sum(axis=0)
            penalty = np.ldexp(rows * added, -2 * y_exponents)
        return Minimum(kernel, np.ones(p, bool), upper, penalty)
