"""Evaluations in blocks of steps give the results of Keras's own loop."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy
from fits import TWO_TARGETS, WEIGHTS, X, Y, assert_same_fit, fitted, without_loop

import keras_linreg as klr

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
    quick_and_heavy(
        [*((case, 2**19) for case in CASES), *((case, 30) for case in ("weights", "float64", "sparse"))],
        *(("a split with weights", 2**19), ("weights", 30)),
    ),
)
def test_every_kind_of_validation_gives_the_logs_of_keras(always_loop, evaluated_blocks, loop_settings, case, numbers):
    loop_settings(chunk_numbers=numbers)

    def fit(by_keras):
        compiled = {"metrics": ["mae"], "weighted_metrics": ["mse"]}
        return fitted(X, Y, by_keras, compiled=compiled, batch_size=10, **CASES[case])

    ours, theirs = fit(False), fit(True)
    assert_same_fit(ours, theirs)
    assert evaluated_blocks and any(key.startswith("val_") for key in ours[1])


@pytest.mark.parametrize("kind", quick_and_heavy(["two outputs", "L2", "float64"], "L2"))
def test_every_kind_of_model_is_evaluated_as_with_keras(always_loop, evaluated_blocks, kind):
    model = {
        "two outputs": {"units": 2},
        "L2": {"kernel_regularizer": keras.regularizers.L2(0.1)},
        "float64": {"dtype": "float64"},
    }[kind]
    y = TWO_TARGETS if kind == "two outputs" else Y
    assert_same_fit(*(fitted(X, y, by_keras, model=model, validation_split=0.2) for by_keras in (False, True)))
    assert evaluated_blocks == [(0, 1)] * 3


def test_validation_runs_in_blocks_beside_a_stream(always_loop, evaluated_blocks):
    held = {"validation_data": (HELD_X, HELD_Y), "compiled": {"metrics": ["mae"]}}
    assert_same_fit(*(fitted(dataset(X, Y), None, by_keras, **held) for by_keras in (False, True)))
    assert evaluated_blocks == [(0, 2)] * 3


def test_keras_evaluates_a_stream(always_loop, trained_blocks, evaluated_blocks):
    assert_same_fit(*(fitted(X, Y, by_keras, validation_data=dataset(HELD_X, HELD_Y)) for by_keras in (False, True)))
    assert trained_blocks and not evaluated_blocks


def test_validation_does_not_depend_on_steps_per_execution(always_loop, evaluated_blocks):
    compiled = {"steps_per_execution": 4}
    held = {"validation_data": (HELD_X, HELD_Y), "validation_batch_size": 4}
    assert_same_fit(*(fitted(X, Y, by_keras, compiled=compiled, batch_size=10, **held) for by_keras in (False, True)))
    assert evaluated_blocks == [(0, 11)] * 3


def test_large_steps_are_gathered_from_shared_memory(always_loop, evaluated_blocks, loop_settings):
    loop_settings(gather_above_numbers=1, chunk_numbers=30)
    assert_same_fit(
        *(fitted(X, Y, by_keras, validation_data=(HELD_X, HELD_Y), batch_size=10) for by_keras in (False, True))
    )
    assert evaluated_blocks == [(0, 5)] * 3


def test_a_fit_leaves_the_arrays_of_validation_unchanged(always_loop, evaluated_blocks):
    held_out = HELD_X.copy(), HELD_Y.copy()
    fitted(X, Y, validation_data=held_out, batch_size=10, shuffle=True)
    np.testing.assert_array_equal(held_out[0], HELD_X)
    np.testing.assert_array_equal(held_out[1], HELD_Y)


def test_infinity_in_validation_data_shows_in_its_loss_alone_and_nan_is_refused(always_loop, evaluated_blocks):
    x = HELD_X.copy()
    x[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of .* rows have no value in 'x1' \(1\).*The first is row 7"):
        fitted(X, Y, validation_data=(x, HELD_Y))
    x[7, 1] = np.inf
    ours, theirs = (fitted(X, Y, by_keras, validation_data=(x, HELD_Y)) for by_keras in (False, True))
    assert_same_fit(ours, theirs)
    assert np.isfinite(ours[1]["loss"]).all() and not np.isfinite(ours[1]["val_loss"]).any()


class EvaluationRecorder(keras.callbacks.Callback):
    """Records when evaluations begin and end."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_test_begin(self, logs=None):
        self.seen.append("begin")

    def on_test_end(self, logs=None):
        self.seen.append(sorted(logs))


class BatchRecorder(EvaluationRecorder):
    """Records each batch of an evaluation, too."""

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append((batch, round(logs["loss"], 3)))


def test_a_callback_that_watches_batches_of_validation_sees_every_one(always_loop, evaluated_blocks):
    recorders = BatchRecorder(), BatchRecorder()
    for recorder, by_keras in zip(recorders, (False, True), strict=True):
        fitted(X, Y, by_keras, callbacks=[recorder], validation_data=(HELD_X, HELD_Y), batch_size=10)
    assert recorders[0].seen == recorders[1].seen
    assert len(recorders[0].seen) == 3 * (1 + 5 + 1)


def test_a_callback_of_evaluations_sees_each_begin_and_end(always_loop, evaluated_blocks):
    recorders = EvaluationRecorder(), EvaluationRecorder()
    for recorder, by_keras in zip(recorders, (False, True), strict=True):
        fitted(X, Y, by_keras, callbacks=[recorder], validation_data=(HELD_X, HELD_Y), compiled={"metrics": ["mae"]})
    assert recorders[0].seen == recorders[1].seen == ["begin", ["loss", "mae"]] * 3
    assert evaluated_blocks == [(0, 2)] * 3


class Own(klr.LinearRegression):
    def test_step(self, data):
        return {**super().test_step(data), "one": tf.constant(1.0)}


def test_keras_runs_the_test_step_of_a_subclass(always_loop, evaluated_blocks):
    model = Own()
    model.compile()
    history = model.fit(X, Y, validation_data=(HELD_X, HELD_Y), verbose=0, epochs=2).history
    assert history["val_one"] == [1.0, 1.0]
    assert not evaluated_blocks


def test_keras_evaluates_wide_sparse_rows(always_loop, evaluated_blocks, loop_settings):
    loop_settings(max_sparse_step_numbers=29)
    held = scipy.sparse.csr_array(HELD_X), HELD_Y
    assert_same_fit(*(fitted(X, Y, by_keras, validation_data=held, batch_size=10) for by_keras in (False, True)))
    assert not evaluated_blocks


def test_a_short_evaluation_is_not_compiled(evaluated_blocks):
    fitted(X, Y, epochs=100, batch_size=1, validation_freq=50, validation_data=(HELD_X, HELD_Y))
    assert not evaluated_blocks


def test_a_later_evaluation_gives_the_logs_of_the_last_epoch(always_loop, evaluated_blocks):
    model, history = fitted(X, Y, validation_data=(HELD_X, HELD_Y), compiled={"metrics": ["mae"]})
    result = model.evaluate(HELD_X, HELD_Y, verbose=0, return_dict=True)
    for name, value in result.items():
        np.testing.assert_allclose(actual=value, desired=history[f"val_{name}"][-1], rtol=1e-5)
    assert evaluated_blocks == [(0, 2)] * 4


# Outside of a fit


def both_evaluations(evaluate, compiled=None, kind=klr.LinearRegression, **options):
    """Return the results of `evaluate(model)` in blocks, and in Keras's own loop."""
    results = []
    for model in (kind(**options), without_loop(kind(**options))):
        model.compile(**(compiled or {}))
        model.build((None, 3))
        model.set_weights([weight + 0.5 for weight in model.get_weights()])
        results.append(evaluate(model))
    return results


DATA = {
    "arrays": {"x": HELD_X, "y": HELD_Y},
    "weights": {"x": HELD_X, "y": HELD_Y, "sample_weight": HELD_WEIGHTS},
    "float64": {"x": HELD_X.astype(float), "y": HELD_Y.astype(float)},
    "a frame": {"x": FRAME, "y": pd.Series(HELD_Y)},
    "sparse": {"x": scipy.sparse.csr_array(HELD_X), "y": HELD_Y},
    "tensors": {"x": tf.constant(HELD_X), "y": tf.constant(HELD_Y)},
    "one batch": {"x": HELD_X, "y": HELD_Y, "batch_size": 100},
}


@pytest.mark.parametrize("case", quick_and_heavy(DATA, "weights"))
def test_every_kind_of_data_is_evaluated_as_with_keras(always_loop, evaluated_blocks, case):
    compiled = {"metrics": ["mae", keras.metrics.R2Score()], "weighted_metrics": ["mse"]}
    arguments = {"batch_size": 10, "verbose": 0, **DATA[case]}
    ours, theirs = both_evaluations(lambda model: [model.evaluate(**arguments), model.evaluate(**arguments)], compiled)
    np.testing.assert_allclose(actual=ours, desired=theirs, rtol=2e-5)
    assert evaluated_blocks and len(set(evaluated_blocks)) == 1 and ours[0] == ours[1]


def test_an_evaluation_has_the_progress_bar_and_the_callbacks_of_keras(always_loop, evaluated_blocks, capsys):
    def evaluate(model):
        recorder = EvaluationRecorder()
        result = model.evaluate(HELD_X, HELD_Y, batch_size=10, callbacks=[recorder], return_dict=True, verbose=2)
        return sorted(result), recorder.seen, recorder.params["steps"], capsys.readouterr().out.split(" - ")[0]

    ours, theirs = both_evaluations(evaluate, compiled={"metrics": ["mae"]})
    assert ours == theirs == (["loss", "mae"], ["begin", ["loss", "mae"]], 5, "5/5")
    assert evaluated_blocks == [(0, 5)]


def test_an_evaluation_runs_blocks_of_steps_per_execution(always_loop, evaluated_blocks):
    ours, theirs = both_evaluations(
        lambda model: model.evaluate(HELD_X, HELD_Y, batch_size=4, verbose=0), compiled={"steps_per_execution": 4}
    )
    np.testing.assert_allclose(actual=ours, desired=theirs, rtol=2e-5)
    assert evaluated_blocks == [(0, 4), (4, 4), (8, 3)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (klr.LinearRegression, {"steps": 2}),
        (klr.LinearRegression, {"callbacks": [BatchRecorder()]}),
        (Own, {}),
    ],
    ids=["steps", "a callback that watches batches", "a test_step of one's own"],
)
def test_keras_runs_the_evaluations_that_blocks_cannot(always_loop, evaluated_blocks, kind, options):
    ours, theirs = both_evaluations(
        lambda model: model.evaluate(HELD_X, HELD_Y, batch_size=10, verbose=0, return_dict=True, **options), kind=kind
    )
    assert ours == theirs and not evaluated_blocks


@pytest.mark.parametrize("held", [(HELD_X, HELD_Y), dataset(HELD_X, HELD_Y)], ids=["arrays", "a stream"])
def test_a_callback_may_evaluate_other_rows_during_an_evaluation(always_loop, held):
    class Asks(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            if not self.seen:
                self.seen.append(None)
                self.seen.extend(self.model.evaluate(X, Y, batch_size=20, verbose=0))
                self.seen.extend(self.model.predict(X[:3], verbose=0).ravel())

    asks = Asks(), Asks()
    for ask, by_keras in zip(asks, (False, True), strict=True):
        ask.seen = []
        _, history = fitted(X, Y, by_keras, callbacks=[ask], validation_data=held, compiled={"metrics": ["mae"]})
        ask.seen += history["val_loss"]
    np.testing.assert_allclose(actual=asks[0].seen[1:], desired=asks[1].seen[1:], rtol=2e-5)
