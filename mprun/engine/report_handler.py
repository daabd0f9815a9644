"""Passes the reports of the executor to the scheduler, with what else it must know of an attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun import failpoints
from mprun.engine.attempt_result import attempt_result
from mprun.engine.signals import exit_signal
from mprun.executors.base import ExecutorLost, Exited, NotStarted, Probed, StartCancelled, Started
from mprun.jobfile.references import ReferenceProblem
from mprun.outcomes import format_exit
from mprun.scheduling.retry import AttemptResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.clock import Clock
    from mprun.engine.attempt_monitor import AttemptMonitor
    from mprun.engine.pending_exits import PendingExits
    from mprun.engine.poller import Poller
    from mprun.engine.resolver import TaskResolver
    from mprun.engine.task_table import TaskTable
    from mprun.engine.unchanged_checks import UnchangedChecks
    from mprun.executors.base import Report
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.scheduler import Scheduler


class ReportHandler:
    """Turns each report into the scheduler's instructions; `failure` says how the executor was lost."""

    def __init__(
        self,
        poller: Poller,
        scheduler: Scheduler,
        table: TaskTable,
        resolver: TaskResolver,
        monitor: AttemptMonitor,
        directory: RunDirectory,
        clock: Clock,
    ) -> None:
        self._poller = poller
        self._pending: PendingExits | None = None
        # Of jobs with tasks that say `inputs` or `outputs`.
        self.unchanged: UnchangedChecks | None = None
        self._scheduler = scheduler
        self._table = table
        self._resolver = resolver
        self._monitor = monitor
        self._directory = directory
        self._clock = clock
        self.failure = ""
        # The attempts of which no report is accepted any more, because of a defect.
        self.untracked: set[AttemptKey] = set()
        self.handlers: dict[type, Callable[[Any], list[Instruction]]] = {
            Started: self._handle_started,
            Exited: self._handle_exited,
            NotStarted: self._handle_not_started,
            StartCancelled: self._handle_start_cancelled,
            Probed: self._handle_probed,
            ExecutorLost: self._handle_lost,
        }

    def admit(self, reports: list[Report]) -> list[Report]:
        """Of these reports and those that were held back, the ones that can be handled now."""
        admitted = self._admit(reports)
        if self.unchanged is not None:
            admitted = self.unchanged.admit(admitted, self._scheduler.end_reason)
        if self.untracked:
            admitted = [report for report in admitted if getattr(report, "key", None) not in self.untracked]
        return admitted

    def _admit(self, reports: list[Report]) -> list[Report]:
        if self._pending is None:
            if not any(map(self._may_have_to_wait, reports)):
                return reports
            # Few jobs have a pattern or a probe.
            from mprun.engine.pending_exits import PendingExits

            self._pending = PendingExits(
                self._poller, self._monitor, self._table, self._directory, self._clock
            )
        return self._pending.admit(reports, self._scheduler.end_reason)

    def _may_have_to_wait(self, report: Report) -> bool:
        """Whether an end may wait for what its attempt has printed, or for the last answer of a probe."""
        if type(report) is not Exited:
            return False
        task = self._table.tasks[report.key[0]].task
        is_expected = task.expect is not None and task.expect.output is not None
        ready = task.ready
        return is_expected or (
            ready is not None and (ready.kind == "command" or self._monitor.may_prove_late(ready))
        )

    def close(self) -> None:
        """End what matches patterns and what looks for changes."""
        if self.unchanged is not None:
            self.unchanged.close()
        if self._pending is not None:
            self._pending.close()

    def handle(self, report: Report) -> list[Instruction]:
        """What the scheduler decides after this report."""
        handler = self.handlers.get(type(report))
        return [] if handler is None else handler(report)

    def _handle_started(self, report: Started) -> list[Instruction]:
        self._monitor.handle_started(report)
        return self._scheduler.handle_started(report.key[0], self._clock.timed(report.clock))

    def _handle_exited(self, report: Exited) -> list[Instruction]:
        failpoints.reached("engine.exited")
        number, now = report.key[0], self._clock.timed(report.clock)
        was_ready = self._monitor.was_ready(report.key)
        not_ready = self._monitor.handle_exited(report.key)
        code = report.exit_code
        words = report.unseen or format_exit(code, exit_signal(code), report.core_dumped)
        if report.out_of_memory is not None:
            from mprun.engine.out_of_memory import out_of_memory_words

            words += out_of_memory_words(report.out_of_memory)
        if report.unseen:
            return self._lose_with_host(report, words, now)
        if report.pid in report.left_running:
            # It has not ended, and never may.
            failed = AttemptResult(succeeded=False, reason="could not be stopped", lost_output=True)
            return self._scheduler.handle_exited(number, failed, now)
        if code is None:
            return self._scheduler.handle_exit_unknown(number, words, now)
        result = self._attempt_result(report, words)
        if not_ready:
            result = result.replace(unready=not_ready)
        if was_ready:
            return self._scheduler.handle_ready(*report.key, now) + self._scheduler.handle_exited(
                number, result, now
            )
        return self._scheduler.handle_exited(number, result, now)

    def _attempt_result(self, report: Exited, words: str) -> AttemptResult:
        number = report.key[0]
        planned = self._table.tasks[number]
        task = planned.task
        if task.expect is not None:
            try:
                task = task.replace(expect=self._resolver.expect(number))
            except ReferenceProblem as error:
                return AttemptResult(succeeded=False, reason=str(error), exit_code=report.exit_code)
            # `expect` limits the time in which the run was not suspended.
            seconds = self._clock.timed(report.clock) - self._clock.timed(report.clock - report.duration)
            report = report.replace(duration=seconds)
        problem = "" if self._pending is None else self._pending.take_output_problem(report.key)
        return attempt_result(task, planned.name, report, words, self._directory, problem)

    def _handle_not_started(self, report: NotStarted) -> list[Instruction]:
        number, now = report.key[0], self._clock.timed(report.clock)
        if report.unseen:
            return self._lose_with_host(report, report.message, now)
        result = AttemptResult(succeeded=False, reason=f"could not be started: {report.message}")
        return self._scheduler.handle_exited(number, result, now)

    def _lose_with_host(self, report: Exited | NotStarted, reason: str, now: float) -> list[Instruction]:
        from mprun.engine.lost_attempts import lose_with_host

        return lose_with_host(self._scheduler, report, reason, now)

    def _handle_probed(self, report: Probed) -> list[Instruction]:
        self._monitor.handle_probed(report)
        return []

    def _handle_start_cancelled(self, report: StartCancelled) -> list[Instruction]:
        number, now = report.key[0], self._clock.timed(report.clock)
        if report.host_lost:
            return self._scheduler.handle_host_lost(number, "", now, began=False)
        return self._scheduler.handle_start_cancelled(number, now)

    def _handle_lost(self, report: ExecutorLost) -> list[Instruction]:
        self.failure = f"the main process was lost: {report.how}"
        began = self.unreported(unseen=report.unseen)
        return self._scheduler.handle_executor_lost(self.failure, began, self._clock.timed())

    def unreported(self, *, unseen: bool) -> set[int]:
        """See `mprun.engine.lost_attempts.unreported`."""
        from mprun.engine.lost_attempts import unreported

        return unreported(self._scheduler, self._table, self._directory, unseen=unseen)
