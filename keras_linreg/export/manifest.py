"""The JSON beside a served model: what it takes, what it was trained on, and a hash of its files."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.export.signatures import Door, spread
from keras_linreg.inference.estimate import Estimate
from keras_linreg.moments.moments import Moments

FILE = "keras_linreg.json"
FORMAT = 1
MODEL = ("saved_model.pb", "fingerprint.pb", "variables/", "assets/")
EXTRA = "assets.extra"  # a server's own files, the warm-up requests: they may be added to a model


def describe(model, door: Door, moments: Moments | None, found: Estimate | None, level: float | None) -> dict[str, Any]:
    """Return what is known of a model, as what JSON holds; without a hash."""
    return {
        "format": FORMAT,
        "model": type(model).__name__,
        "name": model.name,
        "columns": [{"name": c.name, "dtype": c.dtype, "shape": list(c.shape)} for c in door.columns],
        "named_columns": door.named,
        "feature_names": model.feature_names,
        "preprocessor": model.preprocessor is not None,
        "units": model.units,
        "level": level,
        "training": None if moments is None else _training(moments, found),
        "made_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }


def _training(moments: Moments, found: Estimate | None) -> dict[str, Any]:
    means, deviations = spread(moments)
    count = len(moments.feature_names)
    names = (*moments.feature_names, *moments.output_names)
    both = [
        {"name": name, "mean": _number(mean), "standard_deviation": _number(deviation)}
        for name, mean, deviation in zip(names, means, deviations, strict=True)
    ]
    facts: dict[str, Any] = {
        "rows": moments.rows,
        "nobs": moments.statistics.nobs,
        "features": both[:count],
        "outputs": both[count:],
    }
    if found is not None:
        facts |= {
            "rank": found.rank,
            "df_resid": found.df_resid,
            "residual_standard_error": [_number(value) for value in np.sqrt(found.scale)],
            "leverage_threshold": 3 * found.rank / found.nobs,
        }
    return facts


def _number(value) -> float | None:
    """Return a number as JSON has it: it has no infinity."""
    return float(value) if np.isfinite(value) else None


def write(folder, facts: dict[str, Any]) -> None:
    """Write the JSON into the folder of a SavedModel, with the hash of what is there."""
    text = json.dumps({**facts, "hash": digest(folder)}, indent=2, ensure_ascii=False)
    path = os.path.join(os.fspath(folder), FILE)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text + "\n")


def read(folder) -> dict[str, Any]:
    """Return the JSON of a folder that `export` wrote.

    Raises:
        ValueError: there is none, it is damaged, or the model's files are no longer those that were exported.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ValueError(
            f"The folder must be one that `export` of a keras_linreg model wrote, with its {FILE}. Received: {folder}."
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        known = facts["format"] == FORMAT
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise ValueError(
            f"{FILE} must be as `export` wrote it, of format {FORMAT}: export the model again. Received: {path}."
        )
    if facts.get("hash") != digest(folder):
        raise ValueError(
            f"The files in {folder} must be those that `export` wrote: export the model again. Received: files whose "
            f"hash is not the one in {FILE}."
        )
    return facts


def digest(folder) -> str:
    """Return a hash of names and contents of the files that are the model; others may lie beside them."""
    total, root = hashlib.sha256(), os.fspath(folder)
    paths = [os.path.join(place, name) for place, _, names in tf.io.gfile.walk(root) for name in names]
    named = sorted((os.path.relpath(path, root).replace(os.sep, "/"), path) for path in paths)
    for name, path in named:
        if not name.startswith(MODEL):
            continue
        part = hashlib.sha256()
        with tf.io.gfile.GFile(path, "rb") as file:
            while block := file.read(2**20):
                part.update(block)
        total.update(f"{part.hexdigest()}  {name}\n".encode())
    return f"sha256:{total.hexdigest()}"
