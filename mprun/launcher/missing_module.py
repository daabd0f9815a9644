"""Which module of a target is missing, and which ones may be meant; only a wrong target imports this."""

from __future__ import annotations

import pkgutil
import sys


def missing_module(
    missing: str, job_paths: list[str]
) -> tuple[str, tuple[str | int, ...], str, tuple[str, ...]]:
    """The arguments of a TargetError; `job_paths` are the directories of the job on the import path."""
    parent, _, name = missing.rpartition(".")
    places = getattr(sys.modules.get(parent), "__path__", None) if parent else job_paths
    if places is None:
        message = f"module `{missing}` not found: `{parent}` is a module, not a package"
        return message, ("target",), "", ()
    message = f"module `{missing}` not found"
    if not parent:
        message += f" (searched {', '.join(job_paths)}; add directories with `pythonpath`)"
    known = tuple(module.name for module in pkgutil.iter_modules(list(places)))
    return message, ("target", "module"), name, known
