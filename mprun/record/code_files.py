"""Finds the code that a target depends on: modules of the project by their syntax, others by their versions.

The modules that a module may import are found in its text, without running it. If that does not tell which
ones they are, nothing is known of the target.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import os
import re
import sys
import time
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.frozen import Frozen
from mprun.record.distributions import InstalledOn
from mprun.record.file_hashes import TICK_NS, Unusable, look, signature
from mprun.record.source_code import read_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mprun.record.distributions import Distributions
    from mprun.record.file_hashes import Signature
    from mprun.record.source_code import Source

_STANDARD = f"{os.path.dirname(os.__file__)}/"
_INSTALLED = re.compile("/(?:site|dist)-packages/")
# What imports the job.
_NOT_OF_THE_JOB = frozenset({"mprun", "__main__", "__mp_main__"})
# What Python imports at its start, if it is there: it may change what all code finds.
CUSTOM = ("sitecustomize", "usercustomize")


class Code(Frozen):
    """The code of a target: each module of the project by its name, and the distributions behind others.

    `paths`, `digests` and `signatures` have the same names. `absent` are the modules that are not there.
    `installed` has the time of each distribution's last change, in nanoseconds since the epoch.
    """

    paths: dict[str, str]
    digests: dict[str, str]
    signatures: dict[str, Signature]
    absent: frozenset[str]
    distributions: dict[str, str]
    installed: dict[str, int]

    def changed_file(self) -> str:
        """The path of a file that is not what it was; empty if there is none."""
        changed = (path for name, path in self.paths.items() if look(path) != self.signatures[name])
        return next(changed, "")

    def difference(self, now: Code) -> str:
        """What has changed by `now`, as a clause; empty if nothing has."""
        if self.distributions != now.distributions:
            return "an installed distribution changed"
        return "" if self == now else "what it can import changed"


class _Place(Frozen):
    """Where a module is: `kind` is one of `project`, `namespace`, `other`, `standard` and `absent`."""

    kind: str
    path: str = ""
    folders: tuple[str, ...] = ()


class ImportedCode:
    """The code of a job whose modules have been imported.

    `modules` has the file of each module that is not part of Python, None for one without a file, and
    `path` is where others would be found. Of `at_start`, which Python had imported before, installed modules
    are of no task. Whatever changes meanwhile is seen.
    """

    def __init__(
        self, modules: Mapping[str, str | None], path: Sequence[str], at_start: Iterable[str] = ()
    ) -> None:
        self._at_start = frozenset(at_start)
        self._modules = {
            name: file for name, file in modules.items() if name.partition(".")[0] not in _NOT_OF_THE_JOB
        }
        self._path = tuple(path)
        self._sources: dict[str, Source] = {}
        self._installed = InstalledOn()
        self._code: dict[tuple[bool | str | None, ...], tuple[Code, dict[str, Signature | None]]] = {}

    def of_task(self, modules: Mapping[str, str | None], *, is_fresh: bool) -> dict[str, str | None]:
        """Those of a process's modules that its task has imported. Raises Unusable.

        A process that `is_fresh` began without any; others began with those of the job, and only more than
        these are known to be of the task.
        """
        found: dict[str, str | None] = {}
        for name, file in modules.items():
            if name.partition(".")[0] in _NOT_OF_THE_JOB:
                continue
            if name in self._modules and self._modules[name] != file:
                raise Unusable(f"module {quote(name)} was imported once more, from another file")
            if name not in self._modules or (is_fresh and not self._is_of_python(name, file)):
                found[name] = file
        return found

    def _is_of_python(self, name: str, file: str | None) -> bool:
        """Whether what is installed imports this module into each Python."""
        return name in self._at_start and file is not None and _INSTALLED.search(file) is not None

    def of(
        self, targets: Sequence[str], also: Mapping[str, str | None] | None = None, *, is_fresh: bool = False
    ) -> Code:
        """The code that runs now if these targets, or modules, are imported and called.

        `also` has other modules that are imported, with their files. Unless the process `is_fresh`, an
        installed package may call all that the job has imported. Raises Unusable, also if that cannot be
        known.
        """
        others = also or {}
        key = (is_fresh, *targets, *others, *others.values())
        known = self._code.get(key)
        if known is not None and all(look(path) == found for path, found in known[1].items()):
            return known[0]
        self._code.pop(key, None)
        importlib.invalidate_caches()
        search = _Search(
            {**others, **self._modules}, self._path, self._source, self._installed.on(self._path)
        )
        imported = [name for name, file in self._modules.items() if not self._is_of_python(name, file)]
        custom = [name for name in CUSTOM if name in imported] if targets else []
        code = search.collect([*targets, *others, *custom], imported, is_fresh=is_fresh)
        if not search.may_have_missed():
            self._code[key] = code, search.seen
        return code

    def versions(self, distributions: Iterable[str]) -> dict[str, str]:
        """What there is now of these distributions; one that is not installed is left out."""
        return self._installed.on(self._path).versions(distributions)

    def _source(self, path: str) -> Source:
        known = self._sources.get(path)
        if known is None or signature(path) != known.signature:
            known = self._sources[path] = read_code(path)
        return known


def custom_modules() -> dict[str, str | None]:
    """What this process has imported at the start of Python, with its files."""
    return {name: getattr(sys.modules[name], "__file__", None) for name in CUSTOM if name in sys.modules}


class _Search:
    """One search for the code of a target; `seen` has the signatures of all that it has looked at."""

    def __init__(
        self,
        modules: Mapping[str, str | None],
        path: tuple[str, ...],
        source: Callable[[str], Source],
        distributions: Distributions,
    ) -> None:
        self._modules = modules
        self._path = path
        self._source = source
        self._began = time.time_ns()
        self._found: dict[str, _Place] = {}
        self.seen: dict[str, Signature | None] = {}
        for entry in path:
            self._watch(entry)
        self._distributions = distributions
        self.seen.update(distributions.seen)

    def may_have_missed(self) -> bool:
        """Whether something changed so shortly before that another change would not show."""
        newest = max((found[-1] for found in self.seen.values() if found is not None), default=0)
        return newest > self._began - TICK_NS

    def _watch(self, path: str) -> None:
        if path not in self.seen:
            self.seen[path] = look(path)

    def collect(self, targets: Sequence[str], imported: Sequence[str], *, is_fresh: bool) -> Code:
        """All that is behind these targets. Raises Unusable.

        `imported` is what the job has imported: it counts if a string may name it.
        """
        paths: dict[str, str] = {}
        sources: dict[str, Source] = {}
        others: set[str] = set()
        seen: set[str] = set()
        has_any = sees_text = False
        pending = [name for target in targets for name in _names_of_target(target)]
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name.endswith(".*"):
                # Of a package, these may be its submodules.
                pending += self._children(name[:-2])
                continue
            if "." in name:
                # The import of a module runs the packages around it first.
                pending.append(name.rpartition(".")[0])
            place = self._find(name)
            if place.kind not in ("standard", "absent"):
                others.add(name.partition(".")[0])
            if place.kind == "other" and not is_fresh and not has_any:
                # An installed package may import by name, and find what the job has imported.
                has_any = True
                pending += imported
            if place.kind != "project":
                continue
            self._watch(place.path)
            source = self._source(place.path)
            if source.unknown:
                raise Unusable(f"what module {quote(name)} imports cannot be known: {source.unknown}")
            paths[name], sources[name] = place.path, source
            sees_text |= source.sees_text
            if source.by_name and not has_any:
                # A string may name each of them.
                has_any = True
                pending += imported
            self._refuse_absent(name, place.path, source)
            pending += _absolute(name, place.path, source.names | source.maybe)
            pending += self._reachable(name, place.path, source)
        distributions = self._distributions.of(others)
        return Code(
            paths=dict(sorted(paths.items())),
            digests={
                name: source.text_digest if sees_text else source.digest for name, source in sources.items()
            },
            signatures={name: source.signature for name, source in sources.items()},
            absent=frozenset(
                name for name in seen if self._found.get(name, _Place(kind="")).kind == "absent"
            ),
            distributions=distributions,
            installed={name: self._distributions.changed_at(name) for name in distributions},
        )

    def _refuse_absent(self, module: str, path: str, source: Source) -> None:
        for name in _absolute(module, path, source.names - source.optional):
            if self._find(name).kind == "absent" and name.partition(".")[0] not in sys.stdlib_module_names:
                raise Unusable(f"where module {quote(module)} finds {quote(name)} cannot be known")

    def _reachable(self, module: str, path: str, source: Source) -> Iterator[str]:
        """The submodules that a module may use without importing them, because others have."""
        for name in _absolute(module, path, source.bound):
            yield from self._below(name)
        if _is_package(path):
            # They are names in the package itself.
            submodules = (f"{module}.{attribute}" for attribute in source.attributes)
            yield from (one for one in submodules if one in self._modules)

    def _children(self, package: str) -> Iterator[str]:
        """Everything in the directories of a package of the project that may be a module."""
        place = self._find(package)
        if place.kind in ("project", "namespace"):
            for folder in place.folders:
                self._watch(folder)
                with contextlib.suppress(OSError):
                    stems = {name.partition(".")[0] for name in os.listdir(folder)}
                    yield from (
                        f"{package}.{stem}" for stem in stems if stem.isidentifier() and stem != "__init__"
                    )

    def _below(self, package: str) -> Iterator[str]:
        return (one for one in self._modules if one.startswith(f"{package}."))

    def _find(self, name: str) -> _Place:
        if name not in self._found:
            self._found[name] = self._look_for(name)
        return self._found[name]

    def _look_for(self, name: str) -> _Place:
        top, _, rest = name.partition(".")
        if top in _NOT_OF_THE_JOB:
            return _Place(kind="standard")
        where = self._path
        if rest:
            around = self._find(name.rpartition(".")[0])
            if around.kind in ("standard", "other", "absent"):
                return self._below_others(name, around)
            where = around.folders
        elif name in sys.builtin_module_names:
            return _Place(kind="standard")
        found = self._find_in(name, where)
        known = self._modules.get(name)
        if known is None or found.path == known:
            return found
        if found.kind == "absent":
            # A finder of its own has found it.
            return self._place(name, known, (os.path.dirname(known),) if _is_package(known) else ())
        raise Unusable(f"module {quote(name)} is imported from {quote(known)}, and now found elsewhere")

    def _below_others(self, name: str, around: _Place) -> _Place:
        """What a package of others has is compared as a whole; a module of the project may be below it."""
        known = self._modules.get(name)
        # Some name a file that is not there.
        if known is None or not os.path.isfile(known):
            return around
        return self._place(name, known, (os.path.dirname(known),) if _is_package(known) else ())

    def _find_in(self, name: str, where: tuple[str, ...]) -> _Place:
        tail = name.rpartition(".")[2]
        for entry in where:
            self._watch(entry)
            # It may become a package.
            if os.path.isdir(folder := os.path.join(entry, tail)):
                self._watch(folder)
        # Without the name of the package: that would have to be imported for it.
        try:
            spec = importlib.machinery.PathFinder.find_spec(tail, [*where])
        except (ImportError, ValueError, OSError):
            spec = None
        if spec is None:
            return _Place(kind="absent")
        folders = tuple(spec.submodule_search_locations or ())
        if not spec.has_location or spec.origin is None:
            return _Place(kind="namespace", folders=folders)
        return self._place(name, os.path.abspath(spec.origin), folders)

    def _place(self, name: str, path: str, folders: tuple[str, ...]) -> _Place:
        if is_standard(path):
            return _Place(kind="standard", path=path)
        is_installed = _INSTALLED.search(path) and self._distributions.has(name.partition(".")[0])
        return _Place(kind="other" if is_installed else "project", path=path, folders=folders)


def is_standard(path: str) -> bool:
    """Whether a file is part of Python."""
    return path.startswith(_STANDARD) and not _INSTALLED.search(path[len(_STANDARD) - 1 :])


def _names_of_target(target: str) -> Iterator[str]:
    """The module of a target, and what may be a submodule of it."""
    module, _, path = target.partition(":")
    yield module
    for part in path.split(".")[:-1]:
        module = f"{module}.{part}"
        yield module


def _absolute(module: str, path: str, names: Iterable[str]) -> Iterator[str]:
    """Names of modules as they are seen from anywhere."""
    package = module if _is_package(path) else module.rpartition(".")[0]
    for name in names:
        level = len(name) - len(name.lstrip("."))
        if not level:
            yield name
            continue
        parts = package.split(".") if package else []
        if level - 1 <= len(parts):
            kept = parts[: len(parts) - (level - 1)]
            if found := ".".join([*kept, *filter(None, [name[level:]])]):
                yield found


def _is_package(path: str) -> bool:
    return os.path.basename(path).partition(".")[0] == "__init__"
