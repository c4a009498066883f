"""Spark: moments, reports and predictions on a real standalone cluster, and what its workers do without one."""

import decimal
import os
import signal
import sys
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
from spark_cluster import NEEDS_JAVA, alone, has_java, parent, spark_session, standalone_cluster

import keras_linreg as klr
from keras_linreg.spark import reduction
from keras_linreg.spark.frame import Columns
from keras_linreg.spark.groups import Labels, labelled
from keras_linreg.spark.partitions import FAN_IN
from keras_linreg.spark.predict import predictor_of
from keras_linreg.spark.reduction import ReducePartition, ReduceToFolds

SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "200ms",
    "spark.speculation.minTaskRuntime": "8s",
    "spark.speculation.multiplier": "1.5",
    "spark.speculation.quantile": "0.5",
}
QUOTED = ["a.b", "A`q", "c d", "price (k€)", "w", "A.B", "dec"]


def rows_of(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=n) + 1000, "z": rng.normal(size=n), "w": rng.integers(0, 3, n) * 1.0})
    frame["y"] = 1 + 2 * frame.x - frame.z + rng.normal(size=n) * (1 + frame.z**2)
    frame["group"] = rng.choice(["ä", "b b", "", "d'"], n) + rng.integers(0, 9, n).astype(str)
    return frame


# Without a cluster


def batches_of(frame, size=300):
    return pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=size)


def test_the_work_on_a_partition_gives_the_moments_of_its_batches_bit_for_bit():
    batches = batches_of(rows_of()[["x", "z", "y", "w"]])
    data = ReducePartition(Columns(["x", "z"], ["y"], "w"), "error")(iter(batches), 3)
    assert data == klr.Moments.from_arrow(batches, "y", ["x", "z"], "w").to_bytes()


def test_a_partition_without_a_complete_row_counts_its_missing_values():
    batches = batches_of(pd.DataFrame({"x": [np.nan, np.nan], "y": [1.0, 2.0]}))
    moments = klr.Moments.from_bytes(ReducePartition(Columns(["x"], ["y"], None), "drop")(iter(batches), 0))
    assert (moments.rows, moments.missing.missing) == (0, 2)
    whole = moments + klr.Moments.from_data(np.arange(4.0), np.arange(4.0), feature_names=["x"])
    assert whole.rows == 4
    assert ReducePartition(Columns(["x"], ["y"], None), "drop")(iter(()), 0) is None


def test_folds_of_a_column_are_dealt_as_in_memory():
    frame = rows_of(500)
    frame["fold"] = np.arange(500) % 3
    data = ReduceToFolds(Columns(["x", "z"], ["y"], None), "error", 3, 0, "fold")(iter(batches_of(frame)), 0)
    folds, expected = (
        klr.FoldMoments.from_bytes(data),
        klr.FoldMoments.from_data(frame[["x", "z"]], frame.y, frame.fold),
    )
    for ours, theirs in zip(folds.folds, expected.folds, strict=True):
        np.testing.assert_allclose(ours.means, theirs.means, rtol=1e-14)
        np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-10)


def test_labels_of_groups_have_one_number_each_over_batches_and_rows_that_count_need_one():
    labels = Labels()
    assert labels.codes(pa.array([0.0, 2.0, -0.0])).tolist() == [0, 1, 0]
    assert labels.codes(pa.array([2.0, 5.0])).tolist() == [1, 2]
    assert labels.texts == ["0.0", "2.0", "5.0"]
    for missing in (pa.array(["a", None]), pa.array([1.0, float("nan")])):
        assert Labels().codes(missing).tolist() == [0, -1]
        with pytest.raises(ValueError, match="a label for each row"):
            labelled(Labels().codes(missing))


def test_predictions_of_a_worker_are_those_of_the_model_and_null_without_a_value():
    frame = rows_of(100)
    model = klr.ExactLinearRegression()
    model.fit(frame[["x", "z"]], frame.y, verbose=0)
    struct = pa.StructArray.from_arrays([pa.array([None, *frame.x[1:]]), pa.array(frame.z)], names=["c0", "c1"])
    for level, expected in ((None, {"prediction": model.predict(frame[["x", "z"]], verbose=0)[:, 0]}), (0.9, None)):
        predictor = predictor_of(model, level)
        expected = model.predict_interval(frame[["x", "z"]], 0.9) if expected is None else expected
        columns = predictor(struct).flatten()
        assert predictor.names == list(expected.keys())
        for name, column in zip(predictor.names, columns, strict=True):
            assert column.null_count == 1 and not column[0].is_valid
            np.testing.assert_allclose(np.asarray(column)[1:], np.asarray(expected[name])[1:], rtol=1e-12)


def test_pyspark_is_named_when_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(ImportError, match="extra `spark`"):
        klr.spark.moments(None, "y")


# On a cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if not has_java():
        pytest.fail(NEEDS_JAVA)
    with alone(), standalone_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def spark(cluster):
    with spark_session(cluster.master, SPECULATION) as session:
        yield session


@pytest.fixture(scope="module")
def parquet(spark, tmp_path_factory):
    """A folder of Parquet files, and its rows in memory."""
    folder = tmp_path_factory.mktemp("parquet")
    frame = rows_of()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), 6)):
        frame.iloc[part].to_parquet(folder / f"part{i}.parquet", index=False)
    return spark.read.parquet(str(folder)), frame


def quoted(spark, frame):
    frame = pd.DataFrame(
        {
            "a.b": frame.x,
            "A`q": np.arange(len(frame)) % 7,
            "c d": frame.z > 0,
            "price (k€)": frame.y,
            "w": frame.w,
            "A.B": frame.z,
            "dec": [decimal.Decimal(int(v * 100)).scaleb(-2) for v in frame.z],
        }
    )
    return spark.createDataFrame(frame.set_axis([f"c{i}" for i in range(7)], axis=1)).toDF(*QUOTED), frame


@pytest.mark.heavy
def test_quoted_names_decimals_booleans_weights_and_empty_partitions_give_the_moments_of_memory(spark):
    df, frame = quoted(spark, rows_of())
    spread = df.repartition(5).union(df.limit(0)).union(df.where("w < 0"))
    moments = klr.spark.moments(spread, "price (k€)", weight="w")
    names = [name for name in QUOTED if name not in ("price (k€)", "w")]
    assert list(moments.feature_names) == names
    expected = klr.Moments.from_data(frame.astype({"dec": float})[names], frame["price (k€)"], frame.w)
    assert (moments.rows, moments.nobs) == (expected.rows, expected.nobs)
    np.testing.assert_allclose(moments.solve().kernel, expected.solve().kernel, rtol=1e-12)
    assert klr.spark.moments(df, "price (k€)", ["A.B", "a.b"]).feature_names == ("A.B", "a.b")
    two = klr.spark.moments(df, ["w", "price (k€)"], ["A.B"])
    assert two.output_names == ("w", "price (k€)")


@pytest.mark.heavy
def test_the_same_partitions_give_the_same_bits_and_the_digits_of_one_machine(spark, parquet):
    df, frame = parquet
    every = {klr.spark.moments(df, "y", ["x", "z"]).to_bytes() for _ in range(3)}
    assert len(every) == 1
    ours = klr.Moments.from_bytes(every.pop()).solve()
    np.testing.assert_allclose(
        ours.kernel, klr.Moments.from_data(frame[["x", "z"]], frame.y).solve().kernel, rtol=1e-13
    )
    shuffled = df.repartition(4).sortWithinPartitions("x", "z")
    assert len({klr.spark.moments(shuffled, "y", ["x", "z"]).to_bytes() for _ in range(2)}) == 1


@pytest.mark.heavy
def test_missing_values_are_refused_or_dropped_and_counted(spark, parquet):
    df = parquet[0].selectExpr("case when z > 0 then x end as x", "if(z < -1, double('nan'), z) as z", "y")
    kept = int((parquet[1].z > 0).sum())
    with pytest.raises(ValueError, match=r"^Partition 0: .*'x'.*drop them \(missing='drop'\)"):
        klr.spark.moments(df, "y")
    moments = klr.spark.moments(df, "y", missing="drop")
    assert (moments.rows, moments.missing.rows, moments.missing.missing) == (kept, 2000, 2000 - kept)
    assert set(moments.missing.columns) == {"x", "z"}
    with pytest.raises(ValueError, match="a row with all its values"):
        klr.spark.moments(df.selectExpr("double(null) as x", "y"), "y", missing="drop")
    report = klr.spark.report(moments, df, "HC0")
    assert report.nobs == kept


@pytest.mark.heavy
def test_data_that_cannot_be_fitted_are_refused_by_name_before_any_row_is_read(spark, parquet):
    df = parquet[0]
    stream = spark.readStream.format("rate").load().selectExpr("value as y", "value as x")
    for bad, arguments, message in [
        (stream, {}, "streaming"),
        (df, {"target": "nothing"}, "'nothing'"),
        (df, {"features": ["x", "no such"]}, "no such"),
        (df, {"features": ["x", "y"]}, "one of `features`, `target` and `weight`"),
        (df, {"weight": "y"}, "one of `features`, `target` and `weight`"),
        (df, {"features": ["x", "x"]}, "distinct"),
        (df, {}, "'group' of `df` must be numeric"),
        (df.selectExpr("array(x) as x", "y"), {}, "'x' of `df` must be numeric"),
        (df.selectExpr("x", "y as Y", "z as y", "w as y"), {}, "distinct names"),
        (df, {"features": ["x"], "missing": "ignore"}, "missing"),
        (df, {"features": ["x"], "folds": "group"}, "a column of string"),
        (df, {"features": ["x"], "folds": 1}, "folds"),
        (parquet[1], {}, "DataFrame of Spark"),
    ]:
        with pytest.raises(ValueError, match=message):
            klr.spark.moments(bad, **{"target": "y", **arguments})
    for none in (df.where("y < -1e9"), df.limit(0)):
        with pytest.raises(ValueError, match="at least one row"):
            klr.spark.moments(none, "y", ["x"])
    with pytest.raises(ValueError, match="`weight` must not be zero in all rows"):
        klr.spark.moments(df.selectExpr("x", "y", "0 * w as w"), "y", weight="w")
    with pytest.raises(ValueError, match=r"Partition \d: .*negative"):
        klr.spark.moments(df.selectExpr("x", "y", "w - 1 as w"), "y", weight="w")


@pytest.mark.heavy
def test_folds_are_dealt_by_number_or_by_a_column(parquet):
    df, frame = parquet
    dealt = klr.spark.moments(df, "y", ["x", "z"], folds=4)
    assert {abs(fold.rows - 500) < 50 for fold in dealt.folds} == {True}
    again = klr.spark.moments(df, "y", ["x", "z"], folds=4)
    assert [fold.to_bytes() for fold in dealt.folds] == [fold.to_bytes() for fold in again.folds]
    own = klr.spark.moments(df.selectExpr("x", "z", "y", "int(w) as f"), "y", folds="f")
    expected = klr.FoldMoments.from_data(frame[["x", "z"]], frame.y, frame.w.astype(int))
    assert [fold.rows for fold in own.folds] == [fold.rows for fold in expected.folds]
    np.testing.assert_allclose(own.elastic_net().kernels, expected.elastic_net().kernels, rtol=1e-7, atol=1e-9)
    with pytest.raises(ValueError, match="without a gap"):
        klr.spark.moments(df.selectExpr("x", "y", "2 * int(w) as f"), "y", folds="f")


@pytest.mark.heavy
def test_large_moments_are_merged_on_the_workers_in_a_fixed_order(spark, monkeypatch):
    from pyspark.sql import functions as F

    partitions = FAN_IN + 2
    df = spark.range(0, 50 * partitions, numPartitions=partitions).selectExpr(
        "id % 7 as x", "id * id % 31 as z", "id % 5 as y"
    )
    plain = klr.spark.moments(df, "y")
    monkeypatch.setattr(reduction, "LARGE_MESSAGE", 0)
    merged = [klr.spark.moments(df, "y") for _ in range(2)]
    assert merged[0].to_bytes() == merged[1].to_bytes()
    assert merged[0].rows == plain.rows
    np.testing.assert_allclose(merged[0].covariance, plain.covariance, rtol=1e-14, atol=1e-14)
    bad = df.withColumn("x", F.when(F.spark_partition_id() < partitions - 1, 1.0 * F.col("x")).otherwise(float("inf")))
    with pytest.raises(ValueError, match=f"^Partition {partitions - 1}: "):
        klr.spark.moments(bad, "y")


@pytest.mark.heavy
def test_robust_and_clustered_errors_are_those_of_statsmodels(parquet):
    df, frame = parquet
    model = klr.ExactLinearRegression.from_moments(klr.spark.moments(df, "y", ["x", "z"]))
    fit = sm.OLS(frame.y, sm.add_constant(frame[["x", "z"]]))
    shuffled = df.repartition(3)
    for cov_type in ("HC0", "HC1", "HC2", "HC3"):
        report = klr.spark.report(model, shuffled, cov_type)
        np.testing.assert_allclose(report.bse, fit.fit(cov_type=cov_type).bse, rtol=1e-9)
    for groups in ("group", "w"):
        expected = fit.fit(cov_type="cluster", cov_kwds={"groups": frame[groups].astype("category").cat.codes})
        report = klr.spark.report(model, shuffled, "cluster", groups=groups)
        np.testing.assert_allclose(report.bse, expected.bse, rtol=1e-9)
        np.testing.assert_allclose(report.fvalue, np.squeeze(expected.fvalue), rtol=1e-7)
    used = frame[frame.w > 0]
    weighted = sm.WLS(used.y, sm.add_constant(used[["x", "z"]]), used.w).fit(cov_type="HC3")
    moments = klr.spark.moments(df, "y", ["x", "z"], weight="w")
    np.testing.assert_allclose(klr.spark.report(moments, df, weight="w").bse, weighted.bse, rtol=1e-9)
    for other, arguments, message in [
        (df, {"weight": "w"}, "must be the data of the fit"),
        (df.limit(300), {}, "must be the data of the fit"),
        (df.selectExpr("x", "z", "-y as y"), {}, "must be the data of the fit"),
        (df, {"cov_type": "HAC"}, "no order"),
        (df, {"cov_type": "cluster"}, "`groups`"),
        (df, {"cov_type": "cluster", "groups": "nothing"}, "nothing"),
        (df.withColumn("g", df["x"].cast("string").substr(9, 0)), {"cov_type": "cluster", "groups": "g"}, "two groups"),
        (df.selectExpr("*", "if(x > 1000, 'a', null) as g"), {"cov_type": "cluster", "groups": "g"}, "label for each"),
    ]:
        with pytest.raises(ValueError, match=message):
            klr.spark.report(model, other, **arguments)


@pytest.mark.heavy
def test_diagnostics_are_those_of_memory_in_the_order_of_the_partitions(spark, parquet):
    df = parquet[0]
    frame = df.toArrow().to_pandas()
    model = klr.ExactLinearRegression.from_moments(klr.spark.moments(df, "y", ["x", "z"]))
    expected = model.diagnose((frame[["x", "z"]], frame.y))
    ours = klr.spark.diagnose(model, df)
    for name in ("std", "quantiles", "durbin_watson", "skew", "kurtosis", "jarque_bera", "cooks_distance", "rows"):
        np.testing.assert_allclose(getattr(ours, name), getattr(expected, name), rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(
        [*ours.breusch_pagan, *ours.white], [*expected.breusch_pagan, *expected.white], rtol=1e-9
    )
    np.testing.assert_allclose(ours.mean, 0, atol=1e-12)
    assert "Durbin-Watson" in str(ours)
    pd.testing.assert_frame_equal(ours.outlier_test(), expected.outlier_test(), rtol=1e-9)
    assert len(ours.sample["rows"]) == 2000
    with pytest.raises(ValueError, match="must be the data of the fit"):
        klr.spark.diagnose(model, df.limit(50))
    with pytest.raises(ValueError, match=r"influence\(\)"):
        list(ours.influence())


@pytest.mark.heavy
def test_predictions_stand_beside_columns_of_any_kind(spark, parquet):
    df, frame = parquet
    moments = klr.spark.moments(df, "y", ["x", "z"])
    data = df.selectExpr("group", "array(y) as list", "if(z > 0, x, null) as x", "z")
    result = klr.spark.predict(moments, data, interval=True, level=0.9).toArrow().to_pandas()
    expected = klr.ExactLinearRegression.from_moments(moments).predict_interval(result[["x", "z"]], 0.9)
    assert list(result.columns) == ["group", "list", "x", "z", *expected.columns]
    pd.testing.assert_frame_equal(result[expected.columns], expected, rtol=1e-12)
    assert result["mean"].isna().sum() == (frame.z <= 0).sum()
    with pytest.raises(ValueError, match=r"rename them. Received: \['prediction'\]"):
        klr.spark.predict(moments, df.withColumnRenamed("w", "PREDICTION"))
    with pytest.raises(ValueError, match="missing: "):
        klr.spark.predict(moments, df.drop("x"))


# Kills


def slowly(df, folder, seconds, fails=False):
    """The same rows; partition 1 tells that it has begun, and at its first attempt waits or fails."""

    def pass_on(batches):
        import os
        import pathlib
        import time

        from pyspark import TaskContext

        task = TaskContext.get()
        if task.partitionId() == 1:
            pathlib.Path(folder, f"attempt{task.taskAttemptId()}").write_text(str(os.getpid()))
            for i, batch in enumerate(batches):
                if task.attemptNumber() == 0 and i == 0:
                    time.sleep(seconds)
                    if fails:
                        raise OSError("the disk is gone")
                yield batch
        else:
            yield from batches

    return df.mapInArrow(pass_on, df.schema)


def bits_while(df, folder, disturb, seconds=6.0, fails=False):
    """The bits of the moments while `disturb(pid of its worker)` is called, and how many attempts partition 1 had."""
    folder.mkdir()

    def wait():
        until = time.monotonic() + 60
        while not list(folder.iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        disturb(int(next(folder.iterdir()).read_text()))

    thread = threading.Thread(target=wait)
    thread.start()
    bits = klr.spark.moments(slowly(df, str(folder), seconds, fails), "y", ["x", "z"]).to_bytes()
    thread.join()
    return bits, len(list(folder.iterdir()))


def kill(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.heavy
def test_killed_executors_and_workers_and_failed_tasks_change_no_bit(spark, cluster, parquet, tmp_path):
    df = parquet[0]
    ordered = df.repartition(3, "group").sortWithinPartitions("x", "z")
    expected = {"files": klr.spark.moments(df, "y", ["x", "z"]).to_bytes()}
    expected["shuffled"] = klr.spark.moments(ordered, "y", ["x", "z"]).to_bytes()
    for name, data, disturb, seconds, fails in [
        ("failed", df, lambda worker: None, 0.1, True),
        ("python", df, kill, 6, False),
        ("executor", df, lambda worker: kill(parent(parent(worker))), 6, False),
        ("executors", ordered, lambda worker: kill(*cluster.executors()), 6, False),
    ]:
        bits, attempts = bits_while(data, tmp_path / name, disturb, seconds, fails)
        assert bits == expected["shuffled" if data is ordered else "files"], name
        assert attempts > 1, name


@pytest.mark.heavy
def test_a_speculative_task_changes_no_bit(parquet, tmp_path):
    df = parquet[0].repartition(4, "group").sortWithinPartitions("x", "z")
    expected, began = klr.spark.moments(df, "y", ["x", "z"]).to_bytes(), time.monotonic()
    bits, attempts = bits_while(df, tmp_path / "speculative", lambda worker: None, 100)
    assert (bits, attempts) == (expected, 2)
    assert time.monotonic() - began < 95  # the first copy was not waited for
