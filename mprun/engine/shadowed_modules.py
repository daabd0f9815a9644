"""Finds modules that a job and its recipes name alike: a process imports only one of that name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.diagnostics import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.scheduling.plan import Plan


def shadowed_modules(plan: Plan) -> Iterator[str]:
    """A warning for each module that a file has for its own targets, and that is found elsewhere first.

    Looks only at directories and imports nothing. The working directory comes last in the import
    path, so what is there hides nothing.
    """
    places = dict(plan.job.places)
    seen: set[tuple[str, str]] = set()
    for planned in plan.tasks:
        module = (planned.task.target or "").partition(":")[0].partition(".")[0]
        path = os.path.abspath(planned.task.document.source.path)
        if not module or (path, module) in seen:
            continue
        seen.add((path, module))
        own = _file_of(module, places.get(path, ()))
        used = _file_of(module, plan.job.import_path)
        if own and used and own != used:
            yield (
                f"two modules are called {quote(module)}, and a job imports only one of them: task "
                f"{quote(planned.name)} gets {quote(used)}, not {quote(own)}; rename one of them"
            )


def _file_of(module: str, directories: tuple[str, ...]) -> str:
    """The file of a module in the first of the directories that has it; empty if none has."""
    # `importlib.machinery` exports it, but its import takes longer than this search.
    from _frozen_importlib_external import PathFinder

    spec = PathFinder.find_spec(module, directories)
    origin = spec.origin if spec is not None else None
    return os.path.realpath(origin) if origin else ""
