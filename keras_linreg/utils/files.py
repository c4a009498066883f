"""Files and folders that appear complete or not at all."""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@contextlib.contextmanager
def replace_file(path: Path, keep: bool = True) -> Iterator[Path]:
    """Yield the path of a new file to write; without an error it then replaces `path` in one step.

    Args:
        path: the file to write or replace.
        keep: whether to put the new file in place; False removes it, and tells whether one can be written at all.
    """
    # Only its owner may read a file of `tempfile`.
    unfinished = path.with_name(f".{path.stem[:50]}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield unfinished
        if keep:
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(folder: str, last: str, obsolete: Collection[str] = ()) -> Iterator[str]:
    """Yield the path of a new folder to write; without an error its entries then replace those of `folder`.

    Other entries of `folder` stay. A URL ("gs://bucket/model") is yielded as it is: nothing can be renamed there.

    Args:
        folder: the folder to write or replace.
        last: the entry that moves into place last, for a reader looks for it first.
        obsolete: entries of the old folder to remove, even if the new folder has none of that name.
    """
    if URL.match(folder):
        yield folder
        return
    folder = os.path.realpath(folder)
    exists = os.path.isdir(folder)
    # A folder that exists may be a file system of its own, so the new folder lies inside it.
    parent = folder if exists else os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    unfinished = os.path.join(parent, f".{os.path.basename(folder)}.{uuid.uuid4().hex[:8]}")
    try:
        yield unfinished
        if exists:
            _replace_entries(unfinished, folder, last, obsolete)
        else:
            os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _replace_entries(source: str, target: str, last: str, obsolete: Collection[str]) -> None:
    """Move the entries of the folder `source` over those of `target`, and the old ones out of the way."""
    removed = os.path.join(source, ".removed")
    new = sorted(os.listdir(source), key=lambda name: (name == last, name))
    os.mkdir(removed)
    for name in (*(name for name in obsolete if name not in new), *new):
        path = os.path.join(target, name)
        if os.path.lexists(path):
            os.replace(path, os.path.join(removed, name))
        if name in new:
            os.replace(os.path.join(source, name), path)
