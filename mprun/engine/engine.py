"""The loop that ties scheduler, executor, clock, record and reporters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun import failpoints
from mprun.clock import Clock
from mprun.engine import control
from mprun.engine.attempt_result import judge
from mprun.engine.event_builder import EventBuilder, exit_signal, signal_name
from mprun.engine.log_limits import LogLimits
from mprun.engine.poller import Poller
from mprun.engine.publisher import Publisher
from mprun.engine.resolver import Failed, Resolved, Skipped, TaskResolver
from mprun.engine.signals import REQUEST, SUSPEND
from mprun.errors import RecordError
from mprun.executors.base import Exited, Lost, NotStarted, StartCancelled, Started, StartRequest, Suspended
from mprun.jobfile.dependencies import NameIndex
from mprun.jobfile.references import ReferenceProblem
from mprun.outcomes import BAD, EXIT_FAILED, EXIT_INTERNAL, EXIT_SUCCEEDED, Outcome, format_exit
from mprun.record import events
from mprun.scheduling.instructions import (
    CancelStart,
    Finish,
    Instruction,
    Join,
    MarkReady,
    Resolve,
    Signal,
    Start,
)
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import FAIL_FAST, LOG_LIMIT, RUN_TIMES_OUT, USER, Scheduler
from mprun.scheduling.termination import RECORD_WRITE_FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.engine.readiness import Prober
    from mprun.engine.resolver import Answer
    from mprun.engine.signals import SignalInbox
    from mprun.executors.base import Executor, PrepareReply, Report
    from mprun.jobfile.model import Ready
    from mprun.record.recorder import Recorder
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import Reporter
    from mprun.scheduling.plan import Plan

# From this many tasks on it is worth its time to make what is made for each of them faster to make.
MANY = 1000
_MADE_FOR_EACH_TASK = (
    *(Start, Started, Exited, AttemptResult, Finish, Join, StartRequest),
    *(events.TaskStarted, events.TaskExited, events.TaskFinished, events.TaskJoined),
)
# How long the tasks may take to be suspended before mprun suspends itself, in seconds.
SUSPEND_PATIENCE = 1.0


class Engine:
    """One run, from its first event to its last."""

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        directory: RunDirectory,
        recorder: Recorder,
        reporters: Sequence[Reporter],
        notes: SignalInbox,
        warn: Callable[[str], None],
    ) -> None:
        if len(plan.tasks) >= MANY:
            for kind in _MADE_FOR_EACH_TASK:
                kind.compile_init()
        self._plan = plan
        # Grows where a list that a task returns becomes tasks.
        self._tasks = list(plan.tasks)
        self._executor = executor
        self._directory = directory
        self._publisher = Publisher(recorder, reporters)
        self._reporters = reporters
        self._notes = notes
        self._watch = Poller(executor, notes, warn)
        self._clock = Clock()
        self._scheduler = Scheduler(plan, _dice)
        self._handover = TaskResolver(plan, self._tasks, directory)
        self._chronicle = EventBuilder(plan, self._tasks, directory, self._clock)
        self._prober: Prober | None = None
        self._log_limits = LogLimits()
        self._acts: dict[type, Callable[[Any], None]] = {
            Start: self._start,
            CancelStart: self._cancel_start,
            Signal: self._send_signal,
            MarkReady: self._mark_ready,
            Finish: self._finish,
            Resolve: self._resolve,
        }
        # What has happened and what was decided, in this order; of some of it there are events.
        self._facts: list[Started | Exited | Instruction] = []
        # What somebody has stopped from another terminal, one by one.
        self._stopped: set[int] = set()
        self._signal: int | None = None
        self._failure = ""
        self._begun = self._ticked = 0.0
        intervals = [reporter.interval for reporter in reporters if reporter.interval is not None]
        self._interval = min(intervals, default=None)

    def run(
        self, prepared: PrepareReply, options: dict[str, Any], resumed_from: str | None = None
    ) -> events.RunFinished:
        """Run the plan to its end; the last event, which has the exit code.

        A signal stops the run, a second one kills it; a record that cannot be written any
        more stops it, too. Raises RecordError where that is so to the end.
        """
        self._begun = self._ticked = self._clock.now()
        self._publisher.add(self._chronicle.run_started(self._begun, prepared, options, resumed_from))
        # Nothing is started that cannot be recorded.
        self._publish_or_raise()
        self._carry_out(self._scheduler.begin(self._clock.timed(self._begun)))
        self._publish()
        try:
            while not self._scheduler.finished:
                self._turn()
                self._publish()
        finally:
            if self._prober is not None:
                self._prober.close()
        failpoints.reached("engine.over")
        finished = self._run_finished()
        self._publisher.add(finished)
        self._publish_or_raise()
        return finished

    @property
    def state(self) -> RunState:
        """What the record says that the run has come to."""
        return self._publisher.state

    def _turn(self) -> None:
        deadline = self._scheduler.deadline
        timeout = None if deadline is None else max(0.0, deadline - self._clock.timed())
        for interval in (self._interval, self._log_limits.interval):
            if interval is not None:
                timeout = interval if timeout is None else min(timeout, interval)
        self._watch.wait(timeout)
        # Ends before timers: what ended in the instant of its timeout has ended.
        for report in self._executor.receive():
            self._take(report)
        for number in self._notes.take() if self._watch.signalled else ():
            self._take_signal(number)
        for number, attempt in self._prober.take() if self._prober is not None else ():
            self._carry_out(self._scheduler.handle_ready(number, attempt, self._clock.timed()))
        for number, _ in self._log_limits.exceeded():
            self._carry_out(self._scheduler.stop_task(number, LOG_LIMIT, self._clock.timed()))
        if deadline is not None and self._clock.timed() >= deadline:
            self._carry_out(self._scheduler.handle_deadline(self._clock.timed()))
        if self._interval is not None and self._clock.now() - self._ticked >= self._interval:
            self._ticked = self._clock.now()
            for reporter in self._reporters:
                reporter.tick()

    # ---- what is asked from outside

    def _take_signal(self, number: int) -> None:
        if number == SUSPEND:
            self._suspend()
        elif number == REQUEST:
            for request, names in control.read_requests(self._directory):
                self._stop_tasks(request, names)
        else:
            kill = self._signal is not None
            self._signal = self._signal or number
            self._carry_out(self._scheduler.stop(USER, self._clock.timed(), kill=kill))

    def _suspend(self) -> None:
        """Stand still with all tasks, until somebody says SIGCONT."""
        self._executor.suspend()
        began = self._clock.now()
        suspended = False
        while not suspended and self._clock.now() < began + SUSPEND_PATIENCE:
            self._watch.wait(began + SUSPEND_PATIENCE - self._clock.now())
            for report in self._executor.receive():
                suspended = suspended or isinstance(report, (Suspended, Lost))
                self._take(report)
        # What has ended by now is not lost, should this process be killed before it goes on.
        self._publish()
        if self._failure:
            return
        self._notes.suspend_self()
        self._clock.pause(began, self._clock.now())
        self._executor.resume()

    def _stop_tasks(self, request: str, names: list[str]) -> None:
        """Stop the tasks that somebody has named, and answer what becomes of it."""
        known = NameIndex(self._tasks, self._plan.job.empty)
        found = {name: known.resolve(name) for name in names}
        numbers = dict.fromkeys(number for meant in found.values() for number in meant)
        instances = [one for number in numbers for one in self._handover.instances(number)]
        over = [number for number in instances if self._scheduler.outcomes[number] is not None]
        to_stop = [number for number in instances if number not in over]
        for number in to_stop:
            self._stopped.add(number)
            self._carry_out(self._scheduler.stop_task(number, USER, self._clock.timed()))
        answer = {
            "stopped": [self._tasks[number].name for number in to_stop],
            "finished": [self._tasks[number].name for number in over],
            "unknown": [name for name, meant in found.items() if not meant],
        }
        control.write_answer(request, answer)

    # ---- what happened

    def _take(self, report: Report) -> None:
        if isinstance(report, Started):
            self._take_started(report)
        elif isinstance(report, Exited):
            self._take_exited(report)
        elif isinstance(report, NotStarted):
            ending = AttemptResult(succeeded=False, reason=f"could not be started: {report.message}")
            self._carry_out(
                self._scheduler.handle_exited(report.key[0], ending, self._clock.timed(report.clock))
            )
        elif isinstance(report, StartCancelled):
            self._carry_out(
                self._scheduler.handle_start_cancelled(report.key[0], self._clock.timed(report.clock))
            )
        elif isinstance(report, Lost):
            self._failure = f"the launcher was lost: {report.how}"
            began = {
                number for number, attempt in self._scheduler.unstarted() if self._has_log(number, attempt)
            }
            self._carry_out(self._scheduler.handle_executor_lost(self._failure, began, self._clock.timed()))

    def _has_log(self, number: int, attempt: int) -> bool:
        """Whether an attempt has begun: its process opens its log before anything of the task is run."""
        return os.path.exists(self._directory.log(self._tasks[number].name, attempt))

    def _take_started(self, report: Started) -> None:
        number, attempt = report.key
        planned = self._tasks[number]
        task = planned.task
        if task.limits is not None and task.limits.log is not None:
            self._log_limits.watch(report.key, self._directory.log(planned.name, attempt), task.limits.log)
        if task.ready is not None:
            self._probe(report, task.ready)
        self._carry_out(self._scheduler.handle_started(number, self._clock.timed(report.clock)), after=report)

    def _probe(self, report: Started, ready: Ready) -> None:
        number, attempt = report.key
        if self._prober is None:
            from mprun.engine.readiness import Prober

            self._prober = Prober()
            self._watch.add(self._prober.fileno())
        log = self._directory.log(self._tasks[number].name, attempt)
        self._prober.watch(report.key, ready, log, self._handover.call(number).cwd, report.pid)

    def _take_exited(self, report: Exited) -> None:
        failpoints.reached("engine.exited")
        number = report.key[0]
        self._log_limits.forget(report.key)
        unready = ""
        if self._prober is not None:
            unready = self._prober.reason(report.key)
            self._prober.forget(report.key)
        code = report.exit_code
        words = format_exit(code, exit_signal(code), report.core_dumped)
        if code is None:
            instructions = self._scheduler.handle_exit_unknown(number, words, self._clock.timed(report.clock))
        else:
            ending = self._judged(report, words)
            if unready:
                ending = ending.replace(unready=unready)
            instructions = self._scheduler.handle_exited(number, ending, self._clock.timed(report.clock))
        self._carry_out(instructions, after=report)

    def _judged(self, report: Exited, words: str) -> AttemptResult:
        planned = self._tasks[report.key[0]]
        task = planned.task
        if task.expect is not None:
            try:
                task = task.replace(expect=self._handover.expect(report.key[0]))
            except ReferenceProblem as error:
                return AttemptResult(succeeded=False, reason=str(error), exit_code=report.exit_code)
            # Its seconds are those in which the run was not suspended.
            seconds = self._clock.timed(report.clock) - self._clock.timed(report.clock - report.duration)
            report = report.replace(duration=seconds)
        return judge(task, planned.name, report, words, self._directory)

    # ---- what is to be done

    def _carry_out(self, instructions: list[Instruction], after: Started | Exited | None = None) -> None:
        """Do what the scheduler wants; `_publish` tells it, and before it what it followed from."""
        if after is not None:
            self._facts.append(after)
        self._facts += instructions
        for instruction in instructions:
            act = self._acts.get(type(instruction))
            if act is not None:
                act(instruction)

    def _start(self, instruction: Start) -> None:
        self._executor.start(
            self._handover.start_request(instruction.task, instruction.attempt, instruction.after)
        )

    def _cancel_start(self, instruction: CancelStart) -> None:
        self._executor.cancel((instruction.task, instruction.attempt))

    def _send_signal(self, instruction: Signal) -> None:
        self._executor.signal(
            (instruction.task, instruction.attempt), instruction.signal, dump=instruction.dump
        )
        if self._prober is not None:
            self._prober.give_up((instruction.task, instruction.attempt))

    def _mark_ready(self, instruction: MarkReady) -> None:
        if self._prober is not None:
            self._prober.forget((instruction.task, instruction.attempt))

    def _finish(self, instruction: Finish) -> None:
        self._handover.finished(instruction.task, instruction.outcome, instruction.attempts)

    def _resolve(self, instruction: Resolve) -> None:
        """Tell the scheduler what becomes of a task that refers to what is known only now."""
        self._carry_out(self._answered(instruction.task, self._handover.answer(instruction.task)))

    def _answered(self, number: int, answer: Answer) -> list[Instruction]:
        now = self._clock.timed()
        if isinstance(answer, Resolved):
            return self._scheduler.handle_resolved(number, now)
        if isinstance(answer, Skipped):
            return self._scheduler.handle_skipped(number, answer.reason, now)
        if isinstance(answer, Failed):
            return self._scheduler.handle_resolve_failed(number, answer.reason, now)
        instructions = self._scheduler.handle_expanded(number, answer.tasks, now)
        if number in self._scheduler.expanded:
            first = len(self._tasks)
            self._tasks += answer.tasks
            self._handover.expanded(number, list(range(first, len(self._tasks))))
        return instructions

    # ---- what is written down

    def _publish(self) -> None:
        """Record what has happened, then show it; where it cannot be recorded, end the run."""
        self._write_down()
        if not self._publisher.publish() and not self._failure:
            self._failure = self._publisher.failure
            self._carry_out(self._scheduler.stop(RECORD_WRITE_FAILED, self._clock.timed()))
            self._write_down()

    def _publish_or_raise(self) -> None:
        if not self._publisher.publish():
            raise RecordError(self._publisher.failure)

    def _write_down(self) -> None:
        """Hand over what is to be done, then make the events: the executor works while we write."""
        self._executor.flush()
        if self._facts:
            self._publisher.add(*self._chronicle.told(self._facts))
            self._facts.clear()

    def _run_finished(self) -> events.RunFinished:
        counts: dict[str, int] = {}
        for ended in filter(None, self._scheduler.outcomes):
            counts[ended] = counts.get(ended, 0) + 1
        outcome, code, reason = Outcome.SUCCEEDED, EXIT_SUCCEEDED, ""
        if self._has_failed():
            outcome, code = Outcome.FAILED, EXIT_FAILED
        if self._scheduler.end_reason in (FAIL_FAST, RUN_TIMES_OUT):
            outcome, code, reason = Outcome.FAILED, EXIT_FAILED, self._scheduler.end_reason
        if self._signal is not None:
            outcome, code = Outcome.INTERRUPTED, 128 + self._signal
            reason = signal_name(self._signal)
        if self._failure:
            outcome, code, reason = Outcome.FAILED, EXIT_INTERNAL, self._failure
        usage = self._executor.usage()
        return self._chronicle.run_finished(self._begun, outcome, code, reason, counts, usage)

    def _has_failed(self) -> bool:
        """Whether a task ended badly whose failure counts, or was stopped though the run was not."""
        ends = zip(self._tasks, self._scheduler.outcomes, strict=True)
        stopped = (self._scheduler.outcomes[number] for number in self._stopped)
        return any(outcome != Outcome.SUCCEEDED for outcome in stopped) or any(
            outcome == Outcome.UNKNOWN or (outcome in BAD and not planned.task.allow_failure)
            for planned, outcome in ends
        )


def _dice() -> float:
    """A number from 0 up to 1, without the import of `random`."""
    return int.from_bytes(os.urandom(6)) / 2**48
