"""Write the SavedModel of a `tf.estimator.LinearRegressor` of TensorFlow 2.15, and its weights.

    python3.11 -m venv estimator && estimator/bin/pip install tensorflow-cpu==2.15.1
    estimator/bin/python tests/reference/estimator_2_15.py

TensorFlow left estimators out in 2.16, so this runs outside of the tests' environment. The tests load the SavedModel in
the same C++ loader as ours.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).with_suffix("")
COLUMNS = ("age", "bmi")


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, len(COLUMNS))).astype("float32")
    y = (x @ [2.0, -3.0] + 1 + 0.1 * rng.normal(size=200)).astype("float32")
    columns = [tf.feature_column.numeric_column(name) for name in COLUMNS]
    estimator = tf.estimator.LinearRegressor(columns)

    def rows():
        by_name = dict(zip(COLUMNS, x.T, strict=True))
        return tf.data.Dataset.from_tensor_slices((by_name, y)).repeat().batch(50)

    estimator.train(rows, steps=200)
    spec = tf.feature_column.make_parse_example_spec(columns)
    receiver = tf.estimator.export.build_parsing_serving_input_receiver_fn(spec)
    with tempfile.TemporaryDirectory() as base:
        exported = estimator.export_saved_model(base, receiver)
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(exported.decode(), FOLDER)
    weights = {name: estimator.get_variable_value(f"linear/linear_model/{name}/weights").item() for name in COLUMNS}
    bias = estimator.get_variable_value("linear/linear_model/bias_weights").item()
    (FOLDER / "weights.json").write_text(json.dumps({"kernel": weights, "bias": bias}, indent=2) + "\n")


if __name__ == "__main__":
    main()
