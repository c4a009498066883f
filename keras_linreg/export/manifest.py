"""The manifest, a JSON file beside a served model: its inputs, its training data, and hashes of its files."""

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_linreg.data import TablePreprocessor
from keras_linreg.export import hashes
from keras_linreg.export.inputs import ServedInputs
from keras_linreg.export.model_interface import ServableModel
from keras_linreg.export.training_data import means_and_deviations
from keras_linreg.inference.estimate import Estimate
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.files import path_text
from keras_linreg.utils.types import PathLike

FILE = hashes.MANIFEST
FORMAT = 1
EXTRA_FOLDER = "assets.extra"  # a server's own files, such as warm-up requests: users may add to them

Manifest: TypeAlias = dict[str, Any]


def describe(
    model: ServableModel,
    inputs: ServedInputs,
    moments: Moments | None,
    estimate: Estimate | None,
    level: float | None,
    leverage_threshold: float | None = None,
) -> Manifest:
    """Return the manifest of a model, without a hash.

    Args:
        model: the model.
        inputs: the inputs of its signatures.
        moments: the moments of the training data, or None if they are unknown.
        estimate: the estimate of the fit, or None if it has no intervals.
        level: the coverage of `predict_interval`, or None if there is no such signature.
        leverage_threshold: above it, a row extrapolates; None for the customary one.
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
        "training": None if moments is None else _describe_training(moments, estimate, leverage_threshold),
        "made_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }


def default_threshold(estimate: Estimate) -> float:
    """Return three times the average leverage of the training data, above which a row lies far from them."""
    return 3 * estimate.rank / estimate.nobs


def _describe_training(moments: Moments, estimate: Estimate | None, leverage_threshold: float | None) -> Manifest:
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
            "leverage_threshold": default_threshold(estimate) if leverage_threshold is None else leverage_threshold,
        }
    return training


def _json_number(value: float) -> float | None:
    """Return a number, or None for NaN and infinity: JSON has neither."""
    return float(value) if np.isfinite(value) else None


def write(folder: PathLike, manifest: Manifest, with_extra: bool = False) -> None:
    """Write the manifest, with hashes of itself and of the model's files, into the folder of a SavedModel.

    Args:
        folder: the folder.
        manifest: the manifest; hashes in it are replaced.
        with_extra: whether to hash a server's own files, such as warm-up requests, too: nobody adds to them any more.
    """
    content = {key: value for key, value in manifest.items() if key not in hashes.KEYS}
    files = hashes.of_files(folder, (*hashes.MODEL_FILES, hashes.CARD, f"{EXTRA_FOLDER}/" * with_extra))
    content |= {"hash": hashes.of_model(files), "files": files}
    text = json.dumps({**content, "manifest_hash": hashes.of_json(content)}, indent=2, ensure_ascii=False)
    with tf.io.gfile.GFile(os.path.join(os.fspath(folder), FILE), "w") as file:
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
    except (ValueError, TypeError, KeyError, RecursionError):
        is_readable = False
    if not is_readable:
        raise ValueError(
            f"{FILE} must be a file that `export` wrote, of format {FORMAT}: export the model again. Received: {path}."
        )
    faults = hashes.find_faults(folder, manifest)
    if faults:
        raise ValueError(
            f"The files in {folder} must be those that `export` wrote: export the model again. "
            f"Received: {'; '.join(faults)}."
        )
    return manifest


def verify(path: PathLike) -> Manifest:
    """Return the manifest of an export or of a published version, once all its files have the hashes in it.

    `publish` does the same before a version appears. Do it again after a copy, or before a server starts.

    Args:
        path: the folder that `export` wrote; or of a version, such as `models/house/2`.

    Raises:
        ValueError: there is no manifest; or a file, the manifest itself among them, is missing, was changed, or was
            added to those that a server reads. The error names each. Other files beside them do not count.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> import keras_linreg as klr
    >>> model = klr.ExactLinearRegression()
    >>> history = model.fit(np.arange(4.0), np.arange(4.0) ** 2, verbose=0)
    >>> with tempfile.TemporaryDirectory() as base:
    ...     manifest = klr.verify(klr.publish(model, base))
    >>> manifest["version"], manifest["training"]["rows"]
    (1, 4)
    """
    return read(path_text("path", path, "the path of a folder that `export` or `publish` wrote"))
