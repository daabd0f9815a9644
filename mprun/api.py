"""mprun from Python: load a job, plan it, run it; what the command line uses, too."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mprun.engine import preflight
from mprun.engine.preflight import IMPORT_TIMEOUT_SECONDS, ImportFailure, Interrupted, distinct_calls
from mprun.engine.signals import SignalInbox
from mprun.errors import JobFileError, MprunError
from mprun.frozen import Frozen
from mprun.jobfile import locate
from mprun.jobfile.loader import load_job_file
from mprun.record.pidfile import PidFile, of_others
from mprun.record.state_dir import DEFAULT, create_run_somewhere
from mprun.scheduling.plan import Plan, Reused, is_crowded, plan_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mprun.executors.base import Executor, PrepareReply
    from mprun.jobfile.model import Job
    from mprun.record.events import RunFinished, TaskFinished
    from mprun.record.resume import Resumption
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import Reporter
    from mprun.scheduling.estimates import RunTimings
    from mprun.scheduling.forecast import Forecast


class TaskResult(Frozen):
    """How one task ended; `result` is its JSON value where `result_kind` is `json`."""

    name: str
    outcome: str
    reason: str
    attempts: int
    result: Any = None
    result_kind: str = "none"


class RunResult(Frozen):
    """How a run ended; `directory` holds its record, `exit_code` is the command line's."""

    run_id: str
    outcome: str
    exit_code: int
    duration: float
    directory: str
    tasks: tuple[TaskResult, ...]


class Context(Frozen):
    """What a reporter may know of the run that it will report on.

    `is_ended` says whether a signal has come that ends it.
    """

    directory: RunDirectory
    plan: Plan
    is_ended: Callable[[], bool]


def load_job(path: str | os.PathLike[str], params: Mapping[str, Any] | None = None) -> Job:
    """Read and check a job file with these params; imports no target and starts nothing.

    A param that is not among them comes from the environment (`MPRUN_PARAM_NAME`), else it
    has its default. Raises JobFileError with every problem that can be known without an
    import, and UsageError where a file cannot be read.
    """
    return load_job_file(os.fspath(path), dict(params or {}), (), os.environ)


def plan_job(
    job: Job,
    *,
    max_parallel: int | None = None,
    fail_fast: bool | None = None,
    timeout: float | None = None,
    start_method: str | None = None,
    names: Sequence[str] = (),
    tags: Sequence[str] = (),
    with_dependencies: bool = True,
    carried: Mapping[str, Reused] | None = None,
) -> Plan:
    """Plan a job: what would run, in which order; the arguments go before what the job says.

    `timeout` is in seconds, for the whole run. With `names` (patterns of `*` and `?`) or
    `tags` only the tasks that match both are planned, and what they depend on. Raises
    NothingSelected where none does, JobFileError where one refers to the result of a task
    that was left out. `carried` has the ends, by name, of what is not to be run again.
    """
    selection = None
    if names or tags:
        from mprun.scheduling.selection import select

        selection = select(job, names, tags, with_dependencies=with_dependencies)
        diagnostics = [] if selection is None or with_dependencies else locate.left_out(job, selection)
        if diagnostics:
            raise JobFileError(diagnostics)
    return plan_tasks(
        job.replace(
            fail_fast=job.fail_fast if fail_fast is None else fail_fast,
            timeout=job.timeout if timeout is None else timeout,
        ),
        cpus=cpu_count(),
        default_method="fork" if sys.platform == "linux" else "spawn",
        max_parallel=max_parallel,
        start_method=start_method,
        selection=selection,
        carried=carried,
    )


def cpu_count() -> int:
    """The number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def run_job(
    job: Job | Plan,
    *,
    state_dir: str = DEFAULT,
    reporters: Sequence[Callable[[Context], Reporter]] = (),
    executor: Executor | None = None,
    import_timeout: float = IMPORT_TIMEOUT_SECONDS,
    options: dict[str, Any] | None = None,
    warn: Callable[[str], None] = lambda text: None,
    dry_run: bool = False,
    resumes: Resumption | None = None,
    results: bool = True,
) -> RunResult:
    """Run a job to its end. Nothing is printed: `reporters` show what happens.

    Every target is imported and bound in the launcher before anything starts: raises
    JobFileError where one cannot be, LauncherError where the launcher fails, RecordError
    when the record cannot be written any more. With `dry_run` that is all, and no record
    stays. `resumes` is the earlier run whose results are taken over; the plan says what of
    it is not run again. Without `results`, `tasks` of what is returned stays empty. Called
    from the main thread it handles SIGINT, SIGTERM and SIGHUP while it runs.
    """
    plan = job if isinstance(job, Plan) else plan_job(job)
    directory, warning = create_run_somewhere(state_dir, _wall_clock())
    mark = PidFile(directory)
    if warning:
        warn(warning)
    else:
        mark.set()
        _sweep_killed_runs(directory, warn)
    executor = executor or _new_launcher(directory.run_id)
    # A launcher that has answered ends by itself, and takes along what it started.
    answered = kept = False
    try:
        with SignalInbox() as notes:
            preflight.send_request(plan, executor, directory)
            # The launcher imports meanwhile.
            if not dry_run:
                _import_engine()
                plan = _prioritized(plan, state_dir)
            prepared = _prepared(plan, executor, notes, import_timeout, warn)
            answered = True
            _raise_bind_errors(plan, prepared)
            for module in prepared.threads:
                warn(_THREADS.format(module))
            if dry_run:
                return _never_ran(directory, 0)
            kept = True
            resumed_from = _adopt(resumes, directory)
            run = _run(
                plan, executor, directory, reporters, notes, warn, prepared, options or {}, resumed_from
            )
            return _result(directory, *run) if results else _result(directory, run[0])
    except Interrupted as interrupted:
        return _never_ran(directory, 128 + interrupted.number)
    except MprunError as error:
        if not kept:
            error.output = directory.read_main_log()
        raise
    finally:
        executor.close(kill=not answered)
        if not kept:
            directory.remove()
        mark.remove()


_THREADS = (
    "importing `{}` started a thread; a fork of a process with threads can hang: "
    "`start_method: spawn` is the way out"
)


def _adopt(resumes: Resumption | None, directory: RunDirectory) -> str | None:
    """Take over the results of the run that this one resumes; its id."""
    if resumes is None:
        return None
    from mprun.record.resume import adopt_results

    adopt_results(resumes.directory, directory, resumes.carried)
    return resumes.directory.run_id


def _run(
    plan: Plan,
    executor: Executor,
    directory: RunDirectory,
    makers: Sequence[Callable[[Context], Reporter]],
    notes: SignalInbox,
    warn: Callable[[str], None],
    prepared: PrepareReply,
    options: dict[str, Any],
    resumed_from: str | None,
) -> tuple[RunFinished, RunState]:
    from mprun.engine.engine import Engine
    from mprun.record.recorder import Recorder

    context = Context(directory=directory, plan=plan, is_ended=lambda: notes.ending)
    reporters = [make(context) for make in makers]
    recorder = Recorder(directory)
    engine = Engine(plan, executor, directory, recorder, reporters, notes, warn)
    try:
        finished = engine.run(prepared, options, resumed_from)
    finally:
        recorder.close()
        for reporter in reporters:
            reporter.close()
    return finished, engine.state


def _prioritized(plan: Plan, state_dir: str) -> Plan:
    """The plan, with priorities where earlier runs tell that another order than the file's is shorter."""
    past = _past(plan, state_dir) if is_crowded(plan) else []
    if not past:
        return plan
    from mprun.scheduling.forecast import prioritized

    return prioritized(plan, past)


def forecast(plan: Plan, state_dir: str = DEFAULT) -> Forecast | None:
    """What to expect of the run of a plan, by earlier runs of its job file; None where there are none.

    Nothing is written.
    """
    past = _past(plan, state_dir)
    if not past:
        return None
    from mprun.scheduling.forecast import forecast_run

    return forecast_run(plan, past)


def _past(plan: Plan, state_dir: str) -> list[RunTimings]:
    from mprun.record.history import past_runs

    served = {planned.name for planned in plan.tasks if planned.task.ready is not None}
    return past_runs(state_dir, plan.job.path, served)


def _prepared(
    plan: Plan, executor: Executor, notes: SignalInbox, timeout: float, warn: Callable[[str], None]
) -> PrepareReply:
    """As `preflight.wait_for_reply`; a failed import is an error at its place in the job file."""
    try:
        return preflight.wait_for_reply(executor, notes, timeout, warn)
    except ImportFailure as failure:
        task = distinct_calls(plan)[failure.call][1][0]
        message = f"importing `{(task.target or '').partition(':')[0]}` {failure}"
        raise JobFileError([locate.target_diagnostic(task, message)]) from None


def _import_engine() -> None:
    """Import what only a run needs, 3 ms, while the launcher imports the targets."""
    from mprun.record import recorder  # noqa: F401


def _raise_bind_errors(plan: Plan, prepared: PrepareReply) -> None:
    """Raise JobFileError where a target cannot be called as the job file says."""
    if not prepared.errors:
        return
    called = distinct_calls(plan)
    diagnostics = []
    for f in prepared.errors:
        if f.number < 0:
            diagnostics.append(
                locate.preload_diagnostic(plan.job, -1 - f.number, f.message, f.word, f.candidates)
            )
            continue
        diagnostics += [
            locate.target_diagnostic(task, f.message, f.where, f.word, f.candidates)
            for task in called[f.number][1]
        ]
    raise JobFileError(diagnostics)


def _sweep_killed_runs(directory: RunDirectory, warn: Callable[[str], None]) -> None:
    """End what killed runs have left: before anything is started, which may be in its way."""
    if of_others(directory):
        from mprun.record.recovery import sweep

        sweep(directory, warn)


def _new_launcher(run_id: str) -> Executor:
    from mprun.executors.local import start_launcher

    return start_launcher(run_id)


def _wall_clock() -> float:
    import time

    return time.time()


def _never_ran(directory: RunDirectory, exit_code: int) -> RunResult:
    from mprun import outcomes

    return RunResult(
        run_id=directory.run_id,
        outcome=outcomes.INTERRUPTED if exit_code else outcomes.SUCCEEDED,
        exit_code=exit_code,
        duration=0.0,
        directory=directory.path,
        tasks=(),
    )


def _result(directory: RunDirectory, finished: RunFinished, state: RunState | None = None) -> RunResult:
    from mprun import outcomes

    return RunResult(
        run_id=directory.run_id,
        outcome=finished.outcome,
        exit_code=outcomes.EXIT_INTERNAL if finished.exit_code is None else finished.exit_code,
        duration=finished.duration,
        directory=directory.path,
        tasks=tuple(map(_task_result, filter(None, (task.finished for task in state.tasks.values()))))
        if state
        else (),
    )


def _task_result(finished: TaskFinished) -> TaskResult:
    return TaskResult(
        name=finished.task,
        outcome=finished.outcome,
        reason=finished.reason,
        attempts=finished.attempts,
        result=finished.result,
        result_kind=finished.result_kind,
    )
