"""Files that are there whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, keep: bool = True) -> Iterator[Path]:
    """Give a new file beside `path` to write; it takes the place of `path` in one step, if all went well."""
    # Not from tempfile, whose files only their owner may read.
    file = path.with_name(f".{path.stem[:50]}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield file
        if keep:
            os.replace(file, path)
    finally:
        file.unlink(missing_ok=True)
