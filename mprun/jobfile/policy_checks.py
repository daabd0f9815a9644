"""Checks of the names of exceptions and signals in `retry`, `expect` and `stop`.

Each error is a path from the task, the message and the help.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote, suggest
from mprun.jobfile.model import signal_name
from mprun.jobfile.syntax.document import Mapping, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    Path = tuple[str | int, ...]

# signal(7), without those that only the kernel sends or that cannot ask a process to end.
SIGNALS = frozenset(
    {
        "SIGABRT",
        "SIGALRM",
        "SIGCONT",
        "SIGHUP",
        "SIGINT",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGTERM",
        "SIGUSR1",
        "SIGUSR2",
        "SIGWINCH",
    }
)


def exception_errors(keys: Any, is_command: bool) -> Iterator[tuple[Path, str, str]]:
    """Exceptions of a command, which raises none, and names of what is not an exception."""
    retry, expect = (keys.get(key) if isinstance(keys, Mapping) else None for key in ("retry", "expect"))
    names = retry.get("exceptions") if isinstance(retry, Mapping) else None
    if names is not None and is_command:
        message = "`retry.exceptions` is only valid for a `target`: a command raises no exceptions"
        yield ("retry", "exceptions"), message, "use `exit_codes`"
        names = None
    raises = expect.get("raises") if isinstance(expect, Mapping) else None
    if raises is not None and is_command:
        message = "`expect.raises` is only valid for a `target`: a command raises no exceptions"
        yield ("expect", "raises"), message, "use `exit_code`"
        raises = None
    for number, name in enumerate(names if isinstance(names, Sequence) else ()):
        yield from _not_an_exception(("retry", "exceptions", number), name)
    yield from _not_an_exception(("expect", "raises"), raises)


def _not_an_exception(path: Path, name: object) -> Iterator[tuple[Path, str, str]]:
    """A name of Python's own that is not an exception, or differs from one only in its case."""
    if not isinstance(name, str) or not name.isidentifier() or _is_exception(name):
        return
    same = next((one for one in vars(builtins) if one.lower() == name.lower() and _is_exception(one)), "")
    if same or hasattr(builtins, name):
        help = f"did you mean {quote(same)}?" if same else ""
        yield path, f"{quote(name)} is not an exception", help


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def signal_errors(keys: object) -> Iterator[tuple[Path, str, str]]:
    """A signal that `stop` cannot send."""
    stop = keys.get("stop") if isinstance(keys, Mapping) else None
    name = stop.get("signal") if isinstance(stop, Mapping) else None
    if isinstance(name, str) and "${" not in name and signal_name(name) not in SIGNALS:
        help = suggest(name, [known.removeprefix("SIG") for known in SIGNALS], "signals")
        yield ("stop", "signal"), f"unknown signal {quote(name)}", help
