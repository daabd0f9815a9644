"""A run as JUnit XML, in the dialect of Jenkins and Surefire (xunit2): a fold over its record.

A task is a test case. `failure` is what the task did, `error` what mprun saw of it: that its exit status is
unknown, that it was never ready, could not be started, or was stopped. A failure that is allowed does not
fail the run, so it is `skipped`, as an expected failure is in other tools.
"""

from __future__ import annotations

import io
import re
import zlib
from typing import TYPE_CHECKING

from junitparser import Attr, Error, Failure, Skipped, xunit2

from mprun.diagnostics import redact, visible
from mprun.outcomes import BAD, Outcome, format_exit
from mprun.record.artifacts import artifacts_by_task
from mprun.record.error_details import read_details
from mprun.record.hosts import count_lost
from mprun.record.task_state import TaskState
from mprun.reporters import table
from mprun.reporters.format import truncate
from mprun.reporters.task_text import without_colours
from mprun.scheduling.instructions import NOT_READY
from mprun.scheduling.retry import FLAKY, RETRY, UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import AttemptState
    from mprun.reporters.task_places import TaskPlaces

# The end of a log that is shown, in bytes; of all logs together; and of each once that is used up.
MAX_OUTPUT, MAX_OUTPUT_OF_ALL, MIN_OUTPUT = 64 << 10, 16 << 20, 1 << 10
# What marks the place of the cases of a suite.
_CASES = "cases"
# Of so many cases elements are kept at the same time.
_CASES_AT_ONCE = 500
# Characters of a message, which readers show in one line, and of a name.
_MAX_MESSAGE, _MAX_NAME = 500, 500
# What XML 1.0 forbids, and what a reader would change: a carriage return becomes a line feed.
_FORBIDDEN = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# No task takes longer: a damaged record may say so, and XML's readers know no exponents.
_MAX_SECONDS = 1e9


class _Case(xunit2.TestCase):
    """A test case with its place, which Jenkins, GitLab and others read; the library has no names for it."""

    file = Attr()
    line = Attr()


def pieces(
    directory: RunDirectory, state: RunState, places: TaskPlaces, *, alive: bool = False
) -> Iterator[str]:
    """The run as JUnit XML, piece by piece.

    With `alive` it is still running: some tasks have no outcome yet.
    """
    return _Document(directory, state, places, alive=alive).pieces()


def suite_of(job: str, task: str) -> str:
    """The test suite of a task: the job's, or that of the recipe that has the task (`job.recipe`)."""
    depth, parts, begin = 0, [], 0
    # The values of a matrix, in brackets, may have a slash, too.
    for place, char in enumerate(task):
        depth += (char == "[") - (char == "]")
        if char == "/" and depth <= 0:
            parts.append(task[begin:place])
            begin = place + 1
    return ".".join((job, *parts))


class _Suite:
    """A test suite, and its cases as compressed XML: the elements of 100,000 take 500 MB."""

    def __init__(self, element: xunit2.TestSuite) -> None:
        self._element = element
        self._packed: list[bytes] = []
        self._counts = {"tests": 0, "errors": 0, "failures": 0, "skipped": 0}
        self._seconds = 0.0
        self._waiting: list[_Case] = []

    def add(self, case: _Case) -> None:
        """Add a case."""
        self._waiting.append(case)
        if len(self._waiting) == _CASES_AT_ONCE:
            self._pack()

    def complete(self) -> xunit2.TestSuite:
        """The suite with its numbers and without its cases."""
        self._pack()
        for name, count in self._counts.items():
            setattr(self._element, name, count)
        self._element.time = round(self._seconds, 3) if self._packed else 0
        return self._element

    def cases(self) -> Iterator[str]:
        """The cases as XML."""
        for packed in self._packed:
            yield zlib.decompress(packed).decode()

    def _pack(self) -> None:
        if not self._waiting:
            return
        part = xunit2.TestSuite()
        part.extend(self._waiting)
        part.update_statistics()
        for name in self._counts:
            self._counts[name] += getattr(part, name)
        # Each is rounded; the sum of a part would be once more.
        for case in self._waiting:
            self._seconds += case.time
        self._packed.append(zlib.compress(b"".join([case.tostring() for case in self._waiting]), 1))
        self._waiting.clear()


def _count_suites(document: xunit2.JUnitXml) -> None:
    """As `update_statistics`, which would count the cases of each suite anew."""
    suites = list(document)
    for name in ("tests", "failures", "errors", "skipped"):
        setattr(document, name, sum(getattr(suite, name) for suite in suites))
    document.time = round(sum(suite.time for suite in suites), 3)


class _Document:
    def __init__(self, directory: RunDirectory, state: RunState, places: TaskPlaces, *, alive: bool) -> None:
        self._directory = directory
        self._state = state
        self._places = places
        self._alive = alive
        self._job = state.started.job if state.started else directory.run_id
        self._room = MAX_OUTPUT_OF_ALL
        self._artifacts = artifacts_by_task(directory, state)
        # Names as they are shown may be equal although the names are not.
        self._names: set[str] = set()
        self._suites: dict[str, _Suite] = {}

    def pieces(self) -> Iterator[str]:
        """All suites, that of the job first."""
        self._suite(self._job)
        state = self._state
        for name in state.known_names():
            task = state.tasks.get(name) or TaskState(name)
            suite = suite_of(self._job, name)
            self._suite(suite).add(self._case(task, suite))
        document = xunit2.JUnitXml(_line(self._job))
        # Where the cases of a suite are to be; nothing else in it is a case.
        mark = xunit2.TestCase(_CASES)
        for one in self._suites.values():
            element = one.complete()
            # One for each suite: with lxml, which junitparser uses if it is there, an element has one place.
            element.append(xunit2.TestCase(_CASES))
            document.append(element)
        _count_suites(document)
        if state.finished is not None:
            document.time = _seconds(state.finished.duration)
        file = io.BytesIO()
        document.write(file)
        first, *others = file.getvalue().split(mark.tostring())
        yield first.decode()
        for one, after in zip(self._suites.values(), others, strict=True):
            yield from one.cases()
            yield after.decode()
        yield "\n"

    def _suite(self, name: str) -> _Suite:
        if name not in self._suites:
            element = xunit2.TestSuite(_line(name))
            if (started := self._state.started) is not None:
                element.timestamp = _line(started.time[:19])
                element.hostname = _line(started.host)
                element.add_property("run", _line(started.run))
            self._suites[name] = _Suite(element)
        return self._suites[name]

    def _case(self, task: TaskState, suite: str) -> _Case:
        attempts = task.attempts
        seconds = sum(one.exited.duration for one in attempts if one.exited)
        case = _Case(self._unique(_line(task.name)), _line(suite), _seconds(seconds))
        place = self._places.of(task.name)
        if place.file is not None:
            case.file = _line(place.file)
        if place.line is not None:
            case.line = str(place.line)
        for name, value in self._properties(task, place.tags):
            case.add_property(name, _line(value))
        retried = [one for one in attempts[:-1] if one.retrying and one.retrying.reason == RETRY]
        kind = xunit2.FlakyFailure if task.outcome == Outcome.SUCCEEDED else xunit2.RerunFailure
        result = self._result(task)
        if result is not None:
            case.append(result)
        for attempt in retried:
            case.append(self._earlier(task, attempt, kind))
        is_bad = isinstance(result, (Failure, Error)) and task.outcome != Outcome.SUCCEEDED
        if attempts and (is_bad or task.outcome in BAD):
            case.system_out = self._output(task, attempts[-1])
        return case

    def _unique(self, name: str) -> str:
        found, number = name, 2
        while found in self._names:
            found, number = f"{name} ({number})", number + 1
        self._names.add(found)
        return found

    def _properties(self, task: TaskState, tags: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        finished = task.finished
        yield "outcome", task.outcome or "none"
        if (item := self._state.items.get(task.name)) is not None:
            yield "item", item
        if tags:
            yield "tags", ", ".join(tags)
        if (kept := self._artifacts.get(task.name)) is not None:
            yield "artifacts", kept
        if finished is not None and finished.flaky:
            yield "flaky", "true"
        if finished is not None and finished.reused:
            resumed = self._state.started and self._state.started.resumed_from
            since = finished.reason.removeprefix(UNCHANGED) if finished.reason.startswith(UNCHANGED) else ""
            yield "reused", since or resumed or "an earlier run"
        if not task.attempts:
            return
        last = task.attempts[-1]
        started, exited = last.started, last.exited
        yield "attempts", str(len(task.attempts))
        if lost := count_lost(task):
            # They are not failures of the task, and so have no elements of their own.
            yield "attempts lost with a host", str(lost)
        yield "pid", str(started.pid)
        yield "ppid", str(started.ppid)
        yield "host", started.host
        if exited is None:
            return
        yield "exit", format_exit(exited.exit_code, exited.signal, exited.core_dumped)
        if exited.cpu is not None:
            # Seconds, and bytes.
            yield "cpu", f"{exited.cpu:.3f}"
        if exited.max_rss is not None:
            yield "rss", str(exited.max_rss)

    def _result(self, task: TaskState) -> Failure | Error | Skipped | None:
        """How the task ended; None if all is well."""
        finished = task.finished
        if finished is None:
            if not task.attempts:
                words = "waiting" if self._alive else "not started"
                return Skipped(words, words)
            if self._alive:
                return Skipped("running", "running")
            return Error("exit status unknown: mprun was killed", str(Outcome.UNKNOWN))
        message = _message(table.outcome_words(task))
        if finished.outcome == Outcome.SUCCEEDED:
            return Failure(message, FLAKY) if finished.reason == FLAKY else None
        if finished.allowed:
            return Skipped(message, "allow_failure")
        if finished.outcome in (Outcome.SKIPPED, Outcome.CANCELLED):
            return Skipped(message, finished.outcome)
        if finished.outcome == Outcome.STOPPED:
            return self._stopped(task, message)
        return self._failed(task, message)

    def _stopped(self, task: TaskState, message: str) -> Error | None:
        run, finished = self._state.finished, task.finished
        is_daemon = bool(task.attempts) and task.attempts[-1].started.daemon
        is_wrong = run is not None and finished is not None and table.fails_run(finished, run)
        return Error(message, str(Outcome.STOPPED)) if is_wrong or not is_daemon else None

    def _failed(self, task: TaskState, message: str) -> Failure | Error:
        last = task.attempts[-1] if task.attempts else None
        was_seen = task.outcome in (Outcome.FAILED, Outcome.TIMED_OUT) and last is not None
        if last is not None and last.stopping is not None and last.stopping.reason == NOT_READY:
            was_seen = False
        kind, trace = self._what_ended(task, last) if last is not None else ("not_started", "")
        if task.outcome == Outcome.TIMED_OUT:
            kind = str(Outcome.TIMED_OUT)
        elif not was_seen and last is not None:
            kind = str(Outcome.UNKNOWN) if task.outcome != Outcome.FAILED else NOT_READY
        result = (Failure if was_seen else Error)(message, _line(kind))
        result.text = trace or message
        return result

    def _what_ended(self, task: TaskState, attempt: AttemptState) -> tuple[str, str]:
        """What ended an attempt, in a word, and the traceback if it has one."""
        exited = attempt.exited
        if exited is None:
            return str(Outcome.UNKNOWN), ""
        if exited.error is not None:
            details = read_details(self._directory.result_files(task.name, attempt.started.attempt))
            kind = str(exited.error.get("type") or "") or "exception"
            return kind, _clean(details.traceback) if details else ""
        return exited.signal or ("exit" if exited.exit_code is not None else str(Outcome.UNKNOWN)), ""

    def _earlier(
        self, task: TaskState, attempt: AttemptState, make: Callable[[str, str], xunit2.InterimResult]
    ) -> xunit2.InterimResult:
        kind, trace = self._what_ended(task, attempt)
        exited = attempt.exited
        words = "exit status unknown"
        if exited is not None:
            words = format_exit(exited.exit_code, exited.signal, exited.core_dumped) + table.error_words(
                exited
            )
        message = _message(f"attempt {attempt.started.attempt}: {words}")
        found = make(message, _line(kind))
        if trace:
            found.stack_trace = trace
        found.system_out = self._output(task, attempt)
        return found

    def _output(self, task: TaskState, attempt: AttemptState) -> str:
        """The end of an attempt's log, whole lines if possible."""
        limit = MAX_OUTPUT if self._room > 0 else MIN_OUTPUT
        log = self._directory.log_file(task.name, attempt.started.attempt)
        data = log.read_end(limit + 1)
        if len(data) > limit:
            data = data[1:]
            first = data.find(b"\n") + 1
            data = data[first:] if first < len(data) else data
        self._room -= len(data)
        return _clean(data.decode("utf-8", "backslashreplace"))


def _clean(text: str) -> str:
    """A text as XML 1.0 can have it: without secrets and colours, and what acts or hides is written out."""
    shown = without_colours(redact(text.replace("\r\n", "\n")))
    return _escape_forbidden(visible(shown, multiline=True))


def _line(text: str) -> str:
    """A text for an attribute, in which a line feed would become a space."""
    return truncate(_escape_forbidden(visible(redact(str(text)))), _MAX_NAME)


def _message(text: str) -> str:
    return truncate(_line(text[: 4 * _MAX_MESSAGE]), _MAX_MESSAGE)


def _escape_forbidden(text: str) -> str:
    return _FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _seconds(seconds: float) -> float:
    return round(min(max(0.0, float(seconds)), _MAX_SECONDS), 3)
