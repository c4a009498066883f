"""The signatures of a served model on its card, each with a request to copy."""

import html
import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_linreg.export.inputs import LEVEL
from keras_linreg.export.signatures import EXPLAIN
from keras_linreg.utils.text import visible

SERVER = "localhost:8501/v1/models/"
UNNAMED = "<i>MODEL_NAME</i>"  # until the model is published; no name of a column is an element
SHOWN_TENSORS = 8
BY_COLUMN = ("serving_default", "predict_interval", "predict_interval_at", EXPLAIN, "regress", "regression")


def section(manifest: Mapping[str, Any], signatures: Mapping[str, Any]) -> str:
    """Return the signatures, and a request for each that takes columns."""
    rows = "".join(
        f"<tr><th>{html.escape(key)}</th><td>{_tensors(definition.inputs, manifest)}</td>"
        f"<td>{_tensors(definition.outputs, {})}</td></tr>"
        for key, definition in sorted(signatures.items())
    )
    head = "<thead><tr><th>signature</th><th>takes</th><th>returns</th></tr></thead>"
    row = _row(manifest)
    requests = [_request(key, signatures[key], row) for key in BY_COLUMN if key in signatures]
    return f"<table>{head}<tbody>{rows}</tbody></table><pre>{chr(10).join(requests)}</pre>"


def _tensors(infos: Any, manifest: Mapping[str, Any]) -> str:
    """Return names, dtypes and shapes; columns in the order of the model."""
    columns = [column["name"] for column in manifest.get("columns", ())]
    names = sorted(infos, key=lambda name: (columns.index(name) if name in columns else len(columns), name))
    shown = [html.escape(f"{visible(name)}: {_described(infos[name])}") for name in names[:SHOWN_TENSORS]]
    if len(names) > SHOWN_TENSORS:
        shown.append(f"and {len(names) - SHOWN_TENSORS} more")
    return "<br>".join(shown)


def _described(info: Any) -> str:
    sizes = ["batch" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim]
    return f"{tf.as_dtype(info.dtype).name} [{', '.join(sizes)}]"


def _request(key: str, definition: Any, row: Mapping[str, Any]) -> str:
    """Return a command that asks a signature about one row, as HTML."""
    is_regress = definition.method_name == tf.saved_model.REGRESS_METHOD_NAME
    named: dict[str, Any] = {} if key == "serving_default" else {"signature_name": key}
    values: Any = dict(row) | ({LEVEL: 0.99} if key == "predict_interval_at" else {})
    if not is_regress and len(definition.inputs) == 1 and len(values) == 1:
        values = next(iter(values.values()))
    body = named | {"examples" if is_regress else "instances": [values]}
    verb = "regress" if is_regress else "predict"
    text = json.dumps(body, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(body)  # escapes what would turn the text around
    command = f"curl -d {shlex.quote(text)} {SERVER}"
    return f"{html.escape(command)}{UNNAMED}:{verb}"


def _row(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of typical values: means, and a level that the fit knows."""
    training = manifest["training"] or {"features": []}
    means = {column["name"]: column["mean"] for column in training["features"]}
    if not manifest["named_columns"]:
        (column,) = manifest["columns"]
        if column["dtype"] == "string":
            return {column["name"]: _filled(column["shape"], "text")}
        own = [_rounded(means.get(name)) for name in manifest["feature_names"]]
        is_row = list(column["shape"]) == [len(own)] and not manifest["preprocessor"]
        return {column["name"]: own if is_row else _filled(column["shape"], 0.0)}
    return {column["name"]: _value(column, means, manifest["feature_names"]) for column in manifest["columns"]}


def _value(column: Mapping[str, Any], means: Mapping[str, float | None], features: list[str]) -> Any:
    name, dtype = column["name"], column["dtype"]
    if dtype == "string":
        level = re.compile(rf"(?:C\()?{re.escape(name)}(?:, [^\]]*\))?\)?(?:\[[TS]?\.?|_)(.+?)\]?$")
        found = next((match[1] for match in map(level.match, features) if match and match[1] != "[UNK]"), "text")
        return _filled(column["shape"], found)
    if dtype == "bool":
        return True
    mean = means.get(name)
    return _filled(column["shape"], int(mean or 0) if dtype == "int64" else _rounded(mean))


def _rounded(mean: float | None) -> float:
    return float(f"{mean or 0.0:.4g}")


def _filled(shape: Any, value: Any) -> Any:
    """Return a value in lists of a shape."""
    for size in reversed(list(shape)):
        value = [value] * size
    return value
