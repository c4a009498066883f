"""The folder of the versions that a server watches: their numbers, its lock, unfinished and old versions."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

STAGING = ".publishing-"  # a server looks at folders with an integer as name, and at no others
MAX_VERSION = 2**63 - 1  # of a server


def taken_numbers(folder: Path) -> list[int]:
    """Return the numbers that a server reads from the names in the folder."""
    numbers = [int(name) for name in os.listdir(folder) if name.isascii() and name.isdecimal()]
    return [number for number in numbers if number < MAX_VERSION]


def published(folder: Path) -> list[int]:
    """Return the published versions, oldest first. A file "7" or a folder "007" is none: a user made it."""
    return sorted(version for version in taken_numbers(folder) if (folder / str(version)).is_dir())


@contextlib.contextmanager
def make_folder(folder: Path) -> Iterator[None]:
    """Make the folder; if an error leaves it empty, remove it."""
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # another publisher has written to it
            if not existed:
                folder.rmdir()
        raise


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. The system releases it when the process ends, however it ends."""
    descriptor = _lock(folder, wait=True)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, wait: bool) -> int:
    """Return the descriptor that holds the lock; without `wait`, raise an OSError if another process holds it."""
    try:
        import fcntl
    except ImportError as error:
        raise OSError("`publish` needs the file locks of a POSIX system.") from error
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a path to write a version to, and remove the files of killed publishers.

    Each publisher writes in a folder of its own, and holds that folder's lock while it works.
    """
    with lock(folder):
        for left in folder.glob(STAGING + "*"):
            with contextlib.suppress(OSError):  # its publisher holds the lock
                descriptor = _lock(left, wait=False)
                try:
                    shutil.rmtree(left, ignore_errors=True)
                finally:
                    os.close(descriptor)
        own = folder / (STAGING + uuid.uuid4().hex)
        own.mkdir()
        descriptor = _lock(own, wait=True)
    try:
        yield own / "version"
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(descriptor)


def remove(folder: Path, version: int) -> None:
    """Remove a version: first rename it, so that no server sees a part of it."""
    path, hidden = folder / str(version), folder / (STAGING + uuid.uuid4().hex)
    with contextlib.suppress(FileNotFoundError):  # another publisher was faster
        if path.is_symlink():
            path.unlink()
            return
        os.rename(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def flush(*paths: Path) -> None:
    """Write files and folders from the system's cache to the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
