"""Formulas on Spark: what its workers compute without a cluster, and models of formulas on one."""

import dataclasses
import pickle
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.formula.api as smf
from spark_cluster import NEEDS_JAVA, alone, has_java, spark_session

import keras_linreg as klr
from keras_linreg.spark.fit import PartitionReader
from keras_linreg.spark.formula_design import design_rows
from keras_linreg.spark.frame import Columns
from keras_linreg.spark.predict import predictor_of
from keras_linreg.spark.reduction import ReducePartition
from keras_linreg.spark.report import SecondPass

pytestmark = pytest.mark.heavy  # a plan asks pyspark for the types of columns


def batches_of(frame, size=300):
    return pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=size)


def priced(n=3000, seed=1):
    """Rows with text, booleans and codes; weights, some of them zero."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.gamma(2, 2, n) + 0.1,
            "b c": rng.normal(size=n),
            "k": rng.integers(0, 4, n),
            "city": rng.choice(["Ghent", "Li`ge", "Bruges"], n),
            "new": rng.random(n) < 0.4,
            "w": rng.integers(0, 3, n) * 1.0,
        }
    )
    frame["price"] = np.exp(0.1 * frame.a + (frame.city == "Ghent") + rng.normal(size=n) * 0.1)
    return frame


class Schema:
    """What a formula asks a DataFrame of Spark: its columns and their types."""

    def __init__(self, frame):
        from pyspark.sql import types

        kinds = {"f": types.DoubleType, "i": types.LongType, "b": types.BooleanType, "O": types.StringType}
        self.columns = list(frame)
        self.schema = types.StructType(
            [types.StructField(name, kinds.get(frame[name].dtype.kind, types.StringType)()) for name in frame]
        )


def work_of(formula, frame, missing="error"):
    design = design_rows(formula, Schema(frame), [], "w", missing)
    return ReducePartition(Columns([], [formula.response_name], "w"), missing, design)


@pytest.mark.parametrize(
    "text",
    [
        "log(price) ~ a * city",
        "price ~ C(k) * `b c` + I(a ** 2) + log(a):new",
        "price ~ city * new * C(k)",
        "price ~ 0 + city + a",
        "price ~ C(k, Sum) + C(city, Treatment('Ghent')):`b c`",
        "I(price / 2) ~ I((-a + 2 * `b c`) / 3) + exp(`b c`) + np.sqrt(a) + log10(a) + I(a ** 2.5) + abs(`b c`)",
        "price ~ center(a) + scale(log(a)):city",
        "price ~ a + `b c`",
        "price ~ bs(a, df=5):city + bs(`b c`, knots=[-0.5, 0.5], degree=2, include_intercept=True)",
        "price ~ poly(a, 3) * city + poly(log(a), 2):`b c`",
        "price ~ bs(center(a), df=4, lower_bound=-99, upper_bound=99) + bs(log(a), degree=0, knots=[0.5])",
    ],
)
def test_a_worker_computes_the_design_of_a_formula_as_one_machine_does(text):
    frame = priced()
    formula = klr.Formula(text)
    expected = klr.Moments.from_data(frame, preprocessor=formula, sample_weight="w")
    work = pickle.loads(pickle.dumps(work_of(formula, frame)))
    moments = klr.Moments.from_bytes(work(iter(batches_of(frame)), 0))
    assert (moments.feature_names, moments.output_names) == (expected.feature_names, expected.output_names)
    assert (moments.rows, moments.nobs) == (expected.rows, expected.nobs)
    scale = np.sqrt(np.outer(np.diag(expected.covariance), np.diag(expected.covariance)))
    np.testing.assert_allclose(moments.covariance / scale, expected.covariance / scale, rtol=0, atol=1e-13)


WORKER = """
import pickle, sys
import pyarrow
batches = pyarrow.ipc.open_stream(sys.stdin.buffer.read()).read_all().to_batches()
work, second_pass, predictor = pickle.loads(bytes.fromhex(sys.argv[1]))
data = work(iter(batches), 0)
second_pass(iter(batches), 0)
columns = pyarrow.Table.from_batches(batches).select(predictor.features).to_struct_array().combine_chunks()
means = predictor(columns).field(0).to_pylist()
assert not {"tensorflow", "keras"} & set(sys.modules)
sys.stdout.buffer.write(pickle.dumps((data, means)))
"""


def test_a_worker_reduces_compares_and_predicts_the_rows_of_a_formula_without_tensorflow():
    frame = priced(90)
    formula = klr.Formula("log(price) ~ bs(a, df=4) * new + city + poly(`b c`, 2)")
    expected = klr.Moments.from_data(frame, preprocessor=formula, sample_weight="w")
    model = klr.ExactLinearRegression.from_moments(expected, preprocessor=formula)
    work, right_side = work_of(formula, frame), design_rows(formula, Schema(frame), None, None, "drop")
    second_pass = SecondPass(model.fitted.estimate, PartitionReader(None, "error", work.design), "HC3")
    predictor = dataclasses.replace(predictor_of(model, 0.9), features=list(right_side.columns), design=right_side)
    sink, table = pa.BufferOutputStream(), pa.Table.from_pandas(frame[frame.w > 0], preserve_index=False)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    done = subprocess.run(
        [sys.executable, "-c", WORKER, pickle.dumps((work, second_pass, predictor)).hex()],
        input=sink.getvalue().to_pybytes(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    data, means = pickle.loads(done.stdout)
    np.testing.assert_allclose(klr.Moments.from_bytes(data).means, expected.means, rtol=1e-12)
    np.testing.assert_allclose(means, np.ravel(model.predict(frame[frame.w > 0], verbose=0)), rtol=1e-9)


def test_rows_that_a_formula_cannot_take_are_refused_or_dropped():
    frame = priced(200)
    formula = klr.Formula("log(price) ~ a + city + C(k, unseen=0)")
    formula.adapt(frame)
    frame["k"] = 9  # no such level: taken for 0
    zero = klr.Moments.from_bytes(work_of(formula, frame)(iter(batches_of(frame)), 0))
    assert zero.rows == 200 and list(zero.means[2:5]) == [0, 0, 0]
    weighted = frame.w > 0
    for column, value, words in [
        ("city", None, "1 of 200 rows has no value in 'city'|1 of 200 rows have no value in 'city'"),
        ("city", "", "no value in 'city'"),
        ("a", np.nan, "no value in 'a'"),
        ("city", "Paris", "'city' of `df` must hold levels that the formula has learned.*'Paris'"),
        ("price", -1.0, r"'log\(price\)' of the formula must be finite.*price = -1"),
    ]:
        bad = frame.copy()
        bad.loc[np.flatnonzero(weighted)[3], column] = value
        with pytest.raises(ValueError, match=words):
            work_of(formula, bad)(iter(batches_of(bad)), 0)
        ignored = frame.copy()
        ignored.loc[np.flatnonzero(~weighted)[3], column] = value
        same = klr.Moments.from_bytes(work_of(formula, ignored)(iter(batches_of(ignored)), 0))
        assert (same.rows, same.nobs) == (200, zero.nobs)
        if "no value" in words:
            dropped = klr.Moments.from_bytes(work_of(formula, bad, "drop")(iter(batches_of(bad)), 0))
            assert (dropped.rows, dropped.missing.columns) == (199, {column: 1})


def test_each_mention_of_a_column_sends_unseen_levels_to_a_level_of_its_own():
    frame = priced(200)
    formula = klr.Formula("price ~ C(k, unseen=0) + C(k, Sum, unseen=2):a")
    formula.adapt(frame)
    frame.loc[:80, "k"] = 9
    expected = klr.Moments.from_data(frame, preprocessor=formula, sample_weight="w")
    moments = klr.Moments.from_bytes(work_of(formula, frame)(iter(batches_of(frame)), 0))
    np.testing.assert_allclose(moments.means, expected.means, rtol=1e-12, atol=1e-15)


def test_a_number_outside_of_the_boundary_knots_is_refused_as_in_memory():
    frame = priced(100).assign(w=1.0)
    formula = klr.Formula("price ~ bs(a, df=4) * city")
    formula.adapt(frame)
    frame.loc[7, "a"] = 99.0
    with pytest.raises(ValueError, match="outside of the boundary knots is refused") as in_memory:
        klr.Moments.from_data(frame, preprocessor=formula)
    with pytest.raises(ValueError, match="Received: nan of a = 99 in row 7") as on_a_worker:
        work_of(formula, frame)(iter(batches_of(frame)), 0)
    assert str(on_a_worker.value).endswith(str(in_memory.value))


# On a cluster


@pytest.fixture(scope="module")
def spark():
    if not has_java():
        pytest.fail(NEEDS_JAVA)
    with alone(), spark_session("local[2]") as session:
        yield session


def test_a_formula_learns_its_levels_in_one_pass_and_gives_the_fit_of_statsmodels(spark):
    frame = priced()
    frame.loc[[5, 70], "a"] = np.nan
    rare = frame.assign(city=np.where(np.arange(len(frame)) >= 2995, "Rare", frame.city))
    rare.loc[2995:, "w"] = 2.0
    df = spark.createDataFrame(rare).repartition(5).sortWithinPartitions("b c")
    formula = klr.Formula("log(price) ~ a * city + C(k) + I(`b c` ** 2):new")
    with pytest.raises(ValueError, match="Partition .*no value in 'a'"):
        klr.spark.moments(df, weight="w", preprocessor=formula)
    assert not formula.is_adapted
    moments = klr.spark.moments(df, weight="w", missing="drop", preprocessor=formula)
    assert formula.is_adapted and moments.missing.columns == {"a": 2}
    kept = rare.dropna()
    kept = kept[kept.w > 0]
    oracle = smf.wls("np.log(price) ~ a * city + C(k) + I(Q('b c') ** 2):new", kept, weights=kept.w).fit()
    model = klr.ExactLinearRegression.from_moments(moments, preprocessor=formula)
    report = model.report()
    assert len(report.params) == len(oracle.params)
    np.testing.assert_allclose(report.params, oracle.params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(report.bse, oracle.bse, rtol=1e-8)
    np.testing.assert_allclose(
        np.ravel(model.predict(kept.head(9), verbose=0)), oracle.predict(kept.head(9)), rtol=1e-7
    )
    again = klr.spark.moments(df, weight="w", missing="drop", preprocessor=formula)
    assert again.to_bytes() == klr.spark.moments(df, weight="w", missing="drop", preprocessor=formula).to_bytes()
    folds = klr.spark.moments(df.drop("price"), "a", folds=3, missing="drop", preprocessor=klr.Formula("city + new"))
    names = ("city[T.Ghent]", "city[T.Li`ge]", "city[T.Rare]", "new[T.True]")
    assert (folds.moments.rows, folds.moments.feature_names) == (2998, names)


def test_formulas_and_arguments_that_do_not_go_together_are_refused(spark):
    df = spark.createDataFrame(priced(100))
    learns = r"must have learned if it has a term that learns from all rows.*`formula.adapt\(sample\)`.*the term "
    for preprocessor, arguments, words in [
        (klr.Formula("price ~ a"), {"target": "k"}, "`y` must be left out"),
        (klr.Formula("a + k"), {}, "`target` must name a column"),
        (klr.Formula("a + k"), {"target": "cost"}, "'cost', which is none"),
        (klr.Formula("price ~ a + rooms"), {}, "each column that the formula names once.*'rooms'"),
        (klr.Formula("price ~ a"), {"features": ["a"]}, "`features` must be left out"),
        (klr.Formula("price ~ center(a)"), {}, learns + r"'center\(a\)'"),
        (klr.Formula("scale(price) ~ a"), {}, learns + r"'scale\(price\)'"),
        (klr.Formula("price ~ I(a + center(k))"), {}, learns + r"'center\(k\)' of 'I\("),
        (klr.Formula("price ~ poly(a, 2)"), {}, learns + r"'poly\(a, 2\)'"),
        (klr.Formula("price ~ bs(a, df=4)"), {}, learns + r"'bs\(a, df=4\)'"),
        (klr.Formula("price ~ bs(scale(a), knots=[0])"), {}, learns + r"'scale\(a\)'"),
        (klr.Formula("price ~ bs(log(`b c`), knots=[0])"), {}, "must be finite"),
        (klr.Formula("price ~ log(city)"), {}, "holds text"),
        (len, {}, "must be a klr.Formula"),
        (None, {}, "`target` must name a column"),
    ]:
        with pytest.raises(ValueError, match=words):
            klr.spark.moments(df, preprocessor=preprocessor, **arguments)
        assert not getattr(preprocessor, "is_adapted", False)


def test_splines_whose_knots_are_given_learn_their_boundary_from_all_rows(sold):
    df, kept = sold
    text = "price ~ city + bs(I(a * `b c`), knots=[1]) + bs(log(a), df=3) + bs(`b c`, knots=[0.5], upper_bound=9)"
    formula, expected = klr.Formula(text), klr.Formula(text)
    moments = klr.spark.moments(df, weight="w", missing="drop", preprocessor=formula)
    in_memory = klr.Moments.from_data(kept, preprocessor=expected, sample_weight="w")
    assert formula.get_config()["state"]["factors"] == expected.get_config()["state"]["factors"]
    np.testing.assert_allclose(moments.means, in_memory.means, rtol=1e-11)
    splines = "bs(`b c`, df=6) + poly(a, 2)"
    formula = klr.Formula(f"price ~ city * ({splines})")
    formula.adapt(kept)
    moments = klr.spark.moments(df, weight="w", missing="drop", preprocessor=formula)
    model = klr.ExactLinearRegression.from_moments(moments, preprocessor=formula)
    fit = smf.wls("price ~ city * (bs(Q('b c'), df=6) + a + I(a**2))", kept, weights=kept.w).fit()
    assert abs(model.report().rsquared - fit.rsquared) < 1e-9
    result = klr.spark.predict(model, df.where("w > 0")).toArrow().to_pandas().dropna()
    np.testing.assert_allclose(result.prediction, fit.predict(result), rtol=1e-7)


@pytest.fixture(scope="module")
def sold(spark):
    """Sales on Spark with missing values and weights of zero, and those that a fit takes in the order of Spark."""
    frame = priced()
    frame["seller"] = np.random.default_rng(2).integers(0, 40, len(frame)).astype(str)
    frame.loc[[5, 70, 900], "a"] = np.nan
    frame.loc[[8, 71], "city"] = None
    df = spark.createDataFrame(frame).repartition(4).sortWithinPartitions("b c").cache()
    kept = df.toArrow().to_pandas().dropna()
    return df, kept[kept.w > 0].reset_index(drop=True)


SOLD = "log(price) ~ a * city + C(k, Sum) + I(`b c` ** 2):new"
IN_PATSY = "np.log(price) ~ a * city + C(k, Sum) + I(Q('b c') ** 2):new"


@pytest.fixture(scope="module")
def model(sold):
    """A model that was made of the moments of a formula on the cluster."""
    formula = klr.Formula(SOLD)
    moments = klr.spark.moments(sold[0], weight="w", missing="drop", preprocessor=formula)
    return klr.ExactLinearRegression.from_moments(moments, preprocessor=formula)


def test_robust_and_clustered_errors_of_a_formula_are_those_of_statsmodels_formulas(sold, model):
    df, kept = sold
    fit = smf.wls(IN_PATSY, kept, weights=kept.w)
    for cov_type in ("HC0", "HC3"):
        report = klr.spark.report(model, df, cov_type, weight="w")
        np.testing.assert_allclose(report.bse, fit.fit(cov_type=cov_type).bse, rtol=1e-9)
    clustered = fit.fit(cov_type="cluster", cov_kwds={"groups": kept.seller.astype(int)})
    report = klr.spark.report(model, df.repartition(3), "cluster", groups="seller", weight="w")
    np.testing.assert_allclose(report.bse, clustered.bse, rtol=1e-9)
    assert report.f_test("C(k, Sum)").df_num == 3
    clustered = fit.fit(cov_type="cluster", cov_kwds={"groups": kept.city.astype("category").cat.codes})
    report = klr.spark.report(model, df, "cluster", groups="city", weight="w")  # which rows that were left out lack
    np.testing.assert_allclose(report.bse, clustered.bse, rtol=1e-6)


def test_a_model_of_a_formula_that_was_fitted_on_one_machine_has_its_figures_on_spark(spark):
    frame = priced(600).assign(y=np.arange(600.0) % 7)
    df = spark.createDataFrame(frame).coalesce(2)
    for text, target in (("price ~ 0 + city + a", None), ("a + C(k):`b c`", "y")):
        data = (frame,) if target is None else (frame.drop(columns="y"), frame.y)
        model = klr.ExactLinearRegression(preprocessor=klr.Formula(text))
        model.fit(*data, verbose=0)
        given = data[0] if target is None else data
        expected = model.report(cov_type="HC3", data=given)
        ours = klr.spark.report(model, df, "HC3", target=target)
        pd.testing.assert_series_equal(ours.bse, expected.bse, rtol=1e-9)
        in_memory, diagnostics = model.diagnose(given), klr.spark.diagnose(model, df, target=target)
        for name in ("std", "quantiles", "durbin_watson", "skew", "jarque_bera", "breusch_pagan", "cooks_distance"):
            np.testing.assert_allclose(getattr(diagnostics, name), getattr(in_memory, name), rtol=1e-9, err_msg=name)


def test_predictions_of_a_formula_need_its_right_side_alone_and_are_those_of_one_machine(sold, model):
    df, kept = sold
    rows = df.select("seller", "new", "city", "k", "b c", "a")
    result = klr.spark.predict(model, rows, interval=True, level=0.9).toArrow().to_pandas()
    expected = model.predict_interval(result[rows.columns], level=0.9)
    assert list(result.columns) == [*rows.columns, *expected.columns]
    pd.testing.assert_frame_equal(result[expected.columns], expected, rtol=1e-9)
    assert result["mean"].isna().sum() == 5
    frame = kept.head(300)
    taped = klr.LinearRegression(preprocessor=klr.Formula("price ~ city + C(k, unseen=1)"))
    taped.fit(frame, epochs=2, verbose=0)
    new = rows.limit(40).selectExpr("'Ghent' as city", "k + 2 as k")  # some of them levels that no row had
    result = klr.spark.predict(taped, new).toArrow().to_pandas()
    expected = taped.predict(new.toArrow().to_pandas(), verbose=0)
    np.testing.assert_allclose(result.prediction, expected[:, 0], rtol=1e-5)
    assert result.prediction.nunique() == 3


def test_rows_and_models_that_do_not_go_together_are_refused(sold, model):
    from pyspark.errors import PythonException
    from pyspark.sql import functions as F

    df = sold[0]
    moments, weighted = model.moments, {"weight": "w"}
    for call, words in [
        (lambda: klr.spark.report(moments, df, **weighted), r"Moments of the design of a formula need the model"),
        (lambda: klr.spark.predict(moments, df), r"from_moments\(moments, preprocessor=formula\)"),
        (lambda: klr.spark.diagnose(moments, df, **weighted), r"missing: \['city\[T.Ghent\]'"),
        (lambda: klr.spark.report(model, df), "must be the data of the fit"),
        (lambda: klr.spark.report(model, df.where("k < 3"), **weighted), "must be the data of the fit"),
        (lambda: klr.spark.report(model, df, target="price", **weighted), "`y` must be left out"),
        (lambda: klr.spark.report(model, df.drop("city"), **weighted), r"formula names once.*\['city'\]"),
        (lambda: klr.spark.predict(model, df.drop("city")), r"formula names once.*\['city'\]"),
        (lambda: klr.spark.predict(model, df.selectExpr("*", "1 as mean"), interval=True), "rename them"),
        (lambda: klr.spark.predict(model, df.withColumn("city", df["k"])), "'city' of `df` must hold text"),
        (lambda: klr.spark.predict(model, df.withColumn("a", df["city"])), "'a' of `df` must hold numbers"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(PythonException, match="levels that the formula has learned.*'Paris'"):
        klr.spark.predict(model, df.withColumn("city", F.lit("Paris"))).select("prediction").collect()
    other = klr.ExactLinearRegression(preprocessor=keras.layers.Rescaling(2.0))
    other.fit(np.arange(9.0).reshape(-1, 1), np.arange(9.0) % 4, verbose=0)
    with pytest.raises(ValueError, match="have a klr.Formula.*Rescaling"):
        klr.spark.report(other, df)
    with pytest.raises(ValueError, match="have a klr.Formula.*Rescaling"):
        klr.spark.predict(other, df)
