"""An exact fit by the two processes of a MultiWorkerMirroredStrategy: each reduces its shard, and all gather bytes.

    python examples/scale/two_processes.py          starts two processes, which print the same coefficients

Keras 3 does not support that strategy, and `fit` refuses it. An exact fit does not need it: it needs the sum of
moments. TensorFlow's collective operations carry the bytes.
"""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import tensorflow as tf

import keras_linreg as klr
import keras_linreg.utils.quiet


def all_moments(own, strategy):
    """Return the sum of the moments of all processes, the same bits in each."""
    context = tf.distribute.get_replica_context()
    assert context is not None and strategy.num_replicas_in_sync > 1
    data = np.frombuffer(own.to_bytes(), np.uint8).astype(np.int32)
    lengths = np.asarray(strategy.gather(strategy.run(lambda: tf.constant([len(data)])), axis=0))
    padded = tf.constant(np.pad(data, (0, lengths.max() - len(data)))[None])
    rows = np.asarray(strategy.gather(strategy.run(lambda: padded), axis=0)).astype(np.uint8)
    return sum(klr.Moments.from_bytes(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True))


def shard(index, shards):
    """Return this process's rows: here of one table, at work its own files."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10_000, 3))
    y = x @ [1.0, -2.0, 0.5] + 3 + rng.normal(size=10_000)
    return x[index::shards], y[index::shards]


def work(index):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    moments = all_moments(klr.Moments.from_data(*shard(index, strategy.num_replicas_in_sync)), strategy)
    model = klr.ExactLinearRegression.from_moments(moments)
    print(
        f"{moments.rows:,} rows: {model.kernel.numpy()[:, 0].round(4).tolist()}, bias {model.bias.numpy().round(4)[0]}"
    )


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def main():
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    processes = []
    for index in range(2):
        config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        environment = {**os.environ, "TF_CONFIG": config, "CUDA_VISIBLE_DEVICES": "-1"}
        processes.append(subprocess.Popen([sys.executable, __file__, str(index)], env=environment))
    sys.exit(max(process.wait() for process in processes))


if __name__ == "__main__":
    work(int(sys.argv[1])) if len(sys.argv) > 1 else main()
