"""The manifest, a JSON file beside a served model: its inputs, its training data, and a hash of its files."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import TablePreprocessor
from keras_linreg.export.inputs import ServedInputs
from keras_linreg.export.model_interface import ServableModel
from keras_linreg.export.training_data import means_and_deviations
from keras_linreg.inference.estimate import Estimate
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.types import PathLike

FILE = "keras_linreg.json"
FORMAT = 1
MODEL_FILES = ("saved_model.pb", "fingerprint.pb", "variables/", "assets/")
EXTRA_FOLDER = "assets.extra"  # a server's own files, such as warm-up requests: users may add to them
BLOCK_BYTES = 2**20

Manifest: TypeAlias = dict[str, Any]


def describe(
    model: ServableModel, inputs: ServedInputs, moments: Moments | None, estimate: Estimate | None, level: float | None
) -> Manifest:
    """Return the manifest of a model, without a hash.

    Args:
        model: the model.
        inputs: the inputs of its signatures.
        moments: the moments of the training data, or None if they are unknown.
        estimate: the estimate of the fit, or None if it has no intervals.
        level: the coverage of `predict_interval`, or None if there is no such signature.
    """
    return {
        "format": FORMAT,
        "model": type(model).__name__,
        "name": model.name,
        "columns": [{"name": c.name, "dtype": c.dtype, "shape": list(c.shape)} for c in inputs.columns],
        "named_columns": inputs.named,
        "feature_names": model.feature_names,
        "preprocessor": model.preprocessor is not None,
        "ignores_other_columns": isinstance(model.preprocessor, TablePreprocessor),
        "units": model.units,
        "level": level,
        "training": None if moments is None else _describe_training(moments, estimate),
        "made_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }


def _describe_training(moments: Moments, estimate: Estimate | None) -> Manifest:
    means, deviations = means_and_deviations(moments)
    features = len(moments.feature_names)
    columns = [
        {"name": name, "mean": _json_number(mean), "standard_deviation": _json_number(deviation)}
        for name, mean, deviation in zip(
            (*moments.feature_names, *moments.output_names), means, deviations, strict=True
        )
    ]
    training: Manifest = {
        "rows": moments.rows,
        "nobs": moments.statistics.nobs,
        "features": columns[:features],
        "outputs": columns[features:],
    }
    if estimate is not None:
        training |= {
            "rank": estimate.rank,
            "df_resid": estimate.df_resid,
            "residual_standard_error": [_json_number(value) for value in np.sqrt(estimate.scale)],
            "leverage_threshold": 3 * estimate.rank / estimate.nobs,
        }
    return training


def _json_number(value: float) -> float | None:
    """Return a number, or None for NaN and infinity: JSON has neither."""
    return float(value) if np.isfinite(value) else None


def write(folder: PathLike, manifest: Manifest) -> None:
    """Write the manifest, with the hash of the model's files, into the folder of a SavedModel."""
    text = json.dumps({**manifest, "hash": hash_files(folder)}, indent=2, ensure_ascii=False)
    path = os.path.join(os.fspath(folder), FILE)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text + "\n")


def read(folder: PathLike) -> Manifest:
    """Return the manifest of a folder that `export` wrote.

    Raises:
        ValueError: there is no manifest, it is damaged, or the model's files have changed since the export.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ValueError(
            f"The folder must be one that `export` of a keras_linreg model wrote, with its {FILE}. Received: {folder}."
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        is_readable = manifest["format"] == FORMAT
    except (ValueError, TypeError, KeyError):
        is_readable = False
    if not is_readable:
        raise ValueError(
            f"{FILE} must be a file that `export` wrote, of format {FORMAT}: export the model again. Received: {path}."
        )
    if manifest.get("hash") != hash_files(folder):
        raise ValueError(
            f"The files in {folder} must be those that `export` wrote: export the model again. Received: files with "
            f"another hash than the one in {FILE}."
        )
    return manifest


def hash_files(folder: PathLike) -> str:
    """Return a hash of the names and contents of the model's files; other files in the folder do not count."""
    total, root = hashlib.sha256(), os.fspath(folder)
    paths = [os.path.join(place, name) for place, _, names in tf.io.gfile.walk(root) for name in names]
    named = sorted((os.path.relpath(path, root).replace(os.sep, "/"), path) for path in paths)
    for name, path in named:
        if not name.startswith(MODEL_FILES):
            continue
        content = hashlib.sha256()
        with tf.io.gfile.GFile(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                content.update(block)
        total.update(f"{content.hexdigest()}  {name}\n".encode())
    return f"sha256:{total.hexdigest()}"
