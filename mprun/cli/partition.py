"""The option `--partition`: which durations it goes by, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.cli.messages import note, warn
from mprun.errors import UsageError
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.record.history import past_runs
from mprun.reporters.format import plural
from mprun.scheduling.estimates import Estimates
from mprun.scheduling.partition import parse_partition

if TYPE_CHECKING:
    from mprun.jobfile.model import Job
    from mprun.record.run_state import RunState
    from mprun.scheduling.partition import Division, Partition


def read_partition(text: str, job: Job, state_dir: str) -> Partition:
    """The partition of an option; for `time`, with the durations of earlier runs. Raises UsageError."""
    partition = parse_partition(text)
    if partition.kind != "time":
        return partition
    timings = [] if job.path == STANDARD_INPUT_PATH else past_runs(state_dir, job.path, whole=True)
    if timings:
        return partition.replace(estimates=Estimates(timings))
    warn(
        f"no earlier run in {state_dir} says how long the tasks of this job take, "
        f"so they are divided as by `slice:{partition.number}/{partition.of}`"
    )
    return partition


def recorded_partition(state: RunState) -> Partition:
    """The partition of an earlier run, with the tasks that it had: other runs may have been recorded since.

    Raises UsageError for a record that something else has written.
    """
    options = state.started.options if state.started is not None else {}
    text, digest = options.get("partition"), options.get("division")
    if not isinstance(text, str) or not isinstance(digest, str):
        raise UsageError("the record of this run has a partition that mprun has not written")
    return parse_partition(text).replace(names=frozenset(state.plan_names()), digest=digest)


def print_shard(division: Division) -> None:
    """Say which part of the tasks runs."""
    partition = division.partition
    if not division.selected:
        note(f"shard {partition.number} of {partition.of} is empty: there is nothing to run")
        return
    tasks = f"{len(division.selected)} of {plural(division.of, 'task')}"
    note(f"shard {partition.number} of {partition.of} (by {partition.kind}): {tasks}")
