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


def checked_names(names) -> tuple[str, ...] | None:
    """Return the user's `feature_names` as a tuple; refuse what are no distinct names."""
    if names is None:
        return None
    if not hasattr(names, "__iter__"):
        raise ValueError(f"`feature_names` must be distinct, non-empty strings. Received: {names!r}.")
    names = [names] if isinstance(names, str) else [str(n) if isinstance(n, str) else n for n in names]
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f"`feature_names` must be distinct, non-empty strings. Received: {names}.")
    return tuple(names)


def output_names(y, width: int) -> tuple[str, ...]:
    """Return what the outputs are called: the names of a frame or Series, or y, or y0, y1, ..."""
    own = list(y.columns) if hasattr(y, "columns") else [getattr(y, "name", None)]
    if len(own) == width == len(set(own)) and all(isinstance(name, str) and name for name in own):
        return tuple(str(name) for name in own)
    return ("y",) if width == 1 else tuple(f"y{i}" for i in range(width))
