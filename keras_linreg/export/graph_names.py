"""Names of operations: a graph does not take every name that a column has."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from keras_linreg.data.kinds import is_feature_space
from keras_linreg.data.preprocessor_columns import column_readers, with_sublayers
from keras_linreg.utils.keras_compat import HANDLE_NAME

SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")  # the names that TensorFlow takes for operations


@contextlib.contextmanager
def graph_names(preprocessor: Any) -> Iterator[None]:
    """Give layers and variables names that a graph takes, for a while.

    A layer that reads a column gets the column's name, so that an error in the graph names the column.
    """
    layers = list(with_sublayers(preprocessor)) if preprocessor is not None else []
    if is_feature_space(preprocessor):
        parts = (preprocessor.preprocessors, preprocessor.crossers, preprocessor.one_hot_encoders)
        layers += [layer for part in parts for layer in part.values()]
    columns = {id(layer): name for name, layer in column_readers(preprocessor)}
    named = [(layer, "name") for layer in layers]
    named += [(variable.value, HANDLE_NAME) for layer in layers for variable in layer.variables]
    before = [getattr(*one) for one in named]
    try:
        for i, (one, attribute) in enumerate(named):
            if id(one) in columns:
                setattr(one, attribute, scope_of(columns[id(one)]))
            elif not SCOPE.fullmatch(before[i].removesuffix(":0")):
                setattr(one, attribute, f"part_{i}" + ":0" * before[i].endswith(":0"))
        yield
    finally:
        for (one, attribute), name in zip(named, before, strict=True):
            setattr(one, attribute, name)


def scope_of(column: str) -> str:
    """Return the name of a column, with the characters replaced that an operation's name cannot have."""
    spelled = re.sub(r"[^A-Za-z0-9_.]", "_", column)
    return spelled if SCOPE.fullmatch(spelled) else f"column{spelled}"
