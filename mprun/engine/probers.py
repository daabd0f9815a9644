"""The readiness probes of attempts: in threads of mprun, or made by the executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.engine.readiness import Prober
from mprun.engine.request_prober import RequestProber
from mprun.executors.base import ProbeRequest

if TYPE_CHECKING:
    from mprun.clock import Clock
    from mprun.engine.poller import Poller
    from mprun.engine.resolver import TaskResolver
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Executor, Probed, Started
    from mprun.jobfile.model import Ready
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_dir import RunDirectory


class Probers:
    """Probes each attempt in the way that its task and the executor have."""

    def __init__(
        self,
        poller: Poller,
        executor: Executor,
        directory: RunDirectory,
        table: TaskTable,
        resolver: TaskResolver,
        clock: Clock,
    ) -> None:
        self._executor = executor
        self._directory = directory
        self._table = table
        self._resolver = resolver
        self._prober = Prober()
        poller.add(self._prober.fileno())
        self._requests = RequestProber(executor, clock)
        self._all: tuple[Prober, RequestProber] = (self._prober, self._requests)

    @property
    def interval(self) -> float | None:
        """Seconds until the executor is to probe; None if it is not, or a report comes before that."""
        return self._requests.interval

    def start(self, report: Started, ready: Ready) -> None:
        """Probe an attempt from now on."""
        number, attempt = report.key
        name, call = self._table.tasks[number].name, self._resolver.call(number)
        cwd = call.cwd or self._resolver.cwd
        if ready.kind not in self._executor.probe_kinds:
            self._prober.start(report.key, ready, self._directory.log_file(name, attempt), cwd, report.pid)
            return
        output = self._directory.probe_output(name, attempt)
        request = ProbeRequest(
            key=report.key,
            number=0,
            task=name,
            what=ready.command or (ready.what,),
            env=self._resolver.env(number, call),
            cwd=cwd,
            output=output.name,
            kind=ready.kind,
            pid=report.pid,
            seconds=min(ready.try_timeout, ready.timeout),
        )
        self._requests.start(ready, request, output)

    def was_ready(self, key: AttemptKey) -> bool:
        """Whether an attempt that has ended by itself was ready, although `take_ready` has not said so."""
        return any(prober.was_ready(key) for prober in self._all)

    def read_to_end(self, key: AttemptKey) -> bool:
        """Get the last answer for an attempt that has ended; see `AttemptMonitor.read_to_end`."""
        return any(prober.read_to_end(key) for prober in self._all)

    def was_read_to_end(self, key: AttemptKey) -> bool:
        """Whether no answer is to come for an attempt that has ended."""
        return all(prober.was_read_to_end(key) for prober in self._all)

    def forget(self, key: AttemptKey) -> str:
        """Probe no more; why it was not ready, empty if it was or that is unknown."""
        reasons = [prober.reason(key) for prober in self._all]
        for prober in self._all:
            prober.forget(key)
        return "".join(reasons)

    def stop(self, key: AttemptKey) -> None:
        """Probe no more, but keep the last answer for `forget`."""
        for prober in self._all:
            prober.stop(key)

    def handle_probed(self, report: Probed) -> None:
        """The executor has probed an attempt."""
        self._requests.handle_probed(report)

    def is_last(self, report: Probed) -> bool:
        """Whether no other answer of the executor is to come for this attempt."""
        return self._requests.is_last(report)

    def take_ready(self) -> list[AttemptKey]:
        """The attempts that became ready since the last call; also begins the tries that are due."""
        self._requests.tick()
        return [key for prober in self._all for key in prober.take_ready()]

    def close(self) -> None:
        """End the threads."""
        self._prober.close()
