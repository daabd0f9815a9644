"""Holds back the reports of attempts that have ended until their output and readiness are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.engine.expectations import output_problem
from mprun.engine.output_checks import OutputChecks
from mprun.executors.base import ExecutorLost, Exited, Probed, Started
from mprun.scheduling.instructions import RUN_FINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.clock import Clock
    from mprun.engine.attempt_monitor import AttemptMonitor
    from mprun.engine.poller import Poller
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Report
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_dir import RunDirectory

# A run that ends early waits this long for the answers, in seconds.
_WAIT_SECONDS = 5.0
_NOT_MATCHED = "it was not matched before the end of the run"


class PendingExits:
    """The reports of ends that wait for a pattern to be matched, in a thread or process, or a probe.

    To everything else such a report arrives late, with the time at which the attempt has ended.
    """

    def __init__(
        self,
        poller: Poller,
        monitor: AttemptMonitor,
        table: TaskTable,
        directory: RunDirectory,
        clock: Clock,
    ) -> None:
        self._monitor = monitor
        self._table = table
        self._directory = directory
        self._clock = clock
        self._checks = OutputChecks()
        poller.add(self._checks.fileno())
        self._held: dict[AttemptKey, Exited] = {}
        # Why the output of an attempt is not as expected: of those that have an answer.
        self._problems: dict[AttemptKey, str] = {}
        self._ending_since: float | None = None
        # Those whose start was in the same turn: the monitor does not know of them yet.
        self._unread: list[AttemptKey] = []

    def admit(self, reports: Sequence[Report], end_reason: str | None) -> list[Report]:
        """The reports that can be handled now: of these, and of those that were held back.

        `end_reason` is why the run ends, None while it does not.
        """
        admitted: list[Report] = []
        probed: set[AttemptKey] = set()
        unread, self._unread = [self._held[key] for key in self._unread if key in self._held], []
        started = {report.key for report in reports if isinstance(report, Started)}
        for report in (*unread, *reports):
            if isinstance(report, Exited) and self._hold(report, is_new=report.key in started):
                continue
            if isinstance(report, ExecutorLost):
                admitted += self._give_up()
            elif isinstance(report, Probed) and self._monitor.is_last(report):
                # It is handled before the end of its attempt.
                probed.add(report.key)
            admitted.append(report)
        self._problems |= self._checks.take()
        if self._unread:
            self._checks.wake()
        known = [key for key in self._held if key not in self._unread and self._is_known(key, probed)]
        admitted += [self._held.pop(key) for key in known]
        if self._held and self._is_overdue(end_reason):
            admitted += self._give_up()
        return admitted

    def take_output_problem(self, key: AttemptKey) -> str:
        """Why the output of an attempt is not as expected; empty if it is."""
        return self._problems.pop(key, "")

    def close(self) -> None:
        """End the thread and the process that match."""
        self._checks.close()

    def _hold(self, report: Exited, *, is_new: bool) -> bool:
        """Hold a report back if it must wait; `is_new` is whether the start is reported together with it."""
        if is_new and self._may_prove_late(report):
            self._unread.append(report.key)
        elif not self._must_wait(report):
            self._held.pop(report.key, None)
            return False
        self._held[report.key] = report
        return True

    def _must_wait(self, report: Exited) -> bool:
        """Begin what this report needs; whether that takes a while."""
        if report.exit_code is None:
            return False
        planned = self._table.tasks[report.key[0]]
        expect = planned.task.expect
        waits = self._monitor.read_to_end(report.key)
        if expect is not None and expect.output is not None:
            log = self._directory.log_file(planned.name, report.key[1])
            problem = self._checks.check(report.key, expect.output, log)
            if problem is None:
                return True
            self._problems[report.key] = problem
        return waits

    def _may_prove_late(self, report: Exited) -> bool:
        """Whether what an attempt has left may show that it was ready."""
        ready = self._table.tasks[report.key[0]].task.ready
        return ready is not None and report.exit_code is not None and self._monitor.may_prove_late(ready)

    def _is_known(self, key: AttemptKey, probed: set[AttemptKey]) -> bool:
        expect = self._table.tasks[key[0]].task.expect
        if expect is not None and expect.output is not None and key not in self._problems:
            return False
        return key in probed or self._monitor.was_read_to_end(key)

    def _is_overdue(self, end_reason: str | None) -> bool:
        if end_reason in (None, RUN_FINISHED):
            return False
        now = self._clock.timed()
        if self._ending_since is None:
            self._ending_since = now
        return now >= self._ending_since + _WAIT_SECONDS

    def _give_up(self) -> list[Report]:
        """All held reports; what is not known by now is a failure."""
        for key in self._held:
            expect = self._table.tasks[key[0]].task.expect
            if expect is not None and expect.output is not None:
                self._problems.setdefault(key, output_problem(expect.output, False, _NOT_MATCHED))
        released: list[Report] = list(self._held.values())
        self._held.clear()
        return released
