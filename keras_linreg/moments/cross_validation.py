"""Cross-validated paths from the moments of folds: elastic net and ridge, without the rows."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from keras_linreg.moments.moments import Moments
from keras_linreg.moments.path_arguments import Grid
from keras_linreg.moments.regularization_path import RegularizationPath, mean_and_error
from keras_linreg.moments.training_sets import TrainingSet, errors_of_fold, training_sets
from keras_linreg.solvers.elastic_net import PathProblem, elastic_net_paths
from keras_linreg.sufficient_statistics import Statistics
from keras_linreg.utils.threads import cores, one_blas_thread

WORTH_THREADS = 500  # columns: for fewer, the interpreter is busier than BLAS
LARGEST_SQUARE, SMALLEST_SQUARE = 1e290, 1e-290
NOTHING = 1e-15  # a largest penalty below this is rounding: y is constant, or no column correlates with it


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """How the coefficients of a path pay.

    Attributes:
        standardize: whether column j pays by its standard deviation.
        factors: `(p,)`: the penalty factors.
        positive: whether no coefficient may be negative.
        use_bias: whether there is an intercept.
        common: whether several outputs share one path of penalties, and one choice.
    """

    standardize: bool
    factors: np.ndarray
    positive: bool = False
    use_bias: bool = True
    common: bool = False


class Folds:
    """The training sets of moments and their folds, for paths of any setting.

    Args:
        total: the moments of all rows.
        folds: the moments of each fold; none for a path without errors.
        use_bias: whether there is an intercept.
    """

    def __init__(self, total: Moments, folds: Sequence[Moments], use_bias: bool):
        self.total, self.use_bias = total, use_bias
        self.statistics: Sequence[Statistics] = [fold.statistics for fold in folds]
        self.features, self.outputs = len(total.feature_names), len(total.output_names)

        def apply(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
            return self.map(np.errstate(over="ignore", invalid="ignore")(function), items)

        with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
            sets = training_sets(total.statistics, self.statistics, self.features, use_bias, apply)
        self.whole, self.rest = sets
        self.mean_weight = self.whole.weight / total.rows
        self._check_sizes()

    def _check_sizes(self) -> None:
        """Refuse columns whose squares are no floats."""
        names = [*self.total.feature_names, *self.total.output_names]
        squares, varies = np.diag(self.whole.products), ~self.total.statistics.constant
        bad = ~(squares < LARGEST_SQUARE) | (varies & ~(squares > SMALLEST_SQUARE))
        if bad.any():
            raise ValueError(
                f"A path needs columns whose squares are floats: bring {names[int(np.argmax(bad))]!r} to another unit. "
                f"Received: a sum of squares of {squares[int(np.argmax(bad))]:.1e}."
            )

    def errors(self, fold: int, weights: np.ndarray, output: int) -> np.ndarray:
        """Return the mean squared errors `(L,)` of kernels `(p, L)` on a fold that they were not fitted to."""
        return errors_of_fold(
            self.statistics[fold], self.total.statistics, self.rest[fold], weights, output, self.use_bias
        )

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Return the function of each item, on all cores if that pays."""
        with one_blas_thread():
            if self.features < WORTH_THREADS:
                return [function(item) for item in items]
            with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
                return list(pool.map(function, items))

    def biases(self, kernels: np.ndarray) -> np.ndarray | None:
        """Return the biases `(L, k)` of kernels `(L, p, k)`, or None."""
        if not self.use_bias:
            return None
        mean = self.whole.mean
        return mean[self.features :] - np.einsum("j,ljk->lk", mean[: self.features], kernels)


def elastic_net(folds: Folds, l1_ratio: float, grid: Grid, settings: Settings) -> RegularizationPath:
    """Return the path of one l1_ratio in (0, 1], cross-validated if there are folds.

    The penalties are scikit-learn's: with k outputs and a mean weight of c, `l1 = 2 * alpha * l1_ratio * c / k` and
    `l2 = alpha * (1 - l1_ratio) * c / k`. For the mean over rows and outputs of `s * r**2`, times `k / (2 * c)`, is
    `sum(s * r**2) / sum(s) / 2`, of which scikit-learn's objective consists, for it divides weights by their mean.
    """
    to_l1 = 2 * l1_ratio * folds.mean_weight / folds.outputs
    problems = [_problem(folds.whole, output, settings) for output in range(folds.outputs)]
    if grid.l1 is not None:
        alphas = [np.asarray(grid.l1) / to_l1] * folds.outputs
    else:
        largest = [problem.largest_alpha(l1_ratio) for problem in problems]
        largest = [max(largest)] * folds.outputs if settings.common else largest
        _check_something_is_left(problems, largest, settings)
        alphas = [_geometric(top, grid) for top in largest]
    found = [_of_output(folds, o, problems[o], alphas[o], l1_ratio, settings) for o in range(folds.outputs)]
    kernels = np.stack([weights.T for weights, _, _ in found], axis=2)
    is_one = folds.outputs == 1 or settings.common
    alpha = alphas[0] if is_one else np.stack(alphas, axis=1)
    gaps, counts = np.stack([gap for _, gap, _ in found], axis=1), (kernels != 0).sum(axis=1)
    return RegularizationPath(
        l1=alpha * to_l1,
        l2=alpha * (1 - l1_ratio) * folds.mean_weight / folds.outputs,
        alphas=alpha,
        l1_ratio=l1_ratio,
        df=counts.sum(axis=1) if is_one else counts,
        kkt_gap=gaps.max(axis=1) if is_one else gaps,
        kernels=kernels,
        **common_fields(folds, kernels, [errors for _, _, errors in found], is_one),
        standardize=settings.standardize,
    )


def common_fields(
    folds: Folds, kernels: np.ndarray, errors: Sequence[np.ndarray | None], is_one: bool
) -> dict[str, Any]:
    """Return the fields that all paths have: errors `(L, K)` of each output averaged, biases and names."""
    cv_mean = cv_se = fold_errors = fold_weights = None
    own = [of_output for of_output in errors if of_output is not None]
    if own:
        fold_errors = np.mean(own, axis=0) if is_one else np.stack(own, axis=2)
        fold_weights = np.array([float(fold.weight.hi) for fold in folds.statistics])
        cv_mean, cv_se = mean_and_error(fold_errors, np.ones(len(fold_weights)))
    return {
        "cv_mean": cv_mean,
        "cv_se": cv_se,
        "fold_errors": fold_errors,
        "fold_weights": fold_weights,
        "biases": folds.biases(kernels),
        "feature_names": folds.total.feature_names,
        "output_names": folds.total.output_names,
        "scale_of_x": folds.whole.sd[: folds.features],
        "scale_of_y": folds.whole.sd[folds.features :],
        "mean_weight": folds.mean_weight,
    }


def search(folds: Folds, l1_ratios: Sequence[float], grid: Grid, settings: Settings) -> RegularizationPath:
    """Return the path with the smallest error of several values of l1_ratio; it holds all of them."""
    paths = [elastic_net(folds, ratio, grid, settings) for ratio in l1_ratios]
    if len(paths) == 1:
        return paths[0]
    smallest = [np.sum(np.min(path.cv_mean, axis=0)) for path in paths if path.cv_mean is not None]
    return dataclasses.replace(paths[int(np.argmin(smallest))], searched=tuple(paths))


def one_penalty(folds: Folds, l1: float, l2: float, settings: Settings) -> RegularizationPath:
    """Return the path of one penalty, without errors."""
    of_l1, of_l2 = (part * folds.outputs / folds.mean_weight for part in (l1 / 2, l2))
    ratio = of_l1 / (of_l1 + of_l2)
    settings = dataclasses.replace(settings, common=True)
    alpha = np.array([of_l1 + of_l2])
    problems = [_problem(folds.whole, output, settings) for output in range(folds.outputs)]
    found = [_of_output(folds, o, problem, alpha, ratio, settings) for o, problem in enumerate(problems)]
    kernels = np.stack([weights.T for weights, _, _ in found], axis=2)
    return RegularizationPath(
        l1=np.array([l1]),
        l2=np.array([l2]),
        alphas=alpha,
        l1_ratio=ratio,
        df=np.array([np.count_nonzero(kernels)]),
        kkt_gap=np.max([gap for _, gap, _ in found], axis=0),
        kernels=kernels,
        **common_fields(folds, kernels, [errors for _, _, errors in found], True),
        standardize=settings.standardize,
    )


def _problem(trained: TrainingSet, output: int, settings: Settings) -> PathProblem:
    return trained.problem(output, settings.factors, settings.standardize, settings.positive)


def _of_output(
    folds: Folds, output: int, whole: PathProblem, alphas: np.ndarray, l1_ratio: float, settings: Settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the kernels `(p, L)` of one output, the gaps `(L,)` of its paths, and errors on the folds, `(L, K)`."""
    rest = range(len(folds.rest))
    problems = [whole, *folds.map(lambda fold: _problem(folds.rest[fold], output, settings), rest)]
    paths = elastic_net_paths(problems, alphas, l1_ratio, folds.map)

    def gaps_of(i: int) -> np.ndarray:
        return problems[i].kkt_gaps(alphas, l1_ratio, paths[i])

    def errors_of(fold: int) -> np.ndarray:
        return folds.errors(fold, paths[fold + 1] / folds.rest[fold].units[:, None], output)

    gaps = np.max(folds.map(gaps_of, range(len(problems))), axis=0)
    kernels = paths[0] / folds.whole.units[:, None]
    return kernels, gaps, np.stack(folds.map(errors_of, rest), axis=1) if rest else None


def _geometric(largest: float, grid: Grid) -> np.ndarray:
    if largest <= NOTHING:
        return np.full(grid.count, NOTHING)
    return np.geomspace(largest, largest * grid.eps, grid.count)


def _check_something_is_left(problems: Sequence[PathProblem], largest: Sequence[float], settings: Settings) -> None:
    """Refuse a path without any column because all coefficients would be negative."""
    if settings.positive and not max(largest) > 0 and any(problem.largest_gradient > 0 for problem in problems):
        raise ValueError(
            "`positive` must leave a column: y falls, or stays, with every one of them. Received: positive=True and "
            "no column that y rises with."
        )
