"""Before the first start: the launcher imports every target and binds it to its arguments."""

from __future__ import annotations

import os
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import secrets
from mprun.engine.poller import Poller
from mprun.engine.signals import REQUEST, SUSPEND
from mprun.executors.base import Call, ExecutorLost, Importing, PrepareReply, PrepareRequest
from mprun.jobfile.references import Reference, Scope, references
from mprun.jobfile.resolution import Resolver, as_text, resolve
from mprun.record.state_dir import MAIN_LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.engine.signals import SignalInbox
    from mprun.executors.base import Executor, Report
    from mprun.jobfile.model import Task
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan

# How long the imports of the targets may take by default.
IMPORT_TIMEOUT_SECONDS = 60.0
# After this time, in seconds, the user is told what is being imported.
SLOW_IMPORT_SECONDS = 1.0
_NEVER = float("inf")


class Interrupted(Exception):
    """A signal that ends the run arrived before the first start; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def send_request(plan: Plan, executor: Executor, directory: RunDirectory) -> None:
    """Ask the executor to import and bind every target; `wait_for_reply` waits for the answer."""
    if any(map(attrgetter("task.host"), plan.tasks)) and "host" in executor.unsupported:
        # Few jobs have it.
        from mprun.jobfile.host_needs import refuse_without_hosts

        refuse_without_hosts(plan.tasks)
    executor.prepare(_prepare_request(plan, directory))
    executor.flush()


def wait_for_reply(
    executor: Executor,
    inbox: SignalInbox,
    timeout: float,
    warn: Callable[[str], None],
    handle_slow: Callable[[int], None],
    handle_other: Callable[[Report], None],
    failure: Callable[[str, int | None], Exception],
) -> PrepareReply:
    """Wait until every target was imported and bound.

    `handle_slow` is called with the number of each import that takes longer than SLOW_IMPORT_SECONDS,
    `handle_other` with each report of something else, also after the reply.

    Raises what `failure` makes of how the executor was lost ("" if all imports together take longer than
    `timeout` seconds), and of the import that had begun, None if there was none; Interrupted if a signal
    that ends the run arrives.
    """
    poller = Poller(executor, inbox, warn)
    importing: int | None = None
    deadline, slow_at = time.monotonic() + timeout, _NEVER
    reply: PrepareReply | None = None
    while reply is None:
        if not poller.wait(max(0.0, min(deadline, slow_at) - time.monotonic())):
            if time.monotonic() >= deadline:
                raise failure("", importing)
            if time.monotonic() >= slow_at and importing is not None:
                handle_slow(importing)
                slow_at = _NEVER
        deadline += _handle_signals(inbox)
        for report in executor.receive():
            if isinstance(report, Importing):
                importing, slow_at = report.number, time.monotonic() + SLOW_IMPORT_SECONDS
            elif isinstance(report, PrepareReply):
                reply = report
            elif isinstance(report, ExecutorLost) and reply is None:
                raise failure(report.how, importing)
            else:
                handle_other(report)
    inbox.restore()
    return reply


def module_of(plan: Plan, number: int) -> str:
    """The name of the module that is imported under this number: see `Importing`."""
    if number < 0:
        return plan.job.preload[-1 - number]
    return distinct_calls(plan)[number][0].target.partition(":")[0]


def _handle_signals(inbox: SignalInbox) -> float:
    """Suspend on Ctrl-Z; the seconds that it took. Raises Interrupted for a signal that ends the run."""
    suspended = 0.0
    for received in inbox.take():
        number = received[0]
        if number == REQUEST:
            # `mprun stop TASK`: the run answers it once it has begun.
            inbox.defer(received)
            continue
        if number != SUSPEND:
            raise Interrupted(number)
        # No task is running yet, so only this process is suspended; the imports may go ahead.
        began = time.monotonic()
        inbox.suspend_self()
        suspended += time.monotonic() - began
    return suspended


def _prepare_request(plan: Plan, directory: RunDirectory) -> PrepareRequest:
    return PrepareRequest(
        run_id=directory.run_id,
        cwd=plan.cwd,
        import_path=tuple(dict.fromkeys((*plan.job.import_path, plan.cwd or os.getcwd()))),
        log=MAIN_LOG,
        folders=(directory.logs.place(), directory.results.place()),
        start_method=plan.start_method,
        methods=tuple({planned.start_method for planned in plan.tasks}),
        preload=plan.job.preload,
        max_parallel=plan.max_parallel,
        env={**env_texts(plan.job.env), "MPRUN_RUN_DIR": directory.path},
        calls=tuple(call for call, _ in distinct_calls(plan)),
        secrets=tuple(secrets()),
        identity=directory.identity,
        tell_imports=any(map(attrgetter("task.is_compared"), plan.tasks)),
    )


def env_texts(env: dict[str, Any]) -> dict[str, str]:
    """Variables with the secrets that they contain, without those that are known only during the run."""
    if not env:
        return {}
    # Each value has its own scope.
    values = resolve(env, Resolver(Scope(params={}, env={}), reveal=True)).items()
    return {name: as_text(value) for name, value in values if next(references([value]), None) is None}


def distinct_calls(plan: Plan) -> list[tuple[Call, list[Task]]]:
    """Every different call of the plan, once, with the tasks that make it.

    One call each for 100,000 tasks that make the same one would take 14 MB in the launcher,
    which would bind them one by one.
    """
    found: dict[Any, tuple[Call, list[Task]]] = {}
    for task, args, kwargs in _tasks_with_target(plan):
        # A signature is bound by the number of arguments and their names; their values do not matter.
        known = isinstance(args, (list, tuple)) and _has_names(kwargs)
        key = (task.target, len(args), *kwargs) if known else task.target
        if key not in found:
            call = Call(
                target=task.target or "",
                args=(None,) * len(args) if known else None,
                kwargs=dict.fromkeys(kwargs) if known else {},
            )
            found[key] = call, []
        found[key][1].append(task)
    return list(found.values())


def _has_names(kwargs: Any) -> bool:
    """Whether the names of arguments are known: keys, or all of them, may be references to results."""
    return isinstance(kwargs, dict) and all(isinstance(name, str) for name in kwargs)


def _tasks_with_target(plan: Plan) -> Iterator[tuple[Task, Any, Any]]:
    """The tasks that have a target, with args and kwargs as far as they are known.

    A task with many instances appears once, unless its arguments differ between them.
    """
    # By the id of a task: whether its arguments differ.
    seen: dict[int, bool] = {}
    for planned in plan.tasks:
        task = planned.task
        if task.target is None or seen.get(id(task)) is False:
            continue
        seen[id(task)] = isinstance(task.args, Reference) or not _has_names(task.kwargs)
        args, kwargs = task.args, task.kwargs
        if task.refers:
            resolver = Resolver(task.scope, task.axes, planned.values, reveal=True)
            args, kwargs = resolve(args, resolver), resolve(kwargs, resolver)
        yield task, args, kwargs
