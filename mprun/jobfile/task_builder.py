"""Builds a Task from a task of a checked document, with every default filled in."""

from __future__ import annotations

import os
from sys import intern
from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen
from mprun.jobfile.model import (
    PASSED,
    READY_KINDS,
    Dependency,
    Expect,
    Limits,
    Ready,
    Retry,
    SiblingDependency,
    Stop,
    Task,
    signal_name,
)
from mprun.jobfile.references import (
    Closure,
    Reference,
    ReferenceProblem,
    SiblingReference,
    Template,
    compiled,
    references,
)
from mprun.jobfile.resolution import Resolver, as_text
from mprun.jobfile.syntax.document import plain
from mprun.jobfile.task_checks import RUN_KEYS, task_name
from mprun.jobfile.units import to_bytes, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.jobfile.references import Scope
    from mprun.jobfile.syntax.document import Document


class Inherited(Frozen):
    """What the tasks of a recipe inherit from the task that uses it, in addition to their own.

    `prefix` goes before their names. `depends_on` and `inherited_conditions`, the conditions under which
    they run, are those of the task that uses it; `env` overrides theirs, `job_env` does not.
    """

    prefix: str = ""
    groups: tuple[str, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    inherited_conditions: tuple[Closure, ...] = ()
    env: dict[str, Any]
    job_env: dict[str, Any]
    tags: tuple[str, ...] = ()
    allow_failure: bool = False
    flaky: str | None = None
    cwd: Any = None
    start_method: str | None = None


class FileContext(Frozen):
    """What the tasks of one file share: the document, its scope, and what it inherits.

    `env` has the job's variables, `has_references` whether any string may have one. `unknown`
    is whether params are missing that decide which tasks there are. `chain` are the files
    that use one another, from the job's to this one, each after its real path. `outputs` puts results
    in place of outputs in a compiled tree; None if the file refers to none.
    """

    document: Document
    scope: Scope
    inherited: Inherited
    env: dict[str, Any]
    has_references: bool
    unknown: bool = False
    chain: tuple[tuple[str, Document], ...] = ()
    outputs: Callable[[Any], Any] | None = None

    def compiled(self, node: Any, mark: int = 0) -> Any:
        """A tree of the file with its strings parsed; `mark` is as for `references.compiled`."""
        tree = compiled(node, self.inherited.prefix, self.document.source, mark)
        return tree if self.outputs is None else self.outputs(tree)

    @property
    def folder(self) -> str:
        """The directory of the file, which relative paths start from."""
        return os.path.dirname(os.path.abspath(self.document.source.path))


def merged(job: dict[str, Any], number: int) -> dict[str, Any]:
    """The keys of a task, with the `defaults` for those that it does not have."""
    own = job["tasks"][number]
    defaults = job.get("defaults")
    if not defaults:
        return own  # type: ignore[no-any-return]
    kinds = [kind for kind in RUN_KEYS if kind in own]
    if kinds:
        defaults = {key: value for key, value in defaults.items() if key not in RUN_KEYS}
        if "target" not in kinds:
            defaults = {key: value for key, value in defaults.items() if key not in ("args", "kwargs")}
    if "matrix" in own or "foreach" in own:
        defaults = {key: value for key, value in defaults.items() if key not in ("matrix", "foreach")}
    return {**defaults, **own}


def mark_of_key(document: Document, number: int, key: str) -> int:
    """The mark of the value of a key, in the task or else in the `defaults`."""
    raw: Any = document.root
    own = raw["tasks"][number]
    holder = own if key in own else raw["defaults"]
    return holder.marks_of(key)[1]  # type: ignore[no-any-return]


# Frozen values, which the many tasks without these keys share.
_NO_RETRY = Retry()
_DEFAULT_STOP = Stop()
_NOTHING: dict[str, Any] = {}


def build_task(
    context: FileContext, number: int, keys: dict[str, Any], axes: tuple[str, ...] = (), late_list: str = ""
) -> Task:
    """Task `number` (from 0) of the file; `keys` are its own, merged with the defaults.

    `axes` are the names that its instances have values for, `late_list` is the key that says which
    instances there are (`foreach` or `matrix`) if that is known only during the run.
    """
    document, inherited, scope = context.document, context.inherited, context.scope
    raw: dict[str, Any] = document.root  # type: ignore[assignment]
    prefix = inherited.prefix

    def tree(node: Any, mark: int = 0) -> Any:
        return context.compiled(node, mark) if context.has_references else plain(node)

    def under(key: str) -> Any:
        node = keys[key]
        # A list or a mapping contains the marks of its items.
        is_reference = type(node) is str and "${" in node
        return tree(node, mark_of_key(document, number, key) if is_reference else 0)

    base = task_name(raw["tasks"][number], number)
    target = keys.get("target")
    task = Task(
        name=prefix + base,
        position=number + 1,
        # Many tasks have the same target.
        target=intern(target) if type(target) is str else target,
        command=_command(under("command")) if "command" in keys else None,
        args=_tuple(under("args")) if keys.get("args") else (),
        kwargs=under("kwargs") if keys.get("kwargs") else _NOTHING,
        daemon=bool(keys.get("daemon", False)),
        depends_on=_dependencies(keys.get("depends_on"), prefix, base, "depends_on" in raw["tasks"][number]),
        when=under("when") if "when" in keys else True,
        inherited_conditions=inherited.inherited_conditions,
        axes=axes,
        foreach=under(late_list) if late_list else None,
        retry=_retry(keys.get("retry")),
        timeout=optional_seconds(keys.get("timeout")),
        stop=_stop(keys.get("stop") or {}),
        # As defaults, these apply only to daemons.
        restart=(keys.get("restart") or "never") if keys.get("daemon") else "never",
        ready=_ready(keys.get("ready")) if keys.get("daemon") else None,
        capture=keys.get("capture") if "command" in keys else None,
        resources=keys.get("resources") or _NOTHING,
        host=keys.get("host"),
        limits=_limits(keys.get("limits")),
        allow_failure=bool(keys.get("allow_failure", inherited.allow_failure)),
        flaky=keys.get("flaky") or inherited.flaky,
        artifacts=bool(keys.get("artifacts", False)),
        inputs=_files(keys, "inputs"),
        outputs=_files(keys, "outputs"),
        expect=_expect(keys.get("expect"), tree),
        start_method=keys.get("start_method") or inherited.start_method,
        env=_env(context, keys, raw["tasks"][number], tree),
        cwd=_cwd(context, under("cwd") if keys.get("cwd") else None, raw.get("cwd")) or inherited.cwd,
        tags=(*inherited.tags, *listed(keys.get("tags"))),
        description=keys.get("description") or "",
        scope=scope,
        # A recipe's tasks may have references from where it is used.
        refers=context.has_references or bool(prefix),
        document=document,
    )
    if not task.refers:
        return task
    found = {(dependency.task, dependency.condition): dependency for dependency in task.depends_on}
    selecting = [
        dependency for dependency in inherited.depends_on if isinstance(dependency, SiblingDependency)
    ]
    for dependency in inherited.depends_on:
        if dependency not in selecting:
            found.setdefault((dependency.task, dependency.condition), dependency)
    if len(found) > len(task.depends_on):
        task = task.replace(depends_on=tuple(found.values()))
    results = list(result_references(task))
    siblings = [reference for reference in results if isinstance(reference, SiblingReference)]
    task = with_results(task, [one.name for one in results if not isinstance(one, SiblingReference)])
    return _with_siblings(task, siblings, selecting) if siblings or selecting else task


def _with_siblings(
    task: Task, references: Sequence[SiblingReference], inherited: Sequence[SiblingDependency]
) -> Task:
    """The task with dependencies on the instances that it selects, unless it waits for all of them."""
    # Without a condition, a task waits until the others have passed.
    waits = {one.task for one in task.depends_on if one.condition is None or one.condition in _ENDS}
    found = {str(dependency.reference): dependency for dependency in inherited}
    for reference in references:
        if reference.name not in waits:
            new = SiblingDependency(task=reference.name, condition=PASSED, reference=reference)
            found.setdefault(str(reference), new)
    return task.replace(depends_on=(*task.depends_on, *found.values()))


def with_results(task: Task, names: Sequence[str]) -> Task:
    """The task with dependencies on the tasks whose results it refers to."""
    if not names:
        return task
    found = {(dependency.task, dependency.condition): dependency for dependency in task.depends_on}
    # A task that waits for any end, or for a failure, accepts that there may be no result.
    ends = {name for name, condition in found if condition in _ENDS}
    for name in names:
        if not any(_covers(end, name) for end in ends):
            # Not for the whole group that contains it: without a condition, its daemons need not end.
            ends.add(name)
            given = found.get((name, None), Dependency(task=name))
            found[name, None] = given.replace(condition=PASSED)
    return task.replace(depends_on=tuple(found.values()))


# The conditions that a task meets by its end.
_ENDS = (PASSED, "succeeded", "finished", "failed")


def _covers(name: str, other: str) -> bool:
    """Whether a dependency by this name is one on the other task, too: a group is all of its tasks."""
    return other == name or other.startswith((f"{name}[", f"{name}/"))


def result_references(task: Task, values: Sequence[Any] = ()) -> Iterator[Reference]:
    """The references of a task to results, also through params of its recipe.

    `values` are those of an instance, whose references are included.
    """
    nodes = [
        task.args,
        task.kwargs,
        task.command,
        task.env,
        task.cwd,
        task.when,
        task.foreach,
        *task.inherited_conditions,
        *values,
    ]
    if task.expect is not None:
        nodes.append(task.expect.result)
    resolver = Resolver(task.scope)
    # Most are empty or true.
    for reference in references([node for node in nodes if node and node is not True]):
        if reference.root in ("params", "env"):
            value = (task.scope.params if reference.root == "params" else task.scope.env).get(reference.name)
            if not isinstance(value, (Closure, Reference, Template)):
                # Plain, and perhaps large.
                continue
        try:
            found = resolver(reference) if reference.root in ("params", "env") else reference
        except ReferenceProblem:
            # Reported when the instances are built.
            continue
        for result in references(found if found is reference else [found]):
            if result.root == "tasks":
                yield result


def _tuple(node: Any) -> Any:
    return tuple(node) if isinstance(node, list) else node


def _command(node: Any) -> tuple[Any, ...]:
    return tuple(node) if isinstance(node, list) else ("/bin/sh", "-c", node)


def _env(context: FileContext, keys: dict[str, Any], own: dict[str, Any], tree: Any) -> dict[str, Any]:
    defaults = context.document.root.get("defaults") or {}  # type: ignore[attr-defined]
    layers = [defaults.get("env"), own.get("env")]
    budget = context.scope.budget
    if budget is not None and (any(layers) or context.has_references):
        budget.spend_variables(len(context.env) + sum(len(layer or ()) for layer in layers))
    if not any(layers) and not context.inherited.env:
        return context.env
    env = dict(context.env)
    for layer in layers:
        env.update({str(name): value for name, value in tree(layer or {}).items()})
    return {**env, **context.inherited.env}


def _cwd(context: FileContext, node: Any, of_job: Any) -> Any:
    if not node:
        # The job's own is already interpolated: what looks like a reference is literal.
        return absolute(context.folder, of_job) if of_job else None
    if isinstance(node, str):
        return absolute(context.folder, node)
    # Joined with the directory once it is resolved, because it may be absolute.
    return node


def _dependencies(value: Any, prefix: str, own: str, is_own: bool) -> tuple[Dependency, ...]:
    pairs = value.items() if isinstance(value, dict) else ((name, None) for name in listed(value))
    return tuple(
        Dependency(task=prefix + name, condition=condition)
        for name, condition in dict(pairs).items()
        # A task that all tasks depend on by default does not depend on itself.
        if is_own or name != own
    )


def _retry(value: Any) -> Retry:
    if value is None:
        return _NO_RETRY
    if isinstance(value, int):
        return Retry(retries=value)
    longest = value.get("max_delay")
    return Retry(
        # A mapping without `retries` means one retry.
        retries=value.get("retries", 1),
        delay=to_seconds(value.get("delay", 0)),
        backoff=float(value.get("backoff", 1)),
        max_delay=None if longest is None else to_seconds(longest),
        jitter=float(value.get("jitter", 0)),
        exceptions=tuple(value.get("exceptions") or ()),
        exit_codes=tuple(value.get("exit_codes") or ()),
    )


def _stop(value: dict[str, Any]) -> Stop:
    default = _DEFAULT_STOP
    if not value:
        return default
    name, grace = value.get("signal"), value.get("grace")
    return Stop(
        signal=default.signal if name is None else signal_name(name),
        grace=default.grace if grace is None else to_seconds(grace),
        to=value.get("to") or default.to,
    )


def _expect(value: Any, tree: Any) -> Expect | None:
    if value is None:
        return None
    codes = value.get("exit_code", ())
    most = value.get("max_rss")
    result = value.get("result")
    mark = value.marks_of("result")[1] if isinstance(result, str) else 0
    return Expect(
        result=tree(result, mark),
        has_result="result" in value,
        raises=value.get("raises"),
        exit_codes=(codes,) if isinstance(codes, int) else tuple(codes),
        output=value.get("output"),
        max_seconds=value.get("max_seconds"),
        max_rss=None if most is None else to_bytes(most),
    )


def _ready(value: dict[str, Any] | None) -> Ready | None:
    if value is None:
        return None
    kind = next(kind for kind in READY_KINDS if kind in value)
    default = _command_probe(value[kind]) if kind == "command" else Ready(kind=kind, what=str(value[kind]))
    times = ("timeout", "interval", "try_timeout")
    return default.replace(**{name: to_seconds(value[name]) for name in times if value.get(name) is not None})


def _command_probe(node: Any) -> Ready:
    # Few jobs have one.
    import shlex

    if not isinstance(node, list):
        return Ready(kind="command", what=as_text(node), command=_command(as_text(node)))
    words = tuple(map(as_text, node))
    return Ready(kind="command", what=shlex.join(words), command=words)


def _limits(value: dict[str, Any] | None) -> Limits | None:
    if not value:
        return None
    cpus = value.get("cpus")
    return Limits(
        memory=_optional_bytes(value.get("memory")),
        cpu_time=optional_seconds(value.get("cpu_time")),
        open_files=value.get("open_files"),
        nice=value.get("nice"),
        cpus=tuple(cpus) if isinstance(cpus, list) else cpus,
        log=_optional_bytes(value.get("log")),
    )


def _optional_bytes(value: Any) -> int | None:
    return None if value is None else to_bytes(value)


def optional_seconds(value: Any) -> float | None:
    """A duration in seconds, or None."""
    return None if value is None else to_seconds(value)


def _files(keys: dict[str, Any], key: str) -> tuple[str, ...] | None:
    # As defaults, these apply only to tasks that come to an end.
    return None if keys.get(key) is None or keys.get("daemon") else tuple(listed(keys[key]))


def listed(value: Any) -> list[str]:
    """A list of strings, from a list, a single string or None."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def absolute(folder: str, path: str) -> str:
    """A path that may be relative to a folder, without `..` in it."""
    return os.path.normpath(os.path.join(folder, path))
