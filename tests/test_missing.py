"""Rows without a value are counted and refused, or dropped and counted; predictions for them are NaN."""

import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import cut

import keras_linreg as klr

N = 60
RNG = np.random.default_rng(8)
FRAME = pd.DataFrame({"area": RNG.normal(100, 20, N), "rooms": RNG.integers(1, 7, N).astype(float)})
PRICE = FRAME.to_numpy() @ [3.0, 10.0] + RNG.normal(size=N)
GAPS = FRAME.mask(RNG.random(FRAME.shape) < 0.1)
GAPS.loc[:1, "area"] = np.nan
KEPT = GAPS.notna().all(axis=1).to_numpy()
COUNTS = GAPS.isna().sum()
TEXT = (
    rf"{(~KEPT).sum()} of {N} rows have no value in 'area' \({COUNTS['area']}\) or 'rooms' \({COUNTS['rooms']}\): "
    r"drop them \(missing='drop'\) or fill them in. The first is row 0"
)
EXPECTED = klr.Moments.from_data(FRAME[KEPT], PRICE[KEPT])
NULLS = {name: GAPS[name].astype(object).where(GAPS[name].notna(), None).tolist() for name in GAPS}

KINDS = {
    "NaN in a frame": lambda: GAPS,
    "None among objects": lambda: pd.DataFrame(NULLS, dtype=object),
    "NA of pandas": lambda: GAPS.convert_dtypes(),
    "nulls of polars": lambda: pl.DataFrame(NULLS),
    "nulls of Arrow": lambda: pa.table(NULLS),
    "None in lists": lambda: NULLS,
    "NaN in tensors": lambda: {name: tf.constant(GAPS[name]) for name in GAPS},
}


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_of_every_kind_are_counted_by_column_and_refused(kind):
    with pytest.raises(ValueError, match=TEXT):
        klr.Moments.from_data(KINDS[kind](), PRICE)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_value_are_dropped_and_counted(kind):
    moments = klr.Moments.from_data(KINDS[kind](), PRICE, missing="drop")
    np.testing.assert_allclose(actual=moments.covariance, desired=EXPECTED.covariance, rtol=1e-12)
    assert (moments.rows, moments.missing.rows, moments.missing.missing) == (KEPT.sum(), N, (~KEPT).sum())
    assert moments.missing.columns == COUNTS.to_dict()


STREAMS = {
    "dataset": lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(7),
    "dataset of columns": lambda x, y: tf.data.Dataset.from_tensor_slices(({"a": x[:, 0], "b": x[:, 1]}, y)).batch(7),
    "generator": lambda x, y: iter(cut(x, y)),
}


@pytest.mark.parametrize(
    ("kind", "entry"),
    quick_and_heavy(
        [(kind, entry) for kind in STREAMS for entry in ("moments", "exact", "tape")],
        *((kind, entry) for kind in STREAMS for entry in ("moments", "exact")),
        ("generator", "tape"),
    ),
)
def test_streams_drop_them_alike(kind, entry):
    stream = STREAMS[kind](GAPS.to_numpy(), PRICE)
    if entry == "tape":
        models = []
        for batches in (stream, iter(cut(GAPS.to_numpy()[KEPT], PRICE[KEPT], size=1))):
            model = klr.LinearRegression(missing="drop")
            model.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
            models.append(model.fit(batches, verbose=0).history["loss"][0])
        assert models[0] == pytest.approx(models[1], rel=1e-5)
        return
    if entry == "exact":
        model = klr.ExactLinearRegression(missing="drop")
        model.fit(stream, verbose=0)
        moments = model.moments
        assert model.solution.missing == moments.missing
    else:
        moments = klr.Moments.from_data(stream, missing="drop")
    np.testing.assert_allclose(actual=moments.covariance, desired=EXPECTED.covariance, rtol=1e-12)
    assert (moments.missing.rows, moments.missing.missing) == (N, (~KEPT).sum())
    assert list(moments.missing.columns.values()) == COUNTS.tolist()


@pytest.fixture(scope="module")
def dropping():
    model = klr.ExactLinearRegression(missing="drop")
    model.fit(GAPS, PRICE, verbose=0)
    return model


def test_the_report_says_how_many_rows_are_left_out_and_of_which_columns(dropping):
    report = dropping.report()
    counts = f"{(~KEPT).sum()} of {N} rows have no value in 'area' ({COUNTS['area']}) or 'rooms' ({COUNTS['rooms']})"
    assert f"{counts}: they are left out." in report.notes
    assert counts.split()[0] in str(report) and report.nobs == KEPT.sum()
    assert str(dropping.solution.missing) == counts


def test_the_second_pass_drops_the_same_rows(dropping):
    robust = dropping.report(cov_type="cluster", data=(GAPS, PRICE), groups=np.arange(N) % 7)
    model = klr.ExactLinearRegression()
    model.fit(FRAME[KEPT], PRICE[KEPT], verbose=0)
    expected = model.report(cov_type="cluster", data=(FRAME[KEPT], PRICE[KEPT]), groups=(np.arange(N) % 7)[KEPT])
    np.testing.assert_allclose(actual=robust.bse, desired=expected.bse, rtol=1e-9)
    influence = dropping.diagnose((GAPS, PRICE)).influence()
    assert influence.index.tolist() == np.flatnonzero(KEPT).tolist()


def test_y_and_weights_may_be_missing_too():
    y, weights = PRICE.copy(), np.ones(N)
    y[3], weights[[3, 4]] = np.nan, np.nan
    with pytest.raises(ValueError, match=r"2 of 60 rows have no value in 'y' \(1\) or 'sample_weight' \(2\)"):
        klr.Moments.from_data(FRAME, y, weights)
    moments = klr.Moments.from_data(FRAME, y, weights, missing="drop")
    expected = klr.Moments.from_data(FRAME.drop([3, 4]), np.delete(PRICE, [3, 4]))
    np.testing.assert_allclose(actual=moments.covariance, desired=expected.covariance, rtol=1e-12)


def test_a_row_of_weight_zero_needs_no_values():
    weights = KEPT.astype(float)
    assert klr.Moments.from_data(GAPS, PRICE, weights).nobs == KEPT.sum()


def test_infinity_is_no_missing_value():
    for missing in ("error", "drop"):
        with pytest.raises(ValueError, match="Column 'area' of `x` must be finite. Received: inf in row 5"):
            klr.Moments.from_data(
                FRAME.assign(area=FRAME["area"].where(FRAME.index != 5, np.inf)), PRICE, missing=missing
            )


def test_sparse_rows_are_dropped_too():
    x = FRAME.to_numpy() * (RNG.random(FRAME.shape) < 0.5)
    x[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 60 rows have no value in 'x1' \(1\).*The first is row 4"):
        klr.Moments.from_data(scipy.sparse.csr_array(x), PRICE)
    moments = klr.Moments.from_data(scipy.sparse.csr_array(x), PRICE, missing="drop")
    expected = klr.Moments.from_data(np.delete(x, 4, 0), np.delete(PRICE, 4))
    np.testing.assert_allclose(actual=moments.covariance, desired=expected.covariance, rtol=1e-12)


@pytest.mark.parametrize(
    "column", [[None] * N, pd.array([None] * N, dtype="Int64"), pd.array([pd.NA] * N, dtype="string")]
)
def test_a_column_without_any_value_is_counted_whatever_its_type(column):
    table = FRAME.assign(empty=column)
    for x in (table, pa.Table.from_pandas(table)):
        with pytest.raises(ValueError, match=r"60 of 60 rows have no value in 'empty' \(60\)"):
            klr.Moments.from_data(x, PRICE)


def test_a_table_of_gaps_alone_leaves_nothing_to_fit():
    model = klr.ExactLinearRegression(missing="drop")
    with pytest.raises(ValueError, match="must have a row with all its values"):
        model.fit(GAPS * np.nan, PRICE, verbose=0)
    assert not model.built


def test_merged_and_saved_moments_add_up_the_counts(tmp_path):
    whole = klr.Moments.from_data(GAPS, PRICE, missing="drop")
    parts = klr.Moments.from_data(GAPS[:30], PRICE[:30], missing="drop") + klr.Moments.from_data(
        GAPS[30:], PRICE[30:], missing="drop"
    )
    assert parts.missing == whole.missing
    whole.save(tmp_path / "m.moments")
    assert klr.Moments.load(tmp_path / "m.moments").missing == whole.missing
    assert (whole + klr.Moments.from_data(FRAME, PRICE)).missing.rows == 2 * N


def test_the_tape_model_drops_them_and_refuses_them():
    models = []
    for x, y in ((GAPS, PRICE), (FRAME[KEPT], PRICE[KEPT])):
        model = klr.LinearRegression(missing="drop")
        model.compile(optimizer=keras.optimizers.SGD(1e-5), run_eagerly=True)
        model.fit(x, y, verbose=0, shuffle=False)
        models.append(model)
    np.testing.assert_allclose(actual=models[0].kernel, desired=models[1].kernel, rtol=1e-6)
    refusing = klr.LinearRegression()
    with pytest.raises(ValueError, match=TEXT):
        refusing.fit(GAPS, PRICE, verbose=0)
    assert not refusing.built
    loss = models[0].evaluate(GAPS, PRICE, verbose=0)
    assert loss == pytest.approx(models[0].evaluate(FRAME[KEPT], PRICE[KEPT], verbose=0), rel=1e-5)
    assert models[0].score(GAPS, PRICE) == pytest.approx(models[0].score(FRAME[KEPT], PRICE[KEPT]), rel=1e-6)


def test_the_rule_is_kept_in_the_file(dropping, tmp_path):
    dropping.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.missing == "drop" and loaded.solution.missing == dropping.solution.missing
    with pytest.raises(ValueError, match=r"`missing` must be one of \['error', 'drop'\]. Received: missing='omit'"):
        klr.ExactLinearRegression(missing="omit")


# Predictions


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_for_a_row_without_a_value_are_nan(dropping, kind):
    predicted = dropping.predict(KINDS[kind](), verbose=0)
    np.testing.assert_array_equal(np.isfinite(predicted[:, 0]), KEPT)
    interval = dropping.predict_interval(KINDS[kind]())
    np.testing.assert_array_equal(np.isfinite(interval).all(axis=1), KEPT)
    np.testing.assert_array_equal(np.isnan(interval).all(axis=1), ~KEPT)


CITIES = pd.DataFrame(
    {"city": np.resize(["Rome", "Oslo", "Bern"], N), "code": np.resize([3, 1, 7], N), "area": FRAME["area"]}
)


@pytest.fixture(scope="module")
def of_cities():
    """A model of categories by text and by number, behind a FeatureSpace."""
    space = keras.utils.FeatureSpace({"city": "string_categorical", "code": "integer_categorical", "area": "float"})
    space.adapt(tf.data.Dataset.from_tensor_slices(dict(CITIES.astype({"city": object}))))
    model = klr.ExactLinearRegression(preprocessor=space, missing="drop", dependent="min_norm")
    gaps = CITIES.astype({"code": "Int64"})
    gaps.loc[[2, 9], "city"], gaps.loc[9, "code"], gaps.loc[30, "area"] = None, pd.NA, np.nan
    with pytest.warns(UserWarning, match="depend on"):
        model.fit(gaps, PRICE, verbose=0)
    return model, gaps


@pytest.mark.parametrize(
    ("cells", "received"),
    [
        ([True, False], "holds booleans.*Received: .*True.* in row 'a'"),
        ([1.0, 2.5], "holds floats.*Received: .*1.0.* in row 'a'"),
        (["Rome", True], "both numbers and text.*Received: True in row 'b'"),
    ],
    ids=["booleans", "floats", "one boolean"],
)
def test_what_is_no_text_where_text_is_wanted_is_named(of_cities, cells, received):
    table = pd.DataFrame({"city": cells, "code": [3, 1], "area": [100.0, 90.0]}, index=["a", "b"])
    with pytest.raises(ValueError, match=f"Column 'city' of `x`.*{received}"):
        of_cities[0].predict(table, verbose=0)


def test_categories_may_be_missing(of_cities):
    model, gaps = of_cities
    assert model.solution.missing.columns == {"city": 2, "code": 1, "area": 1}
    predicted = model.predict(gaps, verbose=0)[:, 0]
    assert np.flatnonzero(np.isnan(predicted)).tolist() == [2, 9, 30]
    assert np.isnan(model.predict(gaps.fillna({"city": ""}), verbose=0)[2, 0])


@pytest.mark.parametrize("entry", ["fit", "moments"])
def test_a_dataset_behind_a_preprocessor_is_counted_by_its_own_columns(of_cities, entry):
    space = of_cities[0].preprocessor
    columns = {name: CITIES[name].to_numpy().copy() for name in CITIES}
    columns["city"] = columns["city"].astype(object)
    columns["city"][[2, 9]], columns["area"][[9, 30]] = "", np.nan
    dataset = tf.data.Dataset.from_tensor_slices((columns, PRICE)).batch(8)
    if entry == "fit":
        model = klr.ExactLinearRegression(preprocessor=space, missing="drop", dependent="min_norm")
        with pytest.warns(UserWarning, match="depend on"):
            model.fit(dataset, verbose=0)
        moments = model.moments
    else:
        moments = klr.Moments.from_data(dataset, missing="drop", preprocessor=space)
    assert moments.missing.columns == {"city": 2, "area": 2}
    assert (moments.missing.rows, moments.missing.missing, moments.rows) == (N, 3, N - 3)
    expected = klr.Moments.from_data(columns, PRICE, missing="drop", preprocessor=space)
    np.testing.assert_allclose(actual=moments.means, desired=expected.means, rtol=1e-9, atol=1e-12)


def test_the_served_graph_answers_nan_for_nan_and_for_the_empty_string(of_cities, tmp_path):
    model, _ = of_cities
    model.export(tmp_path / "model", verbose=False)
    served = tf.saved_model.load(tmp_path / "model").signatures["serving_default"]
    columns = {
        "city": tf.constant(["Rome", "", "Oslo"]),
        "code": tf.constant([3, 3, 1], tf.int64),
        "area": tf.constant([100.0, 100.0, np.nan]),
    }
    answer = served(**columns)["predictions"].numpy()[:, 0]
    assert np.isfinite(answer).tolist() == [True, False, False]


def test_an_empty_text_is_a_text():
    layer = keras.layers.TextVectorization(output_mode="multi_hot")
    layer.adapt(["good", "bad"])
    texts = np.array(["good", "bad", "", "good bad", "bad", "good", ""], object)
    model = klr.ExactLinearRegression(preprocessor=layer, dependent="min_norm")
    with pytest.warns(UserWarning, match="depend on"):
        model.fit(texts, np.arange(7.0), verbose=0)
    assert np.isfinite(model.predict(texts, verbose=0)).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(mask=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=12, max_size=12))
def test_dropping_equals_pandas_dropna(mask):
    table = pd.DataFrame(RNG.normal(size=(12, 3)), columns=["a", "b", "y"]).mask(np.array(mask))
    whole = table.dropna()
    if whole.empty:
        with pytest.raises(ValueError, match="must have a row with all its values"):
            klr.Moments.from_data(table[["a", "b"]], table["y"], missing="drop")
        return
    moments = klr.Moments.from_data(table, "y", missing="drop")
    expected = klr.Moments.from_data(whole[["a", "b"]], whole["y"])
    np.testing.assert_allclose(actual=moments.means, desired=expected.means, rtol=1e-12)
    assert moments.rows == len(whole)
    if len(whole) < 12:
        assert moments.missing.columns == {name: n for name, n in table.isna().sum().items() if n}
