"""The folder of the versions that a server watches: their numbers, its lock, unfinished and old versions."""

import contextlib
import itertools
import math
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


def outdated(folder: Path, newest: int, keep: int, keep_seconds: float) -> list[int]:
    """Return the versions that may be removed: older than the last `keep`, and not the newest one for `keep_seconds`.

    A version was the newest until the next one was renamed into place. The file system notes that time (`st_ctime`),
    and by its own clock: clocks of several publishers may differ. Whatever else changes the folder later only makes
    its predecessor stay longer.

    Args:
        folder: of the versions.
        newest: the version that was published just now; later ones are another publisher's, who removes after it.
        keep: the number of versions that stay in any case.
        keep_seconds: how long a version stays after it was the newest.
    """
    present = published(folder)
    appeared = {version: changed(folder / str(version)) for version in present}
    now = appeared.get(newest, math.inf)
    if math.isinf(now):  # a later publisher has removed it, and removes the others
        return []
    return [
        version
        for version, successor in itertools.pairwise(present)
        if version in present[:-keep] and version < newest and now - appeared[successor] >= keep_seconds
    ]


def changed(path: Path) -> float:
    """Return the time of the last change of a folder's name or content; infinity if it is gone."""
    try:
        return path.lstat().st_ctime
    except FileNotFoundError:  # another publisher has removed it
        return math.inf


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
