"""HyperLinearRegression: learning rate, optimizer, batch size and penalty as KerasTuner's search space."""

import contextlib
import functools
import logging
import math
import os
from typing import Any, NamedTuple

import keras
import keras_tuner

from keras_linreg.data.streams import is_stream
from keras_linreg.losses import SquaredError
from keras_linreg.models.gradient import LinearRegression


class HyperLinearRegression(keras_tuner.HyperModel):
    """The search space of `keras_linreg.LinearRegression` for every tuner of KerasTuner.

    Each of the first five arguments takes `None`, the default search; a value, which is then not searched; or
    a function that takes KerasTuner's `hp` and returns a value. The default search is

    ```python
    optimizer = hp.Choice("optimizer", ["sgd", "adam"])
    momentum = hp.Choice("momentum", [0.0, 0.9, 0.99])  # for "sgd" only
    l2 = hp.Choice("l2", [0.0, 1e-4, 1e-2])
    learning_rate = hp.Float("learning_rate", 1e-3, 10.0, sampling="log", default=0.01)
    batch_size = hp.Choice("batch_size", [8, 32, 128], default=32)
    ```

    A trial that diverges is scored infinitely bad, its `message` says why, and the search goes on. As long as
    all have diverged, a line in the log says so; `get_best_models` may find no checkpoint then, and raises
    FileNotFoundError. Bad data end the search.

    The objective `"val_loss"` counts the penalty itself, as everywhere in Keras, and so favours none. To
    choose an `l2`, take `"val_mean_squared_error"`.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`, not negative.
        momentum: float in [0, 1), for `"sgd"`.
        optimizer: name of a Keras optimizer; or an optimizer, copied for each trial, which has its own
            learning rate and momentum.
        batch_size: positive int. Neither used nor searched where `tuner.search` is given a `batch_size`, or
            data that come in batches: a `tf.data.Dataset`, `PyDataset`.
        l2: float, not negative: the weight of the sum of the kernel's squares in the loss. Neither used nor
            searched where there is a `kernel_regularizer`.
        metrics: what `compile` takes, copied for each trial; `None` is `["mean_squared_error"]`.
        **kwargs: for `LinearRegression`: `units`, `feature_names`, `preprocessor`, `dtype`, ...

    Raises:
        ValueError: on arguments that exclude each other.

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
        learning_rate=None,
        momentum=None,
        optimizer=None,
        batch_size=None,
        l2=None,
        metrics=None,
        **kwargs,
    ):
        super().__init__()
        own = isinstance(optimizer, keras.optimizers.Optimizer)
        if own and not (learning_rate is None and momentum is None):
            raise ValueError(
                "`learning_rate` and `momentum` must be left out where `optimizer` has its own. "
                f"Received: learning_rate={learning_rate!r}, momentum={momentum!r}, optimizer={optimizer!r}."
            )
        if momentum is not None and isinstance(optimizer, str) and optimizer.lower() != "sgd":
            raise ValueError(f"`momentum` must be left out where `optimizer` is not 'sgd'. Received: {optimizer!r}.")
        if l2 is not None and kwargs.get("kernel_regularizer") is not None:
            raise ValueError(
                "`l2` and `kernel_regularizer` exclude each other. "
                f"Received: l2={l2!r}, kernel_regularizer={kwargs['kernel_regularizer']!r}."
            )
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.l2 = l2
        self.metrics = ["mean_squared_error"] if metrics is None else metrics
        self.kwargs = kwargs

    def build(self, hp):
        """Return a new compiled `LinearRegression` with the values of `hp`."""
        # GridSearch varies first what is asked last: the batch size in `fit`, and then the learning rate.
        optimizer = _ask(hp, self.optimizer, lambda: hp.Choice("optimizer", ["sgd", "adam"]))
        settings = {}
        if isinstance(optimizer, str) and optimizer.lower() == "sgd":
            with _only_for(hp, optimizer):
                settings["momentum"] = _ask(hp, self.momentum, lambda: hp.Choice("momentum", [0.0, 0.9, 0.99]))
        kwargs = dict(self.kwargs)
        if kwargs.get("kernel_regularizer") is None:
            l2 = _ask(hp, self.l2, lambda: hp.Choice("l2", [0.0, 1e-4, 1e-2]))
            kwargs["kernel_regularizer"] = keras.regularizers.L2(l2) if l2 else None
        if isinstance(optimizer, str):
            settings["learning_rate"] = _ask(
                hp,
                self.learning_rate,
                lambda: hp.Float("learning_rate", 1e-3, 10.0, sampling="log", default=0.01),
            )
            optimizer = keras.optimizers.get({"class_name": optimizer, "config": settings})

        model = LinearRegression(**kwargs)
        model.compile(
            optimizer=_copy(optimizer),
            loss=SquaredError(),
            metrics=keras.tree.map_structure(_copy, self.metrics),
        )
        return model

    def fit(self, hp, model, *args, **kwargs):
        """Train `model` and return its History; where it diverged in a search, the objective's worst value.

        Raises:
            keras_tuner.errors.FatalValueError: bad data, or arguments that `LinearRegression.fit` refuses: no
                other trial would fare better.
            FloatingPointError: the training diverged, outside a search.
        """
        x = args[0] if args else kwargs.get("x")
        if len(args) < 3 and kwargs.get("batch_size") is None and not is_stream(x):
            kwargs["batch_size"] = _ask(hp, self.batch_size, lambda: hp.Choice("batch_size", [8, 32, 128], default=32))
        search = _Search.of(kwargs.get("callbacks"))
        if search is None:
            return model.fit(*args, **kwargs)
        _hide_infinity(search.tuner.oracle)
        try:
            history = model.fit(*args, **kwargs)
        except FloatingPointError as error:
            return self._diverged(hp, model, search, str(error))
        except (TypeError, ValueError) as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        first = {name: values[0] for name, values in history.history.items()}
        objective = search.tuner.oracle.objective
        if objective.has_value(first) and not math.isfinite(objective.get_value(first)):
            return self._diverged(hp, model, search, f"Training diverged: the first epoch ended with {first}.")
        return history

    def _diverged(self, hp, model, search, why):
        """Tell the user why the trial diverged, and return the worst result that its objective knows."""
        search.trial.message = why
        best = search.tuner.oracle.get_best_trials()
        if not any(trial.score is not None and math.isfinite(trial.score) for trial in best):
            # Not a warning: where warnings are errors, that would end the search.
            logging.getLogger(__name__).warning("Every trial of this search has diverged so far. %s", why)
        if "tuner/epochs" in hp.values and not os.path.exists(search.checkpoint):
            # Hyperband goes on from the best of a round, however bad, and gives up without their checkpoints.
            untrained = self.build(hp)
            untrained.build_from_config(model.get_build_config())
            untrained.save_weights(search.checkpoint)
        objective = search.tuner.oracle.objective
        return {
            part.name: math.inf if part.direction == "min" else -math.inf
            for part in [objective, *getattr(objective, "objectives", [])]
        }


class _Search(NamedTuple):
    """What a tuner tells `fit` about itself, by the callbacks that it adds."""

    tuner: Any
    trial: Any
    checkpoint: str

    @classmethod
    def of(cls, callbacks) -> "_Search | None":
        for owner in callbacks or ():
            if hasattr(owner, "tuner") and hasattr(owner, "trial"):
                saver = next(other for other in callbacks if hasattr(other, "objective") and hasattr(other, "filepath"))
                return cls(owner.tuner, owner.trial, saver.filepath)
        return None


def _hide_infinity(oracle):
    """Let KerasTuner's Gaussian process see the worst finite score in the place of an infinite one.

    It takes infinity for 0, which is the best of all losses. The user still finds infinity in `trial.score`:
    the scores are changed for the length of a call. The chief of a distributed search is out of reach.
    """
    if not isinstance(oracle, keras_tuner.oracles.BayesianOptimizationOracle) or hasattr(
        oracle.populate_space, "__wrapped__"
    ):
        return
    populate_space = oracle.populate_space

    @functools.wraps(populate_space)
    def with_finite_scores(trial_id):
        scores = {trial: trial.score for trial in oracle.trials.values() if trial.score is not None}
        finite = [score for score in scores.values() if math.isfinite(score)]
        worst = max if oracle.objective.direction == "min" else min
        for trial, score in scores.items():
            trial.score = score if math.isfinite(score) else worst(finite, default=0.0)
        try:
            return populate_space(trial_id)
        finally:
            for trial, score in scores.items():
                trial.score = score

    oracle.populate_space = with_finite_scores


def _ask(hp, given, search):
    """Return what the user has given, a value or a function of `hp`, or the value of the default search."""
    if given is None:
        return search()
    schedule = isinstance(given, keras.optimizers.schedules.LearningRateSchedule)
    return given(hp) if callable(given) and not schedule else given


def _only_for(hp, optimizer):
    """Return the scope of the momentum of `optimizer`, where that is searched and the user has not set it."""
    names = {parameter.name for parameter in hp.space if not parameter.conditions}
    if "optimizer" in names and "momentum" not in names:
        return hp.conditional_scope("optimizer", [optimizer])
    return contextlib.nullcontext()


def _copy(setting):
    """Return an optimizer or metric of the same settings and no state, so that trials share none."""
    if isinstance(setting, (keras.optimizers.Optimizer, keras.metrics.Metric)):
        return type(setting).from_config(setting.get_config())
    return setting
