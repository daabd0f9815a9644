"""Which attribute of a target is missing, and which ones may be meant; only a wrong target imports this."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any


def missing_attribute(module: str, path: str) -> tuple[str, str, tuple[str, ...]]:
    """What is missing on a path from an imported module, as a message, the faulty word, and known names."""
    found: Any = sys.modules[module]
    owner = f"module `{module}`"
    for name in path.split("."):
        if not hasattr(found, name):
            values = getattr(found, "__dict__", {})
            names = tuple(known for known in dir(found) if not known.startswith("_"))
            own = tuple(known for known in names if not _is_borrowed(values.get(known), module))
            return f"{owner} has no attribute `{name}`", name, own or names
        found = getattr(found, name)
        owner = f"`{name}`"
    raise AssertionError("called only if there is no such object")


def _is_borrowed(value: object, module: str) -> bool:
    """Whether a value is a module, or a class or function of another package: it is seldom meant."""
    if isinstance(value, ModuleType):
        return True
    home = value.__module__ if isinstance(value, (type, FunctionType)) else None
    return isinstance(home, str) and home.partition(".")[0] != module.partition(".")[0]
