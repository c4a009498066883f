"""How long a served model takes: beside the same model in plain Keras, through TF Serving's own C++ loader.

    python examples/benchmarks/serving.py

Both are exported and loaded in one process without Python's TensorFlow. Only the runs of the session are timed (what a
server adds, HTTP or gRPC, is the same for both), in turns, on one core: with more of them a sleeping thread takes as
long to wake, now and then, as the whole request. Each round loads the models anew: one and the same graph may take 15
or 20 microseconds all through a session. Microseconds are medians of each round's median, ratios the medians of each
round's ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np
import numpy.random  # NumPy would import it late, and then it clashes with the C++ library

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = (4, 10, 30)
ROWS = (1, 1000)
EXPLAIN, DEFAULT = ("exact", "explain"), ("exact", "serving_default")
SIGNATURES = (("tape", "serving_default"), DEFAULT, ("exact", "predict_interval"), EXPLAIN)


def export(folder: Path, widths) -> None:
    import keras
    import pandas as pd

    import keras_linreg as klr

    for columns in widths:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(500, columns))
        y = x.sum(axis=1) + rng.normal(size=500)
        names = [f"column{i:02d}" for i in range(columns)]
        dense = keras.Sequential([keras.layers.Input((columns,), name="features"), keras.layers.Dense(1)])
        dense.export(folder / f"keras matrix {columns}", verbose=False)
        inputs = {name: keras.layers.Input((1,), name=name) for name in names}
        joined = keras.layers.Concatenate()(list(inputs.values()))
        keras.Model(inputs, keras.layers.Dense(1)(joined)).export(folder / f"keras columns {columns}", verbose=False)
        for kind, data in (("matrix", x), ("columns", pd.DataFrame(x, columns=names))):
            tape, exact = klr.LinearRegression(), klr.ExactLinearRegression()
            tape.compile()
            for name, model in (("tape", tape), ("exact", exact)):
                model.fit(data, y, verbose=0)
                model.export(folder / f"{name} {kind} {columns}", verbose=False)


def measure(folder: Path, widths, runs: int, rounds: int, cores: int) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from cpp_loader import SavedModel

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    print(f"{'columns x rows':52} {'Keras':>8} {'ours':>8} {'ratio':>6}")
    for kind in ("matrix", "columns"):
        for columns in widths:
            for rows in ROWS:
                x = np.random.default_rng(0).normal(size=(rows, columns)).astype("float32")
                contestants = [("keras", "serving_default"), *SIGNATURES]
                taken: dict = {contestant: [] for contestant in contestants}
                for _ in range(rounds):
                    models = {
                        name: SavedModel(folder / f"{name} {kind} {columns}") for name in ("keras", "tape", "exact")
                    }
                    for name, signature in contestants:
                        request = request_of(models[name].signatures[signature]["inputs"], x)
                        taken[name, signature] += [statistics.median(models[name].seconds(signature, request, runs))]
                peers = taken[contestants[0]]
                for name, signature in SIGNATURES:
                    ours = taken[name, signature]
                    ratio = statistics.median(mine / peer for mine, peer in zip(ours, peers, strict=True))
                    peer, mine = (statistics.median(times) * 1e6 for times in (peers, ours))
                    what = f"{kind}, {columns} x {rows:,}: {name} {signature}"
                    print(f"{what:52} {peer:8.1f} {mine:8.1f} {ratio:6.2f}")
                ratio = statistics.median(a / b for a, b in zip(taken[EXPLAIN], taken[DEFAULT], strict=True))
                print(f"{'':4}explain takes {ratio:.2f} times as long as serving_default", flush=True)


def request_of(inputs: dict, x: np.ndarray) -> dict[str, np.ndarray]:
    if len(inputs) == 1:
        return {name: x for name in inputs}
    shapes = {name: (-1, *info["shape"][1:]) for name, info in inputs.items()}
    return {name: x[:, i].reshape(shapes[name]) for i, name in enumerate(sorted(inputs))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="of each signature in a round")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--columns", type=int, nargs="+", default=COLUMNS)
    parser.add_argument("--exported", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.exported:
        measure(given.exported, given.columns, given.runs, given.rounds, given.cores)
        return
    with tempfile.TemporaryDirectory() as place:
        export(Path(place), given.columns)
        numbers = ["--runs", given.runs, "--rounds", given.rounds, "--cores", given.cores, "--columns", *given.columns]
        command = [sys.executable, __file__, "--exported", place, *map(str, numbers)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
