"""Hashes of the files of a served model: whether they are those that were written."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_linreg.utils.types import PathLike

MODEL_FILES = ("saved_model.pb", "fingerprint.pb", "variables/", "assets/")
MANIFEST = "keras_linreg.json"
CARD = "card.html"  # beside the model's files: no server reads it
WARM_UP = "assets.extra/tf_serving_warmup_requests"
KEYS = ("hash", "files", "manifest_hash")  # of a manifest


def of_files(folder: PathLike, beginnings: Sequence[str] = MODEL_FILES) -> dict[str, str]:
    """Return the hashes of files by name, `variables/variables.index`.

    Args:
        folder: the folder of a SavedModel.
        beginnings: of the names; other files in the folder do not count.
    """
    root, hashes = Path(folder), {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith(tuple(filter(None, beginnings))) and path.is_file():
            with path.open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def of_model(files: Mapping[str, str]) -> str:
    """Return one hash of the names and contents of the model's files."""
    named = sorted((name, content) for name, content in files.items() if name.startswith(MODEL_FILES))
    lines = "".join(f"{content}  {name}\n" for name, content in named)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def of_json(content: Mapping[str, Any]) -> str:
    """Return the hash of what a JSON file holds, however it is laid out."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def find_faults(folder: PathLike, manifest: Mapping[str, Any]) -> list[str]:
    """Return how a folder differs from the hashes in its manifest: a text for each difference."""
    if not {"files", "manifest_hash"} & manifest.keys():  # keras_linreg 0.1.0 wrote one hash for all
        is_right = manifest.get("hash") == of_model(of_files(folder))
        return [] if is_right else ["files with another hash than the one in the manifest"]
    content = {key: value for key, value in manifest.items() if key != "manifest_hash"}
    faults = [] if manifest.get("manifest_hash") == of_json(content) else ["a manifest that was changed"]
    expected = manifest["files"] if isinstance(manifest.get("files"), dict) else {}
    extra = {os.path.dirname(name) + "/" for name in expected if not name.startswith(MODEL_FILES)}
    present = of_files(folder, (*MODEL_FILES, CARD, *extra))
    faults += [f"{name}, which is missing" for name in expected if name not in present]
    faults += [f"{name}, which was changed" for name, value in expected.items() if present.get(name, value) != value]
    warm_up = of_files(folder, [WARM_UP]) if "version" in manifest else {}  # a server runs it when it loads a version
    added = [
        name for name in {**present, **warm_up} if name not in expected and name.startswith((*MODEL_FILES, WARM_UP))
    ]
    return faults + [f"{name}, which was added" for name in added]
