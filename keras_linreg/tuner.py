"""Search spaces of KerasTuner: HyperLinearRegression for gradient descent, HyperElasticNet for folds without data."""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterable
from typing import Any

import keras
import keras_tuner

from keras_linreg.data import is_stream
from keras_linreg.losses import SquaredError
from keras_linreg.models.elastic_net import ElasticNetRegression
from keras_linreg.models.gradient import LinearRegression
from keras_linreg.models.scaled import ScaledLinearRegression
from keras_linreg.moments.folds import FoldMoments
from keras_linreg.utils.arguments import check_flag
from keras_linreg.utils.keras_compat import Search, current_search, objective_parts, replace_infinite_scores

LOGGER = logging.getLogger(__name__)
MOMENTA = [0.0, 0.9]
PENALTIES = [0.0, 1e-4, 1e-2]
BATCH_SIZES = [32, 128]
L1_RATIOS = [0.1, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0]
SMALLEST_SHARE = 1e-3  # of the largest penalty
LEARNING_RATES = [0.003, 0.01, 0.03, 0.1]


class HyperLinearRegression(keras_tuner.HyperModel):
    """The search space of `keras_linreg.LinearRegression` for every tuner of KerasTuner.

    The models bring columns and target to scale by themselves (`ScaledLinearRegression`): learning rates and penalties
    are those of columns and a target of mean 0 and standard deviation 1, whatever the units of the data.

    Each of the first five arguments takes `None`, for the default search; a value, which is then not searched; or a
    function that takes KerasTuner's `hp` and returns a value. The default search is

    ```python
    optimizer = hp.Choice("optimizer", ["adam", "sgd"])
    momentum = hp.Choice("momentum", [0.0, 0.9])  # for "sgd" only
    l2 = hp.Choice("l2", [0.0, 1e-4, 1e-2])
    learning_rate = hp.Choice("learning_rate", [0.003, 0.01, 0.03, 0.1], default=0.03)
    batch_size = hp.Choice("batch_size", [32, 128], default=32)
    ```

    A trial that diverges gets the worst possible score, its `message` tells the reason, and the search goes on. While
    all trials have diverged, the log says so; then `get_best_models` may find no checkpoint and raise a
    FileNotFoundError. Bad data end the search.

    The objective `"val_loss"` includes the penalty, as everywhere in Keras, so it favours a penalty of 0. To choose an
    `l2`, use `"val_mean_squared_error"`.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`, not negative.
        momentum: float in [0, 1), for `"sgd"`.
        optimizer: the name of a Keras optimizer; or an optimizer with its own learning rate and momentum, which is
            copied for each trial.
        batch_size: positive int. It is neither used nor searched if `tuner.search` has a `batch_size`, or data in
            batches: a `tf.data.Dataset`, `PyDataset`.
        l2: float, not negative: the weight of the sum of the kernel's squares in the loss. It is neither used nor
            searched if there is a `kernel_regularizer`.
        metrics: the metrics of `compile`, copied for each trial; `None`: `["mean_squared_error"]`.
        scale: whether the models bring columns (behind a `preprocessor`) and target to scale. If not, they are plain
            `LinearRegression`s. To scale, data are read once more: a generator is refused.
        **kwargs: arguments of `LinearRegression`: `units`, `feature_names`, `preprocessor`, `dtype`, ...

    Raises:
        ValueError: two arguments exclude each other.

    Example:
    >>> import keras_tuner, numpy as np, tempfile
    >>> import keras_linreg as klr
    >>> x = np.linspace(-1, 1, 50)
    >>> tuner = keras_tuner.RandomSearch(
    ...     klr.HyperLinearRegression(batch_size=10), objective="val_loss", max_trials=3, seed=1,
    ...     directory=tempfile.mkdtemp())
    >>> tuner.search(x, 2 * x + 1, epochs=5, validation_data=(x, 2 * x + 1), verbose=0)
    >>> model = tuner.get_best_models()[0]
    >>> sorted(tuner.get_best_hyperparameters()[0].values)[:2]
    ['l2', 'learning_rate']
    """

    def __init__(
        self,
        learning_rate: Any = None,
        momentum: Any = None,
        optimizer: Any = None,
        batch_size: Any = None,
        l2: Any = None,
        metrics: Any = None,
        scale: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        has_settings = isinstance(optimizer, keras.optimizers.Optimizer)
        if has_settings and not (learning_rate is None and momentum is None):
            raise ValueError(
                "`learning_rate` and `momentum` must be left out if `optimizer` has its own. "
                f"Received: learning_rate={learning_rate!r}, momentum={momentum!r}, optimizer={optimizer!r}."
            )
        if momentum is not None and isinstance(optimizer, str) and optimizer.lower() != "sgd":
            raise ValueError(f"`momentum` must be left out unless `optimizer` is 'sgd'. Received: {optimizer!r}.")
        if l2 is not None and kwargs.get("kernel_regularizer") is not None:
            raise ValueError(
                "`l2` and `kernel_regularizer` must not be given together. "
                f"Received: l2={l2!r}, kernel_regularizer={kwargs['kernel_regularizer']!r}."
            )
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.l2 = l2
        self.metrics = ["mean_squared_error"] if metrics is None else metrics
        self.scale = check_flag("scale", scale)
        self.kwargs = kwargs

    def build(self, hp: keras_tuner.HyperParameters) -> LinearRegression:
        """Return a new compiled `LinearRegression` with the values of `hp`."""
        # GridSearch first varies the parameter that is defined last: the batch size in `fit`, then the learning rate.
        optimizer = _value(hp, self.optimizer, lambda: hp.Choice("optimizer", ["adam", "sgd"]))
        settings = {}
        if isinstance(optimizer, str) and optimizer.lower() == "sgd":
            with _momentum_scope(hp, optimizer):
                settings["momentum"] = _value(hp, self.momentum, lambda: hp.Choice("momentum", MOMENTA))
        kwargs = dict(self.kwargs)
        if kwargs.get("kernel_regularizer") is None:
            l2 = _value(hp, self.l2, lambda: hp.Choice("l2", PENALTIES))
            kwargs["kernel_regularizer"] = keras.regularizers.L2(l2) if l2 else None
        if isinstance(optimizer, str):
            settings["learning_rate"] = _value(
                hp, self.learning_rate, lambda: hp.Choice("learning_rate", LEARNING_RATES, default=0.03)
            )
            optimizer = keras.optimizers.get({"class_name": optimizer, "config": settings})

        model = (ScaledLinearRegression if self.scale else LinearRegression)(**kwargs)
        model.compile(
            optimizer=_new_like(optimizer),
            loss=SquaredError(),
            metrics=keras.tree.map_structure(_new_like, self.metrics),
        )
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: LinearRegression, *args: Any, **kwargs: Any) -> Any:
        """Train the model.

        Args:
            hp: the values of the trial.
            model: the model that `build` has returned.
            *args: arguments of `LinearRegression.fit`.
            **kwargs: arguments of `LinearRegression.fit`.

        Returns:
            The History; or, if the training of a trial diverged, a dict with the objective's worst value.

        Raises:
            keras_tuner.errors.FatalValueError: bad data or arguments, which `LinearRegression.fit` would refuse in
                every trial.
            FloatingPointError: the training diverged, outside of a search.
        """
        x = args[0] if args else kwargs.get("x")
        if len(args) < 3 and kwargs.get("batch_size") is None and not is_stream(x):
            kwargs["batch_size"] = _value(hp, self.batch_size, lambda: hp.Choice("batch_size", BATCH_SIZES, default=32))
        search = current_search(kwargs.get("callbacks"))
        if search is None:
            return model.fit(*args, **kwargs)
        replace_infinite_scores(search.tuner.oracle)
        try:
            history = model.fit(*args, **kwargs)
        except FloatingPointError as error:
            return self._score_divergence(hp, model, search, str(error))
        except (TypeError, ValueError) as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        first_epoch = {name: values[0] for name, values in history.history.items()}
        objective = search.tuner.oracle.objective
        if objective.has_value(first_epoch) and not math.isfinite(objective.get_value(first_epoch)):
            message = f"Training diverged: the first epoch ended with {first_epoch}."
            return self._score_divergence(hp, model, search, message)
        return history

    def _score_divergence(
        self, hp: keras_tuner.HyperParameters, model: LinearRegression, search: Search, message: str
    ) -> dict[str, float]:
        """Leave the message with the trial, and return the worst value of each objective."""
        search.trial.message = message
        best = search.tuner.oracle.get_best_trials()
        if not any(trial.score is not None and math.isfinite(trial.score) for trial in best):
            # A Python warning would end the search of a user who turns warnings into errors.
            LOGGER.warning("Every trial of this search has diverged so far. %s", message)
        if "tuner/epochs" in hp.values and not os.path.exists(search.checkpoint):
            # Hyperband continues the best trials of a round, even diverged ones, and fails without their checkpoints.
            untrained = self.build(hp)
            untrained.build_from_config(model.get_build_config())
            untrained.save_weights(search.checkpoint)
        objectives = objective_parts(search.tuner.oracle.objective)
        return {one.name: math.inf if one.direction == "min" else -math.inf for one in objectives}


class HyperElasticNet(keras_tuner.HyperModel):
    """The search space of elastic nets over folds: each trial is scored from their moments, and no data are read.

    ```python
    l1_ratio = hp.Choice("l1_ratio", [0.1, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0])
    penalty = hp.Float("penalty", 1e-3, 1.0, sampling="log")  # as a part of the largest
    use = hp.Boolean("use " + name)  # for each of `columns`
    ```

    The objective is `keras_tuner.Objective("cv_mean", "min")`, the mean squared error on a fold of the fit to the
    others. Call `tuner.search()` without data. The best models are fitted `ElasticNetRegression`s.

    Args:
        folds: `FoldMoments`.
        columns: names of columns to leave in or out; all others stay in.
        **kwargs: arguments of `ElasticNetRegression`: `standardize`, `positive`, `penalty_factor` (by name),
            `use_bias`.

    Raises:
        ValueError: `folds` is something else, or a name is no column.

    Example:
    >>> import keras_tuner, numpy as np, tempfile
    >>> import keras_linreg as klr
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> folds = klr.FoldMoments.from_data(x, x[:, 0] + 0.1 * x[:, 1], folds=5)
    >>> tuner = keras_tuner.RandomSearch(
    ...     klr.HyperElasticNet(folds), objective=keras_tuner.Objective("cv_mean", "min"), max_trials=3, seed=1,
    ...     directory=tempfile.mkdtemp())
    >>> tuner.search(verbose=0)
    >>> tuner.get_best_models()[0].kernel.numpy().shape
    (3, 1)
    """

    def __init__(self, folds: FoldMoments, columns: Iterable[str] | None = None, **kwargs: Any) -> None:
        super().__init__()
        if not isinstance(folds, FoldMoments):
            raise ValueError(f"`folds` must be keras_linreg.FoldMoments. Received: {type(folds).__name__}.")
        names = folds.moments.feature_names
        listed = [columns] if isinstance(columns, str) else list(columns or ())
        if not set(listed) <= set(names):
            raise ValueError(f"`columns` must be among {list(names)}. Received: {listed}.")
        extra = sorted({"l1", "l2", "l1_ratio", "n_penalties", "eps", "rule", "common"} & set(kwargs))
        if extra:
            raise ValueError(f"A trial has one penalty, and the search chooses it. Received: {extra}.")
        self.folds = folds
        self.columns = listed
        self.kwargs = {"standardize": True, **kwargs}

    def build(self, hp: keras_tuner.HyperParameters) -> ElasticNetRegression:
        """Return the model that the values of `hp` make of the folds: it is fitted."""
        folds, path = self._path(hp)
        kwargs = {"l1": float(path.l1[0]), "l2": float(path.l2[0]), **self._arguments(folds)}
        return ElasticNetRegression.from_moments(folds.moments, **kwargs)

    def fit(self, hp: keras_tuner.HyperParameters, model: ElasticNetRegression, **kwargs: Any) -> dict[str, float]:
        """Return the error of the model on the folds.

        Args:
            hp: the values of the trial.
            model: the model that `build` has returned.
            **kwargs: the callbacks of the search; data are refused.

        Raises:
            keras_tuner.errors.FatalValueError: there are data.
        """
        if kwargs.get("x") is not None:
            raise keras_tuner.errors.FatalValueError("`search` takes no data: the folds are all that it needs.")
        search = current_search(kwargs.get("callbacks"))
        if search is not None:
            model.save_weights(search.checkpoint)
        _, path = self._path(hp)
        assert path.cv_mean is not None  # there are folds
        return {"cv_mean": float(path.cv_mean[0])}

    def _path(self, hp: keras_tuner.HyperParameters) -> tuple[FoldMoments, Any]:
        """Return the folds of the trial's columns, and the path of its one penalty."""
        l1_ratio = hp.Choice("l1_ratio", L1_RATIOS, default=1.0)
        share = hp.Float("penalty", SMALLEST_SHARE, 1.0, sampling="log")
        left_out = {name for name in self.columns if not hp.Boolean(f"use {name}", default=True)}
        chosen = [name for name in self.folds.moments.feature_names if name not in left_out]
        if not chosen:
            raise keras_tuner.errors.FailedTrialError("No column is left.")
        folds = self.folds.select(chosen) if left_out else self.folds
        options = {**self._arguments(folds), "l1_ratio": l1_ratio, "common": True}
        largest = float(folds.elastic_net(n_penalties=1, **options).l1[0])
        return folds, folds.elastic_net(l1=[share * largest], **options)

    def _arguments(self, folds: FoldMoments) -> dict[str, Any]:
        """Return the user's arguments, the penalty factors of the columns that are there."""
        factors = self.kwargs.get("penalty_factor")
        if isinstance(factors, dict):
            names = folds.moments.feature_names
            return {**self.kwargs, "penalty_factor": {name: factors[name] for name in names if name in factors}}
        return dict(self.kwargs)


def _value(hp: keras_tuner.HyperParameters, setting: Any, search: Callable[[], Any]) -> Any:
    """Return the user's setting, the result of the user's function of `hp`, or the result of the default search."""
    if setting is None:
        return search()
    is_schedule = isinstance(setting, keras.optimizers.schedules.LearningRateSchedule)
    return setting(hp) if callable(setting) and not is_schedule else setting


def _momentum_scope(hp: keras_tuner.HyperParameters, optimizer: str) -> contextlib.AbstractContextManager[Any]:
    """Return the scope that searches the momentum for this optimizer alone, if the search has several optimizers."""
    names = {parameter.name for parameter in hp.space if not parameter.conditions}
    if "optimizer" in names and "momentum" not in names:
        return hp.conditional_scope("optimizer", [optimizer])
    return contextlib.nullcontext()


def _new_like(setting: Any) -> Any:
    """Return a new optimizer or metric with the same settings: trials must share no state."""
    if isinstance(setting, (keras.optimizers.Optimizer, keras.metrics.Metric)):
        return type(setting).from_config(setting.get_config())
    return setting
