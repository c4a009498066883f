"""NoOptimizer: what an exact model answers to whoever asks for its optimizer, as scikit-learn's wrapper does."""

from collections.abc import Sequence
from typing import Any


class NoOptimizer:
    """Stands for the optimizer of a model whose weights are a solution: it has no variables, and moves none."""

    built = True
    variables: tuple[Any, ...] = ()  # `keras.Model.summary` counts them

    def build(self, variables: Sequence[Any]) -> None:
        """Make no variables."""

    def __repr__(self) -> str:
        return "NoOptimizer()"
