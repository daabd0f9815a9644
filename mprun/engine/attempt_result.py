"""How an attempt ended, for the policies that ask: read from what it left, where they ask."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING, Any

from mprun.engine import expectations
from mprun.jobfile.units import size_text
from mprun.launcher.channel import attempt_succeeded
from mprun.record import results
from mprun.scheduling.retry import AttemptResult

if TYPE_CHECKING:
    from mprun.executors.base import Exited
    from mprun.jobfile.model import Expect, Limits, Task
    from mprun.record.state_dir import RunDirectory

# An expected output is looked for in this much of the end of a log, in bytes.
OUTPUT_LIMIT = 16 * 1024 * 1024

# What multiprocessing's `Process.start` says in a daemon, and what it does not say.
_CHILDLESS = "daemonic processes are not allowed to have children"
_CHILDLESS_HINT = "a daemon task may start no children of multiprocessing: without `daemon: true` it may"


def judge(task: Task, name: str, report: Exited, words: str, directory: RunDirectory) -> AttemptResult:
    """Whether an attempt succeeded, by its exit code or by what is expected of the task.

    `name` is the instance's, which may not be the task's; `words` say how the process
    ended, to which the reason adds the limit that was reached. Reads the attempt's files
    only where a retry, a limit or an expectation asks for them, and of a daemon that failed.
    """
    code = report.exit_code or 0
    asked = task.expect is not None or (code != 0 and (task.retry.exceptions or task.limits or task.daemon))
    failure = results.read_failure(directory.result(name, report.key[1])) if asked else None
    if code != 0 and (reached := limit_reached(task.limits, report, failure)):
        words = f"{words}: {reached}"
    if code != 0 and task.daemon and failure is not None and failure.message == _CHILDLESS:
        words = f"{words}: {_CHILDLESS_HINT}"
    names = failure.names if failure is not None else ()
    if task.expect is None:
        return AttemptResult(
            succeeded=attempt_succeeded(code),
            reason=words,
            exit_code=code,
            exceptions=names,
            asked=report.asked,
        )
    why = expectations.unmet(task.expect, _observed(task.expect, name, report, words, names, directory))
    return AttemptResult(succeeded=not why, reason=why, exit_code=code, exceptions=names, asked=report.asked)


def limit_reached(limits: Limits | None, report: Exited, error: results.Failure | None) -> str:
    """Which limit a failed attempt has reached, in words; empty without evidence of one.

    The evidence: an exception that the kernel's refusal becomes in Python, SIGXCPU, or a
    SIGKILL after more CPU time than was allowed.
    """
    if limits is None:
        return ""
    if limits.cpu_time is not None and _is_out_of_cpu_time(limits.cpu_time, report):
        return f"limits.cpu_time of {limits.cpu_time:g}s was reached"
    if error is None:
        return ""
    if limits.memory is not None and ("MemoryError" in error.names or error.errno == errno.ENOMEM):
        return f"limits.memory of {size_text(limits.memory, ' ')} was reached"
    if limits.open_files is not None and error.errno == errno.EMFILE:
        return f"limits.open_files of {limits.open_files} was reached"
    return ""


def _is_out_of_cpu_time(most: float, report: Exited) -> bool:
    if report.exit_code == -signal.SIGXCPU:
        return True
    # A shell whose last command was ended so says 128 more than the signal. Both that and
    # a SIGKILL may have other reasons where the time was not used up.
    codes = (-signal.SIGKILL, 128 + signal.SIGKILL, 128 + signal.SIGXCPU)
    return report.exit_code in codes and report.cpu is not None and report.cpu >= most


def _observed(
    expect: Expect,
    name: str,
    report: Exited,
    words: str,
    exceptions: tuple[str, ...],
    directory: RunDirectory,
) -> expectations.Observed:
    attempt = report.key[1]
    path = directory.result(name, attempt)
    memory = report.max_rss if report.max_rss is not None else results.read_usage(path).get("max_rss")
    return expectations.Observed(
        exit_code=report.exit_code or 0,
        words=words,
        exceptions=exceptions,
        result=_result(path) if expect.has_result else None,
        output=_tail(directory.log(name, attempt)) if expect.output is not None else "",
        seconds=report.duration,
        max_rss=memory,
    )


class _Unlike:
    """What a result is that is no JSON: equal to nothing that can be expected."""

    def __repr__(self) -> str:
        return "no JSON value"


def _result(path: str) -> Any:
    """The whole result, since None is not what a large one is."""
    value, kind = results.read_value(path)
    return _Unlike() if kind == "repr" else value


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - OUTPUT_LIMIT))
            return file.read().decode("utf-8", "backslashreplace")
    except OSError:
        return ""
