"""Requests as clients of TF Serving's REST API type them, to the C++ loader as its handlers do, or to a server.

    answer = rest.ask(folder, "regress", {"examples": [{"age": 59.0}]})

An answer is what the server's JSON holds, or a ServingError.
"""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import tensorflow as tf
from cpp_loader import Code
from loader_process import ServingError, describe, serve

SERVER = shutil.which("tensorflow_model_server")
METHODS = {"predict": ("predict", "regress", "classify"), "regress": ("regress",)}  # that a signature may have


def ask(folder, method, body):
    """Return the answer of the graph to a REST request, handled as the server handles it; or raise ServingError."""
    key = body.get("signature_name", "serving_default")
    signature = describe(folder).get(key)
    if signature is None:
        raise ServingError(Code.INVALID_ARGUMENT, f"Serving signature name: {key!r} not found in signature def")
    if signature["method_name"].rpartition("/")[2] not in METHODS[method]:
        raise ServingError(Code.INVALID_ARGUMENT, f"Expected {method}. Was: {signature['method_name']}")
    if method == "regress":
        if list(signature["inputs"]) != ["inputs"]:
            raise ServingError(Code.INVALID_ARGUMENT, f"Expected one input 'inputs'. Was: {list(signature['inputs'])}")
        examples = [_example(features).SerializeToString() for features in body["examples"]]
        outputs = serve(folder, key, {"inputs": np.array(examples, object)})["outputs"]
        assert outputs.dtype == np.float32 and outputs.shape in ((len(examples),), (len(examples), 1))
        return {"results": outputs.ravel().tolist()}
    outputs = serve(folder, key, _inputs(body, signature["inputs"]))
    lists = {name: values.tolist() for name, values in outputs.items()}
    if "inputs" in body:
        return {"outputs": lists if len(lists) > 1 else next(iter(lists.values()))}
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return {"predictions": rows if len(lists) > 1 else next(iter(lists.values()))}


def _inputs(body, infos):
    """The tensors of a Predict request by row ("instances") or by column ("inputs")."""
    if "inputs" in body:
        columns = body["inputs"] if isinstance(body["inputs"], dict) else {next(iter(infos)): body["inputs"]}
    elif all(isinstance(row, dict) and "b64" not in row for row in body["instances"]):
        columns = {name: [row[name] for row in body["instances"]] for name in body["instances"][0]}
    else:
        columns = {next(iter(infos)): body["instances"]}
    if set(columns) != set(infos):
        raise ServingError(Code.INVALID_ARGUMENT, f"Expected the inputs {sorted(infos)}. Was: {sorted(columns)}")
    return {name: _tensor(values, infos[name]["dtype"]) for name, values in columns.items()}


def _tensor(values, dtype):
    if dtype != "string":
        return np.array(values, dtype)
    decoded = [base64.b64decode(v["b64"]) if isinstance(v, dict) else v.encode() for v in values]
    return np.array(decoded, object)


def _example(features):
    """The Example that the server makes of a JSON object: an int64 of an integer, a float of any other number."""
    example = tf.train.Example()
    for name, value in features.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str | bytes):
                example.features.feature[name].bytes_list.value.append(part.encode() if isinstance(part, str) else part)
            else:
                kind = "int64_list" if isinstance(part, int) else "float_list"
                getattr(example.features.feature[name], kind).value.append(part)
    return example


def as_instance(features):
    """The serialized Example of some features as a JSON value."""
    return {"b64": base64.b64encode(_example(features).SerializeToString()).decode()}


@contextlib.contextmanager
def server(base, name="model"):
    """Run TF Serving on the versions in a folder; yield a function `(method, body)` as `ask`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [SERVER, f"--rest_api_port={port}", "--port=0", f"--model_name={name}", f"--model_base_path={base}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://localhost:{port}/v1/models/{name}"
    try:
        deadline = time.monotonic() + 60
        while not _is_available(url):
            assert process.poll() is None and time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
        yield lambda method, body: _post(f"{url}:{method}", body)
    finally:
        process.terminate()
        process.wait()


def _is_available(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return b"AVAILABLE" in reply.read()
    except OSError:
        return False


def _post(url, body):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=30) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise ServingError(Code.INVALID_ARGUMENT, error.read().decode()) from error
