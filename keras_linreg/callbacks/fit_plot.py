"""FitPlot: a picture of the fit, drawn while the model trains."""

import dataclasses
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.callbacks.drawing import Frame, draw_picture, save_animation
from keras_linreg.callbacks.loss_history import LossHistory
from keras_linreg.callbacks.notebook import SCREEN_DPI, NotebookOutput, open_notebook
from keras_linreg.callbacks.output_files import as_path, check_writable, open_event_writer, picture_format, text_or_none
from keras_linreg.callbacks.sample import Sample
from keras_linreg.data import is_stream
from keras_linreg.data.tables import as_table
from keras_linreg.utils.files import replace_file
from keras_linreg.utils.types import Array, Data, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_FRAMES, MAX_LOSSES = 60, 1000
FILE_DPI = 150
FRAME_GROWTH = 1.15  # an epoch is drawn when its number exceeds that of the last one drawn by this factor


class FitPlot(keras.callbacks.Callback):
    """Draw the fit while the model trains, with the loss beside it.

    For one numeric feature it draws the points and the current line; otherwise the predictions against the observed
    values. It works with any Keras model that predicts one row for each row of `x`. It calls nothing but
    `model.predict`, and only for the epochs that it draws, more of them at first, when the line moves most:

    ```python
    drawn = {1}                                  # and the last epoch
    drawn.add(int(1.15 * max(drawn)) + 1)        # again and again
    ```

    It keeps a random sample of the data (always the same one), at most 60 frames and 1,000 losses, so its memory does
    not grow with the data or the epochs. Between fits it holds no figure and no file. It may be copied or pickled at
    any time (KerasTuner copies callbacks); the copy has no model until it is fitted. Each `fit` starts a new picture; a
    `fit` that ends in an error writes none.

    Args:
        x: the features, in any form that `fit` takes: an array or tensor of shape `(n,)`, `(n, 1)` or `(n, features)`,
            a table or column of pandas, polars, pyarrow or duckdb, a dict of columns, a sparse matrix; or features and
            observed values together, as a tuple `(x, y)` or a dataset or PyDataset of batches of `(x, y)`. The name of
            the only column labels the axis. Of a dataset the first `20 * max_points` rows are read, once.
        y: the observed values: an array, tensor, column or table of shape `(n,)` or `(n, outputs)`; the name of a
            column of `x`; `None` if `x` holds them, as the table of a `klr.Formula` with a left side does.
        path: the file of the picture, written when the training ends. Its extension chooses Matplotlib's format. An
            existing file is replaced in one step or stays. `None` writes none.
        gif: a path ending in `.gif`, for an animation of the fit from before the first epoch to the last; `None`
            (default) writes none.
        live: whether to show the picture in a notebook during the training: `True`, `False`, or `"auto"` (default),
            which is `True` in a notebook. Drawing takes at most about a tenth of the time.
        log_dir: a TensorBoard log directory for the picture of each epoch that is drawn; `None` (default) logs none.
        max_points: the largest number of rows to draw.

    Raises:
        ValueError: `x` and `y` are empty or differ in length, `x` can be read only once, or an argument has another
            type. And, before the training starts: `path` has no extension of a picture format, `gif` does not end in
            `.gif`, or `live` is `True` outside of IPython.
        OSError: before the training starts: `path`, `gif` or `log_dir` cannot be written.

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

    _sample: Sample
    _losses: LossHistory
    _frames: list[Frame]  # of the animation, drawn only at its end, on axes that hold all of them
    _newest: Frame | None
    _recorded_epoch: int | None  # the last epoch in the animation and the log
    _first_epoch: int | None  # counted from 0
    _epoch: int  # the last one, counted from 1
    _next_due: int  # an epoch, counted from the first of this fit

    def __init__(
        self,
        x: Data,
        y: Data = None,
        path: PathLike | None = "fit.png",
        *,
        gif: PathLike | None = None,
        live: bool | str = "auto",
        log_dir: PathLike | None = None,
        max_points: int = 1000,
    ) -> None:
        super().__init__()
        if not isinstance(live, bool) and not (isinstance(live, str) and live == "auto"):
            raise ValueError(f'`live` must be True, False or "auto". Received: live={live!r}.')
        if isinstance(max_points, bool) or not isinstance(max_points, int | np.integer) or max_points < 1:
            raise ValueError(f"`max_points` must be a positive integer. Received: max_points={max_points!r}.")
        self.path, self.gif = as_path("path", path), as_path("gif", gif)
        # A Path would lose a slash of "gs://bucket".
        self.log_dir = text_or_none("log_dir", log_dir)
        self.live = live
        # A formula takes y from the table, once it has learned.
        self._table = x if y is None and not is_stream(x) and as_table(x) is not None else None
        self._max_points = int(max_points)
        if self._table is None:
            self._sample = Sample.from_data(x, y, self._max_points)
        self._writer: tf.summary.SummaryWriter | None = None
        self._notebook: NotebookOutput | None = None
        self._start_over()

    def __getstate__(self) -> dict[str, Any]:
        # A model, a writer and a notebook's output cannot be copied; `fit` sets its own model.
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.set_model(None)
        copy._writer = copy._notebook = None
        return copy.__dict__

    def figure(self) -> "Figure":
        """Return a new Matplotlib Figure of the last epoch that was drawn.

        Raises:
            ValueError: there has been no fit with this callback.
        """
        if self._newest is None:
            raise ValueError("`figure` needs a fit with this callback. Received: no epoch yet.")
        return draw_picture(self._sample, self._newest, self._losses.curves())

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check that all files can be written, before the training takes time."""
        self._close()
        self._start_over()
        if self._table is not None:
            self._sample = Sample.from_formula(self._table, self.model, self._max_points)
        if self.gif is not None and self.gif.suffix.lower() != ".gif":
            raise ValueError(f"`gif` must end in .gif. Received: gif={str(self.gif)!r}.")
        if self.gif is not None and self.gif == self.path:
            raise ValueError(f"`path` and `gif` must be two files. Received: {str(self.gif)!r} for both.")
        check_writable("path", self.path)
        check_writable("gif", self.gif, is_animation=True)
        if self.gif is not None and not self._has_no_weights:
            self._frames.append(self._predict(0))
        self._notebook = open_notebook(self.live)
        self._writer = open_event_writer(self.log_dir)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record the loss; predict and draw if a frame, the log or the notebook is due."""
        if self._first_epoch is None:
            self._first_epoch = epoch
            self._frames = [dataclasses.replace(frame, epoch=epoch) for frame in self._frames]
        self._epoch = epoch + 1
        self._losses.add(self._epoch, logs or {})
        trained = self._epoch - self._first_epoch
        if trained >= self._next_due:
            self._next_due = int(FRAME_GROWTH * trained) + 1
            if self.gif is not None or self._writer is not None:
                self._record(self._predict(self._epoch))
        if self._notebook is not None and self._notebook.is_due():
            self._predict(self._epoch)
            self._notebook.show(self.figure)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Draw the last epoch, write the files, and close the log."""
        try:
            if self._epoch == 0 and self._has_no_weights:
                return
            frame = self._predict(self._epoch)
            if self._recorded_epoch != self._epoch:
                self._record(frame)
            if self._notebook is not None:
                self._notebook.show(self.figure)
            if self.path is not None:
                with replace_file(self.path) as file:
                    self.figure().savefig(file, format=picture_format(self.path), dpi=FILE_DPI)
            if self.gif is not None:
                with replace_file(self.gif) as file:
                    save_animation(file, self._sample, self._frames, self._losses.curves())
        finally:
            self._frames = []
            self._close()

    @property
    def _has_no_weights(self) -> bool:
        """Whether the model is an exact one that has not been fitted."""
        return hasattr(self.model, "moments") and self.model.moments is None

    def _start_over(self) -> None:
        self._losses = LossHistory(MAX_LOSSES)
        self._frames = []
        self._newest = self._recorded_epoch = self._first_epoch = None
        self._epoch, self._next_due = 0, 1

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = self._notebook = None

    def _predict(self, epoch: int) -> Frame:
        """Return the predictions of this epoch; a second call does not predict again."""
        if self._newest is not None and self._newest.epoch == epoch > 0:
            return self._newest
        rows, outputs = self._sample.rows, self._sample.y.shape[1]
        predicted = np.asarray(self.model.predict(self._sample.inputs, batch_size=rows, verbose=0), dtype="float64")
        if predicted.shape != (rows, outputs) and not (outputs == 1 and predicted.shape == (rows,)):
            raise ValueError(
                "FitPlot's `y` must have a column for each output of the model, and the model must predict a row for "
                f"each row of `x`. Received: y with {outputs} column(s), and predictions of shape {predicted.shape} "
                f"for {rows} rows."
            )
        is_exact = hasattr(self.model, "moments")
        self._newest = Frame(epoch, predicted.reshape(rows, outputs), self._predict_bands(), is_exact)
        return self._newest

    def _predict_bands(self) -> dict[str, Array] | None:
        """Return the limits of the line and of observations, or None if the model has no intervals."""
        if self._sample.grid is None or getattr(self.model, "moments", None) is None:
            return None
        if not np.isfinite(self.model.report().scale).all():  # a penalty, or no degrees of freedom
            return None
        intervals = self.model.predict_interval(self._sample.inputs)
        limits = [name for name, *_ in intervals.columns.to_frame().itertuples(index=False)]
        return {key: np.reshape(np.asarray(intervals[key]), (self._sample.rows, -1)) for key in dict.fromkeys(limits)}

    def _record(self, frame: Frame) -> None:
        """Add a frame to the animation, and its picture to the log."""
        self._recorded_epoch = frame.epoch
        if self.gif is not None:
            self._frames.append(frame)
            if len(self._frames) > MAX_FRAMES:
                self._frames = [*self._frames[:-1:2], frame]  # the first and the newest stay
        if self._writer is not None:
            buffer = io.BytesIO()
            self.figure().savefig(buffer, format="png", dpi=SCREEN_DPI)
            image = tf.io.decode_png(buffer.getvalue())[None]
            # keras.callbacks.TensorBoard turns recording off for the steps that it skips.
            with self._writer.as_default(), tf.summary.record_if(True):
                tf.summary.image("fit", image, step=max(self._epoch - 1, 0))
            self._writer.flush()  # an interrupted training does not close the writer
