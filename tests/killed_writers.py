"""Kill writers of files at random moments: the old file or the new one is there, whole, and the next write tidies up.

    python tests/killed_writers.py --kills 200

The kills are spread over `model.save`, `export`, `publish`, `Moments.save` and a fit with a `ModelCheckpoint`. The exit
code is 1 if a file was lost or half written, or if anything of a killed writer is left after the next write.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

COLUMNS = 60  # enough for a kill to meet a write


def rows():
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, COLUMNS))
    return x, x.sum(axis=1) + rng.normal(size=500)


def exact_model():
    import keras_linreg as klr

    model = klr.ExactLinearRegression()
    model.fit(*rows(), verbose=0)
    return model


class Save:
    """`model.save` over an existing file."""

    def prepare(self, base):
        model = exact_model()
        return lambda: model.save(base / "model.keras")

    def check(self, base):
        import keras

        import keras_linreg  # noqa: F401, Keras finds its classes

        assert keras.models.load_model(base / "model.keras").moments.nobs == 500
        return ["model.keras"]


class SaveMoments:
    """`Moments.save` over an existing file."""

    def prepare(self, base):
        moments = exact_model().moments
        return lambda: moments.save(base / "moments")

    def check(self, base):
        import keras_linreg as klr

        assert klr.Moments.load(base / "moments").nobs == 500
        return ["moments"]


class Export:
    """`export` over an existing folder."""

    def prepare(self, base):
        model = exact_model()
        return lambda: model.export(base / "model", verbose=False)

    def check(self, base):
        from keras_linreg.export import manifest, saved_model

        manifest.read(base / "model")  # it compares the hash of all files
        with saved_model.open_session(base / "model"):
            return ["model"]


class Publish:
    """`publish` of one version after the other."""

    def prepare(self, base):
        import keras_linreg as klr

        model = exact_model()
        return lambda: klr.publish(model, base, keep=2, keep_seconds=0)

    def check(self, base):
        from keras_linreg.export import manifest

        versions = [name for name in os.listdir(base) if name.isdecimal()]
        assert len(versions) >= 1
        for name in versions:
            assert manifest.read(base / name)["version"] == int(name)
        return versions


class Checkpoint:
    """A fit whose ModelCheckpoint saves the model after each epoch."""

    def prepare(self, base):
        import keras

        import keras_linreg as klr

        model = klr.LinearRegression()
        model.compile(optimizer=keras.optimizers.Adam())
        saver = keras.callbacks.ModelCheckpoint(base / "model.keras")
        return lambda: model.fit(*rows(), batch_size=500, epochs=20, verbose=0, callbacks=[saver])

    def check(self, base):
        import keras

        import keras_linreg  # noqa: F401, Keras finds its classes

        assert keras.models.load_model(base / "model.keras").kernel.shape == (COLUMNS, 1)
        return ["model.keras"]


KINDS = [Save, SaveMoments, Export, Publish, Checkpoint]


def forkserver():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_linreg.export", "keras_linreg.models.exact", "keras_linreg.models.gradient"])
    return context


def write_for_ever(kind, base, started):
    write = kind().prepare(base)
    write()
    started.set()
    while True:
        write()


def check_kills(context, kind, kills: int, folder: Path) -> bool:
    """Kill writers of one kind; return whether each left a whole file, and the last write left nothing else."""
    base = folder / kind.__name__
    base.mkdir()
    met, good = 0, True
    for number in range(kills):
        started = context.Event()
        child = context.Process(target=write_for_ever, args=(kind, base, started))
        child.start()
        assert started.wait(120)
        time.sleep(random.uniform(0, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        try:
            entries = kind().check(base)
        except Exception as error:
            print(f"{kind.__name__}, kill {number}: {type(error).__name__}: {error}")
            good, entries = False, []
        left = set(os.listdir(base)) - set(entries)
        met += bool(left)
    kind().prepare(base)()
    left = sorted(set(os.listdir(base)) - set(kind().check(base)))
    print(f"{kind.__name__}: {kills} kills, {met} of them in the middle of a write; left after the next write: {left}")
    return good and not left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    arguments = parser.parse_args()
    context = forkserver()
    with tempfile.TemporaryDirectory() as path:
        share = -(-arguments.kills // len(KINDS))
        results = [check_kills(context, kind, share, Path(path)) for kind in KINDS]
    print(f"{share * len(KINDS)} kills: {'nothing lost, half or left' if all(results) else 'NOT GOOD'}")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
