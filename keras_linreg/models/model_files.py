"""The file of a model: written complete or not at all, and refused with its name and its fault if it is damaged."""

import contextlib
import os
from collections.abc import Iterator

from keras_linreg.utils import keras_compat
from keras_linreg.utils.files import URL, path_text, replace_file, replace_folder
from keras_linreg.utils.types import PathLike

SINGLE_FILE_FORMATS = ("litert", "onnx", "torch")


def local_path(filepath: PathLike) -> str:
    """Return the path of a user, or of a callback of Keras.

    Such a callback makes a folder called "~" where the user means the home folder, and looks for its files there.

    Raises:
        ValueError: it is no path.
    """
    expanded = path_text("filepath", filepath)
    literal = os.fsdecode(os.fspath(filepath))
    return literal if literal.startswith("~") and os.path.isdir(os.path.dirname(literal)) else expanded


@contextlib.contextmanager
def replace_model(filepath: PathLike, overwrite: bool = True, zipped: bool | None = None) -> Iterator[str | None]:
    """Yield the path to which Keras is to write a model or its weights; without an error they then replace the old.

    Args:
        filepath: as in `keras.Model.save`; a URL is yielded as it is.
        overwrite: whether to replace an old file without asking the user.
        zipped: False for a folder.

    Yields:
        The path, or None if the user wants to keep the old file.
    """
    path = local_path(filepath)
    if URL.match(path):
        yield path
    elif os.path.exists(path) and not overwrite and not keras_compat.ask_to_overwrite(path):
        yield None
    elif zipped is False:
        with replace_folder(path, last="config.json") as unfinished:
            yield unfinished
    else:
        with replace_file(path) as file:
            yield str(file)


@contextlib.contextmanager
def replace_export(filepath: PathLike, format: str) -> Iterator[str]:
    """Yield the path to which Keras is to write another format than a SavedModel; if that is one file, as above."""
    path = path_text("filepath", filepath)
    if format not in SINGLE_FILE_FORMATS or URL.match(path):
        yield path
    else:
        with replace_file(path) as file:
            yield str(file)
