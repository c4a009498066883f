"""Ridge regression: the squared kernel as a penalty."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_linreg.linalg import double_double, triangular
from keras_linreg.linalg.double_double import DoubleDouble, as_doubledouble
from keras_linreg.linalg.triangular import Factor
from keras_linreg.solvers.least_squares import NO_PENALTY
from keras_linreg.solvers.penalty import Minimum, Penalty, Problem, zeros_like

LARGEST_ROOT = 1e152  # of the penalty's rows, in the problem's units: squares of theirs, and products, are finite


@dataclasses.dataclass(frozen=True, slots=True)
class L2(Penalty):
    """`weight * sum(square(kernel))` is added, as by `keras.regularizers.L2(weight)`; weight is positive."""

    weight: float

    @property
    def l2(self) -> float:
        """The weight of the squared kernel."""
        return self.weight

    @classmethod
    def from_regularizer(cls, class_name: str, config: Mapping[str, Any]) -> Penalty | None:  # type: ignore[override]
        """Return the penalty of `keras.regularizers.L2`, or of an `L1L2` whose l1 is 0."""
        if class_name == "L2" or (class_name == "L1L2" and not float(config["l1"])):
            return ridge_penalty(config["l2"])
        return None

    def solve(self, problem: Problem) -> Minimum:
        """Return the ridge kernel.

        A penalty of `rows * outputs * weight * norm(kernel)**2` is the sum of squares of p more rows
        `sqrt(rows * outputs * weight) * I`, whose y is 0. So the rows stand below the factor, the two are made
        triangular again, and back substitution solves them. No cross-product is formed, and no column can depend on
        others.

        References:
            Björck, Numerical Methods for Least Squares Problems (1996), section 2.8.
        """
        features = problem.features
        with np.errstate(over="ignore", invalid="ignore"):  # the root is checked below
            root = double_double.sqrt(DoubleDouble(problem.rows) * problem.outputs * self.weight)
        diagonal = DoubleDouble(np.full(features, root.hi), np.full(features, root.lo)).scaled(-problem.x_exponents)
        if not (diagonal.hi < LARGEST_ROOT).all():
            raise ValueError(
                "`l2` must not outweigh the data so much that float64 cannot hold both: rows * units * l2, divided by "
                f"the sum of squares of a column, must stay below {LARGEST_ROOT**2:.0e}. Received: l2={self.weight}."
            )
        factor = _with_rows(problem.factor, diagonal)
        upper = factor[:features, :features]
        kernel = triangular.back_substitute(upper, factor[:features, features:])
        penalty = as_doubledouble(kernel) * diagonal[:, None]
        return Minimum(kernel, np.ones(features, bool), upper, (penalty * penalty).sum(0).hi)


def ridge_penalty(l2: Any) -> Penalty:
    """Return the penalty of a weight, which is none for 0.

    Raises:
        ValueError: the weight is negative, or no finite number.
    """
    try:
        weight = math.nan if isinstance(l2, str | bytes | bool | np.bool_) else float(l2)
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not math.isfinite(weight) or weight < 0:
        raise ValueError(f"`l2` must be a finite number that is not negative. Received: l2={l2!r}.")
    return L2(weight) if weight else NO_PENALTY


def _with_rows(factor: Factor, diagonal: DoubleDouble) -> Factor:
    """Return the triangular factor of a factor and of one more row for each feature."""
    rows = zeros_like(factor, (len(diagonal), factor.shape[1]))
    for j in range(len(diagonal)):
        rows[j, j] = diagonal[j] if isinstance(factor, DoubleDouble) else diagonal.hi[j]
    # Reflections lose small rows that stand above large ones.
    return triangular.stacked(rows, factor) if diagonal.hi.max() > 1 else triangular.stacked(factor, rows)
