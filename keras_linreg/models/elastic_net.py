"""ElasticNetRegression: the lasso and the elastic net, with the penalty chosen in one pass of `fit`."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Self

import keras
import numpy as np

from keras_linreg.data import Prepared, preprocessor_columns
from keras_linreg.data.tables import with_row_labels
from keras_linreg.inference.row_order import RowOrder
from keras_linreg.models.fitted_path import FittedPath, fitted_path, penalty_of, refitted
from keras_linreg.models.fold_store import folds_of_store, store_folds
from keras_linreg.models.one_pass_model import OnePassModel
from keras_linreg.models.path_settings import check_dealing, path_settings
from keras_linreg.moments.accumulator import Accumulator
from keras_linreg.moments.dealing import Dealer, fold_numbers
from keras_linreg.moments.fold_accumulator import FoldAccumulator
from keras_linreg.moments.folds import FoldMoments
from keras_linreg.moments.moments import Moments
from keras_linreg.moments.regularization_path import RegularizationPath
from keras_linreg.moments.user_folds import dealer_of, labels_to_read, naming_folds
from keras_linreg.solvers import NO_PENALTY
from keras_linreg.utils.arguments import is_integer
from keras_linreg.utils.types import Data

PROGRESS_PENALTIES = 10  # of a path while the rows are read


@keras.saving.register_keras_serializable(package="keras_linreg")
class ElasticNetRegression(OnePassModel):
    """The lasso and the elastic net as a Keras model, whose `fit` chooses the penalty by cross-validation in one pass.

    ```python
    y_pred = x @ kernel + bias
    objective = mean(sample_weight * square(y - y_pred)) + l1 * sum(abs(kernel)) + l2 * sum(square(kernel))
    ```

    One pass deals the rows to folds and keeps the moments of each. From these follow the coefficients at `n_penalties`
    penalties, their errors on folds that they were not fitted to, and the penalty that `rule` takes. No row is read
    twice, so data may be of any size; and another rule, or another `l1_ratio`, needs no data at all (`refit`).

    With `standardize`, column j pays `l1` times its standard deviation and `l2` times the square of it, so that units
    do not matter. The kernel is in the units of the columns either way. The bias never pays.

    `ElasticNetRegression(l1=0.1, l2=0.0)` takes this one penalty; there are no folds then, and columns are not
    standardised unless you say so: it is the objective of a `LinearRegression` with
    `keras.regularizers.L1L2(l1=0.1, l2=0.0)`.

    Args:
        units: positive int, the number of outputs.
        l1_ratio: scikit-learn's mixing parameter in (0, 1]: 1 is the lasso; several values are searched.
        folds: how many folds; or the fold of each row, integers `(n,)`, 0 to K - 1; or the name of a column of the
            table that holds them. It is no feature, so `predict` and `evaluate` take tables without it.
        rule: `"min"`: the penalty with the smallest cross-validated error. `"1se"`: the largest one whose error is
            within a standard error of that.
        n_penalties, eps: the path has so many penalties, down to `eps` times the largest.
        standardize: see above; `None`: True for a path, False for one penalty.
        penalty_factor: a number for each column, in order or a dict by name; 0 for a column that pays nothing.
        positive: whether no coefficient may be negative.
        deal: `"runs"`, `"stripes"` or `"random"`, as in `FoldMoments.from_data`.
        groups: a label for each row, or the name of a column of the table: rows of one label stay in one fold.
        seed: of the draws.
        common: whether several outputs share one penalty; if not, each has its own.
        l1, l2: one penalty in place of a path.
        use_bias, feature_names, preprocessor, missing, **kwargs: as in `ExactLinearRegression`.

    Attributes:
        kernel: variable of shape `(features, units)`.
        bias: variable of shape `(units,)`, or `None`.
        l1, l2: the penalties taken: floats, or arrays `(units,)`; `None` before a fit.
        path: the `RegularizationPath`, `None` before a fit.
        moments, fold_moments: the `Moments` of all rows, and `FoldMoments`; `None` before a fit.

    Raises:
        ValueError: on an argument that is none of the above.

    Example:
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 6))
    >>> y = 3 * x[:, 0] - 2 * x[:, 4] + rng.normal(size=500)
    >>> model = klr.ElasticNetRegression(rule="1se")
    >>> history = model.fit(x, y, verbose=0)
    >>> np.flatnonzero(model.kernel.numpy())
    array([0, 4])
    """

    def __init__(
        self,
        units: int = 1,
        l1_ratio: Any = 1.0,
        folds: Any = 10,
        rule: str = "min",
        n_penalties: int = 100,
        eps: float = 1e-3,
        standardize: bool | None = None,
        penalty_factor: Any = None,
        positive: bool = False,
        deal: str = "runs",
        groups: Any = None,
        seed: int = 0,
        common: bool = False,
        l1: float | None = None,
        l2: float | None = None,
        use_bias: bool = True,
        feature_names: Sequence[str] | None = None,
        preprocessor: keras.Layer | None = None,
        missing: str = "error",
        **kwargs: Any,
    ):
        check_dealing(folds, deal, groups, seed)
        if not isinstance(folds, str) and not is_integer(folds):
            folds = with_row_labels(fold_numbers(folds), folds)
        ratios = tuple(l1_ratio) if isinstance(l1_ratio, list) else l1_ratio
        settings = path_settings(
            *(ratios, rule, n_penalties, eps, standardize, penalty_factor, positive, common, l1, l2, feature_names)
        )
        super().__init__(
            penalty=NO_PENALTY,
            dependent="drop",
            units=units,
            use_bias=use_bias,
            feature_names=feature_names,
            preprocessor=preprocessor,
            missing=missing,
            **{**kwargs, "dtype": kwargs.get("dtype") or "float64"},
        )
        if (self.compute_dtype, self.variable_dtype) not in (("float64", "float64"), ("float32", "float32")):
            raise ValueError(f"`dtype` must be 'float64' or 'float32'. Received: dtype={kwargs['dtype']!r}.")
        self._set_untracked("_dealing", {"folds": folds, "deal": deal, "groups": groups, "seed": seed})
        self._set_untracked("_settings", settings)
        self._set_untracked("_stored", None)
        self._set_untracked("_dealer", None)

    @property
    def path(self) -> RegularizationPath | None:
        """The path of the last finished fit; `None` before there is one."""
        return self._fitted.path if isinstance(self._fitted, FittedPath) else None

    @property
    def fold_moments(self) -> FoldMoments | None:
        """The moments of the folds; `None` before a fit, and where there is one penalty."""
        return self._fitted.folds if isinstance(self._fitted, FittedPath) else None

    @property
    def rule(self) -> str:
        """The rule that takes a penalty from the path."""
        return self._settings.rule

    @property
    def l1(self) -> Any:
        """The penalty of the absolute coefficients: a float, or `(units,)`; `None` before a fit."""
        return self._fitted.l1 if isinstance(self._fitted, FittedPath) else self._settings.l1

    @property
    def l2(self) -> Any:
        """The penalty of the squared coefficients: a float, or `(units,)`; `None` before a fit."""
        return self._fitted.l2 if isinstance(self._fitted, FittedPath) else self._settings.l2

    @classmethod
    def from_moments(cls, moments: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """Return a fitted model of fold moments; or of `Moments`, with `l1` or `l2`; without the data.

        Args:
            moments: `FoldMoments`, merged or not; or `Moments`.
            **kwargs: of the constructor.

        Raises:
            ValueError: `moments` is something else, or has no folds and there is no penalty; or units, feature names or
                a deal are given beside it.
        """
        has_penalty = kwargs.get("l1") is not None or kwargs.get("l2") is not None
        if not (isinstance(moments, FoldMoments) or (isinstance(moments, Moments) and has_penalty)):
            raise ValueError(
                "`moments` must be keras_linreg.FoldMoments, or Moments with `l1` or `l2`. "
                f"Received: {type(moments).__name__}."
            )
        extra = sorted({"units", "feature_names", "folds", "deal", "groups", "seed"} & set(kwargs))
        if extra:
            raise ValueError(f"Units, names and folds are those of `moments`. Received: {extra}.")
        folds = moments if isinstance(moments, FoldMoments) and not has_penalty else None
        total = moments.moments if isinstance(moments, FoldMoments) else moments
        if not total.feature_names:
            raise ValueError("`moments` must have at least one feature. Received: no features.")
        if folds is not None:
            kwargs["folds"] = len(folds.folds)
        model = cls(units=len(total.output_names), feature_names=list(total.feature_names), **kwargs)
        fitted = fitted_path(total, folds, model._settings, model.use_bias)
        model.set_schema(preprocessor_columns.declared_schema(model.preprocessor, total.feature_names))
        model.build((None, len(total.feature_names)))
        if model.preprocessor is not None and not (model.schema and model.schema.named):
            model.set_schema(None)  # the first data tell which inputs the preprocessor takes
        model.set_fitted(fitted)
        return model

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Read the data once, and set the weights to the solution at the penalty that the rule takes.

        Arguments as in `ExactLinearRegression.fit`. The loss in the logs is the mean squared error, without the
        penalty, on the rows of the fit. `history.path` is the path, and `history.history["cv_mean"]` its curve.

        Raises:
            ValueError: on data that cannot be fitted; fewer rows, or groups, than folds.
            MemoryError: the columns are too many for their cross-products.

        Warns:
            UserWarning: the choice is the first or the last penalty of the path.
        """
        with naming_folds(self._dealing["folds"]):
            history = super().fit(*args, **kwargs)
        path, epochs = self.path, len(history.epoch)
        if path is not None and path.cv_mean is not None:
            history.path = path
            history.history |= {"cv_mean": [path.cv_mean.tolist()] * epochs, "l1": [path.l1.tolist()] * epochs}
        return history

    def refit(self, rule: str | None = None, l1: float | None = None, l1_ratio: Any = None) -> Self:
        """Take another point of the path, or another path; no data are needed.

        Args:
            rule: `"min"` or `"1se"`; None for the rule so far.
            l1: this penalty of the absolute coefficients, on the path or between its points, in place of a rule. The
                squared part keeps its ratio.
            l1_ratio: of another path.

        Returns:
            The model itself.

        Raises:
            ValueError: the model is not fitted, an argument is none of the above, or `l1` goes with `rule`.
        """
        if not isinstance(self._fitted, FittedPath):
            raise ValueError("The model must be fitted before it is refitted: call `fit` first.")
        again = refitted(self._fitted, self._settings, rule, l1, l1_ratio)
        self._set_untracked("_settings", again.settings)
        self.set_fitted(again)
        return self

    # The pass

    def labels_of_rows(self) -> Data:
        """Return the labels that the reader is to read beside the rows: groups, or the fold of each row."""
        if self._settings.has_one_penalty:
            return None
        return labels_to_read(self._dealing["folds"], self._dealing["groups"])

    def begin_pass(self, data: Prepared) -> None:
        """Make ready for the rows of a fit."""
        self._set_untracked("_dealer", None)
        if not self._settings.has_one_penalty:
            dealing = self._dealing
            self._set_untracked("_dealer", dealer_of(dealing["folds"], dealing["deal"], dealing["seed"], data))

    def new_accumulator(self, features: int) -> Any:
        """Return what takes the batches of a fit."""
        dealer: Dealer | None = self._dealer
        if dealer is None:
            return Accumulator(features, self.units)
        return FoldAccumulator(features, self.units, dealer)

    def solve_pass(self, accumulator: Any, moments: Moments, order: RowOrder | None, is_final: bool) -> Any:
        """Return the fit of the batches that an accumulator took; None while a fold has no rows."""
        folds, settings = None, self._settings
        if self._dealer is not None:
            if not is_final:  # the progress bar does not need all points
                settings = dataclasses.replace(settings, n_penalties=min(settings.n_penalties, PROGRESS_PENALTIES))
            if not is_final and not accumulator.rows_of_folds.all():
                return None
            folds = FoldMoments.of(accumulator, moments, self._dealer)
        return fitted_path(moments, folds, settings, self.use_bias, order, is_final)

    def solve_moments(
        self, moments: Moments, order: RowOrder | None = None, saved_order: np.ndarray | None = None
    ) -> FittedPath:
        """Return moments from a file, with the folds and the penalties that were stored beside them."""
        stored = self._stored
        kernel = np.asarray(self.kernel.numpy(), np.float64)
        penalty = penalty_of(moments, self._settings, self.use_bias, kernel, stored.l1, stored.l2)
        fields = moments, penalty, "drop", self.use_bias, order, saved_order
        return FittedPath(*fields, stored.folds, self._settings, stored.l1, stored.l2)

    # The file

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        for key in ("kernel_initializer", "bias_initializer", "kernel_regularizer"):
            del config[key]
        settings, dealing = dataclasses.asdict(self._settings), dict(self._dealing)
        settings["l1_ratio"] = list(settings["l1_ratio"])
        if settings["penalty_factor"] is not None and not isinstance(settings["penalty_factor"], dict):
            settings["penalty_factor"] = [float(value) for value in settings["penalty_factor"]]
        for key in ("folds", "groups"):
            dealing[key] = _plain(dealing[key])
        return {**config, **settings, **dealing}

    def save_own_variables(self, store: Any) -> None:
        """Write kernel, bias, moments, those of the folds, and the penalties to a file of weights."""
        super().save_own_variables(store)
        if isinstance(self._fitted, FittedPath):
            store_folds(store, self._fitted.folds, self._fitted.l1, self._fitted.l2)

    def load_own_variables(self, store: Any) -> None:
        """Set kernel, bias, moments and folds from a file of weights.

        Raises:
            ValueError: the file is damaged, or of another kind of model; the model stays as it is.
        """
        self._set_untracked("_stored", folds_of_store(store, self.units))
        try:
            super().load_own_variables(store)
        finally:
            self._set_untracked("_stored", None)


def _plain(labels: Any) -> Any:
    """Return labels of rows as Keras writes them to a file; those of a generator are gone with it."""
    if labels is None or isinstance(labels, str) or is_integer(labels):
        return labels if labels is None or isinstance(labels, str) else int(labels)
    if isinstance(labels, Iterator):
        return None
    return labels.to_list() if hasattr(labels, "to_list") else np.asarray(labels).tolist()
