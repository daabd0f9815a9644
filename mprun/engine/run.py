"""One run of a plan: the preflight, the engine, and the result."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from mprun.engine import preflight
from mprun.engine.preflight import IMPORT_TIMEOUT_SECONDS, Interrupted
from mprun.errors import MprunError
from mprun.frozen import Frozen
from mprun.record import lock
from mprun.record.state_dir import DEFAULT
from mprun.scheduling.plan import is_crowded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from mprun.engine.past_timings import PastTimings
    from mprun.engine.signals import SignalInbox
    from mprun.engine.task_stacks import TaskStacks
    from mprun.executors.base import Executor, PrepareReply, Report
    from mprun.record.error_details import ErrorDetails
    from mprun.record.events import RunFinished, TaskFinished
    from mprun.record.resume import EarlierRun
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import Display, Reporter
    from mprun.scheduling.estimates import RunTimings
    from mprun.scheduling.plan import Plan
    from mprun.trace_context import TraceIds


class TaskResult(Frozen):
    """How one task ended.

    `attempts` is how many were started. `allowed` says that it failed with `allow_failure`, and so
    did not fail the run, `flaky` that it succeeded only after it was retried. `result_kind` is `json` if
    `result` is what the task returned, `repr` if it is only its `repr`, `none` if there is no result.
    `directory` is the path of the run's record.
    """

    name: str
    outcome: str
    reason: str
    attempts: int
    result: Any = None
    result_kind: str = "none"
    allowed: bool = False
    directory: str = ""
    flaky: bool = False

    @property
    def error(self) -> ErrorDetails | None:
        """The exception that ended its last attempt: type, message, traceback; None if none did.

        It is read from the record.
        """
        from mprun.record.error_details import read_error_of

        return read_error_of(self.directory, self.name, self.attempts)

    @property
    def log(self) -> str | None:
        """The path of the log of its last attempt, with what that printed; None if it has none."""
        from mprun.record.error_details import find_log

        return find_log(self.directory, self.name, self.attempts)


class _Indexed:
    """What a value looks up by name, once it has been asked."""

    __slots__ = ("_by_name",)
    _by_name: dict[str, TaskResult]


class RunResult(_Indexed, Frozen):
    """How a run ended; `run["fetch"]` and `run["crunch[4]"]` are the results of its tasks by name.

    `exit_code` is what the command would exit with, `reason` is empty if the outcomes of the tasks
    say everything. `duration` is in seconds, `directory` is the path of the record, which is gone if
    no task could start.
    """

    run_id: str
    outcome: str
    exit_code: int
    duration: float
    directory: str
    tasks: tuple[TaskResult, ...]
    reason: str = ""

    def __getitem__(self, name: str) -> TaskResult:
        """The result of a task by its name. Raises UnknownTask, a KeyError, if there is no such task."""
        if not hasattr(self, "_by_name"):
            # Not a field: no one compares or prints it.
            object.__setattr__(self, "_by_name", {task.name: task for task in self.tasks})
        if name not in self._by_name:
            from mprun.engine.result_errors import unknown_task

            raise unknown_task(self, name)
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        """Whether a task has this name."""
        return any(task.name == name for task in self.tasks)

    # Else Python would ask for the tasks `0`, `1` and so on. What a run has is in `tasks`.
    __iter__ = None

    def raise_if_failed(self) -> None:
        """Raise RunFailed, which names the tasks that failed, unless the run succeeded."""
        if self.exit_code:
            from mprun.engine.result_errors import run_failed

            raise run_failed(self)


class Context(Frozen):
    """What a reporter is made with: the run's directory, its plan, and `stop_signal`.

    `stop_signal()` is the number of the first signal that stops the run, None if none has arrived. The
    others are `mprun.reporters.base.RunSources`.
    """

    directory: RunDirectory
    plan: Plan
    stop_signal: Callable[[], int | None]
    signals: SignalInbox
    timings: Callable[[], list[RunTimings] | None]

    def request_stacks(self, pid: int, start_ticks: int | None) -> TaskStacks | None:
        """Ask a task's process for the stacks of its threads; None if it cannot give them."""
        # Few runs are asked.
        from mprun.engine.task_stacks import request_stacks

        return request_stacks(pid, start_ticks)


def ignore_warning(warning: str) -> None:
    """The `warn` of a run whose caller wants no warnings."""


class RunOptions(Frozen):
    """How to run a plan; `mprun.run_job` documents the first six.

    `slow_import` gets the name of each module whose import takes more than a second.
    `recorded_options` go into the record, for a run that resumes this one. `resumes` is the
    earlier run whose results are taken over; the plan says which of its tasks are not run
    again. `display` is where the reporters write, if that must never wait for a reader. `after_end`
    handles stop signals once the run has ended; by default the handlers from before do. Without
    `keep_results`, `RunResult.tasks` stays empty. With `trace`, each task finds its own TRACEPARENT.
    """

    state_dir: str = DEFAULT
    reporters: Sequence[Callable[[Context], Reporter]] = ()
    executor: Executor | None = None
    import_timeout: float = IMPORT_TIMEOUT_SECONDS
    warn: Callable[[str], None] = ignore_warning
    slow_import: Callable[[str], None] = ignore_warning
    dry_run: bool = False
    recorded_options: Mapping[str, Any] | None = None
    resumes: EarlierRun | None = None
    display: Display | None = None
    after_end: Callable[[int, FrameType | None], None] | None = None
    keep_results: bool = True
    trace: bool = False


class Run:
    """One run in its directory, with an executor and an open record that it closes."""

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        directory: RunDirectory,
        record: int,
        options: RunOptions,
        inbox: SignalInbox,
    ) -> None:
        self._plan = plan
        self._record = record
        self._executor = executor
        self._directory = directory
        self._options = options
        self._inbox = inbox
        # A launcher that has answered ends by itself, and ends what it started.
        self._answered = False
        # What the executor reported beside its answer, until the engine is there.
        self._early: list[Report] = []
        self._past_timings: PastTimings | None = None
        # Whether there is something to record: the engine has begun.
        self._recorded = False

    def run(self) -> RunResult:
        """Run the plan to its end. Raises what `mprun.run_job` does."""
        try:
            prepared = self._preflight(self._inbox)
            if self._options.dry_run:
                from mprun.engine.directories import check_directories

                check_directories(self._plan, self._options.warn)
                return _never_ran(self._directory, 0)
            self._recorded = True
            return self._run_engine(self._inbox, prepared)
        except Interrupted as interrupted:
            return _never_ran(self._directory, 128 + interrupted.number)
        except MprunError as error:
            if not self._recorded:
                error.output = self._directory.read_main_log()
            raise

    def close(self) -> None:
        """End the launcher; remove the directory of a run that recorded nothing."""
        self._executor.close(kill=not self._answered)
        if not self._recorded:
            with contextlib.suppress(OSError):
                self._directory.remove()
            lock.close_record(self._record)

    def _preflight(self, inbox: SignalInbox) -> PrepareReply:
        """Have every target imported and bound. Raises JobFileError if one cannot be."""
        if len(self._plan.job.places) > 1:
            # Few jobs use a recipe.
            from mprun.engine.shadowed_modules import shadowed_modules

            for text in shadowed_modules(self._plan):
                self._options.warn(text)
        cwd = self._plan.cwd or os.getcwd()
        preflight.send_request(self._plan, self._executor, self._directory)
        # Its path from now on: the first import, or a task, may remove it.
        self._plan = self._plan.replace(cwd=cwd)
        if not self._options.dry_run:
            # While the launcher imports the targets; 3 ms for what only a run needs.
            from mprun.engine import engine  # noqa: F401
            from mprun.record import recorder  # noqa: F401

            self._plan = self._prioritized(self._plan)
        prepared = self._wait_for_reply(inbox)
        self._answered = True
        if prepared.errors or prepared.differences:
            from mprun.engine.preflight_diagnostics import refusal

            raise refusal(self._plan, prepared)
        if prepared.refused or prepared.threads or self._plan.job.recipe_env:
            from mprun.engine.preflight_diagnostics import warnings

            for warning in warnings(self._plan, prepared):
                self._options.warn(warning)
        return prepared

    def _wait_for_reply(self, inbox: SignalInbox) -> PrepareReply:
        """The launcher's reply; an import that fails is an error at its place in the job file."""
        options = self._options

        def handle_slow(number: int) -> None:
            options.slow_import(preflight.module_of(self._plan, number))

        def failure(how: str, importing: int | None) -> MprunError:
            from mprun.engine.preflight_diagnostics import failure

            return failure(self._plan, options.import_timeout, how, importing)

        return preflight.wait_for_reply(
            self._executor,
            inbox,
            options.import_timeout,
            options.warn,
            handle_slow,
            self._handle_early,
            failure,
        )

    def _handle_early(self, report: Report) -> None:
        from mprun.engine.host_changes import early_warning

        self._early.append(report)
        if warning := early_warning(report):
            self._options.warn(warning)

    def _run_engine(self, inbox: SignalInbox, prepared: PrepareReply) -> RunResult:
        from mprun.engine.engine import Engine
        from mprun.record.recorder import Recorder

        options, directory = self._options, self._directory
        resumed_from = _reuse_results(options.resumes, directory) if options.resumes else None
        context = Context(
            directory=directory,
            plan=self._plan,
            stop_signal=lambda: inbox.ending,
            signals=inbox,
            timings=lambda: self._timings().read_more(),
        )
        reporters = [make(context) for make in options.reporters]
        recorder = Recorder(directory, self._record)
        engine = Engine(
            self._plan,
            self._executor,
            directory,
            recorder,
            reporters,
            inbox,
            options.warn,
            options.display,
            _trace_ids(directory.run_id, is_wanted=options.trace),
        )
        try:
            recorded = dict(options.recorded_options or {})
            for part in (self._plan.repetition, self._plan.division):
                recorded.update(part.options if part is not None else {})
            finished = engine.run(prepared, self._early, recorded, resumed_from)
        finally:
            recorder.close()
            for reporter in reporters:
                self._close_reporter(reporter)
        return _result(directory, finished, engine.state if options.keep_results else None)

    def _prioritized(self, plan: Plan) -> Plan:
        """The plan, with priorities if earlier runs show that another order than the file's is faster."""
        if not is_crowded(plan):
            return plan
        timings = self._timings().read_all()
        if not timings:
            return plan
        from mprun.scheduling.forecast import prioritized

        return prioritized(plan, timings)

    def _timings(self) -> PastTimings:
        """How long the tasks took in earlier runs, if someone asks."""
        if self._past_timings is None:
            # Most jobs start all tasks at once, and most runs show no estimate.
            from mprun.engine.past_timings import PastTimings

            before = self._directory.run_id
            self._past_timings = PastTimings(self._plan, self._options.state_dir, before)
        return self._past_timings

    def _close_reporter(self, reporter: Reporter) -> None:
        try:
            reporter.close()
        except Exception as error:
            from mprun.record.traceback_file import keep_traceback

            # The verdict is in the record.
            self._options.warn(keep_traceback(error, self._directory))


def _trace_ids(run: str, *, is_wanted: bool) -> TraceIds | None:
    """The ids of the run's spans, if tasks are to know theirs: for a parent, or for a trace of the run.

    With a TRACEPARENT that is invalid, the standard has a new trace begin: no task inherits it.
    """
    if not is_wanted and not os.environ.get("TRACEPARENT"):
        return None
    # Few runs are traced.
    from mprun.trace_context import TraceIds, parent_in

    return TraceIds(run, parent_in(os.environ))


def _reuse_results(resumes: EarlierRun, directory: RunDirectory) -> str:
    """Take over the results of the run that this one resumes; its id."""
    from mprun.record import results

    attempts = {name: last.attempts for name, last in resumes.reused.items()}
    results.adopt(resumes.directory, directory, attempts)
    return resumes.directory.run_id


def _never_ran(directory: RunDirectory, exit_code: int) -> RunResult:
    from mprun.outcomes import Outcome

    return RunResult(
        run_id=directory.run_id,
        outcome=Outcome.INTERRUPTED if exit_code else Outcome.SUCCEEDED,
        exit_code=exit_code,
        duration=0.0,
        directory=directory.path,
        tasks=(),
    )


def _result(directory: RunDirectory, finished: RunFinished, state: RunState | None = None) -> RunResult:
    from mprun.outcomes import EXIT_INTERNAL

    return RunResult(
        run_id=directory.run_id,
        outcome=finished.outcome,
        exit_code=EXIT_INTERNAL if finished.exit_code is None else finished.exit_code,
        duration=finished.duration,
        reason=finished.reason,
        directory=directory.path,
        tasks=tuple(_task_result(task.finished, directory) for task in state.tasks.values() if task.finished)
        if state
        else (),
    )


def _task_result(finished: TaskFinished, directory: RunDirectory) -> TaskResult:
    result, kind = finished.result, finished.result_kind
    if kind == "file":
        from mprun.record.results import read_value

        result, kind = read_value(directory.result_files(finished.task, finished.attempts))
    return TaskResult(
        name=finished.task,
        outcome=finished.outcome,
        reason=finished.reason,
        attempts=finished.attempts,
        result=result,
        result_kind=kind,
        allowed=finished.allowed,
        directory=directory.path,
        flaky=finished.flaky,
    )
