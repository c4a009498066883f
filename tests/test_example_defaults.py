"""`tf.Example`s: defaults of features that they lack, integers for numbers, and features that no column has."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cpp_loader import Code
from exported_models import close, solve
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_process import ServingError, serve

import keras_linreg as klr
from keras_linreg.data import Column
from keras_linreg.export.examples import ExampleParser

RNG = np.random.default_rng(5)
FRAME = pd.DataFrame(RNG.normal(size=(60, 3)) * 100, columns=["age", "fixed acidity", "a.b*c"])
TARGET = FRAME.sum(axis=1) + RNG.normal(size=60)


def example(**features):
    """A serialized Example: ints as int64, floats as float, texts as bytes; each alone or in a list."""
    made = tf.train.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        kind = {int: "int64_list", float: "float_list"}.get(type(values[0]), "bytes_list")
        getattr(made.features.feature[name], kind).value.extend(v.encode() if isinstance(v, str) else v for v in values)
    return made.SerializeToString()


def predictions(folder, examples, signature="examples"):
    key = "examples" if signature == "examples" else "inputs"
    (values,) = serve(folder, signature, {key: np.array(examples, object)}).values()
    return np.ravel(values)


@pytest.fixture(scope="module")
def model():
    return solve(FRAME, TARGET)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("defaults") / "model"
    model.export(path, verbose=False, defaults={"age": 30, "a.b*c": float("nan")})
    return path


@pytest.mark.parametrize("signature", ["examples", "regress"])
def test_a_feature_that_an_example_lacks_takes_its_default(model, folder, signature):
    answer = predictions(folder, [example(**{"fixed acidity": 2.0, "a.b*c": 3.0})], signature)
    close(answer, model.predict(pd.DataFrame([[30.0, 2.0, 3.0]], columns=FRAME.columns), verbose=0)[:, 0], 1e-5)


def test_a_default_of_nan_answers_nan_in_the_rows_that_lack_the_feature_and_in_no_other(folder, model):
    full = {"age": 1.0, "fixed acidity": 2.0, "a.b*c": 3.0}
    answer = predictions(folder, [example(**full), example(age=1.0, **{"fixed acidity": 2.0})])
    assert np.isnan(answer[1])
    close(answer[0], model.predict(pd.DataFrame([full]), verbose=0)[0, 0], 1e-5)


def test_a_feature_without_a_default_is_refused_by_its_name(folder):
    with pytest.raises(ServingError, match="Feature: fixed acidity ") as error:
        predictions(folder, [example(age=1.0)])
    assert error.value.code == Code.INVALID_ARGUMENT


def test_a_feature_that_is_there_and_empty_counts_as_lacking(folder, model):
    empty = tf.train.Example.FromString(example(age=1.0, **{"fixed acidity": 2.0, "a.b*c": 3.0}))
    empty.features.feature["age"].Clear()
    close(
        predictions(folder, [empty.SerializeToString()]),
        model.predict(pd.DataFrame([[30.0, 2.0, 3.0]], columns=FRAME.columns), verbose=0)[:, 0],
        1e-5,
    )


@settings(max_examples=30, derandomize=True)
@given(
    st.lists(
        st.tuples(*[st.integers(-(2**63), 2**63 - 1) | st.floats(-1e6, 1e6, width=32)] * 3), min_size=1, max_size=4
    ),
    st.booleans(),
)
def test_integers_count_as_the_floats_that_they_are_whatever_is_beside_them(model, folder, rows, extra):
    others = {"city": "Rome\x12\x03\x1a", "sizes": [1, 2, 3], "weights": [0.5, 1.5]} if extra else {}
    examples = [example(**others, **dict(zip(FRAME.columns, row, strict=True))) for row in rows]
    as_floats = [example(**dict(zip(FRAME.columns, map(float, row), strict=True))) for row in rows]
    close(predictions(folder, examples), predictions(folder, as_floats), 1e-6, 1e-6)


def test_an_integer_of_one_client_does_not_change_the_rows_of_others(model, tmp_path):
    model.export(tmp_path / "model", verbose=False)  # without defaults, too
    rows = FRAME.head(20).round(1).astype("float32")
    examples = [example(**{name: float(value) for name, value in row.items()}) for row in rows.to_dict("records")]
    examples[7] = example(age=3, **{"fixed acidity": 4, "a.b*c": 5})
    expected = model.predict(rows, verbose=0)[:, 0]
    expected[7] = model.predict(pd.DataFrame([[3.0, 4.0, 5.0]], columns=FRAME.columns), verbose=0)[0, 0]
    close(predictions(tmp_path / "model", examples), expected, 1e-5)


@settings(max_examples=60, derandomize=True)
@given(st.text(max_size=8), st.integers(-5, 5))
def test_an_integer_is_found_whatever_the_column_is_called(name, value):
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    parser = ExampleParser([Column(name, "float32"), Column("other", "float32")], True, {"other": np.float32(0)})
    if name != "other":
        assert parser.parse(tf.constant([example(**{name: value})]))[name].numpy() == value


def test_an_integer_is_found_among_thousands_of_columns():
    names = [f"a column with a long name, {i}" for i in range(3000)]
    parser = ExampleParser([Column(name, "float32") for name in names], True, dict.fromkeys(names, np.float32(0)))
    columns = parser.parse(tf.constant([example(**{names[7]: 5, names[8]: 2.5, "no column": 3}), example()]))
    assert [columns[name].numpy().tolist() for name in names[6:9]] == [[0, 0], [5, 0], [2.5, 0]]


def test_integers_of_a_matrix_and_of_a_column_of_codes(tmp_path, penguins, exported):
    matrix = exported["exact, matrix"]
    whole = np.arange(8).reshape(2, 4)
    answer = predictions(matrix.folder, [example(features=row.tolist()) for row in whole])
    close(answer, matrix.model.predict(whole.astype(float), verbose=0)[:, 0], 1e-5)
    space = exported["FeatureSpace"]
    row = {"bill": 44, "site": 2, "species": "Gentoo"}
    expected = space.model.predict(pd.DataFrame([{**row, "bill": 44.0}]), verbose=0)[0]
    close(predictions(space.folder, [example(**row)]), expected, 1e-5)


def test_the_means_are_the_defaults_of_an_exact_fit(model, tmp_path):
    model.export(tmp_path / "model", verbose=False, defaults="mean")
    at_means = model.predict(pd.DataFrame([FRAME.mean()]), verbose=0)[0]
    close(predictions(tmp_path / "model", [example()]), at_means, 1e-5)
    beside = predictions(tmp_path / "model", [example(), b"", example(age=3)])  # the integer has all rewritten
    close(beside[:2], np.repeat(at_means, 2), 1e-5)
    manifest = klr.verify(tmp_path / "model")
    close([manifest["defaults"][name] for name in FRAME], FRAME.mean(), 1e-6)
    x = FRAME.to_numpy()
    matrix = solve(x, TARGET)
    matrix.export(tmp_path / "matrix", verbose=False, defaults="mean", signatures="estimator")
    close(predictions(tmp_path / "matrix", [example()], "serving_default"), at_means, 1e-5)


def test_categories_and_codes_have_defaults_too(tmp_path, penguins, exported):
    model = exported["FeatureSpace"].model
    version = klr.publish(
        model, tmp_path, warmup=penguins[0], signatures="estimator", defaults={"site": 3, "species": "Gentoo"}
    )
    expected = model.predict(pd.DataFrame({"bill": [44.5], "site": [3], "species": ["Gentoo"]}), verbose=0)[0]
    close(predictions(version, [example(bill=44.5)], "regression"), expected, 1e-5)
    assert klr.verify(version)["defaults"] == {"site": 3, "species": "Gentoo"}


def test_the_manifest_lists_defaults_as_json(folder):
    text = (folder / "keras_linreg.json").read_text()
    manifest = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert manifest["defaults"] == {"age": 30.0, "a.b*c": None}
    assert manifest["signatures"] == "keras"


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"Age": 1.0}, r"`defaults` must have columns of the model, .*'age'.* as keys. Received: \['Age'\]"),
        ({"age": "old"}, r"`defaults` must have numbers of shape \(\) for 'age'. Received: 'old'"),
        ({"age": [1.0]}, r"numbers of shape \(\) for 'age'"),
        ({"age": None}, r"numbers of shape \(\) for 'age'"),
        ({"age": True}, r"numbers of shape \(\) for 'age'"),
        ({"age": 1e39}, "'age'.*which float32 does not hold"),
        ({"age": float("inf")}, "'age'.*which float32 does not hold"),
        ("median", "`defaults` must be a dict of values by column, 'mean', or None. Received: 'median'"),
        (0.0, "`defaults` must be a dict of values by column, 'mean', or None. Received: defaults=0.0 of type float"),
        ([0.0, 1.0, 2.0], "`defaults` must be a dict"),
    ],
)
def test_defaults_that_are_none_of_a_column_are_refused_and_nothing_is_written(model, tmp_path, defaults, message):
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / "model", defaults=defaults)
    with pytest.raises(ValueError, match=message):
        klr.publish(model, tmp_path / "base", defaults=defaults)
    assert not list(tmp_path.iterdir())


def test_defaults_of_codes_and_texts_are_checked(exported, tmp_path):
    model = exported["FeatureSpace"].model
    for defaults, kind in (({"site": 1.5}, "integers"), ({"site": 2**70}, "integers"), ({"species": 3}, "texts")):
        with pytest.raises(ValueError, match=f"`defaults` must have {kind}"):
            model.export(tmp_path / "model", defaults=defaults)


def test_means_that_are_unknown_are_refused(exported, tmp_path):
    for kind in ("frame", "exact, FeatureSpace"):
        with pytest.raises(ValueError, match="where the means of the columns are unknown"):
            exported[kind].model.export(tmp_path / "model", defaults="mean")
