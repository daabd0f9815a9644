"""What the report shows of a run: a fold over its record, as values for the page and rows for its script."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import redact, visible
from mprun.lean_json import decode
from mprun.outcomes import TASK_OUTCOMES, Outcome, format_exit
from mprun.record.found import DURATION, END_TIME, FINISHED, START
from mprun.record.hosts import several_hosts
from mprun.record.task_lines import host_of_start, target_of_start, time_of_line
from mprun.record.task_state import TaskState
from mprun.reporters import table
from mprun.reporters.format import truncate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.task_state import AttemptState
    from mprun.scheduling.estimates import Estimates

# What a task of a run that has not ended, or was killed, has in place of an outcome.
WAITING = "waiting"
NOT_STARTED = "not started"
# The outcomes of the page, in the order in which its filter lists them.
OUTCOMES = (*map(str, TASK_OUTCOMES), str(Outcome.RUNNING), WAITING, NOT_STARTED)
_NUMBERS = {outcome: number for number, outcome in enumerate(OUTCOMES)}
# The tasks with one of these come first where there is no room for all.
GOOD = (Outcome.SUCCEEDED, Outcome.SKIPPED)
# Columns: longer names, reasons and commands are cut, with an ellipsis.
_MAX_NAME_WIDTH, _MAX_WHY_WIDTH, _MAX_TARGET_WIDTH = 200, 200, 300
# No clock of a run is further from its start than this, in seconds: damage.
_MAX_OFFSET = 1e9


def shown(text: object, width: int = _MAX_WHY_WIDTH) -> str:
    """A text of a task, or whatever a hostile record has in its place: without secrets, on one line, cut."""
    return truncate(visible(redact(str(text))), width)


class RunClock:
    """Seconds since the start of a run, from the times of its events."""

    def __init__(self, state: RunState) -> None:
        self._begin = _parse(state.started.time if state.started else "")
        if self._begin is None:
            times = (_parse(task.attempts[0].started.time) for task in state.tasks.values() if task.attempts)
            self._begin = min((time for time in times if time is not None), default=None)

    def offset(self, time: str) -> float | None:
        """Seconds from the start to a time, to the millisecond; None for a time that is damaged."""
        found = _parse(time)
        if found is None or self._begin is None:
            return None
        seconds = (found - self._begin).total_seconds()
        return round(seconds, 3) if abs(seconds) < _MAX_OFFSET else None


def _parse(time: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return None
    # One without its zone cannot be compared.
    return found if found.tzinfo is not None else None


class TaskRow:
    """One task for the page; `name` and `why` are ready to be shown, `number` is its place from 0."""

    __slots__ = ("name", "number", "outcome", "task", "why")

    def __init__(self, number: int, task: TaskState, name: str, outcome: str, why: str) -> None:
        self.number = number
        self.task = task
        self.name = name
        self.outcome = outcome
        self.why = why

    @property
    def is_bad(self) -> bool:
        """Whether it comes first where there is no room for all."""
        return self.outcome not in GOOD


class ReportData:
    """The tasks of a run with what the page says of each.

    `alive` is false if mprun was killed, so that tasks without an outcome have none; `now` is the time of
    an active run, in ISO 8601, else that of its last event.
    """

    def __init__(
        self,
        state: RunState,
        joined: Mapping[str, str],
        estimates: Estimates | None,
        *,
        alive: bool,
        now: str,
    ) -> None:
        self.state = state
        self.clock = RunClock(state)
        self.now = self.clock.offset(now)
        self._joined = joined
        self._estimates = estimates
        self._alive = alive
        self._earlier_run = state.started.resumed_from if state.started else None
        self._targets: dict[str, int] = {}
        # The names of the hosts, if the run is on several.
        self.hosts = several_hosts(state.started)
        self.rows = [self._row(number, task) for number, task in enumerate(self._tasks())]

    def _tasks(self) -> Iterator[TaskState]:
        state = self.state
        if state.finished is not None and not state.exit_unknown:
            yield from state.in_order()
            return
        for name in state.known_names():
            yield state.tasks.get(name) or TaskState(name)

    def _row(self, number: int, task: TaskState) -> TaskRow:
        outcome = self._outcome(task)
        name = task.name
        item = self.state.items.get(name)
        text = shown(f"{name} ({item})" if item is not None else name, _MAX_NAME_WIDTH)
        return TaskRow(number, task, text, outcome, self._why(task, outcome))

    def _outcome(self, task: TaskState) -> str:
        if task.outcome is not None:
            # A hostile record has words of its own; its word is then in the reason.
            return task.outcome if task.outcome in _NUMBERS else str(Outcome.UNKNOWN)
        if not self._alive:
            return str(Outcome.UNKNOWN) if task.attempts else NOT_STARTED
        return str(Outcome.RUNNING) if task.is_running else WAITING

    def _why(self, task: TaskState, outcome: str) -> str:
        """What the outcome alone does not say."""
        if outcome in (WAITING, NOT_STARTED, Outcome.RUNNING) or task.outcome is None:
            return ""
        if task.end and self._earlier_run is None:
            # It just succeeded.
            return ""
        is_flaky = task.finished is not None and task.finished.flaky
        if outcome == Outcome.SUCCEEDED and self._earlier_run is None and not is_flaky:
            return ""
        words = table.outcome_words(task, self._earlier_run)
        if words == outcome:
            return ""
        return shown(words.removeprefix(f"{outcome}: ").removeprefix(f"{outcome} "), _MAX_WHY_WIDTH)

    def expected(self, name: str) -> float | None:
        """How long a task was expected to take, in seconds, if an earlier run has run this very task."""
        if self._estimates is None or not self._estimates.knows(name):
            return None
        return round(self._estimates.duration(name), 3)

    def script_rows(self) -> Iterator[list[Any]]:
        """The tasks in the order of the file, as the script reads them: see report.js."""
        for row in self.rows:
            name = row.task.name
            yield [
                row.name,
                _NUMBERS[row.outcome],
                row.why,
                self._offset(self._joined.get(name)),
                self.expected(name),
                *self._attempts(row.task),
            ]

    def places(self) -> Iterator[list[int]]:
        """By task, the number of the host of each of its attempts, of a run on several: see `hosts`."""
        numbers = {name: number for number, name in enumerate(self.hosts)}
        for row in self.rows:
            yield [numbers.get(name, -1) for name in self._hosts_of(row.task)]

    def host_of(self, task: TaskState) -> str:
        """The host of the last attempt of a task, "-" if it had none."""
        return shown(([*self._hosts_of(task)] or ["-"])[-1])

    def _hosts_of(self, task: TaskState) -> Iterator[str]:
        if task.end:
            yield host_of_start(task.start[START])
            return
        for attempt in task.attempts:
            yield attempt.started.host

    def targets(self) -> list[str]:
        """What the attempts ran, by the number that their rows have; after `script_rows`."""
        return list(self._targets)

    def _offset(self, time: str | None) -> float | None:
        return None if time is None else self.clock.offset(time)

    def _attempts(self, task: TaskState) -> list[Any]:
        """The attempts of a task, and what they lacked, if any did."""
        if task.end:
            return [[self._plain_attempt(task)]]
        return [[self._attempt(attempt) for attempt in task.attempts], *_lacks(task)]

    def _plain_attempt(self, task: TaskState) -> list[Any]:
        """The same as `_attempt` of a task that just succeeded, without its events."""
        line, _, pid, ppid = task.start[:END_TIME]
        duration, cpu, max_rss, threads = map(decode, task.end[DURATION:FINISHED])
        start, until = self.clock.offset(time_of_line(line)), self.clock.offset(task.end[END_TIME])
        seconds = round(max(0.0, duration), 3)
        facts = [start, seconds, int(pid), int(ppid), self._target(target_of_start(line)), 0, 0]
        facts += [cpu, max_rss, threads]
        return [*facts, 0, 0, until] if _is_late(start, seconds, until) else facts

    def _target(self, target: str) -> int:
        return self._targets.setdefault(shown(target, _MAX_TARGET_WIDTH), len(self._targets))

    def _attempt(self, attempt: AttemptState) -> list[Any]:
        started, exited = attempt.started, attempt.exited
        start = self.clock.offset(started.time)
        number = self._target(started.target)
        facts: list[Any] = [start, None, started.pid, started.ppid, number, int(started.daemon)]
        if exited is None:
            if self._alive and start is not None and self.now is not None:
                facts[1] = round(max(0.0, self.now - start), 3)
            return facts
        facts[1] = round(max(0.0, exited.duration), 3)
        code = exited.exit_code
        ended: object = code
        if exited.signal is not None or code is None:
            ended = shown(format_exit(code, exited.signal, exited.core_dumped))
        facts += [ended, exited.cpu, exited.max_rss, exited.threads]
        until = self.clock.offset(exited.time)
        is_late = _is_late(start, facts[1], until)
        if exited.orphans or exited.left_running or is_late:
            facts += [len(exited.orphans), len(exited.left_running)]
        return [*facts, until] if is_late else facts


def _is_late(start: float | None, duration: float, until: float | None) -> bool:
    # The time of its start is that of an event, and its duration that of the process.
    return start is not None and until is not None and round(start + duration, 3) > until


def _lacks(task: TaskState) -> list[list[Any]]:
    """For how many seconds each attempt lacked tokens, and which; nothing if none of them did."""
    found = [_lack(attempt.started.queued) for attempt in task.attempts]
    return [found] if any(found) else []


def _lack(queued: object) -> list[Any]:
    """A hostile record has whatever it likes there."""
    if not isinstance(queued, dict):
        return []
    seconds, lacked = queued.get("seconds"), queued.get("lacked")
    if not isinstance(seconds, int | float) or not isinstance(lacked, str) or not lacked:
        return []
    return [round(max(0.0, min(seconds, _MAX_OFFSET)), 3), shown(lacked)]


def counted(rows: Sequence[TaskRow]) -> dict[str, int]:
    """How many tasks have each outcome, in the order of OUTCOMES; without those that none has."""
    found = dict.fromkeys(OUTCOMES, 0)
    for row in rows:
        found[row.outcome] += 1
    return {outcome: number for outcome, number in found.items() if number}
