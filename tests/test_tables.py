"""Tables of every library are matched by name wherever data go in, and rows by label; nothing goes by position."""

import contextlib

import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import TABLES, arrays

import keras_linreg as klr
from keras_linreg.export import manifest, saved_model, warmup_requests

N = 40
RNG = np.random.default_rng(5)
FRAME = pd.DataFrame({"area": RNG.normal(100, 20, N), "rooms": RNG.integers(1, 7, N), "age": RNG.normal(30, 9, N)})
PRICE = FRAME.to_numpy() @ [3.0, 10.0, -0.5] + RNG.normal(size=N)
LABELLED = FRAME.set_axis([0, 1, 2], axis=1)  # columns labelled by numbers


@pytest.fixture(scope="module")
def model():
    model = klr.ExactLinearRegression()
    model.fit(FRAME, PRICE, verbose=0)
    return model


@pytest.fixture(scope="module")
def model_of_labels():
    model = klr.ExactLinearRegression()
    model.fit(LABELLED, PRICE, verbose=0)
    return model


@pytest.fixture(scope="module")
def tape():
    model = klr.LinearRegression()
    model.compile(optimizer=keras.optimizers.SGD(1e-6), run_eagerly=True)
    model.fit(FRAME, PRICE, verbose=0, shuffle=False)
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "model"
    model.export(folder, verbose=False)
    return folder


@pytest.fixture
def table(kind):
    """The table of a kind, its columns in another order than the model's."""
    frame = (LABELLED if "labels" in kind else FRAME).iloc[:, ::-1]
    return TABLES[kind](frame)


@pytest.fixture
def expected(kind, model, model_of_labels):
    return model_of_labels if "labels" in kind else model


@pytest.mark.parametrize("kind", TABLES)
class TestEveryTableIsMatchedByName:
    def test_in_fit_of_the_exact_model(self, kind, table, expected):
        model = klr.ExactLinearRegression(feature_names=expected.feature_names)
        model.fit(table, PRICE, verbose=0)
        np.testing.assert_allclose(actual=model.kernel, desired=expected.kernel, rtol=1e-9)

    def test_in_fit_and_validation_of_the_tape_model(self, kind, table, tape):
        if "labels" in kind:
            table = FRAME[["age", "rooms", "area"]]
        model = klr.LinearRegression(feature_names=tape.feature_names)
        model.compile(optimizer=keras.optimizers.SGD(1e-6), run_eagerly=True)
        logs = model.fit(table, PRICE, validation_data=(table, PRICE), verbose=0, shuffle=False).history
        np.testing.assert_allclose(actual=model.kernel, desired=tape.kernel, rtol=1e-5)
        assert logs["val_loss"][0] == pytest.approx(tape.evaluate(FRAME, PRICE, verbose=0), rel=1e-5)

    def test_in_predict_evaluate_and_score(self, kind, table, expected):
        predictions = FRAME.to_numpy() @ expected.kernel.numpy() + expected.bias.numpy()
        np.testing.assert_allclose(actual=expected.predict(table, verbose=0), desired=predictions, rtol=1e-12)
        loss = np.mean((PRICE - predictions[:, 0]) ** 2)
        assert expected.evaluate(table, PRICE, verbose=0) == pytest.approx(loss, rel=1e-9)
        assert expected.score(table, PRICE) == pytest.approx(1 - loss / PRICE.var(), rel=1e-12)

    def test_in_intervals(self, kind, table, expected, model):
        interval = expected.predict_interval(table)
        np.testing.assert_allclose(actual=interval, desired=model.predict_interval(FRAME), rtol=1e-9)

    def test_in_the_second_pass(self, kind, table, expected, model):
        robust = expected.report(cov_type="HC3", data=(table, PRICE))
        np.testing.assert_allclose(
            actual=robust.bse, desired=model.report(cov_type="HC3", data=(FRAME, PRICE)).bse, rtol=1e-9
        )
        assert expected.diagnose((table, PRICE)).rows.tolist() == model.diagnose((FRAME, PRICE)).rows.tolist()

    def test_in_moments(self, kind, table, expected):
        moments = klr.Moments.from_data(table, PRICE)
        assert set(moments.feature_names) == set(expected.feature_names)
        kernel = moments.select(expected.feature_names).solve().kernel
        np.testing.assert_allclose(actual=kernel, desired=expected.kernel, rtol=1e-9)

    def test_in_the_callback_that_plots(self, kind, table, expected):
        watch = klr.callbacks.FitPlot(table, PRICE, path=None)
        model = klr.ExactLinearRegression(feature_names=expected.feature_names)
        model.fit(table, PRICE, verbose=0, callbacks=[watch])
        drawn = np.sort(watch.figure().axes[0].collections[0].get_offsets()[:, 1])
        np.testing.assert_allclose(actual=drawn, desired=np.sort(model.predict(table, verbose=0)[:, 0]), rtol=1e-6)


def test_every_table_gives_the_same_warm_up_requests(folder, monkeypatch):
    def requests(kind):
        rows = TABLES[kind](FRAME.iloc[:, ::-1])
        warmup_requests.write_requests(folder, manifest.read(folder), rows, "house")
        return (folder / warmup_requests.FILE).read_bytes()

    expected = requests("pandas")
    # The same requests need not run again.
    monkeypatch.setattr(saved_model, "open_session", lambda path: contextlib.nullcontext(lambda key, inputs: {}))
    for kind in TABLES:
        (folder / warmup_requests.FILE).unlink()
        assert requests(kind) == expected, kind


@pytest.mark.parametrize("kind", ["polars", "pyarrow"])
def test_columns_of_floats_are_read_where_they_are(kind):
    columns = {name: np.arange(4.0) for name in "ab"}
    table = pl.DataFrame(columns) if kind == "polars" else pa.table(columns)
    from keras_linreg.data import Reader

    rows = Reader(None, "float64").prepare(table, np.arange(4.0))
    for name, column in zip("ab", rows.x.columns, strict=True):
        source = table[name].to_numpy()
        assert np.shares_memory(column, source)


def test_labels_of_numbers_are_names(model_of_labels):
    swapped = LABELLED[[1, 0, 2]]
    np.testing.assert_allclose(
        actual=model_of_labels.predict(swapped, verbose=0),
        desired=model_of_labels.predict(LABELLED, verbose=0),
        rtol=1e-12,
    )
    assert model_of_labels.report().params.index.tolist() == ["Intercept", "0", "1", "2"]


@pytest.mark.parametrize(
    "labels", [pd.MultiIndex.from_product([["u"], ["a", "b", "c"]]), [1.5, None, "c"], pd.date_range("2020", periods=3)]
)
def test_labels_of_any_type_are_names_by_their_text(labels):
    frame = FRAME.set_axis(labels, axis=1)
    moments = klr.Moments.from_data(frame, PRICE)
    assert moments.feature_names == tuple(str(label) for label in frame.columns)


def test_a_model_of_a_nameless_matrix_refuses_names_that_it_does_not_know():
    model = klr.ExactLinearRegression()
    model.fit(FRAME.to_numpy(), PRICE, verbose=0)
    with pytest.raises(ValueError, match=r"matrix without names.*`.to_numpy\(\)`.*Received columns \['area'"):
        model.predict(FRAME, verbose=0)
    known = FRAME.set_axis(["x0", "x1", "x2"], axis=1)[["x2", "x0", "x1"]]
    np.testing.assert_array_equal(model.predict(known, verbose=0), model.predict(FRAME.to_numpy(), verbose=0))


def test_several_outputs_are_matched_by_name(model):
    y = pd.DataFrame({"price": PRICE, "rent": PRICE[::-1]})
    model = klr.ExactLinearRegression(units=2)
    model.fit(FRAME, y, verbose=0)
    assert model.score(FRAME, y[["rent", "price"]]) == pytest.approx(model.score(FRAME, y), rel=1e-12)
    model.report(cov_type="HC1", data=(FRAME, y[["rent", "price"]]))
    with pytest.raises(
        ValueError, match=r"`y` must have the outputs \['price', 'rent'\]. Received: \['price', 'tax'\]"
    ):
        model.evaluate(FRAME, y.rename(columns={"rent": "tax"}), verbose=0)


def test_a_model_of_moments_knows_the_names_of_its_outputs():
    y = pd.DataFrame({"price": PRICE, "rent": PRICE[::-1]})
    model = klr.ExactLinearRegression.from_moments(klr.Moments.from_data(FRAME, y))
    assert model.score(FRAME, y[["rent", "price"]]) == pytest.approx(model.score(FRAME, y), rel=1e-12)
    with pytest.raises(ValueError, match=r"`y` must have the outputs \['price', 'rent'\]"):
        model.score(FRAME, y.rename(columns={"rent": "tax"}))


def test_a_lazy_frame_is_refused_with_what_to_do(model):
    with pytest.raises(ValueError, match=r"`x` must be a table in memory: call `.collect\(\)`.*LazyFrame of polars"):
        model.predict(pl.DataFrame(arrays(FRAME)).lazy(), verbose=0)


def test_a_sparse_matrix_that_is_a_dict_is_a_matrix():
    dense = np.round(RNG.normal(size=(N, 2)))
    sparse = scipy.sparse.dok_array(dense)
    desired = klr.Moments.from_data(dense, PRICE).solve().kernel
    np.testing.assert_allclose(actual=klr.Moments.from_data(sparse, PRICE).solve().kernel, desired=desired, rtol=1e-9)


# Columns of the one table


def test_y_weights_and_groups_may_be_named():
    whole = FRAME.assign(price=PRICE, weight=np.linspace(1, 2, N), town=np.resize(["a", "b", "c"], N))
    model, expected = klr.ExactLinearRegression(), klr.ExactLinearRegression()
    model.fit(whole.drop(columns="town"), "price", sample_weight="weight", verbose=0)
    expected.fit(FRAME, PRICE, sample_weight=whole["weight"].to_numpy(), verbose=0)
    np.testing.assert_array_equal(model.kernel, expected.kernel)
    assert model.report().output_names == ("price",)
    by_name = model.report(cov_type="cluster", data=(whole, "price", "weight"), groups="town")
    by_array = model.report(
        cov_type="cluster", data=(FRAME, PRICE, whole["weight"].to_numpy()), groups=whole["town"].to_numpy()
    )
    pd.testing.assert_series_equal(by_name.bse, by_array.bse)
    with pytest.raises(ValueError, match=r"`sample_weight` must be a column of `x`, \[.*\]. Received: 'wieght'"):
        model.fit(whole, "price", sample_weight="wieght", verbose=0)


# Rows by label


LABELLED_ROWS = FRAME.set_axis([f"house {i}" for i in range(N)])
SHUFFLED = LABELLED_ROWS.sample(frac=1, random_state=0)
Y = pd.Series(PRICE, index=LABELLED_ROWS.index)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: klr.ExactLinearRegression().fit(SHUFFLED, Y, verbose=0),
        lambda model: klr.LinearRegression().fit(SHUFFLED, Y, verbose=0),
        lambda model: klr.ExactLinearRegression().fit(
            LABELLED_ROWS, PRICE, sample_weight=pd.Series(1.0, index=SHUFFLED.index), verbose=0
        ),
        lambda model: klr.ExactLinearRegression().fit(
            FRAME.to_numpy(), PRICE, validation_data=(SHUFFLED.set_axis(list("abc"), axis=1), Y), verbose=0
        ),
        lambda model: klr.Moments.from_data(SHUFFLED, Y),
        lambda model: model.evaluate(SHUFFLED, Y, verbose=0),
        lambda model: model.score(SHUFFLED, Y),
        lambda model: model.diagnose((SHUFFLED, Y)),
        lambda model: model.report(cov_type="cluster", data=(LABELLED_ROWS, PRICE), groups=Y.loc[SHUFFLED.index]),
        lambda model: klr.callbacks.FitPlot(SHUFFLED, Y, path=None),
        lambda model: klr.Moments.from_data({"a": LABELLED_ROWS["area"], "b": SHUFFLED["age"]}, PRICE),
    ],
)
def test_rows_of_other_labels_are_refused_by_the_first_that_differs(model, call):
    first = SHUFFLED.index[0]
    with pytest.raises(ValueError, match=rf"same row labels.*`.to_numpy\(\)`.*{first!r} in .*, in row 0") as error:
        call(model)
    assert "'house 0'" in str(error.value)


def test_equal_labels_in_any_order_and_missing_labels_are_fine(model):
    kernel = klr.Moments.from_data(SHUFFLED, Y.loc[SHUFFLED.index]).solve().kernel
    np.testing.assert_allclose(actual=kernel, desired=model.kernel, rtol=1e-9)
    klr.Moments.from_data(SHUFFLED, Y.loc[SHUFFLED.index].to_numpy())
    klr.Moments.from_data(SHUFFLED.to_numpy(), Y)


# Bad cells


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", 2.0], r"Column 'c' of `x` holds both numbers and text.*Received: '1' in row 'u'"),
        ([1.5, "n/a"], r"Column 'c' of `x` holds both numbers and text.*pandas.to_numeric.*Received: 'n/a' in row 'v'"),
        (
            [1, 10**400],
            r"Column 'c' of `x` must hold numbers that float64 holds. Received: an integer of .* in row 'v'",
        ),
        (pd.to_datetime(["2020", "2021"]), r"Column 'c' of `x`.*holds dates or times: subtract.*datetime64"),
        ([pd.Timestamp("2020"), None], r"Column 'c' of `x`.*dates or times.*Timestamp.* in row 'u'"),
        ([1j, 2.0], r"Column 'c' of `x` must be real"),
        ([[1, 2], [3, 4]], r"Column 'c' of `x` must be numeric.*\[1, 2\] of type list in row 'u'"),
        ([1.7e18, 2**60 + 1], r"Column 'c' of `x` must hold integers that float64 holds exactly.*in row 'v'"),
    ],
    ids=["text first", "n/a", "huge", "dates", "dates and None", "complex", "lists", "rounded"],
)
def test_a_bad_cell_is_named_by_column_and_row(cells, message):
    table = pd.DataFrame({"c": pd.Series(list(cells), index=["u", "v"], dtype=getattr(cells, "dtype", object))})
    with pytest.raises(ValueError, match=message):
        klr.Moments.from_data(table, np.arange(2.0))


def test_integers_beyond_float64_are_exact_or_refused_by_column():
    stamps = 1_700_000_000_000_000_000 + 1_000_000_001 * np.arange(N)
    for x in ({"t": stamps}, pd.DataFrame({"t": stamps}).convert_dtypes(), pl.DataFrame({"t": stamps})):
        with pytest.raises(ValueError, match="Column 't' of `x` must hold integers that float64 holds exactly"):
            klr.Moments.from_data(x, PRICE)
    for bad in (stamps, stamps.astype("uint64")):
        with pytest.raises(ValueError, match=r"Column 'x0' of `x` must hold integers.*1700000001000000001 in row 1"):
            klr.Moments.from_data(bad.reshape(-1, 1), PRICE)
        with pytest.raises(ValueError, match="`y` must hold integers that float64 holds exactly"):
            klr.Moments.from_data(np.arange(float(N)), bad)
        stream = tf.data.Dataset.from_tensor_slices((bad.reshape(-1, 1), PRICE)).batch(9)
        with pytest.raises(ValueError, match="must hold integers that float64 holds exactly"):
            klr.Moments.from_data(stream)
    exact = klr.Moments.from_data({"t": 2**60 + 1024 * np.arange(N)}, np.arange(float(N))).solve()
    assert exact.kernel[0, 0] == pytest.approx(1 / 1024, rel=1e-12)


# Whatever the labels, the order and the types: NumPy's answer by name, or an error

LABELS = st.one_of(st.text(min_size=1, max_size=4), st.integers(-3, 3), st.floats(-1, 1), st.booleans())
COLUMNS = {
    "float": lambda values: values,
    "float32": lambda values: np.asarray(values, "float32"),
    "integer": lambda values: np.round(values * 10).astype("int64"),
    "boolean": lambda values: values > 0,
    "nullable": lambda values: pd.array(np.round(values * 10), dtype="Int64"),
    "object": lambda values: pd.Series(values.tolist(), dtype=object).array,
    "text": lambda values: np.where(values > 0, "yes", "no").astype(object),
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_table_gives_numpys_answer_by_name_or_an_error(data):
    labels = data.draw(st.lists(LABELS, min_size=1, max_size=4))
    kinds = data.draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=len(labels), max_size=len(labels)))
    seed = data.draw(st.integers(0, 99))
    gaps = data.draw(st.booleans())
    shuffled = data.draw(st.booleans())
    random = np.random.default_rng(seed)
    columns = [COLUMNS[kind](random.normal(size=25)) for kind in kinds]
    table = pd.concat([pd.Series(column) for column in columns], axis=1).set_axis(labels, axis=1)
    if gaps and kinds[0] not in ("integer", "boolean"):
        table.iloc[3, 0] = None
    y = pd.Series(random.normal(size=25))
    other = table.iloc[:, random.permutation(len(labels))]
    if shuffled:
        other, labelled_y = other.sample(frac=1, random_state=seed), y
    else:
        labelled_y = y
    is_bad = len({str(label) for label in labels}) < len(labels) or "text" in kinds
    has_gap = table.isna().to_numpy().any()
    try:
        moments = klr.Moments.from_data(other, labelled_y)
    except ValueError as error:
        assert is_bad or has_gap or not other.index.equals(y.index), error
        return
    assert not is_bad and not has_gap and other.index.equals(y.index)
    matrix = np.column_stack([np.asarray(table.iloc[:, i], "float64") for i in range(len(labels))])
    expected = klr.Moments.from_data(matrix, y.to_numpy(), feature_names=[str(label) for label in table.columns])
    chosen = moments.select(expected.feature_names)
    np.testing.assert_allclose(actual=chosen.means, desired=expected.means, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(actual=chosen.covariance, desired=expected.covariance, rtol=1e-5, atol=1e-6)
