"""The folder of the versions that a server watches: their numbers, its lock, unfinished and old versions."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from keras_linreg.utils import staging as unfinished
from keras_linreg.utils.staging import lock_folder

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
    descriptor = lock_folder(folder, wait=True)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a path to write a version to, and remove the files of killed publishers."""
    with unfinished.staging(folder, STAGING) as own:
        yield own / "version"


def remove(folder: Path, version: int) -> None:
    """Remove a version: first rename it, so that no server sees a part of it."""
    path, hidden = folder / str(version), folder / (STAGING + uuid.uuid4().hex)
    with contextlib.suppress(FileNotFoundError):  # another publisher was faster
        if path.is_symlink():
            path.unlink()
            return
        os.rename(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)
