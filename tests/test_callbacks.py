"""FitPlot draws the model's line or its predictions, from data in any form, and grows with neither data nor epochs."""

import copy
import gc
import os
import pickle
from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import tensorflow as tf
from cases import quick_and_heavy
from fit_plot_runs import X1, X3, Y1, Y3, Echo, N, dense, fit, run

import keras_linreg as klr
from keras_linreg.callbacks import FitPlot, fit_plot


@pytest.fixture
def saved_frames(monkeypatch):
    """The frames of the animation, which is not drawn."""
    frames = []

    def save_animation(file, sample, newest, losses):
        frames.extend(newest)
        file.touch()

    monkeypatch.setattr(fit_plot, "save_animation", save_animation)
    return frames


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


def form(x):
    return {k: form(v) for k, v in x.items()} if isinstance(x, dict) else (type(x), x.dtype, x.shape[1:])


@pytest.mark.parametrize("x, name", ONE.values(), ids=ONE)
def test_one_feature_is_a_line_and_predict_gets_the_form_that_x_came_in(x, name):
    model = Echo()
    watch = run(FitPlot(x, Y1, path=None), model=model)
    ax = watch.figure().axes[0]
    assert ax.get_xlabel() == name
    assert len(ax.lines[0].get_xdata()) >= 2
    received = model.inputs[-1]
    if isinstance(x, list):
        assert isinstance(received, np.ndarray)
    elif isinstance(x, pd.DataFrame):
        assert list(received.columns) == list(x.columns) and (received.dtypes == x.dtypes).all()
    else:
        assert form(received) == form(x)
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
    received = model.inputs[-1]
    assert type(received) is type(x)
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


def test_epochs_are_drawn_ever_more_rarely(saved_frames, tmp_path):
    run(FitPlot(X1, Y1, path=None, gif=tmp_path / "fit.gif"), epochs=12)
    assert [frame.epoch for frame in saved_frames] == [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12]


def test_ten_thousand_epochs_use_bounded_memory_and_predict_only_for_pictures(tmp_path, saved_frames):
    model = Echo()
    watch = FitPlot(np.arange(1e5), np.arange(1e5), path=None, gif=tmp_path / "fit.gif", max_points=200)
    watch.set_model(model)
    watch.on_train_begin()
    sizes = []
    for epoch in range(10_000):
        watch.on_epoch_end(epoch, {"loss": 1 / (epoch + 1), **({"val_loss": 2.0} if epoch % 2 else {})})
        if epoch in (2_000, 9_999):
            sizes.append(len(pickle.dumps(watch)))
    assert len(model.inputs) < 80
    assert sizes[1] < 1.3 * sizes[0] < 200_000
    watch.on_train_end()
    right = watch.figure().axes[1]
    for line in right.lines:
        epochs = line.get_xdata()
        assert 400 < len(epochs) <= 1001 and epochs[-1] == 10_000
    assert 30 <= len(saved_frames) <= 60
    assert (saved_frames[0].epoch, saved_frames[-1].epoch) == (0, 10_000)
    assert len(pickle.dumps(watch)) < 100_000


def test_without_a_gif_or_a_log_it_predicts_once(tmp_path):
    model = Echo()
    run(FitPlot(X1, Y1, path=tmp_path / "fit.png", live=False), epochs=50, model=model)
    assert len(model.inputs) == 1


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


@pytest.mark.parametrize("moment", quick_and_heavy(["before", "during", "after"], "during"))
def test_a_copy_trains_and_draws_on_its_own(tmp_path, moment):
    watch = FitPlot(tf.constant(X1), Y1, path=tmp_path / "fit.png", gif=tmp_path / "fit.gif", log_dir=tmp_path / "log")
    copies = []

    def copy_at(now):
        if now == moment:
            copies.extend([copy.deepcopy(watch), pickle.loads(pickle.dumps(watch))])

    copy_at("before")
    during = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: copy_at("during"))
    dense().fit(X1, Y1, epochs=1, verbose=0, callbacks=[watch, during])
    copy_at("after")
    (tmp_path / "fit.png").unlink()
    deep, pickled = copies
    fit(deep, epochs=1)
    assert (tmp_path / "fit.png").exists()
    pickled.gif = pickled.log_dir = None
    (tmp_path / "fit.png").unlink()
    run(pickled, epochs=1)
    assert (tmp_path / "fit.png").exists()


def test_between_fits_it_holds_no_figure_no_writer_and_no_file(tmp_path):
    watch = FitPlot(X1, Y1, path=tmp_path / "f.png", gif=tmp_path / "f.gif", log_dir=tmp_path / "log")
    fit(watch)
    gc.collect()
    # Made by earlier tests, a figure may wait for the collector; none may live on after it.
    assert not [o for o in gc.get_objects() if isinstance(o, matplotlib.figure.Figure)]
    open_files = {
        os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")
    }
    assert not [name for name in open_files if str(tmp_path) in name]


def test_a_second_fit_starts_a_new_picture():
    watch = FitPlot(X1, Y1, path=None)
    fit(watch, epochs=5)
    fit(watch, epochs=3)
    assert watch.figure().axes[0].get_title(loc="left") == "Epoch 3"
    assert len(watch.figure().axes[1].lines[0].get_xdata()) == 3


def test_epochs_are_counted_from_initial_epoch(saved_frames, tmp_path):
    watch = FitPlot(X1, Y1, path=None, gif=tmp_path / "fit.gif")
    fit(watch, epochs=12, initial_epoch=10)
    np.testing.assert_array_equal(watch.figure().axes[1].lines[0].get_xdata(), [11, 12])
    assert [frame.epoch for frame in saved_frames] == [10, 11, 12]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"y": Y1[:-1]}, "`x` and `y` must have the same number of rows.*40 rows, y with 39"),
        ({"x": {"a": X1, "b": X1[:-1]}}, "same number of rows.*39 and 40 rows"),
        ({"x": X1[:0], "y": Y1[:0]}, "at least one.*0 rows, y with 0"),
        ({"x": {}}, "at least one.*no rows"),
        ({"x": 3.0}, "`x` must be an array.*3"),
        ({"x": tf.data.Dataset.range(3)}, "`y` must be None where `x` is a dataset"),
        ({"x": tf.data.Dataset.range(3), "y": None}, "`x` must be a dataset of .x, y.*EagerTensor"),
        ({"x": iter([(X1, Y1)]), "y": None}, "can be read again.*iterator"),
        ({"x": tf.data.Dataset.from_tensor_slices((X1, Y1)).take(0).batch(2), "y": None}, "with rows.*an empty one"),
        ({"x": X1, "y": None}, "`y` must be given.*y=None"),
        ({"x": (X1,), "y": None}, r"must be \(x, y\).*1 elements"),
        ({"x": {"a": X1}, "y": "b"}, r"`y` must be a column of `x`, \['a'\].*'b'"),
        ({"x": X1, "y": "b"}, "`y` must be a column of `x`.*'b'"),
        ({"x": tf.sparse.from_dense([[1.0]])}, "same number of rows.*1 rows, y with 40"),
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
        ({"path": ""}, "`path` must be a path or None.*path=''"),
        ({"log_dir": 3}, "`log_dir` must be a path or None.*log_dir=3"),
    ],
)
def test_bad_arguments_fail_at_once_and_say_what_was_received(arguments, words):
    with pytest.raises(ValueError, match=words):
        FitPlot(**{"x": X1, "y": Y1, **arguments})


class Rows(keras.utils.PyDataset):
    """The data in four batches."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"hours": X1[index::4, None]}, Y1[index::4]


DATA_THAT_FIT_TAKES = {
    "a tuple": ((X1, Y1), None),
    "a tuple with weights": ((X1, Y1, np.ones(N)), None),
    "a column's name": (pd.DataFrame({"hours": X1, "marks": Y1}), "marks"),
    "a polars column's name": (pl.DataFrame({"hours": X1, "marks": Y1}), "marks"),
    "a key of a dict": ({"hours": X1, "marks": Y1}, "marks"),
    "a dataset": (tf.data.Dataset.from_tensor_slices((X1[:, None], Y1)).batch(7), None),
    "an endless dataset of a dict": (tf.data.Dataset.from_tensor_slices(({"hours": X1}, Y1)).batch(N).repeat(), None),
    "a PyDataset": (Rows(), None),
    "SciPy's sparse rows": (scipy.sparse.csr_array(X1[:, None]), Y1),
}


@pytest.mark.parametrize("kind", DATA_THAT_FIT_TAKES)
def test_the_picture_takes_the_data_that_fit_takes(kind):
    x, y = DATA_THAT_FIT_TAKES[kind]
    watch = FitPlot(x, y, path=None, max_points=N)
    run(watch, model=Echo())
    points = watch.figure().axes[0].collections[0].get_offsets()
    assert len(points) == N
    if "endless" not in kind:  # its sample is of the first epochs, and a row may come twice
        np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(Y1), rtol=1e-6)


def test_wide_sparse_rows_are_drawn_as_they_are_predicted():
    x = scipy.sparse.random_array((50, 30), density=0.2, rng=np.random.default_rng(0))
    y = x @ np.ones(30)
    for rows in (x, tf.sparse.from_dense(x.toarray())):
        model = klr.ExactLinearRegression()
        watch = FitPlot(rows, y, path=None, max_points=20)
        model.fit(rows, y, verbose=0, callbacks=[watch])
        observed, predicted = watch.figure().axes[0].collections[0].get_offsets().T
        assert len(observed) == 20
        np.testing.assert_allclose(observed, predicted, atol=1e-6)


def test_the_picture_of_an_exact_fit_names_no_epoch():
    model = klr.ExactLinearRegression()
    watch = FitPlot(X1, Y1, path=None)
    model.fit(X1, Y1, verbose=0, callbacks=[watch])
    assert watch.figure().axes[0].get_title(loc="left") == "Exact fit"


def test_a_tilde_is_the_home_folder_in_each_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    plot = FitPlot(X1, Y1, path="~/fit.png", gif=Path("~/fit.gif"), log_dir="~/logs")
    assert (plot.path, plot.gif, plot.log_dir) == (tmp_path / "fit.png", tmp_path / "fit.gif", str(tmp_path / "logs"))
    assert FitPlot(X1, Y1, path=None, log_dir="gs://bucket/logs").log_dir == "gs://bucket/logs"


def test_outputs_that_differ_from_the_models_are_an_error():
    with pytest.raises(ValueError, match=r"1 column\(s\), and predictions of shape \(100, 2\)"):
        run(FitPlot(X1, Y1, path=None), model=Echo(outputs=2))


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
