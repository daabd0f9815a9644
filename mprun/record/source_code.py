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
    # They look for files of tests.
    | {"discover", "TestProgram"}
    # Other interpreters have modules of their own.
    | {"InterpreterPoolExecutor", "interpreters"}
)
# These are names of methods as well.
_ANYTHING_BARE = _ANYTHING | {"exec", "eval", "compile", "import_module"}
# The methods of classes with these names are something else.
_ANYTHING_ATTRIBUTES = _ANYTHING - {"__getattr__"}
UNKNOWN_MODULES = frozenset(
    {"__main__", "__mp_main__", "_frozen_importlib", "_imp", "_pickle", "builtins", "code", "codeop", "imp"}
    | {"pickle", "pkgutil", "pydoc", "runpy", "shelve", "site", "zipimport"}
    | {"_interpreters", "_xxsubinterpreters", "concurrent.interpreters", "unittest.main", "unittest.__main__"}
)
# These import, or run, what a string names. A test looks for others in each Python.
BY_NAME = frozenset(
    {"bdb", "cProfile", "cgi", "distutils", "doctest", "idlelib", "lib2to3", "logging.config", "marshal"}
    | {"modulefinder", "multiprocessing.forkserver", "pdb", "profile", "profiling", "pyclbr", "rlcompleter"}
    | {"smtpd", "timeit", "trace", "tracemalloc", "turtledemo", "unittest", "xml.dom", "xml.sax"}
    | {"importlib.metadata", "importlib.resources"}
)
_BY_NAME_ATTRIBUTES = frozenset({"dictConfig", "fileConfig"})
# What uses one of these sees more of code than what it does.
_TEXT_MODULES = frozenset({"cmd", "doctest", "inspect", "linecache"})
_TEXT_ATTRIBUTES = frozenset({"__doc__", "getdoc", "getsource", "getcomments"})
# The function `main` of these looks for files of tests.
_TEST_RUNNERS = frozenset({"unittest", "pytest"})
_IMPORTLIB = "importlib"
# What of these two modules says nothing about other modules.
_HARMLESS = ("importlib.resources", "importlib.metadata")
# These modules, as attributes of others.
_HANDED_ON = frozenset({"sys", "importlib", "builtins"})
_IMPORT_STATE = frozenset({"path", "modules"})
# The flags of such a compiled module.
_UNCHECKED = (1).to_bytes(4, "little")
_ABSENT = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


class Source(Frozen):
    """A file of code: the digest of what it does, that of all its text, and the modules that it names.

    `names` are relative with dots at the front; those in `optional` may be missing, those in `maybe` may be
    no modules. `bound` are the packages that have a name in it, `attributes` all other names in it. `unknown`
    says why not all that it imports can be known, "" if it can. With `by_name` it may import what a string
    names. With `sees_text` it may read docstrings, or the source, of all code.
    """

    digest: str
    text_digest: str
    names: frozenset[str]
    optional: frozenset[str]
    maybe: frozenset[str]
    bound: frozenset[str]
    attributes: frozenset[str]
    unknown: str
    by_name: bool
    sees_text: bool
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
        self.by_name = self.sees_text = False
        # What the two modules are called here.
        self._aliases: dict[str, str] = {}
        # What those that run tests are called here.
        self._runners: set[str] = set()
        self._catches = 0
        self._classes = 0
        self._is_script = False

    def collect(self, tree: ast.AST) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    if top in ("sys", _IMPORTLIB):
                        self._aliases[alias.asname or top] = alias.name if alias.asname else top
                    if top in _TEST_RUNNERS:
                        self._runners.add(alias.asname or top)
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
            self._note_module(name)
            self._note_attribute(alias.name)
            is_state = base == "sys" and alias.name in _IMPORT_STATE
            if alias.name in _ANYTHING_BARE | _HANDED_ON or is_state:
                self._doubt(node, alias.name)
            elif (base == _IMPORTLIB and name not in _HARMLESS) or (
                base in _TEST_RUNNERS and alias.name == "main"
            ):
                self._doubt(node, name)

    def _note_module(self, name: str) -> None:
        packages = _with_parents(name)
        self.by_name |= not BY_NAME.isdisjoint(packages)
        self.sees_text |= not _TEXT_MODULES.isdisjoint(packages)

    def _note_attribute(self, name: str) -> None:
        self.by_name |= name in _BY_NAME_ATTRIBUTES
        self.sees_text |= name in _TEXT_ATTRIBUTES

    def _check_module(self, node: ast.AST, name: str) -> None:
        self._note_module(name)
        if not UNKNOWN_MODULES.isdisjoint(_with_parents(name)) or (
            name.startswith(f"{_IMPORTLIB}.") and not name.startswith(_HARMLESS)
        ):
            self._doubt(node, name)

    def visit_Try(self, node: ast.Try) -> None:
        catches = any(_catches_absence(handler.type) for handler in node.handlers)
        self._catches += catches
        self._visit_all(node.body)
        self._catches -= catches
        for handler in node.handlers:
            # What replaces a module need not be there if the module is.
            is_for_absence = _catches_absence(handler.type)
            self._catches += is_for_absence
            self.visit(handler)
            self._catches -= is_for_absence
        self._visit_all((*node.orelse, *node.finalbody))

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for one in nodes:
            self.visit(one)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        # What is imported for types alone is not imported in a task.
        is_for_types = "TYPE_CHECKING" in (getattr(node.test, "id", ""), getattr(node.test, "attr", ""))
        is_script, self._is_script = self._is_script, self._is_script or _is_of_script(node.test)
        is_for_some = _is_of_system(node.test)
        self._catches += is_for_types + is_for_some
        self._visit_all(node.body)
        self._is_script = is_script
        self._catches -= is_for_types
        self._visit_all(node.orelse)
        self._catches -= is_for_some

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
        self._note_attribute(node.attr)
        if node.attr in _ANYTHING_ATTRIBUTES | _HANDED_ON:
            self._doubt(node, node.attr)
        module = self._aliases.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if module is None:
            is_function = node.attr in ("import_module", "exec", "eval", "compile")
            if (is_function and _is_builtins(node.value)) or self._finds_tests(node):
                self._doubt(node, ast.unparse(node))
            self.visit(node.value)
        elif module == "sys":
            if node.attr in _IMPORT_STATE:
                self._doubt(node, f"sys.{node.attr}")
        elif f"{module}.{node.attr}".startswith((*_HARMLESS, "importlib.invalidate_caches")):
            self._note_module(f"{module}.{node.attr}")
        else:
            self._doubt(node, f"{module}.{node.attr}")

    def _finds_tests(self, node: ast.Attribute) -> bool:
        is_runner = isinstance(node.value, ast.Name) and node.value.id in self._runners
        return is_runner and node.attr == "main" and not self._is_script

    def visit_Constant(self, node: ast.Constant) -> None:
        # For `getattr`.
        self.sees_text |= isinstance(node.value, str) and node.value == "__doc__"

    def visit_Name(self, node: ast.Name) -> None:
        self.attributes.add(node.id)
        self._note_attribute(node.id)
        self.sees_text |= node.id == "help"
        if node.id in _ANYTHING_BARE:
            self._doubt(node, node.id)
        elif node.id in self._aliases and self._aliases[node.id] in ("sys", _IMPORTLIB):
            # It is handed on, or looked into by other means.
            self._doubt(node, node.id)


def _with_parents(name: str) -> set[str]:
    """A module's name and those of the packages that it is in."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _is_builtins(node: ast.AST) -> bool:
    """Whether the methods `exec` and `eval` of this may be the functions."""
    return isinstance(node, ast.Name) and node.id in ("builtins", "__builtins__")


def _is_of_system(test: ast.expr) -> bool:
    """Whether this asks for the version of Python or the system: one of both sides is for another one."""
    return any(
        isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("sys.version_info", "sys.platform", "os.name")
        for node in ast.walk(test)
    )


def _is_of_script(test: ast.expr) -> bool:
    """Whether this is `__name__ == "__main__"`, which no module of a task is."""
    return ast.unparse(test) == "__name__ == '__main__'"


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
    text_digest = hashlib.sha256(data).hexdigest()
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
        text_digest=text_digest,
        names=frozenset(names.names),
        optional=frozenset(names.names - names.required),
        maybe=frozenset(names.maybe),
        bound=frozenset(names.bound),
        attributes=frozenset(names.attributes),
        unknown=names.unknown,
        by_name=names.by_name,
        sees_text=names.sees_text,
        signature=found,
    )


def _refuse_stale_cache(path: str, data: bytes, found: Signature) -> None:
    """Raise Unusable if Python imports what this file was before.

    That takes two edits in a second, or a compiled module that Python does not compare with its file.
    """
    cache = importlib.util.cache_from_source(path)
    try:
        compiled, (*_, written) = read_source(cache)
    except Unusable:
        return
    size, modified, changed = found[2:]
    header = importlib.util.MAGIC_NUMBER + b"".join(
        (number & 0xFFFFFFFF).to_bytes(4, "little") for number in (0, modified // 1_000_000_000, size)
    )
    is_unchecked = compiled.startswith(importlib.util.MAGIC_NUMBER + _UNCHECKED)
    if not is_unchecked and (not compiled.startswith(header) or written > changed):
        return
    with contextlib.suppress(EOFError, ValueError, TypeError):
        if marshal.loads(compiled[len(header) :]) == compile(data, path, "exec", dont_inherit=True):  # noqa: S302
            return
    raise Unusable(f"{quote(cache)} is of an earlier {quote(os.path.basename(path))}: remove it")


def _without_docstrings(tree: ast.AST) -> ast.AST:
    """The tree without docstrings, but for those that a decorator, or a base class, may read."""
    if (
        getattr(tree, "decorator_list", None)
        or getattr(tree, "bases", None)
        or getattr(tree, "keywords", None)
    ):
        return tree
    if isinstance(tree, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        first = tree.body[0] if tree.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            del tree.body[0]
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            _without_docstrings(node)
    return tree
