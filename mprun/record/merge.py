"""Makes one run of the records of its shards: each task counts once, and a failure wins."""

from __future__ import annotations

import heapq
import os
from typing import TYPE_CHECKING, Any

from mprun.errors import RecordError
from mprun.frozen import Frozen
from mprun.outcomes import EXIT_FAILED, EXIT_INTERNAL, EXIT_SUCCEEDED, Outcome
from mprun.record import events, lock
from mprun.record.begun_logs import find_begun_logs
from mprun.record.event_reader import from_record
from mprun.record.merged_files import copy_files
from mprun.record.merged_plan import in_order, plan_events
from mprun.record.packed_path import packed_in, write_origin
from mprun.record.reader import CorruptLine, read_lines
from mprun.record.recorder import Recorder
from mprun.record.recovery import infer_outcome
from mprun.record.relocate import relocated
from mprun.record.state_dir import create_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mprun.record.shards import ShardRun
    from mprun.record.state_dir import RunDirectory

# How many events are written at a time.
_BATCH = 1000

# What counts of a task that several shards ran: the first of these that one of them has.
_RANKS = {
    Outcome.FAILED: 0,
    Outcome.TIMED_OUT: 1,
    Outcome.UNKNOWN: 2,
    Outcome.STOPPED: 3,
    Outcome.SUCCEEDED: 5,
    Outcome.SKIPPED: 6,
    Outcome.CANCELLED: 7,
}
_FLAKY = 4


class _End(Frozen):
    """How a task ended in the shard that counts: its index, and its last event."""

    shard: int
    finished: events.TaskFinished


def merge(shards: Sequence[ShardRun], state_dir: str, problems: Sequence[str]) -> tuple[RunDirectory, int]:
    """Write the record of the whole run below a state directory; its directory, and its exit code.

    With `problems`, its verdict is that it was interrupted. Raises RecordError.
    """
    import time

    directory = create_run(state_dir, time.time())
    try:
        with_end = _ends(shards, directory.run_id)
        finished = _run_finished(shards, with_end, directory.run_id, problems)
        recorder = Recorder(directory, lock.create_record(directory))
        try:
            place = directory.state.path
            _append(recorder, _all_events(shards, with_end, directory.run_id, place, finished))
        finally:
            recorder.close()
        for number, shard in enumerate(shards):
            copy_files(shard, {name for name, end in with_end.items() if end.shard == number}, directory)
        if packed := next(filter(None, (packed_in(shard.directory) for shard in shards)), ""):
            write_origin(directory, packed)
    except OSError as error:
        raise RecordError(f"the merged record cannot be written: {error.strerror}") from None
    return directory, EXIT_INTERNAL if finished.exit_code is None else finished.exit_code


def _append(recorder: Recorder, found: Iterable[events.Event]) -> None:
    batch: list[events.Event] = []
    for event in found:
        batch.append(event)
        if len(batch) == _BATCH:
            recorder.append(batch)
            batch = []
    recorder.append(batch)


# ---- what counts


def _ends(shards: Sequence[ShardRun], run: str) -> dict[str, _End]:
    """By the name of each task, the end that counts."""
    found: dict[str, _End] = {}
    for number, shard in enumerate(shards):
        begun = find_begun_logs(shard.directory.logs)
        for name, task in shard.state.tasks.items():
            finished = task.finished
            if finished is None:
                outcome, reason, attempts = infer_outcome(begun, task)
                finished = events.TaskFinished(
                    time=shard.state.time,
                    run=run,
                    task=name,
                    outcome=str(outcome),
                    attempts=attempts,
                    reason=reason,
                )
            end = _End(shard=number, finished=finished)
            if name not in found or _rank(end) < _rank(found[name]):
                found[name] = end
    return found


def _rank(end: _End) -> int:
    finished = end.finished
    if finished.outcome == Outcome.SUCCEEDED and finished.flaky:
        return _FLAKY
    return _RANKS.get(finished.outcome, 2)  # type: ignore[call-overload,no-any-return]


def _run_finished(
    shards: Sequence[ShardRun], ends: Mapping[str, _End], run: str, problems: Sequence[str]
) -> events.RunFinished:
    counts: dict[str, int] = {}
    allowed: dict[str, int] = {}
    for end in ends.values():
        outcome = end.finished.outcome
        counts[outcome] = counts.get(outcome, 0) + 1
        if end.finished.allowed:
            allowed[outcome] = allowed.get(outcome, 0) + 1
    worst = max(shards, key=lambda shard: _badness(_exit_code(shard)))
    code, last = _exit_code(worst), worst.state.finished
    outcome = str(Outcome.SUCCEEDED) if last is None else last.outcome
    reason = "" if last is None else last.reason
    if problems:
        outcome, reason = str(Outcome.INTERRUPTED), "; ".join(problems)
        code = max(code, EXIT_FAILED, key=_badness)
    return events.RunFinished(
        time=max(shard.state.time for shard in shards),
        run=run,
        outcome=outcome,
        exit_code=code,
        duration=_seconds(shards),
        counts=counts,
        reason=reason,
        allowed=allowed,
        flaky=sum(end.finished.flaky for end in ends.values()),
    )


def _exit_code(shard: ShardRun) -> int:
    finished = shard.state.finished
    # That of a run that was killed is not known.
    return EXIT_FAILED if finished is None or finished.exit_code is None else finished.exit_code


def _badness(code: int) -> tuple[bool, int]:
    # Worse than a signal is only that mprun itself failed.
    return code == EXIT_INTERNAL, code if code != EXIT_SUCCEEDED else -1


def _seconds(shards: Sequence[ShardRun]) -> float:
    """From the start of the first shard to the end of the last one, by their clocks."""
    first = min(shards, key=lambda shard: shard.started.time)
    return first.state.seconds(max(shard.state.time for shard in shards)) or 0.0


# ---- the events


def _all_events(
    shards: Sequence[ShardRun],
    ends: Mapping[str, _End],
    run: str,
    state_dir: str,
    finished: events.RunFinished,
) -> Iterator[events.Event]:
    # The record of a single task may have no plan.
    names = in_order([shard.state.plan_names() or [*shard.state.tasks] for shard in shards])
    first = min(shards, key=lambda shard: shard.started.time).started
    hosts = dict.fromkeys(shard.started.host for shard in shards)
    options = {key: value for key, value in first.options.items() if key not in ("partition", "division")}
    here = relocated(first, os.getcwd())
    widest = max((shard.started for shard in shards), key=lambda started: started.at_once)
    yield here.replace(
        run=run,
        # Where the paths that it names are.
        state_dir=first.state_dir if here is first and first.cwd != os.getcwd() else state_dir,
        hosts=_hosts(shards),
        host=", ".join(hosts),
        format=events.FORMAT,
        tasks=len(names),
        at_once=widest.at_once,
        mode=widest.mode,
        cpus=max(shard.started.cpus for shard in shards),
        max_parallel=max(shard.started.max_parallel for shard in shards),
        # No process of it is on this machine.
        boot_id=None,
        options=options,
        resumed_from=None,
        trace=None,
        shards=tuple(map(_facts, shards)),
    )
    yield from plan_events(shards, names, first.time, run)
    joined = 0
    sources = [_task_events(shard, number, ends) for number, shard in enumerate(shards)]
    of = sum(1 for end in ends.values() if _is_joined(shards[end.shard], end))
    for event in heapq.merge(*sources, key=lambda event: event.time):
        if isinstance(event, events.TaskJoined):
            joined += 1
            event = event.replace(position=joined, of=max(of, joined))
        yield event.replace(run=run)
    yield finished


def _hosts(shards: Sequence[ShardRun]) -> tuple[dict[str, Any], ...] | None:
    """The hosts of all shards, with the machine of each that ran on one; None if each of them did."""
    if not any(shard.started.hosts for shard in shards):
        return None
    found: list[dict[str, Any]] = []
    for shard in shards:
        started = shard.started
        alone = {"host": started.host, "worker": "", "main_pid": started.main_pid}
        alone |= {"slots": started.max_parallel, "boot_id": started.boot_id}
        found += started.hosts or (alone,)
    return tuple(found)


def _is_joined(shard: ShardRun, end: _End) -> bool:
    task = shard.state.tasks[end.finished.task]
    return not any(attempt.started.daemon for attempt in task.attempts)


def _facts(shard: ShardRun) -> dict[str, Any]:
    started, finished = shard.started, shard.state.finished
    return {
        "shard": shard.number,
        "of": shard.of,
        "run": shard.directory.run_id,
        "host": started.host,
        "cwd": started.cwd,
        "pid": started.pid,
        "main_pid": started.main_pid,
        "tasks": started.tasks,
        "outcome": None if finished is None else finished.outcome,
        "exit_code": None if finished is None else finished.exit_code,
        "duration": None if finished is None else finished.duration,
    }


def _task_events(shard: ShardRun, number: int, ends: Mapping[str, _End]) -> Iterator[events.Event]:
    """The events of the tasks that count in this shard, in order."""
    own = {name for name, end in ends.items() if end.shard == number}
    last = ""
    for record in read_lines(shard.directory):
        if isinstance(record, CorruptLine) or record.get("task") not in own:
            continue
        try:
            event = from_record(record)
        except TypeError:
            continue
        if event is None:
            continue
        if event.time < last:
            # Its clock was set back.
            event = event.replace(time=last)
        last = event.time
        yield event
    for name in own:
        if shard.state.tasks[name].finished is None:
            yield ends[name].finished.replace(time=max(last, ends[name].finished.time))
