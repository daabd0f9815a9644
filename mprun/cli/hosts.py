"""The option `--executor dask`: the hosts on which a run starts its tasks."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.errors import JobFileError, UsageError
from mprun.executors.dask.executor import DaskExecutor
from mprun.jobfile import locate
from mprun.scheduling.slots import with_slots

if TYPE_CHECKING:
    from mprun.diagnostics import Diagnostic
    from mprun.scheduling.plan import Plan

# The probes that mprun itself makes, on its own machine.
_PROBES_HERE = ("file", "http", "tcp")
# No one would read more.
_MAX_DIAGNOSTICS = 100


def connect(plan: Plan, max_parallel: int | None, running: dict[str, Any]) -> tuple[Plan, DaskExecutor]:
    """Connect to the cluster that the options of a run name; the plan with the slots that it has.

    These are no more than the job and `max_parallel` allow. Raises JobFileError if the job has what is not
    there on several hosts, UsageError if there are none.
    """
    for name in ("scheduler", "scheduler_file"):
        if running[name] and running["executor"] == "local":
            raise UsageError(f"`--{name.replace('_', '-')}` is only valid with `--executor dask`")
    if importlib.util.find_spec("distributed") is None:
        raise UsageError(
            "`--executor dask` needs the package `distributed`; install it with `pip install 'mprun[dask]'`, "
            "here and on every host"
        )
    if running["scheduler"] and running["scheduler_file"]:
        raise UsageError("`--scheduler` and `--scheduler-file` both name a scheduler; use one of them")
    if diagnostics := _unsupported(plan):
        raise JobFileError(diagnostics)
    options = {name: running[name] for name in ("scheduler", "scheduler_file", "host_timeout")}
    executor = DaskExecutor(options)
    executor.wait()
    limit = max_parallel or plan.job.max_parallel
    slots = min(limit, executor.slots) if limit else executor.slots
    return with_slots(plan, slots, cpus=executor.slots), executor


def _unsupported(plan: Plan) -> list[Diagnostic]:
    # Once for all instances of a task.
    found: dict[int, Diagnostic] = {}
    for planned in plan.tasks:
        task = planned.task
        diagnostic = None
        if task.ready is not None and task.ready.kind in _PROBES_HERE:
            kind = task.ready.kind
            message = f"a `ready` probe by `{kind}` is not available with `--executor dask`"
            help = f"use `command` or `log`; task {quote(planned.name)} runs on another host than mprun"
            diagnostic = locate.task_diagnostic(task, ("ready", kind), message, help, key=True)
        elif task.artifacts:
            message = "`artifacts` is not available with `--executor dask`"
            help = "return what is to be kept, or write it to a directory that all hosts share"
            diagnostic = locate.task_diagnostic(task, ("artifacts",), message, help, key=True)
        if diagnostic is not None:
            found.setdefault(id(task), diagnostic)
            if len(found) >= _MAX_DIAGNOSTICS:
                break
    return list(found.values())
