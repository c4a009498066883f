"""Fold moments in a file: an archive of the moments of all rows and of each fold, each as `Moments.save` writes them.

The parts are stored as they are, so that no small file can unpack to a large one; each of them checks itself.
"""

import io
import json
import zipfile
from collections.abc import Sequence

from keras_linreg.moments import moments_file
from keras_linreg.moments.moments import Moments
from keras_linreg.utils.archives import entry, write_arrays

FORMAT, HEADER, TOTAL = 1, "folds.json", "total.npz"
LARGEST_HEADER = 1000  # bytes
SAME = 1e-9  # how well the weights of folds add up to that of all rows


def to_bytes(total: Moments, folds: Sequence[Moments]) -> bytes:
    """Return the file of fold moments; equal moments give equal bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry(HEADER), json.dumps({"format": FORMAT, "folds": len(folds)}))
        for name, part in zip(_names(len(folds)), (total, *folds), strict=True):
            own = io.BytesIO()
            write_arrays(own, part.to_arrays())
            archive.writestr(entry(name), own.getvalue())
    return file.getvalue()


def from_bytes(data: bytes) -> tuple[Moments, tuple[Moments, ...]]:
    """Return the moments of all rows and of each fold.

    Raises:
        ValueError: the bytes are something else, or have been changed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info for info in archive.infolist()}
            stored = all(info.file_size == info.compress_size for info in sizes.values())
            if not stored or HEADER not in sizes or sizes[HEADER].file_size > LARGEST_HEADER:
                raise ValueError("it is no such archive")
            header = json.loads(archive.read(HEADER))
            count = header["folds"]
            if header["format"] != FORMAT or not isinstance(count, int) or count < 2 or count > len(sizes):
                raise ValueError(f"its header is {header}")
            parts = []
            for name in _names(count):
                with zipfile.ZipFile(io.BytesIO(archive.read(name))) as own:
                    parts.append(Moments.from_arrays(moments_file.read(own)))
    except (zipfile.BadZipFile, KeyError, TypeError, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    check_parts(parts[0], parts[1:])
    return parts[0], tuple(parts[1:])


def check_parts(total: Moments, folds: Sequence[Moments]) -> None:
    """Refuse folds that are not of the rows of the total.

    Raises:
        ValueError: they have other columns, or other rows.
    """
    names = {(part.feature_names, part.output_names) for part in (total, *folds)}
    if len(names) > 1:
        raise ValueError("the folds have other columns than the whole")
    weight = float(total.statistics.weight.hi)
    if (
        sum(fold.rows for fold in folds) != total.rows
        or sum(fold.nobs for fold in folds) != total.nobs
        or abs(sum(float(fold.statistics.weight.hi) for fold in folds) - weight) > SAME * weight
    ):
        raise ValueError("the rows of the folds are not those of the whole")


def _names(folds: int) -> list[str]:
    return [TOTAL, *(f"fold_{k}.npz" for k in range(folds))]
