"""Finds the files of what a job has imported: a run on several hosts compares them, and so do later runs."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def module_files(import_path: Sequence[str]) -> list[str]:
    """The files of the modules that were imported from these directories, but for installed packages."""
    files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    folders = tuple(f"{os.path.abspath(folder)}/" for folder in import_path)
    found = [os.path.abspath(file) for file in files if isinstance(file, str)]
    return sorted(file for file in found if file.startswith(folders) and "/site-packages/" not in file)


def imported_modules() -> dict[str, str | None]:
    """The file of each imported module that is not part of Python; None of one without a file."""
    standard = f"{os.path.dirname(os.__file__)}/"
    found: dict[str, str | None] = {}
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            if hasattr(module, "__path__"):
                # A package without an `__init__.py`.
                found[name] = None
            continue
        path = os.path.abspath(file)
        below = path.removeprefix(standard)
        if below == path or "site-packages/" in below or "dist-packages/" in below:
            found[name] = path
    return found
