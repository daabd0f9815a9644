"""Finds the installed distributions that code uses, with their versions and what they have installed."""

from __future__ import annotations

import hashlib
import os
import re
from importlib import metadata
from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen
from mprun.record.file_hashes import look

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mprun.record.file_hashes import Signature

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^]]*)\])?([^;]*)(?:;(.*))?", re.DOTALL)
_EXTRA = re.compile(r"""extra\s*===?\s*["']([^"']*)["']""")


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
    for one in metadata.distributions(path=[entry]):
        folder = str(getattr(one, "_path", ""))
        files = {path: look(path) for path in (folder, *(os.path.join(folder, name) for name in _FILES))}
        seen |= files
        changed = max((known[-1] for known in files.values() if known is not None), default=0)
        found.append(
            _Known(name=_name_of(one), changed=changed, modules=tuple(_top_level(one)), distribution=one)
        )
    return found, seen


class Distributions:
    """The distributions on a path; `seen` has the signatures of the files that say what they are."""

    def __init__(self, known: Iterable[_Known], seen: dict[str, Signature | None]) -> None:
        self.seen = seen
        self._by_module: dict[str, list[str]] = {}
        self._by_name: dict[str, metadata.Distribution] = {}
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


def installed_versions(names: Iterable[str], path: Sequence[str]) -> dict[str, str]:
    """What there is of these distributions, as far as they are installed."""
    wanted = set(names)
    found: dict[str, str] = {}
    for known in metadata.distributions(path=list(path)):
        name = _name_of(known)
        if name in wanted and name not in found:
            found[name] = _token(known)
    return found


def _required(known: metadata.Distribution, extra: str) -> Iterator[tuple[str, str]]:
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


def _token(known: metadata.Distribution) -> str:
    """The version, and a digest of the list of what it has installed, with the hash of each file."""
    record = known.read_text("RECORD") or known.read_text("installed-files.txt") or ""
    digest = hashlib.sha256(record.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_field(known, 'Version') or 'without a version'} {digest}"


def _name_of(found: metadata.Distribution) -> str:
    return _normal(_field(found, "Name"))


def _field(known: metadata.Distribution, name: str) -> str:
    """A field of the metadata, "" if it is missing, which Python 3.12 and newer warn of if it is indexed."""
    fields: Any = known.metadata
    return str(fields.get(name) or "") if fields else ""


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def _top_level(found: metadata.Distribution) -> set[str]:
    if text := found.read_text("top_level.txt"):
        return {os.path.basename(name) for name in text.split()}
    files = (file.parts for file in found.files or ())
    return {
        parts[0].partition(".")[0] for parts in files if len(parts) > 1 or parts[0].endswith((".py", ".so"))
    }
