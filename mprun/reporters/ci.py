"""What a CI service is shown of a run at its end: annotations, foldable logs of the failures, a summary."""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import redact, visible
from mprun.outcomes import Outcome
from mprun.record.artifacts import artifacts_by_task
from mprun.record.events import RunFinished
from mprun.reporters import table
from mprun.reporters.format import plural, truncate
from mprun.reporters.step_summary import step_summary
from mprun.reporters.task_places import TaskPlace, TaskPlaces, checkout, present_directory
from mprun.reporters.task_text import without_colours
from mprun.reporters.terminal import silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.record.events import Event
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import TaskState
    from mprun.scheduling.plan import Plan

# GitHub shows ten annotations of a step; one of these says how many more there are.
MAX_ERRORS = 9
# GitHub silently drops a summary of more than 1 MiB; in bytes.
MAX_SUMMARY = 900 << 10
# The failed tasks whose logs are shown, and the end of each log that is, in bytes.
MAX_LOGS, MAX_LOG = 50, 64 << 10
_MAX_MESSAGE, _MAX_TITLE = 500, 200


class CiReporter:
    """Shows a CI service the failures of a run; see `mprun.reporters.base.Reporter`.

    `plan` has the places of the tasks, if it is known; `warn` gets a text if the summary cannot be written.
    """

    interval: float | None = None

    def __init__(self, directory: RunDirectory, plan: Plan | None, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._plan = plan
        self._warn = warn

    def handle(self, event: Event, state: RunState) -> None:
        if not isinstance(event, RunFinished):
            return
        failed = table.failing_tasks(state.in_order(), event)
        try:
            self._write_logs(failed)
            self._write_more(event, state, failed)
            sys.stderr.flush()
        except (OSError, ValueError):
            # As with all of mprun's own lines: the run has its exit code.
            silence(sys.stderr)

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _write_logs(self, failed: Sequence[TaskState]) -> None:
        for number, task in enumerate(failed[:MAX_LOGS]):
            self._begin(number, f"{visible(task.name)}: {visible(table.outcome_words(task))}")
            for line in self._log_lines(task):
                sys.stderr.write(line + "\n")
            self._end(number)
        if len(failed) > MAX_LOGS:
            logs = plural(len(failed) - MAX_LOGS, "log")
            sys.stderr.write(f"{logs} of failed tasks not shown; `mprun logs --failed` shows all\n")

    def _log_lines(self, task: TaskState) -> list[str]:
        return log_lines(self._directory, task, MAX_LOG)

    def _begin(self, number: int, title: str) -> None:
        """Begin what a reader can unfold."""
        raise NotImplementedError

    def _end(self, number: int) -> None:
        raise NotImplementedError

    def _write_more(self, event: RunFinished, state: RunState, failed: Sequence[TaskState]) -> None:
        """Write what only this service reads."""


class GitHub(CiReporter):
    """For GitHub Actions: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""

    def _begin(self, number: int, title: str) -> None:
        _command(f"::group::{_data(title, _MAX_MESSAGE)}")

    def _end(self, number: int) -> None:
        _command("::endgroup::")

    def _write_more(self, event: RunFinished, state: RunState, failed: Sequence[TaskState]) -> None:
        places = TaskPlaces(self._plan, state, checkout(os.environ, present_directory(state)))
        for command in error_commands(event, state, failed, places):
            _command(command)
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            try:
                self._append_summary(path, state, failed)
            except OSError as error:
                self._warn(f"cannot write the summary of this step: {error.strerror}")

    def _append_summary(self, path: str, state: RunState, failed: Sequence[TaskState]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags, 0o644), "wb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError(0, "it is not a regular file")
            # Another command of the step may have written to it.
            room = MAX_SUMMARY - found.st_size
            text = step_summary(
                state, failed, self._log_lines, artifacts_by_task(self._directory, state), room
            )
            file.write(text.encode("utf-8", "backslashreplace"))


class GitLab(CiReporter):
    """For GitLab CI, whose job log has sections: https://docs.gitlab.com/ci/jobs/job_logs/."""

    def _begin(self, number: int, title: str) -> None:
        begin = f"\x1b[0Ksection_start:{int(time.time())}:{self._section(number)}[collapsed=true]\r\x1b[0K"
        _command(begin + _line(title, _MAX_MESSAGE))

    def _end(self, number: int) -> None:
        _command(f"\x1b[0Ksection_end:{int(time.time())}:{self._section(number)}\r\x1b[0K")

    def _section(self, number: int) -> str:
        # One job may run mprun several times.
        return f"mprun_{self._directory.run_id}_{number}"


# By the name that `--ci` has for the service.
SERVICES: dict[str, type[CiReporter]] = {"github": GitHub, "gitlab": GitLab}


def error_commands(
    run: RunFinished, state: RunState, failed: Sequence[TaskState], places: TaskPlaces
) -> Iterator[str]:
    """An annotation of GitHub for each failed task, and one for all that are too many.

    One says why the run did not succeed if that is not what tasks did, such as a shard that is missing.
    """
    room = MAX_ERRORS
    if run.exit_code and (not failed or run.outcome != Outcome.FAILED):
        room -= 1
        yield _error(TaskPlace(), _job(state), f"{run.outcome}: {run.reason}" if run.reason else run.outcome)
    for task in failed[:room]:
        yield _error(places.of(task.name), task.name, table.outcome_words(task))
    if len(failed) > room:
        more = plural(len(failed) - room, "more task")
        yield _error(TaskPlace(), _job(state), f"{more} failed; the log of this step names all")


def _job(state: RunState) -> str:
    return state.started.job if state.started else "mprun"


def _error(place: TaskPlace, title: str, message: str) -> str:
    properties = {"file": place.file, "line": place.line, "title": title}
    shown = [f"{name}={_property(str(value))}" for name, value in properties.items() if value is not None]
    return f"::error {','.join(shown)}::{_data(message, _MAX_MESSAGE)}"


def _line(text: str, width: int) -> str:
    return truncate(visible(redact(text)), width)


def _data(text: str, width: int) -> str:
    """A text as the data of a workflow command, escaped as the runner reads it."""
    return _line(text, width).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text, _MAX_TITLE).replace(":", "%3A").replace(",", "%2C")


def _command(command: str) -> None:
    """Write a command to the service, on standard error; the door's guard lets it pass."""
    sys.stderr.flush()
    buffer: Any = getattr(sys.stderr, "buffer", None)
    if hasattr(buffer, "write_command"):
        buffer.write_command(command)
    else:
        sys.stderr.write(command + "\n")


def log_lines(directory: RunDirectory, task: TaskState, limit: int) -> list[str]:
    """The end of the log of a task's last attempt, of at most so many bytes, as lines that can be shown."""
    if not task.attempts:
        return []
    data = directory.log_file(task.name, task.attempts[-1].started.attempt).read_end(limit + 1)
    if len(data) > limit:
        # Not from the middle of a line, unless most would be lost with it.
        first = data.find(b"\n") + 1
        data = data[first if 0 < first <= limit // 2 else 1 :]
    text = without_colours(redact(data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")))
    return visible(text.removesuffix("\n"), multiline=True).split("\n") if text else []
