"""Schema: the inputs that a model was trained on, and the names of the columns of its design."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

MATRIX = "features"  # the name of an input that is a matrix


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One input of the model: its name, its dtype in a served graph, the shape of one row of it."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """The inputs that a model was trained on, and the names of the columns of its design.

    Attributes:
        inputs: columns, if they are `named`; else one matrix, called "features".
        named: whether inputs are matched by name.
        feature_names: the names of the design's columns.
        output_names: the names of several outputs, in the order of the model; () if they have none.
    """

    inputs: tuple[Column, ...]
    named: bool
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...] = ()

    @classmethod
    def of_matrix(cls, width: int, feature_names: Sequence[str] | None = None) -> "Schema":
        """Return the schema of a matrix of `width` columns."""
        names = tuple(feature_names) if feature_names else default_names(width)
        return cls((Column(MATRIX, "float32", (width,)),), False, names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of the design."""
        return tuple(column.name for column in self.inputs)

    def to_config(self) -> dict[str, Any]:
        """Return this schema as plain objects, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Schema":
        """Return the schema that `to_config` wrote."""
        inputs = tuple(Column(c["name"], c["dtype"], tuple(c["shape"])) for c in config["inputs"])
        return cls(inputs, config["named"], tuple(config["feature_names"]), tuple(config.get("output_names", ())))


def default_names(width: int) -> tuple[str, ...]:
    """Return x0, x1, ...: the names of columns that have none."""
    return tuple(f"x{i}" for i in range(width))


def checked_names(names: Any) -> tuple[str, ...] | None:
    """Return the user's `feature_names` as a tuple.

    Raises:
        ValueError: they are no distinct, non-empty strings.
    """
    if names is None:
        return None
    if not hasattr(names, "__iter__"):
        raise ValueError(f"`feature_names` must be distinct, non-empty strings. Received: {names!r}.")
    names = [names] if isinstance(names, str) else [str(n) if isinstance(n, str) else n for n in names]
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f"`feature_names` must be distinct, non-empty strings. Received: {names}.")
    return tuple(names)


def default_output_names(width: int) -> tuple[str, ...]:
    """Return y, or y0, y1, ...: the names of outputs that have none."""
    return ("y",) if width == 1 else tuple(f"y{i}" for i in range(width))
