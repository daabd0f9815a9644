"""Finds the records of the shards of a run, and what is wrong with them as a whole."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote, visible
from mprun.errors import UsageError
from mprun.frozen import Frozen
from mprun.outcomes import Outcome
from mprun.record.packed_path import is_packed
from mprun.record.reader import is_active, read_state, run_outcome
from mprun.record.run_list import list_runs
from mprun.record.state_dir import EVENTS, RunDirectory, is_run_id
from mprun.record.task_details import TaskDetails
from mprun.scheduling.partition import parse_partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.events import RunStarted
    from mprun.record.run_state import RunState

# Records are looked for so deep below a directory, and in so many directories.
_MAX_DEPTH = 6
_MAX_DIRECTORIES = 100_000
# How many shards are named in one message.
_MAX_NAMED = 10


class ShardRun(Frozen):
    """The record of one shard: `number`, from 1, of `of`."""

    directory: RunDirectory
    state: RunState
    started: RunStarted
    details: TaskDetails
    number: int
    of: int
    damage: tuple[str, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"shard {self.number}/{self.of}"

    @property
    def where(self) -> str:
        """The same, with its host and its run."""
        return f"{self.name} (run {self.directory.run_id} on {visible(self.started.host)})"


def find_shards(paths: Sequence[str]) -> tuple[list[ShardRun], list[str]]:
    """The newest run of each shard in these directories, in order, and messages about runs that are left out.

    A directory may be that of a run, or have such directories and packed runs in it, however deep; it may
    also be a packed run. Raises UsageError if one of them has no shard in it.
    """
    found: dict[tuple[int, int], ShardRun] = {}
    messages: list[str] = []
    seen: set[str] = set()
    for path in paths:
        count = 0
        for directory in _runs_below(path):
            if (place := os.path.realpath(directory.path)) in seen:
                count += 1
                continue
            seen.add(place)
            shard = _read(directory)
            if shard is None:
                continue
            count += 1
            key = shard.of, shard.number
            other = found.get(key)
            if other is not None:
                shard, other = sorted((shard, other), key=lambda one: one.directory.run_id, reverse=True)
                messages.append(f"{other.where} is left out: run {shard.directory.run_id} is newer")
            found[key] = shard
        if not count:
            raise UsageError(
                f"no shard in {quote(path)}; name directories with records of runs that had `--partition`"
            )
    return [found[key] for key in sorted(found)], messages


def _runs_below(path: str) -> Iterator[RunDirectory]:
    if is_packed(path):
        yield from list_runs(path)
        return
    if not os.path.isdir(path):
        raise UsageError(
            f"{quote(path)} is not a directory; name one with the record of a shard, or a packed run"
        )
    top = os.path.abspath(path)
    for count, (folder, names, files) in enumerate(os.walk(top)):
        for file in sorted(files):
            if _is_ours(place := os.path.join(folder, file)):
                yield from list_runs(place)
        if EVENTS in files and is_run_id(os.path.basename(folder)):
            names.clear()
            yield RunDirectory(folder)
        elif count > _MAX_DIRECTORIES or folder.count("/") - top.count("/") >= _MAX_DEPTH:
            names.clear()
        else:
            names.sort()


def _is_ours(path: str) -> bool:
    """Whether a file that was found seems to be a packed run: many other files are zip files."""
    if not is_packed(path):
        return False
    from mprun.record.packed_run import is_ours

    return is_ours(path)


def _read(directory: RunDirectory) -> ShardRun | None:
    """A shard; None for a run that is none. Raises UnreadableRecord."""
    details = TaskDetails()
    state, damage = read_state(directory, details.add)
    text = state.started.options.get("partition") if state.started is not None else None
    if state.started is None or not isinstance(text, str):
        return None
    if is_active(directory, state):
        raise UsageError(
            f"run {directory.run_id}, a shard, is still running; merge the shards when all have ended"
        )
    try:
        partition = parse_partition(text)
    except UsageError:
        return None
    return ShardRun(
        directory=directory,
        state=state,
        started=state.started,
        details=details,
        number=partition.number,
        of=partition.of,
        damage=tuple(damage),
    )


def problems(shards: Sequence[ShardRun]) -> list[str]:
    """Why these are not all the shards of one run, one after the other; each names shards."""
    counts = Counter(shard.of for shard in shards)
    of = max(counts, key=lambda one: (counts[one], one))
    others = [shard for shard in shards if shard.of != of]
    found = [f"{shard.where} is not one of {of} shards" for shard in others]
    same = [shard for shard in shards if shard.of == of]
    numbers = {shard.number for shard in same}
    missing = [str(number) for number in range(1, of + 1) if number not in numbers]
    if missing:
        named = ", ".join(missing[:_MAX_NAMED])
        more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        verb = "is" if len(missing) == 1 else "are"
        found.append(f"shard{'' if len(missing) == 1 else 's'} {named}{more} of {of} {verb} missing")
    first = same[0]
    for shard in shards:
        if _hashes(shard) != _hashes(first):
            found.append(f"{shard.where} ran another job file than {first.where}")
        elif shard.started.params != first.started.params:
            found.append(f"{shard.where} had other params than {first.where}")
        elif shard.of == of and _division(shard) != _division(first):
            found.append(
                f"{shard.where} divided the tasks otherwise than {first.where}: "
                "it had another selection, or other records of earlier runs"
            )
        if shard.state.finished is None or shard.state.exit_unknown:
            found.append(f"{shard.where} has no end: mprun itself was killed")
        elif run_outcome(shard.directory, shard.state) == Outcome.INTERRUPTED:
            found.append(f"{shard.where} was interrupted")
    return found


def _hashes(shard: ShardRun) -> list[str]:
    # Its path may be another one on each machine.
    return [_hash(file) for file in shard.started.files]


def _hash(file: Any) -> str:
    return str(file.get("sha256") if isinstance(file, dict) else file)


def _division(shard: ShardRun) -> object:
    return shard.started.options.get("division")
