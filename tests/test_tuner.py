"""HyperLinearRegression in every tuner: it finds a good region, survives divergence, and respects the user's values."""

import json
import logging

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf
from cases import quick_and_heavy

import keras_linreg as klr

# Of scikit-learn's Gaussian process, which has few trials to learn from.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The optimal value found for dimension"),
    pytest.mark.usefixtures("spared"),
]

TUNERS = {
    "random": lambda model, trials, **kwargs: kt.RandomSearch(model, max_trials=trials, **kwargs),
    "grid": lambda model, trials, **kwargs: kt.GridSearch(model, max_trials=trials, **kwargs),
    "bayes": lambda model, trials, **kwargs: kt.BayesianOptimization(
        model, max_trials=trials, num_initial_points=trials - 1, **kwargs
    ),
    "hyperband": lambda model, trials, max_epochs=2, factor=2, **kwargs: kt.Hyperband(
        model, max_epochs=max_epochs, factor=factor, **kwargs
    ),
}
each_tuner = pytest.mark.parametrize("name", TUNERS)


@pytest.fixture
def tuner(tmp_path):
    def make(name, model, trials=4, objective="val_loss", **kwargs):
        return TUNERS[name](model, trials, objective=objective, seed=1, directory=tmp_path, **kwargs)

    return make


def scores(tuner):
    return [trial.score for trial in tuner.oracle.trials.values()]


def least_squares_loss(x, y):
    """The validation loss of NumPy's least squares on the split of validation_split=0.2."""
    design = np.column_stack([np.asarray(x), np.ones(len(y))])
    split = int(len(y) * 0.8)
    weights = np.linalg.lstsq(design[:split], np.asarray(y)[:split], rcond=None)[0]
    return np.mean((design[split:] @ weights - np.asarray(y)[split:]) ** 2)


def fixed(**values):
    hp = kt.HyperParameters()
    for name, value in values.items():
        hp.Fixed(name, value)
    return hp


@pytest.mark.parametrize("name", quick_and_heavy(["random", "grid"], "random"))
def test_a_search_finds_a_good_region_of_the_tutorial(name, tuner, tutorial):
    x, y = tutorial
    search = tuner(name, klr.HyperLinearRegression(batch_size=8), trials=3)
    search.search(x, y, epochs=8, validation_split=0.2, verbose=0)
    assert search.oracle.get_best_trials()[0].score < 1.1 * least_squares_loss(x, y)
    assert {trial.status for trial in search.oracle.trials.values()} == {"COMPLETED"}


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "budget"), [("bayes", {"trials": 5}), ("hyperband", {"max_epochs": 4, "factor": 4})])
def test_a_search_finds_a_good_region_of_diabetes(name, budget, tuner, diabetes):
    x, y = diabetes
    keras.utils.set_random_seed(1)  # so few trials end 1 to 7 % above least squares, by the order of the rows
    model = klr.HyperLinearRegression(optimizer="adam", l2=0.0, batch_size=32)
    search = tuner(name, model, **budget)
    search.search(x, y, epochs=8, validation_split=0.2, verbose=0)
    assert search.oracle.get_best_trials()[0].score < 1.05 * least_squares_loss(x, y)


def test_the_best_model_is_saved_loaded_exported_and_has_names(tuner, tmp_path, diabetes):
    x, y = diabetes
    search = tuner("random", klr.HyperLinearRegression(), trials=2)
    search.search(x, y, epochs=2, validation_split=0.2, verbose=0)
    best = search.get_best_models()[0]
    assert best.feature_names == list(x.columns)
    expected = best.predict(x, verbose=0)
    assert best.evaluate(x[353:], y[353:], verbose=0)[0] == pytest.approx(search.oracle.get_best_trials()[0].score)
    best.save(tmp_path / "best.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "best.keras").predict(x, verbose=0), expected)
    best.export(tmp_path / "best", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "best")).signatures["serving_default"]
    columns = {column: tf.constant(x[column].to_numpy(), tf.float32) for column in x}
    np.testing.assert_allclose(served(**columns)["predictions"], expected, rtol=1e-5)


def test_the_best_hyperparameters_train_a_new_model_outside_the_search(tuner, tutorial):
    search = tuner("random", klr.HyperLinearRegression(), trials=2)
    search.search(*tutorial, epochs=1, validation_split=0.2, verbose=0)
    hp = search.get_best_hyperparameters()[0]
    assert {"optimizer", "l2", "learning_rate", "batch_size"} <= set(hp.values)
    history = search.hypermodel.fit(hp, search.hypermodel.build(hp), *tutorial, epochs=1, verbose=0)
    assert set(history.history) == {"loss", "mean_squared_error"}


@pytest.mark.parametrize("name", quick_and_heavy(TUNERS, "random"))
def test_a_diverged_trial_is_infinitely_bad_and_the_search_goes_on(name, tuner, tutorial):
    x, y = tutorial
    model = klr.HyperLinearRegression(
        learning_rate=lambda hp: hp.Choice("learning_rate", [1e30, 0.01]),
        optimizer="sgd",
        momentum=lambda hp: hp.Float("momentum", 0.0, 0.5),
        l2=0.0,
        batch_size=20,
    )
    search = tuner(name, model, trials=3, executions_per_trial=2 if name == "random" else 1)
    search.search(x, y, epochs=2, validation_split=0.2, verbose=0)
    diverged = [trial for trial in search.oracle.trials.values() if trial.score == np.inf]
    assert 0 < len(diverged) < len(scores(search))
    assert all("Training diverged" in trial.message for trial in diverged)
    assert {trial.hyperparameters.get("learning_rate") for trial in diverged} == {1e30}
    assert search.get_best_hyperparameters()[0].get("learning_rate") == 0.01
    assert np.isfinite(search.get_best_models()[0].predict(x, verbose=0)).all()


@pytest.mark.parametrize(
    ("objective", "worst"),
    [
        (kt.Objective("val_r2", "max"), -np.inf),
        ([kt.Objective("val_loss", "min"), kt.Objective("val_r2", "max")], np.inf),
    ],
    ids=["max", "several"],
)
def test_divergence_is_worst_in_the_direction_of_the_objective(tuner, tutorial, objective, worst):
    model = klr.HyperLinearRegression(learning_rate=1e30, optimizer="sgd", metrics=[keras.metrics.R2Score(name="r2")])
    search = tuner("random", model, trials=1, objective=objective)
    search.search(*tutorial, epochs=1, validation_split=0.2, verbose=0)
    assert scores(search) == [worst]


class Counts(kt.RandomSearch):
    """A tuner with a hook for batches."""

    def on_batch_end(self, trial, model, batch, logs=None):
        self.batches = [*getattr(self, "batches", []), batch]


@pytest.mark.parametrize(("kind", "expected"), [(kt.RandomSearch, [(0, 10)]), (Counts, [(i, 1) for i in range(10)])])
def test_trials_run_in_blocks_unless_the_tuner_has_a_hook_for_batches(
    always_loop, trained_blocks, tmp_path, tutorial, kind, expected
):
    hypermodel = klr.HyperLinearRegression(learning_rate=0.01, optimizer="sgd", momentum=0.0, l2=0.0, batch_size=8)
    search = kind(hypermodel, max_trials=1, objective="val_loss", directory=tmp_path)
    search.search(*tutorial, epochs=2, validation_split=0.2, verbose=0)
    assert trained_blocks == expected * 2
    assert kind is kt.RandomSearch or search.batches == [*range(10)] * 2


def test_terminate_on_nan_does_not_make_a_trial_fail(tuner, tutorial):
    search = tuner("random", klr.HyperLinearRegression(learning_rate=1e30, optimizer="sgd"), trials=2)
    callbacks = [keras.callbacks.TerminateOnNaN()]
    search.search(*tutorial, epochs=1, validation_split=0.2, verbose=0, callbacks=callbacks)
    assert scores(search) == [np.inf, np.inf]


@pytest.mark.parametrize("direction", quick_and_heavy(["min", "max"], "max"))
@pytest.mark.heavy
def test_the_gaussian_process_sees_a_diverged_trial_as_the_worst(tuner, tutorial, monkeypatch, direction):
    """KerasTuner itself would show it a loss of 0, the best of all."""
    sign = 1 if direction == "min" else -1

    def score(y, y_pred):
        return sign * tf.reduce_mean(tf.square(y - y_pred), axis=-1)

    model = klr.HyperLinearRegression(
        learning_rate=lambda hp: hp.Float("learning_rate", 1e-4, 1e30, sampling="log"),
        optimizer="sgd",
        momentum=0.0,
        l2=0.0,
        batch_size=20,
        metrics=[score],
    )
    search = tuner("bayes", model, trials=6, objective=kt.Objective("val_score", direction))
    targets = []
    fit = type(search.oracle.gpr).fit
    monkeypatch.setattr(type(search.oracle.gpr), "fit", lambda self, x, y: targets.append(y) or fit(self, x, y))
    search.search(*tutorial, epochs=1, validation_split=0.2, verbose=0)
    losses = sign * np.array(scores(search)[:5])
    assert np.isinf(losses).any()
    assert np.isfinite(losses).any()
    finite = losses[np.isfinite(losses)]
    np.testing.assert_allclose(targets[0], np.where(np.isinf(losses), finite.max(), losses))


@pytest.mark.heavy
def test_hyperband_continues_after_a_round_in_which_all_trials_diverge(tuner, tutorial):
    search = tuner("hyperband", klr.HyperLinearRegression(learning_rate=1e30, optimizer="sgd"))
    search.search(*tutorial, validation_split=0.2, verbose=0)
    assert set(scores(search)) == {np.inf}


def test_a_search_in_which_all_trials_diverge_logs_it(tuner, tutorial, caplog):
    search = tuner("random", klr.HyperLinearRegression(learning_rate=1e30, optimizer="sgd"), trials=2)
    with caplog.at_level(logging.WARNING):
        search.search(*tutorial, epochs=1, validation_split=0.2, verbose=0)
    assert scores(search) == [np.inf, np.inf]
    assert "Every trial of this search has diverged so far. Training diverged" in caplog.text
    with pytest.raises(FileNotFoundError):
        search.get_best_models()


@each_tuner
def test_bad_data_stop_the_search(name, tuner, tutorial):
    x, y = tutorial
    search = tuner(name, klr.HyperLinearRegression())
    with pytest.raises(ValueError, match="rows have no value in 'x0'"):
        search.search(np.where(x > 5, np.nan, x), y, epochs=1, validation_split=0.2, verbose=0)


def test_an_unknown_argument_stops_the_search(tuner, tutorial):
    with pytest.raises(kt.errors.FatalError, match="epoch_count"):
        tuner("random", klr.HyperLinearRegression()).search(*tutorial, epoch_count=1)


def test_the_grid_ends_by_itself(tmp_path, tutorial):
    model = klr.HyperLinearRegression(learning_rate=0.01, l2=0.0, batch_size=50)
    search = kt.GridSearch(model, objective="val_loss", directory=tmp_path)
    search.search(*tutorial, epochs=1, validation_split=0.2, verbose=0)
    tried = {json.dumps(trial.hyperparameters.values, sort_keys=True) for trial in search.oracle.trials.values()}
    assert len(tried) == len(scores(search)) == 2 + 1  # SGD's two momenta, and Adam


class Recorder(klr.HyperLinearRegression):
    """Records the batch size of each call of fit."""

    def build(self, hp):
        model = super().build(hp)
        fit = model.fit
        self.batch_sizes = []

        def recorded(*args, **kwargs):
            self.batch_sizes.append(args[2] if len(args) > 2 else kwargs.get("batch_size"))
            return fit(*args, **kwargs)

        model.fit = recorded
        return model


def fitted_batch_size(model, *args, **kwargs):
    hp = kt.HyperParameters()
    model.fit(hp, model.build(hp), *args, epochs=1, verbose=0, **kwargs)
    return model.batch_sizes, "batch_size" in hp


def test_the_users_batch_size_is_not_searched(tutorial):
    x, y = tutorial
    assert fitted_batch_size(Recorder(), x, y) == ([32], True)
    assert fitted_batch_size(Recorder(batch_size=10), x, y) == ([10], False)
    assert fitted_batch_size(Recorder(batch_size=lambda hp: hp.Int("batch", 5, 9)), x, y) == ([5], False)
    assert fitted_batch_size(Recorder(), x, y, batch_size=25) == ([25], False)
    assert fitted_batch_size(Recorder(), x, y, 25) == ([25], False)


def test_data_in_batches_have_their_own_batch_size(tutorial):
    dataset = tf.data.Dataset.from_tensor_slices(tutorial).batch(20)
    assert fitted_batch_size(Recorder(batch_size=10), dataset) == ([None], False)


def test_entries_of_hyperparameters_override_the_search(tuner, tutorial):
    values = {"learning_rate": 0.02, "momentum": 0.5, "optimizer": "sgd", "batch_size": 40}
    search = tuner("random", klr.HyperLinearRegression(), trials=2, hyperparameters=fixed(**values))
    search.search(*tutorial, epochs=1, validation_split=0.2, verbose=0)
    for trial in search.oracle.trials.values():
        assert {name: trial.hyperparameters.get(name) for name in values} == values
    optimizer = search.hypermodel.build(search.get_best_hyperparameters()[0]).optimizer
    assert optimizer.momentum == 0.5
    assert float(optimizer.learning_rate) == pytest.approx(0.02)


def test_momentum_is_searched_for_sgd_only():
    model, hp = klr.HyperLinearRegression(), kt.HyperParameters()
    assert isinstance(model.build(hp).optimizer, keras.optimizers.Adam)
    assert "momentum" not in hp.values
    hp.values["optimizer"] = "sgd"
    hp.ensure_active_values()
    assert isinstance(model.build(hp).optimizer, keras.optimizers.SGD)
    assert "momentum" in hp.values


def test_an_argument_with_a_value_is_not_searched():
    model = klr.HyperLinearRegression(learning_rate=0.1, momentum=0.9, optimizer="SGD", l2=0.25, units=2)
    hp = kt.HyperParameters()
    built = model.build(hp)
    assert hp.values == {}
    assert built.units == 2
    assert built.optimizer.get_config()["momentum"] == 0.9
    assert built.kernel_regularizer.get_config() == pytest.approx({"l2": 0.25})
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    assert klr.HyperLinearRegression(schedule, optimizer="ftrl").build(hp).optimizer.name == "ftrl"
    hp = kt.HyperParameters()
    own = klr.HyperLinearRegression(kernel_regularizer=keras.regularizers.L1(0.1)).build(hp)
    assert isinstance(own.kernel_regularizer, keras.regularizers.L1)
    assert "l2" not in hp


def test_trials_share_no_optimizer_and_no_metric():
    optimizer, metric = keras.optimizers.Adam(0.3), keras.metrics.MeanAbsoluteError(name="mae")
    model = klr.HyperLinearRegression(optimizer=optimizer, metrics=[metric])
    first, second = (model.build(kt.HyperParameters()) for _ in range(2))
    x = np.ones((4, 1))
    first.fit(x, x, verbose=0)
    assert int(first.optimizer.iterations) == 1
    assert int(second.optimizer.iterations) == int(optimizer.iterations) == 0
    assert float(second.optimizer.learning_rate) == pytest.approx(0.3)
    assert float(metric.result()) == 0


def test_a_preprocessor_serves_every_trial(tuner, diabetes):
    x, y = diabetes
    normalization = keras.layers.Normalization()
    normalization.adapt(x.to_numpy())
    search = tuner("random", klr.HyperLinearRegression(preprocessor=normalization), trials=2)
    search.search(x.to_numpy(), y, epochs=1, validation_split=0.2, verbose=0)
    assert np.isfinite(scores(search)).all()
    assert search.get_best_models()[0].predict(x.to_numpy(), verbose=0).shape == (442, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"optimizer": keras.optimizers.SGD(), "learning_rate": 0.1},
            "`learning_rate` and `momentum` must be",
        ),
        ({"optimizer": "adam", "momentum": 0.9}, "`momentum` must be left out"),
        ({"l2": 0.1, "kernel_regularizer": "l1"}, "`l2` and `kernel_regularizer` must not"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        klr.HyperLinearRegression(**arguments)
