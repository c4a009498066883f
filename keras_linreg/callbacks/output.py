"""Where the picture goes: files, TensorBoard, a notebook."""

import io
import os
import sys
import time
from pathlib import Path

import tensorflow as tf

from keras_linreg.utils.files import replace_file

SCREEN_DPI = 90


def fspath(argument, path):
    """Return a path as a string; anything else is an error that names the argument."""
    try:
        return os.fsdecode(os.fspath(path))
    except TypeError:
        raise ValueError(f"`{argument}` must be a path or None. Received: {argument}={path!r}.") from None


def as_path(argument, path) -> Path | None:
    """Return a Path, or None for None."""
    return None if path is None else Path(fspath(argument, path))


def picture_format(path: Path) -> str:
    """Return the format that a file's extension names to Matplotlib."""
    return path.suffix[1:].lower()


def check_writable(argument, path):
    """Write a blank picture beside `path`, whose parents are made, and remove it: it will work at the end."""
    if path is None:
        return
    from matplotlib.figure import Figure

    pillows = argument == "gif"  # Pillow writes the animation, whether or not this Matplotlib knows GIF
    known = ", ".join(sorted(Figure().canvas.get_supported_filetypes()))
    if not pillows and picture_format(path) not in known.split(", "):
        raise ValueError(
            f"`{argument}` must end in the extension of a picture format, one of {known}. "
            f"Received: {argument}={str(path)!r}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a directory")
        with replace_file(path, keep=False) as file:
            file.touch() if pillows else Figure(figsize=(1, 1)).savefig(file, format=picture_format(path))
    except OSError as error:
        raise OSError(
            f"`{argument}` must be a file that can be written: {error}. Received: {argument}={str(path)!r}."
        ) from error


def open_writer(log_dir):
    """Return a TensorBoard writer for the directory, or None for None; one that cannot be written is an error."""
    if log_dir is None:
        return None
    try:
        tf.io.gfile.makedirs(log_dir)
        return tf.summary.create_file_writer(log_dir)
    except (tf.errors.OpError, OSError) as error:
        raise OSError(
            f"`log_dir` must be a directory that can be written: {error}. Received: log_dir={log_dir!r}."
        ) from error


class Screen:
    """The output of a notebook cell, where one picture takes the place of the one before."""

    def __init__(self):
        self._handle, self._ready_at = None, 0.0

    @classmethod
    def find(cls, live) -> "Screen | None":
        """Return the notebook that this runs in, None where there is none or it is not wanted."""
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
        """Return whether a new picture would not take too much of the training's time."""
        return time.monotonic() >= self._ready_at

    def show(self, figure):
        """Show the Figure that calling `figure` returns in place of the last one."""
        from IPython.display import Image, display

        start = time.monotonic()
        buffer = io.BytesIO()
        figure().savefig(buffer, format="png", dpi=SCREEN_DPI)
        image = Image(data=buffer.getvalue(), format="png")
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
        now = time.monotonic()
        self._ready_at = now + max(0.5, 9 * (now - start))
