"""Write the files of `files_of_0_1_0/`: run with keras_linreg 0.1.0 installed, never with a later version.

    python tests/reference/write_files_of_0_1_0.py

The numbers beside them, `expected.json`, are what 0.1.0 itself predicted and reported.
"""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import keras_linreg as klr

FOLDER = Path(__file__).parent / "files_of_0_1_0"


def houses(count: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(10)
    rooms = random.integers(1, 8, count)
    frame = pd.DataFrame(
        {
            "living area": 30.0 + 25 * rooms + random.normal(0, 8, count),
            "rooms": rooms,
            "city": random.choice(["Rome", "Oslo", "Paris"], count),
        }
    )
    price = 3 * frame["living area"] + 10 * rooms + 40 * (frame["city"] == "Oslo") + random.normal(0, 9, count)
    return frame, price.to_numpy()


def main() -> None:
    assert klr.__version__ == "0.1.0"
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    keras.utils.set_random_seed(0)
    frame, price = houses()
    numbers, new = frame[["living area", "rooms"]], frame[:5]

    tape = klr.LinearRegression(preprocessor=None, kernel_regularizer=keras.regularizers.L2(1e-3), name="tape")
    tape.compile(optimizer=keras.optimizers.SGD(1e-5, momentum=0.9), loss=klr.SquaredError(), metrics=["mae"])
    tape.fit(numbers, price, epochs=20, batch_size=20, verbose=0)
    tape.save(FOLDER / "tape.keras")

    exact = klr.ExactLinearRegression(name="exact")
    exact.fit(numbers, price, verbose=0)
    exact.save(FOLDER / "exact.keras")
    exact.moments.save(FOLDER / "houses.moments")
    klr.publish(exact, FOLDER / "published", warmup=numbers[:3])

    ridge = klr.ExactLinearRegression(
        kernel_regularizer=keras.regularizers.L2(0.01), dependent="min_norm", use_bias=False, name="ridge"
    )
    ridge.fit(numbers, price, verbose=0)
    ridge.save(FOLDER / "ridge.keras")

    space = keras.utils.FeatureSpace(
        {"living area": "float_normalized", "rooms": "float", "city": "string_categorical"}, output_mode="concat"
    )
    import tensorflow as tf

    space.adapt(tf.data.Dataset.from_tensor_slices(dict(frame)))
    with_space = klr.ExactLinearRegression(preprocessor=space, name="with_space")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_space.fit(frame, price, verbose=0)
    with_space.save(FOLDER / "feature_space.keras")

    report = exact.report()
    expected = {
        "tape": {"predictions": tape.predict(new[["living area", "rooms"]], verbose=0).tolist()},
        "exact": {
            "predictions": exact.predict(new[["living area", "rooms"]], verbose=0).tolist(),
            "params": report.params.tolist(),
            "bse": report.bse.tolist(),
            "mean_ci_lower": exact.predict_interval(new[["living area", "rooms"]])["mean_ci_lower"].tolist(),
        },
        "ridge": {"predictions": ridge.predict(new[["living area", "rooms"]], verbose=0).tolist()},
        "feature_space": {"predictions": with_space.predict(new, verbose=0).tolist()},
        "moments": {
            "means": exact.moments.means.tolist(),
            "ridge_kernel": exact.moments.solve(l2=0.01).kernel.tolist(),
        },
    }
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
