"""Through Spark Connect, the functions of `klr.spark` give what memory gives; in a process of its own."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.heavy

SCRIPT = """
import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

import keras_linreg as klr

spark = SparkSession.builder.remote("local[2]").getOrCreate()
rng = np.random.default_rng(0)
frame = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a b", "c.d", "y"])
frame["city"] = rng.integers(0, 5, 400).astype(str)
rows, features = spark.createDataFrame(frame), ["a b", "c.d"]
x, y = frame[features], frame["y"]

model = klr.ExactLinearRegression()
model.fit(x, y, verbose=0)
moments = klr.spark.moments(rows, "y", features)
np.testing.assert_allclose(moments.solve().kernel, model.moments.solve().kernel, rtol=1e-13)
for cov_type, groups in (("HC3", None), ("cluster", "city")):
    labels = None if groups is None else frame[groups]
    expected = model.report(cov_type=cov_type, data=(x, y), groups=labels).bse
    actual = klr.spark.report(moments, rows, cov_type, groups=groups).bse
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
predicted = klr.spark.predict(moments, rows, interval=True).toPandas().sort_values("a b")
expected = model.predict_interval(x).loc[x["a b"].sort_values().index]
np.testing.assert_allclose(predicted["obs_ci_lower"], expected["obs_ci_lower"], rtol=1e-12)
assert klr.spark.diagnose(moments, rows).durbin_watson > 0

formula = klr.Formula("y ~ bs(`a b`, knots=[0]) + city")
moments = klr.spark.moments(rows, preprocessor=formula)
model = klr.ExactLinearRegression.from_moments(moments, preprocessor=formula)
actual = klr.spark.report(model, rows, "HC3").bse
np.testing.assert_allclose(actual, model.report(cov_type="HC3", data=frame).bse, rtol=1e-9)
predicted = klr.spark.predict(model, rows.select("city", "a b")).toPandas()
np.testing.assert_allclose(predicted["prediction"], model.predict(predicted, verbose=0)[:, 0], rtol=1e-9)
print("agrees", type(spark).__module__)
"""


def test_spark_connect_gives_what_memory_gives(tmp_path):
    pytest.importorskip("grpc_status", reason='`pip install "pyspark[connect]"`, as .ci/run does')
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environment, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "agrees pyspark.sql.connect.session" in result.stdout
