"""What comes before the first start: every target imported and bound, in the launcher."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, Any

from mprun.engine.signals import SUSPEND
from mprun.executors.base import Call, Importing, Lost, PrepareReply, PrepareRequest
from mprun.jobfile.references import Reference, Resolver, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.engine.signals import SignalInbox
    from mprun.executors.base import Executor
    from mprun.jobfile.model import Task
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan

# How long the targets' imports may take, in seconds, where nobody said.
START_TIMEOUT = 60.0
# When nothing is heard of the executor for so long, in seconds, it is looked whether it stands still.
LOOK = 1.0
STOPPED = "somebody has stopped the main process of the job (SIGSTOP): it goes on"


class Interrupted(Exception):
    """A signal came before anything was started; its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def begin(plan: Plan, executor: Executor, directory: RunDirectory) -> None:
    """Have every target imported and bound, before anything is started; `end` waits for it."""
    executor.prepare(_preparation(plan, directory))
    executor.flush()


def end(executor: Executor, notes: SignalInbox, timeout: float, warn: Callable[[str], None]) -> PrepareReply:
    """Wait until every target was imported and bound.

    Raises ImportFailure where an import ends the launcher or is not over after `timeout`
    seconds, Interrupted where a signal came.
    """
    watch = Poller(executor, notes, warn)
    importing: int | None = None
    deadline = time.monotonic() + timeout
    while True:
        if not watch.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
            raise ImportFailure(f"takes longer than {timeout:g}s (--start-timeout)", importing)
        for number in notes.take():
            if number != SUSPEND:
                raise Interrupted(number)
            # Nothing has been started; what is imported meanwhile is imported.
            began = time.monotonic()
            notes.suspend_self()
            deadline += time.monotonic() - began
        for report in executor.receive():
            if isinstance(report, Importing):
                importing = report.number
            elif isinstance(report, PrepareReply):
                return report
            elif isinstance(report, Lost):
                raise ImportFailure(f"ended the process that imports: {report.how}", importing)


class ImportFailure(Exception):
    """What became of the launcher while it imported the target of this task.

    `number` is the call's place among those of the plan, None where no import had begun.
    """

    def __init__(self, what: str, number: int | None) -> None:
        super().__init__(what)
        self.number = number


def _preparation(plan: Plan, directory: RunDirectory) -> PrepareRequest:
    return PrepareRequest(
        run_id=directory.run_id,
        import_path=(os.getcwd(), *plan.job.pythonpath),
        log=directory.main_log,
        start_method=plan.start_method,
        methods=tuple({planned.start_method for planned in plan.tasks}),
        preload=plan.job.preload,
        max_parallel=plan.max_parallel,
        calls=tuple(call for call, _ in calls(plan)),
    )


def calls(plan: Plan) -> list[tuple[Call, list[Task]]]:
    """Every call of the plan to be bound, once, with the tasks that make it.

    100,000 tasks that call the same would be 14 MB more in the launcher, to be bound one by one.
    """
    found: dict[Any, tuple[Call, list[Task]]] = {}
    for task, args, kwargs in _called(plan):
        # What only the run will tell is not looked at: a signature asks how many, and by what name.
        known = isinstance(args, (list, tuple)) and isinstance(kwargs, dict)
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


def _called(plan: Plan) -> Iterator[tuple[Task, Any, Any]]:
    """The tasks that call a target, most of them once, with its arguments as far as they are known."""
    seen: set[int] = set()
    for planned in plan.tasks:
        task = planned.task
        if task.target is None:
            continue
        of_instance = isinstance(task.args, Reference) or isinstance(task.kwargs, Reference)
        if id(task) in seen and not of_instance:
            continue
        seen.add(id(task))
        args, kwargs = task.args, task.kwargs
        if task.refers:
            lookup = Resolver(task.scope, task.axes, planned.values, reveal=True)
            args, kwargs = resolve(args, lookup), resolve(kwargs, lookup)
        yield task, args, kwargs


class Poller:
    """Waits for what an executor reports and for signals; `signalled` says that one came.

    An executor that stands still is made to go on, and `warn` is told.
    """

    def __init__(self, executor: Executor, notes: SignalInbox, warn: Callable[[str], None]) -> None:
        self._executor = executor
        self._notes = notes
        self._warn = warn
        self.signalled = False
        self._sent = True
        self._poll = select.poll()
        self._poll.register(executor.fileno(), select.POLLIN)
        self._poll.register(notes.fileno(), select.POLLIN)

    def add(self, descriptor: int) -> None:
        """Wake up for this one, too."""
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, timeout: float | None) -> bool:
        """Hand over what is queued, then wait at most `timeout` seconds; whether something came.

        It never waits for longer than LOOK: who waits asks again.
        """
        sent = self._executor.flush()
        if sent != self._sent:
            self._sent = sent
            events = select.POLLIN if sent else select.POLLIN | select.POLLOUT
            self._poll.modify(self._executor.fileno(), events)
        # Rounded up, so that a deadline is over when the wait for it is.
        ready = self._poll.poll(int(min(LOOK if timeout is None else timeout, LOOK) * 1000) + 1)
        self.signalled = any(descriptor == self._notes.fileno() for descriptor, _ in ready)
        if not ready and self._executor.wake():
            self._warn(STOPPED)
        return bool(ready)
