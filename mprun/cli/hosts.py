"""The option `--executor`: where else than on this machine a run starts its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.cli.messages import note
from mprun.diagnostics import quote
from mprun.errors import JobFileError, LauncherError, MprunError, UsageError
from mprun.executors import by_name
from mprun.executors.base import CLUSTER_OPTIONS
from mprun.jobfile import host_needs
from mprun.scheduling.slots import with_slots

if TYPE_CHECKING:
    from mprun.diagnostics import Diagnostic
    from mprun.executors.by_name import NamedExecutor
    from mprun.scheduling.plan import Plan, PlannedTask

# What `begin` has started.
_begun: Any = None
# No one would read more.
_MAX_DIAGNOSTICS = 100


def begin(name: str) -> None:
    """Have an executor of mprun's start what takes long, before the job is read."""
    global _begun
    executor: Any = by_name.load(name)
    _begun = executor.begin()


def end_unused() -> None:
    """End what was begun, unless a run has used it."""
    if _begun is not None:
        _begun.end_unused()


def connect(plan: Plan, max_parallel: int | None, running: dict[str, Any]) -> tuple[Plan, NamedExecutor]:
    """Make the executor that the options of a run name; the plan with the slots that it has.

    These are no more than the job and `max_parallel` allow. Raises JobFileError if the job has what the
    executor lacks, UsageError if it cannot be used.
    """
    name = running["executor"]
    for option in CLUSTER_OPTIONS:
        flag = f"--{option.replace('_', '-')}"
        if running[option] == "":
            # As from a variable of the shell that is not set: the run would be on another cluster.
            raise UsageError(f"`{flag}` is empty; leave it out, or give a value")
        if running[option] and name == "local":
            raise UsageError(f"`{flag}` is only valid with `--executor dask`")
    if running["scheduler"] and running["scheduler_file"]:
        raise UsageError("`--scheduler` and `--scheduler-file` both name a scheduler; use one of them")
    made_by = by_name.load(name)
    if diagnostics := _unsupported(plan, made_by.unsupported, name):
        raise JobFileError(diagnostics)
    limit = max_parallel or plan.job.max_parallel
    options = {option: running[option] for option in (*CLUSTER_OPTIONS, "host_timeout")}
    options |= {"max_parallel": limit, "begun": _begun}
    options["say"] = (lambda text: None) if running["quiet"] else note
    try:
        executor = made_by(options)
        executor.wait()
    except MprunError:
        raise
    except Exception as error:
        # What a class of others does is for its author to mend.
        raise LauncherError(f"`--executor {name}` has failed: {type(error).__name__}: {error}") from error
    resources = getattr(executor, "resources", None)
    if resources is not None:
        try:
            host_needs.refuse_unmet(plan.tasks, resources)
        except JobFileError:
            executor.close()
            raise
    if executor.slots is None:
        return plan, executor
    slots = min(limit, executor.slots) if limit else executor.slots
    return with_slots(plan, slots, cpus=executor.slots), executor


def _unsupported(plan: Plan, lacks: frozenset[str], executor: str) -> list[Diagnostic]:
    # Once for all instances of a task.
    found: dict[int, Diagnostic] = {}
    for planned in plan.tasks if lacks else ():
        task = planned.task
        if id(task) in found or not (refused := _refused(planned, lacks, executor)):
            continue
        # Most jobs ask for nothing that an executor lacks.
        from mprun.jobfile.locate import task_diagnostic

        where, message, help = refused
        found[id(task)] = task_diagnostic(task, where, message, help, key=True)
        if len(found) >= _MAX_DIAGNOSTICS:
            break
    return list(found.values())


def _refused(
    planned: PlannedTask, lacks: frozenset[str], executor: str
) -> tuple[tuple[str, ...], str, str] | None:
    """What a task has that the executor lacks: where in it, a message, and what to do; None if nothing."""
    task, no = planned.task, f"is not available with `--executor {executor}`"
    if task.ready is not None and f"ready.{task.ready.kind}" in lacks:
        kind = task.ready.kind
        help = f"use `command` or `log`; task {quote(planned.name)} runs on another host than mprun"
        return ("ready", kind), f"a `ready` probe by `{kind}` {no}", help
    if task.artifacts and "artifacts" in lacks:
        help = "return what is to be kept, or write it to a directory that all hosts share"
        return ("artifacts",), f"`artifacts` {no}", help
    if task.is_compared and "inputs" in lacks:
        key = "outputs" if task.inputs is None else "inputs"
        return (key,), f"`{key}` {no}", "remove it: the task always runs there"
    if task.host and "host" in lacks:
        return ("host",), f"`host` {no}", "use `--executor dask`"
    return None
