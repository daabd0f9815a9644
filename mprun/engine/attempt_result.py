"""Builds the result of an attempt from its exit status, its files and the limits it reached."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING, Any

from mprun.jobfile.units import size_text
from mprun.launcher.channel import attempt_succeeded
from mprun.record import results
from mprun.scheduling.retry import AttemptResult

if TYPE_CHECKING:
    from mprun.engine.expectations import Observed
    from mprun.executors.base import Exited
    from mprun.jobfile.model import Expect, Limits, Task
    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import StateFile

# The name of an error that says that nothing of the target has run.
NEVER_RAN = "mprun.launcher.start_error.StartError"

# The error of multiprocessing's `Process.start` in a daemonic process, and the remedy.
_NO_CHILDREN = "daemonic processes are not allowed to have children"
_NO_CHILDREN_HINT = "multiprocessing allows a daemon no child processes; remove `daemon: true`"
# Of a program that becomes a daemon by itself.
_BACKGROUND_HINT = "(it left a process in the background, which was killed: let it run in the foreground)"


def _lost(report: Exited) -> str:
    if report.log_error:
        return f"its log could not be written: {report.log_error}"
    return report.artifacts_error and f"its artifacts could not be kept: {report.artifacts_error}"


def attempt_result(
    task: Task, name: str, report: Exited, words: str, directory: RunDirectory, output_problem: str = ""
) -> AttemptResult:
    """Whether an attempt succeeded, by its exit code or by the `expect` of its task.

    `name` is the name of the instance, not of the task that it was expanded from. `words` say
    how the process ended; the reason adds the limit that was reached. `output_problem` is why the
    output is not as expected, empty if it is. The attempt's files are read only if a retry, a limit
    or an expectation needs them, or if a daemon failed.
    """
    code = report.exit_code or 0
    if lost := _lost(report):
        # What it has written is lost, whatever its exit code says.
        why = f"{words}; {lost}"
        return AttemptResult(
            succeeded=False, reason=why, exit_code=code, asked=report.asked, lost_output=True
        )
    no_result = "" if task.capture is None else _captured(task.capture, name, report, directory)
    needs_failure = (
        task.expect is not None
        or report.unfinished
        or (code != 0 and (task.retry.exceptions or task.limits or task.daemon))
    )
    failure = results.read_failure(directory.result_files(name, report.key[1])) if needs_failure else None
    if code != 0 and (reached := limit_reached(task.limits, report, failure)):
        words = f"{words}: {reached}"
    if code != 0 and task.daemon and failure is not None and failure.message == _NO_CHILDREN:
        words = f"{words}: {_NO_CHILDREN_HINT}"
    if code == 0 and task.daemon and report.orphans and not report.asked:
        words = f"{words} {_BACKGROUND_HINT}"
    names = failure.names if failure is not None else ()
    if report.unfinished:
        words = f"{words} after an error" if failure is not None else f"{report.unfinished} ({words})"
    if failure is not None and NEVER_RAN in names:
        # Nothing of the task has run, so nothing that it expects has come true.
        return AttemptResult(
            succeeded=False, reason=words, exit_code=code, exceptions=names, asked=report.asked
        )
    if task.expect is None:
        return AttemptResult(
            succeeded=attempt_succeeded(code) and not report.unfinished and not no_result,
            reason=words if code else no_result or words,
            exit_code=code,
            exceptions=names,
            asked=report.asked,
        )
    # Few tasks have one.
    from mprun.engine.expectations import unmet

    seen = _observed(task.expect, name, report, words, names, directory, output_problem)
    why = unmet(task.expect, seen) or no_result
    return AttemptResult(succeeded=not why, reason=why, exit_code=code, exceptions=names, asked=report.asked)


def _captured(how: str, name: str, report: Exited, directory: RunDirectory) -> str:
    """Make the output of a command its result; why that is impossible, empty if it is done."""
    # Few tasks have one.
    from mprun.engine.captured_output import take

    return take(directory.result_files(name, report.key[1]), how)


def limit_reached(limits: Limits | None, report: Exited, error: results.Failure | None) -> str:
    """Which limit a failed attempt has reached, in words; empty without evidence.

    Evidence is the exception that Python raises when the kernel refuses memory or a descriptor,
    the signal SIGXCPU, or SIGKILL after as much CPU time as the limit.
    """
    if limits is None:
        return ""
    if limits.cpu_time is not None and _is_out_of_cpu_time(limits.cpu_time, report):
        return f"limits.cpu_time of {limits.cpu_time:g}s was reached"
    if error is None:
        return ""
    if limits.memory is not None and _is_out_of_memory(error):
        return f"limits.memory of {size_text(limits.memory, ' ')} was reached"
    if limits.open_files is not None and error.errno == errno.EMFILE:
        return f"limits.open_files of {limits.open_files} was reached"
    return ""


def _is_out_of_memory(error: results.Failure) -> bool:
    if "MemoryError" in error.names or error.errno == errno.ENOMEM:
        return True
    # What CPython raises if it has no memory left for the MemoryError; seen on 3.12.
    return error.type == "SystemError" and error.message == "error return without exception set"


def _is_out_of_cpu_time(limit: float, report: Exited) -> bool:
    if report.exit_code == -signal.SIGXCPU:
        return True
    # A shell reports that a signal killed its last command by 128 and the signal's number. Both
    # this and a plain SIGKILL can have another cause, unless the CPU time is used up.
    codes = (-signal.SIGKILL, 128 + signal.SIGKILL, 128 + signal.SIGXCPU)
    return report.exit_code in codes and report.cpu is not None and report.cpu >= limit


def _observed(
    expect: Expect,
    name: str,
    report: Exited,
    words: str,
    exceptions: tuple[str, ...],
    directory: RunDirectory,
    output_problem: str,
) -> Observed:
    from mprun.engine.expectations import Observed

    attempt = report.key[1]
    files = directory.result_files(name, attempt)
    memory = report.max_rss if report.max_rss is not None else results.read_usage(files).get("max_rss")
    return Observed(
        exit_code=report.exit_code or 0,
        words=words,
        unfinished=bool(report.unfinished),
        exceptions=exceptions,
        result=_result(files) if expect.has_result else None,
        output_problem=output_problem,
        seconds=report.duration,
        max_rss=memory,
    )


class _NotJson:
    """The place of a result that is not JSON; it equals no expected value."""

    def __repr__(self) -> str:
        return "not JSON"


def _result(files: StateFile) -> Any:
    """The result, read in full: the record has None for a large one."""
    value, kind = results.read_value(files)
    return _NotJson() if kind == "repr" else value
