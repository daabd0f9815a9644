"""One try of a readiness probe by `tcp`, `http` or `file`, on the machine on which the attempt runs."""

from __future__ import annotations

import os
from typing import Protocol


class Probe(Protocol):
    """Checks one attempt."""

    # Whether there is more to check already, so that the next try should not wait for the interval.
    has_more: bool

    def check(self, deadline: float) -> str:
        """Why the attempt is not ready, empty if it is; `deadline` is a reading of time.monotonic.

        An exception means that it is not ready, too.
        """


def make_probe(kind: str, what: str, cwd: str | None, pid: int | None) -> Probe:
    """A probe of this kind; `cwd` is the attempt's working directory, None for the current one.

    With `pid`, the process of the attempt, a server on this machine that listened on the port before the
    attempt does not count (Linux).
    """
    if kind == "file":
        return FileProbe(os.path.join(cwd or os.getcwd(), what))
    # With socket, 5 ms.
    from mprun.linux.network_probes import HttpProbe, TcpProbe

    return TcpProbe(what, pid) if kind == "tcp" else HttpProbe(what, pid)


class FileProbe:
    """Whether a file exists."""

    has_more = False

    def __init__(self, path: str) -> None:
        self._path = path

    def check(self, deadline: float) -> str:
        return "" if os.path.exists(self._path) else f"there is no file `{self._path}`"


def error_reason(error: Exception) -> str:
    """Why a try failed by an exception, as `connection refused`; "" if it had no answer in time."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return ""
    text: str | None = getattr(error, "strerror", None)
    if text:
        return text[:1].lower() + text[1:]
    return str(error) or type(error).__name__
