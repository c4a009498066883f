"""A monitor as bytes: the fit's moments, the moments so far, shapes and counts."""

import dataclasses
import hashlib
import json
import math
from typing import Any

import numpy as np

from keras_linreg.data import MissingRows
from keras_linreg.drift.fit import Fit
from keras_linreg.drift.seen import Seen
from keras_linreg.inference.central_moments import CentralMoments
from keras_linreg.moments.moments import Moments

MAGIC = b"keras_linreg drift\n"
FORMAT = 1
DIGEST = 32  # bytes of a SHA-256
LENGTH = 8  # bytes that hold the length of a part
MOMENTS = ("fit", "labelled", "unlabelled")
SUMS = ("mean", "second", "third", "fourth")


def to_bytes(fit: Fit, seen: Seen, has_preprocessor: bool) -> bytes:
    """Return a monitor as bytes.

    ```python
    MAGIC, SHA-256 of the rest, header in JSON, moments of the fit, of rows with outcomes, of the others
    ```

    with the length of each part (uint64, little-endian) before it; a part that there is not has the length 0.
    """
    header = {
        "format": FORMAT,
        "fit": fit.fields(),
        "has_preprocessor": has_preprocessor,
        "columns": _sums(seen.columns),
        "residuals": _sums(seen.residuals),
        "squared_weight": _number(seen.squared_weight),
        "missing": dataclasses.asdict(seen.missing),
        "unseen": dataclasses.asdict(seen.unseen),
    }
    parts = [json.dumps(header).encode(), fit.moments.to_bytes()]
    parts += [b"" if moments is None else moments.to_bytes() for moments in (seen.labelled, seen.unlabelled)]
    body = b"".join(len(part).to_bytes(LENGTH, "little") + part for part in parts)
    return MAGIC + hashlib.sha256(body).digest() + body


def from_bytes(data: object) -> tuple[Fit, Seen, bool]:
    """Return the fit, the rows seen, and whether the model has a preprocessor.

    Raises:
        ValueError: the bytes are something else, or have been changed or cut.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"`data` must be bytes that DriftMonitor.to_bytes returned. Received: {type(data).__name__}.")
    content = bytes(data)
    body = content[len(MAGIC) + DIGEST :]
    try:
        if content[: len(MAGIC)] != MAGIC:
            raise ValueError("they do not begin as such bytes do")
        if hashlib.sha256(body).digest() != content[len(MAGIC) : len(MAGIC) + DIGEST]:
            raise ValueError("they have been changed or cut: their SHA-256 is another")
        return _unpacked(*_parts(body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"`data` must be bytes that DriftMonitor.to_bytes returned. Received: {len(content)} others ({error})."
        ) from None


def _parts(body: bytes) -> list[bytes]:
    parts, at = [], 0
    for _ in range(1 + len(MOMENTS)):
        size = int.from_bytes(body[at : at + LENGTH], "little")
        if at + LENGTH + size > len(body):
            raise ValueError("some are missing")
        parts.append(body[at + LENGTH : at + LENGTH + size])
        at += LENGTH + size
    return parts


def _unpacked(text: bytes, *parts: bytes) -> tuple[Fit, Seen, bool]:
    header: dict[str, Any] = json.loads(text)
    if header["format"] != FORMAT:
        raise ValueError(f"they are of format {header['format']!r}; this version reads format {FORMAT}")
    of_fit, labelled, unlabelled = (Moments.from_bytes(part) if part else None for part in parts)
    if of_fit is None:
        raise ValueError("the moments of the fit are missing")
    names = of_fit.feature_names, of_fit.output_names
    if any(m is not None and (m.feature_names, m.output_names) != names for m in (labelled, unlabelled)):
        raise ValueError("the rows have other columns than the fit")
    fit = Fit.from_fields(of_fit, header["fit"])
    columns, residuals = (
        _central(header[key], width) for key, width in zip(("columns", "residuals"), fit.kernel.shape, strict=True)
    )
    counts = (MissingRows(**header[key]) for key in ("missing", "unseen"))
    squared_weight = math.nan if header["squared_weight"] is None else float(header["squared_weight"])
    return (
        fit,
        Seen(labelled, unlabelled, columns, residuals, squared_weight, *counts),
        bool(header["has_preprocessor"]),
    )


def _sums(moments: CentralMoments) -> dict[str, Any]:
    return {"count": float(moments.count)} | {key: [_number(v) for v in getattr(moments, key)] for key in SUMS}


def _central(fields: dict[str, Any], width: int) -> CentralMoments:
    sums = [np.array([math.nan if v is None else v for v in fields[key]], np.float64) for key in SUMS]
    if any(part.shape != (width,) for part in sums):
        raise ValueError("the powers are not those of the columns")
    return CentralMoments(float(fields["count"]), *sums)


def _number(value: float) -> float | None:
    """Return a number, or None for one that is not finite: JSON has none."""
    return float(value) if math.isfinite(value) else None
