"""Builds the events of a run from what was reported and decided, with names and timestamps."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import redact
from mprun.engine.fact_queue import OwnDecisions, Planned
from mprun.engine.signals import exit_signal
from mprun.executors.base import Exited, NotStarted, StartCancelled, Started
from mprun.jobfile.resolution import Resolver, as_text, resolve, shown
from mprun.linux import procfs
from mprun.outcomes import Outcome
from mprun.record import events, results
from mprun.record.packed_details import pack_needs, pack_values
from mprun.scheduling.instructions import Expand, Finish, Join, MarkReady, ScheduleRetry, Signal
from mprun.scheduling.retry import FAILURES, FLAKY, is_flaky

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.clock import Clock
    from mprun.engine.fact_queue import Fact
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import PrepareReply
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.verdict import Verdict
    from mprun.trace_context import TraceParent

_NO_USAGE: dict[str, Any] = {}


# Characters of an item, as it is shown beside the name of its instance.
_ITEM_CHARACTERS = 40


class EventBuilder:
    """Builds the events of one run.

    `lost_output` says how many bytes of a task's log are seen to be lost by who shows it, `queued`
    for how long an attempt was ready before it had a process, and what tokens it lacked.
    """

    def __init__(
        self,
        plan: Plan,
        table: TaskTable,
        directory: RunDirectory,
        clock: Clock,
        lost_output: Callable[[str], int],
        queued: Callable[[int, int], tuple[float, str] | None],
        trace_parent: TraceParent | None = None,
    ) -> None:
        self._plan = plan
        self._table = table
        self._directory = directory
        self._clock = clock
        self._run = directory.run_id
        self._host = os.uname().nodename
        self._lost_output = lost_output
        self._queued = queued
        self._trace_parent = trace_parent
        self.builders: dict[type, Callable[[Any], events.Event]] = {
            Started: self._task_started,
            Exited: self._task_exited,
            Finish: self._task_finished,
            Join: self._task_joined,
            Signal: self._task_stopping,
            ScheduleRetry: self._task_retrying,
            MarkReady: self._task_ready,
            Planned: lambda planned: self._tasks_planned("", planned.first, planned.tasks),
            Expand: self._instances_planned,
        }
        # Of the present call of `to_events`: the time of what the engine decided, and that of the fact
        # at hand, and whether any attempt has left a file.
        self._decided = self._time = ""
        self._has_results: bool | None = None
        # The tasks with a result that is not in its event, since the caller has cleared the list.
        self.outside_results: list[int] = []

    def _now(self) -> str:
        return self._clock.iso(self._clock.now())

    def run_started(
        self, begun: float, prepared: PrepareReply, options: dict[str, Any], resumed_from: str | None
    ) -> events.RunStarted:
        """The first event; `begun` is a reading of the monotonic clock, in seconds."""
        plan, parent = self._plan, self._trace_parent
        packages = dict(plan.job.packages)
        return events.RunStarted(
            time=self._clock.iso(begun),
            run=self._run,
            job=plan.job.name,
            file=plan.job.path,
            cwd=plan.cwd or os.getcwd(),
            state_dir=self._directory.state.path,
            host=self._host,
            pid=os.getpid(),
            main_pid=prepared.pid,
            main_name=prepared.name,
            cpus=plan.cpus,
            tasks=len(plan.tasks),
            at_once=plan.max_concurrency,
            max_parallel=plan.max_parallel,
            mode=plan.mode,
            start_method=plan.start_method,
            boot_id=procfs.boot_id(),
            python=".".join(map(str, sys.version_info[:3])),
            params=plan.job.params,
            options=options,
            resumed_from=resumed_from,
            files=tuple(_file(path, sha256, packages.get(path)) for path, sha256 in plan.job.files),
            resources=plan.job.resources,
            hosts=prepared.hosts or None,
            trace=None if parent is None else {"parent": parent.to_text(), "state": parent.state},
        )

    def to_events(self, facts: Sequence[Fact], decided: float | None) -> list[events.Event]:
        """The events of reports and instructions, in their order; some have none.

        What follows from a report has its time, so that a task is joined before the launcher starts
        the next one. What the engine decided itself has the time `decided`, of the monotonic clock, None if
        it continues the facts of the last call.
        """
        if decided is not None:
            self._decided = self._time = self._clock.iso(decided)
        self._has_results = None
        built = []
        for fact in facts:
            build = self.builders.get(type(fact))
            if build is not None:
                built.append(build(fact))
            elif type(fact) is OwnDecisions:
                self._time = self._decided
            elif type(fact) is NotStarted or type(fact) is StartCancelled:
                self._time = self._clock.iso(fact.clock)
        return built

    def _instances_planned(self, expand: Expand) -> events.TasksPlanned:
        tasks = self._table.tasks
        first = expand.first
        return self._tasks_planned(tasks[expand.task].name, first, tasks[first : first + expand.count])

    def _tasks_planned(self, group: str, first: int, tasks: Sequence[PlannedTask]) -> events.TasksPlanned:
        of_foreach = [task for task in tasks if task.values and "item" in task.task.axes]
        return events.TasksPlanned(
            time=self._time,
            run=self._run,
            group=group,
            tasks=tuple([task.name for task in tasks]),
            items={task.name: _shown_item(task) for task in of_foreach},
            needs=pack_needs(tasks),
            resources=pack_values(first, [one.task.resources for one in tasks]),
            env=pack_values(first, [tuple(one.task.env) for one in tasks]),
        )

    def _task_started(self, report: Started) -> events.TaskStarted:
        number, attempt = report.key
        planned = self._table.tasks[number]
        self._time = self._clock.iso(report.clock)
        return events.TaskStarted(
            time=self._time,
            run=self._run,
            task=planned.name,
            attempt=attempt,
            pid=report.pid,
            ppid=report.ppid,
            start_ticks=report.start_ticks,
            host=report.host or self._host,
            daemon=planned.task.daemon,
            target=_shown_target(planned),
            queued=self._queue_time(number, attempt) if planned.task.resources else None,
        )

    def _queue_time(self, number: int, attempt: int) -> dict[str, Any] | None:
        found = self._queued(number, attempt)
        return found and {"seconds": round(found[0], 6), "lacked": found[1]}

    def _task_ready(self, instruction: MarkReady) -> events.TaskReady:
        name = self._table.tasks[instruction.task].name
        return events.TaskReady(time=self._time, run=self._run, task=name, attempt=instruction.attempt)

    def _task_exited(self, report: Exited) -> events.TaskExited:
        number, attempt = report.key
        name = self._table.tasks[number].name
        code, usage, error = report.exit_code, _NO_USAGE, None
        if self._may_have_results():
            files = self._directory.result_files(name, attempt)
            usage = results.read_usage(files)
            error = results.read_error(files) if code != 0 or report.unfinished else None
        self._time = self._clock.iso(report.clock)
        return events.TaskExited(
            time=self._time,
            run=self._run,
            task=name,
            attempt=attempt,
            pid=report.pid,
            exit_code=code,
            signal=exit_signal(code),
            core_dumped=report.core_dumped,
            duration=report.duration,
            cpu=report.cpu if report.cpu is not None else usage.get("cpu"),
            max_rss=report.max_rss if report.max_rss is not None else usage.get("max_rss"),
            threads=max(report.threads, usage.get("threads", 1)),
            error=error,
            orphans=tuple(report.orphans),
            left_running=tuple(report.left_running),
            lost_output=max(report.lost_output, self._lost_output(name)),
            process_names=report.process_names,
        )

    def _may_have_results(self) -> bool:
        """Whether any attempt has left a result, an error or its usage.

        Checked once for all facts of a call: most tasks leave none of the three files, and to
        look for them would be a tenth of what a task costs the engine.
        """
        if self._has_results is None:
            self._has_results = self._directory.has_results()
        return self._has_results

    def _task_finished(self, instruction: Finish) -> events.TaskFinished:
        planned = self._table.tasks[instruction.task]
        result, kind = None, "none"
        if instruction.outcome == Outcome.SUCCEEDED:
            if instruction.attempts:
                if self._may_have_results():
                    result, kind = results.read_result(
                        self._directory.result_files(planned.name, instruction.attempts)
                    )
                    if kind in ("repr", "file"):
                        self.outside_results.append(instruction.task)
            elif planned.task.foreach is not None:
                # The list of its items was empty.
                result, kind = [], "json"
        flaky = is_flaky(planned, instruction.outcome, instruction.attempts - instruction.excused)
        reason = FLAKY if flaky and self._plan.fails_if_flaky(planned.task) else redact(instruction.reason)
        return events.TaskFinished(
            time=self._time,
            run=self._run,
            task=planned.name,
            # A plain string: the state of a run packs its facts with marshal, which takes no other.
            outcome=str(instruction.outcome),
            attempts=instruction.attempts,
            reason=reason,
            result=result,
            result_kind=kind,
            allowed=instruction.outcome in FAILURES and planned.task.allow_failure,
            reused=planned.reused is not None,
            flaky=flaky,
        )

    def _task_joined(self, instruction: Join) -> events.TaskJoined:
        name = self._table.tasks[instruction.task].name
        return events.TaskJoined(
            time=self._time, run=self._run, task=name, position=instruction.position, of=instruction.of
        )

    def _task_retrying(self, instruction: ScheduleRetry) -> events.TaskRetrying:
        return events.TaskRetrying(
            time=self._time,
            run=self._run,
            task=self._table.tasks[instruction.task].name,
            attempt=instruction.attempt,
            delay=instruction.delay,
            reason=instruction.reason,
        )

    def _task_stopping(self, instruction: Signal) -> events.TaskStopping:
        return events.TaskStopping(
            time=self._time,
            run=self._run,
            task=self._table.tasks[instruction.task].name,
            attempt=instruction.attempt,
            signal=instruction.signal,
            reason=instruction.reason,
        )

    def run_finished(
        self, begun: float, ended: Verdict, launcher: dict[str, Any] | None
    ) -> events.RunFinished:
        """The last event; `launcher` is what the launcher has used."""
        return events.RunFinished(
            time=self._now(),
            run=self._run,
            outcome=str(ended.outcome),
            exit_code=ended.exit_code,
            duration=self._clock.now() - begun,
            counts=ended.counts,
            allowed=ended.allowed,
            flaky=ended.flaky,
            reason=redact(ended.reason),
            # From /proc, because `resource` would have to be imported.
            engine=procfs.usage(os.getpid()),
            launcher=launcher,
        )


def _shown_item(planned: PlannedTask) -> str:
    """The item of an instance of a `foreach` in short, without secrets."""
    task = planned.task
    value = planned.values[task.axes.index("item")]
    text = redact(as_text(shown(resolve(value, Resolver(task.scope, task.axes, planned.values)))))
    return text if len(text) <= _ITEM_CHARACTERS else f"{text[: _ITEM_CHARACTERS - 1]}…"


def _shown_target(planned: PlannedTask) -> str:
    """What a task runs, without secrets and results."""
    task = planned.task
    if task.command is None:
        return task.target or ""
    # Few tasks are commands.
    from shlex import join

    words = resolve(task.command, Resolver(task.scope, task.axes, planned.values))
    # Before they are quoted: a secret with a quote in it would not be found any more.
    return join([redact(as_text(shown(word))) for word in words])


def _file(path: str, sha256: str, package: str | None) -> dict[str, str]:
    file = {"path": path, "sha256": sha256}
    return file if package is None else {**file, "package": package}
