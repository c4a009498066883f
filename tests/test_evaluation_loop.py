"""Evaluations between epochs, all their steps in one call, give what Keras's own give."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

import keras_linreg as klr
from keras_linreg.training import loop
from keras_linreg.training.loop import blocks, planning, rows
from tests.fits import BOTH, WEIGHTS, X, Y, fitted, same

HELD_X, HELD_Y, HELD_WEIGHTS = X[:41] + 0.5, Y[:41] - 1, WEIGHTS[:41]
FRAME = pd.DataFrame(HELD_X, columns=["x0", "x1", "x2"])


def dataset(*parts, size=6):
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


CASES = {
    "a split with weights": {"validation_split": 0.3, "sample_weight": WEIGHTS},
    "arrays": {"validation_data": (HELD_X, HELD_Y)},
    "weights": {"validation_data": (HELD_X, HELD_Y, HELD_WEIGHTS)},
    "float64": {"validation_data": (HELD_X.astype(float), HELD_Y.astype(float))},
    "a frame": {"validation_data": (FRAME[["x2", "x0", "x1"]], pd.Series(HELD_Y))},
    "sparse": {"validation_data": (scipy.sparse.csr_array(HELD_X), HELD_Y)},
    "batches of its own": {"validation_data": (HELD_X, HELD_Y), "validation_batch_size": 7},
    "one batch": {"validation_data": (HELD_X, HELD_Y), "validation_batch_size": 100},
    "two rows": {"validation_data": (HELD_X[:2], HELD_Y[:2])},
    "every other epoch": {"validation_data": (HELD_X, HELD_Y), "validation_freq": 2, "epochs": 5},
    "epochs of a list": {"validation_data": (HELD_X, HELD_Y), "validation_freq": [1, 3]},
}


@pytest.mark.parametrize(
    ("case", "numbers"),
    [*((case, 2**19) for case in CASES), *((case, 30) for case in ("weights", "float64", "sparse"))],
)
def test_every_kind_of_validation_gives_the_same(always, evaluated, monkeypatch, case, numbers):
    monkeypatch.setattr(blocks, "CHUNK", numbers)

    def fit(ordinary):
        compiled = {"metrics": ["mae", keras.metrics.R2Score()], "weighted_metrics": ["mse"]}
        return fitted(X, Y, ordinary, compiled=compiled, batch_size=10, **CASES[case])

    ours, theirs = fit(False), fit(True)
    same(ours, theirs)
    assert evaluated and any(key.startswith("val_") for key in ours[1])


@pytest.mark.parametrize("kind", ["two outputs", "L2", "float64"])
def test_every_kind_of_model_is_evaluated_the_same(always, evaluated, kind):
    model = {
        "two outputs": {"units": 2},
        "L2": {"kernel_regularizer": keras.regularizers.L2(0.1)},
        "float64": {"dtype": "float64"},
    }[kind]
    y = BOTH if kind == "two outputs" else Y
    same(*(fitted(X, y, ordinary, model=model, validation_split=0.2) for ordinary in (False, True)))
    assert evaluated == [(0, 1)] * 3


def test_a_stream_is_fitted_beside_it(always, evaluated):
    held = {"validation_data": (HELD_X, HELD_Y), "compiled": {"metrics": ["mae"]}}
    same(*(fitted(dataset(X, Y), None, ordinary, **held) for ordinary in (False, True)))
    assert evaluated == [(0, 2)] * 3


def test_a_stream_is_evaluated_as_keras_does(always, taken, evaluated):
    same(*(fitted(X, Y, ordinary, validation_data=dataset(HELD_X, HELD_Y)) for ordinary in (False, True)))
    assert taken and not evaluated


def test_steps_per_execution_do_not_change_it(always, evaluated):
    compiled = {"steps_per_execution": 4}
    held = {"validation_data": (HELD_X, HELD_Y), "validation_batch_size": 4}
    same(*(fitted(X, Y, ordinary, compiled=compiled, batch_size=10, **held) for ordinary in (False, True)))
    assert evaluated == [(0, 11)] * 3


def test_large_steps_are_gathered_from_shared_memory(always, evaluated, monkeypatch):
    monkeypatch.setattr(rows, "GATHERED", 1)
    monkeypatch.setattr(blocks, "CHUNK", 30)
    same(*(fitted(X, Y, ordinary, validation_data=(HELD_X, HELD_Y), batch_size=10) for ordinary in (False, True)))
    assert evaluated == [(0, 5)] * 3


def test_the_order_of_what_is_held_out_and_its_numbers_stay_as_they_were(always, evaluated):
    given = HELD_X.copy(), HELD_Y.copy()
    fitted(X, Y, validation_data=given, batch_size=10, shuffle=True)
    np.testing.assert_array_equal(given[0], HELD_X)
    np.testing.assert_array_equal(given[1], HELD_Y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_numbers_show_in_the_loss_of_validation_alone(always, evaluated, value):
    x = HELD_X.copy()
    x[7, 1] = value
    ours, theirs = (fitted(X, Y, ordinary, validation_data=(x, HELD_Y)) for ordinary in (False, True))
    same(ours, theirs)
    assert np.isfinite(ours[1]["loss"]).all() and not np.isfinite(ours[1]["val_loss"]).any()


class Ends(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_test_begin(self, logs=None):
        self.seen.append("begin")

    def on_test_end(self, logs=None):
        self.seen.append(sorted(logs))


class Look(Ends):
    def on_test_batch_end(self, batch, logs=None):
        self.seen.append((batch, round(logs["loss"], 3)))


def test_a_callback_that_watches_batches_of_validation_sees_every_one(always, evaluated):
    looks = Look(), Look()
    for look, ordinary in zip(looks, (False, True), strict=True):
        fitted(X, Y, ordinary, callbacks=[look], validation_data=(HELD_X, HELD_Y), batch_size=10)
    assert looks[0].seen == looks[1].seen
    assert len(looks[0].seen) == 3 * (1 + 5 + 1)


def test_a_callback_of_evaluations_sees_each_begin_and_end(always, evaluated):
    looks = Ends(), Ends()
    for look, ordinary in zip(looks, (False, True), strict=True):
        fitted(X, Y, ordinary, callbacks=[look], validation_data=(HELD_X, HELD_Y), compiled={"metrics": ["mae"]})
    assert looks[0].seen == looks[1].seen == ["begin", ["loss", "mae"]] * 3
    assert evaluated == [(0, 2)] * 3


class Own(klr.LinearRegression):
    def test_step(self, data):
        return {**super().test_step(data), "one": tf.constant(1.0)}


def test_a_test_step_of_ones_own_goes_keras_own_way(always, evaluated):
    model = Own()
    model.compile()
    history = model.fit(X, Y, validation_data=(HELD_X, HELD_Y), verbose=0, epochs=2).history
    assert history["val_one"] == [1.0, 1.0]
    assert not evaluated


def test_sparse_rows_too_wide_go_keras_own_way(always, evaluated, monkeypatch):
    held = scipy.sparse.csr_array(HELD_X), HELD_Y
    plan = loop.plan_validation

    def narrow(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planning, "LARGE_SPARSE", 29)
            return plan(*arguments)

    monkeypatch.setattr(loop, "plan_validation", narrow)
    same(*(fitted(X, Y, ordinary, validation_data=held, batch_size=10) for ordinary in (False, True)))
    assert not evaluated


def test_a_frequency_that_is_none_gets_keras_own_error(always):
    for ordinary in (False, True):
        with pytest.raises(ValueError, match="Expected `validation_freq` to be a list or int"):
            fitted(X, Y, ordinary, validation_data=(HELD_X, HELD_Y), validation_freq=1.5)


def test_a_short_evaluation_is_not_compiled(evaluated):
    fitted(X, Y, epochs=100, batch_size=1, validation_freq=50, validation_data=(HELD_X, HELD_Y))
    assert not evaluated


def test_an_evaluation_later_gives_what_that_of_the_last_epoch_gave(always, evaluated):
    model, history = fitted(X, Y, validation_data=(HELD_X, HELD_Y), compiled={"metrics": ["mae"]})
    found = model.evaluate(HELD_X, HELD_Y, verbose=0, return_dict=True)
    for name, value in found.items():
        np.testing.assert_allclose(actual=value, desired=history[f"val_{name}"][-1], rtol=1e-5)
    assert evaluated == [(0, 2)] * 4


# Outside of a fit


def ways(evaluate, compiled=None, kind=klr.LinearRegression, **options):
    """Return what a model's evaluation gives in the loop, and in Keras's own way."""
    found = []
    for ordinary in (False, True):
        model = kind(**options)
        model.compile(**(compiled or {}))
        model.build((None, 3))
        model.set_weights([weight + 0.5 for weight in model.get_weights()])
        with pytest.MonkeyPatch.context() as patch:
            if ordinary:
                patch.setattr(loop, "plan_evaluation", lambda *_: None)
            found.append(evaluate(model))
    return found


DATA = {
    "arrays": {"x": HELD_X, "y": HELD_Y},
    "weights": {"x": HELD_X, "y": HELD_Y, "sample_weight": HELD_WEIGHTS},
    "float64": {"x": HELD_X.astype(float), "y": HELD_Y.astype(float)},
    "a frame": {"x": FRAME, "y": pd.Series(HELD_Y)},
    "sparse": {"x": scipy.sparse.csr_array(HELD_X), "y": HELD_Y},
    "tensors": {"x": tf.constant(HELD_X), "y": tf.constant(HELD_Y)},
    "one batch": {"x": HELD_X, "y": HELD_Y, "batch_size": 100},
}


@pytest.mark.parametrize("case", DATA)
def test_every_kind_of_data_is_evaluated_the_same(always, evaluated, case):
    compiled = {"metrics": ["mae", keras.metrics.R2Score()], "weighted_metrics": ["mse"]}
    asked = {"batch_size": 10, "verbose": 0, **DATA[case]}
    ours, theirs = ways(lambda model: [model.evaluate(**asked), model.evaluate(**asked)], compiled)
    np.testing.assert_allclose(actual=ours, desired=theirs, rtol=2e-5)
    assert evaluated and len(set(evaluated)) == 1 and ours[0] == ours[1]


def test_the_bar_and_the_callbacks_of_an_evaluation_are_keras_own(always, evaluated, capsys):
    def evaluate(model):
        end = Ends()
        found = model.evaluate(HELD_X, HELD_Y, batch_size=10, callbacks=[end], return_dict=True, verbose=2)
        return sorted(found), end.seen, end.params["steps"], capsys.readouterr().out.split(" - ")[0]

    ours, theirs = ways(evaluate, compiled={"metrics": ["mae"]})
    assert ours == theirs == (["loss", "mae"], ["begin", ["loss", "mae"]], 5, "5/5")
    assert evaluated == [(0, 5)]


def test_steps_per_execution_are_heeded_by_an_evaluation(always, evaluated):
    ours, theirs = ways(
        lambda model: model.evaluate(HELD_X, HELD_Y, batch_size=4, verbose=0), compiled={"steps_per_execution": 4}
    )
    np.testing.assert_allclose(actual=ours, desired=theirs, rtol=2e-5)
    assert evaluated == [(0, 4), (4, 4), (8, 3)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (klr.LinearRegression, {"steps": 2}),
        (klr.LinearRegression, {"callbacks": [Look()]}),
        (Own, {}),
    ],
    ids=["steps", "a callback that watches batches", "a test_step of one's own"],
)
def test_some_evaluations_go_keras_own_way(always, evaluated, kind, options):
    ours, theirs = ways(
        lambda model: model.evaluate(HELD_X, HELD_Y, batch_size=10, verbose=0, return_dict=True, **options), kind=kind
    )
    assert ours == theirs and not evaluated


@pytest.mark.parametrize("held", [(HELD_X, HELD_Y), dataset(HELD_X, HELD_Y)], ids=["arrays", "a stream"])
def test_a_callback_may_evaluate_other_rows_in_the_midst_of_an_evaluation(always, held):
    class Asks(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            if not self.seen:
                self.seen.append(None)
                self.seen.extend(self.model.evaluate(X, Y, batch_size=20, verbose=0))
                self.seen.extend(self.model.predict(X[:3], verbose=0).ravel())

    asks = Asks(), Asks()
    for ask, ordinary in zip(asks, (False, True), strict=True):
        ask.seen = []
        found = fitted(X, Y, ordinary, callbacks=[ask], validation_data=held, compiled={"metrics": ["mae"]})
        ask.seen += found[1]["val_loss"]
    np.testing.assert_allclose(actual=asks[0].seen[1:], desired=asks[1].seen[1:], rtol=2e-5)
