"""WatchedModel: the interface of a model that is watched while it is trained."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras

from keras_linreg.data import Schema


class WatchedModel(Protocol):
    """A compiled linear model that is trained step by step."""

    built: bool
    layers: Any
    weights: Sequence[keras.Variable]
    trainable_variables: Any
    metrics_variables: Any
    optimizer: Any
    loss: Any
    distribute_strategy: Any
    steps_per_execution: int
    compute_dtype: str
    units: int
    use_bias: bool
    kernel_regularizer: Any

    @property
    def feature_names(self) -> list[str] | None:
        """The names of the design's columns."""

    @property
    def schema(self) -> Schema | None:
        """The inputs that the model was built on."""

    def as_optimized(self, design: Any) -> Any:
        """Return a design, an array or of scipy.sparse, as the optimizer sees it."""

    def set_schema(self, schema: Schema | None) -> None:
        """Set the inputs that the model takes."""
