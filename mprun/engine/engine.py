"""The engine: a loop that runs a plan to its end.

publish the start of the run
until the scheduler has finished:
    wait      for a report, a signal, an answer of a probe, or the next deadline
    collect   what happened; the scheduler decides what follows from it
    act       on its instructions: start, signal, resolve, ...
    publish   all of it as events, first to the record and then to the reporters
publish the end of the run
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any

from mprun import failpoints
from mprun.clock import Clock
from mprun.engine.attempt_monitor import AttemptMonitor, dump_title
from mprun.engine.control_requests import ControlRequests
from mprun.engine.event_builder import EventBuilder
from mprun.engine.fact_queue import OWN_DECISIONS, FactQueue, planned_facts, says_more_than_started
from mprun.engine.poller import Poller
from mprun.engine.publisher import Publisher
from mprun.engine.report_handler import ReportHandler
from mprun.engine.resolver import TaskResolver, param_variables
from mprun.engine.task_table import TaskTable
from mprun.errors import RecordError
from mprun.executors.base import NotStarted
from mprun.frozen import MIN_TO_COMPILE
from mprun.jobfile.references import ReferenceProblem
from mprun.record.state_dir import UnusableDirectory
from mprun.scheduling.instructions import (
    INTERNAL_ERROR,
    LOG_LIMIT,
    RECORD_WRITE_FAILED,
    CancelStart,
    Finish,
    Instruction,
    MarkReady,
    Resolve,
    Signal,
    Start,
)
from mprun.scheduling.scheduler import Scheduler
from mprun.scheduling.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.engine.fact_queue import Fact
    from mprun.engine.late_references import LateReferences
    from mprun.engine.repeat import CopyFeed
    from mprun.engine.signals import SignalInbox
    from mprun.executors.base import Executor, PrepareReply, Report
    from mprun.record import events
    from mprun.record.recorder import Recorder
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import Display, Reporter
    from mprun.scheduling.plan import Plan
    from mprun.trace_context import TraceIds


class Engine:
    """One run, from its first event to its last."""

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        directory: RunDirectory,
        recorder: Recorder,
        reporters: Sequence[Reporter],
        inbox: SignalInbox,
        warn: Callable[[str], None],
        display: Display | None = None,
        trace: TraceIds | None = None,
    ) -> None:
        if len(plan.tasks) >= MIN_TO_COMPILE:
            from mprun.engine.task_values import compile_inits

            compile_inits()
        self._executor = executor
        self._inbox = inbox
        self._warn = warn
        self._plan = plan
        self._directory = directory
        self._clock = Clock()
        self._scheduler = _scheduler_of(plan)
        self._table = TaskTable(plan)
        self._resolver = TaskResolver(plan, self._table, directory, param_variables(), trace)
        self._poller = Poller(executor, inbox, warn, display)
        self._monitor = AttemptMonitor(
            self._poller, executor, directory, self._table, self._resolver, self._clock
        )
        self._report_handler = ReportHandler(
            self._poller, self._scheduler, self._table, self._resolver, self._monitor, directory, self._clock
        )
        self._requests = ControlRequests(
            inbox, directory, executor, self._scheduler, self._table, self._clock
        )
        self._publisher = Publisher(recorder, reporters, self._clock)
        self._event_builder = EventBuilder(
            plan,
            self._table,
            directory,
            self._clock,
            self._publisher.lost_output,
            self._scheduler.queued,
            trace.parent if trace else None,
        )
        self._actions: dict[type, Callable[[Any], None]] = {
            Start: self._start,
            CancelStart: lambda cancel: executor.cancel((cancel.task, cancel.attempt)),
            Signal: self._signal,
            MarkReady: self._monitor.handle_ready,
            Finish: self._resolver.handle_finished,
        }
        if self._scheduler.has_rounds:
            from mprun.scheduling.member_runs import Settle

            self._actions[Settle] = self._resolver.handle_finished
        self._late_references: LateReferences | None = None
        if any(task.late for task in plan.tasks):
            # Few jobs have any.
            from mprun.engine.late_references import LateReferences

            self._late_references = late = LateReferences(
                self._resolver, plan, self._scheduler, self._table, self._clock, self.act
            )
            self._actions[Resolve] = late.resolve
            if any(task.task.is_compared for task in plan.tasks):
                self._watch_changes(late)
        self._copy_feed: CopyFeed | None = None
        if plan.repetition is not None and plan.repetition.count is None:
            from mprun.engine.repeat import CopyFeed

            self._copy_feed = CopyFeed(
                plan, plan.repetition, self._scheduler, self._table, self._clock, self.act, warn
            )
            self._requests.on_stop = self._copy_feed.stop
        self._facts = FactQueue()
        # What is said of the first exception that nothing expects, when the run is to have ended then, and
        # the reports and instructions in whose place there was such an exception.
        self._defect = ""
        self._give_up_at: float | None = None
        self._lost: list[Report | Instruction] = []

    def _watch_changes(self, late: LateReferences) -> None:
        from mprun.engine.unchanged_checks import UnchangedChecks

        unchanged = UnchangedChecks(
            self._plan,
            self._executor,
            self._directory,
            self._scheduler,
            self._table,
            self._resolver,
            self._clock,
            self.act,
            self._warn,
        )
        self._poller.add(unchanged.fileno())
        late.unchanged = self._report_handler.unchanged = unchanged

        def handle_finished(finish: Finish) -> None:
            self._resolver.handle_finished(finish)
            unchanged.handle_finished(finish)

        self._actions[Finish] = handle_finished

    @property
    def state(self) -> RunState:
        """The state of the run according to its record."""
        return self._publisher.state

    @property
    def failure(self) -> str:
        """Why mprun itself has failed; empty if it has not."""
        return self._report_handler.failure or self._publisher.failure or self._defect

    # ---- the loop

    def run(
        self,
        prepared: PrepareReply,
        early: list[Report],
        options: dict[str, Any],
        resumed_from: str | None = None,
    ) -> events.RunFinished:
        """Run the plan to its end; the last event, which has the exit code.

        `early` are reports that came together with the executor's reply, or before it.
        A signal stops the run, a second one may kill it: see `StopSignals`. If the record cannot be
        written, the run is stopped; RecordError is raised if its start or its end cannot be recorded.
        """
        begun = self._clock.now()
        if early:
            from mprun.engine.host_changes import as_of_start

            early = [as_of_start(report, begun) for report in early]
        if prepared.hosts:
            from mprun.engine.host_changes import HostChanges

            changes = HostChanges(
                self._scheduler, self._table, self._clock, self._warn, self._directory.run_id, early
            )
            changes.register(self._report_handler.handlers, self._event_builder.builders)
        self._publisher.add(self._event_builder.run_started(begun, prepared, options, resumed_from))
        try:
            # Nothing is started that cannot be recorded.
            self._publish_or_raise()
            self._loop(begun, early)
            failpoints.reached("engine.finished")
            self._close()
            finished = self._run_finished(begun)
        except RecordError:
            self._close()
            raise
        except Exception as error:
            finished = self._abandon(error, begun, is_remote=bool(prepared.hosts))
        self._inbox.hold_others()
        self._publisher.add(finished)
        self._publish_or_raise()
        if self._publisher.defect is not None and not self._defect:
            # Too late for the verdict.
            self._warn(self._keep_traceback(self._publisher.defect))
        return finished

    def _loop(self, begun: float, early: list[Report]) -> None:
        """Turn until the scheduler has finished. Raises an exception if the run cannot be ended in order."""
        try:
            if self._copy_feed is not None or says_more_than_started(self._table.tasks):
                self._record_plan()
            if self._scheduler.end_reason is None:
                self.act(self._scheduler.begin(self._clock.timed(begun)))
            self._handle(early)
            self.publish()
        except Exception as error:
            self._stop_after(error)
        while not self._scheduler.finished or self._facts:
            try:
                self._turn()
                self.publish()
            except Exception as error:
                self._stop_after(error)
            if self._give_up_at is not None and self._clock.timed() > self._give_up_at:
                raise TimeoutError("the run did not end in time after an internal error")

    def _record_plan(self) -> None:
        """Record which tasks there are, before the first of them starts, unless a signal stops the run."""
        parts = deque(planned_facts(self._table.tasks))
        # The last part is recorded with the first starts.
        while len(parts) > 1 and not self._poller.signalled:
            self._facts.add((parts.popleft(),))
            self.publish()
            self.wait(0.0)
        self._facts.add(parts)

    def _turn(self) -> None:
        failpoints.reached("loop.wait")
        deadline, end_reason = self._scheduler.deadline, self._scheduler.end_reason
        due = None if deadline is None else max(0.0, deadline - self._clock.timed())
        late = self._late_references
        has_late = late is not None and late.has_more
        more = 0.0 if has_late or self._scheduler.has_more or self._facts else None
        copies_end = None if self._copy_feed is None else self._copy_feed.seconds_left
        timeouts = (due, self._publisher.tick_interval, self._monitor.interval, more, copies_end)
        self.wait(min([seconds for seconds in timeouts if seconds is not None], default=None))
        # Reports before deadlines: an attempt that ended in the instant of its timeout has ended.
        self.collect_reports()
        if self._poller.signalled:
            self._requests.handle(self)
        for number, attempt in self._monitor.take_ready():
            self.act(self._scheduler.handle_ready(number, attempt, self._clock.timed()))
        for number, _ in self._monitor.take_over_log_limit():
            self.act(self._scheduler.stop_attempt(number, LOG_LIMIT, self._clock.timed()))
        if deadline is not None and self._clock.timed() >= deadline:
            self.act(self._scheduler.handle_deadline(self._clock.timed()))
        # A stop has done its part of this turn.
        if self._scheduler.has_more and self._scheduler.end_reason is end_reason:
            self.act(self._scheduler.proceed(self._clock.timed()))
        if late is not None:
            late.proceed()
        if self._copy_feed is not None:
            self._copy_feed.proceed()
            if self._copy_feed.is_over:
                self._copy_feed = None
        self._publisher.tick()

    def wait(self, timeout: float | None) -> None:
        """Wait at most `timeout` seconds for something to happen."""
        self._poller.wait(timeout)

    def collect_reports(self) -> list[Report]:
        """Act on the reports of the executor; they are returned, too."""
        return self._handle(self._executor.receive())

    def _handle(self, received: list[Report]) -> list[Report]:
        try:
            reports = self._report_handler.admit(received)
        except Exception:
            self._lost += received
            raise
        failed: Exception | None = None
        for report in reports:
            try:
                if failpoints.armed:
                    failpoints.reached("loop.collect")
                instructions = self._report_handler.handle(report)
            except Exception as error:
                failed = failed or error
                self._lost.append(report)
                continue
            self._facts.add((report,))
            try:
                self.act(instructions)
            except Exception as error:
                failed = failed or error
        if reports:
            self._facts.add((OWN_DECISIONS,))
        if failed is not None:
            raise failed
        return reports

    def act(self, instructions: list[Instruction], *, facts: Sequence[Fact] = ()) -> None:
        """Do what the scheduler has decided after these facts; `publish` makes events of it."""
        if facts:
            self._facts.add(facts)
        self._facts.add(instructions)
        failed: Exception | None = None
        for instruction in instructions:
            do = self._actions.get(type(instruction))
            if do is None:
                continue
            try:
                if failpoints.armed:
                    failpoints.reached("loop.act")
                do(instruction)
            except Exception as error:
                # The others are of other tasks.
                failed = failed or error
                self._lost.append(instruction)
        if failed is not None:
            raise failed

    def publish(self) -> None:
        """Record what happened, then show it; if it cannot be recorded, stop the run."""
        self._build_events()
        failed_before = self.failure
        if not self._publisher.publish() and not failed_before:
            self.act(self._scheduler.stop(RECORD_WRITE_FAILED, self._clock.timed()))
            self._build_events()
        if self._event_builder.outside_results:
            self._warn_of_results()
        if self._publisher.defect is not None and not self._defect:
            self._stop_after(self._publisher.defect)

    def publish_all(self) -> None:
        """Record all that has happened, however long it takes."""
        self.publish()
        while self._facts:
            self.publish()

    def _warn_of_results(self) -> None:
        """Warn of results that tasks refer to and cannot receive, as soon as they are there."""
        for number in self._event_builder.outside_results:
            if text := self._resolver.results.warning(number):
                self._warn(text)
        self._event_builder.outside_results.clear()

    def _publish_or_raise(self) -> None:
        if not self._publisher.publish():
            raise RecordError(self._publisher.failure)

    def _build_events(self) -> None:
        """Flush the executor, then build the events: tasks start while mprun writes."""
        # Read before: what the launcher does on these requests is later than their decisions.
        decided = self._clock.now()
        self._executor.flush()
        self._facts.end_turn(decided)
        if self._facts:
            # If an exception is raised, the run continues without them.
            taken = self._facts.take()
            failpoints.reached("loop.publish")
            for since, facts in taken:
                self._publisher.add(*self._event_builder.to_events(facts, since))

    # ---- defects

    def _stop_after(self, error: Exception) -> None:
        """Stop the run in order, because of a defect; raises the second one."""
        if self._defect:
            raise error
        from mprun.engine import defects

        self._defect = self._keep_traceback(error)
        self._give_up_at = self._clock.timed() + defects.seconds_to_end(self._plan, self.state)
        # It may have been raised while they were suspended.
        self._executor.resume()
        self.act(self._scheduler.stop(INTERNAL_ERROR, self._clock.timed()))
        lost, self._lost = self._lost, []
        self._report_handler.untracked = defects.untracked(lost)
        self.act(defects.end_lost(lost, self._executor, self._scheduler, self._clock.timed()))
        self.publish()

    def _abandon(self, error: Exception, begun: float, *, is_remote: bool) -> events.RunFinished:
        """Kill everything: the run cannot be ended in order."""
        self._defect = self._defect or self._keep_traceback(error)
        for close in (self._close, lambda: self._executor.close(kill=True)):
            try:
                close()
            except Exception as another:
                self._keep_traceback(another)
        try:
            began = self._report_handler.unreported(unseen=is_remote)
            self._facts.add(self._scheduler.handle_executor_lost(INTERNAL_ERROR, began, self._clock.timed()))
            self._build_events()
            while self._facts:
                self._build_events()
            return self._run_finished(begun)
        except Exception as another:
            from mprun.engine.defects import broken_verdict

            self._keep_traceback(another)
            return self._event_builder.run_finished(begun, broken_verdict(self.failure, self.state), None)

    def _close(self) -> None:
        """End the threads and processes of probes and patterns."""
        self._monitor.close()
        self._report_handler.close()

    def _keep_traceback(self, error: Exception) -> str:
        from mprun.record.traceback_file import keep_traceback

        return keep_traceback(error, self._directory)

    # ---- the end

    def _run_finished(self, begun: float) -> events.RunFinished:
        failpoints.reached("loop.verdict")
        ends = self._scheduler.ends(self._requests.stopped_tasks)
        ended = verdict(
            ends,
            end_reason=self._scheduler.end_reason,
            signal=self._requests.signal,
            failure=self.failure,
        )
        if ended.lacking or ended.flaky_failing or ended.requested:
            # Few runs fail by these.
            from mprun.engine.final_reason import final_reason

            ended = ended.replace(reason=final_reason(ends, ended, self.state))
        return self._event_builder.run_finished(begun, ended, self._executor.usage())

    # ---- what the scheduler decides

    def _start(self, start: Start) -> None:
        try:
            request = self._resolver.start_request(start.task, start.attempt, start.after)
            if self._table.tasks[start.task].task.artifacts:
                from mprun.record.artifacts import make_artifacts

                make_artifacts(self._directory, request.name)
        except (ReferenceProblem, UnusableDirectory) as error:
            # What it refers to was there when it was asked for.
            lost = NotStarted(key=(start.task, start.attempt), clock=self._clock.now(), message=str(error))
            self.act(self._report_handler.handle(lost))
        else:
            self._executor.start(request)

    def _signal(self, signal: Signal) -> None:
        key = (signal.task, signal.attempt)
        title = ""
        if signal.dump:
            title = dump_title(self._table.tasks[signal.task].task, signal.reason, self._plan.job.timeout)
        self._executor.signal(key, signal.signal, title=title, to=signal.to)
        self._monitor.handle_stopping(key)


def _scheduler_of(plan: Plan) -> Scheduler:
    if all(planned.task.whole is None for planned in plan.tasks):
        return Scheduler(plan, _random)
    # Few jobs have a recipe that is taken as one.
    from mprun.scheduling.round_scheduler import RoundScheduler

    return RoundScheduler(plan, _random)


def _random() -> float:
    """A random number from 0 up to 1; `random` would have to be imported."""
    return int.from_bytes(os.urandom(6)) / 2**48
