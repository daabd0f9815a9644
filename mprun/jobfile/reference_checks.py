"""Checks the references of one file: that what they name exists, and is available there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.jobfile.model import param_variable
from mprun.jobfile.reference_syntax import compiled, parse
from mprun.jobfile.references import (
    LATE_KEYS,
    SECRET_KEYS,
    Reference,
    ReferenceProblem,
    SiblingReference,
    has_references,
    reference_diagnostic,
    references,
)
from mprun.jobfile.syntax.document import Mapping, Sequence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.syntax.document import Document

    Path = tuple[str | int, ...]

# Keys without references, in addition to `x-` keys.
_UNINTERPRETED_KEYS = ("description", "$schema")

# Keys of a task or the job whose own keys are names, and of what.
_NAMED_KEYS = {"env": "an environment variable", "with": "a param"}

# A name with one of these may belong to an instance or to a task of a recipe, or is a pattern: it is
# looked up once all tasks are expanded.
_EXPANDED_NAME_CHARS = frozenset("[]/*?$")


def check_references(
    document: Document, names: Collection[str], secrets: Collection[str] = ()
) -> Iterator[Diagnostic]:
    """The diagnostics of invalid references in one file; `names` are those of its tasks.

    `secrets` are params whose value contains a secret, in addition to those declared secret.
    """
    if has_references(document) and isinstance(document.root, Mapping):
        yield from _References(document, names, secrets).all()


class _References:
    def __init__(self, document: Document, names: Collection[str], secrets: Collection[str]) -> None:
        self._document = document
        job: Any = document.root
        self._job = job
        self._names = names
        params = job.get("params")
        self._params: Any = params if isinstance(params, Mapping) else {}
        self._secrets = {*secrets, *(name for name, declared in self._params.items() if _is_secret(declared))}
        # Those that set one, and those of the job that contain one.
        self._secret_variables = set(map(param_variable, self._secrets))
        self._secret_variables |= set(self._hiding(job.get("env"))) if self._secrets else set()

    def _hiding(self, env: Any) -> Iterator[str]:
        """The variables of the job that contain a secret."""
        for name, text in env.items() if isinstance(env, Mapping) else ():
            try:
                parsed = compiled(text)
            except ReferenceProblem:
                continue
            if any(self._is_hidden(one) for one in references(parsed)):
                yield name

    def _is_hidden(self, reference: Reference) -> bool:
        names = {"params": self._secrets, "env": self._secret_variables}.get(reference.root, ())
        return reference.name in names

    def all(self) -> Iterator[Diagnostic]:
        for key, node, mark in _entries(self._job):
            if key == "tasks":
                for number, task in enumerate(node if isinstance(node, Sequence) else ()):
                    yield from self._of_task(("tasks", number), task)
            elif key == "defaults":
                yield from self._of_task(("defaults",), node)
            elif _is_interpreted(key):
                yield from self._walk((key,), node, mark, key, None)

    def _of_task(self, path: Path, task: object) -> Iterator[Diagnostic]:
        for key, node, mark in _entries(task) if isinstance(task, Mapping) else ():
            if _is_interpreted(key):
                yield from self._walk((*path, key), node, mark, key, task)

    def _walk(self, path: Path, node: object, mark: int, key: str, task: Any) -> Iterator[Diagnostic]:
        """Check a tree; `key` is the one of the job or of `task` that contains it."""
        if isinstance(node, str):
            yield from self._string(path, node, mark, key, task)
        elif isinstance(node, Mapping):
            for number, (name, child, child_mark) in enumerate(_entries(node)):
                if isinstance(name, str) and "${" in name:
                    yield from self._key((*path, name), name, node.marks[2 * number], key, task)
                    if key in _NAMED_KEYS:
                        continue
                yield from self._walk((*path, name), child, child_mark, key, task)
        elif isinstance(node, Sequence):
            for number, (child, child_mark) in enumerate(zip(node, node.marks, strict=True)):
                yield from self._walk((*path, number), child, child_mark, key, task)

    def _key(self, path: Path, name: str, mark: int, key: str, task: Any) -> Iterator[Diagnostic]:
        if key not in _NAMED_KEYS:
            yield from self._string(path, name, mark, key, task)
            return
        reference = None
        with contextlib.suppress(ReferenceProblem):
            reference = next(references([compiled(name, "", self._document.source, mark)]), None)
        message = f"references are not allowed in the name of {_NAMED_KEYS[key]}"
        error = ReferenceProblem(message, reference)
        yield reference_diagnostic(self._document, path, error, key=True)

    def _string(self, path: Path, text: str, mark: int, key: str, task: Any) -> Iterator[Diagnostic]:
        if "${" not in text:
            return
        try:
            node = parse(text, "", self._document.source, mark)
            for reference in (node,) if isinstance(node, Reference) else references(node):
                self._check(reference, path, key, task)
        except ReferenceProblem as error:
            yield reference_diagnostic(self._document, path, error)

    def _check(self, reference: Reference, path: Path, key: str, task: Any) -> None:
        """Raise ReferenceProblem if the reference is not available here."""
        if key == "params" and task is None and reference.root != "env":
            message = f"`{reference}` is not available in the declaration of a param"
            raise ReferenceProblem(message, reference, help="use `${env.NAME}`")
        if reference.root == "params":
            self._check_param(reference, key, task)
        elif reference.root == "env" and self._is_hidden(reference):
            self._check_secret(reference, key, task)
        elif reference.root in ("tasks", "outputs"):
            self._check_task(reference, path, key, task)
        elif reference.root in ("matrix", "item"):
            self._check_axis(reference, key, task)

    def _check_param(self, reference: Reference, key: str, task: Any) -> None:
        name = reference.name
        if name not in self._params:
            help = "" if self._params else f"declare it: `params: {{{name[:40]}: VALUE}}`"
            raise ReferenceProblem(
                f"unknown param {quote(name)}",
                reference,
                kind="params",
                help=help,
                word="" if help else name,
                candidates=tuple(self._params),
            )
        if name in self._secrets:
            self._check_secret(reference, key, task)

    def _check_secret(self, reference: Reference, key: str, task: Any) -> None:
        if key not in SECRET_KEYS or (task is None and key != "env"):
            message = f"secret `{reference}` is not allowed in `{key}`, which is shown and recorded"
            help = "use it in `args`, `kwargs`, `command`, `env`, `when` or `with`"
            raise ReferenceProblem(message, reference, help=help)

    def _check_task(self, reference: Reference, path: Path, key: str, task: Any) -> None:
        result_of_expect = key == "expect" and "result" in path
        if (
            key != "outputs"
            if task is None
            else not (key in LATE_KEYS or key == "matrix" or result_of_expect)
        ):
            message = "task results are not available here: they are only known while the run is in progress"
            raise ReferenceProblem(message, reference)
        name = reference.name
        if name not in self._names and not _EXPANDED_NAME_CHARS & set(name):
            raise ReferenceProblem(
                f"unknown task {quote(name)}",
                reference,
                kind="tasks",
                word=name,
                candidates=tuple(self._names),
            )
        if isinstance(reference, SiblingReference):
            for one in references([node for _, node in reference.selector]):
                # It has no place of its own.
                one = one.replace(source=reference.source, mark=reference.mark)
                self._check_axis(one, key, task)

    def _check_axis(self, reference: Reference, key: str, task: Any) -> None:
        defaults: Any = self._job.get("defaults")
        holders = [holder for holder in (task, defaults) if isinstance(holder, Mapping)]
        # Defaults are checked with each task that they apply to.
        is_default = task is not None and task is defaults
        needed = "foreach" if reference.root == "item" else "matrix"
        if key in ("foreach", "matrix"):
            # It is what these keys are about to say.
            raise _misplaced(reference, needed)
        holder = next((holder for holder in holders if needed in holder), None)
        if holder is None and not is_default:
            raise _misplaced(reference, needed)
        if holder is None or reference.root == "item":
            return
        axes = _axes(holder["matrix"])
        if axes and reference.name not in axes:
            raise ReferenceProblem(
                f"unknown axis {quote(reference.name)}",
                reference,
                kind="axes",
                word=reference.name,
                candidates=tuple(axes),
            )


def _entries(node: Mapping) -> Iterator[tuple[Any, Any, int]]:
    """The entries of a mapping: each key, its value and the value's mark."""
    return zip(node, node.values(), node.marks[1::2], strict=True)


def _is_secret(declared: object) -> bool:
    return isinstance(declared, Mapping) and declared.get("secret") is True


def _is_interpreted(key: object) -> bool:
    return isinstance(key, str) and key not in _UNINTERPRETED_KEYS and not key.startswith("x-")


def _misplaced(reference: Reference, key: str) -> ReferenceProblem:
    return ReferenceProblem(f"`{reference}` is only available in a task with `{key}`", reference)


def _axes(matrix: object) -> list[str]:
    """The names of the axes of a matrix; [] if the file does not show them."""
    if not isinstance(matrix, Mapping):
        return []
    names = [key for key in matrix if key not in ("include", "exclude")]
    include = matrix.get("include")
    if isinstance(include, str):
        return []
    for entry in include if isinstance(include, Sequence) else ():
        names += [key for key in entry if key not in names] if isinstance(entry, Mapping) else []
    return names
