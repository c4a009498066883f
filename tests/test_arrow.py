"""Moments of record batches of Arrow, and moments as bytes: a worker's whole work."""

import decimal
import os
import subprocess
import sys

import duckdb
import hypothesis
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

import keras_linreg as klr

ROWS = 400
RNG = np.random.default_rng(0)
TABLE = pa.table(
    {
        "area": RNG.gamma(2.0, 30.0, ROWS).astype("float32"),
        "rooms": RNG.integers(1, 9, ROWS),
        "new": RNG.random(ROWS) < 0.5,
        "weight": RNG.uniform(0.5, 2.0, ROWS),
        "price": RNG.normal(300.0, 50.0, ROWS),
    }
)
FEATURES = ["area", "rooms", "new"]
X = np.column_stack([TABLE[name].to_numpy().astype("float64") for name in FEATURES])
Y, WEIGHT = TABLE["price"].to_numpy(), TABLE["weight"].to_numpy()


def parquet(folder):
    pa.parquet.write_table(TABLE.slice(0, 150), folder / "a.parquet")
    pa.parquet.write_table(TABLE.slice(150), folder / "b.parquet", row_group_size=70)
    return pa.dataset.dataset(folder)


SOURCES = {
    "table": lambda folder: TABLE,
    "reader": lambda folder: TABLE.to_reader(max_chunksize=70),
    "batches": lambda folder: TABLE.to_batches(max_chunksize=33),
    "generator of batches, an empty one among them": lambda folder: (
        TABLE.slice(start, size).to_batches()[0] if size else TABLE.slice(0, 0).combine_chunks().to_batches()[0:1]
        for start, size in ((0, 100), (100, 300))
    ),
    "one batch": lambda folder: TABLE.to_batches()[0],
    "dataset of Parquet": parquet,
    "scanner of a dataset": lambda folder: parquet(folder).scanner(),
    "polars": lambda folder: pl.from_arrow(TABLE),
    "duckdb": lambda folder: duckdb.sql("select * from TABLE_OF_TEST"),
}
TABLE_OF_TEST = TABLE


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_of_record_batches_gives_the_moments_of_its_arrays(kind, tmp_path):
    moments = klr.Moments.from_arrow(SOURCES[kind](tmp_path), "price", FEATURES, "weight")
    expected = klr.Moments.from_data(X, Y, WEIGHT, feature_names=FEATURES)
    assert (moments.feature_names, moments.output_names) == (tuple(FEATURES), ("price",))
    assert (moments.rows, moments.nobs) == (ROWS, ROWS)
    np.testing.assert_allclose(actual=moments.solve().kernel, desired=expected.solve().kernel, rtol=1e-12)
    np.testing.assert_allclose(actual=moments.means, desired=expected.means, rtol=1e-12)


def test_partitioned_and_filtered_datasets_give_the_rows_that_they_stand_for(tmp_path):
    partitioning = pa.dataset.partitioning(pa.schema([("rooms", pa.int64())]), flavor="hive")
    pa.dataset.write_dataset(TABLE, tmp_path, format="parquet", partitioning=partitioning)
    dataset = pa.dataset.dataset(tmp_path, partitioning="hive")
    means = klr.Moments.from_arrow(dataset, "price", ["area", "rooms"]).means
    np.testing.assert_allclose(means, [*X[:, :2].mean(axis=0), Y.mean()], rtol=1e-13)
    large = klr.Moments.from_arrow(dataset.filter(pa.dataset.field("area") > 50), "price", ["rooms"])
    np.testing.assert_allclose(large.means, [X[X[:, 0] > 50, 1].mean(), Y[X[:, 0] > 50].mean()], rtol=1e-13)


def test_without_names_of_features_all_other_columns_are_taken_and_targets_may_be_several():
    moments = klr.Moments.from_arrow(TABLE, ["price", "weight"])
    assert (moments.feature_names, moments.output_names) == (tuple(FEATURES), ("price", "weight"))
    expected = klr.Moments.from_data(X, np.column_stack([Y, WEIGHT]))
    np.testing.assert_allclose(actual=moments.solve().kernel, desired=expected.solve().kernel, rtol=1e-11)


def test_decimals_dictionaries_and_half_floats_count_as_their_numbers():
    numbers = np.round(RNG.normal(size=60), 2)
    table = pa.table(
        {
            "decimal": pa.array([decimal.Decimal(f"{number:.2f}") for number in numbers], pa.decimal128(8, 2)),
            "half": numbers.astype("float16")[::-1],
            "y": 2 * numbers,
        }
    )
    kernel = klr.Moments.from_arrow(table, "y").solve().kernel[:, 0]
    np.testing.assert_allclose(kernel, [2, 0], atol=1e-12)


def test_rows_without_a_value_are_refused_by_their_number_or_dropped_and_counted():
    area = TABLE["area"].to_pylist()
    area[250] = None
    table = TABLE.set_column(0, "area", pa.array(area, pa.float32()))
    with pytest.raises(ValueError, match="'area' .* no value in row 250: drop them"):
        klr.Moments.from_arrow(table.to_batches(max_chunksize=100), "price", FEATURES)
    moments = klr.Moments.from_arrow(table.to_batches(max_chunksize=100), "price", FEATURES, missing="drop")
    assert str(moments.missing) == "1 of 400 rows have no value in 'area' (1)"
    kept = np.arange(ROWS) != 250
    expected = klr.Moments.from_data(X[kept], Y[kept])
    np.testing.assert_allclose(actual=moments.solve().kernel, desired=expected.solve().kernel, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "cost"}, "`target` must be a column of `batches`.* Received: 'cost', which is none of them"),
        ({"target": "prise"}, r"Received: 'prise', which is none of them \(did you mean 'price'\?\)"),
        ({"features": ["area", "rom"]}, r"`features` .*'rom'.*did you mean 'rooms'"),
        ({"target": None}, "`target` must name a column of `batches`.* Received: None"),
        ({"target": []}, "`target` must name at least one column"),
        ({"features": ["area", "area"]}, "`features` must be distinct columns"),
        ({"features": []}, "`features` must name at least one"),
        ({"features": ["area", "price"]}, r"\['price'\] for two of them"),
        ({"weight": "price"}, r"\['price'\] for two of them"),
        ({"weight": "mass"}, "`weight` must be a column.*'mass', which is none"),
        (
            {"batches": TABLE.set_column(3, "weight", pa.array([0.0] * ROWS)), "weight": "weight"},
            "`weight` must not be zero in every row",
        ),
        ({"missing": "ignore"}, "`missing` must be"),
        ({"threads": 0}, "`threads` must be a positive integer or None. Received: 0"),
        ({"threads": True}, "`threads` must be a positive integer"),
        ({"batches": "sales.parquet"}, "`batches` must be a pyarrow .* Received: str"),
        ({"batches": 3}, "`batches` must be a pyarrow .* Received: int"),
        ({"batches": [1, 2]}, "`batches` must be a pyarrow .* Received: int"),
        ({"batches": []}, "at least one record batch"),
        ({"batches": TABLE.slice(0, 0)}, "at least one row. Received: 0 rows"),
        ({"batches": TABLE.rename_columns(["a", "a", "c", "weight", "price"])}, r"distinct names. Received: \['a'\]"),
        (
            {"batches": TABLE.set_column(1, "rooms", pa.array(["x"] * ROWS))},
            "Batch 0 .*'rooms'.*must be numeric.*'x' in row 0",
        ),
        (
            {"batches": [*TABLE.to_batches(), *TABLE.drop_columns(["new"]).to_batches()]},
            "Batch 1 of `batches` must have the column 'new' once",
        ),
        (
            {"batches": [*TABLE.to_batches(), *TABLE.set_column(1, "rooms", TABLE["price"]).to_batches()]},
            "'rooms' must be of one type in all batches, int64. Received: double in batch 1",
        ),
        ({"batches": TABLE.set_column(0, "area", pa.array([np.inf] * ROWS))}, "'area'"),
    ],
)
def test_batches_that_cannot_be_fitted_are_refused_by_name(arguments, words):
    with pytest.raises(ValueError, match=words):
        klr.Moments.from_arrow(**{"batches": TABLE, "target": "price", **arguments})


@pytest.mark.parametrize(("rows", "columns", "size"), [(60_000, 8, 20_000), (60_000, 8, 60_000), (700, 600, 700)])
def test_the_same_batches_give_the_same_bits_on_any_number_of_threads(rows, columns, size, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(5))
    big = pa.table({f"x{i}": RNG.normal(size=rows) for i in range(columns)})
    one, *others = (
        klr.Moments.from_arrow(big.to_batches(max_chunksize=size), "x7", threads=threads) for threads in (1, 2, 5, None)
    )
    assert all(other.to_bytes() == one.to_bytes() for other in others)
    expected = np.cov(np.column_stack([big[name] for name in (*one.feature_names, "x7")]), rowvar=False)
    np.testing.assert_allclose(actual=one.covariance, desired=expected, rtol=1e-10, atol=1e-13)


def test_columns_of_every_type_of_numbers_read_in_place_are_those_of_their_arrays():
    columns = {
        "float": RNG.normal(size=ROWS).astype("float32") + 1e3,
        "double": RNG.normal(size=ROWS) - 1e6,
        "int8": RNG.integers(-99, 99, ROWS, dtype="int8"),
        "uint64": RNG.integers(0, 2**40, ROWS, dtype="uint64"),
        "y": RNG.integers(-9, 9, ROWS, dtype="int32"),
    }
    weights = RNG.uniform(0, 2, ROWS).astype("float32")
    batches = pa.table({**columns, "w": weights}).slice(3).to_batches(max_chunksize=50)
    moments = klr.Moments.from_arrow(batches, "y", weight="w")
    x = np.column_stack([column.astype("float64") for column in columns.values()])[3:]
    expected = klr.Moments.from_data(x[:, :-1], x[:, -1], weights[3:])
    np.testing.assert_allclose(actual=moments.covariance, desired=expected.covariance, rtol=1e-12)
    with pytest.raises(ValueError, match="Batch 1 .*'uint64' of `x` must hold integers that float64 holds exactly"):
        beyond = batches[1].set_column(3, "uint64", pa.array([2**60 + 1] * 50, pa.uint64()))
        klr.Moments.from_arrow([batches[0], beyond], "y", weight="w")


@pytest.mark.parametrize("column", ["area", "price", "weight"])
def test_nan_in_a_later_batch_is_refused_by_its_row_or_dropped(column):
    frame = TABLE.to_pandas()
    frame.loc[250, column] = np.nan
    batches = pa.Table.from_pandas(frame).to_batches(max_chunksize=100)
    with pytest.raises(ValueError, match=f"'?{column.replace('weight', 'sample_weight').replace('price', 'y')}'?"):
        klr.Moments.from_arrow(batches, "price", ["rooms", "area"], weight="weight")
    moments = klr.Moments.from_arrow(batches, "price", ["rooms", "area"], weight="weight", missing="drop")
    assert (moments.rows, moments.missing.missing) == (ROWS - 1, 1)


def test_strings_pass_a_preprocessor(penguins, penguin_space):
    frame, target = penguins
    table = pa.Table.from_pandas(frame.assign(mass=target), preserve_index=False)
    with pytest.warns(UserWarning, match="depend"):
        solution = klr.Moments.from_arrow(
            table.to_batches(max_chunksize=40), "mass", preprocessor=penguin_space
        ).solve()
    with pytest.warns(UserWarning, match="depend"):
        expected = klr.Moments.from_data(frame, target, preprocessor=penguin_space).solve()
    np.testing.assert_allclose(solution.kernel, expected.kernel, rtol=1e-10, atol=1e-12)


FORMULA_SOURCES = {kind: make for kind, make in SOURCES.items() if "reader" not in kind and "generator" not in kind}


@pytest.mark.parametrize("kind", FORMULA_SOURCES)
def test_a_formula_learns_from_record_batches_that_can_be_read_again(kind, tmp_path):
    formulas = "center(price) ~ area * new + C(rooms)", "area * new + C(rooms)"
    expected = klr.Moments.from_data(TABLE, None, "weight", preprocessor=klr.Formula(formulas[0])).solve()
    source = FORMULA_SOURCES[kind](tmp_path)
    two_sided = klr.Moments.from_arrow(source, weight="weight", preprocessor=klr.Formula(formulas[0]))
    one_sided = klr.Moments.from_arrow(source, "price", weight="weight", preprocessor=klr.Formula(formulas[1]))
    assert (two_sided.output_names, one_sided.output_names) == (("center(price)",), ("price",))
    assert two_sided.feature_names == one_sided.feature_names
    for moments in (two_sided, one_sided):
        np.testing.assert_allclose(moments.solve().kernel, expected.kernel, rtol=1e-10, atol=1e-12)


def test_a_formula_that_has_not_learned_refuses_what_can_be_read_once_and_learns_nothing_of_an_error():
    formula = klr.Formula("price ~ sqrt(I(area - 1000))")
    with pytest.raises(ValueError, match="adapted before record batches that can be read once"):
        klr.Moments.from_arrow(TABLE.to_reader(), preprocessor=formula)
    with pytest.raises(ValueError, match="Batch 0 of `batches`.*'sqrt.*must be finite"):
        klr.Moments.from_arrow(TABLE, preprocessor=formula)
    with pytest.raises(ValueError, match=r"`target` must be left out"):
        klr.Moments.from_arrow(TABLE, "price", preprocessor=formula)
    with pytest.raises(ValueError, match=r"`batches` must have the columns that the formula names.*missing: \['baths'"):
        klr.Moments.from_arrow(TABLE, preprocessor=klr.Formula("price ~ area + baths"))
    assert not formula.is_adapted


def test_pyarrow_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="extra `arrow` of keras_linreg"):
        klr.Moments.from_arrow(TABLE, "price")


WORKER = """
import sys
import pyarrow.parquet
import keras_linreg as klr
moments = klr.Moments.from_arrow(pyarrow.parquet.ParquetFile(sys.argv[1]).iter_batches(), "price")
sys.stdout.buffer.write(moments.to_bytes())
assert not {"tensorflow", "keras"} & set(sys.modules)
"""


def test_a_worker_reduces_a_file_without_tensorflow_and_sends_bytes(tmp_path):
    pa.parquet.write_table(TABLE, tmp_path / "a.parquet")
    done = subprocess.run([sys.executable, "-c", WORKER, tmp_path / "a.parquet"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    received = klr.Moments.from_bytes(done.stdout)
    assert received.to_bytes() == klr.Moments.from_arrow(TABLE, "price").to_bytes()


# Bytes

HARD = RNG.normal(size=(3000, 40))
KINDS = {
    "double-double": klr.Moments.from_data(X, Y),
    "with a plane": klr.Moments.from_data(HARD, HARD @ np.arange(40.0) + 1e-3 * RNG.normal(size=3000)),
    "two outputs": klr.Moments.from_data(X, np.column_stack([Y, WEIGHT])),
    "no features": klr.Moments.from_data(X, Y).select([]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_hold_the_triangle_alone_and_come_back_to_the_bit(kind):
    moments = KINDS[kind]
    data = moments.to_bytes()
    again = klr.Moments.from_bytes(data)
    arrays, expected = again.to_arrays(), moments.to_arrays()
    assert list(arrays) == list(expected)
    for key in arrays:
        np.testing.assert_array_equal(actual=arrays[key], desired=expected[key])
    width = len(moments.feature_names) + len(moments.output_names)
    levels = len(expected["factor"])
    plane = expected["plane"].size if "plane" in expected else 0
    numbers = 2 + 2 * width + levels * width * (width + 1) // 2 + plane
    assert len(data) < 8 * numbers + width + len(expected["header"]) + 50


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=80, derandomize=True, deadline=None)
def test_damaged_bytes_are_refused(data):
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    whole = KINDS[kind].to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut, flipped = whole[:at], bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for damaged in (cut, bytes(flipped), whole + b"x"):
        with pytest.raises(ValueError, match="`data` must be bytes that Moments.to_bytes returned"):
            klr.Moments.from_bytes(damaged)


@pytest.mark.parametrize(
    "data", [None, "text", 3, b"", b"keras_linreg moments\n", b"keras_linreg moments\n" + b"\xff" * 8]
)
def test_what_are_no_bytes_of_moments_is_refused(data):
    with pytest.raises(ValueError, match="`data` must be bytes that Moments.to_bytes returned"):
        klr.Moments.from_bytes(data)
