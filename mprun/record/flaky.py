"""Finds flaky tasks in the records of many runs: what passed after a retry, or ended in different ways."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mprun.errors import UnreadableRecord
from mprun.frozen import Frozen
from mprun.outcomes import Outcome
from mprun.record import events, lock
from mprun.record.copies import interval, without_copy
from mprun.record.line_format import MAX_FIRST_LINE, decode_name, task_line_matcher
from mprun.record.moved_path import file_here, path_here, state_dir_of, was_copied
from mprun.record.reader import CorruptLine, parse_line
from mprun.record.retried import is_flaky
from mprun.scheduling.retry import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mprun.record.state_dir import RunDirectory

# No more than this is read of one record, in bytes.
MAX_BYTES_PER_RECORD = 64 << 20
# How many runs are named of each task.
MAX_NAMED_RUNS = 10

# What the lines with the outcomes of tasks contain.
_FINISHED = b'"task_finished"'
# What follows the name in the line of a task that succeeded at once: nothing else of it is of interest.
_PLAIN_SUCCESS = b'"outcome":"succeeded","attempts":1,"reason":"",'


class TaskEnd(Frozen):
    """How a task ended in a run: `failed`, or it succeeded, perhaps at a later attempt (`flaky`)."""

    task: str
    failed: bool
    flaky: bool = False


class RunEnds(Frozen):
    """A run: its job file, what else decides how its tasks end, and how those ended that came to an end.

    `inputs` is equal for runs with the same content of all job files and the same params.
    """

    run: str
    job: str
    file: str
    inputs: str
    ends: tuple[TaskEnd, ...]


class FlakyTask(Frozen):
    """A flaky task: of `runs` with the same files and params, `failures` failed and `flaky` needed a retry.

    `low` and `high` are the bounds of the 95 % interval of the rate of both, from 0 to 1. The runs are named
    newest first, at most MAX_NAMED_RUNS each.
    """

    task: str
    job: str
    file: str
    runs: int
    failures: int
    flaky: int
    low: float
    high: float
    failed_runs: tuple[str, ...]
    flaky_runs: tuple[str, ...]

    @property
    def rate(self) -> float:
        """The share of the runs in which it failed or needed a retry, from 0 to 1."""
        return (self.failures + self.flaky) / self.runs

    def to_json(self) -> dict[str, Any]:
        """The task as a JSON object."""
        return {**self.to_dict(), "rate": self.rate}


def read_ends(directory: RunDirectory) -> RunEnds | None:
    """How the tasks of a run ended; None if its record has no first event. Raises UnreadableRecord.

    Of the record only the lines with the outcomes of tasks are looked at, and only those parsed that do not
    say that a task has succeeded at once: 2,000 records of 20 tasks take a second.
    """
    try:
        with lock.open_record(directory) as file:
            started = parse_line(file.readline(MAX_FIRST_LINE))
            data = file.read(MAX_BYTES_PER_RECORD)
    except OSError as error:
        raise UnreadableRecord(f"{directory.events} cannot be read: {error.strerror}") from None
    if isinstance(started, CorruptLine) or started.get("event") != "run_started":
        return None
    written = started.get("format", events.FORMAT)
    if type(written) is not int or written > events.FORMAT:
        raise UnreadableRecord(f"run {directory.run_id} was written by a newer mprun", newer=True)
    job, file_name, options = started.get("job"), started.get("file"), started.get("options")
    recorded, here = started.get("state_dir"), state_dir_of(directory)
    files = started.get("files")
    if isinstance(files, list) and was_copied(recorded, here):
        # Another checkout of the same content is the same.
        files = [file_here(one, recorded, here) for one in files]
    inputs = json.dumps([files, started.get("params")], sort_keys=True)
    return RunEnds(
        run=directory.run_id,
        job=job if isinstance(job, str) else "",
        file=path_here(file_name, recorded, here) if isinstance(file_name, str) else "",
        inputs=inputs,
        ends=tuple(_ends(data, is_repeated=isinstance(options, dict) and "seed" in options)),
    )


def _ends(data: bytes, *, is_repeated: bool) -> Iterable[TaskEnd]:
    match = task_line_matcher()
    for line in _lines_with(_FINISHED, data):
        end = _plain_success(line, match) or _parsed(line)
        if end is not None:
            yield end.replace(task=without_copy(end.task)) if is_repeated else end


def _lines_with(word: bytes, data: bytes) -> Iterator[bytes]:
    """The lines that contain a word, each with its line feed if it has one."""
    begin = 0
    while (found := data.find(word, begin)) >= 0:
        begin = max(begin, data.rfind(b"\n", begin, found) + 1)
        end = data.find(b"\n", found) + 1 or len(data)
        yield data[begin:end]
        begin = end


def _plain_success(line: bytes, match: Any) -> TaskEnd | None:
    found = match(line)
    if not found or found[1] != b"finished" or not line.startswith(_PLAIN_SUCCESS, found.end()):
        return None
    if b'"reused":true' in line or b'"flaky":true' in line or not line.endswith(b"}\n"):
        return None
    try:
        return TaskEnd(task=decode_name(found[3]), failed=False)
    except ValueError:
        return None


def _parsed(line: bytes) -> TaskEnd | None:
    finished = parse_line(line)
    if (
        isinstance(finished, CorruptLine)
        or finished.get("event") != "task_finished"
        or finished.get("reused")
    ):
        # An earlier run has ended it, and counts.
        return None
    task, outcome = finished.get("task"), finished.get("outcome")
    if not isinstance(task, str) or outcome not in (*FAILURES, Outcome.SUCCEEDED):
        return None
    return TaskEnd(task=task, failed=outcome in FAILURES, flaky=is_flaky(finished))


class _Counts:
    """How a task ended in the runs with the same files and params."""

    __slots__ = ("failed_runs", "failures", "flaky", "flaky_runs", "runs")

    def __init__(self) -> None:
        self.runs = self.failures = self.flaky = 0
        # Newest first; dictionaries, as many copies may have failed in one run.
        self.failed_runs: dict[str, None] = {}
        self.flaky_runs: dict[str, None] = {}

    def add(self, end: TaskEnd, run: str) -> None:
        self.runs += 1
        self.failures += end.failed
        self.flaky += end.flaky
        if end.failed:
            self.failed_runs[run] = None
        if end.flaky:
            self.flaky_runs[run] = None

    @property
    def is_flaky(self) -> bool:
        return bool(self.flaky) or 0 < self.failures < self.runs


def flaky_tasks(runs: Iterable[RunEnds]) -> list[FlakyTask]:
    """The flaky tasks of these runs, newest first: those that are so most often come first.

    A task is flaky if, in runs with the same content of the job files and the same params, it succeeded at a
    later attempt, or sometimes succeeded and sometimes failed. Other files or params may explain another end.
    """
    counted: dict[tuple[str, str], dict[str, _Counts]] = {}
    jobs: dict[str, str] = {}
    for run in runs:
        jobs.setdefault(run.file, run.job)
        for end in run.ends:
            by_inputs = counted.setdefault((run.file, end.task), {})
            by_inputs.setdefault(run.inputs, _Counts()).add(end, run.run)
    found = []
    for (file, task), by_inputs in counted.items():
        flaky = [counts for counts in by_inputs.values() if counts.is_flaky]
        if not flaky:
            continue
        total, failures = sum(one.runs for one in flaky), sum(one.failures for one in flaky)
        retried = sum(one.flaky for one in flaky)
        low, high = interval(failures + retried, total)
        found.append(
            FlakyTask(
                task=task,
                job=jobs[file],
                file=file,
                runs=total,
                failures=failures,
                flaky=retried,
                low=low,
                high=high,
                failed_runs=_newest(run for one in flaky for run in one.failed_runs),
                flaky_runs=_newest(run for one in flaky for run in one.flaky_runs),
            )
        )
    return sorted(found, key=lambda one: (-one.rate, -one.runs, one.file, one.task))


def _newest(runs: Iterable[str]) -> tuple[str, ...]:
    # Their ids begin with their time.
    return tuple(sorted(set(runs), reverse=True)[:MAX_NAMED_RUNS])
