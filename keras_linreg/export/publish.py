"""Publish a version of a model: complete, or not there at all."""

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_linreg.export import manifest, saved_model
from keras_linreg.export import warmup as warmups
from keras_linreg.utils.warnings import warn_user

STAGING = ".publishing-"  # a server looks at folders whose names are integers, and at no others


def publish(model, base, warmup=None, keep=None) -> Path:
    """Put a model into `base` as its next version, `base/1`, `base/2`, ..., for TF Serving to find.

    The version is written beside the others under a name that no server looks at, its signatures are loaded (and run,
    with `warmup`), and it is renamed: whatever happens before, a full disk, a kill, another publisher, there is no
    incomplete version, and none is lost or overwritten. What a killed publisher has left is swept up by the next.

    Args:
        model: a model, which is exported with the defaults, or the folder that its `export` wrote. The folder stays as
            it is; its files must be those that were exported (what was added under `assets.extra` comes along).
        base: the folder of the versions, on a file system with POSIX locks and renames (a local one; not every
            NFS locks folders); made if it is not there.
        warmup: rows that `predict` takes, in memory: for each signature the server runs the first of them alone and
            all of them together (the first 1,000) before it answers anybody.
        keep: how many versions to keep; older ones are removed once the new one is in place. `None`: all.

    Returns:
        The path of the new version. In it, `keras_linreg.json` holds its columns, units, training statistics, the
        number of the version, and a hash of its files.

    Raises:
        ValueError: an argument cannot be published; versions that are there stay as they are.
        OSError: the disk is full, or the folder cannot be written to.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> x = np.arange(8.0).reshape(4, 2) ** 2
    >>> model = klr.ExactLinearRegression()
    >>> history = model.fit(x, x.sum(axis=1), verbose=0)
    >>> with tempfile.TemporaryDirectory() as base:
    ...     print(klr.publish(model, base, warmup=x).name, klr.publish(model, base, keep=1).name)
    1 2
    """
    folder = _checked_base(base)
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int | np.integer) or keep < 1):
        raise ValueError(f"`keep` must be a positive integer or None. Received: keep={keep!r}.")
    exported = _exported(model)
    if exported is not None and folder.resolve().is_relative_to(exported.resolve()):
        raise ValueError(f"`base` must lie outside the exported folder. Received: {base}, which is in {exported}.")
    if exported is not None:
        manifest.read(exported)
    with _made(folder), _staging(folder) as staged, _as_os_errors():
        if exported is None:
            model.export(staged, verbose=False)
        else:
            _copy(exported, staged)
        facts = manifest.read(staged)
        if warmup is None:
            with saved_model.session(staged):
                pass
        else:
            warmups.write(staged, facts, warmup, folder.name)
        with _locked(folder):
            version = max(_versions(folder), default=0) + 1
            manifest.write(staged, {**facts, "version": version})
            _flush(staged)
            target = folder / str(version)
            os.rename(staged, target)
            _flush(folder, whole=False)
    for old in _removable(folder)[: -int(keep)] if keep else ():
        try:
            _remove(folder, old, below=version)
        except OSError as error:  # the new version is there all the same
            warn_user(f"Version {old} of {folder} could not be removed: {error}")
    return target


def _checked_base(base) -> Path:
    if not isinstance(base, str | os.PathLike) or not os.fspath(base):
        raise ValueError(f"`base` must be the path of the folder of the versions. Received: {base!r}.")
    text = os.path.expanduser(os.fspath(base))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ValueError(
            "`base` must be a folder of a file system in which a rename is atomic: publish there, and have what copies "
            f"it to a bucket write the version under another name first. Received: {text}."
        )
    folder = Path(os.path.abspath(text))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`base` must be a folder. Received: {text}, which is a file.")
    if (folder / saved_model.FILE).exists():
        raise ValueError(f"`base` must be the folder above the versions. Received: {text}, which is a SavedModel.")
    return folder


def _exported(model) -> Path | None:
    """Return the folder of an exported model, `None` for a model."""
    if isinstance(model, str | os.PathLike) and os.fspath(model):
        return Path(os.path.expanduser(os.fspath(model)))
    if isinstance(model, type) or not (hasattr(model, "export") and hasattr(model, "schema")):
        raise ValueError(
            "`model` must be a model of keras_linreg, or the folder that its `export` wrote. "
            f"Received: {type(model).__name__}."
        )
    return None


def _versions(folder: Path) -> list[int]:
    """Return the numbers that are taken: a server reads 64 bits."""
    found = [int(name) for name in os.listdir(folder) if name.isascii() and name.isdecimal()]
    return [version for version in found if version < 2**63 - 1]


def _removable(folder: Path) -> list[int]:
    """Return the versions as they are published, oldest first; a file "7" or a folder "007" is the user's own."""
    return sorted(version for version in _versions(folder) if (folder / str(version)).is_dir())


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and unmake it where nothing came into it."""
    there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # another publisher may be at work
            if not there:
                folder.rmdir()
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which the end of a process releases, however it ends."""
    held = _lock(folder, wait=True)
    try:
        yield
    finally:
        os.close(held)


def _lock(folder: Path, wait: bool) -> int:
    try:
        import fcntl
    except ImportError as error:
        raise OSError("`publish` needs the file locks of a POSIX system.") from error
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(held)
        raise
    return held


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield a path to write a version to; sweep up after publishers that are no more.

    It lies in a folder of its publisher, locked as long as that is at work.
    """
    with _locked(folder):
        for left in folder.glob(STAGING + "*"):
            with contextlib.suppress(OSError):  # its publisher is at work
                held = _lock(left, wait=False)
                try:
                    shutil.rmtree(left, ignore_errors=True)
                finally:
                    os.close(held)
        own = folder / (STAGING + uuid.uuid4().hex)
        own.mkdir()
        held = _lock(own, wait=True)
    try:
        yield own / "version"
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(held)


def _remove(folder: Path, version: int, below: int) -> None:
    """Remove an old version: out of a server's sight first."""
    if version >= below:
        return
    away = folder / (STAGING + uuid.uuid4().hex)
    with contextlib.suppress(FileNotFoundError):  # another publisher was faster
        old = folder / str(version)
        if old.is_symlink():
            old.unlink()
            return
        os.rename(old, away)
        shutil.rmtree(away, ignore_errors=True)


def _copy(exported: Path, staged: Path) -> None:
    """Copy an exported model, so that whoever may write to the versions may remove it, and a server may read it."""
    shutil.copytree(exported, staged, copy_function=shutil.copyfile)
    for place in (staged, *(path for path in staged.rglob("*") if path.is_dir())):
        shutil.copymode(staged.parent, place)


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turn what TensorFlow raises where a file cannot be written into Python's own."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
        full = isinstance(error, tf.errors.ResourceExhaustedError)
        raise OSError(errno.ENOSPC if full else errno.EACCES, error.message) from error


def _flush(folder: Path, whole: bool = True) -> None:
    """Have a folder, with all that is in it, on the disk."""
    paths = [folder, *folder.rglob("*")] if whole else [folder]
    for path in paths:
        held = os.open(path, os.O_RDONLY)
        try:
            os.fsync(held)
        finally:
            os.close(held)
