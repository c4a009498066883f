"""Checks of a model's file: its sizes and checksums before it is read, its names and shapes before they are believed.

Keras reads whatever a file declares, and its errors do not name the file. Users load models by
`keras.models.load_model`, so its errors are explained there: for files that are no archives, and for models of this
package.
"""

import contextlib
import functools
import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from keras_linreg.data import Schema, default_names
from keras_linreg.moments.moments import Moments
from keras_linreg.utils import keras_compat
from keras_linreg.utils.files import URL

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # in a `.keras` archive
OWN_CLASS = b'"keras_linreg>'
FREE_BYTES = 2**25  # an array may have so many bytes however well it is compressed
MOST_COMPRESSION = 100  # Keras does not compress
INPUT_DTYPES = ("float32", "float64", "int64", "string", "bool")


def check_schema(schema: Schema, width: int | None, given_names: Sequence[str] | None, is_preprocessed: bool) -> None:
    """Refuse the inputs of a file that do not fit each other, or the model's arguments.

    Args:
        schema: the inputs.
        width: the number of columns of the design.
        given_names: the model's `feature_names`, or None.
        is_preprocessed: whether a preprocessor makes the design of the inputs.

    Raises:
        ValueError: they do not fit.
    """
    names = schema.feature_names
    if len(names) != width or len(set(names)) < len(names):
        raise ValueError(f"The schema must name each of the {width} columns once. Received: {list(names)}.")
    if given_names is not None and names != tuple(given_names):
        raise ValueError(f"The schema must have the model's names {list(given_names)}. Received: {list(names)}.")
    if schema.named and not is_preprocessed and names != schema.names:
        raise ValueError(
            f"The schema must have one order of the columns. Received: {list(schema.names)}, {list(names)}."
        )
    if unknown := {column.dtype for column in schema.inputs} - set(INPUT_DTYPES):
        raise ValueError(f"The inputs of the schema must be of a dtype in {INPUT_DTYPES}. Received: {sorted(unknown)}.")


def check_moments(moments: Moments, feature_names: Sequence[str] | None, units: int) -> None:
    """Refuse the moments of other columns than a model has; a model of nameless columns takes any names.

    Raises:
        ValueError: they are of others, or in another order.
    """
    expected, received = tuple(feature_names or ()), moments.feature_names
    is_nameless = len(expected) == len(received) and expected == default_names(len(expected))
    if (received != expected and not is_nameless) or len(moments.output_names) != units:
        raise ValueError(
            f"The moments of the file must be of the model's columns {list(expected)} and {units} outputs, in this "
            f"order. Received: {list(received)} and {len(moments.output_names)} outputs."
        )


def check_weights(stored: Mapping[str, Any], weights: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    """Refuse weights of other shapes before the first of them is assigned.

    Args:
        stored: the arrays of the file, by their numbers.
        weights: the names and shapes of the model's weights.

    Raises:
        ValueError: they are others.
    """
    shapes = [tuple(np.shape(stored[key])) for key in sorted(stored, key=lambda key: (len(key), key))]
    if shapes != [shape for _, shape in weights]:
        expected = ", ".join(f"{name} {shape}" for name, shape in weights) or "no weights"
        raise ValueError(f"The file must hold {expected}. Received: weights of the shapes {shapes}.")


def explain_errors_of_load_model() -> None:
    """Have `keras.models.load_model` name the file, and what is wrong with it; and find "~/model.keras"."""
    keras_compat.wrap_load_model(_explaining)


def _explaining(load_model: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load_model)
    def load(filepath: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(filepath, str | os.PathLike) and str(filepath).startswith("~"):
            expanded = os.path.expanduser(filepath)
            filepath = expanded if os.path.exists(expanded) and not os.path.exists(filepath) else filepath
        with explain_bad_file(filepath, is_of_any_class=True):
            return load_model(filepath, *args, **kwargs)

    return load


@contextlib.contextmanager
def explain_bad_file(filepath: Any, is_of_any_class: bool = False) -> Iterator[None]:
    """Refuse a damaged file of a model, and turn the errors of its reader into one that names it.

    Args:
        filepath: of a `.keras` archive, a folder that Keras wrote, or a `.weights.h5` file; other paths pass.
        is_of_any_class: whether the file may hold a model that is not of this package. Its errors are changed only if
            it is no archive at all.

    Raises:
        ValueError: the file is damaged.
    """
    path = os.fspath(filepath) if isinstance(filepath, str | os.PathLike) else ""
    is_folder = isinstance(path, str) and os.path.isfile(os.path.join(path, CONFIG))
    is_file = isinstance(path, str) and path.endswith((".keras", ".h5")) and os.path.isfile(path)
    if not (is_folder or is_file) or URL.match(path):
        yield
        return
    fault = None if is_folder else _fault_of_container(path)
    is_own = not is_of_any_class
    if is_folder:
        is_own = is_own or _folder_holds_own_model(path)
        fault = _fault_of_folder(path) if is_own else None
    elif fault is None and path.endswith(".keras"):
        is_own = is_own or _holds_own_model(path)
        fault = _fault_of_members(path) if is_own else None
    elif fault is None and is_own:
        fault = _fault_of_arrays(path)
    if fault is not None:
        raise ValueError(f"`filepath` must be a whole file that `save` wrote. Received: {path}, {fault}.")
    try:
        yield
    except Exception as error:
        if not is_own or isinstance(error, OSError | ImportError | MemoryError) or "Could not locate" in str(error):
            raise
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"The model in {path} cannot be loaded: {reason}") from error


def _fault_of_container(path: str) -> str | None:
    """Return why a file is no archive (or HDF5 file) at all, or None."""
    if not os.path.getsize(path):
        return "which is empty"
    is_archive = path.endswith(".keras")
    if zipfile.is_zipfile(path) if is_archive else h5py.is_hdf5(path):
        return None
    with open(path, "rb") as file:
        begins_well = file.read(8).startswith(b"PK" if is_archive else b"\x89HDF")
    if begins_well:
        return "which is cut off: its end is missing"
    return f"which is no {'.keras archive' if is_archive else 'HDF5 file'}"


def _holds_own_model(path: str) -> bool:
    """Return whether an archive holds a model of this package, itself or inside of another."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _is_oversized(archive.getinfo(CONFIG)) or OWN_CLASS in archive.read(CONFIG)
    except (KeyError, zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError):
        return True  # nobody can read it: say why


def _folder_holds_own_model(path: str) -> bool:
    """Return whether a folder that `save(zipped=False)` wrote holds a model of this package."""
    with open(os.path.join(path, CONFIG), "rb") as file:
        return OWN_CLASS in file.read()


def _fault_of_folder(path: str) -> str | None:
    """Return what is wrong with the files of a folder, or None."""
    weights = os.path.join(path, WEIGHTS)
    if not os.path.isfile(weights):
        return f"which lacks {WEIGHTS}"
    with open(os.path.join(path, CONFIG), "rb") as file:
        text = file.read()
    return _fault_of_arrays(weights) or _fault_of_config(text, os.path.getsize(weights))


def _fault_of_members(path: str) -> str | None:
    """Return what is wrong with the parts of an archive, or None; numbers are not read yet."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if _is_oversized(info):
                    return f"whose {info.filename} has {info.file_size:,} bytes, stored in {info.compress_size:,}"
            missing = {CONFIG, WEIGHTS} - set(archive.namelist())
            if missing:
                return f"which lacks {', '.join(sorted(missing))}"
            if damaged := archive.testzip():
                return f"whose {damaged} is damaged: its checksum is another"
            config, weights = archive.read(CONFIG), io.BytesIO(archive.read(WEIGHTS))
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"which is damaged: {error}"
    return _fault_of_arrays(weights) or _fault_of_config(config, len(weights.getvalue()))


def _is_oversized(info: zipfile.ZipInfo) -> bool:
    return info.file_size > max(FREE_BYTES, MOST_COMPRESSION * info.compress_size)


def _fault_of_arrays(file: str | io.BytesIO) -> str | None:
    """Return what is wrong with the arrays of an HDF5 file, or None; only their sizes are read."""
    size = os.path.getsize(file) if isinstance(file, str) else len(file.getvalue())
    too_large: list[str] = []

    def visit(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            declared = math.prod(thing.shape or ()) * thing.dtype.itemsize
            if declared > max(FREE_BYTES, MOST_COMPRESSION * thing.id.get_storage_size()):
                too_large.append(f"whose {name} declares {declared:,} bytes in a file of {size:,}")

    try:
        with h5py.File(file, "r") as archive:
            archive.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        return f"whose weights are damaged: {error}"
    return too_large[0] if too_large else None


def _fault_of_config(text: bytes, bytes_of_weights: int) -> str | None:
    """Return what is wrong with the configuration, or None: a kernel that it declares must be in the file."""
    try:
        config = json.loads(text)
        if OWN_CLASS not in json.dumps(config.get("registered_name")).encode():
            return None
        columns = config["build_config"]["input_shape"][-1] if config.get("build_config") else 0
        numbers = columns * config["config"]["units"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return f"whose {CONFIG} is damaged"
    if not isinstance(numbers, int):
        return f"whose {CONFIG} is damaged"
    is_stored = 2 * numbers <= bytes_of_weights
    return None if is_stored else f"whose {CONFIG} declares {numbers:,} weights, in {bytes_of_weights:,} bytes"
