"""FitPlot: the fit drawn while the model trains, and left as a picture."""

import dataclasses
import io

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.callbacks.drawing import Frame, animate, picture
from keras_linreg.callbacks.output import (
    SCREEN_DPI,
    Screen,
    as_path,
    check_writable,
    fspath,
    open_writer,
    picture_format,
    replace_file,
)
from keras_linreg.callbacks.sample import Sample, Thinned

MOST_FRAMES, MOST_LOSSES = 60, 1000
PNG_DPI = 150


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
    _last: Frame | None  # the newest
    _kept: int | None
    _start: int | None
    _due: int

    def __init__(self, x, y, path="fit.png", *, gif=None, live="auto", log_dir=None, max_points=1000):
        super().__init__()
        if not isinstance(live, bool) and not (isinstance(live, str) and live == "auto"):
            raise ValueError(f'`live` must be True, False or "auto". Received: live={live!r}.')
        if isinstance(max_points, bool) or not isinstance(max_points, int | np.integer) or max_points < 1:
            raise ValueError(f"`max_points` must be a positive integer. Received: max_points={max_points!r}.")
        self.path, self.gif = as_path("path", path), as_path("gif", gif)
        # Not a Path, which would lose a slash of "gs://bucket".
        self.log_dir = None if log_dir is None else str(fspath("log_dir", log_dir))
        self.live = live
        self._sample = Sample.of(x, y, int(max_points))
        self._writer = self._screen = None
        self._start_over()

    def __getstate__(self):
        # A writer and a notebook's output cannot be copied, and `fit` brings its own model.
        return {**self.__dict__, "_model": None, "_writer": None, "_screen": None}

    def figure(self):
        """Return a new Matplotlib Figure of the last epoch that was drawn; nothing here keeps it."""
        if self._last is None:
            raise ValueError("`figure` needs a fit with this callback. Received: no epoch yet.")
        return picture(self._sample, self._last, self._history())

    def on_train_begin(self, logs=None):
        """Check that everything can be written, before time is spent on what cannot be kept."""
        self._close()
        self._start_over()
        if self.gif is not None and self.gif.suffix.lower() != ".gif":
            raise ValueError(f"`gif` must end in .gif. Received: gif={str(self.gif)!r}.")
        if self.gif is not None and self.gif == self.path:
            raise ValueError(f"`path` and `gif` must be two files. Received: {str(self.gif)!r} for both.")
        check_writable("path", self.path)
        check_writable("gif", self.gif)
        if self.gif is not None and not self._is_unfitted:
            self._look(0)
            self._frames.append(self._last)
        self._screen = Screen.find(self.live)
        self._writer = open_writer(self.log_dir)

    def on_epoch_end(self, epoch, logs=None):
        """Note the loss; predict and draw if a frame, the log or the screen is due."""
        if self._start is None:
            self._start = epoch
            self._frames = [dataclasses.replace(frame, epoch=epoch) for frame in self._frames]
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
            if self._epoch == 0 and self._is_unfitted:
                return
            self._look(self._epoch)
            if self._kept != self._epoch:
                self._keep()
            if self._screen is not None:
                self._screen.show(self.figure)
            if self.path is not None:
                with replace_file(self.path) as file:
                    self.figure().savefig(file, format=picture_format(self.path), dpi=PNG_DPI)
            if self.gif is not None:
                with replace_file(self.gif) as file:
                    animate(file, self._sample, self._frames, self._history())
        finally:
            self._frames = []
            self._close()

    @property
    def _is_unfitted(self):
        """Whether the model has no weights at all, as an exact one before it is fitted."""
        return getattr(self.model, "moments", self) is None

    def _start_over(self):
        self._losses = {name: Thinned(MOST_LOSSES) for name in ("loss", "val_loss")}
        # Drawn only at the end, on axes that have to hold them all.
        self._frames = []
        self._last = self._kept = self._start = None
        self._epoch, self._due = 0, 1

    def _close(self):
        if self._writer is not None:
            self._writer.close()
        self._writer = self._screen = None

    def _look(self, epoch):
        """Predict the line's grid, or the sample, unless that is done for this epoch."""
        if self._last is not None and self._last.epoch == epoch > 0:
            return
        rows, outputs = self._sample.rows, self._sample.y.shape[1]
        predicted = np.asarray(self.model.predict(self._sample.inputs, batch_size=rows, verbose=0), dtype="float64")
        if predicted.shape != (rows, outputs) and not (outputs == 1 and predicted.shape == (rows,)):
            raise ValueError(
                "FitPlot's `y` must have a column for each output of the model, and the model predict a row "
                f"for each row. Received: y with {outputs} column(s), and predictions of shape "
                f"{predicted.shape} for {rows} rows."
            )
        self._last = Frame(epoch, predicted.reshape(rows, outputs), self._bands())

    def _bands(self):
        """Return the limits of the line and of observations, where an exact model knows them."""
        if self._sample.grid is None or getattr(self.model, "moments", None) is None:
            return None
        if not np.isfinite(self.model.report().scale).all():  # a penalty, or no degrees of freedom
            return None
        found = self.model.predict_interval(self._sample.inputs)
        return {key: np.reshape(part, (self._sample.rows, -1)) for key, part in found.items()}

    def _keep(self):
        """Make the newest predictions a frame, and log their picture."""
        self._kept = self._epoch
        if self.gif is not None:
            self._frames.append(self._last)
            if len(self._frames) > MOST_FRAMES:
                self._frames = [*self._frames[:-1:2], self._last]  # still from before training to now
        if self._writer is not None:
            buffer = io.BytesIO()
            self.figure().savefig(buffer, format="png", dpi=SCREEN_DPI)
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
