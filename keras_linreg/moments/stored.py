"""StoredMoments: how moments become a file, bytes for a message, and arrays, and come back."""

import abc
import zipfile
from collections.abc import Mapping
from typing import Self

import numpy as np

from keras_linreg.moments import moments_bytes, moments_file
from keras_linreg.utils.archives import write_arrays
from keras_linreg.utils.files import path_text, replace_file
from keras_linreg.utils.types import PathLike


class StoredMoments(abc.ABC):
    """The part of `Moments` that writes and reads them. Nothing is pickled, and all of it carries a SHA-256."""

    __slots__ = ()

    @abc.abstractmethod
    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the moments as numeric arrays."""

    @classmethod
    @abc.abstractmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the moments that `to_arrays` took apart."""

    def save(self, filepath: PathLike) -> None:
        """Write the moments to a file: a NumPy `.npz` archive, whatever its name, without pickles.

        The file is there whole or not at all. Equal moments give equal bytes.
        """
        arrays = self.to_arrays()
        with replace_file(path_text("filepath", filepath)) as unfinished, open(unfinished, "wb") as file:
            write_arrays(file, arrays)

    @classmethod
    def load(cls, filepath: PathLike) -> Self:
        """Return the moments that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not one of moments.
        """
        filepath = path_text("filepath", filepath)
        with open(filepath, "rb") as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    return cls.from_arrays(moments_file.read(archive))
            except MemoryError:
                raise
            except Exception as error:  # what a broken archive raises depends on where it is broken
                raise ValueError(
                    f"`filepath` must be a file that Moments.save wrote. Received: {filepath}"
                    f"{f' ({error})' if str(error) else ''}."
                ) from None

    def to_bytes(self) -> bytes:
        """Return the moments as bytes, for a message: without pickles, of factors the upper triangle alone.

        Example:
        >>> import numpy as np
        >>> import keras_linreg as klr
        >>> moments = klr.Moments.from_data(np.arange(5.0), np.arange(5.0) ** 2)
        >>> klr.Moments.from_bytes(moments.to_bytes()).rows
        5
        """
        return moments_bytes.to_bytes(self.to_arrays())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the moments that `to_bytes` made bytes of. They carry a SHA-256.

        Raises:
            ValueError: the bytes are something else, or have been changed or cut since.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise ValueError(f"`data` must be bytes that Moments.to_bytes returned. Received: {type(data).__name__}.")
        try:
            return cls.from_arrays(moments_bytes.from_bytes(bytes(data)))
        except ValueError as error:
            raise ValueError(
                f"`data` must be bytes that Moments.to_bytes returned. Received: {len(data)} others ({error})."
            ) from None
