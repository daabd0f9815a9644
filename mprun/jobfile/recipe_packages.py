"""Finds the installed packages that offer recipes, by their metadata: no package is imported."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The group of entry points whose values are packages with recipes.
GROUP = "mprun.recipes"

# How the names of directories with the metadata of a distribution end.
_METADATA = (".dist-info", ".egg-info")
# Bytes of a file of entry points; the largest ones of real distributions have a hundredth of it.
_MAX_BYTES = 1_000_000
# Characters of the name of a package: no file has a longer one.
_MAX_NAME = 255


def recipe_packages() -> list[str]:
    """The names of the packages that installed distributions declare to have recipes, sorted.

    They are looked for once for an import path. What is damaged is left out: a line, or a whole file.
    """
    return list(_declared(tuple(sys.path)))


def is_package_name(name: str) -> bool:
    """Whether a text may be the name of a package: identifiers with dots between them."""
    return all(part.isidentifier() for part in name.split("."))


# `importlib.metadata` takes 20 ms to import, waits for a pipe, reads a file of any size, and gives up at a
# damaged line.
@lru_cache(maxsize=1)
def _declared(path: tuple[str, ...]) -> tuple[str, ...]:
    names = {name for entry in dict.fromkeys(path) for text in _entry_points(entry) for name in _names(text)}
    return tuple(sorted(name for name in names if len(name) <= _MAX_NAME and is_package_name(name)))


def _entry_points(directory: str) -> Iterator[str]:
    """The texts of the files of entry points in a directory of the import path."""
    try:
        found = sorted(name for name in os.listdir(directory or os.curdir) if name.endswith(_METADATA))
    except OSError:
        # An archive, or it is not there.
        return
    for name in found:
        with suppress(OSError):
            yield _read(os.path.join(directory, name, "entry_points.txt"))


def _read(path: str) -> str:
    """The text of a regular file that is not too large, else none. Raises OSError."""
    # Without O_NONBLOCK, to open a named pipe would wait for its writer.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb") as file:
        facts = os.fstat(number)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MAX_BYTES:
            return ""
        return file.read(_MAX_BYTES).decode(errors="replace")


def _names(text: str) -> Iterator[str]:
    """The values of the entry points of the group."""
    group = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group == GROUP and not line.startswith(("#", ";")):
            yield line.partition("=")[2].strip()
