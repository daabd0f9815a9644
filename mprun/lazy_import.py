"""A module that is imported when something is asked of it, in place of one that few ever ask.

Libraries import at their start what most of those who import them never use. For a process that
is to start quickly, or to be copied by every fork, that is too much; a stand-in is what they find.
"""

from __future__ import annotations

import sys
from _thread import RLock
from types import ModuleType

# As in `typing`, which takes longer to import than most of what is put off here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


# Held by the thread that loads a module in place of its stand-in; others wait for the whole of it.
_loading = RLock()
# Those that are being loaded, by name.
_unfinished: set[str] = set()


class LazyModule(ModuleType):
    """A module that is empty but for what it is given, until it is asked for something else."""

    def __getattr__(self, name: str) -> Any:
        # What there is of a module, the import system and others ask of each; the rest is its content.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        _load(self, name)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        # What is replaced in a module is not to come back with it. A package is given its parts.
        if not name.startswith("__") and "__path__" not in self.__dict__ and self.__name__ not in _unfinished:
            _load(self, name)
        # By now it may be a stand-in no more, of which `super` knows nothing.
        ModuleType.__setattr__(self, name, value)


def _load(module: LazyModule, name: str) -> None:
    """Have a module be one as any other, and the one that all have who imported it.

    Raises what its import raises: then it stands in as before.
    """
    with _loading:
        if not isinstance(module, LazyModule):
            return
        spec: Any = module.__spec__
        if spec is None or module.__name__ in _unfinished:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        before = dict(module.__dict__)
        _unfinished.add(module.__name__)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            module.__dict__.clear()
            module.__dict__.update(before)
            raise
        finally:
            _unfinished.discard(module.__name__)
        module.__class__ = ModuleType  # type: ignore[assignment]


def install_lazy(name: str, **given: Any) -> ModuleType:
    """The module, if it is imported by now; else a stand-in for it, with what it is given."""
    if name not in sys.modules:
        sys.modules[name] = module = LazyModule(name)
        spec = find_spec(name)
        if spec is not None:
            module.__dict__.update(__loader__=spec.loader, __file__=spec.origin, __package__=spec.parent)
        module.__dict__.update(__spec__=spec, **given)
    return sys.modules[name]


def withdraw(name: str) -> None:
    """Have the module imported as ever from now on, if a stand-in for it was not asked for anything."""
    if isinstance(sys.modules.get(name), LazyModule):
        del sys.modules[name]


def find_spec(name: str) -> ModuleSpec | None:
    """Where a module would be imported from; its package may be a stand-in, or not imported yet."""
    # As importlib.machinery has it, which takes longer to import than this to search.
    from _frozen_importlib_external import PathFinder

    package, _, _ = name.rpartition(".")
    if not package:
        return PathFinder.find_spec(name)
    if package in sys.modules:
        return PathFinder.find_spec(name, sys.modules[package].__path__)
    parent = find_spec(package)
    return PathFinder.find_spec(name, parent.submodule_search_locations if parent else None)
