"""Runs a job file as a command line asks for it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from mprun import api
from mprun.cli.job import plan_job_file, recorded_options
from mprun.cli.messages import note, say, warn
from mprun.diagnostics import visible
from mprun.engine.signals import signal_name
from mprun.executors.base import CLUSTER_OPTIONS, EXECUTORS
from mprun.outcomes import EXIT_INTERNAL, Outcome
from mprun.record.state_dir import RunDirectory
from mprun.reporters.console import Console
from mprun.reporters.door import ci_service
from mprun.reporters.outlet import display

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.cli.run_files import RunFiles
    from mprun.executors.base import Executor
    from mprun.record.resume import EarlierRun
    from mprun.reporters.base import Reporter
    from mprun.scheduling.plan import Plan
    from mprun.scheduling.stop_limit import StopLimit


def run_job_file(
    launcher: tuple[int, int] | None,
    job: str,
    tasks: tuple[str, ...],
    planning: dict[str, Any],
    running: dict[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run a job file, or some of its tasks, with the launcher that was forked for it; the exit code.

    The rest are the arguments of the command `run`.
    """
    prepare(running, as_json=as_json)
    plan = plan_job_file(job, planning, tasks, state_dir=running["state_dir"])
    if plan.division is not None and not running["quiet"]:
        from mprun.cli.partition import print_shard

        print_shard(plan.division)
    result = execute(plan, launcher, recorded_options(planning), running, dry_run=dry_run)
    code = result.exit_code
    if as_json:
        from mprun.cli.show import print_run

        print_run(RunDirectory(result.directory))
    if dry_run and code == 0:
        has_targets = any(planned.task.target is not None for planned in plan.tasks)
        found = "every target can be called; " if has_targets else "no target to import; "
        note(f"{visible(job)}: {found}nothing was started")
    return code


def prepare(running: dict[str, Any], *, as_json: bool) -> None:
    """Do what the options of a run ask for before there is a plan. Raises UsageError."""
    if EXECUTORS.get(running["executor"]):
        # Few runs leave this machine.
        from mprun.cli import hosts

        hosts.begin(running["executor"])
    if as_json or "-" in running.values():
        # Most runs have nothing for a program.
        from mprun.cli.run_files import keep_stdout_for_programs

        keep_stdout_for_programs(running, as_json=as_json)


def execute(
    plan: Plan,
    launcher: tuple[int, int] | None,
    recorded: dict[str, Any],
    running: dict[str, Any],
    *,
    dry_run: bool = False,
    resumes: EarlierRun | None = None,
) -> api.RunResult:
    """Run a plan with the launcher that was forked for it, and show the run.

    `recorded` are the options that the record keeps, `running` those of `running_options`.
    """
    output, events = running["output"], running["events"]
    files = _run_files(running)
    executor: Executor | None = None
    if running["executor"] != "local" or {*map(running.get, CLUSTER_OPTIONS)} != {None}:
        # Few runs leave this machine.
        from mprun.cli import hosts

        plan, executor = hosts.connect(plan, recorded.get("max_parallel"), running)
    reporters: list[Callable[[api.Context], Reporter]] = []
    if service := ci_service(running["ci"]):
        # With what it imports, only for those who have it read.
        from mprun.cli.ci_reporter import ci_reporter

        reporters.append(ci_reporter(service))
    display.replace_standard_streams()
    consoles: list[Console] = []
    if events != "-":
        verbosity = -1 if running["quiet"] else running["verbose"]
        make_console = _console_reporter(plan, output, running["progress"], verbosity)

        def console_reporter(context: api.Context) -> Console:
            consoles.append(make_console(context))
            return consoles[0]

        reporters.append(console_reporter)
    if events:
        # Few runs write a copy of their events.
        from mprun.cli.events_file import events_reporter

        reporters.append(events_reporter(events, plan, running["state_dir"]))
    # Disabled since the launcher was forked; the objects that exist by now live as long as the run.
    gc.freeze()
    gc.enable()
    result = api.run_plan(
        plan,
        api.RunOptions(
            state_dir=running["state_dir"],
            reporters=reporters,
            executor=executor or _executor(launcher),
            import_timeout=running["import_timeout"],
            warn=warn,
            slow_import=lambda module: None if running["quiet"] else _say_what_is_imported(module),
            dry_run=dry_run,
            recorded_options={**recorded, "output": output},
            resumes=resumes,
            display=display,
            after_end=display.interrupt,
            keep_results=False,
            trace=bool(running["trace"] or running["otlp"]),
        ),
    )
    if result.exit_code == EXIT_INTERNAL and not any(console.has_shown_end for console in consoles):
        say("error", result.reason)
    display.directory = result.directory
    if files is not None:
        files.write(RunDirectory(result.directory), plan)
    if result.outcome == Outcome.INTERRUPTED and not RunDirectory(result.directory).has_record():
        note(f"interrupted ({signal_name(result.exit_code - 128)}): nothing was started")
    return result


# The options that name a file about the run, which is written at its end: those of `run_files.FORMATS`, which
# most runs do not import.
_FILES = ("report", "junit", "trace", "otlp")


def _run_files(running: dict[str, Any]) -> RunFiles | None:
    """The files that are written at the end of the run; None if there are none. Raises UsageError."""
    if not any(running[name] for name in _FILES):
        return None
    # With what they import, only for those who ask for them.
    from mprun.cli.run_files import RunFiles

    files = RunFiles(running)
    files.check()
    return files


def _console_reporter(
    plan: Plan, output: str, progress: str, verbosity: int
) -> Callable[[api.Context], Console]:
    names = [task.name for task in plan.tasks]
    # A `foreach` over a task's result adds tasks during the run.
    lists = [planned.name for planned in plan.tasks if planned.task.foreach is not None]
    if plan.repetition is not None and plan.repetition.count is None:
        from mprun.scheduling.repetition import MORE_COPIES

        lists.append(MORE_COPIES)
    retries = {
        name: planned.task.retry.retries
        for planned in plan.tasks
        if planned.task.retry.retries
        for name in ((planned.name, planned.name.rpartition("@")[0]) if planned.copy else (planned.name,))
    }
    return lambda context: Console(
        context.directory,
        names,
        stop_signal=context.stop_signal,
        stop_limit=lambda running: _stop_limit(plan, running),
        output=output,
        verbosity=verbosity,
        total=None if lists else len(names),
        lists=lists,
        retries=retries,
        progress=progress,
        sources=context,
    )


def _stop_limit(plan: Plan, running: Sequence[str]) -> StopLimit:
    # Most runs end before anything is stopped.
    from mprun.scheduling.stop_limit import stop_limit_by_name

    return stop_limit_by_name(plan, running)


def _executor(launcher: tuple[int, int] | None) -> Executor | None:
    from mprun.executors.local import adopt_launcher

    return adopt_launcher(*launcher) if launcher else None


def _say_what_is_imported(module: str) -> None:
    note(f"importing {visible(module)} ...")
