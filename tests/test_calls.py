"""Calls of a model that are not fit and predict: as a layer, from several threads, quantized, summarised."""

import concurrent.futures
import copy

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import keras_linreg as klr

AGE = np.arange(40.0)
CITY = np.array(["oslo", "rome", "bern", "oslo"] * 10, object)
Y = AGE + (CITY == "oslo") + np.sin(AGE)
KINDS = pytest.mark.parametrize("kind", [klr.LinearRegression, klr.ExactLinearRegression])


@pytest.fixture(scope="module")
def space():
    space = keras.utils.FeatureSpace({"city": "string_categorical", "age": "float"})
    space.adapt(tf.data.Dataset.from_tensor_slices({"city": CITY, "age": AGE}))
    return space


NOT_A_MATRIX = {
    "a dict": {"city": CITY, "age": AGE},
    "a dict of tensors": {"city": tf.constant(["oslo"]), "age": tf.constant([1.0])},
    "a frame": pd.DataFrame({"city": CITY, "age": AGE}),
    "a frame of numbers": pd.DataFrame({"a": AGE, "b": AGE}),
    "strings": CITY,
    "a tensor of strings": tf.constant([["oslo"]]),
    "two inputs": [CITY, AGE],
    "a list of rows": [[1.0, 2.0], [3.0, 4.0]],
    "two inputs of a tuple": (tf.constant([1.0]), tf.constant([1.0])),
}


@pytest.fixture(scope="module")
def fitted(space):
    """A fitted model of each kind, with the preprocessor."""
    models = {}
    for kind in (klr.LinearRegression, klr.ExactLinearRegression):
        models[kind] = kind(preprocessor=space, use_bias=False)
        models[kind].fit({"city": CITY, "age": AGE}, Y, batch_size=40, verbose=0)
    return models


@pytest.mark.filterwarnings("ignore:.* columns depend on")  # no row is of an unknown city
@KINDS
@pytest.mark.parametrize("inputs", NOT_A_MATRIX.values(), ids=NOT_A_MATRIX)
def test_a_call_with_the_users_columns_points_to_predict(kind, space, fitted, inputs):
    for model in (kind(preprocessor=space), fitted[kind]):
        was_built = model.built
        with pytest.raises(ValueError, match="without the preprocessor. Use `predict`"):
            model(inputs)
        assert model.built == was_built
    plain = kind()
    with pytest.raises(ValueError, match="without the names of columns. Use `predict`"):
        plain(inputs)
    assert not plain.built


@KINDS
def test_a_matrix_of_any_kind_is_taken(kind):
    model = kind()
    model.fit(np.column_stack([AGE, AGE**2]), Y, verbose=0)
    x = np.column_stack([AGE, AGE])
    for inputs in (x, tf.constant(x), pd.DataFrame(x).to_numpy(), keras.Input((2,))):
        assert model(inputs).shape[-1] == 1


@KINDS
def test_quantize_is_refused_and_an_outer_model_leaves_the_layer_as_it_is(kind):
    model = kind()
    model.fit(np.column_stack([AGE, AGE**2]), Y, verbose=0)
    before = model.get_weights()
    with pytest.raises(NotImplementedError, match=f"`quantize` must not be called on a {kind.__name__}"):
        model.quantize("int8")
    outer = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), model])
    with pytest.warns(UserWarning) as warnings:
        outer.quantize("int8")
    assert any("`quantize` must not be called" in str(warning.message) for warning in warnings)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert outer.layers[0].quantization_mode == "int8"


def test_the_summary_of_an_exact_model_points_to_its_report(capsys):
    model = klr.ExactLinearRegression()
    model.fit(AGE, Y, verbose=0)
    lines = []
    model.summary(print_fn=lines.append)
    model.summary()
    assert "print(model.report())" in lines[-1] and "print(model.report())" in capsys.readouterr().out
    assert any("Total params" in str(line) for line in lines)


@KINDS
def test_threads_that_evaluate_one_model_get_the_numbers_of_their_own_data(kind):
    model = kind()
    model.compile(metrics=["mae"])
    data = [(np.arange(300.0)[:, None] + i, np.arange(300.0) * (i + 1)) for i in range(4)]
    model.fit(data[0][0] / 300, data[0][1], batch_size=300, verbose=0)
    options = {"batch_size": 30, "verbose": 0, "return_dict": True}
    expected = [model.evaluate(*pair, **options) for pair in data]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: model.evaluate(*pair, **options), 2 * data))
    for ours, theirs in zip(found, 2 * expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)  # each pair's own are far apart


def test_a_callback_may_evaluate_and_a_model_may_be_copied_after_an_evaluation():
    model = klr.LinearRegression()
    model.compile()
    losses = []
    evaluate = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: losses.append(model.evaluate(AGE / 40, Y, verbose=0)),
        on_test_end=lambda logs: None,
    )
    model.fit(AGE / 40, Y, epochs=2, validation_data=(AGE / 40, Y), verbose=0, callbacks=[evaluate])
    assert len(losses) == 2
    copied = copy.deepcopy(model)
    np.testing.assert_array_equal(copied.kernel, model.kernel)
