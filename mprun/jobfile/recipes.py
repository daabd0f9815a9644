"""A recipe: another job file whose tasks take the place of the task that uses it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.errors import JobFileError, UsageError
from mprun.jobfile import locate, task_checks
from mprun.jobfile.model import SiblingDependency
from mprun.jobfile.packages import PackageFileError, meant_file
from mprun.jobfile.references import Closure, Reference, ReferenceProblem, Template, refers
from mprun.jobfile.resolution import Resolver, contains_secret, resolve
from mprun.jobfile.syntax.scalars import kind_of
from mprun.jobfile.task_builder import FileContext, Inherited, mark_of_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Protocol

    from mprun.jobfile.budget import Budget
    from mprun.jobfile.checked_files import CheckedFiles
    from mprun.jobfile.model import Dependency, Instance, Origin, Task
    from mprun.jobfile.param_inputs import ParamInput
    from mprun.jobfile.scope import FileScope
    from mprun.jobfile.syntax.document import Document

    # For types alone: nothing looks at it during a run.
    class FileLoader(Protocol):
        """What resolves and expands one file: `JobLoader`, which documents the methods."""

        files: CheckedFiles

        def resolve_file(
            self,
            document: Document,
            inputs: Mapping[str, ParamInput],
            environment: Mapping[str, Any],
            *,
            closures: Mapping[str, Closure] | None = None,
            used_by: Origin | None = None,
        ) -> tuple[FileScope, Document]: ...

        def expand_tasks(
            self,
            document: Document,
            file_scope: FileScope,
            inherited: Inherited,
            chain: tuple[tuple[str, Document], ...],
        ) -> list[Instance]: ...


# Keys of a task with `uses` for all of its recipe at once.
WHOLE_KEYS = ("retry", "timeout")


def recipe_path(files: CheckedFiles, users: Sequence[Document], name: str) -> str:
    """The path of a recipe: in a package (`package:file`), or relative to the file that uses it.

    That is the last of `users`, the files that use one another, the job's first.
    Raises UsageError if it has a NUL, and PackageFileError.
    """
    if "\0" in name:
        raise UsageError("`uses` must not contain a NUL character")
    # The path of a file in a package is absolute.
    folder = os.path.dirname(users[-1].source.path)
    return os.path.normpath(os.path.join(folder, files.path_of(name, users)))


def expand_recipe(
    loader: FileLoader, context: FileContext, keys: dict[str, Any], instance: Instance
) -> list[Instance]:
    """The tasks of the recipe that a task (or one of its instances) uses; `keys` are the task's, merged.

    Raises JobFileError.
    """
    task = instance.task
    if task.foreach is not None:
        key = "matrix" if "matrix" in keys else "foreach"
        message = f"`{key}` over a task result is not supported with `uses`"
        help = f"move the `{key}` into the recipe"
        raise JobFileError([locate.task_diagnostic(task, (key,), message, help)])
    try:
        path = recipe_path(loader.files, [document for _, document in context.chain], keys["uses"])
        real = os.path.realpath(path)
        _refuse_cycle(task, context.chain, real, path)
        document = loader.files.document(path)
    except JobFileError:
        raise
    except PackageFileError as error:
        raise JobFileError([locate.task_diagnostic(task, ("uses",), error.message, error.help)]) from None
    except UsageError as error:
        is_there = "\0" in keys["uses"] or os.path.lexists(path)
        help = "" if is_there else meant_file(keys["uses"], sys.path)
        raise JobFileError([locate.task_diagnostic(task, ("uses",), str(error), help)]) from None
    tasks: Any = document.root
    characters = len(document.source.lines.text)
    budget = loader.files.budget_for(document)
    budget.spend_use(characters, len(tasks["tasks"]), len(context.chain) + 1)
    inputs, closures = _inputs(context, instance, keys, budget)
    _refuse_shown_secrets(document, [name for name, given in inputs.items() if given.hidden])
    scope, document = loader.resolve_file(
        document, inputs, context.scope.env, closures=closures, used_by=task.origin
    )
    chain = (*context.chain, (real, document))
    inherited = _inherited(context, instance, keys, document)
    users: Any = context.document.root
    whole_keys = [key for key in WHOLE_KEYS if key in users["tasks"][task.position - 1]]
    if not whole_keys:
        return loader.expand_tasks(document, scope, inherited, chain)
    # Few recipes are taken as one.
    from mprun.jobfile.whole_recipes import refuse_unsuitable, whole_of

    whole = whole_of(instance, whole_keys, inherited.whole)
    expanded = loader.expand_tasks(document, scope, inherited.replace(whole=whole), chain)
    if whole is not inherited.whole:
        refuse_unsuitable(task, whole_keys[0], expanded)
    return expanded


def _refuse_cycle(task: Task, users: Sequence[tuple[str, Document]], real: str, path: str) -> None:
    if any(real == other for other, _ in users):
        repeated = next(number for number, (other, _) in enumerate(users) if other == real)
        shown = [quote(one) for one in (*(user.source.path for _, user in users[repeated:]), path)]
        message, help = f"recipe cycle: {' -> '.join(shown)}", "remove one of these `uses`"
        if len(shown) == 2:
            message, help = f"recipe {shown[0]} uses itself", "remove this `uses`"
        raise JobFileError([locate.task_diagnostic(task, ("uses",), message, help)])


def _refuse_shown_secrets(document: Document, secrets: Collection[str]) -> None:
    """Raise JobFileError if a param that was given a secret is part of what everyone may see."""
    if secrets:
        root: Any = document.root
        names = [task_checks.task_name(item, index) for index, item in enumerate(root["tasks"])]
        from mprun.jobfile.reference_checks import check_references

        diagnostics = list(check_references(document, names, secrets))
        if diagnostics:
            raise JobFileError(diagnostics)


def _inputs(
    context: FileContext, instance: Instance, keys: dict[str, Any], budget: Budget
) -> tuple[dict[str, ParamInput], dict[str, Closure]]:
    """The values that `with` gives to the recipe's params, and closures of those to be resolved later."""
    task = instance.task
    if not keys.get("with"):
        return {}, {}
    from mprun.jobfile.param_inputs import from_with

    known: dict[str, Any] = {}
    closures: dict[str, Closure] = {}
    nodes = _with_nodes(context, instance, keys["with"])
    for name, node in nodes.items():
        closure = _closure(node, instance)
        try:
            known[name] = resolve(closure, Resolver(task.scope, reveal=True))
        except ReferenceProblem as error:
            raise JobFileError([locate.unresolved_diagnostic(task, "with", error)]) from None
        # Before all of it is looked at: a list may be in many places of it.
        budget.spend_param(known[name])
        if contains_secret(closure) or refers(known[name]):
            closures[name] = closure
    hidden = {name for name, closure in closures.items() if contains_secret(closure)}
    of_reference = {name for name, node in nodes.items() if isinstance(node, Reference)}
    return from_with(known, hidden, of_reference), closures


def _with_nodes(context: FileContext, instance: Instance, written: Any) -> dict[str, Any]:
    """The nodes of `with`, by param. Raises JobFileError for one reference to another value."""
    task = instance.task
    if not isinstance(written, str):
        return context.compiled(written)  # type: ignore[no-any-return]
    mark = mark_of_key(task.document, task.position - 1, "with")
    message, help = "", "write its values out: `with: {NAME: ${...}}`"
    node = context.compiled(written, mark)
    closure = _closure(node, instance)
    try:
        value = resolve(closure, Resolver(task.scope, reveal=True))
    except ReferenceProblem as error:
        raise JobFileError([locate.unresolved_diagnostic(task, "with", error)]) from None
    if contains_secret(closure):
        message = "`with` as a whole must not contain a secret"
    elif isinstance(value, (Reference, Template)):
        message = f"`with` must be a mapping, but `{written}` is only known while the run is in progress"
    elif not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        message = f"`with` must be a mapping of params, but `{written}` is {kind_of(value)}"
    if message:
        raise JobFileError([locate.task_diagnostic(task, ("with",), message, help)])
    return dict(value)


def _closure(node: Any, instance: Instance) -> Closure:
    task = instance.task
    return Closure(node=node, scope=task.scope, axes=task.axes, values=instance.values)


def _inherited_dependency(dependency: Dependency, instance: Instance) -> Dependency:
    """A dependency as the tasks of a recipe inherit it; what it selects, its own task decides."""
    task = instance.task
    inherited = dependency.replace(origin=dependency.origin or task.origin)
    if isinstance(inherited, SiblingDependency) and inherited.reference.closure is None:
        return inherited.replace(reference=inherited.reference.replace(closure=_closure(None, instance)))
    return inherited


def _inherited(context: FileContext, instance: Instance, keys: dict[str, Any], recipe: Document) -> Inherited:
    """What the tasks of a recipe inherit from the task that uses it."""
    task, outer = instance.task, context.inherited
    root: Any = recipe.root

    def enclosed(node: Any) -> Any:
        """The node itself, or its closure if it has references, which the recipe's scope cannot resolve."""
        return _closure(node, instance) if refers(node) else node

    own_env = (keys.get("env") or {}).keys()
    env = {name: enclosed(value) for name, value in task.env.items()}
    conditions = task.inherited_conditions
    if task.when is not True:
        conditions = (*conditions, enclosed(task.when))
    return Inherited(
        prefix=f"{instance.name}/",
        groups=(*instance.groups, instance.name),
        depends_on=tuple(_inherited_dependency(one, instance) for one in task.depends_on),
        inherited_conditions=conditions,
        env={**outer.env, **{name: env[name] for name in own_env}},
        job_env={name: value for name, value in env.items() if name not in own_env},
        tags=task.tags,
        allow_failure=task.allow_failure,
        flaky=task.flaky,
        cwd=enclosed(task.cwd),
        start_method=root.get("start_method") or task.start_method,
        whole=outer.whole,
    )
