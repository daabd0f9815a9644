"""Finds and reads mprun's own modules in fewer steps than Python does; a start imports some hundred.

Python looks at a directory for each import, tries five endings, works out twice where the compiled file is,
and reads that through two layers of files. Here the place follows from the name. That saves half of what
the import of an empty module costs. Only the command does this; a library must not change its host.
"""

from __future__ import annotations

import marshal

# Not `os`, whose functions a task may replace, as importlib does not use it either.
import posix
import sys

# `importlib.machinery` and `importlib.util` export them, but to import those takes longer than this saves.
from _frozen_importlib_external import (
    MAGIC_NUMBER,
    SourceFileLoader,
    cache_from_source,
    spec_from_file_location,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType

# The newest Python whose compiled files were tried.
TRIED_PYTHON = (3, 15)

# Those of a compiled file that is valid for one modification time and size of its source (PEP 552).
_FLAGS = bytes(4)
# Files of that size and above are left to Python's loader, in bytes. malloc(3) maps more than this anew.
_LIMIT = 100_000


class _Loader(SourceFileLoader):
    """Reads a module's compiled file if it is up to date; if not, does all that Python's loader does."""

    def __init__(self, name: str, path: str, compiled: str, source: posix.stat_result) -> None:
        super().__init__(name, path)
        self._compiled = compiled
        self._source = source

    def get_code(self, fullname: str) -> CodeType | None:
        try:
            descriptor = posix.open(self._compiled, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            return super().get_code(fullname)
        try:
            data = posix.read(descriptor, _LIMIT)
        finally:
            posix.close(descriptor)
        head = MAGIC_NUMBER + _FLAGS + _word(int(self._source.st_mtime)) + _word(self._source.st_size)
        if data[:16] == head and len(data) < _LIMIT:
            try:
                code: CodeType = marshal.loads(memoryview(data)[16:])  # noqa: S302  as Python does
            except EOFError:
                # A file system may give less than is asked for.
                return super().get_code(fullname)
            # It differs if the files were moved after they were compiled.
            if code.co_filename == self.path:
                return code
        return super().get_code(fullname)


def _word(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "little")


class ModuleFinder:
    """The finder for `sys.meta_path`. It leaves to others what is not mprun's, or not a source file."""

    def __init__(self, folder: str, ending: str) -> None:
        """`folder` and `ending` come before and after a module's name in the path of its compiled file."""
        self._folder = folder
        self._ending = ending

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        """Where the module is; None if another finder has to look for it."""
        if not name.startswith("mprun.") or not path:
            return None
        directory, module = path[0], name.rpartition(".")[2]
        inside = None
        try:
            source = posix.stat(f"{directory}/{module}.py")
        except OSError:
            directory, module = f"{directory}/{module}", "__init__"
            inside = [directory]
            try:
                source = posix.stat(f"{directory}/{module}.py")
            except OSError:
                return None
        file = f"{directory}/{module}.py"
        compiled = f"{directory}/{self._folder}{module}{self._ending}"
        loader = _Loader(name, file, compiled, source)
        spec: ModuleSpec | None = spec_from_file_location(
            name, file, loader=loader, submodule_search_locations=inside
        )
        if spec is not None:
            spec.cached = compiled
        return spec


def install_module_finder() -> None:
    """Find mprun's modules with it from now on, if compiled files are where they are by default."""
    if sys.version_info[:2] > TRIED_PYTHON:
        return
    try:
        folder, _, ending = cache_from_source("x.py").partition("x")
    except NotImplementedError:
        # This Python reads no compiled files.
        return
    # With PYTHONPYCACHEPREFIX, they are all in another directory.
    if folder == "__pycache__/":
        sys.meta_path.insert(0, ModuleFinder(folder, ending))
