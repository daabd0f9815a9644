"""How an attempt ended, for the policies that ask: read from what it left, where they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun import expectations, results
from mprun.retries import Ending

if TYPE_CHECKING:
    from mprun.executors.base import Exited
    from mprun.job import Expect, Task
    from mprun.statedir import RunDirectory

# An expected output is looked for in this much of the end of a log, in bytes.
OUTPUT_LIMIT = 16 * 1024 * 1024


def judge(task: Task, report: Exited, words: str, directory: RunDirectory) -> Ending:
    """Whether an attempt succeeded, by its exit code or by what is expected of the task.

    Reads the attempt's files only where a retry or an expectation asks for them.
    """
    code = report.exit_code or 0
    path = directory.result(task.name, report.key[1])
    asked = task.expect is not None or (code != 0 and task.retry.exceptions)
    exceptions = results.read_exceptions(path) if asked else ()
    if task.expect is None:
        return Ending(succeeded=code == 0, reason=words, exit_code=code, exceptions=exceptions)
    why = expectations.unmet(task.expect, _observed(task.expect, task, report, words, exceptions, directory))
    return Ending(succeeded=not why, reason=why, exit_code=code, exceptions=exceptions)


def _observed(
    expect: Expect,
    task: Task,
    report: Exited,
    words: str,
    exceptions: tuple[str, ...],
    directory: RunDirectory,
) -> expectations.Observed:
    attempt = report.key[1]
    path = directory.result(task.name, attempt)
    memory = report.max_rss if report.max_rss is not None else results.read_usage(path).get("max_rss")
    return expectations.Observed(
        exit_code=report.exit_code or 0,
        words=words,
        exceptions=exceptions,
        result=results.read_result(path)[0] if expect.has_result else None,
        output=_tail(directory.log(task.name, attempt)) if expect.output is not None else "",
        seconds=report.duration,
        max_rss=memory,
    )


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - OUTPUT_LIMIT))
            return file.read().decode("utf-8", "backslashreplace")
    except OSError:
        return ""
