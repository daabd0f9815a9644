"""The durations and the memory of a job file's tasks in earlier runs: what is noise, and what is not."""

from __future__ import annotations

import os
import re
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from mprun.record import lock
from mprun.record.comparison import DURATION, MEMORY
from mprun.record.history import MAX_BYTES_PER_RECORD, is_run_of
from mprun.record.line_format import (
    MAX_FIRST_LINE,
    decode_name,
    find_duration,
    says_succeeded,
    task_line_matcher,
)
from mprun.record.run_list import list_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import BinaryIO

# Among this many runs before the newer one, runs of its job file are looked for, and this many are used.
MAX_RUNS_SEARCHED = 500
MAX_RUNS_USED = 20
# No further record is read after this many bytes.
STOP_AFTER_BYTES = 256 << 20

# By the name of a quantity and by task: its values, newest first.
Samples = dict[str, dict[str, list[float]]]


def read_samples(state_dir: str, file: str, tasks: Collection[str], *, before: str, job: str = "") -> Samples:
    """The values of these tasks in up to 20 runs of a job file before one, where they succeeded.

    `job` is the name of a job from standard input: see `is_run_of`.
    """
    found: Samples = {DURATION.name: {}, MEMORY.name: {}}
    used = read = 0
    place = os.path.abspath(state_dir)
    earlier = (run for run in list_runs(state_dir) if run.run_id < before)
    for directory in islice(earlier, MAX_RUNS_SEARCHED):
        try:
            with lock.open_record(directory) as stream:
                if not is_run_of(stream.readline(MAX_FIRST_LINE), file, place, job):
                    continue
                _add(stream, tasks, found)
                read += stream.tell()
        except OSError:
            continue
        used += 1
        if used == MAX_RUNS_USED or read >= STOP_AFTER_BYTES:
            break
    return found


def _add(stream: BinaryIO, tasks: Collection[str], found: Samples) -> None:
    match, find_memory = task_line_matcher(), _memory_searcher()
    last: dict[bytes, tuple[float | None, float | None]] = {}
    left = MAX_BYTES_PER_RECORD - stream.tell()
    while left > 0 and (line := stream.readline(left)):
        left -= len(line)
        task_line = match(line)
        if task_line is None:
            continue
        kind, _, name = task_line.groups()
        try:
            if kind == b"exited":
                memory = find_memory(line, task_line.end())
                last[name] = (find_duration(line, task_line.end()), float(memory[1]) if memory else None)
            elif kind == b"finished" and says_succeeded(line, task_line.end()):
                values, task = last.pop(name, (None, None)), decode_name(name)
                for quantity, value in zip((DURATION, MEMORY), values, strict=True):
                    # Anything else is damage.
                    if task in tasks and value is not None and 0 <= value < 2**63:
                        found[quantity.name].setdefault(task, []).append(value)
        except ValueError:
            continue


@cache
def _memory_searcher() -> Callable[[bytes, int], re.Match[bytes] | None]:
    return re.compile(rb'"max_rss":([0-9]{1,18}),').search
