"""Observes running attempts: whether one is ready, and whether its log exceeds its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mprun.engine.log_limits import LogLimits
    from mprun.engine.poller import Poller
    from mprun.engine.readiness import Prober
    from mprun.engine.resolver import TaskResolver
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Started
    from mprun.jobfile.model import Ready
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_dir import RunDirectory


class AttemptMonitor:
    """The readiness probes and log limits of one run's attempts, each made when a task first needs it."""

    def __init__(
        self, poller: Poller, directory: RunDirectory, table: TaskTable, resolver: TaskResolver
    ) -> None:
        self._poller = poller
        self._directory = directory
        self._table = table
        self._resolver = resolver
        self._prober: Prober | None = None
        self._log_limits: LogLimits | None = None

    @property
    def interval(self) -> float | None:
        """Seconds until the logs are to be checked again, None if there is none to check."""
        return None if self._log_limits is None else self._log_limits.interval

    def handle_started(self, report: Started) -> None:
        """Observe this attempt from now on, if its task asks for it."""
        task = self._table.tasks[report.key[0]].task
        if task.limits is not None and task.limits.log is not None:
            self._limit_log(report.key, task.limits.log)
        if task.ready is not None:
            self._probe(report, task.ready)

    def handle_exited(self, key: AttemptKey) -> str:
        """Observe it no more; why it was not ready, empty if it was or had no need to be."""
        if self._log_limits is not None:
            self._log_limits.forget(key)
        if self._prober is None:
            return ""
        reason = self._prober.reason(key)
        self._prober.forget(key)
        return reason

    def handle_ready(self, key: AttemptKey) -> None:
        """It is ready: probe no more."""
        if self._prober is not None:
            self._prober.forget(key)

    def handle_stopping(self, key: AttemptKey) -> None:
        """It was asked to end: probe no more, but keep the last answer for `handle_exited`."""
        if self._prober is not None:
            self._prober.stop(key)

    def take_ready(self) -> list[AttemptKey]:
        """The attempts that became ready since the last call."""
        return [] if self._prober is None else self._prober.take_ready()

    def take_over_log_limit(self) -> list[AttemptKey]:
        """The attempts whose log exceeds its limit, each once."""
        return [] if self._log_limits is None else self._log_limits.exceeded()

    def close(self) -> None:
        """End the threads of the probes."""
        if self._prober is not None:
            self._prober.close()

    def _limit_log(self, key: AttemptKey, limit: int) -> None:
        if self._log_limits is None:
            from mprun.engine.log_limits import LogLimits

            self._log_limits = LogLimits()
        number, attempt = key
        self._log_limits.add(key, self._directory.log(self._table.tasks[number].name, attempt), limit)

    def _probe(self, report: Started, ready: Ready) -> None:
        if self._prober is None:
            # Few jobs have a probe.
            from mprun.engine.readiness import Prober

            self._prober = Prober()
            self._poller.add(self._prober.fileno())
        number, attempt = report.key
        log = self._directory.log(self._table.tasks[number].name, attempt)
        cwd = self._resolver.call(number).cwd or self._resolver.cwd
        self._prober.start(report.key, ready, log, cwd, report.pid)
