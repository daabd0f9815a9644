"""The loop that ties scheduler, executor, clock, record and reporters."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from mprun import events, outcomes, procfs, results
from mprun.clock import Clock
from mprun.endings import judge
from mprun.executors.base import AttemptOrder, Exited, Lost, NotStarted, Started, Withdrawn
from mprun.intents import Finish, Intent, Join, Signal, Start, TryAgain, Withdraw
from mprun.preparation import Watch
from mprun.retries import Ending
from mprun.scheduler import FAIL_FAST, RUN_TIMES_OUT, Scheduler
from mprun.state import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.executors.base import Executor, Prepared, Report
    from mprun.plan import Plan
    from mprun.record import Recorder
    from mprun.reporters.base import Reporter
    from mprun.signals import SignalNotes
    from mprun.statedir import RunDirectory


class Engine:
    """One run, from its first event to its last."""

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        directory: RunDirectory,
        recorder: Recorder,
        reporters: Sequence[Reporter],
        notes: SignalNotes,
    ) -> None:
        self._plan = plan
        self._executor = executor
        self._directory = directory
        self._recorder = recorder
        self._reporters = reporters
        self._notes = notes
        self._watch = Watch(executor, notes)
        self._clock = Clock()
        self._scheduler = Scheduler(plan, _dice)
        self._host = os.uname().nodename
        self._batch: list[events.Event] = []
        self._signal: int | None = None
        self._failure = ""
        self._begun = self._ticked = 0.0
        self.state = RunState()
        intervals = [reporter.interval for reporter in reporters if reporter.interval is not None]
        self._interval = min(intervals, default=None)

    def run(self, prepared: Prepared, options: dict[str, Any]) -> events.RunFinished:
        """Run the plan to its end; the last event, which has the exit code.

        A signal stops the run, a second one kills it. Raises RecordError when the
        record cannot be written any more.
        """
        self._begun = self._ticked = self._clock.now()
        self._add(self._run_started(prepared, options))
        # Nothing is started that cannot be recorded.
        self._publish()
        self._carry_out(self._scheduler.begin(self._begun))
        self._publish()
        while not self._scheduler.over:
            self._turn()
            self._publish()
        finished = self._run_finished()
        self._add(finished)
        self._publish()
        return finished

    def _turn(self) -> None:
        deadline = self._scheduler.deadline
        timeout = None if deadline is None else max(0.0, deadline - self._clock.now())
        if self._interval is not None:
            timeout = self._interval if timeout is None else min(timeout, self._interval)
        self._watch.wait(timeout)
        # Ends before timers: what ended in the instant of its timeout has ended.
        for report in self._executor.receive():
            self._take(report)
        for number in self._notes.take() if self._watch.signalled else ():
            kill = self._signal is not None
            self._signal = self._signal or number
            self._carry_out(self._scheduler.stop("user", self._clock.now(), kill=kill))
        if deadline is not None and self._clock.now() >= deadline:
            self._carry_out(self._scheduler.time_passed(self._clock.now()))
        if self._interval is not None and self._clock.now() - self._ticked >= self._interval:
            self._ticked = self._clock.now()
            for reporter in self._reporters:
                reporter.tick()

    # ---- what happened

    def _take(self, report: Report) -> None:
        if isinstance(report, Started):
            self._take_started(report)
        elif isinstance(report, Exited):
            self._take_exited(report)
        elif isinstance(report, NotStarted):
            ending = Ending(succeeded=False, reason=f"could not be started: {report.message}")
            self._carry_out(self._scheduler.task_exited(report.key[0], ending, report.clock))
        elif isinstance(report, Withdrawn):
            self._carry_out(self._scheduler.task_withdrawn(report.key[0], report.clock))
        elif isinstance(report, Lost):
            self._failure = f"the launcher was lost: {report.how}"
            self._carry_out(self._scheduler.lost(self._failure, self._clock.now()))

    def _take_started(self, report: Started) -> None:
        number, attempt = report.key
        task = self._plan.tasks[number].task
        event = events.TaskStarted(
            **self._stamp(report.clock),
            task=task.name,
            attempt=attempt,
            pid=report.pid,
            ppid=report.ppid,
            start_ticks=report.start_ticks,
            host=self._host,
            daemon=task.daemon,
            target=task.target,
        )
        self._carry_out(self._scheduler.task_started(number, report.clock), after=event)

    def _take_exited(self, report: Exited) -> None:
        number = report.key[0]
        code = report.exit_code
        signal_name = _signal_name(-code) if code is not None and code < 0 else None
        words = outcomes.exit_words(code, signal_name, report.core_dumped)
        if code is None:
            intents = self._scheduler.task_lost(number, words, report.clock)
        else:
            ending = judge(self._plan.tasks[number].task, report, words, self._directory)
            intents = self._scheduler.task_exited(number, ending, report.clock)
        # What may start now starts now, before files are read and lines are written.
        self._send(intents)
        self._add(self._task_exited(report, signal_name))
        self._write_down(intents)

    def _task_exited(self, report: Exited, signal_name: str | None) -> events.TaskExited:
        number, attempt = report.key
        name = self._plan.tasks[number].task.name
        path = self._directory.result(name, attempt)
        usage = results.read_usage(path)
        return events.TaskExited(
            **self._stamp(report.clock),
            task=name,
            attempt=attempt,
            pid=report.pid,
            exit_code=report.exit_code,
            signal=signal_name,
            core_dumped=report.core_dumped,
            duration=report.duration,
            cpu=report.cpu if report.cpu is not None else usage.get("cpu"),
            max_rss=report.max_rss if report.max_rss is not None else usage.get("max_rss"),
            threads=max(report.threads, usage.get("threads", 1)),
            error=None if report.exit_code == 0 else results.read_error(path),
            orphans=tuple(report.orphans),
        )

    # ---- what is to be done

    def _carry_out(self, intents: list[Intent], after: events.Event | None = None) -> None:
        """Do what the scheduler wants, and write it down, `after` what it followed from."""
        self._send(intents)
        if after is not None:
            self._add(after)
        self._write_down(intents)

    def _send(self, intents: list[Intent]) -> None:
        """What is the executor's to do goes to it at once: it works while we write."""
        for intent in intents:
            if isinstance(intent, Start):
                self._executor.start(self._order(intent.task, intent.attempt))
            elif isinstance(intent, Withdraw):
                self._executor.withdraw((intent.task, intent.attempt))
            elif isinstance(intent, Signal):
                self._executor.signal((intent.task, intent.attempt), intent.signal, dump=intent.dump)
        self._executor.flush()

    def _write_down(self, intents: list[Intent]) -> None:
        for intent in intents:
            if isinstance(intent, Finish):
                self._add(self._task_finished(intent))
            elif isinstance(intent, Join):
                name = self._plan.tasks[intent.task].task.name
                stamp = self._stamp(self._clock.now())
                self._add(events.TaskJoined(**stamp, task=name, position=intent.position, of=intent.of))
            elif isinstance(intent, Signal):
                self._add(self._task_stopping(intent))
            elif isinstance(intent, TryAgain):
                self._add(self._task_retrying(intent))

    def _order(self, number: int, attempt: int) -> AttemptOrder:
        planned = self._plan.tasks[number]
        task = planned.task
        return AttemptOrder(
            key=(number, attempt),
            name=task.name,
            position=task.position,
            daemon=task.daemon,
            start_method=planned.start_method,
            target=task.target,
            args=task.args,
            kwargs=task.kwargs,
            log=self._directory.log(task.name, attempt),
            result=self._directory.result(task.name, attempt),
            env=task.env,
            cwd=task.cwd,
        )

    # ---- the events

    def _stamp(self, monotonic: float) -> dict[str, Any]:
        return {"time": self._clock.iso(monotonic), "run": self._directory.run_id}

    def _add(self, event: events.Event) -> None:
        self._batch.append(event)

    def _publish(self) -> None:
        """Record what has happened, with one write; only then show it."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        self._recorder.append(batch)
        for event in batch:
            self.state.apply(event)
            for reporter in self._reporters:
                reporter.handle(event, self.state)

    def _run_started(self, prepared: Prepared, options: dict[str, Any]) -> events.RunStarted:
        plan = self._plan
        return events.RunStarted(
            **self._stamp(self._begun),
            job=plan.job.name,
            file=plan.job.path,
            host=self._host,
            pid=os.getpid(),
            launcher_pid=prepared.pid,
            launcher_name=prepared.name,
            cpus=plan.cpus,
            tasks=len(plan.tasks),
            at_once=plan.at_once,
            max_parallel=plan.max_parallel,
            mode=plan.mode,
            start_method=plan.start_method,
            boot_id=procfs.boot_id(),
            python=".".join(map(str, sys.version_info[:3])),
            params={},
            options=options,
            files=({"path": plan.job.path, "sha256": plan.job.sha256},),
        )

    def _task_finished(self, intent: Finish) -> events.TaskFinished:
        task = self._plan.tasks[intent.task].task
        name = task.name
        result, kind = None, "none"
        if intent.outcome == outcomes.SUCCEEDED:
            result, kind = results.read_result(self._directory.result(name, intent.attempts))
        return events.TaskFinished(
            **self._stamp(self._clock.now()),
            task=name,
            outcome=intent.outcome,
            attempts=intent.attempts,
            reason=intent.reason,
            result=result,
            result_kind=kind,
            allowed=intent.outcome in outcomes.BAD and task.allow_failure,
        )

    def _task_retrying(self, intent: TryAgain) -> events.TaskRetrying:
        return events.TaskRetrying(
            **self._stamp(self._clock.now()),
            task=self._plan.tasks[intent.task].task.name,
            attempt=intent.attempt,
            delay=intent.delay,
            reason="retry",
        )

    def _task_stopping(self, intent: Signal) -> events.TaskStopping:
        return events.TaskStopping(
            **self._stamp(self._clock.now()),
            task=self._plan.tasks[intent.task].task.name,
            attempt=intent.attempt,
            signal=intent.signal,
            reason=intent.reason,
        )

    def _run_finished(self) -> events.RunFinished:
        counts = self.state.counts()
        outcome, code, reason = outcomes.SUCCEEDED, outcomes.EXIT_SUCCEEDED, ""
        if self._has_failed():
            outcome, code = outcomes.FAILED, outcomes.EXIT_FAILED
        if self._scheduler.ending in (FAIL_FAST, RUN_TIMES_OUT):
            outcome, code, reason = outcomes.FAILED, outcomes.EXIT_FAILED, self._scheduler.ending
        if self._signal is not None:
            outcome, code = outcomes.INTERRUPTED, 128 + self._signal
            reason = _signal_name(self._signal)
        if self._failure:
            outcome, code, reason = outcomes.FAILED, outcomes.EXIT_INTERNAL, self._failure
        return events.RunFinished(
            **self._stamp(self._clock.now()),
            outcome=outcome,
            exit_code=code,
            duration=self._clock.now() - self._begun,
            counts=counts,
            reason=reason,
        )

    def _has_failed(self) -> bool:
        """Whether a task ended badly whose failure counts."""
        ends = zip(self._plan.tasks, self._scheduler.outcomes, strict=True)
        return any(
            outcome == outcomes.UNKNOWN or (outcome in outcomes.BAD and not planned.task.allow_failure)
            for planned, outcome in ends
        )


def _dice() -> float:
    """A number from 0 up to 1, without the import of `random`."""
    return int.from_bytes(os.urandom(6)) / 2**48


def _signal_name(number: int) -> str:
    """`SIGKILL` for 9; real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
