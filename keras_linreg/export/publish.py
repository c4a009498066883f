"""Publish a version of a model: the version is complete, or it does not exist."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import tensorflow as tf

from keras_linreg.export import card, manifest, saved_model, versions, warmup_requests
from keras_linreg.export.defaults import Defaults
from keras_linreg.export.model_interface import ExportableModel
from keras_linreg.export.signatures import KERAS, check_style
from keras_linreg.utils.arguments import check_count, check_seconds
from keras_linreg.utils.files import flush, flush_all
from keras_linreg.utils.types import Data, PathLike
from keras_linreg.utils.warnings import warn_user


def publish(
    model: ExportableModel | PathLike,
    base: PathLike,
    warmup: Data = None,
    keep: int | None = None,
    keep_seconds: float = 120,
    signatures: str | None = None,
    defaults: Defaults = None,
) -> Path:
    """Put a model into `base` as its next version, `base/1`, `base/2`, ..., where TF Serving finds it.

    The version is written beside the others, under a name that no server looks at. Its signatures are loaded (and run,
    with `warmup`). Then it is renamed. So a full disk, a kill or another publisher never leaves an incomplete version,
    and no version is lost or overwritten. The next publisher removes the files of one that was killed.

    Args:
        model: a model, which is exported with the defaults; or the folder that its `export` wrote. The folder stays as
            it is, and its files must not have changed since (files added under `assets.extra` are copied too).
        base: the folder of the versions, on a file system with POSIX locks and renames (a local one; some NFS cannot
            lock a folder). It is made if it does not exist.
        warmup: rows that `predict` takes, in memory. Before it answers its first client, the server runs each
            signature on the first row alone and on all rows (the first 1,000).
        keep: the number of versions to keep. Older ones are removed once the new one is in place. `None` keeps all.
        keep_seconds: a version that was the newest less than so many seconds ago stays, and a later call removes it: a
            server may still be loading it. If it vanished, the server would try it five times, a minute apart, and
            load nothing newer meanwhile. 0 removes all but `keep` at once.
        signatures, defaults: of a model, as for its `export`; a folder has those that it was exported with.

    Returns:
        The path of the new version. Its `keras_linreg.json` holds the columns, the units, statistics of the training
        data, the number of the version, and a hash of its files.

    Raises:
        ValueError: an argument cannot be published; the existing versions stay.
        OSError: the disk is full, or the folder cannot be written.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> x = np.arange(8.0).reshape(4, 2) ** 2
    >>> model = klr.ExactLinearRegression()
    >>> history = model.fit(x, x.sum(axis=1), verbose=0)
    >>> with tempfile.TemporaryDirectory() as base:
    ...     print(klr.publish(model, base, warmup=x).name, klr.publish(model, base, keep=3).name)
    1 2
    """
    folder = _check_base(base)
    check_count("keep", keep)
    check_seconds("keep_seconds", keep_seconds)
    exported = _exported_folder(model)
    if signatures is not None:
        check_style(signatures)
    if exported is not None:
        if folder.resolve().is_relative_to(exported.resolve()):
            raise ValueError(f"`base` must lie outside the exported folder. Received: {base}, which is in {exported}.")
        _check_exported(manifest.read(exported), signatures, defaults)
    with versions.make_folder(folder), versions.staging(folder) as staged, _python_errors():
        if exported is None:
            options = {"signatures": signatures or KERAS, "defaults": defaults}
            cast(ExportableModel, model).export(staged, verbose=False, **options)
        else:
            _copy(exported, staged)
        description = manifest.read(staged)
        if warmup is None:
            with saved_model.open_session(staged):
                pass
        else:
            warmup_requests.write_requests(staged, description, warmup, folder.name)
        with versions.lock(folder):
            version = max(versions.taken_numbers(folder), default=0) + 1
            card.complete(staged, description, folder.name, version)
            manifest.write(staged, {**description, "version": version}, with_extra=True)
            flush_all(staged)
            manifest.verify(staged)
            published = folder / str(version)
            os.rename(staged, published)
            flush(folder)
    for old in versions.outdated(folder, version, int(keep), keep_seconds) if keep else ():
        try:
            versions.remove(folder, old)
        except OSError as error:  # the new version is in place all the same
            warn_user(f"Version {old} of {folder} could not be removed: {error}")
    return published


def _check_base(base: Any) -> Path:
    """Return the folder of the versions, an absolute path."""
    if not isinstance(base, str | os.PathLike) or not os.fspath(base):
        raise ValueError(f"`base` must be the path of the folder of the versions. Received: {base!r}.")
    text = os.path.expanduser(os.fspath(base))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ValueError(
            "`base` must be a folder of a file system in which a rename is atomic. Publish into a local folder; then "
            "copy the version to a bucket under another name, and rename it there last. "
            f"Received: {text}."
        )
    folder = Path(os.path.abspath(text))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`base` must be a folder. Received: {text}, which is a file.")
    if (folder / saved_model.FILE).exists():
        raise ValueError(f"`base` must be the folder above the versions. Received: {text}, which is a SavedModel.")
    return folder


def _exported_folder(model: Any) -> Path | None:
    """Return the folder of an exported model, or None if `model` is a model."""
    if isinstance(model, str | os.PathLike) and os.fspath(model):
        return Path(os.path.expanduser(os.fspath(model)))
    if isinstance(model, type) or not (hasattr(model, "export") and hasattr(model, "schema")):
        raise ValueError(
            "`model` must be a model of keras_linreg, or the folder that its `export` wrote. "
            f"Received: {type(model).__name__}."
        )
    return None


def _check_exported(description: manifest.Manifest, signatures: str | None, defaults: Defaults) -> None:
    """Refuse options that apply to the export of a model, where the exported folder has others."""
    own = description.get("signatures", KERAS)
    if signatures not in (None, own):
        raise ValueError(
            f"`signatures` of a folder are those that it was exported with, {own!r}: export the model again. "
            f"Received: signatures={signatures!r}."
        )
    if defaults is not None:
        raise ValueError(
            "`defaults` of a folder are those that it was exported with: export the model with `defaults`. "
            f"Received: defaults={defaults!r}."
        )


def _copy(exported: Path, staged: Path) -> None:
    """Copy an exported model, with the permissions of the folder of the versions.

    So a server may read the version, and everyone who may write to the folder may remove it.
    """
    shutil.copytree(exported, staged, copy_function=shutil.copyfile)
    for folder in (staged, *(path for path in staged.rglob("*") if path.is_dir())):
        shutil.copymode(staged.parent, folder)


@contextlib.contextmanager
def _python_errors() -> Iterator[None]:
    """Turn TensorFlow's own errors about files that it cannot write into an OSError."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
        is_full = isinstance(error, tf.errors.ResourceExhaustedError)
        raise OSError(errno.ENOSPC if is_full else errno.EACCES, error.message) from error
