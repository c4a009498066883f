"""Files that do not fit in memory: fitted, evaluated and predicted by path, as their rows in memory are."""

import time

import duckdb
import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest

import keras_linreg as klr
from keras_linreg.data.arrow import check_schema
from keras_linreg.data.arrow_source import _check_file

ROWS = 600
RNG = np.random.default_rng(1)
TABLE = pa.table(
    {
        "area": RNG.gamma(2.0, 1.0, ROWS).astype("float32"),
        "rooms": RNG.integers(1, 9, ROWS),
        "id": pa.array([f"house {i}" for i in range(ROWS)]),
        "weight": RNG.uniform(0.5, 2.0, ROWS),
    }
)
PRICE = 3 + 2 * TABLE["area"].to_numpy() - 0.5 * TABLE["rooms"].to_numpy() + 0.1 * RNG.normal(size=ROWS)
TABLE = TABLE.append_column("price", pa.array(PRICE))
FRAME = TABLE.to_pandas()
FEATURES = ["area", "rooms"]


def write_parquet(table, path):
    pa.parquet.write_table(table, path, row_group_size=50)


WRITERS = {"parquet": write_parquet, "csv": pa.csv.write_csv, "feather": pa.feather.write_feather}


def write(folder, kind="parquet", table=TABLE):
    folder.mkdir(exist_ok=True)
    for number, start in enumerate(range(0, table.num_rows, 250)):
        WRITERS[kind](table.slice(start, 250), folder / f"part {number}.{kind}")
    return folder


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sales"))


@pytest.fixture(scope="module")
def expected():
    model = klr.ExactLinearRegression()
    model.fit(FRAME[FEATURES], FRAME["price"], sample_weight=FRAME["weight"], verbose=0)
    return model


def fitted(source, **options):
    model = klr.ExactLinearRegression(feature_names=FEATURES)
    model.fit(source, target="price", sample_weight="weight", verbose=0, **options)
    return model


def same(model, expected, rtol=1e-11):
    np.testing.assert_allclose(model.kernel, expected.kernel, rtol=rtol)
    np.testing.assert_allclose(model.bias, expected.bias, rtol=rtol)
    assert model.moments.rows == expected.moments.rows


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_of_every_format_is_fitted_as_its_rows_in_memory(kind, tmp_path, expected):
    rtol = 1e-6 if kind == "csv" else 1e-11  # a CSV holds float32 to the digits that tell it from its neighbours
    same(fitted(write(tmp_path / "data", kind)), expected, rtol)


def test_a_glob_a_file_a_dataset_and_a_reader_are_fitted_too(parquet, tmp_path, expected):
    write_parquet(TABLE, tmp_path / "all.parquet")
    sources = (f"{parquet}/*.parquet", str(tmp_path / "all.parquet"), pa.dataset.dataset(parquet), TABLE.to_reader(100))
    for source in sources:
        same(fitted(source), expected)
    same(fitted(parquet, batch_size=7), expected)


@pytest.mark.parametrize("pattern", ["", "*/*/*.parquet", "**/*.parquet"])
def test_names_of_folders_are_columns(pattern, tmp_path):
    table = TABLE.append_column("city", pa.array(np.where(np.arange(ROWS) % 3, "Rome", "Paris")))
    folders = pa.dataset.partitioning(pa.schema([("city", pa.string()), ("rooms", pa.int64())]), flavor="hive")
    pa.dataset.write_dataset(table, tmp_path / "sales", format="parquet", partitioning=folders)
    source = str(tmp_path / "sales" / pattern)
    models = [
        klr.ExactLinearRegression(preprocessor=klr.Formula("price ~ area * city + I(rooms ** 2)")) for _ in range(2)
    ]
    models[0].fit(source, verbose=0)
    models[1].fit(table, verbose=0)
    pd.testing.assert_series_equal(models[0].report().params, models[1].report().params, rtol=1e-10)
    assert models[0].predict_to(source, tmp_path / "out.parquet", columns=["city"]) == ROWS
    cities = pa.parquet.read_table(tmp_path / "out.parquet")["city"].to_pylist()
    assert sorted(cities) == sorted(table["city"].to_pylist())


@pytest.mark.parametrize("pattern", ["", "**/*.parquet"])
def test_files_in_folders_that_other_programs_hide_are_no_rows(pattern, tmp_path, expected):
    folder = write(tmp_path / "sales")
    for name in (".ipynb_checkpoints", "_temporary", "_temporary/0"):
        write(folder / name)
    (folder / "_delta_log").mkdir()
    write_parquet(pa.table({"version": [1]}), folder / "_delta_log" / "0.checkpoint.parquet")
    same(fitted(f"{folder}/{pattern}"), expected)
    same(fitted(f"{folder}/_temporary/*.parquet"), expected)
    same(fitted(f"{folder}/_temp*/*.parquet"), expected)


def test_row_labels_of_pandas_are_no_columns_of_the_model(tmp_path):
    frame = FRAME[FRAME["rooms"] > 2][["area", "rooms", "price"]]
    named = frame.set_index(pd.MultiIndex.from_arrays([np.arange(len(frame)), frame["rooms"] * 2.0], names=["no", "z"]))
    wanted = klr.ExactLinearRegression()
    wanted.fit(frame, target="price", verbose=0)
    for number, part in enumerate((frame, named, frame.set_index(frame.index.astype(str)))):
        path = tmp_path / f"{number}.parquet"
        part.to_parquet(path)
        model = klr.ExactLinearRegression()
        model.fit(path, target="price", verbose=0)
        same(model, wanted)
        formula = klr.ExactLinearRegression(preprocessor=klr.Formula("price ~ ."))
        formula.fit(path, verbose=0)
        np.testing.assert_allclose(formula.kernel, wanted.kernel, rtol=1e-11)
        in_memory = klr.ExactLinearRegression()
        in_memory.fit(pa.parquet.read_table(path), target="price", verbose=0)
        same(in_memory, wanted)
        batches = pa.parquet.ParquetFile(path).iter_batches()
        assert klr.Moments.from_arrow(batches, "price").feature_names == ("area", "rooms")
    asked = klr.Moments.from_arrow(pa.Table.from_pandas(named), "price", features=["z"], weight="no")
    assert asked.feature_names == ("z",)
    asked = klr.ExactLinearRegression(preprocessor=klr.Formula("price ~ z"))
    asked.fit(pa.Table.from_pandas(named), verbose=0)
    np.testing.assert_allclose(asked.kernel, np.polyfit(named.index.get_level_values("z"), named["price"], 1)[:1, None])


def test_a_file_without_rows_or_without_a_value_in_a_column_is_read_as_the_others(tmp_path, expected):
    folder = write(tmp_path / "csv", "csv")
    pa.csv.write_csv(TABLE.slice(0, 0), folder / "an empty one comes first.csv")
    same(fitted(folder), expected, rtol=1e-6)
    folder = write(tmp_path / "parquet")
    write_parquet(TABLE.slice(0, 7).set_column(0, "area", pa.nulls(7)), folder / "a day without areas.parquet")
    with pytest.raises(ValueError, match=r"no value in 'area' \(7\)"):
        fitted(folder)
    model = klr.ExactLinearRegression(feature_names=FEATURES, missing="drop")
    model.fit(folder, target="price", sample_weight="weight", verbose=0)
    np.testing.assert_allclose(model.kernel, expected.kernel, rtol=1e-11)
    assert model.solution.missing.columns == {"area": 7}


def test_the_bar_knows_the_number_of_batches_of_files_that_tell_it(parquet, capsys):
    model = klr.ExactLinearRegression(feature_names=FEATURES)
    model.fit(parquet, target="price", batch_size=100, verbose=2)
    assert "6/6" in capsys.readouterr().out


def test_reports_scores_and_second_passes_read_the_files_again(parquet, expected):
    model = fitted(parquet)
    data = (parquet, "price", "weight")
    own = (FRAME[FEATURES], FRAME["price"], FRAME["weight"])
    np.testing.assert_allclose(
        actual=model.report(cov_type="HC3", data=data).bse,
        desired=expected.report(cov_type="HC3", data=own).bse,
        rtol=1e-10,
    )
    assert model.score(*data) == pytest.approx(expected.score(*own), rel=1e-12)
    assert model.score(parquet, target="price", sample_weight="weight") == model.score(*data)
    assert model.evaluate(f"{parquet}/*", target="price", verbose=0, batch_size=90) == pytest.approx(
        expected.evaluate(*own[:2], verbose=0), rel=1e-6
    )
    loss = model.evaluate(parquet, "price", sample_weight="weight", verbose=0)
    assert loss == pytest.approx(expected.evaluate(*own[:2], sample_weight=own[2], verbose=0), rel=1e-6)
    assert model.diagnose(data).durbin_watson == pytest.approx(expected.diagnose(own).durbin_watson, rel=1e-10)


def test_gradient_descent_sees_every_row_once_an_epoch_in_a_random_order(parquet):
    seen = []

    class See(keras.losses.Loss):
        def call(self, y_true, y_pred):
            seen.append(np.ravel(y_true))
            return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)

    keras.utils.set_random_seed(0)
    model = klr.LinearRegression(feature_names=FEATURES)
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss=See(), run_eagerly=True)
    model.fit(parquet, target="price", epochs=2, batch_size=64, verbose=0)
    epochs = np.split(np.concatenate(seen)[: 2 * ROWS], 2)
    for epoch in epochs:
        np.testing.assert_allclose(np.sort(epoch), np.sort(FRAME["price"]), rtol=1e-6)
    assert not np.array_equal(*epochs)
    assert len(seen[0]) == 64


def test_gradient_descent_on_files_comes_to_the_exact_fit(parquet):
    keras.utils.set_random_seed(0)
    exact = klr.ExactLinearRegression(feature_names=FEATURES)
    exact.fit(parquet, target="price", verbose=0)
    model = klr.LinearRegression(feature_names=FEATURES)
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    model.fit(parquet, target="price", epochs=40, batch_size=100, verbose=0)
    np.testing.assert_allclose(model.kernel, exact.kernel, atol=0.05)


def test_strings_pass_a_preprocessor(tmp_path, penguins, penguin_space):
    frame, target = penguins
    write(tmp_path / "penguins", table=pa.Table.from_pandas(frame.assign(mass=target), preserve_index=False))
    model, own = (klr.ExactLinearRegression(preprocessor=penguin_space) for _ in range(2))
    with pytest.warns(UserWarning, match="depend"):
        model.fit(tmp_path / "penguins", target="mass", verbose=0)
    with pytest.warns(UserWarning, match="depend"):
        own.fit(frame, target, verbose=0)
    np.testing.assert_allclose(model.kernel, own.kernel, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_rows_without_a_value_are_counted_or_refused_with_their_batch(kind, tmp_path):
    rooms = TABLE["rooms"].to_pylist()
    rooms[3] = rooms[400] = None
    folder = write(tmp_path / "gaps", kind, TABLE.set_column(1, "rooms", pa.array(rooms, pa.int64())))
    model = klr.ExactLinearRegression(feature_names=FEATURES, missing="drop")
    model.fit(folder, target="price", verbose=0)
    assert model.solution.missing.missing == 2 and model.moments.rows == ROWS - 2
    with pytest.raises(ValueError, match=r"Batch 0: .*'rooms'"):
        klr.ExactLinearRegression(feature_names=FEATURES).fit(folder, target="price", verbose=0)


# Predictions


def test_predictions_of_files_are_an_iterator_of_record_batches_with_the_number_of_each_row(parquet, expected):
    model = fitted(parquet)
    batches = list(model.predict(parquet, batch_size=100))
    assert [batch.num_rows for batch in batches] == [100] * 6
    assert batches[0].schema.names == ["row", "prediction"]
    whole = pa.Table.from_batches(batches)
    np.testing.assert_array_equal(whole["row"], np.arange(ROWS))
    np.testing.assert_allclose(whole["prediction"], expected.predict(FRAME[FEATURES], verbose=0)[:, 0], rtol=1e-11)


def test_predictions_go_from_file_to_file_with_intervals_beside_the_columns_asked_for(parquet, tmp_path, expected):
    model = fitted(parquet)
    rows = model.predict_to(f"{parquet}/*", tmp_path / "out.parquet", interval=True, level=0.9, columns=["id", "price"])
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert rows == len(written) == ROWS
    intervals = expected.predict_interval(FRAME[FEATURES], level=0.9)
    assert list(written) == ["row", "id", "price", *intervals.columns]
    assert written["id"].tolist() == FRAME["id"].tolist()
    np.testing.assert_allclose(written[intervals.columns], intervals, rtol=1e-9)


def test_several_outputs_and_models_by_descent_write_their_predictions(parquet, tmp_path):
    model = klr.ExactLinearRegression(units=2, feature_names=FEATURES)
    model.fit(parquet, target=["price", "weight"], verbose=0)
    model.predict_to(parquet, tmp_path / "two.parquet")
    two = pl.read_parquet(tmp_path / "two.parquet")
    assert two.columns == ["row", "price", "weight"]
    model.predict_to(parquet, tmp_path / "intervals.parquet", interval=True)
    intervals, wanted = pl.read_parquet(tmp_path / "intervals.parquet"), model.predict_interval(FRAME[FEATURES])
    assert intervals.columns[1:5] == ["mean_price", "mean_weight", "mean_se_price", "mean_se_weight"]
    np.testing.assert_allclose(intervals.to_numpy()[:, 1:], wanted.to_numpy(), rtol=1e-9)
    tape = klr.LinearRegression(feature_names=FEATURES)
    tape.fit(FRAME[FEATURES], FRAME["price"], verbose=0)
    tape.predict_to(parquet, tmp_path / "tape.parquet", columns="id")
    count = duckdb.sql(f"select count(*) from '{tmp_path}/tape.parquet'").fetchall()
    assert count == [(ROWS,)]


def test_a_prediction_that_fails_leaves_the_old_file(parquet, tmp_path):
    model = fitted(parquet)
    (tmp_path / "old.parquet").write_bytes(b"old")
    broken = write(tmp_path / "broken")
    last = sorted(broken.iterdir())[-1]
    write_parquet(TABLE.slice(500).set_column(0, "area", pa.array(["x"] * 100)), last)
    with pytest.raises(ValueError, match=r"Column 'area' must be of one type in all files, float. Received: string"):
        model.predict_to(broken, tmp_path / "old.parquet")
    assert (tmp_path / "old.parquet").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if "old" in path.name] == ["old.parquet"]


# When something is wrong


def test_a_file_that_lacks_a_column_or_has_it_in_another_type_is_refused_before_any_row_is_read(tmp_path):
    lacking, other = write(tmp_path / "lacking"), write(tmp_path / "other")
    write_parquet(TABLE.drop_columns(["rooms"]), lacking / "part 9.parquet")
    write_parquet(TABLE.set_column(1, "rooms", TABLE["price"]), other / "part 9.parquet")
    for folder, words in (
        (lacking, "have the column 'rooms' once.*part 9"),
        (other, "'rooms' must be of one type.*int64"),
    ):
        model = klr.ExactLinearRegression(feature_names=FEATURES)
        with pytest.raises(ValueError, match=words):
            model.fit(folder, target="price", verbose=0)
        assert not model.built


def test_a_csv_column_that_changes_its_type_halfway_is_refused_by_file_and_column(tmp_path):
    pa.csv.write_csv(TABLE, tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text().splitlines()
    many = [text[0], *text[1:] * 200]  # beyond the block that tells the types
    many[-1] = many[-1].replace(many[-1].split(",")[1], "many", 1)
    (tmp_path / "a.csv").write_text("\n".join(many) + "\n")
    with pytest.raises(ValueError, match=r"a.csv.*(rooms|CSV column #1)"):
        klr.ExactLinearRegression(feature_names=FEATURES).fit(tmp_path / "a.csv", target="price", verbose=0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"x": "nowhere/*.parquet"}, FileNotFoundError, "`x` must be a file, a folder or a glob.*nowhere"),
        ({"target": "cost"}, ValueError, "`target` must be a column of `.*sales.*'cost', which is none"),
        ({"target": None}, ValueError, "`target` must name a column of"),
        ({"y": "price"}, ValueError, "`y` must be left out where `target` is given"),
        ({"target": None, "y": np.ones(ROWS)}, ValueError, "`y` must be the name of a column.*ndarray"),
        ({"target": 3}, ValueError, "`target` must be the name of a column.*3"),
        ({"sample_weight": np.ones(3)}, ValueError, "`sample_weight` must be the name of a column.*ndarray"),
        ({"sample_weight": "mass"}, ValueError, "`weight` must be a column .*'mass', which is none"),
        ({"validation_split": 0.2}, ValueError, "validation_split"),
    ],
)
def test_arguments_that_do_not_go_with_files_are_refused(arguments, error, words, parquet):
    for model in (klr.ExactLinearRegression(feature_names=FEATURES), klr.LinearRegression(feature_names=FEATURES)):
        with pytest.raises(error, match=words):
            model.fit(**{"x": parquet, "target": "price", "verbose": 0, **arguments})
        assert not model.built


@pytest.mark.parametrize("x", [["a.parquet", "b.parquet"], np.ones((3, 2)), pa.dataset.dataset(TABLE).scanner()])
def test_a_name_of_a_column_is_refused_beside_data_that_have_none(x):
    with pytest.raises(ValueError, match=r"`y` must be values, or the name of a column where .*y='price' beside x"):
        klr.ExactLinearRegression().fit(x, "price", verbose=0)


def test_a_csv_file_of_another_encoding_is_refused_by_its_name(tmp_path):
    (tmp_path / "old.csv").write_text("größe,price\n1,2\n2,3\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"files that pyarrow can read.*old.csv.*utf-8"):
        klr.ExactLinearRegression().fit(tmp_path / "old.csv", target="price", verbose=0)


def test_files_of_thousands_of_columns_are_compared_in_time_that_grows_as_their_columns():
    names = [f"column {i}" for i in range(20_000)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    start = time.process_time()
    _check_file("a.parquet", schema, schema, names)
    check_schema(pa.RecordBatch.from_pylist([], schema=schema), schema, names, 0)
    assert time.process_time() - start < 10  # it was two minutes


def test_files_of_several_formats_and_of_none_are_refused(tmp_path):
    folder = write(tmp_path / "mixed")
    pa.csv.write_csv(TABLE, folder / "more.csv")
    with pytest.raises(ValueError, match=r"files of one format.*\['.csv', '.parquet'\]"):
        fitted(folder)
    (tmp_path / "notes.txt").write_text("no table")
    with pytest.raises(ValueError, match=r"files of one format.*\['.txt'\]"):
        fitted(tmp_path / "notes.txt")
    (tmp_path / "no.parquet").write_text("no table")
    with pytest.raises(ValueError, match="files that pyarrow can read.*no.parquet"):
        fitted(tmp_path / "no.parquet")


def test_what_predict_to_cannot_do_is_refused_by_name(parquet, tmp_path):
    model, tape = fitted(parquet), klr.LinearRegression()
    lacking = write(tmp_path / "lacking", table=TABLE.drop_columns(["rooms"]))
    for call, words in (
        (lambda: model.predict_to(FRAME, tmp_path / "a"), "`source` must be a path.*DataFrame"),
        (lambda: model.predict_to(parquet, sorted(parquet.iterdir())[0]), "`destination` must be another file"),
        (lambda: model.predict_to(parquet, tmp_path / "a.csv"), "`destination` must be a Parquet file, no .csv"),
        (lambda: model.predict_to(parquet, tmp_path / "a", columns=["nope"]), "`columns` must be columns of.*nope"),
        (lambda: model.predict_to(parquet, tmp_path / "a", columns=["id", "id"]), "`columns` must be distinct.*'id'"),
        (lambda: model.predict_to(parquet, tmp_path / "a", columns=None), "`columns` must be names.*None"),
        (lambda: model.predict_to(parquet, tmp_path / "a", level=2), "level"),
        (lambda: model.predict(lacking), "must have the columns of the model.*lacking.*rooms"),
        (lambda: tape.predict_to(parquet, tmp_path / "a", interval=True), "`interval` must be False"),
        (lambda: tape.predict_to(parquet, tmp_path / "a"), "must be fitted"),
        (lambda: klr.ExactLinearRegression().predict_to(parquet, tmp_path / "a"), "fitted"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(FileNotFoundError, match="`source` must be a file"):
        model.predict_to(tmp_path / "nowhere", tmp_path / "a")
    assert not (tmp_path / "a").exists()
