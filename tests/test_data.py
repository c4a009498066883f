"""Whatever the user has, the model reads it the same; what it cannot read is a clear error that changes nothing."""

import dataclasses
import inspect
import resource

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy

import keras_linreg as klr

N = 40
RNG = np.random.default_rng(2)
MATRIX = RNG.normal(size=(N, 3)).astype("float32")
TARGET = (MATRIX @ [1.0, 2.0, -1.0] + 0.5).astype("float32")
NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(MATRIX, columns=NAMES)


def compiled(run_eagerly=False, **kwargs):
    """A model whose programs all models of the same shapes share."""
    model = klr.LinearRegression(**kwargs)
    model.loop_settings = dataclasses.replace(model.loop_settings, compile_after_seconds=0.0)  # its programs are shared
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=run_eagerly, jit_compile=False)
    return model


def fitted(x=MATRIX, y=TARGET, **kwargs):
    model = compiled(**kwargs)
    model.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def expected():
    return fitted(run_eagerly=False).get_weights()


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, weights=None):
        super().__init__()
        self.x, self.y, self.weights = x, y, weights

    def __len__(self):
        return 4

    def __getitem__(self, i):
        at = slice(10 * i, 10 * i + 10)
        return (self.x[at], self.y[at]) if self.weights is None else (self.x[at], self.y[at], self.weights[at])


def generator(x, y, epochs=3):
    for _ in range(epochs):
        for i in range(4):
            yield x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10]


def sparse_tensor():
    return tf.sparse.from_dense(MATRIX)


def columns():
    return {name: FRAME[name].to_numpy() for name in NAMES}


def dataset(x):
    return tf.data.Dataset.from_tensor_slices((x, TARGET)).batch(10)


IN_MEMORY = {
    "array": lambda: MATRIX,
    "float64": lambda: MATRIX.astype("float64"),
    "fortran order": lambda: np.asfortranarray(MATRIX),
    "tensor": lambda: tf.constant(MATRIX),
    "sparse tensor": sparse_tensor,
    "scipy sparse": lambda: scipy.sparse.csr_matrix(MATRIX),
    "frame": lambda: FRAME,
    "frame of nullable floats": lambda: FRAME.astype("Float64"),
    "unnamed frame": lambda: pd.DataFrame(MATRIX),
    "dict": columns,
    "dict of (n, 1) tensors": lambda: {name: tf.constant(FRAME[[name]]) for name in NAMES},
    "object array of numbers": lambda: MATRIX.astype(object),
    "nested list": lambda: MATRIX.tolist(),
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_every_kind_of_x_in_memory_gives_the_same_weights(kind, expected):
    model = fitted(IN_MEMORY[kind]())
    for found, weight in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, weight, rtol=1e-5, atol=1e-6)


STREAMS = {
    "dataset": lambda: dataset(MATRIX),
    "dataset of float64": lambda: dataset(MATRIX.astype("float64")),
    "dataset of dicts": lambda: dataset(columns()),
    "dataset of sparse": lambda: dataset(sparse_tensor()),
    "PyDataset": lambda: Batches(MATRIX, TARGET),
    "PyDataset of frames": lambda: Batches(FRAME, TARGET),
    "PyDataset with weights": lambda: Batches(FRAME, TARGET, np.ones(N)),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_every_kind_of_stream_gives_the_same_weights(kind, expected):
    model = compiled()
    model.fit(STREAMS[kind](), epochs=3, shuffle=False, verbose=0)
    for found, weight in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("x", [MATRIX, FRAME], ids=["arrays", "frames"])
def test_a_generator_gives_the_same_weights(x, expected):
    model = compiled()
    model.fit(generator(x, TARGET), epochs=3, steps_per_epoch=4, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], expected[0], rtol=1e-5)


@pytest.mark.parametrize("kind", quick_and_heavy([*IN_MEMORY, *STREAMS], "array", "dataset"))
def test_predict_and_evaluate_take_what_fit_takes(kind, expected):
    model = fitted(IN_MEMORY["unnamed frame"]() if kind == "unnamed frame" else FRAME)
    x = {**IN_MEMORY, **STREAMS}[kind]()
    predicted = model.predict(x, verbose=0)
    assert predicted.shape == (N, 1)
    np.testing.assert_allclose(predicted, MATRIX @ expected[0] + expected[1], rtol=1e-4, atol=1e-5)
    arguments = (x, TARGET) if kind in IN_MEMORY else (x,)
    loss = float(np.mean((predicted[:, 0] - TARGET) ** 2))
    assert model.evaluate(*arguments, verbose=0) == pytest.approx(loss, rel=1e-4)


TARGETS = {
    "(n,)": lambda: TARGET,
    "(n, 1)": lambda: TARGET.reshape(-1, 1),
    "Series": lambda: pd.Series(TARGET, name="y"),
    "one-column frame": lambda: pd.DataFrame({"y": TARGET}),
    "nullable Series": lambda: pd.Series(TARGET.astype("float64")).astype("Float64"),
    "tensor": lambda: tf.constant(TARGET),
    "list": lambda: TARGET.tolist(),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_y_gives_the_same_weights(kind, expected):
    np.testing.assert_allclose(fitted(MATRIX, TARGETS[kind]()).get_weights()[0], expected[0], rtol=1e-5)


@pytest.mark.parametrize(
    "x",
    [
        MATRIX[:, 0],
        pd.Series(MATRIX[:, 0]),
        pd.Series(MATRIX[:, 0], name="a"),
        tf.constant(MATRIX[:, 0]),
        {"a": MATRIX[:, 0]},
    ],
    ids=["array", "Series", "named Series", "tensor", "dict"],
)
def test_x_of_shape_n_is_one_feature(x):
    np.testing.assert_allclose(fitted(x).kernel, fitted(MATRIX[:, :1]).kernel, rtol=1e-5)
    assert fitted(x).predict(x, verbose=0).shape == (N, 1)


def test_a_dataset_of_scalars_is_one_feature():
    model = compiled()
    model.fit(dataset(MATRIX[:, 0]), epochs=3, verbose=0)
    np.testing.assert_allclose(model.kernel, fitted(MATRIX[:, :1]).kernel, rtol=1e-5)


@pytest.mark.parametrize(
    "dtype",
    quick_and_heavy(["Int64", "int8", "uint16", "boolean", "bool", "Float32", "category"], "boolean", "category"),
)
def test_frames_of_every_numeric_dtype_train(dtype):
    flags = RNG.integers(0, 2, N)
    frame = FRAME.assign(b=pd.Series(flags).astype(dtype))
    plain = FRAME.assign(b=flags.astype("float32"))
    np.testing.assert_allclose(fitted(frame).kernel, fitted(plain).kernel, rtol=1e-5)


@pytest.mark.parametrize("order", [["c", "a", "b"]])
@pytest.mark.parametrize("kind", ["frame", "dict", "dataset"])
def test_columns_are_matched_by_name(order, kind):
    model = fitted(FRAME)
    x = {
        "frame": FRAME[order],
        "dict": {name: FRAME[name] for name in order},
        "dataset": tf.data.Dataset.from_tensor_slices({name: FRAME[name] for name in order}).batch(7),
    }[kind]
    np.testing.assert_allclose(model.predict(x, verbose=0), model.predict(FRAME, verbose=0), rtol=1e-6)


def test_feature_names_come_from_the_frame():
    assert fitted(FRAME).feature_names == NAMES


def test_feature_names_come_from_a_dict_in_a_dataset():
    model = compiled()
    model.fit(dataset(columns()), verbose=0)
    assert model.feature_names == NAMES


def test_feature_names_of_a_matrix_are_numbered():
    assert fitted().feature_names == ["x0", "x1", "x2"]


def test_given_feature_names_order_a_frames_columns():
    model = fitted(FRAME, feature_names=["c", "a", "b"])
    assert model.feature_names == ["c", "a", "b"]
    np.testing.assert_allclose(model.kernel.numpy()[[1, 2, 0]], fitted(FRAME).kernel, rtol=1e-5)


def test_given_feature_names_match_a_frame_to_a_model_of_a_matrix():
    model = fitted(MATRIX, feature_names=NAMES)
    np.testing.assert_allclose(
        model.predict(FRAME[["b", "a", "c"]], verbose=0), model.predict(MATRIX, verbose=0), rtol=1e-6
    )


def test_a_matrix_is_taken_by_position_by_a_model_of_a_frame():
    model = fitted(FRAME)
    np.testing.assert_allclose(model.predict(MATRIX, verbose=0), model.predict(FRAME, verbose=0), rtol=1e-6)


def test_a_hashed_design_of_100_000_columns_trains_in_the_memory_of_its_non_zeros():
    n, width = 2_000, 100_000
    rows = np.repeat(np.arange(n), 3)
    cols = RNG.integers(0, width, 3 * n)
    design = scipy.sparse.csr_matrix((np.ones(3 * n, "float32"), (rows, cols)), shape=(n, width))
    truth = RNG.normal(size=width)
    model = klr.LinearRegression(use_bias=False)
    model.compile(optimizer=keras.optimizers.SGD(20.0, momentum=0.5))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    history = model.fit(design, design @ truth, batch_size=500, epochs=10, verbose=0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert history.history["loss"][-1] < 0.7 * history.history["loss"][0]
    assert grown < 400  # MB; the dense design would take 800


# Bad input


def raising(x=MATRIX, y=TARGET, match="", model=None, error=ValueError, **fit):
    model = model or compiled()
    before = model.get_weights()
    with pytest.raises(error, match=match):
        model.fit(x, y, verbose=0, **fit)
    after = model.get_weights()
    assert len(before) == len(after)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


BAD_X = {
    "empty": (np.empty((0, 3)), "at least one row"),
    "strings": (np.array([["a", "b", "c"]] * N), r"`x` must be numeric.*'a'"),
    "objects": (np.array([[object()] * 3] * N), "`x` must be numeric"),
    "a string column": (FRAME.assign(b="red"), r"Column 'b' of `x` must be numeric.*'red'"),
    "a date column": (FRAME.assign(b=pd.Timestamp("2020-01-01")), r"Column 'b' of `x` must be numeric"),
    "a category": (
        FRAME.assign(b=pd.Categorical(["u", "v"] * (N // 2))),
        "Column 'b' of `x` must be numeric",
    ),
    "complex": (MATRIX.astype("complex64"), "`x` must be real"),
    "duplicate names": (pd.concat([FRAME, FRAME[["a"]]], axis=1), r"distinct names.*\['a'\]"),
    "names of one text": (FRAME.set_axis([1, "1", "c"], axis=1), r"distinct names.*\['1'\]"),
    "ragged dict": ({"a": MATRIX[:, 0], "b": MATRIX[:5, 1]}, "same number of rows.*'a': 40, 'b': 5"),
    "wide dict": ({"a": MATRIX}, r"Column 'a' of `x` must be of shape \(n,\)"),
    "scalar": (3.0, "one row for each observation"),
    "none": (None, "`x` is missing"),
}


@pytest.mark.parametrize("kind", BAD_X)
def test_bad_x_is_an_error_that_changes_nothing(kind):
    x, match = BAD_X[kind]
    model = compiled()
    raising(x, TARGET, match, model)
    assert not model.built


BAD_Y = {
    "missing": (None, "`y` is missing"),
    "shorter": (TARGET[:-1], r"same number of rows.*'x': 40, 'y': 39"),
    "two columns": (np.stack([TARGET, TARGET], 1), r"units=1.*shape \(40, 2\); give the model units=2"),
    "strings": (np.array(["a"] * N), "`y` must be numeric"),
    "rank 3": (TARGET.reshape(N, 1, 1), "`y` must be of shape"),
    "dict": ({"y": TARGET}, "`y` must be one array"),
}


@pytest.mark.parametrize("kind", BAD_Y)
def test_bad_y_is_an_error_that_changes_nothing(kind):
    y, match = BAD_Y[kind]
    raising(MATRIX, y, match)
    raising(MATRIX, y, match, fitted())


def with_one(value, at=3):
    weights = np.ones(N)
    weights[at] = value
    return weights


BAD_WEIGHTS = {
    "negative": (with_one(-0.5), r"`sample_weight` must be finite and not negative. Received: -0.5 in row 3"),
    "nan": (with_one(np.nan), r"1 of 40 rows have no value in 'sample_weight' \(1\)"),
    "infinite": (with_one(np.inf), "`sample_weight` must be finite.*inf in row 3"),
    "all zero": (np.zeros(N), "must not be zero for every row"),
    "too few": (np.ones(N - 1), r"same number of rows.*'sample_weight': 39"),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights_are_an_error_that_changes_nothing(kind):
    weights, match = BAD_WEIGHTS[kind]
    raising(MATRIX, TARGET, match, sample_weight=weights)
    raising(MATRIX, TARGET, match, fitted(), sample_weight=weights)


def test_bad_weights_in_a_dataset_are_an_error_that_changes_nothing():
    stream = tf.data.Dataset.from_tensor_slices((MATRIX, TARGET, with_one(-1, at=35))).batch(10)
    raising(stream, None, "`sample_weight` must be finite and not negative", fitted())


def test_bad_weights_in_a_pydataset_name_the_batch():
    raising(
        Batches(MATRIX, TARGET, with_one(-1, at=35)),
        None,
        "Batch 3: `sample_weight`",
        fitted(),
        shuffle=False,
    )


def test_a_bad_batch_of_a_generator_is_named():
    def batches():
        yield MATRIX[:10], TARGET[:10]
        yield MATRIX[10:20], TARGET[10:20]
        yield MATRIX[20:30, :2], TARGET[20:30]

    raising(batches(), None, "Batch 2: `x` must have the 3 columns", fitted())


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras says so of every generator
@pytest.mark.parametrize("kind", [klr.ExactLinearRegression, klr.LinearRegression])
def test_a_generator_may_begin_with_a_batch_without_rows_but_not_hold_no_row(kind):
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [1, 0, 1]})

    def batches(*sizes):
        for size in sizes:
            yield frame.iloc[:size], np.arange(size) * 2.0

    model, expected = kind(), kind()
    model.fit(batches(0, 3, 0), verbose=0)
    expected.fit(batches(3), verbose=0)
    np.testing.assert_allclose(model.kernel, expected.kernel, rtol=1e-6)
    with pytest.raises(ValueError, match="must yield at least one row"):
        kind().fit(batches(0, 0), verbose=0)


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (lambda: tf.data.Dataset.from_tensor_slices((MATRIX[:0], TARGET[:0])).batch(5), "at least one batch"),
        (lambda: (pair for pair in ()), "at least one batch"),
        (lambda: tf.data.Dataset.from_tensor_slices(MATRIX).batch(5), "needs targets"),
        (lambda: Batches(np.empty((0, 3)), TARGET[:0]), "at least one row"),
        (lambda: tf.data.Dataset.from_tensor_slices((MATRIX, MATRIX)).batch(5), "units=3"),
    ],
    ids=["empty dataset", "empty generator", "no targets", "empty batch", "units"],
)
def test_a_bad_stream_is_an_error_that_changes_nothing(stream, match):
    raising(stream(), None, match)
    raising(stream(), None, match, fitted())


def test_targets_beside_a_stream_are_an_error():
    raising(dataset(MATRIX), TARGET, "must be part of `x`")


@pytest.mark.parametrize("method", ["predict", "evaluate", "fit"])
@pytest.mark.parametrize(
    ("x", "match"),
    [
        (FRAME[["a", "b"]], r"missing: \['c'\]"),
        (FRAME.assign(d=1.0), r"not among the model's columns: \['d'\]"),
        (FRAME.rename(columns={"a": "A"}), r"missing: \['a'\]; not among the model's columns: \['A'\]"),
        (MATRIX[:, :2], r"the 3 columns .*\['a', 'b', 'c'\]. Received: shape \(40, 2\)"),
    ],
    ids=["missing", "extra", "renamed", "narrow matrix"],
)
def test_other_columns_than_those_trained_on_are_named(method, x, match):
    model = fitted(FRAME)
    before = model.get_weights()
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(x, verbose=0, **({} if method == "predict" else {"y": TARGET}))
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize("method", ["predict", "predict_on_batch", "evaluate", "__call__"])
def test_a_matrix_of_another_width_is_an_error(method):
    model = fitted()
    arguments = {"y": TARGET, "verbose": 0} if method == "evaluate" else {}
    with pytest.raises(ValueError, match=r"must have the 3 columns"):
        getattr(model, method)(MATRIX[:, :2], **arguments)


@pytest.mark.parametrize(
    ("names", "match"),
    [(["a", "a"], "distinct"), ([], "non-empty"), ([1, 2], "strings"), (["a", ""], "non-empty")],
)
def test_feature_names_must_be_distinct_strings(names, match):
    with pytest.raises(ValueError, match=match):
        klr.LinearRegression(feature_names=names)


def test_feature_names_must_be_one_a_column():
    raising(MATRIX, TARGET, "must name each of the 3 columns", compiled(feature_names=["a", "b"]))


@pytest.mark.parametrize(
    ("x", "name"),
    [
        (np.array([[1, 2**24 + 1]] * N), "x1"),
        (FRAME.assign(b=2**25 + np.arange(N)), "b"),
        ({"a": MATRIX[:, 0], "id": np.full(N, -(2**30))}, "id"),
    ],
    ids=["matrix", "frame", "dict"],
)
def test_integers_that_float32_rounds_bring_a_warning_that_names_the_column(x, name):
    with pytest.warns(UserWarning, match=rf"Column '{name}' of `x` holds integers beyond 2\*\*24"):
        compiled().predict(x, verbose=0)


def test_integers_that_float32_holds_bring_no_warning():
    compiled().predict(np.array([[1, 2**24]] * N), verbose=0)


def test_validation_data_of_one_array_is_an_error():
    raising(validation_data=(MATRIX,), match="`validation_data` must be")


def test_validation_data_may_be_a_frame_in_another_order():
    model = compiled()
    history = model.fit(
        FRAME, TARGET, validation_data=(FRAME[["c", "b", "a"]], TARGET), batch_size=N, epochs=2, verbose=0
    )
    assert history.history["val_loss"][0] == pytest.approx(history.history["loss"][1], rel=1e-5)


# What stock Keras takes, this takes


def test_a_frame_names_the_columns_of_a_model_that_was_built_without():
    model = compiled()
    model.build((None, 3))
    model.fit(FRAME, TARGET, epochs=3, verbose=0)
    assert model.feature_names == NAMES
    np.testing.assert_allclose(
        model.predict(FRAME[["c", "a", "b"]], verbose=0), model.predict(FRAME, verbose=0), rtol=1e-6
    )
    with pytest.raises(ValueError, match="must have the 3 columns that the model was built on. Received: 2"):
        compiled_at(3).fit(FRAME[["a", "b"]], TARGET, verbose=0)


def compiled_at(width):
    model = compiled()
    model.build((None, width))
    return model


def test_arguments_by_position_are_those_of_keras():
    model = klr.LinearRegression()
    model.compile(keras.optimizers.SGD(0.1), "mse", None, ["mae"])
    model.fit(MATRIX, TARGET, 10, 2, 0)
    assert set(model.evaluate(MATRIX, TARGET, 10, 0, None, None, None, True)) == {"loss", "mae"}
    assert model.predict(MATRIX, 10, 0, 1).shape == (10, 1)
    assert set(model.train_on_batch(MATRIX, TARGET, None, None, True)) == {"loss", "mae"}
    assert set(model.test_on_batch(MATRIX, TARGET, None, True)) == {"loss", "mae"}


def test_arguments_are_named_as_in_keras():
    for name in ("compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"):
        ours = list(inspect.signature(getattr(klr.LinearRegression, name)).parameters)
        own = ["target"] if name == "fit" else []  # which Keras does not have, at the end
        assert ours == [*inspect.signature(getattr(keras.Model, name)).parameters, *own], name


@pytest.mark.parametrize("wrapped", [lambda x: (x,), lambda x: x], ids=["(x,)", "x"])
def test_predict_takes_a_generator(wrapped):
    model = fitted()
    found = model.predict((wrapped(MATRIX[10 * i : 10 * i + 10]) for i in range(4)), steps=4, verbose=0)
    np.testing.assert_allclose(found, model.predict(MATRIX, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "bool", "float64"])
def test_weights_in_a_dataset_may_be_of_any_dtype(dtype):
    weights = (np.arange(N) % 2).astype(dtype)
    model = compiled()
    model.fit(tf.data.Dataset.from_tensor_slices((MATRIX, TARGET, weights)).batch(10), epochs=3, verbose=0)
    other = compiled()
    other.fit(MATRIX, TARGET, sample_weight=weights.astype(float), batch_size=10, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.kernel, other.kernel, rtol=1e-5)


def test_a_batch_or_validation_data_may_weigh_nothing():
    weights = np.repeat([1.0, 0.0, 1.0, 1.0], 10)
    model = compiled()
    model.fit(Batches(MATRIX, TARGET, weights), shuffle=False, verbose=0)
    assert model.evaluate(MATRIX, TARGET, sample_weight=np.zeros(N), verbose=0) == 0.0
    model.fit(MATRIX, TARGET, validation_data=(MATRIX, TARGET, np.zeros(N)), verbose=0)


@pytest.mark.parametrize("x", [np.zeros((N, 0)), pd.DataFrame(index=range(N)), {}], ids=["matrix", "frame", "dict"])
def test_no_columns_are_an_error(x):
    raising(x, TARGET, "at least one column")


@pytest.mark.parametrize("x", [[MATRIX], (MATRIX,)], ids=["list", "tuple"])
def test_a_list_of_one_array_is_that_array(x):
    model = compiled()
    model.fit(x, [TARGET], batch_size=10, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.kernel, fitted().kernel, rtol=1e-6)
    assert model.predict(x, verbose=0).shape == (N, 1)


def test_shuffling_within_batches_is_not_shuffling_all():
    losses = []
    for model in (compiled(), keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])):
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        model.build((None, 3))
        keras.utils.set_random_seed(1)
        losses.append(model.fit(MATRIX, TARGET, batch_size=8, epochs=2, shuffle="batch", verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_masked_steps_do_not_count_behind_a_mask():
    x = np.ones((4, 5, 3), "float32")
    x[:, 2:] = 0.0
    y = np.where(x[..., :1] == 0, 100.0, 1.0)
    results = []
    for last in (klr.LinearRegression(), keras.layers.Dense(1, kernel_initializer="zeros")):
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.Masking(), last])
        model.compile(loss="mse")
        results.append(model.evaluate(x, y, verbose=0))
    assert results[0] == pytest.approx(results[1]) == pytest.approx(1.0)


def test_xla_and_sparse_is_an_error():
    model = klr.LinearRegression()
    model.compile(jit_compile=True)
    with pytest.raises(ValueError, match="`jit_compile` must be False for a sparse `x`"):
        model.fit(sparse_tensor(), TARGET, verbose=0)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_a_bad_batch_is_named_when_it_is_only_read(method):
    model = fitted(FRAME)

    class Narrow(Batches):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return (x[["a", "b"]] if i == 2 else x), y

    with pytest.raises(ValueError, match=r"Batch 2: `x` must have exactly the columns.*missing: \['c'\]"):
        getattr(model, method)(Narrow(FRAME, TARGET), verbose=0)


def test_a_subclass_with_a_layer_of_its_own_trains_and_is_saved(tmp_path):
    @keras.saving.register_keras_serializable(package="test_data")
    class Hidden(klr.LinearRegression):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.hidden = keras.layers.Dense(5)

        def build(self, input_shape):
            self.hidden.build(input_shape)
            super().build((None, 5))

        def call(self, inputs):
            return super().call(self.hidden(inputs))

    model = Hidden(kernel_initializer="ones")
    model.compile(optimizer=keras.optimizers.SGD(0.01))
    losses = model.fit(MATRIX, TARGET, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_a_frame_of_a_matrix_models_own_names_is_matched_by_them(order):
    model = fitted()
    frame = pd.DataFrame(MATRIX, columns=["x0", "x1", "x2"]).iloc[:, order]
    np.testing.assert_allclose(model.predict(frame, verbose=0), model.predict(MATRIX, verbose=0), rtol=1e-6)


ODD = {
    "masked x": (np.ma.masked_array(MATRIX, MATRIX > 1), TARGET, "`x` must have no masked values"),
    "masked y": (MATRIX, np.ma.masked_array(TARGET, TARGET > 1), "`y` must have no masked values"),
    "ragged": (tf.ragged.constant([[1.0, 2.0], [3.0]]), TARGET[:2], "`x` must have rows of one length"),
    "uneven list": ([[1.0, 2.0], [3.0]], TARGET[:2], "`x` must have rows of one length"),
    "scalar y": (MATRIX, 3.0, "`y` must hold a target for each row"),
    "nan": (
        np.where(MATRIX > 1.5, np.nan, MATRIX),
        TARGET,
        r"9 of 40 rows have no value in 'x0' \(3\), 'x1' \(2\) or 'x2' \(4\): drop them",
    ),
    "infinite y": (MATRIX, np.where(TARGET > 1, np.inf, TARGET), "`y` must be finite. Received: inf in row"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_data_are_an_error_that_leaves_the_model_unbuilt(kind):
    x, y, match = ODD[kind]
    model = compiled()
    raising(x, y, match, model)
    assert not model.built
    model.fit(FRAME, TARGET, verbose=0)
    assert model.feature_names == NAMES


def test_weights_of_another_shape_are_an_error():
    raising(match=r"`sample_weight` must be of shape \(n,\)", sample_weight=np.ones((N, 2)))


@pytest.mark.parametrize(
    ("element", "match"),
    [
        (({"a": MATRIX}, TARGET), r"Column 'a' of `x` must be of shape \(batch,\)"),
        ((np.array([["u"]] * N), TARGET), "`x` must be numeric"),
        (({"a": np.array(["u"] * N)}, TARGET), "Column 'a' of `x` must be numeric"),
        ((MATRIX, np.array(["u"] * N)), "`y` must be numeric"),
    ],
    ids=["wide column", "strings", "string column", "string targets"],
)
def test_a_dataset_of_the_wrong_kind_is_refused_before_it_is_read(element, match):
    raising(tf.data.Dataset.from_tensor_slices(element).batch(8), None, match)


def test_a_dataset_of_other_columns_is_refused_by_name():
    model = fitted(FRAME)
    raising(dataset({"a": FRAME["a"], "z": FRAME["b"]}), None, r"missing: \['b', 'c'\]", model)
