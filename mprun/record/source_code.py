"""Reads a file of Python code: what it does, which modules it imports, and whether that can be known."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import marshal
import os
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.frozen import Frozen
from mprun.record.file_hashes import Unusable, read_source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.record.file_hashes import Signature

# What uses one of these may import anything, or change what an import finds.
_ANYTHING = frozenset(
    {"__import__", "__path__", "__loader__", "__spec__", "__builtins__", "__getattr__", "run_path"}
    | {"run_module", "resolve_name", "iter_modules", "walk_packages", "extend_path", "find_spec"}
    | {"spec_from_file_location", "load_module", "exec_module", "entry_points", "import_string"}
    | {"load_source", "meta_path", "path_hooks", "path_importer_cache"}
)
# These are names of methods as well.
_ANYTHING_BARE = _ANYTHING | {"exec", "eval", "import_module"}
# The methods of classes with these names are something else.
_ANYTHING_ATTRIBUTES = _ANYTHING - {"__getattr__"}
_MODULES = frozenset(
    {"__main__", "__mp_main__", "_frozen_importlib", "_imp", "_pickle", "builtins", "code", "codeop", "imp"}
    | {"pickle", "pkgutil", "pydoc", "runpy", "shelve", "site", "zipimport"}
)
_IMPORTLIB = "importlib"
# What of these two modules says nothing about other modules.
_HARMLESS = ("importlib.resources", "importlib.metadata")
# These modules, as attributes of others.
_HANDED_ON = frozenset({"sys", "importlib", "builtins"})
_IMPORT_STATE = frozenset({"path", "modules"})
_ABSENT = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


class Source(Frozen):
    """A file of code: the digest of what it does, and the modules that it names.

    `names` are relative with dots at the front; those in `optional` may be missing, those in `maybe` may be
    no modules. `bound` are the packages that have a name in it, `attributes` all other names in it. `unknown`
    says why not all that it imports can be known, "" if it can.
    """

    digest: str
    names: frozenset[str]
    optional: frozenset[str]
    maybe: frozenset[str]
    bound: frozenset[str]
    attributes: frozenset[str]
    unknown: str
    signature: Signature


class _Names(ast.NodeVisitor):
    """Collects what a file of code names."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.required: set[str] = set()
        self.maybe: set[str] = set()
        self.bound: set[str] = set()
        self.attributes: set[str] = set()
        self.unknown = ""
        # What the two modules are called here.
        self._aliases: dict[str, str] = {}
        self._catches = 0
        self._classes = 0

    def collect(self, tree: ast.AST) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    if top in ("sys", _IMPORTLIB):
                        self._aliases[alias.asname or top] = alias.name if alias.asname else top
        self.visit(tree)

    def _doubt(self, node: ast.AST, what: str) -> None:
        if not self.unknown:
            self.unknown = f"line {getattr(node, 'lineno', 0)} ({quote(what)})"

    def _add(self, name: str) -> None:
        self.names.add(name)
        if not self._catches:
            self.required.add(name)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)
            self.bound.add(alias.name if alias.asname else alias.name.partition(".")[0])
            self._check_module(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = "." * node.level + (node.module or "")
        self._add(base)
        self._check_module(node, base)
        dot = "" if base.endswith(".") else "."
        for alias in node.names:
            name = f"{base}{dot}{alias.name}"
            # Each may be a module.
            self.maybe.add(name)
            self.bound.add(name)
            is_state = base == "sys" and alias.name in _IMPORT_STATE
            if alias.name in _ANYTHING_BARE | _HANDED_ON or is_state:
                self._doubt(node, alias.name)
            elif base == _IMPORTLIB and name not in _HARMLESS:
                self._doubt(node, name)

    def _check_module(self, node: ast.AST, name: str) -> None:
        if name.partition(".")[0] in _MODULES or (
            name.startswith(f"{_IMPORTLIB}.") and not name.startswith(_HARMLESS)
        ):
            self._doubt(node, name)

    def visit_Try(self, node: ast.Try) -> None:
        catches = any(_catches_absence(handler.type) for handler in node.handlers)
        self._catches += catches
        self._visit_all(node.body)
        self._catches -= catches
        self._visit_all((*node.handlers, *node.orelse, *node.finalbody))

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for one in nodes:
            self.visit(one)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        # What is imported for types alone is not imported in a task.
        is_for_types = "TYPE_CHECKING" in (getattr(node.test, "id", ""), getattr(node.test, "attr", ""))
        self._catches += is_for_types
        self._visit_all(node.body)
        self._catches -= is_for_types
        self._visit_all(node.orelse)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes += 1
        self.generic_visit(node)
        self._classes -= 1

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name == "__getattr__" and not self._classes:
            self._doubt(node, node.name)
        # What is caught around a definition is not caught when it is called.
        catches, self._catches = self._catches, 0
        self.generic_visit(node)
        self._catches = catches

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Call(self, node: ast.Call) -> None:
        name = _constant_import(node, self._aliases)
        if name is None:
            self.generic_visit(node)
        elif name:
            self._add(name)
            self.bound.add(name)
            self._check_module(node, name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        if node.attr in _ANYTHING_ATTRIBUTES | _HANDED_ON:
            self._doubt(node, node.attr)
        module = self._aliases.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if module is None:
            if node.attr in ("import_module", "exec", "eval") and _is_builtins(node.value):
                self._doubt(node, node.attr)
            self.visit(node.value)
        elif module == "sys":
            if node.attr in _IMPORT_STATE:
                self._doubt(node, f"sys.{node.attr}")
        elif not f"{module}.{node.attr}".startswith((*_HARMLESS, "importlib.invalidate_caches")):
            self._doubt(node, f"{module}.{node.attr}")

    def visit_Name(self, node: ast.Name) -> None:
        self.attributes.add(node.id)
        if node.id in _ANYTHING_BARE:
            self._doubt(node, node.id)
        elif node.id in self._aliases and self._aliases[node.id] in ("sys", _IMPORTLIB):
            # It is handed on, or looked into by other means.
            self._doubt(node, node.id)


def _is_builtins(node: ast.AST) -> bool:
    """Whether the methods `exec` and `eval` of this may be the functions."""
    return isinstance(node, ast.Name) and node.id in ("builtins", "__builtins__")


def _catches_absence(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(one, ast.Name) and one.id in _ABSENT for one in kinds)


def _constant_import(node: ast.Call, aliases: dict[str, str]) -> str | None:
    """The module that `importlib.import_module("name")` imports; None for any other call."""
    function = node.func
    if not isinstance(function, ast.Attribute) or function.attr != "import_module":
        return None
    if not isinstance(function.value, ast.Name) or aliases.get(function.value.id) != _IMPORTLIB:
        return None
    if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Constant):
        return None
    name = node.args[0].value
    return name if isinstance(name, str) and name and not name.startswith(".") else None


def read_code(path: str) -> Source:
    """What is in a file of code; of one that cannot be parsed as Python, its bytes. Raises Unusable."""
    data, found = read_source(path)
    names = _Names()
    if path.endswith(".py"):
        try:
            tree = ast.parse(data)
            _refuse_stale_cache(path, data, found)
            names.collect(tree)
            text = ast.dump(_without_docstrings(tree), annotate_fields=False)
            data = text.encode("utf-8", "surrogatepass")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            names.unknown = "it cannot be parsed"
    else:
        names.unknown = "it is compiled code"
    return Source(
        digest=hashlib.sha256(data).hexdigest(),
        names=frozenset(names.names),
        optional=frozenset(names.names - names.required),
        maybe=frozenset(names.maybe),
        bound=frozenset(names.bound),
        attributes=frozenset(names.attributes),
        unknown=names.unknown,
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
