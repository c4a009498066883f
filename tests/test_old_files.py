"""Files written by keras_linreg 0.1.0 load and predict as they did then."""

import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_linreg as klr
from keras_linreg.export import saved_model

sys.path.insert(0, str(Path(__file__).parent / "reference"))
from write_files_of_0_1_0 import FOLDER, houses

EXPECTED = json.loads((FOLDER / "expected.json").read_text())
NUMBERS = ["living area", "rooms"]


@pytest.fixture(scope="module")
def rows():
    return houses()[0][:5]


@pytest.mark.parametrize("name", ["tape", "exact", "ridge", "feature_space"])
def test_a_model_file_predicts_as_it_did(name, rows):
    model = keras.models.load_model(FOLDER / f"{name}.keras")
    x = rows if name == "feature_space" else rows[NUMBERS]
    np.testing.assert_allclose(actual=model.predict(x, verbose=0), desired=EXPECTED[name]["predictions"], rtol=1e-6)


def test_an_exact_model_file_still_has_its_report_and_intervals(rows):
    model = keras.models.load_model(FOLDER / "exact.keras")
    report = model.report()
    np.testing.assert_allclose(actual=report.params, desired=EXPECTED["exact"]["params"], rtol=1e-12)
    np.testing.assert_allclose(actual=report.bse, desired=EXPECTED["exact"]["bse"], rtol=1e-12)
    lower = model.predict_interval(rows[NUMBERS])["mean_ci_lower"]
    np.testing.assert_allclose(actual=lower, desired=EXPECTED["exact"]["mean_ci_lower"], rtol=1e-12)


def test_a_model_file_that_was_compiled_can_be_trained_on():
    frame, price = houses()
    model = keras.models.load_model(FOLDER / "tape.keras")
    assert isinstance(model.loss, klr.SquaredError) and model.optimizer.momentum == 0.9
    before = model.evaluate(frame[NUMBERS], price, verbose=0)[0]
    model.fit(frame[NUMBERS], price, epochs=5, batch_size=20, verbose=0)
    assert model.evaluate(frame[NUMBERS], price, verbose=0)[0] < before


def test_a_file_of_moments_solves_and_merges_as_it_did():
    frame, price = houses()
    moments = klr.Moments.load(FOLDER / "houses.moments")
    np.testing.assert_allclose(actual=moments.means, desired=EXPECTED["moments"]["means"], rtol=1e-14)
    ridge = moments.solve(l2=0.01).kernel
    np.testing.assert_allclose(actual=ridge, desired=EXPECTED["moments"]["ridge_kernel"], rtol=1e-12)
    twice = moments + klr.Moments.from_data(frame[NUMBERS], price)
    assert twice.nobs == 2 * moments.nobs
    np.testing.assert_allclose(actual=twice.solve().kernel, desired=moments.solve().kernel, rtol=1e-10)


def test_a_published_version_serves_as_it_did_and_gets_a_successor(rows, tmp_path):
    base = tmp_path / "published"
    shutil.copytree(FOLDER / "published", base)
    with saved_model.open_session(base / "1") as run:
        columns = {name: rows[name].to_numpy(np.float32) for name in NUMBERS}
        predictions = run("serving_default", columns)["predictions"]
    np.testing.assert_allclose(actual=predictions, desired=EXPECTED["exact"]["predictions"], rtol=1e-5)
    assert klr.publish(keras.models.load_model(FOLDER / "exact.keras"), base).name == "2"
