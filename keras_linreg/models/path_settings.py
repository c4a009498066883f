"""PathSettings: the arguments of an ElasticNetRegression that say which path it makes, and which point it takes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_linreg.moments.dealing import check_folds
from keras_linreg.moments.path_arguments import check_factors, check_grid, check_l1_ratio, is_number
from keras_linreg.moments.regularization_path import RULES
from keras_linreg.utils.arguments import check_choice, check_flag, is_integer


@dataclasses.dataclass(frozen=True, eq=False)
class PathSettings:
    """The arguments, checked.

    Attributes:
        l1_ratio: one value or several.
        rule: `"min"` or `"1se"`.
        n_penalties, eps, standardize, penalty_factor, positive, common: as in `FoldMoments.elastic_net`.
        l1, l2: one penalty; None for a path.
    """

    l1_ratio: tuple[float, ...]
    rule: str
    n_penalties: int
    eps: float
    standardize: bool
    penalty_factor: Any
    positive: bool
    common: bool
    l1: float | None = None
    l2: float | None = None

    @property
    def has_one_penalty(self) -> bool:
        """Whether the user has named the penalty: there is no path, and there are no folds."""
        return self.l1 is not None

    def path_arguments(self) -> dict[str, Any]:
        """Return the arguments of `FoldMoments.elastic_net`."""
        return {
            "l1_ratio": self.l1_ratio,
            "n_penalties": self.n_penalties,
            "eps": self.eps,
            "standardize": self.standardize,
            "penalty_factor": self.penalty_factor,
            "positive": self.positive,
            "common": self.common,
        }


def path_settings(
    l1_ratio: Any,
    rule: Any,
    n_penalties: Any,
    eps: Any,
    standardize: Any,
    penalty_factor: Any,
    positive: Any,
    common: Any,
    l1: Any,
    l2: Any,
    feature_names: Sequence[str] | None,
) -> PathSettings:
    """Return the arguments, checked as far as they can be without data.

    Raises:
        ValueError: one of them is none; it names the argument, the rule and the value received.
    """
    check_choice("rule", rule, RULES)
    ratios, grid = check_l1_ratio(l1_ratio), check_grid(n_penalties, eps)
    one = None
    if l1 is not None or l2 is not None:
        one = check_one_penalty(0.0 if l1 is None else l1, 0.0 if l2 is None else l2)
    if feature_names is not None:
        check_factors(penalty_factor, list(feature_names))
    elif penalty_factor is not None and not isinstance(penalty_factor, dict):
        check_factors(penalty_factor, ["column"] * np.size(penalty_factor))
    return PathSettings(
        ratios,
        rule,
        grid.count,
        grid.eps,
        one is None if standardize is None else check_flag("standardize", standardize),
        penalty_factor,
        check_flag("positive", positive),
        check_flag("common", common),
        *(one or (None, None)),
    )


def check_one_penalty(l1: Any, l2: Any) -> tuple[float, float]:
    """Return the one penalty that the user names.

    Raises:
        ValueError: a number is negative or not finite, or both are 0.
    """
    for name, value in (("l1", l1), ("l2", l2)):
        if not is_number(value) or value < 0:
            raise ValueError(f"`{name}` must be a finite number that is not negative. Received: {name}={value!r}.")
    if not l1 and not l2:
        raise ValueError(
            "`l1` and `l2` must not both be 0: ExactLinearRegression fits without a penalty. Received: l1=0, l2=0."
        )
    return float(l1), float(l2)


def check_dealing(folds: Any, deal: Any, groups: Any, seed: Any) -> None:
    """Refuse folds, a deal, groups or a seed that there are not; labels are looked at with the data.

    Raises:
        ValueError: one of them is none.
    """
    check_folds(folds, deal, seed)
    if groups is not None and not is_integer(folds):
        raise ValueError(
            f"`groups` must be None where `folds` says the fold of each row. Received: folds={type(folds).__name__}."
        )
