"""Finds the first line in which two logs differ, apart from what differs in each run."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen
from mprun.record.volatile import masker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory

# No more than this is read of one log, and of all logs, in bytes.
MAX_LOG = 1 << 20
MAX_TOTAL = 128 << 20
# A longer line is compared, and shown, up to here: in characters.
_MAX_LINE = 500


class LogDifference(Frozen):
    """The first line, from 1, that differs; `old` or `new` is None if that log has no such line."""

    task: str
    line: int
    old: str | None
    new: str | None


class LogComparer:
    """Compares logs of two runs; `skipped` counts those that are not compared as too much was read.

    `unreadable` says why others are not: a line for each log that cannot be read.
    """

    def __init__(self, old: tuple[RunDirectory, RunState], new: tuple[RunDirectory, RunState]) -> None:
        places = checkouts(old[1], new[1])
        self._sides = tuple(
            (directory, state, masker(_pids(state), places)) for directory, state in (old, new)
        )
        self._left = MAX_TOTAL
        self.skipped = 0
        self.unreadable: list[str] = []

    def differences(self, tasks: Iterable[str]) -> list[LogDifference]:
        """The difference of each of these tasks, of those that both runs have and whose logs differ."""
        found = []
        for task in tasks:
            if self._left <= 0:
                self.skipped += 1
                continue
            logs = [self._read(directory, state, task) for directory, state, _ in self._sides]
            if logs[0] is None or logs[1] is None or logs[0] == logs[1]:
                continue
            masks = [mask for _, _, mask in self._sides]
            difference = first_difference(logs[0], logs[1], masks[0], masks[1])
            if difference is not None:
                found.append(difference.replace(task=task))
        return found

    def _read(self, directory: RunDirectory, state: RunState, task: str) -> bytes | None:
        """The log of the last attempt, or its beginning; None if the task has not run."""
        known = state.tasks.get(task)
        attempts = known.attempts if known else ()
        if not attempts:
            return None
        log = directory.log_file(task, attempts[-1].started.attempt)
        try:
            with open(log.open(), "rb") as file:
                data = file.read(MAX_LOG)
        except FileNotFoundError:
            data = b""
        except OSError as error:
            self.unreadable.append(f"{log.path} is not compared: {error.strerror}")
            return None
        self._left -= len(data)
        return data


def checkouts(old: RunState, new: RunState) -> list[str]:
    """The directories in which two runs ran, if these differ: their tasks may print paths in them."""
    found: set[str] = set()
    for started in (state.started for state in (old, new)):
        # Another program may have written the record.
        shards: Any = getattr(started, "shards", None)
        places = [getattr(started, "cwd", None)]
        if isinstance(shards, list | tuple):
            places += [shard.get("cwd") for shard in shards if isinstance(shard, dict)]
        found.update(place for place in places if isinstance(place, str) and place.startswith("/"))
    return [place for place in found if place != "/"] if len(found) > 1 else []


def first_difference(
    old: bytes, new: bytes, mask_old: Callable[[str], str], mask_new: Callable[[str], str]
) -> LogDifference | None:
    """The first line that differs in two logs, of which the ends may be missing; None if none does."""
    # If the end of a log was not read, there is no telling what follows.
    whole = len(old) < MAX_LOG and len(new) < MAX_LOG
    for number, (before, after) in enumerate(zip_longest(old.splitlines(), new.splitlines()), start=1):
        if before == after:
            continue
        if (before is None or after is None) and not whole:
            return None
        texts = [
            None if one is None else one[:_MAX_LINE].decode("utf-8", "replace") for one in (before, after)
        ]
        if texts[0] is None or texts[1] is None or mask_old(texts[0]) != mask_new(texts[1]):
            return LogDifference(task="", line=number, old=texts[0], new=texts[1])
    return None


def _pids(state: RunState) -> set[int]:
    """The pids that a run's tasks may print: their own, and those of mprun."""
    started = state.started
    found = {started.pid, started.main_pid} if started else set()
    for task in state.tasks.values():
        found.update(attempt.started.pid for attempt in task.attempts)
    return found
