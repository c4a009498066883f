"""Ship it: export a model with its intervals, publish versions of it, and call them as a client would.

    python examples/serving.py [--output serving_output]

Fits scikit-learn's diabetes table exactly, publishes it as version 1 for TF Serving, and shows the requests of a client
as they are typed: REST by row and by column, gRPC by named tensors, and `tf.Example`s. Where Docker runs, a server is
started and asked; else its commands are printed, and the same requests go to the graph itself.
"""

import keras_linreg.utils.quiet  # first: TensorFlow then writes no log lines

# isort: split
import argparse
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_diabetes
from tensorflow_serving.apis import predict_pb2, regression_pb2

import keras_linreg as klr

NAME = "progression"
PORT, GRPC_PORT = 8501, 8500
SERVER = "localhost"


def main(output: Path) -> None:
    table = load_diabetes(as_frame=True, scaled=False)
    x, y = table.data, table.target
    model = klr.ExactLinearRegression()
    model.fit(x, y, verbose=0)

    print("1. Export, look at it, publish it\n")
    model.export(output / "exported")
    version = klr.publish(output / "exported", output / "models" / NAME, warmup=x.head(20), keep=3)
    facts = json.loads((version / "keras_linreg.json").read_text())
    print(f"\nPublished {version}: {', '.join(path.name for path in sorted(version.iterdir()))}")
    training = facts["training"]
    print(
        f"  fitted on {training['rows']} rows; a leverage above {training['leverage_threshold']:.3f} is far from them"
    )

    rows = [{name: float(value) for name, value in row.items()} for row in x.head(2).to_dict("records")]
    requests = rest_requests(rows)
    print("\n2. A server, and what a client types\n")
    print("    " + " ".join(docker_command(output)))
    for what, (method, body) in requests.items():
        print(f"\n  {what}\n    curl -d '{json.dumps(body)}' \\\n        {SERVER}:{PORT}/v1/models/{NAME}:{method}")

    print("\n3. The same as messages of gRPC\n")
    predict, regress = grpc_requests(rows)
    print(f"  PredictionServiceStub.Predict: {predict.ByteSize()} bytes for {predict.model_spec.signature_name!r}")
    print(f"  PredictionServiceStub.Regress: {regress.ByteSize()} bytes for {regress.model_spec.signature_name!r}")

    print("\n4. The answers\n")
    with server(output) as running:
        if running:
            for what, (method, body) in requests.items():
                print(f"  {what}\n    {post(method, body)}")
            print(f"  gRPC Predict\n    {grpc_answers(predict, regress)}")
        else:
            print("  No Docker here: the published graph is asked instead of a server.\n")
            answer_without_a_server(version, predict, regress)
    expected = model.predict_interval(x.head(2))
    print("\n  What the model itself says of the two rows:")
    for key, values in expected.items():
        print(f"    {key:16} {np.round(values.to_numpy(), 4)}")


def rest_requests(rows: list[dict]) -> dict:
    """Return bodies of REST requests, by what they show."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        "a prediction for each row": ("predict", {"instances": rows}),
        "the same by column": ("predict", {"inputs": columns}),
        "with intervals": ("predict", {"signature_name": "predict_interval", "instances": rows}),
        "with intervals at a level of one's own": (
            "predict",
            {"signature_name": "predict_interval_at", "instances": [{**row, "level": 0.999} for row in rows]},
        ),
        "Examples, the way of tf.estimator": ("regress", {"signature_name": "regress", "examples": rows}),
    }


def grpc_requests(rows: list[dict]):
    """Return a PredictRequest for intervals, and a RegressionRequest of Examples."""
    predict = predict_pb2.PredictRequest()
    predict.model_spec.name, predict.model_spec.signature_name = NAME, "predict_interval"
    for name in rows[0]:
        column = np.array([row[name] for row in rows], np.float32)
        predict.inputs[name].CopyFrom(tf.make_tensor_proto(column))
    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name, regress.model_spec.signature_name = NAME, "regress"
    for row in rows:
        example = regress.input.example_list.examples.add()
        for name, value in row.items():
            example.features.feature[name].float_list.value.append(value)
    return predict, regress


def grpc_answers(predict, regress) -> dict:
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(f"{SERVER}:{GRPC_PORT}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(predict, timeout=10)
        regression = stub.Regress(regress, timeout=10)
    found = {name: tf.make_ndarray(tensor).tolist() for name, tensor in sorted(answer.outputs.items())}
    return {**found, "regress": [r.value for r in regression.result.regressions]}


def answer_without_a_server(version: Path, predict, regress) -> None:
    served = tf.saved_model.load(str(version))
    columns = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in predict.inputs.items()}
    for key, values in sorted(served.predict_interval(columns).items()):
        print(f"    {key:16} {values.numpy() if values.dtype == tf.bool else np.round(values.numpy(), 4)}")
    examples = [example.SerializeToString() for example in regress.input.example_list.examples]
    print(f"    {'regress':16} {np.round(served.regress(tf.constant(examples))['outputs'].numpy(), 4)}")


def docker_command(output: Path) -> list[str]:
    base = (output / "models" / NAME).resolve()
    shown = f"{base}:/models/{NAME}"
    ports = ["-p", f"{PORT}:8501", "-p", f"{GRPC_PORT}:8500"]
    return [
        "docker",
        "run",
        "--rm",
        "--name",
        NAME,
        *ports,
        "-v",
        shown,
        "-e",
        f"MODEL_NAME={NAME}",
        "tensorflow/serving",
    ]


@contextlib.contextmanager
def server(output: Path):
    """Run TF Serving where Docker is, and its image has been pulled; yield whether it answers."""
    pulled = shutil.which("docker") and subprocess.run(
        ["docker", "image", "inspect", "tensorflow/serving"], capture_output=True
    )
    if not pulled or pulled.returncode:
        yield False
        return
    process = subprocess.Popen(docker_command(output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not answers():
            time.sleep(0.5)
        yield answers()
    finally:
        subprocess.run(["docker", "stop", NAME], capture_output=True)
        process.wait()


def answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://{SERVER}:{PORT}/v1/models/{NAME}", timeout=2) as reply:
            return b"AVAILABLE" in reply.read()
    except OSError:
        return False


def post(method: str, body: dict) -> dict:
    url = f"http://{SERVER}:{PORT}/v1/models/{NAME}:{method}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=10) as reply:
        return json.load(reply)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("serving_output"))
    main(parser.parse_args().output)
