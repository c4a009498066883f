"""Moments as bytes, for a message between machines: the header and the numbers, of factors the upper triangle alone."""

import math
from collections.abc import Mapping

import numpy as np

from keras_linreg.moments.moments_file import read_header
from keras_linreg.utils.types import Array

MAGIC = b"keras_linreg moments\n"
LENGTH = 8  # bytes that hold the length of the header
NUMBER = np.dtype("<f8")


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return packed moments as bytes.

    ```python
    MAGIC, length of the header (uint64, little-endian), header, constant (uint8), weight, mean, triangle(s), plane
    ```

    The header holds a SHA-256 of everything else, which `moments_file.unpack` checks.

    Args:
        arrays: as `moments_file.pack` returns them.
    """
    header, factor = arrays["header"].tobytes(), arrays["factor"]
    triangle = np.triu_indices(factor.shape[1])
    numbers = [arrays["weight"], arrays["mean"], *(part[triangle] for part in factor)]
    if "plane" in arrays:
        numbers.append(arrays["plane"])
    parts = [MAGIC, len(header).to_bytes(LENGTH, "little"), header, arrays["constant"].astype(np.uint8).tobytes()]
    return b"".join([*parts, *(np.ascontiguousarray(part, NUMBER).tobytes() for part in numbers)])


def from_bytes(data: bytes) -> dict[str, Array]:
    """Return the packed moments that `to_bytes` made bytes of.

    Raises:
        ValueError: the bytes are something else, or some are missing.
    """
    start = len(MAGIC) + LENGTH
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        raise ValueError("they do not begin as such bytes do")
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    if end > len(data):
        raise ValueError("some are missing")
    header = np.frombuffer(data[start:end], np.uint8)
    fields = read_header(header)
    features, outputs = len(fields["feature_names"]), len(fields["output_names"])
    width = features + outputs
    triangle, plane = width * (width + 1) // 2, 2 * features * outputs if "plane_error" in fields else 0
    count, rest = divmod(len(data) - end - width, NUMBER.itemsize)
    levels = (count - 2 - 2 * width - plane) / triangle
    if rest or levels not in (1, 2):
        raise ValueError(f"{len(data)} bytes are too many or too few for {width} columns")
    numbers = np.frombuffer(data, NUMBER, count, end + width).astype(np.float64)
    shapes = {"weight": (2,), "mean": (2, width), "factor": (int(levels), triangle)}
    shapes |= {"plane": (2, features, outputs)} if plane or "plane_error" in fields else {}
    arrays: dict[str, Array] = {"header": header, "constant": np.frombuffer(data, np.uint8, width, end)}
    at = 0
    for key, shape in shapes.items():
        arrays[key] = numbers[at : at + math.prod(shape)].reshape(shape)
        at += math.prod(shape)
    factor = np.zeros((int(levels), width, width))
    factor[:, *np.triu_indices(width)] = arrays["factor"]
    return {**arrays, "factor": factor}
