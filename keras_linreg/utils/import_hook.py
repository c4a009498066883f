"""Calls a function as soon as another package has been imported: Keras never imports our modules itself."""

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import types
from collections.abc import Callable, Sequence

from keras_linreg.utils.lazy import loaded_module

_finished: set[str] = set()  # packages whose import we have seen to its end


def is_imported(package: str) -> bool:
    """Return whether the import of a package has come to its end."""
    return package in _finished or loaded_module(package) is not None


def call_when_imported(package: str, function: Callable[[], object]) -> None:
    """Call a function now if a package is imported, else right after its import.

    An error of the function must not break the other package's import: it is logged, and not raised.
    """
    if loaded_module(package) is not None:
        _call(function)
    else:
        sys.meta_path.insert(0, _AfterImport(package, function))


def _call(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:  # the user's import of the other package must not fail because of us
        logging.getLogger(__name__).exception("%s failed after an import", function.__qualname__)


class _AfterImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a package as Python does, and calls a function after the package's own loader has run."""

    def __init__(self, package: str, function: Callable[[], object]):
        self._package, self._function = package, function
        self._loader: importlib.abc.Loader | None = None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the package's spec with this object as its loader; None for all other packages."""
        if name != self._package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        """Let the package's own loader create the module."""
        assert self._loader is not None
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """Let the package's own loader run, then call the function."""
        assert self._loader is not None and module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _finished.add(self._package)
        _call(self._function)
