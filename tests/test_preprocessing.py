"""A preprocessor runs wherever the model meets raw columns, names the design's columns, and is never trained."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy

import keras_linreg as klr


def compiled(space, **arguments):
    """A model whose steps run eagerly: the preprocessor runs before them, and nothing is compiled for a few steps."""
    model = klr.LinearRegression(preprocessor=space, **arguments)
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


def raw(frame):
    return {name: frame[name].to_numpy() for name in frame}


@pytest.fixture(scope="module")
def by_hand(penguins, penguin_space):
    """A model of the design that the FeatureSpace makes, without one of its own."""
    frame, target = penguins
    design = np.asarray(penguin_space(raw(frame)))
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.fit(design, target, batch_size=30, epochs=3, shuffle=False, verbose=0)
    return model, design


INPUTS = {
    "frame": lambda frame: frame,
    "columns in another order": lambda frame: frame[["species", "bill", "site"]],
    "dict": raw,
    "category and nullable": lambda frame: frame.assign(
        species=frame["species"].astype("category"), site=frame["site"].astype("Int64")
    ),
    "python strings": lambda frame: {**raw(frame), "species": frame["species"].tolist()},
}


@pytest.mark.parametrize("kind", INPUTS)
def test_training_equals_training_on_the_design(penguins, penguin_space, by_hand, kind):
    frame, target = penguins
    expected, _ = by_hand
    model = compiled(penguin_space)
    model.fit(INPUTS[kind](frame), target, batch_size=30, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.kernel, expected.kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        model.predict(INPUTS[kind](frame), verbose=0), model.predict(frame, verbose=0), rtol=1e-6
    )


@pytest.mark.parametrize("fresh", [True, False], ids=["as adapted", "as loaded"])
def test_a_dataset_passes_the_preprocessor_batch_by_batch(penguins, penguin_space, by_hand, tmp_path, fresh):
    frame, target = penguins
    model = compiled(penguin_space)
    if not fresh:
        model.fit(frame[:1], target[:1], epochs=0, verbose=0)
        model.save(tmp_path / "m.keras")
        model = keras.models.load_model(tmp_path / "m.keras")
    dataset = tf.data.Dataset.from_tensor_slices((raw(frame), target.to_numpy())).batch(30)
    model.fit(dataset, epochs=3, verbose=0)
    np.testing.assert_allclose(model.kernel, by_hand[0].kernel, rtol=1e-5, atol=1e-6)
    assert model.evaluate(dataset, verbose=0) == pytest.approx(model.evaluate(frame, target, verbose=0), rel=1e-5)


def test_a_featurespace_names_the_columns_of_the_design(penguins, penguin_space):
    frame, target = penguins
    model = compiled(penguin_space)
    model.fit(frame, target, verbose=0)
    names = model.feature_names
    assert len(names) == model.kernel.shape[0]
    assert names[0] == "bill"
    design = pd.DataFrame(np.asarray(penguin_space(raw(frame))), columns=names)
    for species in ("Adelie", "Chinstrap", "Gentoo"):
        np.testing.assert_array_equal(design[f"species_{species}"], frame["species"] == species)
    for site in (1, 2, 3):
        np.testing.assert_array_equal(design[f"site_{site}"], frame["site"] == site)
    assert not design["species_[UNK]"].any()


def test_crosses_bins_and_hashes_are_named_too():
    frame = pd.DataFrame({"age": np.arange(20.0), "town": ["a", "b"] * 10, "zip": np.arange(20) % 4})
    space = keras.utils.FeatureSpace(
        {
            "age": keras.utils.FeatureSpace.float_discretized(num_bins=3),
            "town": "string_categorical",
            "zip": keras.utils.FeatureSpace.integer_hashed(num_bins=5),
        },
        crosses=[keras.utils.FeatureSpace.cross(("town", "zip"), crossing_dim=4)],
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(raw(frame)))
    model = compiled(space)
    model.fit(frame, np.arange(20.0), epochs=1, verbose=0)
    expected = [
        *(f"age_{i}" for i in range(3)),
        *("town_[UNK]", "town_b", "town_a"),
        *(f"zip_{i}" for i in range(5)),
        *(f"town_X_zip_{i}" for i in range(4)),
    ]
    assert sorted(model.feature_names) == sorted(expected)
    design = pd.DataFrame(np.asarray(space(raw(frame))), columns=model.feature_names)
    np.testing.assert_array_equal(design["town_b"], frame["town"] == "b")
    for name in ("age", "zip", "town_X_zip"):
        one_hot = design[[column for column in design if column.rpartition("_")[0] == name]]
        np.testing.assert_array_equal(one_hot.sum(axis=1), np.ones(20))


def test_given_names_name_the_design(penguins, penguin_space, by_hand):
    frame, target = penguins
    names = [f"d{i}" for i in range(by_hand[1].shape[1])]
    model = compiled(penguin_space, feature_names=names)
    model.fit(frame, target, verbose=0)
    assert model.feature_names == names


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_layer_takes_the_columns_as_one_matrix_and_keeps_their_names(diabetes, as_frame):
    frame, target = diabetes
    frame = 3 * frame + 7
    layer = keras.layers.Normalization()
    layer.adapt(frame.to_numpy())
    x = frame if as_frame else frame.to_numpy()
    model = compiled(layer)
    model.fit(x, target, batch_size=64, epochs=2, shuffle=False, verbose=0)
    plain = klr.LinearRegression()
    plain.compile(optimizer=keras.optimizers.SGD(0.1))
    plain.fit(np.asarray(layer(frame.to_numpy())), target, batch_size=64, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.kernel, plain.kernel, rtol=1e-5)
    assert model.feature_names == (list(frame) if as_frame else [f"x{i}" for i in range(10)])


def test_a_functional_model_of_named_inputs_takes_columns_by_name():
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    interaction = keras.Model([a, b], keras.layers.Concatenate()([a, b, keras.layers.Multiply()([a, b])]))
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    target = frame["a"] + 2 * frame["a"] * frame["b"]
    model = compiled(interaction)
    model.fit(frame[["b", "a"]], target, epochs=60, verbose=0)
    np.testing.assert_allclose(model.kernel[:, 0], [1, 0, 2], atol=0.02)
    assert model.feature_names == ["x0", "x1", "x2"]


def test_a_trainable_preprocessor_is_not_trained(diabetes):
    frame, target = diabetes
    embed = keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)])
    before = [np.array(w) for w in embed.get_weights()]
    model = compiled(embed)
    model.fit(frame, target, epochs=2, verbose=0)
    assert len(model.trainable_weights) == 2
    for found, weight in zip(embed.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, weight)


def test_jit_compile_never_meets_the_strings(penguins, penguin_space, by_hand):
    frame, target = penguins
    model = klr.LinearRegression(preprocessor=penguin_space)
    model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=True)
    model.fit(frame, target, batch_size=30, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.kernel, by_hand[0].kernel, rtol=1e-4, atol=1e-5)


# Not adapted, and other mistakes


def unadapted():
    inputs = keras.Input((2,))
    return {
        "Normalization": keras.layers.Normalization(),
        "Normalization in a model": keras.Model(inputs, keras.layers.Normalization()(inputs)),
        "Discretization": keras.layers.Discretization(num_bins=3),
        "StringLookup": keras.layers.StringLookup(output_mode="one_hot"),
        "IntegerLookup": keras.layers.IntegerLookup(output_mode="multi_hot"),
        "TextVectorization": keras.layers.TextVectorization(output_mode="tf_idf"),
        "FeatureSpace": keras.utils.FeatureSpace({"a": "float_normalized"}),
    }


@pytest.mark.parametrize("kind", unadapted())
def test_a_preprocessor_that_was_not_adapted_is_an_error_that_changes_nothing(kind):
    model = compiled(unadapted()[kind])
    x = {"a": np.arange(4.0)} if kind == "FeatureSpace" else np.ones((4, 2))
    with pytest.raises(ValueError, match=r"`preprocessor` must be adapted .* call `.adapt\(data\)`"):
        model.fit(x, np.arange(4.0), verbose=0)
    assert not model.built


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Normalization(mean=1.0, variance=4.0),
        keras.layers.Discretization(bin_boundaries=[0.0, 1.0], output_mode="one_hot"),
        keras.layers.Rescaling(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_needs_no_adapt_is_ready(layer):
    if isinstance(layer, keras.layers.Normalization):
        layer.build((None, 1))
    model = compiled(layer)
    model.fit(np.linspace(-1, 2, 30), np.linspace(0, 1, 30), verbose=0)
    assert model.built


def test_a_number_of_sparse_rows_that_is_not_finite_is_found_where_it_is():
    x = scipy.sparse.random(30, 3, 0.5, format="csr", random_state=0, dtype="float32").tolil()
    x[4, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 of 30 rows have no value in 'x0' \(1\)"):
        compiled(keras.layers.Rescaling(2.0)).fit(x.tocsr(), np.zeros(30), verbose=0)


def test_what_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="`preprocessor` must be a keras.utils.FeatureSpace"):
        klr.LinearRegression(preprocessor=np.log)


def test_a_featurespace_of_dicts_is_refused(penguins):
    frame, target = penguins
    space = keras.utils.FeatureSpace({"bill": "float_normalized"}, output_mode="dict")
    space.adapt(tf.data.Dataset.from_tensor_slices(raw(frame[["bill"]])))
    with pytest.raises(ValueError, match="output_mode='concat'"):
        compiled(space).fit(frame[["bill"]], target, verbose=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda frame: frame.drop(columns="site"), r"missing: \['site'\]"),
        (lambda frame: frame.assign(id=1), r"not among the model's columns: \['id'\]"),
        (
            lambda frame: frame.assign(species=frame["species"].where(frame.index != 4)),
            r"1 of 90 rows have no value in 'species' \(1\)",
        ),
        (lambda frame: frame["bill"].to_numpy(), "takes the named columns"),
    ],
    ids=["missing", "extra", "missing value", "a matrix"],
)
def test_wrong_columns_for_the_preprocessor_are_named(penguins, penguin_space, change, match):
    frame, target = penguins
    model = compiled(penguin_space)
    with pytest.raises(ValueError, match=match):
        model.fit(change(frame), target, verbose=0)
    assert not model.built


@pytest.mark.parametrize("order", [["age", "k"], ["k", "age"]])
def test_given_names_match_a_frame_to_a_layer_that_was_adapted_on_them(order):
    frame = pd.DataFrame({"age": np.linspace(20, 80, 40), "k": np.sin(np.arange(40.0))})
    layer = keras.layers.Normalization()
    layer.adapt(frame.to_numpy())
    model = compiled(layer, feature_names=["age", "k"])
    model.fit(frame[order], frame["age"], epochs=2, verbose=0)
    assert model.feature_names == ["age", "k"]
    expected = compiled(layer)
    expected.fit(frame, frame["age"], epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(
        model.predict(frame[order], verbose=0), model.predict(frame[["age", "k"]], verbose=0), rtol=1e-6
    )


def test_a_layer_adapted_to_more_columns_is_refused():
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 1, size=(20, 2)))
    with pytest.raises(ValueError, match="`preprocessor` was adapted to 2 columns. Received: `x` of 1"):
        compiled(layer).fit({"a": np.arange(20.0)}, np.arange(20.0), verbose=0)


@pytest.mark.parametrize("codes", [[1.0, np.nan], [1.0, 2.5], pd.array([1, None], dtype="Int64")], ids=str)
def test_codes_that_are_missing_or_no_integers_are_named(codes):
    space = keras.utils.FeatureSpace({"k": "integer_categorical", "a": "float"})
    whole = pd.DataFrame({"k": [1, 2] * 10, "a": np.arange(20.0)})
    space.adapt(tf.data.Dataset.from_tensor_slices(raw(whole)))
    frame = whole.assign(k=pd.concat([pd.Series(codes)] * 10, ignore_index=True))
    rule = r"Column 'k' of `x` must hold integers.*Received: 2.5 in row 1|10 of 20 rows have no value in 'k' \(10\)"
    with pytest.raises(ValueError, match=rule):
        compiled(space).fit(frame, np.arange(20.0), verbose=0)


def test_nan_that_a_preprocessor_would_hide_is_named():
    layer = keras.layers.Discretization(bin_boundaries=[0.0], output_mode="one_hot")
    x = np.linspace(-1, 1, 20)
    x[4] = np.nan
    with pytest.raises(ValueError, match=r"1 of 20 rows have no value in 'x0' \(1\)"):
        compiled(layer).fit(x, np.arange(20.0), verbose=0)


STRINGS = np.array(["u", "v"] * 10)
TEXT = {
    "frame": lambda: pd.DataFrame({"city": STRINGS}),
    "object array": lambda: STRINGS.astype(object),
    "column of strings": lambda: STRINGS.reshape(-1, 1),
    "unnamed Series": lambda: pd.Series(STRINGS),
    "tensor": lambda: tf.constant(STRINGS),
}


@pytest.mark.parametrize("kind", quick_and_heavy(TEXT, "frame"))
def test_a_layer_of_strings_takes_a_column_of_them(kind, tmp_path):
    model = compiled(keras.layers.StringLookup(vocabulary=["u", "v"], output_mode="one_hot"))
    y = np.where(STRINGS == "u", 1.0, 3.0)
    model.fit(TEXT[kind](), y, epochs=60, verbose=0)
    np.testing.assert_allclose(model.predict(TEXT[kind](), verbose=0)[:, 0], y, atol=0.1)
    if kind not in ("frame", "object array"):  # the others make the same graph as the array
        return
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    loaded.export(tmp_path / "m", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "m"))
    name = "city" if kind == "frame" else None
    request = {name: tf.constant(STRINGS)} if name else tf.constant(STRINGS.reshape(-1, 1))
    np.testing.assert_allclose(served.serve(request)[:, 0], y, atol=0.1)


def test_an_exact_fit_warns_of_a_category_that_it_has_not_seen(penguins, penguin_space):
    frame, target = penguins
    model = klr.ExactLinearRegression(preprocessor=penguin_space)
    with pytest.warns(UserWarning, match="depend"):
        model.fit(frame, target, verbose=0)
    new = frame.iloc[:4].assign(species=["Adelie", "Emperor", "Emperor", "Gentoo"], site=[1, 1, 1, 9])
    for data in (new, raw(new)):
        with pytest.warns(UserWarning) as caught:
            assert np.isfinite(model.predict(data, verbose=0)).all()
        species, site = sorted((str(warning.message) for warning in caught), reverse=True)
        assert "2 of 4 rows have a category in 'species'" in species and "row 1, 'Emperor'" in species
        assert "1 of 4 rows have a category in 'site'" in site and "row 3, 9" in site
    with pytest.warns(UserWarning) as caught:
        intervals = model.predict_interval(new.iloc[:2])
    assert any("'Emperor'" in str(warning.message) for warning in caught)
    assert np.isnan(intervals["mean_se"]).tolist() == [False, True]
    model.predict(frame, verbose=0)  # no warning


def test_images_pass_a_backbone_to_an_exact_head_and_to_the_served_graph(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(60, 6, 6, 2)).astype("float32")
    backbone = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.GlobalAveragePooling2D()])
    target = images.mean(axis=(1, 2)) @ [2.0, -1.0] + 3
    model = klr.ExactLinearRegression(preprocessor=backbone)
    model.fit(images, target, verbose=0)
    np.testing.assert_allclose(model.kernel[:, 0], [2, -1], atol=1e-4)
    model.export(tmp_path / "served", verbose=False)
    graph = tf.saved_model.load(tmp_path / "served")
    served = graph.serve(tf.constant(images[:3]))
    np.testing.assert_allclose(np.ravel(served), target[:3], atol=1e-4)
    images[7, 2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 60 rows have no value"):
        klr.ExactLinearRegression(preprocessor=backbone).fit(images, target, verbose=0)


@pytest.mark.parametrize(
    ("column", "value", "known"), [("city", "Oslo", "'Paris', 'Rome'|'Rome', 'Paris'"), ("code", 9, "1, 2, 3|[123, ]+")]
)
def test_a_category_that_a_layer_refuses_is_named_with_its_column_and_row(column, value, known):
    frame = pd.DataFrame({"city": ["Rome", "Paris"] * 6, "code": [1, 2, 3] * 4})
    kinds = keras.utils.FeatureSpace
    space = kinds(
        {
            "city": kinds.string_categorical(num_oov_indices=0),
            "code": kinds.integer_categorical(num_oov_indices=0),
        }
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(dict(frame)))
    with pytest.warns(UserWarning, match="depend on"):  # one-hot columns add up to 1
        model = klr.ExactLinearRegression(preprocessor=space)
        model.fit(frame, np.arange(12.0), verbose=0)
    rows = frame.assign(**{column: [value if i == 4 else old for i, old in enumerate(frame[column])]})
    with pytest.raises(
        ValueError, match=f"Column '{column}' of `x` must hold .*: ({known}). Received: {value!r} in row 4"
    ):
        model.predict(rows, verbose=0)
