import copy
import gc
import itertools
import os
import pickle
import subprocess
import sys
import types

import keras
import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

import keras_linreg as klr
from keras_linreg import callbacks
from keras_linreg.callbacks import FitPlot, drawing, fit_plot

N = 40
X1 = np.linspace(-1.0, 2.0, N).astype("float32")
Y1 = 3 * X1 + 1 + 0.1 * np.sin(40 * X1)
X3 = np.random.default_rng(0).normal(size=(N, 3)).astype("float32")
Y3 = X3 @ np.float32([1, -2, 3])


def dense(features=1, units=1):
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(units)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    return model


def fit(callback, x=X1, y=Y1, model=None, epochs=2, **kwargs):
    model = model or dense(1 if x.ndim == 1 else x.shape[1], 1 if np.ndim(y) == 1 else y.shape[1])
    model.fit(x, y, epochs=epochs, batch_size=N, verbose=0, callbacks=[callback], **kwargs)
    return model


class Echo:
    """What FitPlot needs of a model, and no more: adds the columns up, notes what it was asked."""

    def __init__(self, outputs=1):
        self.asked, self.outputs = [], outputs

    def predict(self, x, batch_size=None, verbose=None):
        self.asked.append(x)
        columns = x.values() if isinstance(x, dict) else [x]
        total = sum(np.asarray(c, dtype="float64").reshape(len(c), -1).sum(axis=1) for c in columns)
        return np.stack([total + len(self.asked) - 1] * self.outputs, axis=1)


def run(callback, epochs=3, model=None, logs=lambda epoch: {"loss": 1.0 / (epoch + 1)}):
    callback.set_model(model or Echo())
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_end(epoch, logs(epoch))
    callback.on_train_end()
    return callback


def test_the_line_drawn_is_the_models_and_the_loss_is_the_histories():
    watch = FitPlot(X1, Y1, path=None)
    model = dense()
    history = model.fit(X1, Y1, epochs=5, verbose=0, validation_split=0.2, callbacks=[watch]).history
    left, right = watch.figure().axes
    kernel, bias = (float(np.squeeze(w)) for w in model.get_weights())
    x, y = left.lines[0].get_data()
    np.testing.assert_allclose(y, kernel * x + bias, rtol=1e-5, atol=1e-5)
    assert (x.min(), x.max()) == (X1.min(), X1.max())
    np.testing.assert_allclose(left.collections[0].get_offsets(), np.stack([X1, Y1], 1), rtol=1e-6)
    np.testing.assert_allclose(right.lines[0].get_ydata(), history["loss"])
    np.testing.assert_allclose(right.lines[1].get_ydata(), history["val_loss"])
    np.testing.assert_allclose(right.lines[0].get_xdata(), [1, 2, 3, 4, 5])


def test_several_features_are_drawn_as_predicted_against_actual():
    watch = FitPlot(X3, Y3, path=None)
    model = fit(watch, X3, Y3)
    left = watch.figure().axes[0]
    expected = np.stack([Y3, model.predict(X3, verbose=0)[:, 0]], axis=1)
    np.testing.assert_allclose(left.collections[0].get_offsets(), expected, rtol=1e-4, atol=1e-5)
    assert left.get_xlabel() == "actual"


ONE = {
    "array": (X1, "x"),
    "column": (X1[:, None], "x"),
    "list": (X1.tolist(), "x"),
    "integers": (np.arange(N), "x"),
    "tensor": (tf.constant(X1), "x"),
    "tensor column": (tf.constant(X1[:, None]), "x"),
    "series": (pd.Series(X1, name="rooms"), "rooms"),
    "nameless series": (pd.Series(X1), "x"),
    "nullable series": (pd.Series(np.arange(N), name="age", dtype="Int64"), "age"),
    "frame": (pd.DataFrame({"rooms": X1}, index=range(7, 7 + N)), "rooms"),
    "dict": ({"rooms": X1}, "rooms"),
    "dict of column": ({"rooms": X1[:, None]}, "rooms"),
    "dict of series": ({"rooms": pd.Series(X1)}, "rooms"),
}


def shape(x):
    return {k: shape(v) for k, v in x.items()} if isinstance(x, dict) else (type(x), x.dtype, x.shape[1:])


@pytest.mark.parametrize("x, name", ONE.values(), ids=ONE)
def test_one_feature_is_a_line_and_predict_gets_the_form_that_x_came_in(x, name):
    model = Echo()
    watch = run(FitPlot(x, Y1, path=None), model=model)
    ax = watch.figure().axes[0]
    assert ax.get_xlabel() == name
    assert len(ax.lines[0].get_xdata()) >= 2
    given = model.asked[-1]
    if isinstance(x, list):
        assert isinstance(given, np.ndarray)
    elif isinstance(x, pd.DataFrame):
        assert list(given.columns) == list(x.columns) and (given.dtypes == x.dtypes).all()
    else:
        assert shape(given) == shape(x)
    np.testing.assert_allclose(np.diff(ax.lines[0].get_ydata()), np.diff(ax.lines[0].get_xdata()), atol=1e-5)


SEVERAL = {
    "array": X3,
    "tensor": tf.constant(X3),
    "frame": pd.DataFrame(X3, columns=list("abc")),
    "dict": {"a": X1, "b": X1[:, None]},
    "booleans": X1 > 0,
}


@pytest.mark.parametrize("x", SEVERAL.values(), ids=SEVERAL)
@pytest.mark.parametrize("most", [N, 10])
def test_other_features_are_predicted_row_by_row_on_a_sample_in_the_form_they_came_in(x, most):
    model = Echo()
    watch = run(FitPlot(x, Y1, path=None, max_points=most), model=model)
    given = model.asked[-1]
    assert type(given) is type(x)
    points = np.asarray(watch.figure().axes[0].collections[0].get_offsets())
    assert len(points) == most
    everything = dict(zip(Y1.tolist(), Echo().predict(x)[:, 0].tolist(), strict=True))
    for actual, predicted in points:
        assert predicted == pytest.approx(everything[actual], abs=1e-5)


def test_a_frame_of_strings_is_passed_on_as_it_is():
    class Lookup(Echo):
        def predict(self, x, **kwargs):
            assert list(x["town"].unique()) == ["Ghent", "Lyon"]
            return np.zeros((len(x), 1))

    x = pd.DataFrame({"town": ["Ghent", "Lyon"] * (N // 2)})
    watch = run(FitPlot(x, Y1, path=None), model=Lookup())
    assert watch.figure().axes[0].get_xlabel() == "actual"


@pytest.mark.parametrize(
    "y, label",
    [
        (Y1, "y"),
        (Y1[:, None], "y"),
        (tf.constant(Y1), "y"),
        (pd.Series(Y1, name="price"), "price"),
        (pd.DataFrame({"price": Y1}), "price"),
        (pd.Series(range(N), dtype="Int64"), "y"),
    ],
)
def test_y_may_have_any_form_and_names_the_axis(y, label):
    assert run(FitPlot(X1, y, path=None)).figure().axes[0].get_ylabel() == label


@pytest.mark.parametrize("x", [X1, X3], ids=["line", "points"])
def test_several_outputs_have_a_legend_with_the_columns_names(x):
    y = pd.DataFrame({"left": Y1, "right": -Y1})
    ax = run(FitPlot(x, y, path=None), model=Echo(outputs=2)).figure().axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]


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
    drawn = []
    draw_frame = drawing.draw_frame

    def spy(axes, sample, frame, losses):
        drawn.append((frame.epoch, axes[0], frame.predicted))
        draw_frame(axes, sample, frame, losses)

    monkeypatch.setattr(drawing, "draw_frame", spy)
    limits = []
    from keras_linreg import plots

    save = plots.save_gif

    def watching(path, picture, steps, **kwargs):
        save(path, picture, (limits.append([ax.axis() for ax in picture.axes]) for _ in steps), **kwargs)

    monkeypatch.setattr(plots, "save_gif", watching)
    model = dense()
    before = model.predict(X1, verbose=0)
    fit(FitPlot(X1, Y1, path=None, gif=tmp_path / "fit.gif"), model=model, epochs=12)
    assert [epoch for epoch, _, _ in drawn] == [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12]
    np.testing.assert_allclose(drawn[0][2][0], before[0], rtol=1e-4, atol=1e-6)
    assert all(here == limits[0] for here in limits)
    frames, durations = frames_of(tmp_path / "fit.gif")
    assert len(frames) == 11
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert durations[-1] > 5 * durations[1]


def test_ten_thousand_epochs_neither_grow_nor_ask_for_more_than_they_draw(tmp_path, monkeypatch):
    model = Echo()
    watch = FitPlot(np.arange(1e5), np.arange(1e5), path=None, gif=tmp_path / "fit.gif", max_points=200)
    watch.set_model(model)
    watch.on_train_begin()
    sizes = []
    for epoch in range(10_000):
        watch.on_epoch_end(epoch, {"loss": 1 / (epoch + 1), **({"val_loss": 2.0} if epoch % 2 else {})})
        if epoch in (2_000, 9_999):
            sizes.append(len(pickle.dumps(watch)))
    assert len(model.asked) < 80
    assert sizes[1] < 1.3 * sizes[0] < 200_000
    frames = []
    monkeypatch.setattr(fit_plot, "save_animation", lambda file, *drawn: frames.extend(drawn[1]) or file.touch())
    watch.on_train_end()
    right = watch.figure().axes[1]
    for line in right.lines:
        epochs = line.get_xdata()
        assert 400 < len(epochs) <= 1001 and epochs[-1] == 10_000
    assert 30 <= len(frames) <= 60
    assert (frames[0].epoch, frames[-1].epoch) == (0, 10_000)
    assert len(pickle.dumps(watch)) < 100_000


def test_without_a_gif_or_a_log_it_predicts_once(tmp_path):
    model = Echo()
    run(FitPlot(X1, Y1, path=tmp_path / "fit.png", live=False), epochs=50, model=model)
    assert len(model.asked) == 1


def test_it_holds_a_bounded_sample_that_is_always_the_same():
    x = np.arange(100_000.0)
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    first, second = (run(FitPlot(x, x, path=None, max_points=50)) for _ in range(2))
    assert len(pickle.dumps(first)) < 20_000
    offsets = [w.figure().axes[0].collections[0].get_offsets() for w in (first, second)]
    np.testing.assert_array_equal(*offsets)
    assert len(offsets[0]) == 50
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["copy", "pickle"])
@pytest.mark.parametrize("when", ["before", "between", "during"])
def test_a_copy_trains_and_draws_on_its_own(tmp_path, copier, when):
    watch = FitPlot(ONE["tensor"][0], Y1, path=tmp_path / "fit.png", gif=tmp_path / "fit.gif", log_dir=tmp_path / "log")
    copies = []
    if when == "before":
        copies.append(copier(watch))
    grab = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: copies.append(copier(watch)) if when == "during" else None
    )
    dense().fit(X1, Y1, epochs=1, verbose=0, callbacks=[watch, grab])
    if when == "between":
        copies.append(copier(watch))
    (tmp_path / "fit.png").unlink()
    fit(copies[0])
    assert (tmp_path / "fit.png").exists()


def test_between_fits_it_holds_no_figure_no_writer_and_no_file(tmp_path):
    watch = FitPlot(X1, Y1, path=tmp_path / "f.png", gif=tmp_path / "f.gif", log_dir=tmp_path / "log")
    fit(watch)
    gc.collect()
    # Made by earlier tests, a figure may wait for the collector; none may live on after it.
    assert not [o for o in gc.get_objects() if isinstance(o, matplotlib.figure.Figure)]
    held = {
        os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")
    }
    assert not [name for name in held if str(tmp_path) in name]


def test_a_second_fit_starts_a_new_picture():
    watch = FitPlot(X1, Y1, path=None)
    fit(watch, epochs=5)
    fit(watch, epochs=3)
    assert watch.figure().axes[0].get_title(loc="left") == "Epoch 3"
    assert len(watch.figure().axes[1].lines[0].get_xdata()) == 3


def test_initial_epoch_counts_from_there(tmp_path):
    watch = FitPlot(X1, Y1, path=None, gif=tmp_path / "fit.gif")
    fit(watch, epochs=12, initial_epoch=10)
    np.testing.assert_array_equal(watch.figure().axes[1].lines[0].get_xdata(), [11, 12])
    assert len(frames_of(tmp_path / "fit.gif")[0]) == 3


def test_a_fit_of_no_epochs_draws_the_untrained_model(tmp_path):
    watch = run(FitPlot(X1, Y1, path=tmp_path / "fit.png", gif=tmp_path / "fit.gif"), epochs=0)
    assert len(watch.figure().axes) == 1
    assert (tmp_path / "fit.png").exists()
    exact = klr.ExactLinearRegression()
    exact.fit(X1, Y1, epochs=0, callbacks=[FitPlot(X1, Y1, path=tmp_path / "exact.png")], verbose=0)
    assert not (tmp_path / "exact.png").exists()  # it has no weights to draw


def test_an_interrupted_fit_leaves_what_was_there(tmp_path):
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


def test_a_picture_that_fails_while_it_is_written_leaves_what_was_there(tmp_path, monkeypatch):
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


def unwritable(folder):
    (folder / "file").write_text("")
    (folder / "dir.png").mkdir()
    (folder / "dir.gif").mkdir()
    yield OSError, "path", folder / "file" / "fit.png"
    yield OSError, "path", folder / "file" / "deeper" / "fit.png"
    yield OSError, "path", folder / "dir.png"
    yield ValueError, "path", folder / "fit"
    yield ValueError, "path", folder / "fit.doc"
    yield ValueError, "path", ""
    yield OSError, "gif", folder / "file" / "fit.gif"
    yield OSError, "gif", folder / "dir.gif"
    yield ValueError, "gif", folder / "fit.png"
    yield ValueError, "gif", folder / "fit"
    yield OSError, "log_dir", folder / "file"
    yield OSError, "log_dir", folder / "file" / "log"


@pytest.mark.parametrize("case", range(12))
def test_what_cannot_be_written_fails_before_training_and_says_which(tmp_path, case):
    error, argument, value = list(unwritable(tmp_path))[case]
    watch = FitPlot(X1, Y1, **{"path": None, argument: value})
    model = dense()
    before = model.get_weights()
    with pytest.raises(error, match=rf"(?s)`{argument}` must .*Received: {argument}='.*{os.path.basename(value)}'"):
        fit(watch, model=model)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    assert sorted(os.listdir(tmp_path)) == ["dir.gif", "dir.png", "file"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"y": Y1[:-1]}, "`x` and `y` must have the same number of rows.*40 rows, y with 39"),
        ({"x": {"a": X1, "b": X1[:-1]}}, "same number of rows.*39 and 40 rows"),
        ({"x": X1[:0], "y": Y1[:0]}, "at least one.*0 rows, y with 0"),
        ({"x": {}}, "at least one.*no rows"),
        ({"x": 3.0}, "`x` must be an array.*3"),
        ({"x": tf.data.Dataset.range(3)}, "`x` must be an array.*RangeDataset"),
        ({"x": tf.sparse.from_dense([[1.0]])}, "`x` must be an array.*SparseTensor"),
        ({"x": {"a": None}}, r"`x\['a'\]` must be.*None"),
        ({"y": ["a"] * N}, "`y` must hold numbers.*<U1"),
        ({"y": {"a": Y1}}, "`y` must be.*dict"),
        ({"y": np.zeros((N, 1, 1))}, r"`y` must hold numbers.*\(40, 1, 1\)"),
        ({"live": "yes"}, "`live` must be True, False or .auto.*live='yes'"),
        ({"live": 1}, "`live` must be.*live=1"),
        ({"live": None}, "`live` must be.*live=None"),
        ({"max_points": 0}, "`max_points` must be a positive integer.*max_points=0"),
        ({"max_points": 1.5}, "`max_points` must be a positive integer.*1.5"),
        ({"path": 3}, "`path` must be a path or None.*path=3"),
        ({"log_dir": 3}, "`log_dir` must be a path or None.*log_dir=3"),
    ],
)
def test_bad_arguments_fail_at_once_and_say_what_was_received(arguments, words):
    with pytest.raises(ValueError, match=words):
        FitPlot(**{"x": X1, "y": Y1, **arguments})


def test_one_file_for_both_pictures_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="two files"):
        run(FitPlot(X1, Y1, path=tmp_path / "a.gif", gif=tmp_path / "a.gif"))


def test_outputs_that_differ_from_the_models_are_an_error():
    with pytest.raises(ValueError, match=r"1 column\(s\), and predictions of shape \(100, 2\)"):
        run(FitPlot(X1, Y1, path=None), model=Echo(outputs=2))


def test_a_fit_that_diverged_is_still_drawn(tmp_path):
    class Diverged(Echo):
        def predict(self, x, **kwargs):
            return np.full_like(super().predict(x), [np.nan, np.inf, 1e30][len(self.asked) % 3])

    logs = [{"loss": 1e30}, {"loss": float("inf")}, {"loss": float("nan")}]
    paths = {"path": tmp_path / "fit.png", "gif": tmp_path / "fit.gif"}
    for x in (X1, X3):
        run(FitPlot(x, Y1, **paths), model=Diverged(), logs=lambda epoch: logs[epoch])


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras's own callback
def test_tensorboard_gets_the_picture_of_the_epochs_that_are_due(tmp_path):
    quiet = keras.callbacks.TensorBoard(tmp_path / "keras", update_freq=1000, write_graph=False)
    watch = FitPlot(X1, Y1, path=None, log_dir=tmp_path / "log")
    dense().fit(X1, Y1, epochs=9, verbose=0, callbacks=[quiet, watch])
    (events,) = (tmp_path / "log").iterdir()
    images = {}
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            images[event.step] = (value.tag, [bytes(part) for part in value.tensor.string_val])
    assert sorted(images) == [0, 1, 2, 3, 4, 5, 6, 8]  # Keras's own counting, from 0
    tag, (width, height, png) = images[8]
    assert (tag, width, height) == ("fit", b"900", b"405")
    assert tf.io.decode_png(png).numpy().std() > 5


class Notebook(types.ModuleType):
    """IPython as a notebook's kernel has it, with what was shown."""

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
sys.modules["matplotlib.pyplot"] = None  # importing it fails; Keras does without
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


def test_neither_pyplot_nor_a_display_is_needed(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    root = os.path.dirname(os.path.dirname(os.path.dirname(callbacks.__file__)))
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SCRIPT, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["a.gif", "a.png", "log"]


@pytest.mark.parametrize("outputs", [1, 2])
def test_an_exact_model_of_one_feature_is_drawn_with_its_confidence_and_prediction_bands(outputs):
    y = np.stack([Y1, -Y1 + 0.1 * X1], axis=1)[:, :outputs]
    model = klr.ExactLinearRegression(units=outputs)
    plot = FitPlot(X1, y, path=None)
    model.fit(X1, y, verbose=0, callbacks=[plot])
    (ax,) = plot.figure().axes  # one loss makes no curve
    line = ax.lines[0].get_xdata()
    expected = model.predict_interval(line)
    bands = ax.collections[outputs:]  # after the points: prediction, then confidence, output by output
    assert len(bands) == 2 * outputs
    for band, key in zip(bands[:2], ("obs_ci", "mean_ci"), strict=True):
        drawn = band.get_paths()[0].vertices
        limits = [np.reshape(expected[f"{key}_{end}"], (len(line), -1))[:, 0] for end in ("lower", "upper")]
        np.testing.assert_allclose(
            [drawn[:, 1].min(), drawn[:, 1].max()], [limits[0].min(), limits[1].max()], rtol=1e-6
        )


@pytest.mark.parametrize("options", [{"kernel_regularizer": "l2"}, {}], ids=["penalised", "two rows"])
def test_an_exact_model_that_has_no_intervals_is_drawn_without_bands(options):
    rows = slice(None) if options else slice(2)
    plot = FitPlot(X1[rows], Y1[rows], path=None)
    klr.ExactLinearRegression(**options).fit(X1[rows], Y1[rows], verbose=0, callbacks=[plot])
    (ax,) = plot.figure().axes
    assert len(ax.lines) == 1 and len(ax.collections) == 1


def test_an_exact_model_has_a_gif_too(tmp_path):
    plot = FitPlot(X1, Y1, path=None, gif=tmp_path / "fit.gif")
    klr.ExactLinearRegression().fit(X1, Y1, verbose=0, callbacks=[plot])
    assert (tmp_path / "fit.gif").stat().st_size
