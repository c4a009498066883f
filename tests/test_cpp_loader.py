"""The loader's answers against TensorFlow's own, on graphs small enough to read."""

import numpy as np
import pytest
import tensorflow as tf
from cpp_loader import Code, ServingError
from loader_process import describe, serve

# More bytes than letters, more bytes than a TF_TString holds inside itself, a last byte dtype 'S' would drop.
CITIES = ["Łódź", "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch", "Oslo\0"]
DTYPES = tf.float64, tf.int32, tf.int64, tf.bool


class House(tf.Module):
    """A variable and a table, both empty until the loader has run their initialisers."""

    def __init__(self):
        self.kernel = tf.Variable([[1.0], [2.0], [3.0]])
        cities = tf.lookup.KeyValueTensorInitializer(CITIES, [10.0, 20.0, 30.0])
        self.rent = tf.lookup.StaticHashTable(cities, -1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.string)])
    def price(self, features, city):
        return {"price": features @ self.kernel + self.rent.lookup(city)[:, None], "label": city + "\0"}

    @tf.function(input_signature=[tf.TensorSpec(None, dtype, name=dtype.name) for dtype in DTYPES])
    def echo(self, *inputs):
        return {x.dtype.name: x for x in inputs}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("house"))
    module = House()
    tf.saved_model.save(module, path, {"serving_default": module.price, "echo": module.echo})
    return module, path


@pytest.fixture
def request_():
    return {"features": np.arange(9, dtype="float32").reshape(3, 3), "city": CITIES}


def test_a_fresh_process_answers_as_tensorflow_does(house, request_):
    module, path = house
    served = serve(path, "serving_default", request_)
    expected = module.price(**{name: tf.constant(value) for name, value in request_.items()})
    assert served.keys() == expected.keys()
    np.testing.assert_allclose(served["price"], expected["price"], rtol=1e-6)
    assert served["price"].dtype == np.float32
    assert served["label"].tolist() == expected["label"].numpy().tolist()


def test_every_dtype_and_rank_comes_back(house):
    sent = {"float64": np.float64(0.1), "int32": np.zeros((0, 2), "int32")}
    sent |= {"int64": np.array([[2**40, -1]]), "bool": np.array([True, False])}
    back = serve(house[1], "echo", sent)
    for name, value in sent.items():
        np.testing.assert_array_equal(back[name], value, strict=True)


def test_describe(house):
    signatures = describe(house[1])
    assert signatures.keys() == {"serving_default", "echo"}
    price = signatures["serving_default"]
    assert price["method_name"] == "tensorflow/serving/predict"
    infos = price["inputs"] | price["outputs"]
    assert {key: (info["dtype"], info["shape"]) for key, info in infos.items()} == {
        "features": ("float32", [-1, 3]),
        "city": ("string", [-1]),
        "price": ("float32", [-1, 1]),
        "label": ("string", [-1]),
    }
    assert signatures["echo"]["inputs"]["int64"]["shape"] is None


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"file": [1.0]}, Code.INVALID_ARGUMENT, r"Sent extra: \['file'\]"),
        ({"city": None}, Code.INVALID_ARGUMENT, r"Missing but required: \['city'\]"),
        (
            {"features": np.ones((3, 2), "float32")},
            Code.INVALID_ARGUMENT,
            r"In\[0\]: \[3,2\], In\[1\]: \[3,1\]",
        ),
        ({"features": np.ones((3, 3))}, Code.INVALID_ARGUMENT, "to be float but double"),
    ],
)
def test_a_bad_request_is_refused(house, request_, change, code, message):
    request = {name: value for name, value in (request_ | change).items() if value is not None}
    with pytest.raises(ServingError, match=message) as caught:
        serve(house[1], "serving_default", request)
    assert caught.value.code == code


def test_unknown_signature_and_model(house, tmp_path):
    with pytest.raises(ServingError, match=r"FAILED_PRECONDITION \(9\): .*nobody"):
        serve(house[1], "nobody", {})
    with pytest.raises(ServingError, match="NOT_FOUND"):
        describe(tmp_path)


def test_a_graph_that_calls_python_is_refused(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": tf.numpy_function(np.sqrt, [x], tf.float32)})
    spec = tf.TensorSpec([None], tf.float32, name="x")
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.f.get_concrete_function(spec)})
    with pytest.raises(ServingError, match="PyFunc"):
        serve(tmp_path, "serving_default", {"x": np.ones(2, "float32")})
