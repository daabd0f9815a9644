"""Builds a Task from a task of a checked document, with every default filled in."""

from __future__ import annotations

import os
from sys import intern
from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen
from mprun.jobfile.model import Dependency, Retry, Stop, Task
from mprun.jobfile.syntax.document import plain
from mprun.jobfile.task_checks import RUN_KEYS, task_name
from mprun.jobfile.units import optional_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.jobfile.model import Expect, Limits, Ready, Whole
    from mprun.jobfile.references import Closure, Scope
    from mprun.jobfile.syntax.document import Document


class Inherited(Frozen):
    """What the tasks of a recipe inherit from the task that uses it, in addition to their own.

    `prefix` goes before their names. `depends_on` and `inherited_conditions`, the conditions under which
    they run, are those of the task that uses it; `env` overrides theirs, `job_env` does not. `whole` says
    that they are taken as one.
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
    whole: Whole | None = None


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
        """A tree of the file with its strings parsed; `mark` is as for `reference_syntax.compiled`."""
        # Many jobs have no references.
        from mprun.jobfile.reference_syntax import compiled

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


# What the many tasks without keys that `policies` reads share.
_POLICY_KEYS = frozenset({"retry", "stop", "ready", "limits", "expect"})
_NO_POLICIES: tuple[Retry, Stop, Ready | None, Limits | None, Expect | None]
_NO_POLICIES = (Retry(), Stop(), None, None, None)
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
    if _POLICY_KEYS.isdisjoint(keys):
        retry, stop, ready, limits, expect = _NO_POLICIES
    else:
        # Many jobs have none.
        from mprun.jobfile.policies import policies

        retry, stop, ready, limits, expect = policies(keys, tree)
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
        retry=retry,
        timeout=optional_seconds(keys.get("timeout")),
        stop=stop,
        # As a default, this applies only to daemons.
        restart=(keys.get("restart") or "never") if keys.get("daemon") else "never",
        ready=ready,
        capture=keys.get("capture") if "command" in keys else None,
        resources=keys.get("resources") or _NOTHING,
        host=keys.get("host"),
        limits=limits,
        allow_failure=bool(keys.get("allow_failure", inherited.allow_failure)),
        flaky=keys.get("flaky") or inherited.flaky,
        artifacts=bool(keys.get("artifacts", False)),
        inputs=_files(keys, "inputs"),
        outputs=_files(keys, "outputs"),
        expect=expect,
        start_method=keys.get("start_method") or inherited.start_method,
        env=_env(context, keys, raw["tasks"][number], tree),
        cwd=_cwd(context, under("cwd") if keys.get("cwd") else None, raw.get("cwd")) or inherited.cwd,
        tags=(*inherited.tags, *listed(keys.get("tags"))),
        description=keys.get("description") or "",
        scope=scope,
        whole=inherited.whole,
        # A recipe's tasks may have references from where it is used.
        refers=context.has_references or bool(prefix),
        document=document,
    )
    if not task.refers:
        return task
    # Many jobs have no references.
    from mprun.jobfile.result_dependencies import with_dependencies

    return with_dependencies(task, inherited.depends_on)


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


def _files(keys: dict[str, Any], key: str) -> tuple[str, ...] | None:
    # As defaults, these apply only to tasks that come to an end.
    return None if keys.get(key) is None or keys.get("daemon") else tuple(listed(keys[key]))


def listed(value: Any) -> list[str]:
    """A list of strings, from a list, a single string or None."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def absolute(folder: str, path: str) -> str:
    """A path that may be relative to a folder, without `..` in it."""
    return os.path.normpath(os.path.join(folder, path))
