"""The executor that runs attempts on this machine, in a launcher of its own."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from mprun.executors.base import (
    COMMAND_FIELDS,
    BindError,
    ExecutorLost,
    Exited,
    Importing,
    NotStarted,
    PrepareReply,
    Probed,
    StartCancelled,
    Started,
    Suspended,
)
from mprun.executors.subreaper import Subreaper
from mprun.launcher.channel import EngineChannel, pack_start_request
from mprun.linux import procfs

if TYPE_CHECKING:
    from _socket import socket

    from mprun.executors.base import PrepareRequest, ProbeRequest, Report, StartRequest
    from mprun.launcher.channel import AttemptKey
    from mprun.linux.cgroup import OutOfMemoryKills


# On Linux; not from `signal`, which takes a millisecond to import.
SIGKILL = 9
SIGCONT = 18
# How often a stopped launcher is resumed before it is killed.
MAX_RESUMES = 10


class LocalExecutor:
    """Speaks with one launcher; see `mprun.executors.base.Executor`.

    If the launcher dies, `subreaper` kills what it leaves behind.
    """

    unsupported = frozenset(("host",))
    probe_kinds = frozenset(("command",))

    def __init__(self, pid: int, sock: socket, subreaper: Subreaper) -> None:
        self._pid = pid
        # The most memory that it had before it had the kernel forget that, in bytes.
        self._peak = 0
        self._channel = EngineChannel(sock)
        self._subreaper = subreaper
        # The pid and the parent's pid of each running attempt.
        self._running: dict[AttemptKey, tuple[int, int]] = {}
        self._resumes = 0
        # The probes that begin once the run is resumed; None while it is not suspended.
        self._held_probes: list[ProbeRequest] | None = None
        self._out_of_memory: OutOfMemoryKills | None = None
        # How many processes were killed for lack of memory before each running attempt began.
        self._kills_before: dict[AttemptKey, int] = {}
        # The cgroup of the launcher and its descendants, "" if there is none, or it is not known yet.
        self._cgroup = ""
        # Its open directory: once the launcher is reaped, another one may make one of the same name.
        self._cgroup_folder = -1
        # The files of the modules that it has imported, if `PrepareRequest.tell_modules` asks for them.
        self.modules: tuple[str, ...] = ()
        self._imports: dict[str, Any] | None = None
        # The pids of what it left and could not be killed.
        self._left: tuple[int, ...] = ()

    @property
    def pid(self) -> int:
        """The launcher's pid."""
        return self._pid

    def fileno(self) -> int:
        return self._channel.fileno()

    def prepare(self, request: PrepareRequest) -> None:
        options: dict[str, Any] = {
            "engine": os.getpid(),
            "run_id": request.run_id,
            "cwd": request.cwd,
            "import_path": list(request.import_path),
            "log": request.log,
            "folders": request.folders,
            "start_method": request.start_method,
            "methods": list(request.methods),
            "preload": list(request.preload),
            "max_parallel": request.max_parallel,
            "env": request.env,
            "secrets": list(request.secrets),
            "identity": request.identity,
            "tell_modules": request.tell_modules,
            "tell_imports": request.tell_imports,
        }
        if request.tell_imports:
            from time import time_ns

            self._imports = {"began": time_ns()}
        self._subreaper.identity = request.identity
        self._channel.send("prepare", options, [call.to_tuple() for call in request.calls])

    def start(self, request: StartRequest) -> None:
        self._channel.send("start", pack_start_request(request))

    def cancel(self, key: AttemptKey) -> None:
        self._channel.send("cancel", key)

    def signal(self, key: AttemptKey, name: str, *, title: str = "", to: str = "group") -> None:
        self._channel.send("signal", key, name, title, to)

    def probe(self, request: ProbeRequest) -> None:
        # The start of its attempt may be reported when the run is suspended already.
        if self._held_probes is None:
            self._channel.send("probe", *request.to_tuple()[:COMMAND_FIELDS])
        else:
            self._held_probes.append(request)

    def end_probe(self, key: AttemptKey) -> None:
        if self._held_probes is not None:
            self._held_probes = [request for request in self._held_probes if request.key != key]
        self._channel.send("end_probe", key)

    def suspend(self) -> None:
        self._channel.send("suspend")
        self._held_probes = []

    def resume(self) -> None:
        self._channel.send("resume")
        held, self._held_probes = self._held_probes, None
        for request in held or ():
            self.probe(request)

    def wake(self) -> bool:
        try:
            stopped = self._pid and os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:
            # It has ended; `receive` reports that.
            return False
        if stopped:
            self._resume_launcher()
        return bool(stopped)

    def _resume_launcher(self) -> None:
        """Resume a stopped launcher; kill one that is stopped again and again."""
        self._resumes += 1
        os.kill(self._pid, SIGCONT if self._resumes <= MAX_RESUMES else SIGKILL)

    def imports(self) -> dict[str, Any] | None:
        return self._imports

    def usage(self) -> dict[str, Any] | None:
        found = procfs.usage(self._pid) if self._pid else None
        if found and self._peak:
            found["max_rss"] = max(self._peak, found["max_rss"] or 0)
        return found

    def flush(self) -> bool:
        try:
            return self._channel.flush()
        except OSError:
            # The launcher is gone; `receive` reports that.
            return True

    def receive(self) -> list[Report]:
        reports = self._channel.receive()
        if reports is None:
            how = self._wait()
            return [ExecutorLost(how=how, left=self._left)]
        return [self._remember(_report(*each)) for each in reports if not self._note(*each)]

    def _note(self, kind: str, *facts: Any) -> bool:
        """Whether a message is needed here alone: the launcher's keeper, peak memory, cgroup, or modules."""
        if kind == "keeper_started":
            self._subreaper.keeper = facts
        elif kind == "launcher_peak":
            (self._peak,) = facts
        elif kind == "cgroup_entered":
            self._hold_cgroup(*facts)
        elif kind == "modules":
            self.modules = facts
        elif kind == "imports" and self._imports is not None:
            self._imports |= facts[0]
        else:
            return False
        return True

    def _hold_cgroup(self, path: str) -> None:
        # The launcher, which is in it, may have been killed meanwhile, and another start have removed it.
        with contextlib.suppress(OSError):
            self._cgroup_folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._cgroup = self._subreaper.cgroup = path
            self._subreaper.cgroup_folder = self._cgroup_folder

    def _remember(self, report: Report) -> Report:
        """The report, after keeping what the subreaper needs to know of it."""
        if isinstance(report, Started):
            self._running[report.key] = (report.pid, report.ppid)
            if self._out_of_memory is None:
                # While the first task runs: 0.3 ms, which nothing waits for.
                from mprun.linux.cgroup import OutOfMemoryKills

                self._out_of_memory = OutOfMemoryKills()
            # As it was before the start, or the process itself may be counted already.
            self._kills_before[report.key] = self._out_of_memory.count
            self._out_of_memory.look()
        elif isinstance(report, Exited):
            self._running.pop(report.key, None)
            before = self._kills_before.pop(report.key, 0)
            if self._out_of_memory is not None:
                return self._explain(report, self._out_of_memory, before)
        return report

    def _explain(self, report: Exited, out_of_memory: OutOfMemoryKills, before: int) -> Exited:
        """The report of an attempt, with what is known of a lack of memory if it was killed."""
        if report.asked or report.exit_code not in (-SIGKILL, 128 + SIGKILL):
            out_of_memory.look()
            return report
        return report.replace(out_of_memory=out_of_memory.take_one(before))

    def close(self, *, kill: bool = False) -> None:
        self._channel.close()
        if self._out_of_memory is not None:
            self._out_of_memory.close()
        if kill and self._pid and self._is_unreaped():
            # So the pid is its own, and so is the group that it leads, in which is what a module started
            # at import. Only one of the two: then a thread of the program that embeds mprun may reap it.
            try:
                os.killpg(self._pid, SIGKILL)
            except ProcessLookupError:
                # It leads none yet.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, SIGKILL)
            if not self._cgroup:
                from mprun.linux.cgroup_end import end_unused

                end_unused(self._pid)
        self._wait()
        self._subreaper.close()

    def _is_unreaped(self) -> bool:
        """Whether the launcher is running, or waits to be reaped, so that its pid is its own."""
        try:
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # The program that embeds mprun reaps all children.
            return False
        return True

    def _wait(self) -> str:
        """Reap the launcher and kill what it left behind; how it ended, in words."""
        if not self._pid:
            return ""
        status = self._reap()
        self._pid = 0
        if status == 0:
            self._reap_helpers()
            left = self._end_cgroup()
        else:
            # Not at the top: a run that does not lose its launcher does not need it.
            from mprun.executors.orphan_kills import kill_orphans

            left = kill_orphans(self._subreaper, {pid for pids in self._running.values() for pid in pids})
            # The end of a cgroup also ends what this user may not signal.
            survivors = self._end_cgroup()
            left = sorted({*survivors, *filter(procfs.is_alive, left)})
        if self._cgroup_folder >= 0:
            os.close(self._cgroup_folder)
            self._cgroup_folder = self._subreaper.cgroup_folder = -1
        self._left = tuple(left)
        not_killed = f"; could not be killed: {', '.join(map(str, left))}" if left else ""
        return _exit_words(status) + not_killed

    def _reap_helpers(self) -> None:
        """Reap the resource tracker of a launcher that has exited; it ends by itself."""
        if self._subreaper.run_id is not None and procfs.children():
            from mprun.executors.orphan_kills import kill_orphans

            kill_orphans(self._subreaper, ())

    def _reap(self) -> int | None:
        """Wait until the launcher has ended, and reap it; its status, None if that is unknown."""
        try:
            while True:
                _, status = os.waitpid(self._pid, os.WUNTRACED)
                if not os.WIFSTOPPED(status):
                    return status
                self._resume_launcher()
        except ChildProcessError:
            # The program that embeds mprun reaps all children.
            return None

    def _end_cgroup(self) -> list[int]:
        """Remove the cgroup of the run, after a kill of what is still in it; the pids that survive that."""
        if not self._cgroup:
            return []
        try:
            if os.path.samestat(os.lstat(self._cgroup), os.fstat(self._cgroup_folder)):
                os.rmdir(self._cgroup)
        except FileNotFoundError:
            pass
        except OSError:
            from mprun.executors.orphan_kills import end_cgroup

            return end_cgroup(self._subreaper)
        return []


def _exit_words(status: int | None) -> str:
    if status is None:
        return "exit status unknown: it was reaped by another part of this program"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit {code}"
    import signal

    return f"killed by {signal.Signals(-code).name}"


def _report(kind: str, *facts: Any) -> Report:
    """A report from the launcher, which sends the facts in the order of the report's fields."""
    if kind == "prepared":
        pid, name, errors, threads, refused = facts
        return PrepareReply(
            pid=pid,
            name=name,
            errors=tuple(map(BindError.from_tuple, errors)),
            threads=tuple(threads),
            refused=tuple(refused),
        )
    if kind == "exited":
        # The launcher does not know `out_of_memory`, has seen the end, and sends no artifacts.
        facts = (*facts, None, "", "")
    elif kind == "started":
        facts = (*facts, "")
    elif kind == "not_started":
        facts = (*facts, False, ())
    elif kind == "start_cancelled":
        facts = (*facts, False)
    return _REPORTS[kind].from_tuple(facts)


_REPORTS: dict[str, type[Importing | Started | NotStarted | StartCancelled | Suspended | Exited | Probed]] = {
    "importing": Importing,
    "started": Started,
    "not_started": NotStarted,
    "start_cancelled": StartCancelled,
    "suspended": Suspended,
    "exited": Exited,
    "probed": Probed,
}


def adopt_launcher(pid: int, descriptor: int) -> LocalExecutor:
    """An executor for the launcher that `mprun.__main__` has forked; the process must run nothing else."""
    # `socket` itself adds names, and takes 4 ms to import.
    from _socket import socket

    return LocalExecutor(pid, socket(fileno=descriptor), Subreaper(pid))
