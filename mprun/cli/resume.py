"""The command that resumes an earlier run."""

from __future__ import annotations

import inspect
import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from mprun import api
from mprun.cli.completion import complete_run, complete_task
from mprun.cli.execution import execute, prepare
from mprun.cli.messages import explain, note, warn
from mprun.cli.options import json_option, running_options
from mprun.cli.recorded_plan import read_recorded_job
from mprun.cli.show import print_run, read_run, read_run_in
from mprun.diagnostics import quote, visible
from mprun.errors import MprunError, NothingSelected, UsageError
from mprun.outcomes import EXIT_SUCCEEDED, Outcome
from mprun.record import reader
from mprun.record.commands import command, short_path
from mprun.record.packaged_files import with_packages_here
from mprun.record.packed_path import is_packed, packed_in, ran_elsewhere
from mprun.record.rerun import choose_reused, unmatched
from mprun.record.resumable import find_resumable
from mprun.record.resume import file_changes, read_earlier_run, refusals, with_unrecorded
from mprun.record.resume_lock import locked
from mprun.record.run_list import find_run
from mprun.record.state_dir import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.resume import EarlierRun
    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan

# The options of the earlier run that say which tasks run, and how.
_PLANNING = inspect.signature(api.plan_job).parameters.keys() - {"job", "reused"}


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a param again: a secret, which is not recorded, or another value.",
)
@click.option(
    "--rerun",
    multiple=True,
    metavar="GLOB",
    shell_complete=complete_task,
    help="Also run the tasks whose name matches (* and ?) again, and the tasks that depend on them.",
)
@click.option(
    "--rerun-unknown",
    is_flag=True,
    help="Also run tasks whose exit status is unknown; they may have done their work.",
)
@click.option("--allow-changed", is_flag=True, help="Resume even if the job file has changed since that run.")
@json_option("Show the run at its end as one JSON object, like `mprun show --json`.")
@running_options
@click.pass_obj
def resume(
    launcher: tuple[int, int] | None,
    /,
    run: str | None,
    params: tuple[str, ...],
    rerun: tuple[str, ...],
    rerun_unknown: bool,
    allow_changed: bool,
    as_json: bool,
    running: dict[str, Any],
) -> int:
    """Rerun the tasks of a run that did not succeed.

    RUN is the id of the run, or the beginning of it; by default the newest run that can be
    resumed. Its params, options and directory are used again, and so are the results of the
    tasks that succeeded. Tasks that failed, timed out or were stopped, cancelled or skipped
    run again, and so do daemons.

    RUN may be a file of `mprun pack`, too, which becomes a run of the state directory. Its job
    file is looked for in this directory, by the path that it had from the one in which it ran.
    """
    prepare(running, as_json=as_json)
    state_dir, quiet = running["state_dir"], running["quiet"]
    directory, state = _find_run(state_dir, run, bool(rerun), quiet=quiet)
    if reader.is_active(directory, state):
        stop = command(directory, "stop", "--run", directory.run_id)
        raise UsageError(f"run {directory.run_id} is still running; stop it with `{stop}`")
    earlier = read_earlier_run(directory, state, rerun_unknown=rerun_unknown)
    if state.finished is not None and state.finished.exit_code == EXIT_SUCCEEDED and not rerun:
        note(
            f"run {directory.run_id} succeeded; there is nothing to resume "
            "(to run tasks of it again, use `--rerun GLOB`)"
        )
        if as_json:
            print_run(directory)
        return EXIT_SUCCEEDED
    with locked(state_dir, earlier):
        plan, options = _plan(earlier, state, params, rerun, rerun_unknown, allow_changed)
        if plan.cwd is not None and not quiet:
            # A state directory may have come from somewhere else, with a record that names any directory.
            note(f"run {directory.run_id} is resumed where it ran: {visible(plan.cwd)}")
        earlier = earlier.replace(reused=plan.reused)
        with _adopted(earlier, state_dir) if packed_in(directory) else nullcontext(earlier) as earlier:
            result = execute(plan, launcher, options, running, resumes=earlier)
    if as_json:
        print_run(RunDirectory(result.directory))
    return result.exit_code


def _find_run(
    state_dir: str, run: str | None, succeeded: bool, *, quiet: bool
) -> tuple[RunDirectory, RunState]:
    """The run that is named, else the newest one that can be resumed.

    It is told if that is not the newest run; otherwise the header is enough.
    """
    if run is not None and is_packed(run):
        return _find_packed(run, state_dir, quiet=quiet)
    found = find_resumable(state_dir, succeeded=succeeded) if run is None else None
    if found is None:
        # If none can be resumed, the newest one says why.
        return _here(*read_run(state_dir, run, to_read=False))
    for run_id in found.unreadable:
        warn(f"the record of run {run_id} cannot be read, so a run before it is resumed")
    if not found.is_newest and not quiet:
        ended = "was interrupted" if found.outcome == Outcome.INTERRUPTED else visible(found.outcome)
        file = visible(short_path(found.file))
        note(f"resuming run {found.directory.run_id} of {visible(found.job)} ({file}), which {ended}")
    return _here(*read_run_in(found.directory))


def _find_packed(path: str, state_dir: str, *, quiet: bool) -> tuple[RunDirectory, RunState]:
    """The run in a file of `mprun pack`; the same one of the state directory if it is there by now."""
    from mprun.record.moved_run import find_adopted
    from mprun.record.packed_run import remove_unpacked

    packed = find_run(state_dir, path)
    adopted = find_adopted(packed, state_dir)
    if adopted is not None:
        remove_unpacked()
    directory, state = _here(*read_run_in(adopted or packed))
    if state.started is not None and not quiet:
        job, file = visible(state.started.job), visible(short_path(state.started.file))
        note(f"resuming run {directory.run_id} of {job} ({file}), packed in {visible(path)}")
    return directory, state


def _here(directory: RunDirectory, state: RunState) -> tuple[RunDirectory, RunState]:
    """A run as it is resumed here: the files of one that ran elsewhere are looked for in this directory."""
    if state.started is None:
        return directory, state
    state.started = with_packages_here(state.started)
    if ran_elsewhere(directory, state.started):
        from mprun.record.moved_run import here, is_where_it_was

        if not is_where_it_was(directory, state.started):
            state.started = here(directory.run_id, state.started)
    return directory, state


@contextmanager
def _adopted(earlier: EarlierRun, state_dir: str) -> Iterator[EarlierRun]:
    """A packed run, once it is a run of the state directory, with the lock on it."""
    from mprun.record.moved_run import adopt
    from mprun.record.packed_run import remove_unpacked

    directory = adopt(earlier.directory, state_dir)
    remove_unpacked()
    lineage = tuple(directory.beside(one.run_id) for one in earlier.lineage)
    earlier = earlier.replace(directory=directory, lineage=lineage)
    with locked(state_dir, earlier):
        yield earlier


def _plan(
    earlier: EarlierRun,
    state: RunState,
    params: Sequence[str],
    rerun: Sequence[str],
    rerun_unknown: bool,
    allow_changed: bool,
) -> tuple[Plan, dict[str, Any]]:
    """The plan of the run that resumes an earlier one, and the options that both have.

    Reports all mistakes but the last, and raises that.
    """
    changes = file_changes(state.started)
    options = {name: value for name, value in earlier.options.items() if name in _PLANNING}
    if "seed" in options and "repeat" not in options:
        # Copies were added as long as there was time: these run again, and no others.
        from mprun.record.copies import copy_number

        options.pop("repeat_for", None)
        options["repeat"] = max(map(copy_number, state.known_names()), default=1) or 1
    mistakes: list[MprunError] = [
        UsageError(message) for message in refusals(earlier, changes, allow_changed=allow_changed)
    ]
    plan = None
    recorded = dict(options)
    if "partition" in options:
        from mprun.cli.partition import recorded_partition

        options["partition"] = recorded_partition(state)
    try:
        if earlier.file not in changes.gone:
            job = read_recorded_job(earlier.file, earlier.params, params)
            plan = api.plan_job(job, **options)
            mistakes[:0] = map(NothingSelected, unmatched(plan, earlier, rerun))
    except MprunError as error:
        mistakes.append(error)
    for mistake in mistakes[:-1]:
        explain(mistake)
    if mistakes or plan is None:
        raise mistakes[-1]
    for path in (*changes.changed, *changes.gone):
        warn(f"{quote(path)} has changed since run {earlier.directory.run_id}")
    if not rerun_unknown:
        earlier = with_unrecorded(earlier, job)
    plan = api.plan_job(job, reused=choose_reused(plan, earlier, rerun), **options)
    if rerun:
        # What is asked for runs, although nothing may have changed.
        plan = plan.replace(force="--rerun")
    return plan if earlier.cwd in (None, os.getcwd()) else plan.replace(cwd=earlier.cwd), recorded
