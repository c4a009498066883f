"""Callbacks that watch a regression being fitted, and leave a picture of it."""

import contextlib
import dataclasses
import io
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_MOST_FRAMES, _MOST_LOSSES, _GRID = 60, 1000, 100
_PNG_DPI, _SCREEN_DPI = 150, 90


class FitPlot(keras.callbacks.Callback):
    """Draw the fit while the model trains, with the loss beside it.

    With one numeric feature it draws the points and the current line; otherwise the predictions against what
    was observed. It works with any Keras model that predicts one row for each, through `model.predict` alone,
    and predicts only for the epochs that are drawn:

    ```python
    due = {1}                                    # and the last epoch, whichever it is
    due.add(int(1.15 * max(due)) + 1)            # again and again: dense at first, where the line moves most
    ```

    It keeps a random sample of the data (always the same one), at most 60 frames and 1,000 losses, so it
    grows neither with the data nor with the epochs. It holds no figure or file between fits and may be copied
    or pickled at any time (KerasTuner copies callbacks); the copy has no model until it is fitted. Each `fit`
    starts a new picture, and one that ends in an error writes none.

    Args:
        x: the features, in any form that the model's `predict` takes: an array or tensor of shape `(n,)`,
            `(n, 1)` or `(n, features)`, a pandas Series or DataFrame, or a dict of columns. A Series' name, a
            lone column's or a lone key labels the axis.
        y: the observed values: an array, tensor, Series or DataFrame of shape `(n,)` or `(n, outputs)`.
        path: the picture to write when training ends, in the format that its extension names to Matplotlib;
            an existing file is replaced at once or not at all. `None` writes none.
        gif: a path ending in `.gif` for an animation of how the fit moved, from before the first epoch to the
            last; `None` (default) writes none.
        live: whether to show the picture while training, in a notebook: `True`, `False`, or `"auto"`
            (default), which is `True` in a notebook. Drawing takes at most about a tenth of the time.
        log_dir: a TensorBoard log directory for the picture of each epoch that is due; `None` (default) logs
            none.
        max_points: at most so many rows are drawn.

    Raises:
        ValueError: when `x` and `y` are empty or differ in length, or an argument is none of the above. And,
            before training starts: when no picture can have the extension of `path`, `gif` does not end in
            `.gif`, or `live` is `True` where there is no IPython.
        OSError: before training starts, when `path`, `gif` or `log_dir` cannot be written.

    Example:
    >>> import keras, numpy as np
    >>> from keras_linreg.callbacks import FitPlot
    >>> x = np.linspace(0.0, 10.0, 100)
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
    >>> watch = FitPlot(x, x + np.sin(x), path=None)
    >>> history = model.fit(x, x + np.sin(x), epochs=3, verbose=0, callbacks=[watch])
    >>> len(watch.figure().axes)    # a matplotlib Figure of the last epoch, to go on with
    2
    """

    _frames: list
    _last: Any  # the newest (epoch, predictions)
    _kept: int | None
    _start: int | None
    _due: int

    def __init__(self, x, y, path="fit.png", *, gif=None, live="auto", log_dir=None, max_points=1000):
        super().__init__()
        if not isinstance(live, bool) and not (isinstance(live, str) and live == "auto"):
            raise ValueError(f'`live` must be True, False or "auto". Received: live={live!r}.')
        if isinstance(max_points, bool) or not isinstance(max_points, int | np.integer) or max_points < 1:
            raise ValueError(f"`max_points` must be a positive integer. Received: max_points={max_points!r}.")
        self.path, self.gif = _as_path("path", path), _as_path("gif", gif)
        # Not a Path, which would lose a slash of "gs://bucket".
        self.log_dir = None if log_dir is None else str(_fspath("log_dir", log_dir))
        self.live = live
        self._sample = _Sample.of(x, y, int(max_points))
        self._writer = self._screen = None
        self._start_over()

    def __getstate__(self):
        # A writer and a notebook's output cannot be copied, and `fit` brings its own model.
        return {**self.__dict__, "_model": None, "_writer": None, "_screen": None}

    def figure(self):
        """Return a new Matplotlib Figure of the last epoch that was drawn; nothing here keeps it."""
        if self._last is None:
            raise ValueError("`figure` needs a fit with this callback. Received: no epoch yet.")
        epoch, predicted = self._last
        return _picture(self._sample, epoch, predicted, self._history())

    def on_train_begin(self, logs=None):
        """Check that everything can be written, before time is spent on what cannot be kept."""
        self._close()
        self._start_over()
        if self.gif is not None and self.gif.suffix.lower() != ".gif":
            raise ValueError(f"`gif` must end in .gif. Received: gif={str(self.gif)!r}.")
        if self.gif is not None and self.gif == self.path:
            raise ValueError(f"`path` and `gif` must be two files. Received: {str(self.gif)!r} for both.")
        _check_writable("path", self.path)
        _check_writable("gif", self.gif)
        if self.gif is not None:
            self._look(0)
            self._frames.append(self._last)
        self._screen = _Screen.find(self.live)
        self._writer = _open_writer(self.log_dir)

    def on_epoch_end(self, epoch, logs=None):
        """Note the loss; predict and draw if a frame, the log or the screen is due."""
        if self._start is None:
            self._start = epoch
            self._frames = [(epoch, predicted) for _, predicted in self._frames]
        self._epoch = epoch + 1
        for name, losses in self._losses.items():
            if (logs or {}).get(name) is not None:
                losses.add(self._epoch, float(logs[name]))
        trained = self._epoch - self._start
        if trained >= self._due:
            self._due = int(1.15 * trained) + 1
            if self.gif is not None or self._writer is not None:
                self._look(self._epoch)
                self._keep()
        if self._screen is not None and self._screen.ready():
            self._look(self._epoch)
            self._screen.show(self.figure)

    def on_train_end(self, logs=None):
        """Draw the last epoch, write the files, and let go of all that is open."""
        try:
            self._look(self._epoch)
            if self._kept != self._epoch:
                self._keep()
            if self._screen is not None:
                self._screen.show(self.figure)
            if self.path is not None:
                with _replacing(self.path) as file:
                    self.figure().savefig(file, format=_format(self.path), dpi=_PNG_DPI)
            if self.gif is not None:
                with _replacing(self.gif) as file:
                    _animate(file, self._sample, self._frames, self._history())
        finally:
            self._frames = []
            self._close()

    def _start_over(self):
        self._losses = {name: _Thinned(_MOST_LOSSES) for name in ("loss", "val_loss")}
        # (epoch, predictions), drawn only at the end, on axes that have to hold them all.
        self._frames = []
        self._last = self._kept = self._start = None
        self._epoch, self._due = 0, 1

    def _close(self):
        if self._writer is not None:
            self._writer.close()
        self._writer = self._screen = None

    def _look(self, epoch):
        """Predict the line's grid, or the sample, unless that is done for this epoch."""
        if self._last is not None and self._last[0] == epoch > 0:
            return
        rows, outputs = self._sample.rows, self._sample.y.shape[1]
        predicted = np.asarray(
            self.model.predict(self._sample.inputs, batch_size=rows, verbose=0), dtype="float64"
        )
        if predicted.shape != (rows, outputs) and not (outputs == 1 and predicted.shape == (rows,)):
            raise ValueError(
                "FitPlot's `y` must have a column for each output of the model, and the model predict a row "
                f"for each row. Received: y with {outputs} column(s), and predictions of shape "
                f"{predicted.shape} for {rows} rows."
            )
        self._last = (epoch, predicted.reshape(rows, outputs))

    def _keep(self):
        """Make the newest predictions a frame, and log their picture."""
        self._kept = self._epoch
        if self.gif is not None:
            self._frames.append(self._last)
            if len(self._frames) > _MOST_FRAMES:
                self._frames = [*self._frames[:-1:2], self._last]  # still from before training to now
        if self._writer is not None:
            buffer = io.BytesIO()
            self.figure().savefig(buffer, format="png", dpi=_SCREEN_DPI)
            image = tf.io.decode_png(buffer.getvalue())[None]
            # keras.callbacks.TensorBoard switches recording off for the steps that it skips.
            with self._writer.as_default(), tf.summary.record_if(True):
                tf.summary.image("fit", image, step=max(self._epoch - 1, 0))
            self._writer.flush()  # nobody closes it when training is interrupted

    def _history(self):
        """Return epochs, losses, validation losses (or None): aligned arrays, NaN where an epoch has none."""
        loss, val_loss = (dict(losses.kept()) for losses in self._losses.values())
        epochs = sorted(loss.keys() | val_loss.keys())
        columns = [np.array([series.get(e, np.nan) for e in epochs]) for series in (loss, val_loss)]
        return np.array(epochs), columns[0], columns[1] if val_loss else None


# What is drawn: a bounded sample of the data, in the form that the model takes.


@dataclasses.dataclass(frozen=True)
class _Sample:
    inputs: Any  # what `predict` is given: the sampled x, or a grid in its form where there is a line to draw
    rows: int  # of inputs
    y: np.ndarray  # (n, outputs) float64
    points: np.ndarray | None  # (n,), the one feature, where there is a line to draw
    grid: np.ndarray | None  # (rows,)
    feature: str
    targets: list[str] | None  # the outputs' names, where y has them

    @classmethod
    def of(cls, x, y, most) -> "_Sample":
        x, y = _as_data("x", x), _as_data("y", y)
        if isinstance(y, dict):
            raise ValueError("`y` must be an array, tensor, Series or DataFrame. Received: a dict.")
        lengths = {len(column) for column in x.values()} if isinstance(x, dict) else {len(x)}
        if lengths != {len(y)} or not len(y):
            raise ValueError(
                "`x` and `y` must have the same number of rows, at least one. "
                f"Received: x with {' and '.join(map(str, sorted(lengths))) or 'no'} rows, y with {len(y)}."
            )
        names = _column_names(y)
        rows = np.arange(len(y))
        if len(y) > most:
            # Ours alone, so that drawing leaves the user's random numbers as they were.
            rows = np.sort(np.random.default_rng(0).choice(len(y), most, replace=False, shuffle=False))
        x, y = _take(x, rows), _take(y, rows)
        values = _floats(y)
        if values is None or values.ndim not in (1, 2):
            raise ValueError(
                "`y` must hold numbers, of shape (n,) or (n, outputs). "
                f"Received: {type(y).__name__} of shape {tuple(y.shape)}, "
                f"dtype {getattr(y, 'dtype', 'by column')}."
            )
        values = values.reshape(len(rows), -1)
        points = _one_feature(x)
        if points is None:
            return cls(x, len(rows), values, None, None, "x", names)
        inputs, grid = _grid_like(x, points)
        return cls(inputs, len(grid), values, points, grid, (_column_names(x) or ["x"])[0], names)


def _as_data(argument, data):
    """Return `data` as what has rows to sample: an array, a tensor, a pandas object, or a dict of these."""
    if isinstance(data, dict):
        return {name: _as_data(f"{argument}[{name!r}]", column) for name, column in data.items()}
    if not isinstance(data, tf.Tensor) and not hasattr(data, "iloc"):
        data = np.asarray(data) if not isinstance(data, tf.RaggedTensor) else np.array(None)
    if not tuple(data.shape):  # a dataset, a sparse tensor, a number
        raise ValueError(
            f"`{argument}` must be an array, tensor, Series, DataFrame or dict of columns, with rows. "
            f"Received: {data!r}."
        )
    return data


def _take(data, rows):
    if isinstance(data, dict):
        return {name: _take(column, rows) for name, column in data.items()}
    if isinstance(data, tf.Tensor):
        return tf.gather(data, rows)
    return data.iloc[rows] if hasattr(data, "iloc") else data[rows]


def _column_names(data) -> list[str] | None:
    if isinstance(data, dict) or hasattr(data, "columns"):
        return [str(name) for name in (data if isinstance(data, dict) else data.columns)]
    return None if getattr(data, "name", None) is None or not hasattr(data, "iloc") else [str(data.name)]


def _floats(data, kinds="iufb") -> np.ndarray | None:
    """Return the data as float64, or None where it is not of these NumPy kinds."""
    if isinstance(data, tf.Tensor):
        numeric = data.dtype.is_floating or data.dtype.is_integer or (data.dtype.is_bool and "b" in kinds)
        return tf.cast(data, "float64").numpy() if numeric else None
    dtypes = list(data.dtypes) if hasattr(data, "columns") else [data.dtype]
    if any(dtype.kind not in kinds for dtype in dtypes):
        return None
    if hasattr(data, "iloc"):
        return data.to_numpy(dtype="float64", na_value=np.nan)
    return data.astype("float64")


def _one_feature(x) -> np.ndarray | None:
    """Return the points `(n,)` where x is one numeric feature. No line runs between booleans."""
    if isinstance(x, dict):
        return _one_feature(next(iter(x.values()))) if len(x) == 1 else None
    if len(x.shape) > 2 or tuple(x.shape)[1:] not in ((), (1,)):
        return None
    points = _floats(x, "iuf")
    return None if points is None or not np.isfinite(points).any() else points.reshape(-1)


def _grid_like(x, points):
    """Return a grid over the points in the form and dtype of x, and as float64 `(m,)`."""
    if isinstance(x, dict):
        ((name, column),) = x.items()
        column, grid = _grid_like(column, points)
        return {name: column}, grid
    points = points[np.isfinite(points)]
    grid = np.linspace(points.min(), points.max(), _GRID)
    dtype = next(iter(x.dtypes)) if hasattr(x, "columns") else x.dtype
    if dtype.is_integer if isinstance(x, tf.Tensor) else dtype.kind in "iu":
        grid = np.round(grid)
    grid = np.unique(grid)
    if hasattr(x, "iloc"):
        import pandas as pd

        column = pd.Series(grid).astype(dtype)
        form = column.to_frame(x.columns[0]) if hasattr(x, "columns") else column.rename(x.name)
    else:
        column = grid.reshape(-1, *tuple(x.shape)[1:])
        form = tf.cast(column, dtype) if isinstance(x, tf.Tensor) else column.astype(dtype)
    return form, grid


class _Thinned:
    """The values of every k-th epoch, and of the last; k doubles when there are too many."""

    def __init__(self, most: int):
        self._most, self._every, self._seen = most, 1, 0
        self._rows: list[tuple[int, float]] = []
        self._newest: list[tuple[int, float]] = []

    def add(self, epoch: int, value: float):
        self._newest = [(epoch, value)]
        if self._seen % self._every == 0:
            self._rows.append((epoch, value))
            if len(self._rows) > self._most:
                self._rows, self._every = self._rows[::2], 2 * self._every
        self._seen += 1

    def kept(self) -> list[tuple[int, float]]:
        return self._rows + self._newest


# Drawing it.


def _picture(sample, epoch, predicted, history):
    from keras_linreg import plots

    picture, axes = plots.figure(panels=2 if len(history[0]) else 1)
    _paint(axes, sample, epoch, predicted, history)
    return picture


def _paint(axes, sample, epoch, predicted, history):
    from keras_linreg import plots

    target = sample.targets[0] if sample.targets is not None and len(sample.targets) == 1 else None
    if sample.grid is not None:
        plots.fitted_line(
            *(axes[0], sample.points, sample.y, sample.grid, predicted),
            xlabel=sample.feature,
            ylabel=target or "y",
            label=None if target else sample.targets,
        )
    else:
        plots.actual_vs_predicted(axes[0], sample.y, predicted, names=sample.targets, unit=target)
    plots.title(axes[0], f"Epoch {epoch:,}" if epoch else "Before training")
    if len(axes) > 1:
        epochs, loss, _ = history
        plots.loss_curve(axes[1], *history)
        if epochs[-1] == epoch and np.isfinite(loss[-1]):
            plots.title(axes[1], f"Loss {loss[-1]:.4g}")


def _animate(file, sample, frames, history):
    """Write the GIF of the frames, on axes that hold still, so that what moves is the fit."""
    from keras_linreg import plots

    picture, axes = plots.figure(panels=2 if len(history[0]) else 1)
    # A fit that overshoots leaves the picture rather than squeeze the data into a corner.
    predicted = [frame for _, frame in frames]
    low, high = plots.padded_range(sample.y, *predicted, reach=0.3)

    def steps():
        for epoch, predicted in frames:
            for ax in axes:
                ax.clear()
            _paint(axes, sample, epoch, predicted, history)
            axes[0].set_ylim(low, high)
            if sample.grid is None:
                axes[0].set_xlim(low, high)
            for line in axes[1].lines if len(axes) > 1 else ():
                # Cut after drawing it all: the axes keep the limits and the scale of the whole.
                data = np.stack(line.get_data())
                line.set_data(*data[:, data[0] <= epoch])
            yield epoch

    plots.save_gif(file, picture, steps())


# Where it goes: files, TensorBoard, a notebook.


def _fspath(argument, path):
    try:
        return os.fsdecode(os.fspath(path))
    except TypeError:
        raise ValueError(f"`{argument}` must be a path or None. Received: {argument}={path!r}.") from None


def _as_path(argument, path) -> Path | None:
    return None if path is None else Path(_fspath(argument, path))


def _format(path: Path) -> str:
    return path.suffix[1:].lower()


def _check_writable(argument, path):
    """Write a blank picture beside `path`, whose parents are made, and remove it: it will work at the end."""
    if path is None:
        return
    from matplotlib.figure import Figure

    known = ", ".join(sorted(Figure().canvas.get_supported_filetypes()))
    if _format(path) not in known.split(", "):
        raise ValueError(
            f"`{argument}` must end in the extension of a picture format, one of {known}. "
            f"Received: {argument}={str(path)!r}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a directory")
        with _replacing(path, keep=False) as file:
            Figure(figsize=(1, 1)).savefig(file, format=_format(path))
    except OSError as error:
        raise OSError(
            f"`{argument}` must be a file that can be written: {error}. Received: {argument}={str(path)!r}."
        ) from error


@contextlib.contextmanager
def _replacing(path: Path, keep: bool = True):
    """Give a new file beside `path` to write; it takes the place of `path` in one step, if all went well."""
    # Not from tempfile, whose files only their owner may read.
    file = path.with_name(f".{path.stem[:50]}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield file
        if keep:
            os.replace(file, path)
    finally:
        file.unlink(missing_ok=True)


def _open_writer(log_dir):
    if log_dir is None:
        return None
    try:
        tf.io.gfile.makedirs(log_dir)
        return tf.summary.create_file_writer(log_dir)
    except (tf.errors.OpError, OSError) as error:
        raise OSError(
            f"`log_dir` must be a directory that can be written: {error}. Received: log_dir={log_dir!r}."
        ) from error


class _Screen:
    """The output of a notebook cell, where one picture takes the place of the one before."""

    def __init__(self):
        self._handle, self._ready_at = None, 0.0

    @classmethod
    def find(cls, live) -> "_Screen | None":
        # A notebook has IPython imported; where it is not, importing it here would make no notebook.
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None and live is not False else None
        if live is True and shell is None:
            raise ValueError(
                '`live=True` needs a notebook (an IPython shell); `"auto"` shows the picture where one is. '
                "Received: live=True outside of IPython."
            )
        return cls() if shell is not None and (live is True or hasattr(shell, "kernel")) else None

    def ready(self) -> bool:
        return time.monotonic() >= self._ready_at

    def show(self, figure):
        from IPython.display import Image, display

        start = time.monotonic()
        buffer = io.BytesIO()
        figure().savefig(buffer, format="png", dpi=_SCREEN_DPI)
        image = Image(data=buffer.getvalue(), format="png")
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
        now = time.monotonic()
        self._ready_at = now + max(0.5, 9 * (now - start))
