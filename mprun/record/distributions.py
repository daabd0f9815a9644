"""Finds the installed distributions that code uses, with their versions and what they have installed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Protocol

from mprun.frozen import Frozen
from mprun.record.file_hashes import look

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mprun.record.file_hashes import Signature

    class _Distribution(Protocol):
        """What of `importlib.metadata.Distribution` is used here."""

        def read_text(self, filename: str) -> str | None: ...

        @property
        def requires(self) -> list[str] | None: ...

        @property
        def files(self) -> Any: ...


_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^]]*)\])?([^;]*)(?:;(.*))?", re.DOTALL)
_EXTRA = re.compile(r"""extra\s*===?\s*["']([^"']*)["']""")
# The first part of each path in a RECORD, and what follows it; a path with a comma is in quotes.
_FIRST_PARTS = re.compile(r'^(?:"([^/"\n]+)([/"])|([^/",\n]+)([/,]))', re.MULTILINE)

# What a distribution says of itself, in its directory.
_FILES = ("METADATA", "RECORD", "PKG-INFO", "top_level.txt", "installed-files.txt", "requires.txt")


class _Known(Frozen):
    """A distribution: its name, when it was last changed, its top-level modules, and itself."""

    name: str
    changed: int
    modules: tuple[str, ...]
    distribution: Any


class InstalledOn:
    """What is installed in directories, which are read again only if something has changed in them."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[list[_Known], dict[str, Signature | None]]] = {}

    def on(self, path: Sequence[str]) -> Distributions:
        """What is installed on a path now; `importlib.invalidate_caches` has been called."""
        found: list[_Known] = []
        seen: dict[str, Signature | None] = {}
        for entry in path:
            known = self._entries.get(entry)
            if known is None or any(look(one) != then for one, then in known[1].items()):
                known = self._entries[entry] = _read_entry(entry)
            found += known[0]
            seen |= known[1]
        return Distributions(found, seen)


def _read_entry(entry: str) -> tuple[list[_Known], dict[str, Signature | None]]:
    seen = {entry: look(entry)}
    found = []
    for folder, one in _distributions_in(entry):
        files = {path: look(path) for path in (folder, *(os.path.join(folder, name) for name in _FILES))}
        seen |= files
        changed = max((known[-1] for known in files.values() if known is not None), default=0)
        found.append(
            _Known(name=_name_of(one), changed=changed, modules=tuple(_top_level(one)), distribution=one)
        )
    return found, seen


def _distributions_in(entry: str) -> Iterator[tuple[str, _Distribution]]:
    """Each distribution in a directory or an archive, with where it says what it is."""
    if os.path.isfile(entry):
        from importlib import metadata

        for one in metadata.distributions(path=[entry]):
            yield str(getattr(one, "_path", "")), one
        return
    is_egg = os.path.basename(entry).lower().endswith(".egg")
    with contextlib.suppress(OSError):
        for name in os.listdir(entry or "."):
            low = name.lower()
            if low.endswith((".dist-info", ".egg-info")) or (is_egg and low == "egg-info"):
                path = os.path.join(entry, name)
                yield path, _InDirectory(path)


class _InDirectory:
    """A distribution of which a directory, or a file, says what it is.

    It is read as `importlib.metadata` reads it, whose import takes as long as the names and modules of a
    hundred distributions, and which takes ten times as long for these. Most code needs no more of them.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def read_text(self, filename: str) -> str | None:
        path = os.path.join(self._path, filename) if filename else self._path
        missing = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
        with contextlib.suppress(*missing), open(path, encoding="utf-8") as file:
            return file.read()
        return None

    @property
    def requires(self) -> list[str] | None:
        return self._whole().requires

    @property
    def files(self) -> Any:
        return self._whole().files

    def _whole(self) -> _Distribution:
        from importlib import metadata
        from pathlib import Path

        return metadata.PathDistribution(Path(self._path))


class Distributions:
    """The distributions on a path; `seen` has the signatures of the files that say what they are."""

    def __init__(self, known: Iterable[_Known], seen: dict[str, Signature | None]) -> None:
        self.seen = seen
        self._by_module: dict[str, list[str]] = {}
        self._by_name: dict[str, _Distribution] = {}
        self._changed: dict[str, int] = {}
        for one in known:
            # Of two with the same name the first counts.
            if one.name and one.name not in self._by_name:
                self._by_name[one.name] = one.distribution
                self._changed[one.name] = one.changed
                for top in one.modules:
                    self._by_module.setdefault(top, []).append(one.name)

    def has(self, top: str) -> bool:
        """Whether a distribution has this top-level module."""
        return top in self._by_module

    def changed_at(self, distribution: str) -> int:
        """When what a distribution says of itself was last changed, in nanoseconds since the epoch."""
        return self._changed[distribution]

    def versions(self, distributions: Iterable[str]) -> dict[str, str]:
        """What there is of these distributions; one that is not installed is left out."""
        return {name: _token(self._by_name[name]) for name in distributions if name in self._by_name}

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """What there is of each distribution that has one of these modules, and of what it requires."""
        found: dict[str, str] = {}
        seen: set[tuple[str, str]] = set()
        pending = [(name, "") for top in names for name in self._by_module.get(top, ())]
        while pending:
            one = pending.pop()
            known = self._by_name.get(one[0])
            if one in seen or known is None:
                continue
            seen.add(one)
            found[one[0]] = found.get(one[0]) or _token(known)
            pending += _required(known, one[1])
        return dict(sorted(found.items()))


def _required(known: _Distribution, extra: str) -> Iterator[tuple[str, str]]:
    """The names, each with an extra or without, that a distribution requires for one of its extras.

    Of those for other systems or versions of Python none is installed, or it does no harm to compare it.
    """
    for text in known.requires or ():
        match = _REQUIREMENT.match(text)
        if match is None:
            continue
        name, extras, _, marker = match.groups()
        wanted = _EXTRA.findall(marker or "")
        if wanted and _normal(extra) not in map(_normal, wanted):
            continue
        yield _normal(name), ""
        yield from ((_normal(name), _normal(one.strip())) for one in (extras or "").split(",") if one.strip())


def _token(known: _Distribution) -> str:
    """The version, and a digest of the list of what it has installed, with the hash of each file."""
    record = known.read_text("RECORD") or known.read_text("installed-files.txt") or ""
    digest = hashlib.sha256(record.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_field(known, 'Version') or 'without a version'} {digest}"


def _name_of(found: _Distribution) -> str:
    return _normal(_field(found, "Name"))


def _field(known: _Distribution, name: str) -> str:
    """A field of the metadata, "" if it is missing."""
    text = known.read_text("METADATA") or known.read_text("PKG-INFO") or known.read_text("") or ""
    # What follows an empty line describes it at length.
    found = re.search(f"^{name}:(.*)", text.partition("\n\n")[0], re.MULTILINE | re.IGNORECASE)
    return found[1].strip() if found else ""


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def _top_level(found: _Distribution) -> set[str]:
    if text := found.read_text("top_level.txt"):
        return {os.path.basename(name) for name in text.split()}
    record = found.read_text("RECORD")
    if record:
        # Each once, of which there are few.
        parts = {
            (quoted or plain, end or after) for quoted, end, plain, after in _FIRST_PARTS.findall(record)
        }
        firsts = {(part, end == "/") for part, end in parts}
    else:
        firsts = {(file.parts[0], len(file.parts) > 1) for file in found.files or ()}
    # A module is a directory or a file.
    return {part.partition(".")[0] for part, is_dir in firsts if is_dir or part.endswith((".py", ".so"))}
