"""From statistics to coefficients, one solver a file.

`solve` brings statistics into safe units, asks the penalty for the minimum, and returns a `Solution`. To add a penalty,
add a file with a subclass of `Penalty` beside `ridge.py`, and name the class in `PENALTIES`.
"""

from collections.abc import Mapping
from typing import Any

from keras_linreg.solvers.least_squares import NO_PENALTY, NoPenalty
from keras_linreg.solvers.penalty import Penalty
from keras_linreg.solvers.ridge import L2, ridge_penalty
from keras_linreg.solvers.solution import FEW_DIGITS, Solution
from keras_linreg.solvers.solve import TOLERANCES, check_dependent, solve

PENALTIES: tuple[type[Penalty], ...] = (NoPenalty, L2)

__all__ = [
    "FEW_DIGITS",
    "L2",
    "NO_PENALTY",
    "PENALTIES",
    "TOLERANCES",
    "Penalty",
    "Solution",
    "check_dependent",
    "penalty_of_regularizer",
    "ridge_penalty",
    "solve",
]


def penalty_of_regularizer(class_name: str, config: Mapping[str, Any]) -> Penalty | None:
    """Return the penalty that a Keras regularizer stands for, by its class and config; or None if there is none."""
    penalties = (kind.from_regularizer(class_name, config) for kind in PENALTIES)
    return next((penalty for penalty in penalties if penalty is not None), None)
