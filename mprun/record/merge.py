"""Makes one run of the records of its shards: each task counts once, and a failure wins."""

from __future__ import annotations

import contextlib
import heapq
import os
import stat
from typing import TYPE_CHECKING, Any

from mprun.errors import RecordError
from mprun.frozen import Frozen
from mprun.outcomes import EXIT_FAILED, EXIT_INTERNAL, EXIT_SUCCEEDED, Outcome
from mprun.record import events, lock
from mprun.record.event_reader import from_record
from mprun.record.packed_details import pack_pairs, pack_values
from mprun.record.packed_path import packed_in, write_origin
from mprun.record.reader import CorruptLine, read_lines
from mprun.record.recorder import Recorder
from mprun.record.recovery import infer_outcome
from mprun.record.relocate import relocated
from mprun.record.state_dir import ARTIFACTS, MAIN_LOG, create_run, file_name
from mprun.record.state_files import NotOurs
from mprun.record.task_details import TaskDetails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mprun.record.shards import ShardRun
    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import Folder

# How many events are written at a time.
_BATCH = 1000
# Directories of artifacts are copied so deep.
_MAX_DEPTH = 50

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
            _copy_files(shard, {name for name, end in with_end.items() if end.shard == number}, directory)
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
        for name, task in shard.state.tasks.items():
            finished = task.finished
            if finished is None:
                outcome, reason, attempts = infer_outcome(shard.directory, task)
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
    names = _in_order([shard.state.plan_names() or [*shard.state.tasks] for shard in shards])
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
    yield from _plans(shards, names, first.time, run)
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


def _in_order(lists: Iterable[Sequence[str]]) -> list[str]:
    """The names of all lists, once each, those of each list in its order.

    The lists are parts of one list, so names after which nothing is known follow each other in turn.
    """
    afters: dict[str, set[str]] = {}
    ranks: dict[str, tuple[int, int]] = {}
    for number, names in enumerate(lists):
        for place, name in enumerate(names):
            ranks.setdefault(name, (place, number))
            before = afters.setdefault(name, set())
            if place:
                before.add(names[place - 1])
    left = {name: len(before) for name, before in afters.items()}
    nexts: dict[str, list[str]] = {}
    for name, before in afters.items():
        for one in before:
            nexts.setdefault(one, []).append(name)
    ready = [(ranks[name], name) for name, count in left.items() if not count]
    heapq.heapify(ready)
    found: list[str] = []
    while ready:
        _, name = heapq.heappop(ready)
        found.append(name)
        for after in nexts.get(name, ()):
            left[after] -= 1
            if not left[after]:
                heapq.heappush(ready, (ranks[after], after))
    # Shards of different files may contradict each other.
    return [*found, *(name for name in afters if left[name] > 0)]


def _plans(shards: Sequence[ShardRun], names: list[str], time: str, run: str) -> Iterator[events.Event]:
    """The plan, and what tasks were expanded to."""
    parts: dict[str, list[str]] = {"": names}
    for group in dict.fromkeys(group for shard in shards for group in shard.state.expansions()):
        parts[group] = _in_order([shard.state.expansions().get(group, []) for shard in shards])
    numbers: dict[str, int] = {}
    for part in parts.values():
        for name in part:
            numbers.setdefault(name, len(numbers))
    details = [shard.details for shard in shards]
    owners = {name: one for one in reversed(details) for name in one.numbers}
    first = 0
    for group, part in parts.items():
        needs = [_needs(name, owners[name], numbers) if name in owners else () for name in part]
        yield events.TasksPlanned(
            time=time,
            run=run,
            group=group,
            tasks=tuple(part),
            items={
                name: shard.state.items[name]
                for shard in shards
                for name in part
                if name in shard.state.items
            },
            needs=tuple(needs) if any(needs) else (),
            resources=pack_values(first, [_values(name, owners, TaskDetails.tokens) for name in part]),
            env=pack_values(first, [_values(name, owners, TaskDetails.variables) for name in part]),
        )
        first += len(part)


def _values(name: str, owners: Mapping[str, TaskDetails], read: Callable[[TaskDetails, int], Any]) -> Any:
    return read(owners[name], owners[name].numbers[name]) if name in owners else ()


def _needs(name: str, owner: TaskDetails, numbers: Mapping[str, int]) -> tuple[Any, ...]:
    pairs = owner.own_needs(owner.numbers[name])
    named = ((owner.names[number], condition) for number, condition in pairs)
    return pack_pairs(sorted((numbers[need], condition) for need, condition in named if need in numbers))


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


# ---- the files


def _copy_files(shard: ShardRun, names: set[str], into: RunDirectory) -> None:
    """Give the merged run the logs, results and artifacts of the tasks that count in this shard."""
    old = shard.directory
    wanted: set[str] = set()
    for name in names:
        task = shard.state.tasks[name]
        attempts = {one.started.attempt for one in task.attempts}
        last = task.finished.attempts if task.finished is not None else len(attempts) + 1
        wanted.update(f"{file_name(name)}.{attempt}" for attempt in (*attempts, last))
    for source, target in ((old.logs, into.logs), (old.results, into.results)):
        for entry in _names(source):
            if any(entry[:place] in wanted for place in _dots(entry)):
                _give(source, entry, target)
    if text := old.read_main_log():
        log = into.logs.open(MAIN_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        head = f"== {shard.where}\n".encode("utf-8", "backslashreplace")
        os.write(log, head + text.removesuffix(b"\n") + b"\n")
        os.close(log)
    kept = old.folder.folder(ARTIFACTS)
    files = {file_name(name) for name in names}
    for entry in _names(kept):
        if entry in files and stat.S_ISDIR(kept.stat(entry).st_mode):
            _copy_tree(kept.folder(entry), into.folder.make(ARTIFACTS).make(entry), _MAX_DEPTH)


def _names(folder: Folder) -> list[str]:
    try:
        return folder.names()
    except OSError:
        return []


def _dots(name: str) -> Iterator[int]:
    place = name.find(".")
    while place >= 0:
        yield place
        place = name.find(".", place + 1)


def _give(source: Folder, entry: str, target: Folder) -> None:
    """Give a file to another directory, not what a link leads to."""
    # What is not a file of ours is left out: it would not be read in the shard either.
    with contextlib.suppress(NotOurs, FileNotFoundError, FileExistsError):
        source.file(entry).give_to(target)


def _copy_tree(source: Folder, target: Folder, depth: int) -> None:
    """Copy the files in a directory of artifacts, and those below it; links and the like are left out."""
    for entry in _names(source) if depth else ():
        mode = source.stat(entry).st_mode
        if stat.S_ISDIR(mode):
            below, copy = source.folder(entry), target.make(entry)
            _copy_tree(below, copy, depth - 1)
            below.close()
            copy.close()
        elif stat.S_ISREG(mode):
            _give(source, entry, target)
