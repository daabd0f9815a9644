"""Acts on what is asked of a run from outside: signals, and requests to stop tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.engine.signals import REQUEST, SUSPEND, StopSignals, signal_name
from mprun.executors.base import ExecutorLost, Suspended
from mprun.scheduling.instructions import USER

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from mprun.clock import Clock
    from mprun.engine.signals import SignalInbox
    from mprun.engine.stop_requests import Request
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Executor, Report
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.scheduler import Scheduler

    # For types alone: nothing looks at it during a run.
    class Loop(Protocol):
        """The steps of the engine's loop, as far as a request takes them."""

        def wait(self, timeout: float) -> None:
            """Wait at most this many seconds for something to happen."""

        def collect_reports(self) -> list[Report]:
            """Act on the reports of the executor; they are returned, too."""

        def act(self, instructions: list[Instruction]) -> None:
            """Do what the scheduler has decided."""

        def publish_all(self) -> None:
            """Record what happened."""

        @property
        def failure(self) -> str:
            """Why mprun itself has failed: it cannot write the record, or has lost the main process."""


# How long mprun waits for the tasks to be suspended before it suspends itself.
SUSPEND_TIMEOUT_SECONDS = 2.0
# The signals of two clients may arrive together, and then one by one: only a signal that comes so many
# seconds after a request, without one, asks what the tasks are doing.
SAME_REQUEST_SECONDS = 1.0


class ControlRequests:
    """The requests of one run.

    `stopped_tasks` are the numbers of the tasks that were stopped by request, one by one. `on_stop` is called
    with the names in such a request.
    """

    def __init__(
        self,
        inbox: SignalInbox,
        directory: RunDirectory,
        executor: Executor,
        scheduler: Scheduler,
        table: TaskTable,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._directory = directory
        self._executor = executor
        self._scheduler = scheduler
        self._table = table
        self._clock = clock
        self._stop_signals = StopSignals()
        # When requests were read last.
        self._requested = float("-inf")
        self.stopped_tasks: set[int] = set()
        self.on_stop: Callable[[list[str]], None] | None = None

    @property
    def signal(self) -> tuple[int, str] | None:
        """The first signal that stopped the run, and its name; None so far."""
        first = self._stop_signals.first
        return None if first is None else (first, signal_name(first))

    def handle(self, loop: Loop) -> None:
        """Act on the signals since the last call."""
        for number, at in self._inbox.take():
            if number == SUSPEND:
                self._suspend(loop)
            elif number == REQUEST:
                self._handle_requests(loop)
            else:
                self._stop_run(loop, number, at)

    def _handle_requests(self, loop: Loop) -> None:
        try:
            # Few runs get any.
            from mprun.engine import control, stop_requests
        except (ImportError, OSError):
            # There is no free descriptor. The client reports that the run does not answer.
            return
        found = False
        for file, names in control.read_requests(self._directory):
            found = True
            request = stop_requests.Request(names, self._table, self._scheduler.outcomes)
            self._stop_tasks(loop, request)
            control.write_answer(file, request.answer(self._scheduler.has_settled))
        now = self._clock.now()
        if found:
            self._requested = now
        elif now - self._requested > SAME_REQUEST_SECONDS:
            self._inbox.inquiries += 1

    def _stop_run(self, loop: Loop, number: int, at: float) -> None:
        """Stop the run, or kill it if it was asked before."""
        kill = self._stop_signals.receive(number, at)
        loop.act(self._scheduler.stop(USER, self._clock.timed(), kill=kill))

    def _suspend(self, loop: Loop) -> None:
        """Suspend all tasks and mprun itself, until SIGCONT."""
        self._executor.suspend()
        began = self._clock.now()
        suspended = False
        while not suspended and (left := began + SUSPEND_TIMEOUT_SECONDS - self._clock.now()) > 0:
            loop.wait(left)
            reports = loop.collect_reports()
            suspended = any(isinstance(report, (Suspended, ExecutorLost)) for report in reports)
        # What has happened by now must be in the record if this process is killed while it is suspended.
        loop.publish_all()
        if loop.failure:
            return
        self._inbox.suspend_self()
        self._clock.pause(began, self._clock.now())
        self._executor.resume()

    def _stop_tasks(self, loop: Loop, request: Request) -> None:
        """Stop the tasks of a request that have not finished."""
        self.stopped_tasks.update(request.to_stop)
        if self.on_stop is not None:
            self.on_stop(request.known)
        loop.act(self._scheduler.stop_tasks(request.to_stop, self._clock.timed()))
