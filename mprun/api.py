"""mprun from Python: load a job, plan it, run it, with the functions that the command line uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.engine.preflight import IMPORT_TIMEOUT_SECONDS
from mprun.engine.run import Context, Run, RunOptions, RunResult, TaskResult, ignore_warning
from mprun.engine.signals import SignalInbox
from mprun.errors import JobFileError, UsageError
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.model import Job
from mprun.linux.procfs import count_cores as cpu_count
from mprun.record import lock
from mprun.record.pidfile import PidFile, runs_of_others
from mprun.record.state_dir import DEFAULT, create_run_or_temporary
from mprun.scheduling.plan import Plan, Reused, plan_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.engine.unchanged_forecast import Expected
    from mprun.executors.base import Executor
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import Reporter
    from mprun.scheduling.forecast import Forecast
    from mprun.scheduling.partition import Partition

__all__ = [
    "Context",
    "RunOptions",
    "RunResult",
    "TaskResult",
    "cpu_count",
    "expected_skips",
    "forecast",
    "load_job",
    "plan_job",
    "run_job",
    "run_plan",
]


def load_job(
    path: str | os.PathLike[str] | Mapping[str, Any], params: Mapping[str, Any] | None = None
) -> Job:
    """Read and check a job file; imports no target and starts nothing.

    `path` may also be the job itself, as a mapping with the keys of a job file. Errors in it have a path
    such as `tasks[0].retry` in place of a line, and relative paths are relative to the working directory.

    `params` are values by name. A param that is missing there is taken from the environment
    (`MPRUN_PARAM_NAME`), or gets its default. Raises JobFileError with every error that can
    be found without importing a target, UsageError if a file cannot be read.
    """
    if isinstance(path, Mapping):
        job: str | dict[str, Any] = {"name": "job", **path}
    elif isinstance(path, (str, os.PathLike)):
        job = os.fspath(path)
    else:
        raise UsageError(f"a job must be the path of a file, or a mapping, not {quote(repr(path))}")
    if not isinstance(job, str) or not os.path.isabs(job):
        # Not at the top: the command says so once something has failed.
        from mprun.engine.directories import require_working_directory

        require_working_directory()
    return load_job_file(job, dict(params or {}), (), os.environ)


def plan_job(
    job: Job,
    *,
    max_parallel: int | None = None,
    fail_fast: bool | None = None,
    timeout: float | None = None,
    start_method: str | None = None,
    flaky: str | None = None,
    names: Sequence[str] = (),
    tags: Sequence[str] = (),
    with_dependencies: bool = True,
    reused: Mapping[str, Reused] | None = None,
    repeat: int | None = None,
    repeat_for: float | None = None,
    until_failure: bool | None = None,
    seed: int | None = None,
    partition: str | Partition | None = None,
    force: bool | None = None,
) -> Plan:
    """Plan a job: which tasks run, in which order. The arguments override keys of the job.

    `timeout` is in seconds, for the whole run; `flaky` is `pass` or `fail`. With `names` (patterns of
    `*` and `?`) or `tags`, only the tasks that match both are planned, and their dependencies unless
    `with_dependencies` is false. `reused` has, by task name, the outcomes of an earlier run: these tasks do
    not run again.

    `repeat` is how many copies of each planned task run, `NAME@1`, `NAME@2` and so on; with `repeat_for`,
    in seconds, or `until_failure` alone copies are added while there is time, or until one fails.
    `until_failure` ends the run at the first failure. `seed` decides about the order of the copies: the
    same one gives the same order; by default it is random.

    `partition`, such as `slice:2/5`, plans one shard of the selected tasks, and what these depend on; the
    plan of a shard may be empty. As a text, `time` divides as `slice`, because it has no durations.

    With `force`, no task is skipped because nothing has changed that it depends on.

    Raises NothingSelected if no task matches, JobFileError if a task refers to the result of one that is
    not selected, UsageError if nothing can be repeated, or for an argument that no plan can have.
    """
    if not isinstance(job, Job):
        raise UsageError(f"a plan needs a job, as `mprun.load_job` returns it, not {quote(repr(job))}")
    arguments = {
        "max_parallel": max_parallel,
        "timeout": timeout,
        "start_method": start_method,
        "flaky": flaky,
        "names": names or None,
        "tags": tags or None,
        "repeat": repeat,
        "repeat_for": repeat_for,
        "seed": seed,
    }
    if any(value is not None for value in arguments.values()):
        # Most runs have none of them.
        from mprun.scheduling.plan_arguments import check_plan_arguments

        check_plan_arguments(arguments)
    selection = None
    if names or tags:
        from mprun.scheduling.selection import select

        selection = select(job, names, tags, with_dependencies=with_dependencies)
        if selection is not None and not with_dependencies:
            from mprun.jobfile import locate

            if diagnostics := locate.left_out(job, selection):
                raise JobFileError(diagnostics)
    division = None
    if partition is not None:
        # Most runs have all tasks.
        from mprun.scheduling.partition import divide, parse_partition

        if isinstance(partition, str):
            partition = parse_partition(partition)
        division = divide(job, selection, partition)
        selection = list(division.selected)
    repetition = None
    if (repeat is not None or repeat_for is not None or until_failure) and selection != []:
        # Most runs repeat nothing.
        from mprun.engine.repeat import repeated

        job, repetition = repeated(job, selection, repeat, repeat_for, seed)
        selection, fail_fast = None, until_failure or fail_fast
    plan = plan_tasks(
        job.replace(
            fail_fast=job.fail_fast if fail_fast is None else fail_fast,
            timeout=job.timeout if timeout is None else timeout,
        ),
        cpus=cpu_count(),
        default_method="fork" if sys.platform == "linux" else "spawn",
        max_parallel=max_parallel,
        start_method=start_method,
        flaky=flaky,
        selection=selection,
        reused=reused,
    )
    if division is not None:
        plan = plan.replace(division=division)
    if force:
        plan = plan.replace(force="--force")
    return plan if repetition is None else plan.replace(repetition=repetition)


def run_job(
    job: Job | Plan,
    *,
    state_dir: str = DEFAULT,
    reporters: Sequence[Callable[[Context], Reporter]] = (),
    executor: Executor | None = None,
    import_timeout: float = IMPORT_TIMEOUT_SECONDS,
    warn: Callable[[str], None] = ignore_warning,
    dry_run: bool = False,
) -> RunResult:
    """Run a job, or a plan of it, to its end. Nothing is printed.

    The record goes to a new directory below `state_dir`. Each of `reporters` is called once
    with a Context, and what it returns gets every event. The `executor` starts the attempts;
    by default a new launcher does. `import_timeout` is in seconds, for the imports of all
    targets together. `warn` gets each warning as a text. With `dry_run` the targets are only
    imported and bound to their arguments, and no record is kept.

    Raises JobFileError, before any task starts, if a target cannot be imported or called
    with its arguments; LauncherError if the launcher fails; RecordError if the record cannot
    be written. In the main thread, SIGINT, SIGTERM and SIGHUP stop the run, and SIGTSTP
    suspends it.
    """
    from mprun.engine.directories import require_working_directory

    require_working_directory()
    options = RunOptions(
        state_dir=state_dir,
        reporters=reporters,
        executor=executor,
        import_timeout=import_timeout,
        warn=warn,
        dry_run=dry_run,
    )
    plan = job if isinstance(job, Plan) else plan_job(job)
    from mprun.jobfile.job_checks import daemons_alone, early_warnings

    for text, diagnostic in early_warnings(plan.job):
        warn(text if diagnostic is None else f"{diagnostic}; {diagnostic.help}")
    if text := daemons_alone(plan.tasks, plan.join):
        warn(text)
    return run_plan(plan, options)


def run_plan(plan: Plan, options: RunOptions) -> RunResult:
    """As `run_job`, of a plan and with all options."""
    import time

    # Before there is a directory: a signal that ends this process would leave it empty.
    with SignalInbox(options.after_end) as inbox:
        directory, warning = create_run_or_temporary(options.state_dir, time.time())
        # Before the pidfile, by which another start finds this run, and before anything is imported.
        record = lock.create_record(directory)
        pidfile = PidFile(directory)
        if warning:
            options.warn(warning)
        else:
            pidfile.write()
            _recover_killed_runs(directory, options.warn)
        executor = options.executor or _start_launcher(directory.run_id)
        run = Run(plan, executor, directory, record, options, inbox)
        try:
            return run.run()
        finally:
            run.close()
            pidfile.remove()
            directory.close()


def forecast(plan: Plan, state_dir: str = DEFAULT) -> Forecast | None:
    """How long a plan is likely to run, by the earlier runs of its job file below `state_dir`.

    None if there are none. Nothing is written.
    """
    from mprun.engine.past_timings import PastTimings

    timings = PastTimings(plan, state_dir).read_all()
    if not timings:
        return None
    from mprun.scheduling.forecast import forecast_run

    return forecast_run(plan, timings)


def expected_skips(plan: Plan, state_dir: str = DEFAULT) -> dict[str, Expected]:
    """What is expected of each task with `inputs` or `outputs`, by name: whether a run would skip it.

    Nothing is written, and no target is imported.
    """
    if not any(planned.task.is_compared for planned in plan.tasks):
        return {}
    from mprun.engine.unchanged_forecast import expected_skips

    return expected_skips(plan, state_dir)


def _recover_killed_runs(directory: RunDirectory, warn: Callable[[str], None]) -> None:
    """End the processes that killed runs have left: before a task starts that they could disturb."""
    if runs_of_others(directory):
        from mprun.record.recovery import recover_killed_runs

        recover_killed_runs(directory, warn)


def _start_launcher(run_id: str) -> Executor:
    from mprun.executors.new_launcher import start_launcher

    return start_launcher(run_id)
