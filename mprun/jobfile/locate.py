"""The spans of errors that are found after the job file was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, Span, quote, suggest
from mprun.jobfile.names import NameIndex
from mprun.jobfile.references import ReferenceProblem, SiblingReference, reference_diagnostic
from mprun.jobfile.result_dependencies import result_references
from mprun.jobfile.syntax.document import span_of, span_of_mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.diagnostics import SourceText
    from mprun.jobfile.dependencies import DependencyError
    from mprun.jobfile.model import Instance, Job, Origin, Task
    from mprun.jobfile.references import Reference
    from mprun.jobfile.syntax.document import Document

    Path = tuple[str | int, ...]


def task_diagnostic(
    task: Task, where: Path, message: str, help: str = "", *, key: bool = False
) -> Diagnostic:
    """The diagnostic of a task: at `where` inside it, or at the `defaults` if they contain it."""
    document, path, shared = _holder(task, where)
    if shared:
        message = f"in task {quote(task.name)}, {message}"
    span = span_of(document, (*path, *where), key=key)
    return Diagnostic(message=message, source=document.source, span=span, help=help)


def dependency_diagnostic(instance: Instance, error: DependencyError, names: NameIndex) -> Diagnostic:
    """The diagnostic of an invalid dependency, at the name in `depends_on` or at the reference."""
    task = instance.task
    references = list(result_references(task, instance.values))
    inherited = next((one for one in task.depends_on if one.task == error.need and one.origin), None)
    name = task.name
    if inherited is not None and inherited.origin is not None:
        # The dependency of a task that uses the recipe, whose name has fewer parts.
        task = task.replace(document=inherited.origin.document, position=int(inherited.origin.path[1]) + 1)
        while name and not error.need.startswith(name.rpartition("/")[0]):
            name = name.rpartition("/")[0]
    prefix, _, _ = name.rpartition("/")
    need = error.need.removeprefix(f"{prefix}/") if prefix else error.need
    message, help = str(error), error.help
    if not error.known:
        message = f"unknown task {quote(error.need)}"
        if any(sign in need for sign in "*?"):
            message = f"no task matches {quote(error.need)}"
        else:
            help = suggest(error.need, [name for name in names.all() if name != task.name], "tasks")
    document, path, _ = _holder(task, ("depends_on",))
    node: Any = _at(document, (*path, "depends_on"))
    if isinstance(node, dict) and need in node:
        span = span_of(document, (*path, "depends_on", need), key=True)
    elif isinstance(node, list) and need in node:
        span = span_of(document, (*path, "depends_on", node.index(need)))
    elif node == need:
        span = span_of(document, (*path, "depends_on"))
    else:
        reference = next((one for one in references if one.name == error.need), None)
        source, span = position(reference, task.origin)
        return Diagnostic(message=message, source=source, span=span, help=help)
    return Diagnostic(message=message, source=document.source, span=span, help=help)


def position(reference: Reference | None, origin: Origin) -> tuple[SourceText, Span]:
    """The file and the span of a reference; if they are unknown, those of `origin`."""
    if reference is None or reference.source is None:
        return origin.document.source, span_of(origin.document, origin.path)
    return reference.source, span_of_mark(reference.source, reference.mark)


def unresolved_diagnostic(task: Task, key: str, error: ReferenceProblem) -> Diagnostic:
    """The diagnostic of an invalid reference under a key of a task."""
    document, path, _ = _holder(task, (key,))
    return reference_diagnostic(document, (*path, key), error)


def missing_axis_diagnostic(document: Document, name: str, key: str, reference: Reference) -> Diagnostic:
    """The diagnostic of a reference in the `defaults` to an axis or item that the task of this name lacks."""
    key_needed = "foreach" if reference.root == "item" else "matrix"
    message = f"in task {quote(name)}, `{reference}` is only available in a task with `{key_needed}`"
    return reference_diagnostic(document, ("defaults", key), ReferenceProblem(message, reference))


def left_out(job: Job, selection: Sequence[int]) -> list[Diagnostic]:
    """The diagnostics of results that selected tasks refer to, but whose tasks are not selected."""
    chosen = set(selection)
    names = NameIndex(job.tasks, job.empty)
    diagnostics: dict[tuple[str, str], Diagnostic] = {}
    for number in selection:
        task = job.tasks[number].task
        for reference in result_references(task):
            if isinstance(reference, SiblingReference):
                # Of its instances, those that it selects are dependencies.
                missing = [
                    need
                    for need, _ in job.needs[number]
                    if need not in chosen
                    and reference.name in (job.tasks[need].name, *job.tasks[need].groups)
                ]
            else:
                missing = [one for one in names.resolve(reference.name) if one not in chosen]
            if missing and (task.name, reference.name) not in diagnostics:
                source, span = position(reference, task.origin)
                name = quote(job.tasks[missing[0]].name)
                diagnostics[task.name, reference.name] = Diagnostic(
                    message=f"task {name}, whose result this is, is not part of the run",
                    source=source,
                    span=span,
                    help="remove `--no-deps`",
                )
    return list(diagnostics.values())


def _holder(task: Task, where: Path) -> tuple[Document, Path, bool]:
    """The document, the path of the mapping with this key, and whether that is the `defaults`."""
    document, path = task.document, task.origin.path
    defaults: Any = _at(document, ("defaults",))
    if where and where[0] not in _at(document, path) and isinstance(defaults, dict) and where[0] in defaults:
        return document, ("defaults",), True
    return document, path, False


def _at(document: Document, path: Path) -> Any:
    node: Any = document.root
    for step in path:
        if isinstance(node, dict):
            node = node.get(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
        else:
            return None
    return node


def target_diagnostic(
    task: Task,
    message: str,
    where: tuple[str | int, ...] = ("target",),
    word: str = "",
    candidates: tuple[str, ...] = (),
) -> Diagnostic:
    """The diagnostic of a task's call: in the task, or in the `defaults` if they contain it."""
    document, path, shared = _holder(task, where)
    if shared:
        message = f"in task {quote(task.name)}, {message}"
    return _diagnostic(document, (*path, *where), message, word, candidates)


def preload_diagnostic(
    job: Job, number: int, message: str, word: str = "", candidates: tuple[str, ...] = ()
) -> Diagnostic:
    """The diagnostic of an entry of the job's `preload`."""
    document = job.origin.document
    return _diagnostic(document, ("preload", number), message, word, candidates)


# What the candidates are, by the step of the path that names them.
_KINDS = {"module": "modules", "preload": "modules", "callable": "names", "kwargs": "arguments"}


def _diagnostic(
    document: Document, path: tuple[str | int, ...], message: str, word: str, candidates: tuple[str, ...]
) -> Diagnostic:
    # Of an unexpected keyword argument the name is marked, of others the value.
    span = span_of(document, path, key="kwargs" in path)
    if path[-2:-1] == ("target",):
        span = _half(document, span, str(path[-1]), word)
    kind = next((_KINDS[str(step)] for step in path if step in _KINDS), "names")
    return Diagnostic(
        message=message,
        source=document.source,
        span=span,
        help=suggest(word, candidates, kind) if word else "",
    )


def _half(document: Document, span: Span, half: str, word: str) -> Span:
    """The span of a name in the `module` or the `callable` of a target; all of it if it is not there."""
    start, end = span.column - 1, span.column - 1 + span.width
    line = document.source.lines[span.line - 1]
    colon = line.find(":", start, end)
    found = line.find(word, colon, end) if half == "callable" else line.find(word, start, colon)
    return span if found < 0 or colon < 0 else span.replace(column=found + 1, width=len(word))
