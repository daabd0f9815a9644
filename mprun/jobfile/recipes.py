"""What a recipe gets from the task that uses it: values for its params, and what its tasks inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.errors import JobFileError
from mprun.jobfile import locate
from mprun.jobfile.references import Closure, ReferenceProblem, Resolver, compiled, references, resolve
from mprun.jobfile.task_builder import FileContext, Inherited

if TYPE_CHECKING:
    from mprun.jobfile.model import Instance, Task
    from mprun.jobfile.params import ParamInput
    from mprun.jobfile.syntax.document import Document


def given(instance: Instance, keys: dict[str, Any]) -> tuple[dict[str, ParamInput], dict[str, Closure]]:
    """What `with` gives to a recipe's params, and what of it must be resolved when it is used."""
    task = instance.task
    if not keys.get("with"):
        return {}, {}
    from mprun.jobfile.params import from_with

    known: dict[str, Any] = {}
    closures: dict[str, Closure] = {}
    prefix = _prefix(task)
    for name, node in compiled(keys["with"], prefix, task.document.source).items():
        close_over = Closure(node=node, scope=task.scope, axes=task.axes, values=instance.values)
        try:
            known[name] = resolve(close_over, Resolver(task.scope, reveal=True))
        except ReferenceProblem as error:
            raise JobFileError([locate.unresolved_diagnostic(task, "with", error)]) from None
        if hides(close_over) or next(references([known[name]]), None) is not None:
            closures[name] = close_over
    return from_with(known, {name for name, close_over in closures.items() if hides(close_over)}), closures


def _prefix(task: Task) -> str:
    """What goes before the names in the references of a task: the recipe's that it came with."""
    head, slash, _ = task.name.rpartition("/")
    return head + slash


def hides(close_over: Closure) -> bool:
    """Whether a secret is part of it, also by what a recipe was given or by a variable of the job."""
    scope = close_over.scope
    for one in references(close_over.node):
        if one.root == "params" and one.name in scope.secrets:
            return True
        value = {"params": scope.params, "env": scope.env}.get(one.root, {}).get(one.name)
        if isinstance(value, Closure) and hides(value):
            return True
    return False


def inherited(
    context: FileContext, instance: Instance, keys: dict[str, Any], document: Document
) -> Inherited:
    """What the tasks of a recipe have from the task that uses it."""
    task, outer = instance.task, context.inherited
    raw: Any = document.root

    def close_over(node: Any) -> Any:
        if next(references([node]), None) is None:
            return node
        return Closure(node=node, scope=task.scope, axes=task.axes, values=instance.values)

    own_env = (keys.get("env") or {}).keys()
    env = {name: close_over(value) for name, value in task.env.items()}
    inherited_conditions = (
        task.inherited_conditions
        if task.when is True
        else (*task.inherited_conditions, close_over(task.when))
    )
    return Inherited(
        prefix=f"{instance.name}/",
        groups=(*instance.groups, instance.name),
        depends_on=tuple(one.replace(origin=one.origin or task.origin) for one in task.depends_on),
        inherited_conditions=inherited_conditions,
        env={**outer.env, **{name: env[name] for name in own_env}},
        job_env={name: value for name, value in env.items() if name not in own_env},
        tags=task.tags,
        allow_failure=task.allow_failure,
        cwd=close_over(task.cwd),
        start_method=raw.get("start_method") or task.start_method,
    )
