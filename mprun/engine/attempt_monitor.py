"""Observes running attempts: whether one is ready, and whether its log exceeds its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.units import duration_text
from mprun.scheduling.instructions import NOT_READY, RUN_TIMED_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.clock import Clock
    from mprun.engine.command_prober import CommandProber
    from mprun.engine.log_limits import LogLimits
    from mprun.engine.poller import Poller
    from mprun.engine.readiness import Prober
    from mprun.engine.resolver import TaskResolver
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Executor, Probed, Started
    from mprun.jobfile.model import Ready, Task
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.instructions import MarkReady


class AttemptMonitor:
    """The readiness probes and log limits of one run's attempts, each made when a task first needs it."""

    def __init__(
        self,
        poller: Poller,
        executor: Executor,
        directory: RunDirectory,
        table: TaskTable,
        resolver: TaskResolver,
        clock: Clock,
    ) -> None:
        self._poller = poller
        self._executor = executor
        self._directory = directory
        self._table = table
        self._resolver = resolver
        self._clock = clock
        self._prober: Prober | None = None
        self._command_prober: CommandProber | None = None
        self._log_limits: LogLimits | None = None

    @property
    def interval(self) -> float | None:
        """Seconds until a log is to be checked again, or a command is to probe; None if none is."""
        if self._log_limits is None and self._command_prober is None:
            return None
        limits, prober = self._log_limits, self._command_prober
        intervals = (None if limits is None else limits.interval, None if prober is None else prober.interval)
        return min((seconds for seconds in intervals if seconds is not None), default=None)

    def handle_started(self, report: Started) -> None:
        """Observe this attempt from now on, if its task asks for it."""
        task = self._table.tasks[report.key[0]].task
        if task.limits is not None and task.limits.log is not None:
            self._limit_log(report.key, task.limits.log)
        if task.ready is not None:
            self._probe(report, task.ready)

    def was_ready(self, key: AttemptKey) -> bool:
        """Whether an attempt that has ended by itself was ready, although `take_ready` has not said so."""
        return any(prober.was_ready(key) for prober in self._probers())

    def read_to_end(self, key: AttemptKey) -> bool:
        """Get the last answer for an attempt that has ended, if that may show that it was ready.

        Its log is read to its end, and a try of a command that is running is ended. False if nothing is to
        come; else `was_read_to_end` is true later.
        """
        return any(prober.read_to_end(key) for prober in self._probers())

    def was_read_to_end(self, key: AttemptKey) -> bool:
        """Whether no answer is to come for an attempt that has ended."""
        return all(prober.was_read_to_end(key) for prober in self._probers())

    def handle_exited(self, key: AttemptKey) -> str:
        """Observe it no more; why it was not ready, empty if it was or had no need to be."""
        if self._log_limits is not None:
            self._log_limits.forget(key)
        reason = ""
        for prober in self._probers():
            reason = reason or prober.reason(key)
            prober.forget(key)
        return reason

    def handle_ready(self, ready: MarkReady) -> None:
        """It is ready: probe no more."""
        for prober in self._probers():
            prober.forget((ready.task, ready.attempt))

    def handle_stopping(self, key: AttemptKey) -> None:
        """It was asked to end: probe no more, but keep the last answer for `handle_exited`."""
        for prober in self._probers():
            prober.stop(key)

    def handle_probed(self, report: Probed) -> None:
        """A command that probes an attempt has ended."""
        if self._command_prober is not None:
            self._command_prober.handle_probed(report)

    def take_ready(self) -> list[AttemptKey]:
        """The attempts that became ready since the last call; also begins the tries that are due."""
        if self._command_prober is not None:
            self._command_prober.tick()
        return [key for prober in self._probers() for key in prober.take_ready()]

    def take_over_log_limit(self) -> list[AttemptKey]:
        """The attempts whose log exceeds its limit, each once."""
        return [] if self._log_limits is None else self._log_limits.exceeded()

    def close(self) -> None:
        """End the threads of the probes."""
        if self._prober is not None:
            self._prober.close()

    def _probers(self) -> Iterator[Prober | CommandProber]:
        if self._prober is not None:
            yield self._prober
        if self._command_prober is not None:
            yield self._command_prober

    def _limit_log(self, key: AttemptKey, limit: int) -> None:
        if self._log_limits is None:
            from mprun.engine.log_limits import LogLimits

            self._log_limits = LogLimits()
        number, attempt = key
        self._log_limits.add(key, self._directory.log_file(self._table.tasks[number].name, attempt), limit)

    def _probe(self, report: Started, ready: Ready) -> None:
        if ready.kind == "command":
            self._probe_by_command(report.key, ready)
            return
        if self._prober is None:
            # Few jobs have a probe.
            from mprun.engine.readiness import Prober

            self._prober = Prober()
            self._poller.add(self._prober.fileno())
        number, attempt = report.key
        log = self._directory.log_file(self._table.tasks[number].name, attempt)
        cwd = self._resolver.call(number).cwd or self._resolver.cwd
        self._prober.start(report.key, ready, log, cwd, report.pid)

    def _probe_by_command(self, key: AttemptKey, ready: Ready) -> None:
        # Few jobs have one.
        from mprun.engine.command_prober import CommandProber
        from mprun.executors.base import ProbeRequest

        if self._command_prober is None:
            self._command_prober = CommandProber(self._executor, self._clock)
        number, attempt = key
        name, call = self._table.tasks[number].name, self._resolver.call(number)
        output = self._directory.probe_output(name, attempt)
        request = ProbeRequest(
            key=key,
            number=0,
            task=name,
            command=ready.command,
            env=self._resolver.env(number, call),
            cwd=call.cwd or self._resolver.cwd,
            output=output.name,
        )
        self._command_prober.start(ready, request, output)


def dump_title(task: Task, reason: str, run_timeout: float | None) -> str:
    """What the log of a task says above its stacks: why it is asked to end."""
    if reason == RUN_TIMED_OUT:
        return f"the run timed out after {duration_text(run_timeout or 0.0)}"
    if reason == NOT_READY and task.ready is not None:
        return f"not ready after {duration_text(task.ready.timeout)}"
    return f"timed out after {duration_text(task.timeout or 0.0)}"
