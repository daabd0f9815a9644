"""Observes running attempts: whether one is ready, and whether its log exceeds its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.units import duration_text
from mprun.scheduling.instructions import NOT_READY, RECIPE_TIMEOUT, RUN_TIMED_OUT

if TYPE_CHECKING:
    from mprun.clock import Clock
    from mprun.engine.log_limits import LogLimits
    from mprun.engine.poller import Poller
    from mprun.engine.probers import Probers
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
        self._make_probers = (poller, executor, directory, table, resolver, clock)
        self._executor = executor
        self._directory = directory
        self._table = table
        self._probers: Probers | None = None
        self._log_limits: LogLimits | None = None

    @property
    def interval(self) -> float | None:
        """Seconds until a log is to be checked again, or the executor is to probe; None if none is."""
        intervals = [each.interval for each in (self._log_limits, self._probers) if each is not None]
        return min((seconds for seconds in intervals if seconds is not None), default=None)

    def handle_started(self, report: Started) -> None:
        """Observe this attempt from now on, if its task asks for it."""
        task = self._table.tasks[report.key[0]].task
        if task.limits is not None and task.limits.log is not None:
            self._limit_log(report.key, task.limits.log)
        if task.ready is not None:
            if self._probers is None:
                # Few jobs have a probe.
                from mprun.engine.probers import Probers

                self._probers = Probers(*self._make_probers)
            self._probers.start(report, task.ready)

    def was_ready(self, key: AttemptKey) -> bool:
        """Whether an attempt that has ended by itself was ready, although `take_ready` has not said so."""
        return self._probers is not None and self._probers.was_ready(key)

    def read_to_end(self, key: AttemptKey) -> bool:
        """Get the last answer for an attempt that has ended, if that may show that it was ready.

        Its log is read to its end, and the executor is asked for its last answer. False if nothing is to
        come; else `was_read_to_end` is true later.
        """
        return self._probers is not None and self._probers.read_to_end(key)

    def was_read_to_end(self, key: AttemptKey) -> bool:
        """Whether no answer is to come for an attempt that has ended."""
        return self._probers is None or self._probers.was_read_to_end(key)

    def may_prove_late(self, ready: Ready) -> bool:
        """Whether it takes time to see of an attempt that has ended that it was ready."""
        return ready.kind == "log" or (ready.kind == "file" and "file" in self._executor.probe_kinds)

    def is_last(self, report: Probed) -> bool:
        """Whether no other answer of the executor is to come for this attempt."""
        return self._probers is None or self._probers.is_last(report)

    def handle_exited(self, key: AttemptKey) -> str:
        """Observe it no more; why it was not ready, empty if it was or had no need to be."""
        if self._log_limits is not None:
            self._log_limits.forget(key)
        return "" if self._probers is None else self._probers.forget(key)

    def handle_ready(self, ready: MarkReady) -> None:
        """It is ready: probe no more."""
        if self._probers is not None:
            self._probers.forget((ready.task, ready.attempt))

    def handle_stopping(self, key: AttemptKey) -> None:
        """It was asked to end: probe no more, but keep the last answer for `handle_exited`."""
        if self._probers is not None:
            self._probers.stop(key)

    def handle_probed(self, report: Probed) -> None:
        """The executor has probed an attempt."""
        if self._probers is not None:
            self._probers.handle_probed(report)

    def take_ready(self) -> list[AttemptKey]:
        """The attempts that became ready since the last call; also begins the tries that are due."""
        return [] if self._probers is None else self._probers.take_ready()

    def take_over_log_limit(self) -> list[AttemptKey]:
        """The attempts whose log exceeds its limit, each once."""
        return [] if self._log_limits is None else self._log_limits.exceeded()

    def close(self) -> None:
        """End the threads of the probes."""
        if self._probers is not None:
            self._probers.close()

    def _limit_log(self, key: AttemptKey, limit: int) -> None:
        if self._log_limits is None:
            from mprun.engine.log_limits import LogLimits

            self._log_limits = LogLimits()
        number, attempt = key
        self._log_limits.add(key, self._directory.log_file(self._table.tasks[number].name, attempt), limit)


def dump_title(task: Task, reason: str, run_timeout: float | None) -> str:
    """What the log of a task says above its stacks: why it is asked to end."""
    if reason == RUN_TIMED_OUT:
        return f"the run timed out after {duration_text(run_timeout or 0.0)}"
    if reason == NOT_READY and task.ready is not None:
        return f"not ready after {duration_text(task.ready.timeout)}"
    if reason == RECIPE_TIMEOUT and task.whole is not None:
        return f"its recipe timed out after {duration_text(task.whole.timeout or 0.0)}"
    return f"timed out after {duration_text(task.timeout or 0.0)}"
