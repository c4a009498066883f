"""A served formula takes raw columns: text, booleans, integers and numbers, and answers as `predict` does."""

import warnings

import numpy as np
import pandas as pd
import pytest
from cpp_loader import ServingError
from formulas import as_columns
from loader_process import describe, serve

import keras_linreg as klr
from keras_linreg.export.warmup_requests import to_example

ROWS = 60
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "area": RNG.uniform(40, 200, ROWS),
        "city": RNG.choice(["Oslo", "Rome", "Łódź"], ROWS),
        "age of house": RNG.integers(1, 90, ROWS),
        "rooms": RNG.integers(1, 5, ROWS),
        "lift": RNG.random(ROWS) < 0.5,
        "score": RNG.choice([0.1, 0.2, 0.7], ROWS),
    }
).assign(price=lambda table: np.exp(table["area"] / 100 + table["lift"] + RNG.normal(size=ROWS) / 9))
FORMULA = (
    "log(price) ~ area * C(city, unseen='Oslo') + C(rooms) + lift + I(`age of house` ** 2) + bs(area, df=5) - area"
    " + C(score)"
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    model = klr.ExactLinearRegression(preprocessor=klr.Formula(FORMULA))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*depend", UserWarning)
        model.fit(TABLE, verbose=0)
    folder = tmp_path_factory.mktemp("house")
    path = klr.publish(model, folder, warmup=TABLE)
    return model, str(path)


def request(table=TABLE):
    dtypes = {"area": np.float32, "age of house": np.float32, "score": np.float32}
    columns = as_columns(table)
    return {name: columns[name].astype(dtypes.get(name, columns[name].dtype)) for name in columns if name != "price"}


def test_a_request_carries_raw_columns_in_their_own_kinds(house):
    _, path = house
    inputs = describe(path)["serving_default"]["inputs"]
    dtypes = {name: spec["dtype"] for name, spec in inputs.items()}
    assert dtypes == {
        **{"area": "float32", "city": "string", "age of house": "float32"},
        **{"rooms": "int64", "lift": "bool", "score": "float32"},
    }


def test_the_server_answers_as_predict_and_predict_interval_do(house):
    model, path = house
    expected = model.predict_interval(TABLE)
    served = serve(path, "predict_interval", request())
    assert not served.pop("extrapolates").any()
    for key in served:
        np.testing.assert_allclose(served[key], expected[key], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        serve(path, "serving_default", request())["predictions"].ravel(), expected["mean"], rtol=1e-4
    )


def test_serialized_examples_hold_booleans_as_integers(house):
    model, path = house
    rows = [to_example({name: values[i] for name, values in request().items()}) for i in range(3)]
    served = serve(path, "regress", {"inputs": [row.SerializeToString() for row in rows]})["outputs"]
    np.testing.assert_allclose(served, model.predict(TABLE[:3], verbose=0).ravel(), rtol=1e-4)


def test_a_missing_number_answers_nan_in_its_own_row_and_so_does_one_outside_of_the_knots(house):
    served = serve(house[1], "serving_default", request(TABLE.assign(area=[np.nan, 1e6, *TABLE["area"][2:]])))
    assert np.flatnonzero(np.isnan(served["predictions"])).tolist() == [0, 1]


def test_a_new_level_is_refused_by_column_and_value_and_a_missing_one_by_column(house):
    with pytest.raises(ServingError, match=r"Column .*rooms.* must hold levels.*77"):
        serve(house[1], "serving_default", request(TABLE.assign(rooms=77)))
    with pytest.raises(ServingError, match=r"Column .*city.* must have a value in each row"):
        serve(house[1], "serving_default", request(TABLE.assign(city="")))


def test_a_new_level_that_the_formula_sends_to_a_known_one_is_answered(house):
    served = serve(house[1], "serving_default", request(TABLE.assign(city="Atlantis")))
    expected = serve(house[1], "serving_default", request(TABLE.assign(city="Oslo")))
    np.testing.assert_array_equal(served["predictions"], expected["predictions"])


@pytest.mark.parametrize(("offset", "warns"), [(0.0, False), (1e9, True)])
def test_export_warns_of_columns_that_float32_would_spoil(offset, warns, tmp_path):
    table = pd.DataFrame({"a": RNG.normal(size=50) + offset, "y": RNG.normal(size=50)})
    model = klr.ExactLinearRegression(preprocessor=klr.Formula("y ~ center(a)"))
    model.fit(table, verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.export(tmp_path / "model", verbose=False)
    assert any("float32" in str(warning.message) for warning in caught) is warns
