"""Requests to a served model: bad ones are refused by the name of the column, odd ones have their answers."""

import re
from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf
from cpp_loader import Code
from exported_models import FLOAT64_INPUT, N, close, inputs_of, train
from loader_process import ServingError, ask, serve

RNG = np.random.default_rng(8)


def without(name):
    return lambda request: {key: value for key, value in request.items() if key != name}


def adding(**changes):
    return lambda request: {**request, **{key: change(request) for key, change in changes.items()}}


def column(name, change):
    return lambda request: {**request, name: change(request[name])}


def examples(change):
    return lambda request: {key: np.array(change(list(values)), object) for key, values in request.items()}


def spoiled_example(name, value):
    """The first Example with another value of a feature, or without it."""

    def change(rows):
        first = tf.train.Example.FromString(rows[0])
        del first.features.feature[name]
        if value is not None:
            first.features.feature[name].CopyFrom(value)
        return [first.SerializeToString(), *rows[1:]]

    return examples(change)


TEXT = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"1"]))
TWO = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0, 2.0]))
WRONG_DTYPE = "to be .* is provided"  # the session's own: it counts the inputs, and no graph sees them
BY_COLUMN = ["serving_default", "predict_interval", "predict_interval_at"]
REFUSED = {
    **{
        f"{signature}, {what}": ("exact, frame", signature, change, message)
        for signature in BY_COLUMN
        for what, (change, message) in {
            "a column is missing": (without("a"), "a"),
            "a column too many": (adding(z=lambda request: request["a"]), "z"),
            "float64 in a column": (column("a", lambda v: v.astype("float64")), WRONG_DTYPE),
            "int for float": (column("a", lambda v: v.astype("int64")), WRONG_DTYPE),
            "two numbers a row": (column("a", lambda v: v[:, None].repeat(2, 1)), "a.must.be.as.long.as.b"),
            "two numbers a row in the first": (column("b", lambda v: v[:, None].repeat(2, 1)), "b.must.have.one.value"),
            "no numbers": (column("a", lambda v: v[:, None][:, :0]), "a.must.be.as.long.as.b"),
            "another length": (column("a", lambda v: v[:7]), "a.must.be.as.long.as.b"),
            "another length of the first": (column("b", lambda v: v[:7]), "must.be.as.long.as.b"),
            "a scalar": (column("a", lambda v: v[0]), "a.must.be.as.long.as.b"),
            "a scalar first": (column("b", lambda v: v[0]), "b.must.have.rows"),
        }.items()
    },
    **{
        f"{signature}, {what}": ("exact, matrix", signature, column("features", change), message)
        for signature in BY_COLUMN
        for what, (change, message) in {
            "another width": (lambda v: v[:, :3], "features"),
            "wider": (lambda v: np.tile(v, 2), "features"),
            "a row": (lambda v: v[0], "features"),
            "float64 for float32": (lambda v: v.astype("float64"), WRONG_DTYPE),
        }.items()
    },
    "two numbers a row in a column of an awkward name": (
        "exact, awkward names",
        "predict_interval",
        column("fixed acidity", lambda v: v[:, None].repeat(2, 1)),
        "fixed_acidity.must.",
    ),
    "two numbers a row in all columns": (
        "exact, frame",
        "serving_default",
        lambda request: {name: values[:, None].repeat(2, 1) for name, values in request.items()},
        ".must.",
    ),
    "two numbers a row in the only column": (
        "exact, one column",
        "serving_default",
        column("a", lambda v: v[:, None].repeat(2, 1)),
        "a.must.have.one.value.for.each.row",
    ),
    **{
        f"{what} before a preprocessor": ("FeatureSpace", "serving_default", column(name, change), message)
        for what, name, change, message in (
            ("two strings a row", "species", lambda v: v[:, None].repeat(2, 1), "species.must."),
            ("two numbers a row", "bill", lambda v: v[:, None].repeat(2, 1), "bill.must."),
            ("a column of other length", "site", lambda v: v[:7], "site.must."),
        )
    },
    "strings for numbers": ("FeatureSpace", "serving_default", column("bill", lambda v: v.astype(str)), WRONG_DTYPE),
    "float for a code": ("FeatureSpace", "serving_default", column("site", lambda v: v.astype("float32")), WRONG_DTYPE),
    "one level for all": ("exact, matrix", "predict_interval_at", column("level", lambda v: v[:1]), "level"),
    "level of float32": (
        "exact, matrix",
        "predict_interval_at",
        column("level", lambda v: v.astype("f4")),
        WRONG_DTYPE,
    ),
    **{
        f"{signature}, {what}": ("exact, frame", signature, change, message)
        for signature in ("examples", "regress")
        for what, (change, message) in {
            "no Example": (examples(lambda rows: [b"no Example", *rows[1:]]), "parse"),
            "a feature is missing": (spoiled_example("a", None), "Feature: a "),
            "text for a float": (spoiled_example("a", TEXT), "Key: a,"),
            "two values": (spoiled_example("a", TWO), "Key: a,"),
        }.items()
    },
    "too few features": ("exact, matrix", "examples", spoiled_example("features", TWO), "Key: features,"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_by_the_name_of_the_column(exported, case):
    kind, signature, change, message = REFUSED[case]
    with pytest.raises(ServingError, match=message) as error:
        serve(exported[kind].folder, signature, change(inputs_of(exported[kind].request, signature)))
    assert error.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("names", [("point", "age"), ("age", "point")])
def test_a_column_of_vectors_is_refused_by_its_name(tmp_path, names):
    shapes = {"point": (3,), "age": ()}
    data = {name: RNG.normal(size=(N, *shapes[name])) for name in names}
    inputs = {name: keras.Input(shapes[name], name=name) for name in names}
    joined = keras.layers.Concatenate()([inputs["point"], keras.ops.expand_dims(inputs["age"], -1)])
    model = train(data, RNG.normal(size=N), preprocessor=keras.Model(inputs, joined))
    model.export(tmp_path / "model", verbose=False)
    request = {name: values.astype("float32") for name, values in data.items()}
    changes = (
        {},
        *(
            {"point": change}
            for change in (lambda v: v[:, :2], lambda v: v.T, np.ravel, lambda v: v[:7], lambda v: v[0])
        ),
        *({"age": change} for change in (lambda v: v[:7], lambda v: v[:, None].repeat(3, 1))),
    )
    requests = [{**request, **{name: change(request[name]) for name, change in one.items()}} for one in changes]
    good, *bad = ask([(tmp_path / "model", "serving_default", inputs) for inputs in requests])
    close(good["predictions"], model.predict(data, verbose=0), 1e-5)
    for change, answer in zip(changes[1:], bad, strict=True):
        assert isinstance(answer, ServingError) and answer.code == Code.INVALID_ARGUMENT
        assert re.search(rf"node \S*{next(iter(change))}", answer.message)


def test_a_preprocessor_that_reshapes_does_not_swallow_the_check_of_a_column(tmp_path):
    data = {name: RNG.normal(size=N) for name in ("age", "size")}
    inputs = {name: keras.Input((), name=name) for name in data}
    columns = [keras.ops.reshape(value, (-1, 1)) for value in inputs.values()]
    model = train(data, RNG.normal(size=N), preprocessor=keras.Model(inputs, keras.ops.concatenate(columns, axis=1)))
    model.export(tmp_path / "model", verbose=False)
    request = {name: values.astype("float32") for name, values in data.items()}
    twice = {name: {**request, name: values[:, None].repeat(2, 1)} for name, values in request.items()}
    for name, answer in zip(
        twice, ask([(tmp_path / "model", "serving_default", r) for r in twice.values()]), strict=True
    ):
        assert isinstance(answer, ServingError) and answer.code == Code.INVALID_ARGUMENT
        assert re.search(rf"node {name}.must", answer.message)


def space_without_unknown(frame):
    kinds = keras.utils.FeatureSpace
    space = kinds({"bill": "float", "species": kinds.string_categorical(num_oov_indices=0)})
    space.adapt(tf.data.Dataset.from_tensor_slices(dict(frame)))
    return space


def layers_without_unknown(frame):
    inputs = {"bill": keras.Input((), name="bill"), "species": keras.Input((), name="species", dtype="string")}
    known = keras.layers.StringLookup(
        vocabulary=sorted(frame["species"].unique()), num_oov_indices=0, output_mode="one_hot"
    )
    columns = keras.ops.expand_dims(inputs["bill"], -1), known(inputs["species"])
    return keras.Model(inputs, keras.layers.Concatenate()(columns))


def codes_of_a_layer(frame):
    inputs = {"bill": keras.Input((), name="bill"), "site": keras.Input((), name="site", dtype="int64")}
    codes = keras.layers.CategoryEncoding(num_tokens=4, output_mode="one_hot")(inputs["site"])
    return keras.Model(inputs, keras.layers.Concatenate()([keras.ops.expand_dims(inputs["bill"], -1), codes]))


def embedded_codes(frame):
    inputs = {"bill": keras.Input((), name="bill"), "site": keras.Input((), name="site", dtype="int64")}
    codes = keras.layers.Embedding(4, 2)(inputs["site"])
    return keras.Model(inputs, keras.layers.Concatenate()([keras.ops.expand_dims(inputs["bill"], -1), codes]))


@pytest.mark.parametrize(
    ("preprocessor", "name", "others"),
    [
        (space_without_unknown, "species", ["Emperor", "adelie", "Gentoo "]),
        (layers_without_unknown, "species", ["Emperor", "\0", "größe"]),
        (codes_of_a_layer, "site", [4, -1, 2**40]),
        (embedded_codes, "site", [4, -1, 2**40]),
    ],
)
def test_a_category_that_the_preprocessor_refuses_is_nan_in_its_row_alone(
    tmp_path, penguins, preprocessor, name, others
):
    frame, target = penguins[0][["bill", name]], penguins[1]
    model = train(frame, target, preprocessor=preprocessor(frame))
    layers = getattr(model.preprocessor, "layers", None) or [*model.preprocessor.preprocessors.values()]
    names = [layer.name for layer in layers]
    model.export(tmp_path / "model", verbose=False)
    request = {"bill": frame["bill"].to_numpy("float32"), name: frame[name].to_numpy()}
    request[name] = request[name].astype(str if name == "species" else "int64")
    unseen = {**request, name: np.array([*others, *request[name][3:]])}
    signatures = ("serving_default", "examples", "regress")
    good, *rest = ask(
        [(tmp_path / "model", "serving_default", request)]
        + [(tmp_path / "model", signature, inputs_of(unseen, signature)) for signature in signatures]
    )
    expected = model.predict(frame, verbose=0)
    close(good["predictions"], expected, 1e-5)
    for answer in rest:
        (values,) = answer.values()
        assert np.isnan(values[:3]).all()
        close(np.ravel(values[3:]), expected[3:, 0], 1e-5)
    assert [layer.name for layer in layers] == names


@pytest.mark.parametrize("named", [True, False])
def test_a_code_that_a_layer_of_all_columns_refuses_is_nan_in_its_row(tmp_path, named):
    codes = np.array([3, 7, 9] * 20)
    lookup = keras.layers.IntegerLookup(vocabulary=[3, 7, 9], num_oov_indices=0, output_mode="one_hot")
    rows = {"code": codes} if named else codes[:, None]
    model = train(rows, codes * 1.0, preprocessor=keras.Sequential([lookup]))
    model.export(tmp_path / "model", verbose=False)
    asked = np.array([7, 8, 3])
    answer = serve(tmp_path / "model", "serving_default", {"code": asked} if named else {"features": asked[:, None]})
    expected = model.predict({"code": np.array([7, 3])} if named else np.array([[7], [3]]), verbose=0)
    close(answer["predictions"][[0, 2]], expected, 1e-5)
    assert np.isnan(answer["predictions"][1])


# Odd requests that have an answer

ODD = {
    "no rows": lambda values: values[:0],
    "20,000 rows": lambda values: np.resize(values, (20_000, *values.shape[1:])),
}


@pytest.mark.parametrize("kind", ["exact, matrix", "exact, frame", "exact, dependent", "FeatureSpace"])
def test_no_rows_and_many_rows_have_their_answers(exported, kind):
    folder, request = exported[kind].folder, exported[kind].request
    for signature in exported[kind].signatures:
        inputs = inputs_of(request, signature)
        for case, change in ODD.items():
            answer = serve(folder, signature, {name: change(values) for name, values in inputs.items()})
            for key, values in exported.answer(kind, signature).items():
                close(answer[key], change(values), 1e-5, 1e-5, f"{signature}, {case}: {key}")


@pytest.mark.parametrize("kind", ["frame", "exact, frame", "exact, one column", "exact, awkward names", "FeatureSpace"])
def test_columns_may_come_with_a_number_in_each_row(exported, kind):
    folder, request, *_ = exported[kind]
    columns = {name: values[:, None] for name, values in request.items()}
    for signature in set(exported[kind].signatures) & set(BY_COLUMN):
        answer = serve(folder, signature, {**inputs_of(request, signature), **columns})
        for key, values in exported.answer(kind, signature).items():
            close(answer[key], values, 1e-6, 1e-6, f"{signature}: {key}")


def of_shape(*shape):
    return lambda values: np.resize(values, N).reshape(shape)


@pytest.mark.parametrize("shape", [(2, N // 2), (N // 2, 2), (1, N), (1, N, 1), (2, N // 4, 2), (1, 1, N)])
@pytest.mark.parametrize("kind", ["frame", "exact, frame", "exact, awkward names", "FeatureSpace"])
def test_a_column_whose_count_fits_and_whose_shape_does_not_is_refused(exported, kind, shape):
    folder, request, *_ = exported[kind]
    cut = {name: np.resize(values, N) for name, values in request.items()}
    for name in list(cut)[:4]:
        for signature in set(exported[kind].signatures) & set(BY_COLUMN):
            bad = {**inputs_of(cut, signature), name: of_shape(*shape)(cut[name])}
            (answer,) = ask([(folder, signature, bad)])
            assert isinstance(answer, ServingError) and answer.code == Code.INVALID_ARGUMENT, (signature, name)
            assert ".must." in answer.message


@pytest.mark.parametrize("kind", ["frame", "exact, frame", "FeatureSpace"])
def test_each_column_may_come_with_a_number_in_each_row_whatever_the_others_do(exported, kind):
    folder, request, *_ = exported[kind]
    for name, values in request.items():
        answer = serve(folder, "serving_default", {**request, name: values[:, None]})
        close(answer["predictions"], exported.answer(kind, "serving_default")["predictions"], 1e-6, 1e-6)


@pytest.mark.parametrize("kind", ["matrix", "frame", "exact, matrix", "exact, frame", FLOAT64_INPUT])
def test_nan_and_infinity_stay_in_their_own_row(exported, kind):
    folder, request, _, x = exported[kind]
    name = next(iter(request))
    bad = {**request, name: request[name].copy()}
    bad[name][7], bad[name][8], bad[name][9] = np.nan, np.inf, -np.inf
    others = np.delete(np.arange(len(x)), [7, 8, 9])
    for signature in exported[kind].signatures:
        answer = serve(folder, signature, inputs_of(bad, signature))
        for key, values in answer.items():
            expected = exported.answer(kind, signature)[key]
            close(values[others], expected[others], 1e-5, 1e-5, f"{signature}: {key}")
            if key == "extrapolates":
                assert values[7:10].all()
            else:
                assert np.isnan(values[7]).all() and not np.isfinite(values[7:10]).any(), f"{signature}: {key}"


@pytest.mark.parametrize("bad", [np.nan, 95.0, -0.1, 1 + 1e-15, np.inf, -np.inf])
def test_a_level_that_is_no_coverage_is_nan_in_its_row_and_a_level_of_one_has_no_end(exported, bad):
    folder, request, model, x = exported["exact, frame"]
    levels = np.array([bad, 0.0, 1.0, 0.9])
    four = {name: values[:4] for name, values in request.items()}
    answer = serve(folder, "predict_interval_at", {**four, "level": levels})
    for key in ("mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper"):
        assert np.isnan(answer[key]).tolist() == [True, False, False, False]
    assert np.isfinite(answer["mean"]).all()
    close(answer["mean_ci_lower"][1], answer["mean"][1])
    assert answer["mean_ci_upper"][2] == np.inf
    close(answer["obs_ci_upper"][3], model.predict_interval(x[3:4], 0.9)["obs_ci_upper"].iloc[0])


@pytest.mark.parametrize("kind", ["FeatureSpace", "exact, FeatureSpace"])
def test_a_string_that_was_never_seen_is_the_unknown_category(exported, kind):
    folder, request, model, x = exported[kind]
    unseen = {**request, "species": np.array(["Emperor"] * len(x))}
    warns = pytest.warns(UserWarning, match="no row of the fit had") if kind != "FeatureSpace" else nullcontext()
    with warns:
        expected = model.predict(x.assign(species="Emperor"), verbose=0)
    close(serve(folder, "serving_default", unseen)["predictions"], expected, 1e-5)


@pytest.mark.parametrize("kind", ["exact, dependent", "exact, min_norm"])
def test_a_row_that_breaks_the_dependence_of_columns_has_no_interval(exported, kind):
    folder, request, *_ = exported[kind]
    broken = {**request, "sum": request["sum"].copy()}
    broken["sum"][3] += 1
    answer = serve(folder, "predict_interval", broken)
    assert np.flatnonzero(np.isnan(answer["leverage"])).tolist() == [3]
    assert np.flatnonzero(np.isnan(answer["mean_ci_lower"])).tolist() == [3]
    assert np.isfinite(answer["mean"]).all()
