"""The interfaces of a model that can be exported."""

from typing import Any, Protocol

import keras
import tensorflow as tf

from keras_linreg.data import Schema
from keras_linreg.utils.types import PathLike


class ServableModel(Protocol):
    """A built linear model: the attributes that its SavedModel is made of."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def units(self) -> int:
        """The number of outputs."""

    @property
    def kernel(self) -> Any:
        """The variable of the coefficients, `(p, units)`."""

    @property
    def bias(self) -> Any:
        """The variable of the intercepts, `(units,)`, or None."""

    @property
    def graph_modules(self) -> tuple[tf.Module, ...]:
        """The modules, beside Keras's own weights, that predictions read."""

    @property
    def is_plain_float32(self) -> bool:
        """Whether predictions are `design @ kernel + bias` computed in float32, and nothing else."""

    @property
    def schema(self) -> Schema | None:
        """The columns of the training data."""

    @property
    def feature_names(self) -> list[str] | None:
        """The names of the design's columns."""

    @property
    def preprocessor(self) -> keras.Layer | None:
        """The layer from the columns to the design, or None."""

    def __call__(self, design: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the predictions `(n, units)` of a design `(n, p)`."""


class ExportableModel(Protocol):
    """A model with the method `export` of this package's models."""

    @property
    def schema(self) -> Schema | None:
        """The columns of the training data, or None before there are any."""

    def export(self, filepath: PathLike, *, verbose: bool, **options: Any) -> None:
        """Write the model to a folder."""
