"""Runs attempts on this machine, through a launcher of its own."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from mprun.executors.base import (
    BindError,
    Exited,
    Importing,
    Lost,
    NotStarted,
    PrepareReply,
    StartCancelled,
    Started,
    Suspended,
)
from mprun.executors.subreaper import Guard
from mprun.launcher.channel import EngineChannel, pack_start_request
from mprun.linux import procfs

if TYPE_CHECKING:
    from _socket import socket

    from mprun.executors.base import PrepareRequest, Report, StartRequest
    from mprun.launcher.channel import AttemptKey


# SIGCONT on Linux: `signal` takes a millisecond to import, and no run needs it.
SIGCONT = 18
# How often a launcher that was stopped is made to go on, before it is killed.
STOPS = 10


class LocalExecutor:
    """Speaks with one launcher; see `mprun.executors.base.Executor`.

    When the launcher is lost, `guard` ends what it leaves.
    """

    def __init__(self, pid: int, sock: socket, guard: Guard) -> None:
        self._pid = pid
        self._end = EngineChannel(sock)
        self._guard = guard
        self._running: dict[AttemptKey, tuple[int, int]] = {}
        self._stops = 0

    @property
    def pid(self) -> int:
        """The launcher's pid."""
        return self._pid

    def fileno(self) -> int:
        return self._end.fileno()

    def prepare(self, preparation: PrepareRequest) -> None:
        options: dict[str, Any] = {
            "engine": os.getpid(),
            "run_id": preparation.run_id,
            "import_path": list(preparation.import_path),
            "log": preparation.log,
            "start_method": preparation.start_method,
            "methods": list(preparation.methods),
            "preload": list(preparation.preload),
            "max_parallel": preparation.max_parallel,
        }
        self._end.send("prepare", options, [call.to_tuple() for call in preparation.calls])

    def start(self, request: StartRequest) -> None:
        self._end.send("start", pack_start_request(request))

    def cancel(self, key: AttemptKey) -> None:
        self._end.send("cancel", key)

    def signal(self, key: AttemptKey, name: str, *, dump: bool = False) -> None:
        self._end.send("signal", key, name, dump)

    def suspend(self) -> None:
        self._end.send("suspend")

    def resume(self) -> None:
        self._end.send("resume")

    def wake(self) -> bool:
        try:
            stopped = self._pid and os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:
            # It has ended; `receive` says so.
            return False
        if stopped:
            self._go_on()
        return bool(stopped)

    def _go_on(self) -> None:
        """Have a launcher that was stopped go on; kill one that is stopped again and again."""
        self._stops += 1
        os.kill(self._pid, SIGCONT if self._stops <= STOPS else 9)

    def usage(self) -> dict[str, Any] | None:
        return procfs.usage(self._pid) if self._pid else None

    def flush(self) -> bool:
        try:
            return self._end.flush()
        except OSError:
            # The launcher is gone; `receive` says so.
            return True

    def receive(self) -> list[Report]:
        reports = self._end.receive()
        if reports is None:
            return [Lost(how=self._wait())]
        return [self._noted(_report(kind, facts)) for kind, *facts in reports]

    def _noted(self, report: Report) -> Report:
        """The report, with what the guard must know of it kept."""
        if isinstance(report, Started):
            self._running[report.key] = (report.pid, report.ppid)
        elif isinstance(report, Exited):
            self._running.pop(report.key, None)
        return report

    def close(self, *, kill: bool = False) -> None:
        self._end.close()
        if kill and self._pid:
            # Not reaped yet, so the number is its own, and that of the group that it leads:
            # what a module started at import.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, 9)
            os.kill(self._pid, 9)
        self._wait()
        self._guard.close()

    def _wait(self) -> str:
        """Reap the launcher, end what it did not end itself; how it ended, in words."""
        if not self._pid:
            return ""
        _, status = os.waitpid(self._pid, os.WUNTRACED)
        while os.WIFSTOPPED(status):
            self._go_on()
            _, status = os.waitpid(self._pid, os.WUNTRACED)
        self._pid = 0
        if status == 0:
            self._guard.wait_for_helpers()
            return _how_it_ended(status)
        left = self._guard.end_what_came({pid for pids in self._running.values() for pid in pids})
        still = f"; could not be ended: {', '.join(map(str, left))}" if left else ""
        return _how_it_ended(status) + still


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit {code}"
    import signal

    return f"killed by {signal.Signals(-code).name}"


def _report(kind: str, facts: list[Any]) -> Report:
    """A report of the launcher's, of which the facts come in the order of the fields."""
    if kind == "prepared":
        pid, name, errors, threads = facts
        return PrepareReply(
            pid=pid,
            name=name,
            errors=tuple(map(BindError.from_tuple, errors)),
            threads=tuple(threads),
        )
    return _REPORTS[kind].from_tuple(facts)


_REPORTS: dict[str, type[Importing | Started | NotStarted | StartCancelled | Suspended | Exited]] = {
    "importing": Importing,
    "started": Started,
    "not_started": NotStarted,
    "start_cancelled": StartCancelled,
    "suspended": Suspended,
    "exited": Exited,
}


def start_launcher(run_id: str = "") -> LocalExecutor:
    """A launcher as a new Python: for callers that are too large, or too threaded, to fork.

    With a `run_id` its descendants bear it in their environment from the first on.
    """
    import subprocess
    import sys
    from socket import socketpair

    ours, theirs = socketpair()
    descriptor = theirs.fileno()
    command = f"from mprun.launcher.main import launch; launch({descriptor})"
    environment = {**os.environ, **({"MPRUN_RUN_ID": run_id} if run_id else {})}
    # Not waited for through this object: the executor reaps it by its pid.
    process = subprocess.Popen([sys.executable, "-c", command], pass_fds=(descriptor,), env=environment)
    theirs.close()
    process.returncode = 0
    return LocalExecutor(process.pid, ours, Guard(process.pid, run_id))


def adopt_launcher(pid: int, descriptor: int) -> LocalExecutor:
    """The launcher that `mprun.__main__` has forked already, for a process that runs nothing else."""
    # `socket` itself adds names and 4 ms to import.
    from _socket import socket

    return LocalExecutor(pid, socket(fileno=descriptor), Guard(pid))
