"""The files about a run that its options ask for, each in a format, written at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.cli.messages import warn
from mprun.cli.output_file import check_different, check_path, print_whole, write_whole
from mprun.diagnostics import quote
from mprun.errors import MprunError, UsageError
from mprun.reporters.outlet import display

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.cli.output_file import Format
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan


def _report() -> Format:
    from mprun.cli.report_page import FORMAT

    return FORMAT


def _junit() -> Format:
    from mprun.cli.junit import FORMAT

    return FORMAT


def _trace() -> Format:
    from mprun.cli.traces import CHROME

    return CHROME


def _otlp() -> Format:
    from mprun.cli.traces import OTLP

    return OTLP


# By the option that asks for it. Each imports what only those need who ask.
FORMATS: dict[str, Callable[[], Format]] = {
    "report": _report,
    "junit": _junit,
    "trace": _trace,
    "otlp": _otlp,
}


def keep_stdout_for_programs(options: dict[str, Any], *, as_json: bool) -> None:
    """Change the options of a run so that stdout has only what a program is to read, if anything is.

    Raises UsageError if that is more than one thing.
    """
    display.is_stdout_for_program = is_stdout_for_program(options, as_json=as_json)
    if display.is_stdout_for_program and options["events"] != "-":
        options["output"] = "none"


def is_stdout_for_program(options: dict[str, Any], *, as_json: bool) -> bool:
    """Whether stdout has only what a program is to read. Raises UsageError if that is more than one thing."""
    asked = ["`--json`"] if as_json else []
    asked += [f"`--{name} -`" for name in ("events", *FORMATS) if options.get(name) == "-"]
    if len(asked) > 1:
        raise UsageError(f"{asked[0]} and {asked[1]} both write to stdout; use one of them")
    return bool(asked)


class RunFiles:
    """The files that the options of a run ask for; `options` has all of them by name."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._wanted = [(name, options[name]) for name in FORMATS if options.get(name)]
        self._events = options.get("events")

    def check(self) -> None:
        """Raise UsageError if one of them cannot be written: before anything starts."""
        check_different({"events": self._events, **dict(self._wanted)})
        for name, path in self._wanted:
            if path != "-":
                check_path(path, FORMATS[name](), f"--{name}")

    def write(self, directory: RunDirectory, plan: Plan | None = None) -> None:
        """Write them: the run has ended. What goes wrong is a warning, because the run has its exit code."""
        for name, path in self._wanted if directory.has_record() else ():
            kind = FORMATS[name]()
            what = f"{kind.name} to standard output" if path == "-" else f"{kind.name} {quote(path)}"
            try:
                if path == "-":
                    display.wait_for_reader()
                    print_whole(kind, kind.pieces(directory, plan))
                else:
                    write_whole(path, kind.pieces(directory, plan))
            except (OSError, MprunError) as error:
                warn(f"cannot write the {what}: {getattr(error, 'strerror', None) or error}")
            except KeyboardInterrupt:
                warn(f"cannot write the {what}: interrupted")
            except Exception as error:
                from mprun.record.traceback_file import keep_traceback

                warn(f"cannot write the {what}: {keep_traceback(error)}")
