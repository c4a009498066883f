"""Kill publishers at random moments, let several publish at once, and look at what a server could see.

    python tests/publishers.py --kills 200 --publishers 8 --each 5

While they work, every version that appears is compared with the hash in its JSON. Ends with 1 where a version is
incomplete, lost or overwritten.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def prepare(folder: Path, count: int) -> None:
    import numpy as np

    import keras_linreg as klr

    x = np.random.default_rng(0).normal(size=(50, 4))
    for i in range(count):
        model = klr.ExactLinearRegression(name=f"model{i}")
        model.fit(x, x.sum(axis=1) + x[:, 0] ** 2, verbose=0)
        model.export(folder / f"model{i}", verbose=False)
        model.save(folder / f"model{i}.keras")


def publish_for_ever(source: Path, base: Path, as_model: bool, started) -> None:
    import keras

    import keras_linreg as klr

    model = keras.models.load_model(f"{source}.keras") if as_model else source
    while True:
        started.set()
        klr.publish(model, base, keep=5)


def publish_some(source: Path, base: Path, each: int, results) -> None:
    import keras_linreg as klr

    results.put([(source.name, klr.publish(source, base).name) for _ in range(each)])


class Watcher(threading.Thread):
    """A server's eyes: looks at every version as soon as it is there."""

    def __init__(self, base: Path):
        super().__init__(daemon=True)
        self.base, self.ends, self.seen, self.broken = base, False, set(), []

    def run(self):
        while not self.ends:
            self.look()

    def look(self):
        from keras_linreg.export import manifest

        for name in sorted(n for n in os.listdir(self.base) if n.isdecimal()):
            if name in self.seen:
                continue
            try:
                facts = manifest.read(self.base / name)
                assert facts["version"] == int(name)
                self.seen.add(name)
            except Exception as error:
                if (self.base / name).exists():  # else it was pruned meanwhile
                    self.broken.append(f"{name}: {error}")


def kill(context, folder: Path, kills: int) -> bool:
    base = folder / "killed"
    base.mkdir()
    watcher = Watcher(base)
    watcher.start()
    for i in range(kills):
        started = context.Event()
        child = context.Process(target=publish_for_ever, args=(folder / "model0", base, i % 2 == 1, started))
        child.start()
        started.wait(60)
        time.sleep(random.uniform(0, 1.5))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    watcher.ends = True
    watcher.join()
    watcher.look()
    left = [name for name in os.listdir(base) if not name.isdecimal()]
    versions = sorted(int(name) for name in os.listdir(base) if name.isdecimal())
    print(f"{kills} kills: {versions[-1]} versions, {len(watcher.seen)} seen, {len(watcher.broken)} incomplete")
    print(f"  versions kept {versions}; unfinished folders that the next publisher sweeps up: {len(left)}")
    results = context.Queue()
    process = context.Process(target=publish_some, args=(folder / "model0", base, 1, results))
    process.start()
    process.join()
    swept = [name for name in os.listdir(base) if not name.isdecimal()]
    print(f"  after one more: {len(swept)}")
    shutil.rmtree(base)
    return not watcher.broken and not swept and versions == list(range(versions[0], versions[-1] + 1))


def at_once(context, folder: Path, publishers: int, each: int) -> bool:
    base = folder / "at once"
    base.mkdir()
    watcher = Watcher(base)
    watcher.start()
    results = context.Queue()
    jobs = [
        context.Process(target=publish_some, args=(folder / f"model{i}", base, each, results))
        for i in range(publishers)
    ]
    for job in jobs:
        job.start()
    told = [pair for _ in jobs for pair in results.get(timeout=300)]
    for job in jobs:
        job.join()
    watcher.ends = True
    watcher.join()
    watcher.look()
    names = {path.name: json.loads((path / "keras_linreg.json").read_text())["name"] for path in base.iterdir()}
    good = {version: name for name, version in told} == names and len(names) == publishers * each
    print(f"{publishers} publishers at once, {each} versions each: {len(names)} versions, each its publisher's: {good}")
    print(f"  {len(watcher.broken)} incomplete")
    return good and not watcher.broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--publishers", type=int, default=8)
    parser.add_argument("--each", type=int, default=5)
    given = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_linreg"])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, given.publishers)
        good = [kill(context, folder, given.kills), at_once(context, folder, given.publishers, given.each)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
