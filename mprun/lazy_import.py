"""Modules that are loaded when someone first uses them, in place of modules that most runs never use.

Libraries import modules that few of their users need. That is too expensive for a process that must start
quickly, or that is copied by each fork. `importlib.util.LazyLoader` does the same, but importing
`importlib.util` takes longer than what it would save, and it cannot provide an attribute before the module is
loaded. From Python 3.15 on, `lazy import` (PEP 810) does this for a module's own imports, not for those of
libraries.
"""

from __future__ import annotations

import sys
from _thread import RLock
from types import ModuleType

# Defined here because importing `typing` takes longer than importing most modules that are lazy here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


# Held by the thread that loads a lazy module; other threads wait until the module is complete.
_lock = RLock()
# The names of the modules that are being loaded.
_loading: set[str] = set()
_NOTHING: dict[str, Any] = {}


class LazyModule(ModuleType):
    """A module with only the attributes that it was given, until another one is used."""

    def __getattr__(self, name: str) -> Any:
        # The import system and others look at these attributes of every module; they are not its contents.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        values, borrowers = self.__dict__["__lent__"]
        # Code that a library has made and executes may have no name.
        user = sys._getframe(1).f_globals.get("__name__", "")
        if name in values and user.partition(".")[0] in borrowers:
            return values[name]
        _load(self, name)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        # Loading the module later would undo the assignment. The import system sets submodules on packages.
        if not name.startswith("__") and "__path__" not in self.__dict__ and self.__name__ not in _loading:
            _load(self, name)
        # Not `super()`: by now the class of this object may be ModuleType.
        ModuleType.__setattr__(self, name, value)


def _load(module: LazyModule, name: str) -> None:
    """Load the module into this same object, which all importers hold, and make it an ordinary one.

    Raises what the import raises; the module is then lazy as before.
    """
    with _lock:
        if not isinstance(module, LazyModule):
            return
        spec: Any = module.__spec__
        if spec is None or module.__name__ in _loading:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        before = dict(module.__dict__)
        _loading.add(module.__name__)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            module.__dict__.clear()
            module.__dict__.update(before)
            raise
        finally:
            _loading.discard(module.__name__)
        del module.__dict__["__lent__"]
        module.__class__ = ModuleType  # type: ignore[assignment]


def install_lazy(
    name: str, *, lent: dict[str, Any] = _NOTHING, borrowers: tuple[str, ...] = (), **attributes: Any
) -> ModuleType:
    """The module from `sys.modules`, else a lazy one, installed there with these attributes.

    Those of `lent` are for the packages `borrowers` alone: anyone else who uses them gets the real ones, of
    the module that is loaded then. If it is called again, it is the last call that says which and whom.
    """
    if name not in sys.modules:
        sys.modules[name] = module = LazyModule(name)
        spec = find_spec(name)
        if spec is not None:
            module.__dict__.update(__loader__=spec.loader, __file__=spec.origin, __package__=spec.parent)
            if spec.submodule_search_locations is not None:
                module.__dict__.update(__path__=spec.submodule_search_locations)
        module.__dict__.update(__spec__=spec, __lent__=(lent, borrowers), **attributes)
    elif lent and isinstance(sys.modules[name], LazyModule):
        sys.modules[name].__dict__["__lent__"] = lent, borrowers
    return sys.modules[name]


def uninstall(name: str) -> None:
    """Remove a lazy module that was not loaded, so that the next import is an ordinary one."""
    if isinstance(sys.modules.get(name), LazyModule):
        del sys.modules[name]


def find_spec(name: str) -> ModuleSpec | None:
    """Where a module would be imported from; its package may be lazy, or not imported yet."""
    # `importlib.machinery` exports it, but its import takes longer than this search.
    from _frozen_importlib_external import PathFinder

    package, _, _ = name.rpartition(".")
    if not package:
        return PathFinder.find_spec(name)
    if package in sys.modules:
        return PathFinder.find_spec(name, sys.modules[package].__path__)
    parent = find_spec(package)
    return PathFinder.find_spec(name, parent.submodule_search_locations if parent else None)
