"""The outputs of FitPlot: pictures, animations, TensorBoard and notebooks, complete or not written at all."""

import itertools
import os
import subprocess
import sys
import types

import keras
import matplotlib.figure
import numpy as np
import pytest
import tensorflow as tf
from fit_plot_runs import X1, X3, Y1, Y3, Echo, dense, fit, run
from PIL import Image

import keras_linreg as klr
from keras_linreg import callbacks, plots
from keras_linreg.callbacks import FitPlot, drawing, fit_plot


@pytest.mark.parametrize("x, y", [(X1, Y1), (X3, Y3)], ids=["line", "points"])
def test_fit_leaves_a_png_of_the_expected_size_with_a_picture_in_it(tmp_path, x, y):
    path = tmp_path / "new" / "folder" / "fit.png"
    fit(FitPlot(x, y, path=path), x, y)
    with Image.open(path) as image:
        assert image.size == (1500, 675)
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels.reshape(-1, 3).std(axis=0) > 5).all()
    assert os.listdir(path.parent) == ["fit.png"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("suffix, start", [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".JPG", b"\xff\xd8")])
def test_the_extension_chooses_the_format(tmp_path, suffix, start):
    path = tmp_path / f"fit{suffix}"
    run(FitPlot(X1, Y1, path=str(path)))
    assert path.read_bytes().startswith(start)


def frames_of(path):
    with Image.open(path) as gif:
        frames, durations = [], []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info["duration"])
    return frames, durations


def test_the_gif_moves_from_before_training_to_the_last_epoch_on_axes_that_hold_still(tmp_path, monkeypatch):
    drawn, limits = [], []
    draw_frame, save_gif = drawing.draw_frame, plots.save_gif

    def spy_on_frames(axes, sample, frame, losses):
        drawn.append((frame.epoch, frame.predicted))
        draw_frame(axes, sample, frame, losses)

    def spy_on_limits(path, picture, steps, **kwargs):
        save_gif(path, picture, (limits.append([ax.axis() for ax in picture.axes]) for _ in steps), **kwargs)

    monkeypatch.setattr(drawing, "draw_frame", spy_on_frames)
    monkeypatch.setattr(plots, "save_gif", spy_on_limits)
    model = dense()
    before = model.predict(X1, verbose=0)
    fit(FitPlot(X1, Y1, path=None, gif=tmp_path / "fit.gif"), model=model, epochs=4)
    assert [epoch for epoch, _ in drawn] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(drawn[0][1][0], before[0], rtol=1e-4, atol=1e-6)
    assert all(here == limits[0] for here in limits)
    frames, durations = frames_of(tmp_path / "fit.gif")
    assert len(frames) == 5
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert durations[-1] > 5 * durations[1]


def test_an_exact_model_has_a_gif_too(tmp_path):
    plot = FitPlot(X1, Y1, path=None, gif=tmp_path / "fit.gif")
    klr.ExactLinearRegression().fit(X1, Y1, verbose=0, callbacks=[plot])
    assert (tmp_path / "fit.gif").stat().st_size


def test_a_fit_of_no_epochs_draws_the_untrained_model(tmp_path):
    watch = run(FitPlot(X1, Y1, path=tmp_path / "fit.png", gif=tmp_path / "fit.gif"), epochs=0)
    assert len(watch.figure().axes) == 1
    assert (tmp_path / "fit.png").exists()
    exact = klr.ExactLinearRegression()
    exact.fit(X1, Y1, epochs=0, callbacks=[FitPlot(X1, Y1, path=tmp_path / "exact.png")], verbose=0)
    assert not (tmp_path / "exact.png").exists()  # it has no weights to draw


def test_an_interrupted_fit_leaves_the_old_files(tmp_path):
    (tmp_path / "fit.png").write_bytes(b"older")

    def fail(epoch, logs):
        raise RuntimeError("interrupted")

    callbacks_ = [
        FitPlot(X1, Y1, path=tmp_path / "fit.png", gif=tmp_path / "fit.gif"),
        keras.callbacks.LambdaCallback(on_epoch_end=fail),
    ]
    with pytest.raises(RuntimeError, match="interrupted"):
        dense().fit(X1, Y1, epochs=3, verbose=0, callbacks=callbacks_)
    assert os.listdir(tmp_path) == ["fit.png"]
    assert (tmp_path / "fit.png").read_bytes() == b"older"


def test_an_error_while_a_picture_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "fit.png"
    path.write_bytes(b"older")
    watch = FitPlot(X1, Y1, path=path)
    watch.set_model(Echo())
    watch.on_train_begin()
    assert path.read_bytes() == b"older"

    def disk_full(self, file, **kwargs):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", disk_full)
    with pytest.raises(OSError, match="No space"):
        watch.on_train_end()
    assert os.listdir(tmp_path) == ["fit.png"]
    assert path.read_bytes() == b"older"


UNWRITABLE = [
    (OSError, "path", "file/fit.png"),
    (OSError, "path", "file/deeper/fit.png"),
    (OSError, "path", "dir.png"),
    (ValueError, "path", "fit"),
    (ValueError, "path", "fit.doc"),
    (OSError, "gif", "file/fit.gif"),
    (OSError, "gif", "dir.gif"),
    (ValueError, "gif", "fit.png"),
    (ValueError, "gif", "fit"),
    (OSError, "log_dir", "file"),
    (OSError, "log_dir", "file/log"),
]


@pytest.mark.parametrize(("error", "argument", "name"), UNWRITABLE)
def test_a_file_that_cannot_be_written_is_an_error_before_training(tmp_path, error, argument, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "dir.png").mkdir()
    (tmp_path / "dir.gif").mkdir()
    value = tmp_path / name
    watch = FitPlot(X1, Y1, **{"path": None, argument: value})
    watch.set_model(Echo())
    with pytest.raises(error, match=rf"(?s)`{argument}` must .*Received: {argument}='.*{os.path.basename(value)}'"):
        watch.on_train_begin()
    assert sorted(os.listdir(tmp_path)) == ["dir.gif", "dir.png", "file"]


def test_a_fit_with_a_bad_path_does_not_train(tmp_path):
    model = dense()
    before = model.get_weights()
    with pytest.raises(ValueError, match="`path` must end in the extension"):
        fit(FitPlot(X1, Y1, path=tmp_path / "fit.doc"), model=model)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_one_file_for_both_pictures_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="two files"):
        run(FitPlot(X1, Y1, path=tmp_path / "a.gif", gif=tmp_path / "a.gif"))


def test_a_fit_that_diverged_is_still_drawn(tmp_path):
    class Diverged(Echo):
        def predict(self, x, **kwargs):
            return np.full_like(super().predict(x), [np.nan, np.inf, 1e30][len(self.inputs) % 3])

    logs = [{"loss": 1e30}, {"loss": float("inf")}, {"loss": float("nan")}]
    for x, gif in ((X1, tmp_path / "fit.gif"), (X3, None)):
        watch = FitPlot(x, Y1, path=tmp_path / "fit.png", gif=gif)
        run(watch, model=Diverged(), logs=lambda epoch: logs[epoch])


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras's own callback
def test_tensorboard_gets_the_pictures_that_are_due(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_plot, "FRAME_GROWTH", 2.0)  # epochs 1, 3, 7, and the last
    keras_log = keras.callbacks.TensorBoard(tmp_path / "keras", update_freq=1000, write_graph=False)
    watch = FitPlot(X1, Y1, path=None, log_dir=tmp_path / "log")
    dense().fit(X1, Y1, epochs=5, verbose=0, callbacks=[keras_log, watch])
    (events,) = (tmp_path / "log").iterdir()
    images = {}
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            images[event.step] = (value.tag, [bytes(part) for part in value.tensor.string_val])
    assert sorted(images) == [0, 2, 4]  # Keras counts epochs from 0
    tag, (width, height, png) = images[4]
    assert (tag, width, height) == ("fit", b"900", b"405")
    assert tf.io.decode_png(png).numpy().std() > 5


class Notebook(types.ModuleType):
    """IPython in the kernel of a notebook, and the pictures that it shows."""

    def __init__(self, kernel=True):
        super().__init__("IPython")
        self.version_info = (9, 0, 0)  # Matplotlib asks when it makes its first canvas
        self.shown = []
        self.get_ipython = lambda: types.SimpleNamespace(**({"kernel": 1} if kernel else {}))
        self.display = types.ModuleType("IPython.display")
        self.display.Image = lambda data, format: data
        self.display.display = self.show

    def show(self, picture, display_id=None):
        self.shown.append(("new", picture))
        return types.SimpleNamespace(update=lambda picture: self.shown.append(("again", picture)))


@pytest.fixture
def notebook(monkeypatch, request):
    module = Notebook(**getattr(request, "param", {}))
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", module.display)
    return module


def test_a_notebook_shows_one_picture_that_changes_but_not_at_every_epoch(notebook):
    run(FitPlot(X1, Y1, path=None), epochs=200)
    assert [how for how, _ in notebook.shown] == ["new", "again"]
    assert all(picture.startswith(b"\x89PNG") for _, picture in notebook.shown)
    assert notebook.shown[0][1] != notebook.shown[1][1]


@pytest.mark.parametrize("notebook", [{"kernel": False}], indirect=True)
@pytest.mark.parametrize("live, shown", [("auto", 0), (True, 2), (False, 0)])
def test_a_terminals_ipython_shows_only_when_asked(notebook, live, shown):
    run(FitPlot(X1, Y1, path=None, live=live))
    assert len(notebook.shown) == shown


def test_live_outside_of_a_notebook_is_an_error_before_training(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with pytest.raises(ValueError, match="`live=True` needs a notebook"):
        run(FitPlot(X1, Y1, path=None, live=True))


SCRIPT = """
import sys
sys.modules["matplotlib.pyplot"] = None  # its import fails; Keras does not need it
import keras, numpy as np
import keras_linreg.callbacks
assert "keras_linreg.plots" not in sys.modules
x = np.linspace(0, 1, 20)
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile(optimizer="sgd", loss="mse")
folder = sys.argv[1]
watch = keras_linreg.callbacks.FitPlot(
    x, x, folder + "/a.png", gif=folder + "/a.gif", log_dir=folder + "/log"
)
model.fit(x, x, epochs=2, verbose=0, callbacks=[watch])
"""


@pytest.mark.heavy
def test_neither_pyplot_nor_a_display_is_needed(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    root = os.path.dirname(os.path.dirname(os.path.dirname(callbacks.__file__)))
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SCRIPT, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["a.gif", "a.png", "log"]
