"""Finds what patterns of files match; below `**`, no link to a directory is followed."""

from __future__ import annotations

import os
import re
from fnmatch import translate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = re.compile("[*?[]")


def find_matches(pattern: str, folder: str) -> Iterator[str]:
    """The paths of files and directories that a pattern matches; relative ones start at `folder`.

    Some may come twice. Raises OSError, if a directory cannot be read, and ValueError.
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    # A repeated `**` matches nothing else.
    parts = [
        part for before, part in zip(["", *parts], parts, strict=False) if (before, part) != ("**", "**")
    ]
    return _below("/" if pattern.startswith("/") else "", parts, folder)


def _below(base: str, parts: list[str], folder: str) -> Iterator[str]:
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _at_any_depth(base, rest, folder)
    elif not _MAGIC.search(part):
        path = os.path.join(base, part)
        if os.path.lexists(os.path.join(folder, path)):
            yield from _below(path, rest, folder)
    else:
        matches = re.compile(translate(part)).match
        for entry in _entries(base, folder):
            is_hidden = entry.name.startswith(".") and not part.startswith(".")
            if matches(entry.name) and not is_hidden:
                yield from _below(os.path.join(base, entry.name), rest, folder)


def _at_any_depth(base: str, rest: list[str], folder: str) -> Iterator[str]:
    pending = [base]
    while pending:
        place = pending.pop()
        if rest:
            yield from _below(place, rest, folder)
        for entry in _entries(place, folder):
            if entry.name.startswith("."):
                continue
            path = os.path.join(place, entry.name)
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            # Directories count, too: there may be too many to look into.
            if not rest:
                yield path


def _entries(base: str, folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(os.path.join(folder, base)) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []
