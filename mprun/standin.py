"""A module that is imported when something is asked of it, in place of one that few ever ask.

Libraries import at their start what most of those who import them never use. For a process that
is to start quickly, or to be copied by every fork, that is too much; a stand-in is what they find.
"""

from __future__ import annotations

import sys
from types import ModuleType

# As in `typing`, which takes longer to import than most of what is put off here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


class StandIn(ModuleType):
    """A module that is empty but for what it is given, until it is asked for something else."""

    def __getattr__(self, name: str) -> Any:
        # Whether a module is a package, the import system asks of each.
        if name == "__path__" or self.__spec__ is None:
            raise AttributeError(name)
        # From now on it is a module as any other, and the one that all have who imported it.
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec: Any = self.__spec__
        self.__loader__, self.__file__, self.__package__ = spec.loader, spec.origin, spec.parent
        spec.loader.exec_module(self)
        return getattr(self, name)


def put_off(name: str, **given: Any) -> ModuleType:
    """The module, if it is imported by now; else a stand-in for it, with what it is given."""
    if name not in sys.modules:
        sys.modules[name] = module = StandIn(name)
        module.__spec__ = find_spec(name)
        module.__dict__.update(given)
    return sys.modules[name]


def withdraw(name: str) -> None:
    """Have the module imported as ever from now on, if a stand-in for it was not asked for anything."""
    if isinstance(sys.modules.get(name), StandIn):
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
