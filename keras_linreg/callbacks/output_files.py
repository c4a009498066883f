"""The files that FitPlot writes: checks of their paths, and the writer of TensorBoard's events."""

from pathlib import Path

import tensorflow as tf

from keras_linreg.utils.files import path_text, replace_file


def as_path(argument: str, path: object) -> Path | None:
    """Return the user's path as a Path, and None as None."""
    text = text_or_none(argument, path)
    return None if text is None else Path(text)


def text_or_none(argument: str, path: object) -> str | None:
    """Return the user's path as text, and None as None."""
    return None if path is None else path_text(argument, path, "a path or None")


def picture_format(path: Path) -> str:
    """Return Matplotlib's name of the format that the extension of the file stands for."""
    return path.suffix[1:].lower()


def check_writable(argument: str, path: Path | None, is_animation: bool = False) -> None:
    """Make the parents of `path`, write a blank picture beside it, and remove the picture: so the real one will work.

    Args:
        argument: the name of the user's argument, for the error message.
        path: the file, or None.
        is_animation: whether Pillow will write the file; it can whether or not this Matplotlib knows GIF.

    Raises:
        ValueError: the extension is not one of a picture format.
        OSError: the file cannot be written.
    """
    if path is None:
        return
    from matplotlib.figure import Figure

    formats = ", ".join(sorted(Figure().canvas.get_supported_filetypes()))
    if not is_animation and picture_format(path) not in formats.split(", "):
        raise ValueError(
            f"`{argument}` must end in the extension of a picture format, one of {formats}. "
            f"Received: {argument}={str(path)!r}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a directory")
        with replace_file(path, keep=False) as file:
            if is_animation:
                file.touch()
            else:
                Figure(figsize=(1, 1)).savefig(file, format=picture_format(path))
    except OSError as error:
        raise OSError(
            f"`{argument}` must be a file that can be written: {error}. Received: {argument}={str(path)!r}."
        ) from error


def open_event_writer(log_dir: str | None) -> tf.summary.SummaryWriter | None:
    """Return a TensorBoard writer for the directory, and None for None.

    Raises:
        OSError: the directory cannot be written.
    """
    if log_dir is None:
        return None
    try:
        tf.io.gfile.makedirs(log_dir)
        return tf.summary.create_file_writer(log_dir)
    except (tf.errors.OpError, OSError) as error:
        raise OSError(
            f"`log_dir` must be a directory that can be written: {error}. Received: log_dir={log_dir!r}."
        ) from error
