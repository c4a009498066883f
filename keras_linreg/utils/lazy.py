"""Modules that are imported when something of them is first used, and the ones that are imported already."""

import importlib
import sys
import types
from typing import Any


class LazyModule:
    """Stands for a module, and imports it when an attribute is first asked for.

    `klr.Moments` of arrays needs neither TensorFlow nor pandas: a worker that only counts rows must not pay for them.

    Args:
        name: of the module.

    Example:
    >>> from keras_linreg.utils.lazy import LazyModule
    >>> math = LazyModule("math")
    >>> math.sqrt(4.0)
    2.0
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


def loaded_module(name: str) -> types.ModuleType | None:
    """Return a module if its import has finished; else None: no value can be of its types."""
    module = sys.modules.get(name)
    is_loading = getattr(getattr(module, "__spec__", None), "_initializing", False)
    return None if is_loading else module
