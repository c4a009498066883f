"""What each column contributed: contributions add up to the prediction, in Python and in the served graph."""

import itertools
import json
import math
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cases import quick_and_heavy
from exported_models import WITH_INTERVALS, close, solve
from loader_process import serve

import keras_linreg as klr
from keras_linreg.export.explanations import Explanations
from keras_linreg.inference.fitted_moments import FittedMoments

RNG = np.random.default_rng(6)
FRAME = pd.DataFrame(RNG.normal(size=(60, 3)) * [1, 10, 100] + [0, 5, 1e6], columns=["age", "größe", "c"])
TARGET = FRAME.sum(axis=1) + RNG.normal(size=60)


@pytest.fixture(scope="module")
def model():
    return solve(FRAME, TARGET)


def shapley_values(predict, row, background):
    """The Shapley values of columns by their definition: over all subsets, averaged over all rows of the background."""
    columns = range(len(row))

    def value(subset):
        mixed = background.copy()
        mixed[:, list(subset)] = row[list(subset)]
        return predict(mixed).mean()

    values = np.zeros(len(row))
    for column in columns:
        others = [other for other in columns if other != column]
        for size in range(len(row)):
            weight = 1 / (len(row) * math.comb(len(row) - 1, size))
            for subset in itertools.combinations(others, size):
                values[column] += weight * (value((*subset, column)) - value(subset))
    return values


def test_contributions_are_the_shapley_values_for_independent_columns(model):
    rows = FRAME.to_numpy()
    explained = model.explain(FRAME.head(3))["contributions"]
    for i in range(3):
        expected = shapley_values(lambda x: model.predict(x, verbose=0)[:, 0], rows[i], rows)
        close(explained.iloc[i].to_numpy(), expected, 1e-9, 1e-7)


def test_contributions_are_those_of_shaps_linear_explainer_for_independent_features():
    reference = json.loads((Path(__file__).parent / "reference" / "linear_shap.json").read_text())
    x, y = np.array(reference["x"]), np.array(reference["y"])
    explained = solve(x, y).explain(x[:10])
    close(explained["contributions"].to_numpy(), np.array(reference["values"]), 1e-9, 1e-10)
    close(explained["baseline"].to_numpy().ravel(), np.array(reference["base_values"]), 1e-12)


@pytest.mark.parametrize(
    "kind", quick_and_heavy([*WITH_INTERVALS, "penalised"], "exact, off centre", "exact, FeatureSpace", "penalised")
)
def test_contributions_and_baseline_add_up_to_the_prediction(exported, kind):
    _, _, model, x = exported[kind]
    explained = model.explain(x)
    predicted = model.predict(x, verbose=0)
    tolerance = 1e-12 if model.compute_dtype == "float64" else 1e-5
    scale = np.abs(predicted).max()
    if model.units == 1:
        total = explained["contributions"].sum(axis=1) + explained["baseline"].to_numpy().ravel()
        close(explained["predictions"].to_numpy().ravel(), predicted[:, 0], tolerance, tolerance * scale)
        close(total.to_numpy(), predicted[:, 0], tolerance, tolerance * scale)
    else:
        total = explained["contributions"].T.groupby(level="output", sort=False).sum().T + explained["baseline"][""]
        close(total.to_numpy(), predicted, tolerance, tolerance * scale)


@pytest.mark.parametrize("kind", [*WITH_INTERVALS, "penalised"])
def test_the_served_graph_explains_as_the_model_does(exported, kind):
    folder, request, model, x = exported[kind]
    answer, explained = serve(folder, "explain", request), model.explain(x)
    manifest = json.loads((folder / "keras_linreg.json").read_text())
    groups = list(dict.fromkeys(explained["contributions"].columns.get_level_values(0)))
    assert manifest["groups"] == groups
    assert set(answer) == set(explained.columns.get_level_values(0))
    scale = np.abs(explained.to_numpy()[:, : len(groups)]).max()
    for key, values in answer.items():
        expected = explained[key].to_numpy()
        if model.units == 1 and key == "baseline":
            expected = expected.ravel()
        assert values.dtype == np.float32 and values.shape == (len(x), *values.shape[1:])
        close(values, expected.reshape(values.shape), 1e-5, 2e-6 * scale, key)
    total = answer["contributions"].sum(axis=1) + answer["baseline"]
    close(total.reshape(answer["predictions"].shape), answer["predictions"], 1e-5, 2e-6 * scale)


def test_the_errors_are_those_of_the_coefficients(model):
    explained = model.explain(FRAME)
    report = model.report()
    for name in FRAME:
        distance = np.abs(FRAME[name] - FRAME[name].mean())
        close(explained["contribution_se"][name].to_numpy(), distance * report.bse[name], 1e-8)


def test_the_levels_of_a_category_are_one_group_with_the_error_of_their_sum(exported):
    model, x = exported["exact, FeatureSpace"].model, exported["exact, FeatureSpace"].x
    explained = model.explain(x)
    assert list(explained["contributions"].columns) == ["bill", "site", "species"]
    design = model.preprocessor({name: tf.constant(x[name].to_numpy()) for name in x}).numpy().astype(float)
    names = model.feature_names
    columns = [i for i, name in enumerate(names) if name.startswith("species_")]
    centred = design[:, columns] - design[:, columns].mean(axis=0)
    close(explained["contributions"]["species"].to_numpy(), centred @ model.kernel.numpy()[columns, 0], 1e-6, 1e-8)
    covariance = model.report().cov_params().loc[[names[i] for i in columns], [names[i] for i in columns]].fillna(0)
    variance = np.einsum("ni,ij,nj->n", centred, covariance.to_numpy(), centred)
    close(explained["contribution_se"]["species"].to_numpy(), np.sqrt(variance), 1e-5, 1e-8)


def test_a_cross_is_a_group_of_its_own_named_by_its_columns():
    frame = pd.DataFrame({"city": ["Paris", "Rome", "Rome", "Paris"] * 20, "code": [0, 1, 2, 3, 1] * 16})
    kinds = keras.utils.FeatureSpace
    cross = kinds.cross(("city", "code"), crossing_dim=8)
    space = kinds({"city": kinds.string_categorical(), "code": kinds.integer_categorical()}, crosses=[cross])
    space.adapt(tf.data.Dataset.from_tensor_slices(dict(frame)))
    model = solve(frame, RNG.normal(size=80), preprocessor=space)
    explained = model.explain(frame)
    assert list(explained["contributions"].columns) == ["city", "code", "city:code"]
    total = explained["contributions"].sum(axis=1) + explained["baseline"].to_numpy().ravel()
    close(total.to_numpy(), model.predict(frame, verbose=0)[:, 0], 1e-10, 1e-10)


def test_a_row_without_a_value_is_nan_and_keeps_its_label(model):
    rows = FRAME.head(3).set_axis(["x", "y", "z"]).astype(float)
    rows.loc["y", "age"] = np.nan
    explained = model.explain(rows)
    assert list(explained.index) == ["x", "y", "z"]
    assert explained["predictions"].isna().to_numpy().ravel().tolist() == [False, True, False]


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-6, 5),
    offset=st.sampled_from([0.0, 1.0, 1e3, 1e5]),
    units=st.integers(1, 2),
)
def test_the_graph_keeps_float32s_digits_of_each_contribution(seed, exponent, offset, units):
    rng = np.random.default_rng(seed)
    deviations = 10.0 ** (exponent + rng.integers(-2, 3, 4))
    x = ((rng.normal(size=(50, 4)) + offset) * deviations).astype("float32")
    y = (x - x.mean(axis=0, dtype=float)) @ np.ones((4, units)) + rng.normal(size=(50, units))
    contributions = FittedMoments(klr.Moments.from_data(x, y)).contributions([(f"x{j}", [j]) for j in range(4)])
    predictions = tf.zeros((50, units))
    deviations = x.std(axis=0, dtype=float)
    graph = Explanations(contributions, lambda design: predictions, deviations, predicts_in_float32=True)
    answer, expected = graph.answer(tf.constant(x)), contributions.of(x)
    for key in ("contributions", "contribution_se"):
        exact = expected[key][..., 0] if units == 1 else expected[key]
        # Of a number near the mean, what is left are the digits of the mean that float32 holds in two parts.
        close(answer[key].numpy(), exact, 4e-7, 1e-7 * np.abs(exact).max(), key)


def test_one_row_of_a_matrix_takes_few_operations_and_none_in_float64():
    x = RNG.normal(size=(50, 3)).astype("float32")
    contributions = FittedMoments(klr.Moments.from_data(x, x.sum(axis=1))).contributions(
        [(n, [j]) for j, n in enumerate("abc")]
    )
    graph = Explanations(contributions, lambda design: design[:, :1], x.std(axis=0), predicts_in_float32=True)
    traced = tf.function(graph.answer).get_concrete_function(tf.TensorSpec((None, 3), tf.float32)).graph
    of_predictions, given = {"StridedSlice"}, {"Placeholder", "Const", "Identity", "NoOp"}
    operations = [
        operation.type for operation in traced.get_operations() if operation.type not in given | of_predictions
    ]
    assert sorted(operations) == ["Abs", "Fill", "Mul", "Mul", "Shape", "Squeeze", "Sub"]
    assert not any(tensor.dtype == tf.float64 for operation in traced.get_operations() for tensor in operation.outputs)


def test_predictions_are_those_of_serving_default_bit_for_bit(exported):
    for kind in ("exact, frame", "exact, two outputs", "exact, off centre"):
        folder, request, *_ = exported[kind]
        explained, served = (serve(folder, key, request)["predictions"] for key in ("explain", "serving_default"))
        np.testing.assert_array_equal(explained, served, kind)


def test_no_rows_have_no_contributions(exported):
    folder, request, *_ = exported["exact, frame"]
    answer = serve(folder, "explain", {name: values[:0] for name, values in request.items()})
    assert answer["contributions"].shape == (0, 4) and answer["baseline"].shape == (0,)


def test_a_model_without_moments_has_no_explanation(exported):
    with pytest.raises(ValueError, match="must be fitted"):
        klr.ExactLinearRegression().explain(FRAME)
    assert json.loads((exported["frame"].folder / "keras_linreg.json").read_text())["groups"] is None
