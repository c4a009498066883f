"""RegularizationPath: the coefficients at each penalty, what each is expected to miss, and which one to choose."""

import dataclasses
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_linreg.utils.arguments import check_choice, check_flag
from keras_linreg.utils.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from keras_linreg import plots
else:
    pd, plots = LazyModule("pandas"), LazyModule("keras_linreg.plots")

RULES = ("min", "1se")


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class RegularizationPath:
    """Coefficients at L penalties, from the largest to the smallest, and their cross-validated errors.

    ```python
    minimise  mean(sample_weight * square(y - x @ kernel - bias)) + l1 * sum(abs(kernel)) + l2 * sum(square(kernel))
    ```

    with the first term averaged over outputs, and `l1`, `l2` of column j times its penalty factor, and times its
    standard deviation (squared for `l2`) if `standardize`. Several outputs have each a path of its own, unless they
    share one (`common=True`): then penalties and errors below have a column an output, `(L, k)`.

    Attributes:
        l1, l2: `(L,)`: the penalties.
        alphas: `(L,)`: scikit-learn's penalty: of `ElasticNet(alpha, l1_ratio)`; of a ridge path `Ridge(alpha)`.
        l1_ratio: scikit-learn's; 0 for a ridge path.
        cv_mean, cv_se: `(L,)`: the mean squared error on a fold of the fit to the others, its mean over the folds, and
            the standard error of that mean; None without folds.
        df: `(L,)`: how many coefficients are not zero; of a ridge path the effective degrees of freedom.
        kkt_gap: `(L,)`: how far the kernel, and those that the folds were predicted with, are off the conditions of
            the minimum, as a part of the largest gradient: the largest of these gaps.
        kernels: `(L, p, k)`, in the units of the columns.
        biases: `(L, k)`; None without an intercept.
        fold_errors: `(L, K)`, or `(L, K, k)`: the errors on each fold; None without folds.
        fold_weights: `(K,)`: the sums of the weights of the folds; None without folds.
        feature_names, output_names: p and k names.
        scale_of_x, scale_of_y: `(p,)` and `(k,)`: the standard deviations of the columns and of the outputs.
        mean_weight: the mean sample weight.
        standardize: whether a column pays by its standard deviation.
        gcv, loo: `(L,)`: of a ridge path, the generalised cross-validation and the leave-one-out error; else None.
        searched: of a search over `l1_ratio`, all its paths; this one has the smallest error.
    """

    l1: np.ndarray
    l2: np.ndarray
    alphas: np.ndarray
    l1_ratio: float
    cv_mean: np.ndarray | None
    cv_se: np.ndarray | None
    df: np.ndarray
    kkt_gap: np.ndarray
    kernels: np.ndarray
    biases: np.ndarray | None
    fold_errors: np.ndarray | None
    fold_weights: np.ndarray | None
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    scale_of_x: np.ndarray
    scale_of_y: np.ndarray
    mean_weight: float
    standardize: bool
    gcv: np.ndarray | None = None
    loo: np.ndarray | None = None
    searched: tuple["RegularizationPath", ...] = ()

    def __len__(self) -> int:
        return len(self.kernels)

    def __repr__(self) -> str:
        kind = "ridge" if self.l1_ratio == 0 else "lasso" if self.l1_ratio == 1 else f"l1_ratio={self.l1_ratio:g}"
        choices = ""
        if self.cv_mean is not None and self.cv_mean.ndim == 1:
            choices = f": {self._line('min')}; {self._line('1se')}"
        return f"<RegularizationPath of {len(self)} penalties, {kind}{choices}>"

    def _line(self, rule: str) -> str:
        i = int(self.index(rule))
        size = f"l2={self.l2[i]:.4g}" if self.l1_ratio == 0 else f"l1={self.l1[i]:.4g}"
        assert self.cv_mean is not None and self.cv_se is not None  # the caller has looked
        return f"{rule} at {size}, error {self.cv_mean[i]:.4g} ± {self.cv_se[i]:.2g}, {self.df[i]:.4g} coefficients"

    @property
    def lambdas(self) -> np.ndarray:
        """Glmnet's penalty, `(L,)`, or `(L, k)` where outputs differ.

        glmnet minimises `mean(r**2) / 2 + lambda * (alpha * sum(abs(w)) + (1 - alpha) / 2 * sum(w**2) / sd(y))`, with
        weights of mean 1. So `l1 = 2 * lambda * alpha * c / k` and `l2 = lambda * (1 - alpha) / sd(y) * c / k` for k
        outputs and a mean weight of c, and `lambda = (l1 / 2 + l2 * sd(y)) * k / c`.
        """
        outputs = len(self.output_names)
        scale = self.scale_of_y if outputs > 1 else self.scale_of_y[0]
        l1, l2 = self.l1, self.l2
        if outputs > 1 and l1.ndim == 1:
            if self.l1_ratio == 1:
                return l1 / 2 * (outputs / self.mean_weight)
            l1, l2 = l1[:, None], l2[:, None]
        return (l1 / 2 + l2 * scale) * (outputs / self.mean_weight)

    @property
    def index_min(self) -> Any:
        """The number of the penalty with the smallest error; of several paths, `(k,)`."""
        return self.index("min")

    @property
    def index_1se(self) -> Any:
        """The number of the largest penalty whose error is within a standard error of the smallest."""
        return self.index("1se")

    def index(self, rule: str = "min") -> Any:
        """Return the number of the penalty that a rule chooses, an int; of several paths, an array `(k,)`.

        Args:
            rule: `"min"`: the smallest error. `"1se"`: the largest penalty whose error is within one standard error
                of the smallest (Breiman, Friedman, Olshen, Stone, Classification and Regression Trees, 1984).

        Raises:
            ValueError: there is no such rule, or there are no folds.
        """
        check_choice("rule", rule, RULES)
        if self.cv_mean is None or self.cv_se is None:
            raise ValueError("A path without folds has no errors to choose by. Received: a path without folds.")
        mean, se = (part.reshape(len(self), -1) for part in (self.cv_mean, self.cv_se))
        best = np.argmin(mean, axis=0)
        if rule == "1se":
            each = np.arange(mean.shape[1])
            best = np.argmax(mean <= mean[best, each] + se[best, each], axis=0)
        return int(best[0]) if self.cv_mean.ndim == 1 else best

    def summary(self, weights: str = "folds") -> "RegularizationPath":
        """Return the path with its errors averaged in another way.

        Args:
            weights: `"folds"`: each fold counts the same, as in scikit-learn. `"rows"`: each row does, by its weight,
                as in R's cv.glmnet.

        Raises:
            ValueError: another word, or there are no folds.
        """
        check_choice("weights", weights, ("folds", "rows"))
        if self.fold_errors is None or self.fold_weights is None:
            raise ValueError("A path without folds has no errors. Received: a path without folds.")
        shares = self.fold_weights if weights == "rows" else np.ones(len(self.fold_weights))
        mean, se = mean_and_error(self.fold_errors, shares)
        return dataclasses.replace(self, cv_mean=mean, cv_se=se)

    def at(self, index: Any) -> tuple[np.ndarray, np.ndarray | None, Any, Any]:
        """Return kernel `(p, k)`, bias `(k,)`, l1 and l2 at a penalty: its number, or one for each output."""
        if self.l1.ndim == 1:
            bias = None if self.biases is None else self.biases[index]
            return self.kernels[index], bias, float(self.l1[index]), float(self.l2[index])
        each = np.arange(len(self.output_names))
        bias = None if self.biases is None else self.biases[index, each]
        return self.kernels[index, :, each].T, bias, self.l1[index, each], self.l2[index, each]

    def selected(self, rule: str | int = "min", output: int = 0) -> list[str]:
        """Return the names of the columns whose coefficient is not zero, in their order.

        Args:
            rule: as in `index`; or the number of a penalty.
            output: the number of the output.
        """
        output = self._check_output(output)
        number = np.ravel(self.index(rule) if isinstance(rule, str) else operator.index(rule))
        used = self.kernels[number[min(output, len(number) - 1)], :, output] != 0
        return [name for name, is_used in zip(self.feature_names, used, strict=True) if is_used]

    def to_frame(self, coefficients: bool = False) -> "pd.DataFrame":
        """Return the figures of each penalty as a DataFrame; of several paths, with a column "output".

        Args:
            coefficients: whether to return the coefficients instead, a column for each of the model's columns.
        """
        if check_flag("coefficients", coefficients):
            frames = {
                output: pd.DataFrame(self.kernels[:, :, j], columns=list(self.feature_names))
                for j, output in enumerate(self.output_names)
            }
            return next(iter(frames.values())) if len(frames) == 1 else pd.concat(frames, axis=1)
        names = ["l1", "l2", "alphas", "lambdas", "cv_mean", "cv_se", "df", "kkt_gap", "gcv", "loo"]
        figures = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.l1.ndim == 1:
            return pd.DataFrame({name: value for name, value in figures.items() if value.ndim == 1})
        parts = [
            pd.DataFrame({"output": output, **{name: value[:, j] for name, value in figures.items()}})
            for j, output in enumerate(self.output_names)
        ]
        return pd.concat(parts, ignore_index=True)

    def plot(self, ax: "Axes | None" = None, output: int = 0, standardized: bool = False) -> "Axes":
        """Draw the coefficients along the path, the two choices marked, and return the Axes.

        Args:
            ax: to draw on; None for a figure of its own, which `ax.figure.savefig` writes.
            output: the number of the output.
            standardized: whether the coefficients are standard deviations of y for each standard deviation of a column,
                which can be compared.
        """
        chosen, kernels = self._of_output(output), self.kernels[:, :, output]
        if check_flag("standardized", standardized):
            kernels = kernels * self.scale_of_x / (self.scale_of_y[output] or 1.0)
        return plots.coefficient_path(
            plots.figure()[1][0] if ax is None else ax,
            chosen.pop("penalties"),
            kernels,
            self.feature_names,
            counts=chosen["counts"],
            choices=chosen["choices"],
            penalty_name=chosen["penalty_name"],
            standardized=standardized,
        )

    def plot_cv(self, ax: "Axes | None" = None, output: int = 0) -> "Axes":
        """Draw the cross-validated errors with a band of one standard error, the two choices marked.

        Args:
            ax: to draw on; None for a figure of its own.
            output: the number of the output.

        Raises:
            ValueError: there are no folds.
        """
        self.index()
        return plots.cross_validation_curve(
            plots.figure()[1][0] if ax is None else ax,
            errors=_column(self.cv_mean, output),
            standard_errors=_column(self.cv_se, output),
            **self._of_output(output),
        )

    def _check_output(self, output: int) -> int:
        if not 0 <= output < len(self.output_names):
            raise ValueError(f"`output` must be below {len(self.output_names)}. Received: output={output!r}.")
        return output

    def _of_output(self, output: int) -> dict[str, Any]:
        """Return the figures of one output, for a picture."""
        output = self._check_output(output)
        choices = {}
        if self.cv_mean is not None:
            choices = {
                rule: int(np.ravel(self.index(rule))[min(output, np.size(self.index(rule)) - 1)]) for rule in RULES
            }
        name = "l2" if self.l1_ratio == 0 else "l1"
        penalties, counts = _column(getattr(self, name), output), _column(self.df, output)
        return {"penalties": penalties, "counts": counts, "choices": choices, "penalty_name": name}


def _column(values: Any, output: int) -> Any:
    return values if values is None or values.ndim == 1 else values[:, output]


def mean_and_error(errors: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over folds of errors `(L, K, ...)`, and its standard error.

    ```python
    sqrt(sum(shares * (errors - mean) ** 2) / sum(shares) / (K - 1))
    ```
    """
    shares = shares / shares.sum()
    mean = np.tensordot(shares, errors, (0, 1))
    squares = np.tensordot(shares, (errors - mean[:, None]) ** 2, (0, 1))
    return mean, np.sqrt(squares / (errors.shape[1] - 1))
