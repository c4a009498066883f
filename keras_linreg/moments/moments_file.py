"""Moments as arrays and in a file: how they are written, and what must hold before they are believed.

A header in JSON holds names and counts; since format 2 it holds a SHA-256 of everything else, too. Files of format 1
(version 0.1.0) have none. So the rest is checked for both.
"""

import dataclasses
import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_linreg.data import MissingRows
from keras_linreg.linalg.double_double import DoubleDouble
from keras_linreg.moments.checks import check_memory
from keras_linreg.sufficient_statistics import Plane, Statistics
from keras_linreg.utils.types import Array

FORMAT = 2
FORMATS = (1, 2)
DTYPES = ("float64", "float32", "float16", "bfloat16")
KEYS = ("header", "weight", "mean", "factor", "constant")
LONGEST_HEADER = 2**26  # bytes
FREE_HEADER = 2**20  # bytes that a header may have however well it is compressed
MOST_COMPRESSION = 100
LARGEST_REST = 2.0**-48  # of the low part of a double-double number, relative to the high part
WEIGHTS_TOLERANCE = 1e-9


class Contents(NamedTuple):
    """What the fields of `Moments` are, in their order."""

    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    rows: int
    dtype: str
    statistics: Statistics
    missing: MissingRows | None = None


def pack(contents: Contents) -> dict[str, Array]:
    """Return moments as numeric arrays, for a file."""
    statistics = contents.statistics
    header = {
        "format": FORMAT,
        "feature_names": contents.feature_names,
        "output_names": contents.output_names,
        "rows": contents.rows,
        "nobs": statistics.nobs,
        "dtype": contents.dtype,
        "log_weight": statistics.log_weight,
        "error": statistics.error,
        "missing": None if contents.missing is None else dataclasses.asdict(contents.missing),
    }
    r, plane = statistics.factor, statistics.plane
    if plane is not None:
        header |= {"plane_error": plane.error, "plane_sum_error": plane.sum_error}
    arrays = {
        "weight": np.stack([statistics.weight.hi, statistics.weight.lo]),
        "mean": np.stack([statistics.mean.hi, statistics.mean.lo]),
        "factor": np.stack([r.hi, r.lo] if isinstance(r, DoubleDouble) else [r]),
        "constant": statistics.constant.astype(np.uint8),
    }
    if plane is not None:
        arrays["plane"] = np.stack([plane.kernel, plane.rest])
    text = json.dumps({**header, "sha256": _hash(header, arrays)})
    return {"header": np.frombuffer(text.encode(), np.uint8), **arrays}


def unpack(arrays: Mapping[str, Array]) -> Contents:
    """Return the moments that `pack` took apart.

    Raises:
        ValueError: they are not such arrays, or have been changed since.
    """
    if not isinstance(arrays, Mapping):
        raise _refusal(f"must be a dict of arrays, not {type(arrays).__name__}")
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise _refusal(f"lack {', '.join(missing)}")
    header = read_header(np.asarray(arrays["header"]))
    values = {key: np.asarray(arrays[key]) for key in _keys(header)}
    features, width = len(header["feature_names"]), len(header["feature_names"]) + len(header["output_names"])
    for key, value in values.items():
        check_array(key, value.dtype, value.shape, features, width)
    if header["format"] > 1 and header.pop("sha256", None) != _hash(header, values):
        raise _refusal("have been changed since they were written: their SHA-256 is another")
    _check_values(header, values)
    factor = values["factor"].astype(np.float64)
    statistics = Statistics(
        nobs=header["nobs"],
        weight=DoubleDouble(*values["weight"].astype(np.float64)),
        log_weight=float(header["log_weight"]),
        mean=DoubleDouble(*values["mean"].astype(np.float64)),
        factor=DoubleDouble(*factor) if len(factor) == 2 else factor[0],
        constant=values["constant"].astype(bool),
        error=float(header["error"]),
        plane=_plane(header, values),
    )
    names = tuple(header["feature_names"]), tuple(header["output_names"])
    return Contents(*names, header["rows"], header["dtype"], statistics, _missing_rows(header.get("missing")))


def _keys(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of the arrays beside the header; since version 0.2.0 there may be a plane."""
    return (*KEYS[1:], "plane") if "plane_error" in header else KEYS[1:]


def _plane(header: Mapping[str, Any], values: Mapping[str, Array]) -> Plane | None:
    if "plane" not in values:
        return None
    kernel, rest = values["plane"].astype(np.float64)
    return Plane(kernel, rest, float(header["plane_error"]), float(header["plane_sum_error"]))


def read(archive: zipfile.ZipFile) -> dict[str, Array]:
    """Return the arrays of a NumPy `.npz` archive of moments; an array of another size than its names say is not read.

    Raises:
        ValueError: the archive holds something else.
    """
    members = {info.filename: info for info in archive.infolist()}
    if missing := [key for key in KEYS if f"{key}.npy" not in members]:
        raise _refusal(f"lack {', '.join(missing)}")
    info = members["header.npy"]
    allowed = min(LONGEST_HEADER, max(FREE_HEADER, MOST_COMPRESSION * info.compress_size))
    if info.file_size > allowed:
        raise _refusal(f"cannot have a header of {info.file_size} bytes, compressed to {info.compress_size}")
    arrays = {"header": _read_array(archive, "header", None)}
    header = read_header(arrays["header"])
    features, width = len(header["feature_names"]), len(header["feature_names"]) + len(header["output_names"])
    check_memory(width)
    for key in _keys(header):
        if f"{key}.npy" not in members:
            raise _refusal(f"lack {key}")
        arrays[key] = _read_array(archive, key, (features, width))
    return arrays


def read_header(header: Array) -> dict[str, Any]:
    """Return the header of moments, with its own rules checked.

    Raises:
        ValueError: it is none.
    """
    if header.dtype != np.uint8 or header.ndim != 1 or header.size > LONGEST_HEADER:
        raise _refusal(f"cannot have a header of shape {header.shape} and dtype {header.dtype}")
    try:
        fields = json.loads(header.tobytes().decode())
        given = fields["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _refusal("have a header that cannot be read") from None
    if isinstance(given, bool) or given not in FORMATS:
        raise _refusal(f"are of format {given!r}; this version reads the formats {FORMATS}")
    rules = {
        "feature_names": _are_names(fields.get("feature_names")),
        "output_names": _are_names(fields.get("output_names")) and bool(fields["output_names"]),
        "rows": _is_count(fields.get("rows")),
        "nobs": _is_count(fields.get("nobs")),
        "dtype": fields.get("dtype") in DTYPES,
        "log_weight": _is_finite(fields.get("log_weight")),
        "error": _is_finite(fields.get("error")) and fields["error"] >= 0,
        "missing": _are_counts(fields.get("missing"), fields.get("rows")),
        "plane_error": _is_error(fields.get("plane_error", 0.0)),
        "plane_sum_error": _is_error(fields.get("plane_sum_error", None if "plane_error" in fields else 0.0)),
    }
    if broken := [f"{key}={_short(fields.get(key))}" for key, holds in rules.items() if not holds]:
        raise _refusal(f"cannot have {', '.join(broken)}")
    return fields


def _is_error(number: object) -> bool:
    return _is_finite(number) and number >= 0  # type: ignore[operator]


def _are_counts(missing: Any, rows: Any) -> bool:
    """Return whether the counts of dropped rows can be those of so many rows; None: there were none."""
    if missing is None:
        return True
    columns = missing.get("columns") if isinstance(missing, dict) else None
    if not isinstance(columns, dict) or not all(_is_count(missing.get(key)) for key in ("rows", "missing")):
        return False
    most = missing["missing"]
    return missing["rows"] == rows + most and all(_is_count(count) and count <= most for count in columns.values())


def _missing_rows(missing: Any) -> MissingRows | None:
    return None if missing is None else MissingRows(missing["rows"], missing["missing"], dict(missing["columns"]))


def check_array(key: str, dtype: np.dtype, shape: tuple[int, ...], features: int, width: int) -> None:
    """Refuse an array of another dtype or shape than moments of `width` columns have, the first `features` of x.

    Raises:
        ValueError: it is another.
    """
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "weight": ((2,),),
        "mean": ((2, width),),
        "factor": ((1, width, width), (2, width, width)),
        "constant": ((width,),),
        "plane": ((2, features, width - features),),
    }
    expected = np.dtype(np.uint8 if key == "constant" else np.float64)
    if dtype.newbyteorder("=") != expected or shape not in shapes[key]:
        raise _refusal(f"of {width} columns cannot have a {key} of shape {shape} and dtype {dtype}")


def _read_array(archive: zipfile.ZipFile, key: str, widths: tuple[int, int] | None) -> Array:
    """Return one array of the archive; its shape is checked before its numbers are read."""
    with archive.open(f"{key}.npy") as file:
        version = np.lib.format.read_magic(file)
        read_shape = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_shape(file)
        if widths is not None:
            check_array(key, dtype, shape, *widths)
        elif dtype != np.uint8 or len(shape) != 1 or shape[0] > LONGEST_HEADER:
            raise _refusal(f"cannot have a header of shape {shape} and dtype {dtype}")
        content = file.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def _check_values(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Refuse numbers that no rows have."""
    nobs, rows = header["nobs"], header["rows"]
    weight, mean, factor = arrays["weight"], arrays["mean"], arrays["factor"]
    for key in ("weight", "mean", "factor", "plane"):
        parts = arrays.get(key, np.zeros(0))
        if not np.isfinite(parts).all():
            raise _refusal(f"cannot have a {key} that is not finite")
        if key != "plane" and len(parts) == 2 and (np.abs(parts[1]) > LARGEST_REST * np.abs(parts[0])).any():
            raise _refusal(f"cannot have a {key} whose low part is that large")
    if np.tril(factor, -1).any():
        raise _refusal("cannot have a factor with numbers below its diagonal")
    if arrays["constant"].max(initial=0) > 1:
        raise _refusal("cannot have a mask of constant columns with numbers other than 0 and 1")
    if nobs > rows:
        raise _refusal(f"cannot have nobs={nobs} with rows={rows}")
    if weight[0] < 0 or (weight[0] > 0) != (nobs > 0):
        raise _refusal(f"cannot have a weight of {float(weight[0])} with nobs={nobs}")
    if not nobs:
        if factor.any() or mean.any() or header["log_weight"]:
            raise _refusal("cannot have means and cross-products without rows")
        return
    # No geometric mean of weights is above their arithmetic mean.
    largest = nobs * (math.log(weight[0]) - math.log(nobs))
    if header["log_weight"] > largest + WEIGHTS_TOLERANCE * (nobs + abs(header["log_weight"])):
        raise _refusal(f"cannot have nobs={nobs} rows of weight {float(weight[0])} in all")


def _hash(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of the header and the arrays, whatever machine they are on."""
    total = hashlib.sha256(json.dumps(dict(header), sort_keys=True).encode())
    for key in _keys(header):
        array = np.asarray(arrays[key])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        total.update(f"{key} {array.shape} {little.dtype.str}".encode())
        total.update(np.ascontiguousarray(little).tobytes())
    return total.hexdigest()


def _are_names(names: object) -> bool:
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) and name for name in names)
    return is_list and len(set(names)) == len(names)  # type: ignore[call-overload, arg-type]


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _is_finite(number: object) -> bool:
    try:
        return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    except OverflowError:  # an integer beyond float64
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _refusal(fault: str) -> ValueError:
    return ValueError(f"These moments {fault}")
