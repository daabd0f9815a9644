"""Finds the files of what a job has imported: a run on several hosts compares them, and so do later runs."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def module_files(import_path: Sequence[str]) -> list[str]:
    """The files of the modules that were imported from these directories, but for installed packages."""
    files = {_attributes(module).get("__file__") for module in [*sys.modules.values()]}
    folders = tuple(f"{os.path.abspath(folder)}/" for folder in import_path)
    found = [os.path.abspath(file) for file in files if type(file) is str]
    return sorted(file for file in found if file.startswith(folders) and "/site-packages/" not in file)


def imports(at_start: Sequence[str]) -> dict[str, Any]:
    """What the engine is told of the imports of a job; `at_start` are the modules that there were before."""
    modules = imported_modules()
    return {
        "path": [*sys.path],
        "modules": modules,
        "files": signatures(modules),
        "cache": sys.pycache_prefix,
        "at_start": [name for name in at_start if name in modules],
    }


def signatures(modules: Mapping[str, str | None]) -> dict[str, list[int]]:
    """Device, inode, size, and time of the last change in nanoseconds, of the file of each module."""
    found = {}
    for name, path in modules.items():
        try:
            known = os.stat(path or "")
        except (OSError, ValueError):
            continue
        found[name] = [known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns]
    return found


def _attributes(module: object) -> dict[str, Any]:
    """The attributes of a module; none of another object, of which they may be code that runs."""
    if not issubclass(type(module), type(sys)):
        return {}
    # A module that is loaded when it is used stays as it is.
    found: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return found


def imported_modules() -> dict[str, str | None]:
    """The file of each imported module that is not part of Python; None of one without a file."""
    standard = f"{os.path.dirname(os.__file__)}/"
    found: dict[str, str | None] = {}
    for name, module in [*sys.modules.items()]:
        attributes = _attributes(module)
        file = attributes.get("__file__")
        if not isinstance(name, str):
            continue
        if type(file) is not str:
            if not attributes or file is not None or "__path__" in attributes:
                # A package without an `__init__.py`, or an object that may be anything.
                found[name] = None
            continue
        path = os.path.abspath(file)
        below = path.removeprefix(standard)
        if below == path or "site-packages/" in below or "dist-packages/" in below:
            found[name] = path
    return found
