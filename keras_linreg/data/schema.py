"""Which inputs a model was trained on, and what the columns of its design are called."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One input of the model: its name, the dtype a served graph takes it in, the shape of one row of it."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Schema:
    """The inputs a model was trained on, and the names of the columns of its design.

    `named` inputs are columns, matched by name; otherwise there is one input, the matrix "features".
    """

    inputs: tuple[Column, ...]
    named: bool
    feature_names: tuple[str, ...]

    @classmethod
    def of_matrix(cls, width: int, feature_names=None) -> "Schema":
        """Return the schema of a matrix of `width` columns."""
        names = tuple(feature_names) if feature_names else default_names(width)
        return cls((Column("features", "float32", (width,)),), False, names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of the design."""
        return tuple(column.name for column in self.inputs)

    def to_config(self) -> dict:
        """Return this schema as what JSON holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "Schema":
        """Return the schema that `to_config` wrote."""
        inputs = tuple(Column(c["name"], c["dtype"], tuple(c["shape"])) for c in config["inputs"])
        return cls(inputs, config["named"], tuple(config["feature_names"]))


def default_names(width: int) -> tuple[str, ...]:
    """Return x0, x1, ...: the names of columns that have none."""
    return tuple(f"x{i}" for i in range(width))
