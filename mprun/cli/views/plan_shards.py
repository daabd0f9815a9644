"""What would run in which shard, in a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import visible
from mprun.reporters.format import format_duration, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.model import Job
    from mprun.scheduling.partition import Division, Shard

# How many shards, and how many tasks of each, are listed.
MAX_SHARDS = 50
MAX_TASKS = 20


def shard_lines(job: Job, division: Division) -> Iterator[tuple[str, list[str]]]:
    """For each line: its beginning, and a list of texts."""
    partition = division.partition
    tasks = f"{len(division.selected)} of {plural(division.of, 'task')}"
    yield f"partition {partition}:", [tasks if division.selected else "an empty shard"]
    for number, shard in enumerate(division.shards[:MAX_SHARDS], start=1):
        yield f"  shard {number}{_duration(shard)}:", _names(job, shard)
    if len(division.shards) > MAX_SHARDS:
        yield "  …", [f"{len(division.shards) - MAX_SHARDS:,} more shards"]


def _duration(shard: Shard) -> str:
    return "" if shard.seconds is None else f" ({format_duration(shard.seconds)} in sequence)"


def _names(job: Job, shard: Shard) -> list[str]:
    names = [visible(job.tasks[number].name) for number in shard.tasks[:MAX_TASKS]]
    if len(shard.tasks) > MAX_TASKS:
        names.append(f"… {len(shard.tasks) - MAX_TASKS:,} more")
    return names or ["nothing"]


def shards_json(job: Job, division: Division) -> dict[str, Any]:
    """The same for programs; `seconds` is null if it is not known."""
    partition = division.partition
    return {
        "kind": partition.kind,
        "shard": partition.number,
        "of": partition.of,
        "shards": [
            {"tasks": [job.tasks[number].name for number in shard.tasks], "seconds": shard.seconds}
            for shard in division.shards
        ],
    }
