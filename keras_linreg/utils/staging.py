"""A folder to write in, beside the target: it holds a lock, and the next writer removes the folders of killed ones.

The system releases the lock of a process that ends, however it ends. So a folder whose lock is free is nobody's.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked, and nothing is swept
    fcntl = None  # type: ignore[assignment]

PREFIX = ".keras_linreg-"
REPLACED = "replaced"  # in a staging folder: what stood in the target's place


@contextlib.contextmanager
def staging(parent: Path, prefix: str = PREFIX) -> Iterator[Path]:
    """Yield a new folder in `parent`, and remove it in the end; first remove what killed writers have left.

    Args:
        parent: an existing folder.
        prefix: the beginning of the names of such folders.
    """
    sweep(parent, prefix)
    own, descriptor = _new_folder(parent, prefix)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(parent: Path, prefix: str = PREFIX) -> None:
    """Remove the staging folders of killed writers, and put back what one of them had moved out of the way."""
    for left in parent.glob(f"{prefix}*"):
        if left.is_symlink() or not left.is_dir():  # nothing of ours
            continue
        with contextlib.suppress(OSError):  # its writer holds the lock
            descriptor = lock_folder(left, wait=False)
            try:
                for replaced in (left / REPLACED).glob("*"):
                    if not os.path.lexists(parent / replaced.name):
                        os.rename(replaced, parent / replaced.name)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def lock_folder(folder: Path, wait: bool) -> int:
    """Return the descriptor that holds the lock of a folder, until it is closed.

    Raises:
        OSError: without `wait`, another process holds the lock; or the file system has no locks.
    """
    if fcntl is None:
        raise OSError("Folders can be locked on POSIX systems alone.")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _new_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """Return a new folder and the descriptor of its lock, None where the file system has no locks."""
    while True:
        own = parent / f"{prefix}{uuid.uuid4().hex}"
        own.mkdir()
        try:
            descriptor = lock_folder(own, wait=True)
        except FileNotFoundError:  # another writer has swept it before it was locked
            continue
        except OSError:
            return own, None
        if own.exists():
            return own, descriptor
        os.close(descriptor)
