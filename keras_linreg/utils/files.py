"""Files and folders that appear complete or not at all, and the paths that a user gives for them."""

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from keras_linreg.utils.exchange import exchange
from keras_linreg.utils.staging import PREFIX, REPLACED, staging

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def path_text(argument: str, path: object, rule: str = "a path") -> str:
    """Return a user's path as text, with `~` for the home folder expanded.

    Args:
        argument: the name of the user's argument, for the error message.
        path: the user's path.
        rule: what the argument must be, for the error message.

    Raises:
        ValueError: it is no path, or an empty one.
    """
    try:
        text = os.fsdecode(os.fspath(path))  # type: ignore[call-overload]
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise ValueError(f"`{argument}` must be {rule}. Received: {argument}={path!r}.")
    return os.path.expanduser(text)


@contextlib.contextmanager
def replace_file(path: str | Path, keep: bool = True) -> Iterator[Path]:
    """Yield the path of a new file to write; without an error it then replaces `path` in one step.

    The new file has the permissions of the old one. Of a link, the target is replaced.

    Args:
        path: the file to write or replace.
        keep: whether to put the new file in place; False removes it, and tells whether one can be written at all.

    Raises:
        OSError: the folder does not exist, or there is something at `path` that may not be replaced.
    """
    target = Path(os.path.realpath(path))
    _check_target(target)
    with staging(target.parent) as folder:
        unfinished = folder / target.name
        yield unfinished
        if keep:
            flush(unfinished)
            if target.exists():
                shutil.copymode(target, unfinished)
            os.replace(unfinished, target)
            flush(target.parent)


@contextlib.contextmanager
def replace_folder(folder: str, last: str, obsolete: Collection[str] = ()) -> Iterator[str]:
    """Yield the path of a new folder to write; without an error it then takes the place of `folder`, in one step.

    Entries of the old folder that the new one lacks go with it. A URL ("gs://bucket/model") is yielded as it is:
    nothing can be renamed there. Of a folder that has to stay where it is, the entries are replaced one by one: the
    root of a file system, a folder in one that is read-only, and the working directory.

    Args:
        folder: the folder to write or replace.
        last: the entry that is replaced last where entries are replaced one by one: a reader looks for it first.
        obsolete: entries of the old folder to leave behind, even if the new folder has none of that name.
    """
    if URL.match(folder):
        yield folder
        return
    target = Path(os.path.realpath(folder))
    cannot_move = target.is_dir() and _has_to_stay(target)
    parent = target if cannot_move else target.parent
    parent.mkdir(parents=True, exist_ok=True)
    with staging(parent) as private:
        unfinished = private / (target.name or "root")
        yield str(unfinished)
        if cannot_move:
            flush_all(unfinished)
            _replace_entries(unfinished, target, last, obsolete)
            return
        if target.exists():
            _take_other_entries(target, unfinished, obsolete)
        flush_all(unfinished)
        _put_in_place(unfinished, target, private)
        flush(parent)


def flush_all(folder: Path) -> None:
    """Write a folder, with all that is in it, from the system's cache to the disk."""
    flush(folder, *(path for path in folder.rglob("*") if not path.is_symlink()))


def flush(*paths: Path) -> None:
    """Write files and folders from the system's cache to the disk; Windows has no such call for folders."""
    for path in paths if os.name != "nt" else ():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_target(path: Path) -> None:
    """Refuse a path at which no file can be written, before anything is written beside it.

    Raises:
        OSError: its folder does not exist, it is a folder or a device, or it is read-only.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "The folder of the file does not exist", str(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "There is a folder of that name", str(path))
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "What is there is not a regular file", str(path))
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "The file is read-only", str(path))


def _has_to_stay(folder: Path) -> bool:
    """Return whether an existing folder cannot be renamed, or must not: this process works in it."""
    is_fixed = os.path.ismount(folder) or not os.access(folder.parent, os.W_OK | os.X_OK)
    return is_fixed or Path.cwd().is_relative_to(folder)


def _take_other_entries(old: Path, new: Path, obsolete: Collection[str]) -> None:
    """Link or copy the entries of the old folder that the new one lacks, and its permissions."""
    for entry in old.iterdir():
        if entry.name in obsolete or entry.name.startswith(PREFIX) or os.path.lexists(new / entry.name):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, new / entry.name, symlinks=True, copy_function=_link)
        else:
            _link(entry, new / entry.name)
    shutil.copymode(old, new)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):  # the file system has no links
        shutil.copy2(source, target, follow_symlinks=False)


def _put_in_place(new: Path, target: Path, private: Path) -> None:
    """Rename a folder to `target`; an old folder of that name changes places with it."""
    if not target.exists():
        os.rename(new, target)
    elif not exchange(str(new), str(target)):
        # Two renames: if a kill comes between them, the next writer puts the old folder back (`staging.sweep`).
        replaced = private / REPLACED / target.name
        replaced.parent.mkdir()
        os.rename(target, replaced)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(replaced, target)
            raise


def _replace_entries(source: Path, target: Path, last: str, obsolete: Collection[str]) -> None:
    """Move the entries of the folder `source` over those of `target`, and the old ones out of the way."""
    removed = source / ".removed"
    new = sorted((path.name for path in source.iterdir()), key=lambda name: (name == last, name))
    removed.mkdir()
    for name in (*(name for name in obsolete if name not in new), *new):
        if os.path.lexists(target / name):
            os.replace(target / name, removed / name)
        if name in new:
            os.replace(source / name, target / name)
