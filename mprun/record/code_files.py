"""Finds the code that a target depends on: modules of the project by their syntax, others by their versions.

The modules that a module may import are found in its text, without running it. What it imports in a
way that the text does not show counts as everything that the job has imported.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import re
import sys
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.frozen import Frozen
from mprun.record.file_hashes import Unusable, read_source, signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mprun.record.file_hashes import Signature

# A module that uses one of these may import anything.
_DYNAMIC = frozenset(
    {"import_module", "__import__", "exec", "eval", "runpy", "run_path", "run_module", "iter_modules"}
    | {"walk_packages", "spec_from_file_location", "find_spec", "load_module", "exec_module", "entry_points"}
    | {"import_string", "load_source"}
)
# These are names of methods as well.
_DYNAMIC_ATTRIBUTES = _DYNAMIC - {"exec", "eval"}
_STANDARD = f"{os.path.dirname(os.__file__)}/"
_INSTALLED = re.compile("/(?:site|dist)-packages/")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
# What imports the job.
_OWN = "mprun"


class Source(Frozen):
    """A file of code: the digest of what it does, the modules that it names, whether it may use others."""

    digest: str
    names: frozenset[str]
    attributes: frozenset[str]
    dynamic: bool
    signature: Signature


class Code(Frozen):
    """The code of a target: the paths of the project's modules by name, and the top-level names of others."""

    paths: dict[str, str]
    others: frozenset[str]


class ImportedCode:
    """The code of a job whose modules have been imported.

    `modules` has the file of each module that is not part of Python, None for one without a file, and
    `path` is where others would be found.
    """

    def __init__(self, modules: Mapping[str, str | None], path: Sequence[str]) -> None:
        self._modules = {name: file for name, file in modules.items() if name.partition(".")[0] != _OWN}
        self._path = list(path)
        self._sources: dict[str, Source] = {}
        self._found: dict[str, tuple[str | None, bool, Sequence[str]]] = {}
        self._code: dict[tuple[str, ...], Code] = {}
        self._versions: dict[frozenset[str], dict[str, str]] = {}

    def of(self, targets: Sequence[str]) -> Code:
        """The code that runs if these targets, or modules, are imported and called. Raises Unusable."""
        key = tuple(targets)
        if key not in self._code:
            self._code[key] = self._collect(key)
        return self._code[key]

    def source(self, path: str) -> Source:
        """What is in a file, as it was when it was first read. Raises Unusable."""
        if path not in self._sources:
            self._sources[path] = read_code(path)
        return self._sources[path]

    def changed(self, code: Code) -> str:
        """The path of a file of this code that is not what it was; empty if there is none."""
        for path in code.paths.values():
            try:
                if signature(path) != self.source(path).signature:
                    return path
            except Unusable:
                return path
        return ""

    def _collect(self, targets: Sequence[str]) -> Code:
        paths: dict[str, str] = {}
        others: set[str] = set()
        seen: set[str] = set()
        pending = [name for target in targets for name in _names_of_target(target)]
        is_dynamic = False
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name.endswith(".*"):
                # Of a package, these may be its submodules.
                pending += [one for one in self._modules if one.startswith(name[:-1])]
                continue
            if "." in name:
                # The import of a module runs the packages around it first.
                pending.append(name.rpartition(".")[0])
            path, is_project, _ = self._find(name)
            if path is None and not is_project:
                continue
            others.add(name.partition(".")[0])
            if not is_project or path is None:
                continue
            paths[name] = path
            source = self.source(path)
            pending += _absolute(name, path, source.names)
            pending += self._used_submodules(name, path, source)
            if source.dynamic and not is_dynamic:
                is_dynamic = True
                pending += self._modules
        return Code(paths=dict(sorted(paths.items())), others=frozenset(others))

    def _used_submodules(self, module: str, path: str, source: Source) -> Iterator[str]:
        """The submodules that a module may use as attributes of packages that it imports."""
        for name in _absolute(module, path, source.names):
            if name in self._modules and _is_package(self._modules[name] or "__init__"):
                submodules = (f"{name}.{attribute}" for attribute in source.attributes)
                yield from (one for one in submodules if one in self._modules)

    def _find(self, name: str) -> tuple[str | None, bool, Sequence[str]]:
        """The file of a module, whether it is the project's own, and where its submodules are found."""
        if name not in self._found:
            self._found[name] = self._look_for(name)
        return self._found[name]

    def _look_for(self, name: str) -> tuple[str | None, bool, Sequence[str]]:
        top, _, rest = name.partition(".")
        if top == _OWN:
            return "", False, ()
        if (path := self._modules.get(name)) is not None:
            return path, not _INSTALLED.search(path), (os.path.dirname(path),)
        if not rest and name in sys.builtin_module_names:
            return None, False, ()
        where = self._find(name.rpartition(".")[0])[2] if rest else self._path
        if not where:
            return None, False, ()
        try:
            spec = importlib.machinery.PathFinder.find_spec(name, list(where))
        except (ImportError, ValueError, OSError):
            return None, False, ()
        if spec is None:
            return None, False, ()
        folders = tuple(spec.submodule_search_locations or ())
        if not spec.has_location or spec.origin is None:
            return None, False, folders
        if is_standard(spec.origin):
            return None, False, ()
        return spec.origin, not _INSTALLED.search(spec.origin), folders

    def versions(self, names: frozenset[str]) -> dict[str, str]:
        """The versions of the distributions that have these top-level modules, and of what they require."""
        if names not in self._versions:
            self._versions[names] = self._find_versions(names)
        return self._versions[names]

    def _find_versions(self, names: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        pending = [name for top in names for name in self._distributions[0].get(top, ())]
        while pending:
            name = pending.pop()
            if name not in found and (known := self._distributions[1].get(name)) is not None:
                found[name] = known.version
                pending += (
                    _normal(one[1]) for text in known.requires or () if (one := _REQUIREMENT.match(text))
                )
        return dict(sorted(found.items()))

    @cached_property
    def _distributions(self) -> tuple[dict[str, list[str]], dict[str, metadata.Distribution]]:
        """The distributions by top-level module, and by name; of two with the same name the first counts."""
        by_module: dict[str, list[str]] = {}
        by_name: dict[str, metadata.Distribution] = {}
        for found in metadata.distributions(path=self._path):
            name = _normal(found.metadata["Name"] or "")
            if not name or name in by_name:
                continue
            by_name[name] = found
            for top in _top_level(found):
                by_module.setdefault(top, []).append(name)
        return by_module, by_name


def installed_versions(names: Iterable[str], path: Sequence[str]) -> dict[str, str]:
    """The versions of these distributions, as far as they are installed."""
    wanted, found = set(names), {}
    for known in metadata.distributions(path=list(path)):
        name = _normal(known.metadata["Name"] or "")
        if name in wanted and name not in found:
            found[name] = known.version
    return found


def is_standard(path: str) -> bool:
    """Whether a file is part of Python."""
    return path.startswith(_STANDARD) and not _INSTALLED.search(path[len(_STANDARD) - 1 :])


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def _top_level(found: metadata.Distribution) -> set[str]:
    if text := found.read_text("top_level.txt"):
        return set(text.split())
    files = (file.parts for file in found.files or ())
    return {
        parts[0].partition(".")[0] for parts in files if len(parts) > 1 or parts[0].endswith((".py", ".so"))
    }


def _names_of_target(target: str) -> Iterator[str]:
    """The module of a target, and what may be a submodule of it."""
    module, _, path = target.partition(":")
    yield module
    for part in path.split(".")[:-1]:
        module = f"{module}.{part}"
        yield module


def read_code(path: str) -> Source:
    """What is in a file of code; of one that cannot be parsed as Python, its bytes. Raises Unusable."""
    data, found = read_source(path)
    names: set[str] = set()
    attributes: set[str] = set()
    dynamic = False
    if path.endswith(".py"):
        try:
            tree = ast.parse(data)
            _refuse_stale_cache(path, data, found)
            for node in ast.walk(tree):
                dynamic |= _collect_names(node, names, attributes)
            text = ast.dump(_without_docstrings(tree), annotate_fields=False)
            data = text.encode("utf-8", "surrogatepass")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            dynamic = True
    else:
        # Compiled code may import anything.
        dynamic = True
    return Source(
        digest=hashlib.sha256(data).hexdigest(),
        names=frozenset(names),
        attributes=frozenset(attributes),
        dynamic=dynamic,
        signature=found,
    )


def _refuse_stale_cache(path: str, data: bytes, found: Signature) -> None:
    """Raise Unusable if Python imports what this file was before: it takes two edits in a second for one."""
    cache = importlib.util.cache_from_source(path)
    try:
        compiled, (*_, written) = read_source(cache)
    except Unusable:
        return
    size, modified, changed = found[2:]
    header = importlib.util.MAGIC_NUMBER + b"".join(
        (number & 0xFFFFFFFF).to_bytes(4, "little") for number in (0, modified // 1_000_000_000, size)
    )
    if not compiled.startswith(header) or written > changed:
        return
    with contextlib.suppress(EOFError, ValueError, TypeError):
        if marshal.loads(compiled[len(header) :]) == compile(data, path, "exec", dont_inherit=True):  # noqa: S302
            return
    raise Unusable(f"{quote(cache)} is of an earlier {quote(os.path.basename(path))}: remove it")


def _collect_names(node: ast.AST, names: set[str], attributes: set[str]) -> bool:
    """Add the modules that a node may import, relative ones with dots; whether it may import others."""
    if isinstance(node, ast.Import):
        names.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        names.add(base)
        dot = "" if base.endswith(".") else "."
        # Each may be a module.
        names.update(f"{base}{dot}{alias.name}" for alias in node.names)
        return any(alias.name in _DYNAMIC for alias in node.names)
    elif isinstance(node, ast.Name):
        return node.id in _DYNAMIC
    elif isinstance(node, ast.Attribute):
        attributes.add(node.attr)
        return node.attr in _DYNAMIC_ATTRIBUTES
    return False


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


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del node.body[0]
    return tree
