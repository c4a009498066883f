"""What is exported is served: predictions and intervals without Python, under the columns' own names."""

import contextlib
import json
import re
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from cpp_loader import Code, ServingError, ask, serve
from scipy import stats
from tensorflow.core.protobuf import saved_model_pb2

import keras_linreg as klr
from keras_linreg.export.inputs import argument_names
from keras_linreg.export.t_quantile import t_quantile
from keras_linreg.export.warmup_requests import to_example
from keras_linreg.inference.intervals import KEYS

RNG = np.random.default_rng(8)
N = 60
LEVELS = np.resize([0.5, 0.8, 0.95, 0.999, 0.999999], 100)
AWKWARD = ["fixed acidity", "größe", "self", "Age", "age", "a b", "a_b", "1st", "column_0", "", "examples", "inputs"]


def trained(x, y, **arguments):
    model = klr.LinearRegression(**arguments)
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    model.fit(x, y, epochs=2, verbose=0)
    return model


def solved(x, y, weights=None, **arguments):
    model = klr.ExactLinearRegression(**arguments)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The data do not determine|.*depend", UserWarning)
        model.fit(x, y, sample_weight=weights, verbose=0)
    return model


def noise(matrix, rng):
    """Errors that no column explains, nor a constant."""
    design = np.column_stack([np.ones(len(matrix)), matrix])
    errors = rng.normal(size=len(matrix))
    return errors - design @ np.linalg.lstsq(design, errors, rcond=None)[0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, penguins, penguin_space):
    """For each kind of model: the folder, the request of its rows, the model and its data."""
    rng = np.random.default_rng(8)  # of its own: what other tests have drawn is not to matter
    matrix = rng.normal(size=(N, 4))
    target = matrix.sum(axis=1) + rng.normal(size=N)
    both = np.stack([target, -(target**2)], 1)
    without_second = matrix[:, 0] + 3 + noise(matrix, rng)  # of which the second column explains nothing at all
    named = pd.DataFrame(matrix, columns=["b", "a", "d", "c"])
    awkward = pd.DataFrame(rng.normal(size=(N, len(AWKWARD))), columns=AWKWARD)
    dependent = named.assign(sum=named["a"] + named["b"], one=1.0)
    far = named.assign(a=named["a"] + 1.7e9, d=named["d"] + 2000)
    normalization = keras.layers.Normalization()
    normalization.adapt(matrix)
    cases = {
        "matrix": (trained, matrix, target, {}),
        "one feature": (trained, matrix[:, 0], target, {}),
        "frame": (trained, named, target, {}),
        "two outputs": (trained, named, both, {"units": 2}),
        "awkward names": (trained, awkward, target, {}),
        "bfloat16": (trained, matrix, target, {"dtype": "mixed_bfloat16"}),
        "float64": (trained, named, target, {"dtype": "float64"}),
        "Normalization of a matrix": (trained, matrix, target, {"preprocessor": normalization}),
        "Normalization of a frame": (trained, named, target, {"preprocessor": normalization}),
        "FeatureSpace": (trained, *penguins, {"preprocessor": penguin_space}),
        "exact, matrix": (solved, matrix, target, {}),
        "exact, one feature": (solved, matrix[:, 0], target, {}),
        "exact, frame": (solved, named, target, {}),
        "exact, weights": (solved, named, target, {"weights": rng.uniform(0.1, 3, N)}),
        "exact, no intercept": (solved, matrix, target, {"use_bias": False}),
        "exact, two outputs": (solved, matrix, both, {"units": 2}),
        "exact, awkward names": (solved, awkward, target, {}),
        "exact, one column": (solved, named[["a"]], target, {}),
        "exact, float32": (solved, named, target, {"dtype": "float32"}),
        "exact, dependent": (solved, dependent, target, {}),
        "exact, min_norm": (solved, dependent, target, {"dependent": "min_norm"}),
        "exact, float64 door": (solved, far, target, {}),
        "exact, off centre": (solved, matrix + np.array([1, -2, 3, 0.5]), target, {}),
        "exact, years": (solved, matrix + np.array([2000, 0, 0, 4e3]), target, {}),
        "exact, an idle year": (solved, matrix + np.array([0, 4e3, 0, 0]), without_second, {}),
        "exact, nearly dependent": (
            solved,
            np.column_stack([matrix, matrix[:, 0] + 1e-3 * matrix[:, 1] ** 2]),
            target,
            {},
        ),
        "exact, FeatureSpace": (solved, *penguins, {"preprocessor": penguin_space}),
        "exact, one degree of freedom": (solved, matrix[:3, :1], target[:3], {}),
        "penalised": (solved, matrix, target, {"kernel_regularizer": "l2"}),
    }
    out = {}
    for kind, (fit, x, y, arguments) in cases.items():
        model = fit(x, y, **arguments)
        folder = tmp_path_factory.mktemp("export") / "model"
        door = "float64" if kind == "exact, float64 door" else "float32"
        warns = pytest.warns(UserWarning, match="A tf.Example holds float32 alone, which spoils a:")
        with warns if door == "float64" else contextlib.nullcontext():
            model.export(folder, verbose=False, input_dtype=door)
        request = request_of(model, x, door)
        out[kind] = folder, request, model, request["features"].astype("float64") if kind in AS_SERVED else x
    return out


AS_SERVED = "exact, years", "exact, an idle year", "exact, nearly dependent"  # what comes through a float32 door
KINDS = [
    *("matrix", "one feature", "frame", "two outputs", "awkward names", "bfloat16", "float64"),
    *("Normalization of a matrix", "Normalization of a frame", "FeatureSpace", "penalised"),
    *("exact, matrix", "exact, one feature", "exact, frame", "exact, weights", "exact, no intercept"),
    *(
        "exact, two outputs",
        "exact, awkward names",
        "exact, one column",
        "exact, float32",
        "exact, dependent",
        "exact, min_norm",
    ),
    *(
        "exact, off centre",
        "exact, years",
        "exact, an idle year",
        "exact, nearly dependent",
        "exact, float64 door",
        "exact, FeatureSpace",
        "exact, one degree of freedom",
    ),
]
EXACT = [kind for kind in KINDS if kind.startswith("exact")]


def request_of(model, x, door="float32"):
    if not model.schema.named:
        return {"features": np.asarray(x, door).reshape(len(x), -1)}
    kinds = {"float32": door, "int64": np.int64, "string": str}
    return {c.name: x[c.name].to_numpy().astype(kinds[c.dtype]) for c in model.schema.inputs}


def as_examples(request):
    rows = [{name: values[i] for name, values in request.items()} for i in range(len(next(iter(request.values()))))]
    return np.array([to_example(row).SerializeToString() for row in rows], object)


def of_rows(request, rows):
    return {name: values[rows] for name, values in request.items()}


def inputs_of(request, signature):
    """What a signature takes for the rows of a request."""
    if signature in ("examples", "regress"):
        return {"examples" if signature == "examples" else "inputs": as_examples(request)}
    if signature == "predict_interval_at":
        return {**request, "level": LEVELS[: len(next(iter(request.values())))]}
    return request


def signatures_of(model, kind):
    some = ["serving_default", "examples", *["regress"] * (model.units == 1)]
    return [*some, "predict_interval", "predict_interval_at"] if kind in EXACT else some


@pytest.fixture(scope="module")
def answers(exported):
    """What the loader answers, in one fresh process, of every model: each signature, one row and all rows."""
    questions = [
        (kind, signature, size)
        for kind, (_, _, model, x) in exported.items()
        for signature in signatures_of(model, kind)
        for size in (1, len(x))
    ]
    requests = []
    for kind, signature, size in questions:
        folder, request = exported[kind][:2]
        requests.append((folder, signature, inputs_of(of_rows(request, slice(size)), signature)))
    return dict(zip(questions, ask(requests), strict=True))


def close(actual, desired, rtol=2e-6, atol=2e-6, what=""):
    np.testing.assert_allclose(actual=actual, desired=desired, rtol=rtol, atol=atol, err_msg=what)


@pytest.mark.parametrize("rows", ["one row", "all rows"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_servers_loader_predicts_what_predict_gives(exported, answers, kind, rows):
    _, _, model, x = exported[kind]
    size = 1 if rows == "one row" else len(x)
    expected = model.predict(x[:size], verbose=0)
    tolerance = 1e-2 if kind == "bfloat16" else 2e-6
    found = answers[kind, "serving_default", size]
    assert list(found) == ["predictions"]
    assert found["predictions"].dtype == np.float32
    close(found["predictions"], expected, tolerance, tolerance)
    # tf.Example holds float32 alone.
    tolerance = 200.0 if kind == "exact, float64 door" else tolerance
    close(answers[kind, "examples", size]["predictions"], expected, tolerance, tolerance)
    if model.units == 1:
        assert answers[kind, "regress", size]["outputs"].shape == (size,)
        close(answers[kind, "regress", size]["outputs"], expected[:, 0], tolerance, tolerance)


@pytest.mark.parametrize("rows", ["one row", "all rows"])
@pytest.mark.parametrize("kind", EXACT)
def test_the_servers_loader_gives_the_intervals_of_predict_interval(exported, answers, kind, rows):
    _, _, model, x = exported[kind]
    size = 1 if rows == "one row" else len(x)
    at_each = {level: model.predict_interval(x[:size], level) for level in set(LEVELS[:size])}
    fixed = model.predict_interval(x[:size], 0.95)
    for signature in ("predict_interval", "predict_interval_at"):
        found = answers[kind, signature, size]
        assert set(found) == set(KEYS)
        for key in KEYS:
            assert found[key].dtype == np.float32
            wanted = fixed[key]
            if signature == "predict_interval_at":
                wanted = np.stack([at_each[level][key][i] for i, level in enumerate(LEVELS[:size])])
            scale = np.abs(fixed["mean"]).max()
            close(found[key], wanted, 5e-6, 1e-6 * scale if "ci" in key or key == "mean" else 0, f"{signature}: {key}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_signatures_are_the_contract(exported, kind):
    folder, _, model, _ = exported[kind]
    (graph,) = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    assert "serve" in graph.meta_info_def.tags
    signatures = graph.signature_def
    columns = {c.name: (c.dtype, [-1, *c.shape]) for c in model.schema.inputs}
    if "float64 door" in kind:
        columns = {name: ("float64", shape) for name, (_, shape) in columns.items()}
    by_row = [-1] if model.units == 1 else [-1, model.units]
    interval = {key: ("float32", [-1] if key == "leverage" else by_row) for key in KEYS}
    expected = {
        "serving_default": (columns, {"predictions": ("float32", [-1, model.units])}),
        "serve": (columns, {"predictions": ("float32", [-1, model.units])}),
        "examples": ({"examples": ("string", [-1])}, {"predictions": ("float32", [-1, model.units])}),
    }
    if model.units == 1:
        expected["regress"] = {"inputs": ("string", [-1])}, {"outputs": ("float32", [-1])}
    if kind in EXACT:
        expected["predict_interval"] = columns, interval
        expected["predict_interval_at"] = {**columns, "level": ("float64", [-1])}, interval
    assert set(signatures) - {"__saved_model_init_op"} == set(expected)
    for key, ends in expected.items():
        method = "regress" if key == "regress" else "predict"
        assert signatures[key].method_name == f"tensorflow/serving/{method}"
        for infos, wanted in zip((signatures[key].inputs, signatures[key].outputs), ends, strict=True):
            found = {
                name: (tf.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim])
                for name, info in infos.items()
            }
            assert found == wanted, key


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_loads_it_with_the_users_own_names(exported, kind):
    folder, request, model, x = exported[kind]
    loaded = tf.saved_model.load(str(folder))
    tensors = {name: tf.constant(values) for name, values in request.items()}
    found = loaded.serve(tensors if model.schema.named else tensors["features"])["predictions"]
    tolerance = 1e-2 if kind == "bfloat16" else 2e-6
    close(found, model.predict(x, verbose=0), tolerance, tolerance)


def test_keras_own_layer_for_saved_models_loads_it(exported):
    folder, request, model, x = exported["matrix"]
    layer = keras.layers.TFSMLayer(folder)
    close(layer(request["features"])["predictions"], model.predict(x, verbose=0), 1e-5)


def test_float64_is_used_inside_where_float32_would_lose_digits(exported, answers):
    _, request, model, x = exported["exact, years"]
    rows = request["features"].astype(np.float64)  # as they came through the door
    expected = model.predict(rows, verbose=0)
    found = answers["exact, years", "serving_default", len(x)]["predictions"]
    close(found, expected, 1e-7, 1e-7)
    in_float32 = rows.astype("f4") @ model.kernel.numpy().astype("f4") + model.bias.numpy().astype("f4")
    assert np.abs(in_float32 - expected).max() > 1e-4


@pytest.mark.parametrize(("unit", "target"), [(1e30, 1e-21), (1e-32, 1e5), (1e37, 1.0)])
def test_units_far_from_one_are_served_right(tmp_path, unit, target):
    x = RNG.normal(size=(N, 3)) * unit
    y = (x @ [1.0, -2.0, 3.0] / unit + RNG.normal(size=N)) * target
    model = solved(x, y)
    model.export(tmp_path / "model", verbose=False)
    request = {"features": x.astype("float32")}
    predictions, limits = ask([(tmp_path / "model", key, request) for key in ("serving_default", "predict_interval")])
    expected = model.predict_interval(x)
    close(predictions["predictions"][:, 0], expected["mean"], 1e-5, 1e-6 * target)
    for key in ("mean", "mean_se", "obs_ci_upper", "leverage"):
        close(limits[key], expected[key], 1e-5, 1e-6 * target if key != "leverage" else 0)


def test_means_far_above_coordinates_leave_the_leverage_as_it_is(tmp_path):
    x = 5 + 1e-6 * RNG.normal(size=(N, 1))
    model = solved(x, 3 * x[:, 0] + RNG.normal(size=N), weights=np.full(N, 1e24), use_bias=False)
    with pytest.warns(UserWarning, match="A tf.Example holds float32 alone"):
        model.export(tmp_path / "model", verbose=False, input_dtype="float64")
    found, expected = serve(tmp_path / "model", "predict_interval", {"features": x}), model.predict_interval(x)
    for key in ("mean", "mean_se", "leverage"):
        close(found[key], expected[key], 1e-6, 0)


def test_a_column_called_level_in_other_letters_is_served(tmp_path):
    x = pd.DataFrame({"Level": RNG.normal(size=N), "z": RNG.normal(size=N)})
    model = solved(x, x["z"] + RNG.normal(size=N))
    model.export(tmp_path / "model", verbose=False)
    request = {name: x[name].to_numpy("float32") for name in x}
    found = serve(tmp_path / "model", "predict_interval_at", {**request, "level": np.full(N, 0.9)})
    close(found["mean_ci_lower"], model.predict_interval(x, 0.9)["mean_ci_lower"], 1e-5)


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


@pytest.mark.parametrize("preprocessor", [space_without_unknown, layers_without_unknown])
def test_a_preprocessor_without_unknown_categories_refuses_them_by_column(tmp_path, penguins, preprocessor):
    frame, target = penguins[0][["bill", "species"]], penguins[1]
    model = trained(frame, target, preprocessor=preprocessor(frame))
    layers = getattr(model.preprocessor, "layers", None) or [*model.preprocessor.preprocessors.values()]
    names = [layer.name for layer in layers]
    model.export(tmp_path / "model", verbose=False)
    request = {"bill": frame["bill"].to_numpy("float32"), "species": frame["species"].to_numpy(str)}
    unseen = {**request, "species": np.array(["Emperor"] * len(frame))}
    good, bad = ask([(tmp_path / "model", "serving_default", given) for given in (request, unseen)])
    close(good["predictions"], model.predict(frame, verbose=0), 1e-5)
    assert isinstance(bad, ServingError) and bad.code == Code.INVALID_ARGUMENT
    assert "Emperor" in bad.message and re.search("node .*species", bad.message)
    assert [layer.name for layer in layers] == names


# Bad requests


def without(name):
    return lambda request: {key: value for key, value in request.items() if key != name}


def with_(**changes):
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


INT = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
TWO = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0, 2.0]))
WRONG_DTYPE = "to be .* is provided"  # the session's own: it counts the inputs, and no graph sees them
BY_COLUMN = ["serving_default", "predict_interval", "predict_interval_at"]
REFUSED = {
    **{
        f"{signature}, {what}": ("exact, frame", signature, change, message)
        for signature in BY_COLUMN
        for what, (change, message) in {
            "a column is missing": (without("a"), "a"),
            "a column too many": (with_(z=lambda request: request["a"]), "z"),
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
    "level of percent": ("exact, frame", "predict_interval_at", column("level", lambda v: v * 100), "level"),
    "negative level": ("exact, matrix", "predict_interval_at", column("level", lambda v: -v), "level"),
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
            "an int for a float": (spoiled_example("a", INT), "Key: a,"),
            "two values": (spoiled_example("a", TWO), "Key: a,"),
        }.items()
    },
    "too few features": ("exact, matrix", "examples", spoiled_example("features", TWO), "Key: features,"),
}


@pytest.fixture(scope="module")
def refusals(exported):
    requests = []
    for kind, signature, change, _ in REFUSED.values():
        folder, request = exported[kind][:2]
        requests.append((folder, signature, change(inputs_of(request, signature))))
    return dict(zip(REFUSED, ask(requests), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_by_the_name_of_the_column(refusals, case):
    answer = refusals[case]
    assert isinstance(answer, ServingError)
    assert answer.code == Code.INVALID_ARGUMENT
    with pytest.raises(ServingError, match=REFUSED[case][3]):
        raise answer


@pytest.mark.parametrize("names", [("point", "age"), ("age", "point")])
def test_a_column_of_vectors_is_refused_by_its_name(tmp_path, names):
    shapes = {"point": (3,), "age": ()}
    data = {name: RNG.normal(size=(N, *shapes[name])) for name in names}
    inputs = {name: keras.Input(shapes[name], name=name) for name in names}
    joined = keras.layers.Concatenate()([inputs["point"], keras.ops.expand_dims(inputs["age"], -1)])
    model = trained(data, RNG.normal(size=N), preprocessor=keras.Model(inputs, joined))
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
    good, *bad = ask([(tmp_path / "model", "serving_default", given) for given in requests])
    close(good["predictions"], model.predict(data, verbose=0), 1e-5)
    for change, answer in zip(changes[1:], bad, strict=True):
        assert isinstance(answer, ServingError) and answer.code == Code.INVALID_ARGUMENT
        assert re.search(rf"node \S*{next(iter(change))}", answer.message)


def test_a_preprocessor_that_reshapes_does_not_swallow_the_check_of_a_column(tmp_path):
    data = {name: RNG.normal(size=N) for name in ("age", "size")}
    inputs = {name: keras.Input((), name=name) for name in data}
    columns = [keras.ops.reshape(value, (-1, 1)) for value in inputs.values()]
    model = trained(data, RNG.normal(size=N), preprocessor=keras.Model(inputs, keras.ops.concatenate(columns, axis=1)))
    model.export(tmp_path / "model", verbose=False)
    request = {name: values.astype("float32") for name, values in data.items()}
    twice = {name: {**request, name: values[:, None].repeat(2, 1)} for name, values in request.items()}
    for name, answer in zip(
        twice, ask([(tmp_path / "model", "serving_default", r) for r in twice.values()]), strict=True
    ):
        assert isinstance(answer, ServingError) and answer.code == Code.INVALID_ARGUMENT
        assert re.search(rf"node {name}.must", answer.message)


# Odd requests that have an answer


def several(values):
    return np.resize(values, (100_000, *values.shape[1:]))


ANSWERED = {
    "no rows": lambda values: values[:0],
    "100,000 rows": several,
}
ODD = [
    (kind, signature, case)
    for kind in ("exact, matrix", "exact, frame", "exact, dependent", "FeatureSpace")
    for signature in ("serving_default", "examples", "regress", "predict_interval", "predict_interval_at")
    for case in ANSWERED
    if kind in EXACT or not signature.startswith("predict")
]


@pytest.fixture(scope="module")
def odd(exported):
    requests = []
    for kind, signature, case in ODD:
        folder, request = exported[kind][:2]
        given = inputs_of(request, signature)
        requests.append((folder, signature, {name: ANSWERED[case](values) for name, values in given.items()}))
    return dict(zip(ODD, ask(requests), strict=True))


@pytest.mark.parametrize(("kind", "signature", "case"), ODD)
def test_no_rows_and_many_rows_have_their_answers(exported, answers, odd, kind, signature, case):
    found = odd[kind, signature, case]
    rows = len(exported[kind][3])
    for key, values in answers[kind, signature, rows].items():
        close(found[key], ANSWERED[case](values), 1e-5, 1e-5, key)


@pytest.mark.parametrize("kind", ["frame", "exact, frame", "exact, one column", "exact, awkward names", "FeatureSpace"])
def test_columns_may_come_with_a_number_in_each_row(exported, answers, kind):
    folder, request, model, x = exported[kind]
    signatures = [key for key in signatures_of(model, kind) if key in BY_COLUMN]
    column = {name: values[:, None] for name, values in request.items()}
    requests = [(folder, key, {**inputs_of(request, key), **column}) for key in signatures]
    for key, found in zip(signatures, ask(requests), strict=True):
        for name, values in answers[kind, key, len(x)].items():
            close(found[name], values, 1e-6, 1e-6, f"{key}: {name}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["matrix", "frame", "exact, matrix", "exact, frame", "exact, float64 door"])
def test_nan_and_infinity_stay_in_their_own_row(exported, answers, kind, value):
    folder, request, model, x = exported[kind]
    name = next(iter(request))
    spoiled = {**request, name: request[name].copy()}
    spoiled[name][7] = value
    signatures = signatures_of(model, kind)
    for signature, found in zip(
        signatures, ask([(folder, key, inputs_of(spoiled, key)) for key in signatures]), strict=True
    ):
        for key, values in found.items():
            others = np.arange(len(x)) != 7
            close(values[others], answers[kind, signature, len(x)][key][others], 1e-5, 1e-5, f"{signature}: {key}")
            assert not np.isfinite(values[7]).any()
            assert np.isnan(values[7]).all() or not np.isnan(value)


def test_a_level_of_nan_is_nan_in_its_row_and_one_has_no_end(exported):
    folder, request, model, x = exported["exact, frame"]
    levels = np.array([np.nan, 0.0, 1.0, 0.9])
    found = serve(folder, "predict_interval_at", {**of_rows(request, slice(4)), "level": levels})
    assert np.isnan(found["obs_ci_lower"]).tolist() == [True, False, False, False]
    assert np.isfinite(found["mean"]).all()
    close(found["mean_ci_lower"][1], found["mean"][1])
    assert found["mean_ci_upper"][2] == np.inf
    close(found["obs_ci_upper"][3], model.predict_interval(x[3:4], 0.9)["obs_ci_upper"][0])


def test_a_string_that_was_never_seen_is_the_unknown_category(exported):
    for kind in ("FeatureSpace", "exact, FeatureSpace"):
        folder, request, model, x = exported[kind]
        request = {**request, "species": np.array(["Emperor"] * len(x))}
        expected = model.predict(x.assign(species="Emperor"), verbose=0)
        close(serve(folder, "serving_default", request)["predictions"], expected, 1e-5)


@pytest.mark.parametrize("kind", ["exact, dependent", "exact, min_norm"])
def test_a_row_that_breaks_the_dependence_of_columns_has_no_interval(exported, kind):
    folder, request, _, _ = exported[kind]
    broken = {**request, "sum": request["sum"].copy()}
    broken["sum"][3] += 1
    found = serve(folder, "predict_interval", broken)
    assert np.flatnonzero(np.isnan(found["leverage"])).tolist() == [3]
    assert np.flatnonzero(np.isnan(found["mean_ci_lower"])).tolist() == [3]
    assert np.isfinite(found["mean"]).all()


# What float32 would spoil, and what else export says


def test_export_warns_of_columns_that_float32_would_spoil(exported, tmp_path):
    model = exported["exact, float64 door"][2]
    with pytest.warns(UserWarning, match="the numbers of a lie more than 0.001 of their standard"):
        model.export(tmp_path / "model", verbose=False)


def test_a_fit_of_float32_data_does_not_warn(tmp_path):
    x = (RNG.normal(size=(N, 1)) + 1e5).astype("float32")
    solved(x, x[:, 0]).export(tmp_path / "model", verbose=False)


def test_a_column_called_level_leaves_out_what_it_collides_with(tmp_path):
    x = pd.DataFrame({"level": RNG.normal(size=N), "b": RNG.normal(size=N)})
    model = solved(x, x["b"] + RNG.normal(size=N))
    with pytest.warns(UserWarning, match="predict_interval_at is left out: its input 'level' would collide"):
        model.export(tmp_path / "model", verbose=False)
    request = {name: x[name].to_numpy("float32") for name in x}
    close(serve(tmp_path / "model", "predict_interval", request)["mean_se"], model.predict_interval(x)["mean_se"])
    with pytest.raises(ServingError, match="predict_interval_at"):
        serve(tmp_path / "model", "predict_interval_at", request)


def test_the_level_of_predict_interval_is_fixed_at_export(exported, tmp_path):
    _, request, model, x = exported["exact, matrix"]
    model.export(tmp_path / "model", verbose=False, level=0.5)
    found = serve(tmp_path / "model", "predict_interval", request)
    close(found["obs_ci_lower"], model.predict_interval(x, 0.5)["obs_ci_lower"], 1e-5)


def test_the_json_beside_the_model_says_what_it_is(exported):
    folder, _, model, x = exported["exact, frame"]
    facts = json.loads((folder / "keras_linreg.json").read_text())
    assert [c["name"] for c in facts["columns"]] == model.feature_names == list(x.columns)
    assert (facts["units"], facts["level"], facts["model"]) == (1, 0.95, "ExactLinearRegression")
    training = facts["training"]
    assert (training["rows"], training["df_resid"], training["rank"]) == (N, N - 5, 5)
    close(training["leverage_threshold"], 15 / N)
    close([c["mean"] for c in training["features"]], x.mean(), 1e-12)
    close([c["standard_deviation"] for c in training["features"]], x.std(ddof=0), 1e-12)
    close(training["residual_standard_error"], np.sqrt(model.report().scale), 1e-12)
    assert json.loads((exported["matrix"][0] / "keras_linreg.json").read_text())["training"] is None


def test_export_says_what_it_takes(exported, tmp_path, capsys):
    exported["exact, FeatureSpace"][2].export(tmp_path / "model")
    said = capsys.readouterr().out
    assert "serving_default(bill: float32 [batch], site: int64 [batch], species: string [batch])" in said
    assert "predictions: float32 [batch, 1]" in said
    assert "predict_interval(as serving_default) -> mean, mean_se," in said and "at level 0.95" in said
    assert "predict_interval_at(as serving_default, level: float64 [batch])" in said
    assert "regress(inputs: string [batch]) -> outputs: float32 [batch]" in said


# Where it is written


def test_an_export_over_another_replaces_it_and_leaves_other_files(exported, tmp_path):
    _, _, first, _ = exported["exact, matrix"]
    _, request, second, x = exported["frame"]
    first.export(tmp_path / "model", verbose=False)
    (tmp_path / "model" / "mine.txt").write_text("kept")
    second.export(tmp_path / "model", verbose=False)
    found = serve(tmp_path / "model", "serving_default", request)["predictions"]
    close(found, second.predict(x, verbose=0), 1e-5)
    assert (tmp_path / "model" / "mine.txt").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("before", ["empty", "a model", "missing"])
def test_an_export_follows_a_link(exported, tmp_path, before):
    _, request, model, x = exported["exact, matrix"]
    (tmp_path / "real").mkdir()
    if before == "a model":
        exported["frame"][2].export(tmp_path / "real", verbose=False)
    if before == "missing":
        (tmp_path / "real").rmdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    model.export(tmp_path / "link", verbose=False)
    close(serve(tmp_path / "real", "serving_default", request)["predictions"], model.predict(x, verbose=0), 1e-5)
    assert (tmp_path / "link").is_symlink()
    assert not [path for path in (tmp_path / "real").iterdir() if path.name.startswith(".")]


def test_an_export_that_fails_leaves_what_was_there(exported, tmp_path, monkeypatch):
    _, request, model, x = exported["exact, matrix"]
    model.export(tmp_path / "model", verbose=False)

    def fail(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("keras_linreg.export.manifest.write", fail)
    with pytest.raises(OSError, match="No space left"):
        exported["frame"][2].export(tmp_path / "model", verbose=False)
    close(serve(tmp_path / "model", "serving_default", request)["predictions"], model.predict(x, verbose=0), 1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_loaded_model_is_exported_too(exported, tmp_path):
    for kind in ("FeatureSpace", "exact, FeatureSpace"):
        _, request, model, x = exported[kind]
        model.save(tmp_path / "model.keras")
        keras.models.load_model(tmp_path / "model.keras").export(tmp_path / kind, verbose=False)
        found = serve(tmp_path / kind, "serving_default", request)["predictions"]
        close(found, model.predict(x, verbose=0), 1e-5)


def test_a_model_of_moments_is_exported_with_its_intervals(exported, tmp_path):
    _, request, model, x = exported["exact, frame"]
    klr.ExactLinearRegression.from_moments(model.moments).export(tmp_path / "model", verbose=False)
    found = serve(tmp_path / "model", "predict_interval", request)
    close(found["mean_ci_upper"], model.predict_interval(x)["mean_ci_upper"], 1e-5)


def test_weights_that_were_set_are_exported_without_intervals(exported, tmp_path):
    _, request, model, _ = exported["exact, matrix"]
    other = klr.ExactLinearRegression.from_moments(model.moments)
    other.set_weights([np.ones((4, 1)), np.zeros(1)])
    other.export(tmp_path / "model", verbose=False)
    found = serve(tmp_path / "model", "serving_default", request)["predictions"]
    close(found[:, 0], request["features"].sum(axis=1), 1e-5)
    with pytest.raises(ServingError, match="predict_interval"):
        serve(tmp_path / "model", "predict_interval", request)


# Refusals


@pytest.mark.parametrize("model", [klr.LinearRegression, klr.ExactLinearRegression])
def test_an_unbuilt_model_is_not_exported(tmp_path, model):
    with pytest.raises(ValueError, match="must (have seen its inputs|be fitted) before it is exported"):
        model().export(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_signature": [tf.TensorSpec((None, 4))]}, "`input_signature`"),
        ({"input_dtype": "float16"}, "`input_dtype` must be 'float32' or 'float64'. Received: .*float16"),
        ({"level": 95}, "`level` must be a coverage between 0 and 1"),
        (
            {"format": "onnx", "input_dtype": "float64"},
            "`input_dtype` and `level` apply to format='tf_saved_model' alone",
        ),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_written(exported, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        exported["exact, matrix"][2].export(tmp_path / "model", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_to_export_to(exported, tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ValueError, match="`filepath` must be a folder. Received: .*which is a file"):
        exported["matrix"][2].export(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


# The pieces


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 7, 10, 29, 30, 100, 1000, 10**5, 10**7, 10**9])
def test_the_t_quantile_of_the_graph_is_that_of_scipy(df):
    levels = np.unique([*np.linspace(0.5, 0.999, 500), *(1 - np.geomspace(1e-12, 0.5, 500)), 0.999999])
    found = t_quantile(df)(tf.constant(levels)).numpy()
    np.testing.assert_allclose(actual=found, desired=stats.t.isf((1 - levels) / 2, df), rtol=1e-8)


def test_the_t_quantile_of_one_and_two_degrees_of_freedom_is_the_formula():
    levels = np.array([0.5, 0.9, 0.999, 0.999999])
    found = t_quantile(1)(tf.constant(levels)).numpy()
    np.testing.assert_allclose(actual=found, desired=np.tan(np.pi / 2 * levels), rtol=1e-8)
    found = t_quantile(2)(tf.constant(levels)).numpy()
    np.testing.assert_allclose(actual=found, desired=levels * np.sqrt(2 / (1 - levels**2)), rtol=1e-8)


@pytest.mark.parametrize(
    "names", [("a", "b"), tuple(AWKWARD), ("column_0", "größe"), ("COLUMN_1", "é", "ü"), ("x", "X")]
)
def test_safe_names_are_what_tensorflow_takes_and_stay_apart(names):
    safe = argument_names(names)
    assert list(safe) == list(names)
    folded = [name.lower() for name in safe.values()]
    assert len(set(folded)) == len(names)
    assert all(name.isidentifier() and name.isascii() and name != "self" for name in safe.values())


@pytest.mark.parametrize("filepath", [None, 3, b"model", ""])
def test_what_is_no_path_is_refused(filepath):
    model = klr.ExactLinearRegression()
    model.fit(np.arange(6.0), np.arange(6.0) ** 2, verbose=0)
    with pytest.raises(ValueError, match="`filepath` must be the path of the folder to write. Received: "):
        model.export(filepath)


@pytest.mark.parametrize("input_dtype", [tf.float64, np.float64, "float16", None])
def test_what_is_no_dtype_of_the_door_is_refused(tmp_path, input_dtype):
    model = klr.ExactLinearRegression()
    model.fit(np.arange(6.0), np.arange(6.0) ** 2, verbose=0)
    with pytest.raises(ValueError, match="`input_dtype` must be 'float32' or 'float64'"):
        model.export(tmp_path / "model", input_dtype=input_dtype)
    assert not (tmp_path / "model").exists()


def test_the_json_beside_a_model_without_residual_degrees_of_freedom_is_json(tmp_path):
    model = klr.ExactLinearRegression()
    model.fit([0.0, 1.0], [1.0, 3.0], verbose=0)
    model.export(tmp_path / "model", verbose=False)
    text = (tmp_path / "model" / "keras_linreg.json").read_text()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    facts = json.loads(text, parse_constant=refuse)
    assert facts["training"].get("residual_standard_error") in (None, [None])
