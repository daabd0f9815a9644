"""Finds the files of what a job has imported: a run on several hosts compares them."""

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
