"""FittedPath: the moments of a fit with their folds, the path that follows from them, and the point that was taken."""

import dataclasses
import functools
from typing import Any

import numpy as np

from keras_linreg.inference.fitted_moments import FittedMoments
from keras_linreg.inference.row_order import RowOrder
from keras_linreg.models.path_settings import PathSettings, check_one_penalty
from keras_linreg.moments.cross_validation import one_penalty
from keras_linreg.moments.folds import FoldMoments
from keras_linreg.moments.moments import Moments
from keras_linreg.moments.path_arguments import check_factors, check_l1_ratio
from keras_linreg.moments.regularization_path import RULES, RegularizationPath
from keras_linreg.moments.training_sets import standard_deviations
from keras_linreg.solvers.elastic_net_penalty import ElasticNet
from keras_linreg.utils.arguments import check_choice
from keras_linreg.utils.warnings import warn_user


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPath(FittedMoments):
    """Moments and the elastic-net kernel that was taken.

    Attributes:
        folds: the moments of the folds; None where the user has named the penalty.
        settings: of the path.
        l1, l2: the penalties that were taken: numbers, or `(k,)`.
        known_path: the path, if it has been made; a model from a file makes it when it is asked for.
    """

    folds: FoldMoments | None = None
    settings: PathSettings | None = None
    l1: Any = None
    l2: Any = None
    known_path: RegularizationPath | None = None

    @functools.cached_property
    def path(self) -> RegularizationPath:
        """The path."""
        assert self.settings is not None
        if self.known_path is not None:
            return self.known_path
        return make_path(self.moments, self.folds, self.settings, self.use_bias)


def make_path(
    moments: Moments, folds: FoldMoments | None, settings: PathSettings, use_bias: bool
) -> RegularizationPath:
    """Return the path that settings make of moments."""
    if settings.has_one_penalty:
        return path_of_one(moments, settings, use_bias, float(settings.l1 or 0.0), float(settings.l2 or 0.0))
    assert folds is not None  # a fit without folds has one penalty
    return folds.elastic_net(**settings.path_arguments(), use_bias=use_bias)


def path_of_one(moments: Moments, settings: PathSettings, use_bias: bool, l1: float, l2: float) -> RegularizationPath:
    """Return the path of one penalty."""
    whole = FoldMoments(moments, ())
    options = settings.standardize, settings.penalty_factor, settings.positive, use_bias, True
    return one_penalty(whole.training(use_bias), l1, l2, whole.settings(*options))


def chosen_point(path: RegularizationPath, rule: str, warns: bool = True) -> tuple[np.ndarray, Any, Any]:
    """Return kernel, l1 and l2 of the point that a rule takes; warn if it is the first or the last of the path."""
    index = 0 if path.cv_mean is None else path.index(rule)
    if warns and path.cv_mean is not None and len(path) > 1:
        if np.any(np.equal(index, 0)):
            warn_user(
                "The choice is the first penalty of the path, at which all penalised coefficients are zero: the errors "
                "on the folds do not show that any column helps."
            )
        elif np.any(np.equal(index, len(path) - 1)):
            warn_user(
                "The choice is the last penalty of the path: a smaller one may be better. Give a smaller `eps`, or fit "
                "ExactLinearRegression, which has none."
            )
    kernel, _, l1, l2 = path.at(index)
    return kernel, l1, l2


def penalty_of(moments: Moments, settings: PathSettings, use_bias: bool, kernel: np.ndarray, l1: Any, l2: Any) -> Any:
    """Return the penalty whose minimum a kernel is."""
    features, outputs = len(moments.feature_names), len(moments.output_names)
    factors = check_factors(settings.penalty_factor, moments.feature_names)
    scale = np.ones(features)
    if settings.standardize:
        scale = standard_deviations(moments.statistics)[:features]
    per_output = np.ones(outputs)
    return ElasticNet(kernel, np.outer(factors * scale, per_output * l1), np.outer(factors * scale**2, per_output * l2))


def fitted_path(
    moments: Moments,
    folds: FoldMoments | None,
    settings: PathSettings,
    use_bias: bool,
    order: RowOrder | None = None,
    warns: bool = True,
    path: RegularizationPath | None = None,
) -> FittedPath:
    """Return the fit that settings make of moments and their folds."""
    path = make_path(moments, folds, settings, use_bias) if path is None else path
    kernel, l1, l2 = chosen_point(path, settings.rule, warns)
    penalty = penalty_of(moments, settings, use_bias, kernel, l1, l2)
    return FittedPath(moments, penalty, "drop", use_bias, order, None, folds, settings, l1, l2, path)


def refitted(
    fitted: FittedPath, settings: PathSettings, rule: str | None, l1: float | None, l1_ratio: Any
) -> FittedPath:
    """Return the fit at another point of the path, or of another path; its settings are the new ones.

    Args:
        fitted: the fit so far.
        settings: its settings.
        rule, l1, l1_ratio: as in `ElasticNetRegression.refit`.

    Raises:
        ValueError: one of them is none, or two exclude each other.
    """
    if l1 is not None and rule is not None:
        raise ValueError(f"`rule` must be None beside `l1`. Received: rule={rule!r}, l1={l1!r}.")
    if fitted.folds is None and (rule is not None or l1_ratio is not None):
        raise ValueError(
            "`rule` and `l1_ratio` need folds, and a model of one penalty has none. "
            f"Received: rule={rule!r}, l1_ratio={l1_ratio!r}."
        )
    if rule is not None:
        check_choice("rule", rule, RULES)
    path: RegularizationPath | None = fitted.path
    settings = dataclasses.replace(settings, rule=rule or settings.rule)
    if l1_ratio is not None:
        settings, path = dataclasses.replace(settings, l1_ratio=check_l1_ratio(l1_ratio)), None
    again = fitted_path(fitted.moments, fitted.folds, settings, fitted.use_bias, fitted.order, l1 is None, path)
    again = dataclasses.replace(again, saved_order=fitted.saved_order)
    if l1 is None:
        return again
    check_one_penalty(l1, 1.0)
    ratio = again.path.l1_ratio
    l2 = fitted.l2 if fitted.folds is None else l1 * (1 - ratio) / (2 * ratio)
    penalties = check_one_penalty(l1, l2)
    one = path_of_one(fitted.moments, settings, fitted.use_bias, *penalties)
    penalty = penalty_of(fitted.moments, settings, fitted.use_bias, one.kernels[0], *penalties)
    return dataclasses.replace(again, penalty=penalty, l1=penalties[0], l2=penalties[1])
