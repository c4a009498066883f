"""Kill publishers at random moments, let several publish at once, and check the versions that a server would see.

    python tests/publishers.py --kills 200 --publishers 8 --each 5

While they work, each version that appears is compared with the hash in its JSON. The exit code is 1 if a version is
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


def export_models(folder: Path, count: int) -> None:
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
        klr.publish(model, base, keep=5, keep_seconds=0)


def publish_some(source: Path, base: Path, each: int, results) -> None:
    import keras_linreg as klr

    results.put([(source.name, klr.publish(source, base).name) for _ in range(each)])


class Watcher(threading.Thread):
    """Does what a server does: reads each version as soon as it appears."""

    def __init__(self, base: Path):
        super().__init__(daemon=True)
        self.base, self.stopped, self.complete, self.broken = base, False, set(), []

    def run(self):
        while not self.stopped:
            self.check_versions()
            time.sleep(0.001)  # leave the publishers some of the processor

    def stop(self):
        """Stop after a last check of all versions."""
        self.stopped = True
        self.join()
        self.check_versions()

    def check_versions(self):
        from keras_linreg.export import manifest

        for name in sorted(n for n in os.listdir(self.base) if n.isdecimal()):
            if name in self.complete:
                continue
            try:
                assert manifest.read(self.base / name)["version"] == int(name)
                self.complete.add(name)
            except Exception as error:
                if (self.base / name).exists():  # else it has been removed meanwhile
                    self.broken.append(f"{name}: {error}")


def publish_in_process(context, folder: Path, base: Path) -> None:
    results = context.Queue()
    process = context.Process(target=publish_some, args=(folder / "model0", base, 1, results))
    process.start()
    process.join()


def check_kills(context, folder: Path, kills: int) -> bool:
    """Kill publishers one after the other; return whether all versions were complete, and none was lost."""
    base = folder / "killed"
    base.mkdir()
    publish_in_process(context, folder, base)
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
    watcher.stop()
    unfinished = [name for name in os.listdir(base) if not name.isdecimal()]
    versions = sorted(int(name) for name in os.listdir(base) if name.isdecimal())
    print(f"{kills} kills: {versions[-1]} versions, {len(watcher.complete)} seen, {len(watcher.broken)} incomplete")
    print(f"  versions kept {versions}; unfinished folders that the next publisher removes: {len(unfinished)}")
    publish_in_process(context, folder, base)
    unfinished = [name for name in os.listdir(base) if not name.isdecimal()]
    print(f"  after one more publisher: {len(unfinished)}")
    shutil.rmtree(base)
    return not watcher.broken and not unfinished and versions == list(range(versions[0], versions[-1] + 1))


def check_publishers_at_once(context, folder: Path, publishers: int, each: int) -> bool:
    """Let publishers work at once; return whether each version is complete, and that of its publisher."""
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
    reported = [pair for _ in jobs for pair in results.get(timeout=300)]
    for job in jobs:
        job.join()
    watcher.stop()
    names = {path.name: json.loads((path / "keras_linreg.json").read_text())["name"] for path in base.iterdir()}
    good = {version: name for name, version in reported} == names and len(names) == publishers * each
    print(f"{publishers} publishers at once, {each} versions each: {len(names)} versions, each its publisher's: {good}")
    print(f"  {len(watcher.broken)} incomplete")
    return good and not watcher.broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--publishers", type=int, default=8)
    parser.add_argument("--each", type=int, default=5)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_linreg.export", "keras_linreg.models.exact"])
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        exporter = context.Process(target=export_models, args=(folder, arguments.publishers))
        exporter.start()
        exporter.join()
        good = check_kills(context, folder, arguments.kills)
        good &= check_publishers_at_once(context, folder, arguments.publishers, arguments.each)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
