"""The command line: which commands there are, who reads it, and what becomes of errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from mprun.cli.messages import expect_json_errors, explain, say
from mprun.errors import MprunError
from mprun.outcomes import EXIT_CLOSED_PIPE, EXIT_INTERNAL
from mprun.reporters.door import open_door
from mprun.reporters.terminal import silence

if TYPE_CHECKING:
    from collections.abc import Callable


def main(launcher: tuple[int, int] | None = None, *, import_click: Callable[[], None] = lambda: None) -> int:
    """Run the command line and return its exit code.

    `launcher` is the pid of a launcher that is already forked, and the descriptor of a socket to it.
    `import_click` is called before click is imported, if it is.
    """
    open_door()
    try:
        code = _run_command(launcher, import_click)
        sys.stdout.flush()
    except BrokenPipeError:
        # The command has done its work; only the reader of its output is gone.
        code = EXIT_CLOSED_PIPE
    except OSError as error:
        from mprun.cli.os_errors import explain_os_error

        expect_json_errors()
        code = explain_os_error(error)
    finally:
        _clean_up()
        if launcher is not None:
            with contextlib.suppress(ChildProcessError):
                # A run reaps it.
                os.waitid(os.P_PID, launcher[0], os.WEXITED | os.WNOHANG | os.WNOWAIT)
                from mprun.launcher.main import kill_unused

                kill_unused(launcher[0])
    _finish_display()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)
    return code


def _clean_up() -> None:
    # Only a command that reads a packed run, and a run that leaves this machine, has something.
    for name, function in (("record.packed_run", "remove_unpacked"), ("cli.hosts", "end_unused")):
        if module := sys.modules.get(f"mprun.{name}"):
            getattr(module, function)()


def _finish_display() -> None:
    """Give those who read what a run has shown some time, and say what they have not read."""
    # Only a run has one.
    outlet = sys.modules.get("mprun.reporters.outlet")
    if outlet is None:
        return
    try:
        text = outlet.display.finish()
    except Exception as error:
        # The run has ended, and its exit code is in the record.
        _report_defect(error)
        return
    if not text:
        return
    where = ""
    if outlet.display.directory:
        from mprun.record.commands import short_path
        from mprun.record.not_shown import keep_not_shown

        where = f"; all of it is in {short_path(outlet.display.directory)}"
        # Perhaps neither stream takes a message.
        keep_not_shown(outlet.display.directory, text)
    if (stream := outlet.display.stream_that_works()) is not None:
        say("warning", text + where, stream)


def _run_command(launcher: tuple[int, int] | None, import_click: Callable[[], None]) -> int:
    try:
        if launcher is not None and "_MPRUN_COMPLETE" not in os.environ:
            from mprun.cli.command_line import read_plain

            if (arguments := read_plain(sys.argv[1:])) is not None:
                from mprun.cli.execution import run_job_file

                return run_job_file(launcher, **arguments)
        import_click()
        from mprun.cli.commands import run_group

        return run_group(launcher)
    except MprunError as error:
        expect_json_errors()
        explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except OSError:
        raise
    except Exception as error:
        return _report_defect(error)


def _report_defect(error: Exception) -> int:
    """Ask for a report of an exception that nothing expects; the exit code."""
    from mprun.record.traceback_file import keep_traceback

    say("error", keep_traceback(error))
    return EXIT_INTERNAL
