"""A process on a host of a cluster, for one run: it has a launcher, and sends what its attempts leave.

The relay in dask's worker starts it, and passes messages on. Its launcher is an ordinary one; the logs and
result files are in a temporary directory of its own, from which its outbox sends them to the run's record.
When the relay is gone, or the bridge is not heard of for too long, the agent ends the launcher, and that
kills all that it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import select
import shutil
import time
from typing import TYPE_CHECKING, Any

from mprun.executors.base import (
    Call,
    ExecutorLost,
    Exited,
    PrepareReply,
    PrepareRequest,
    ProbeRequest,
    StartRequest,
)
from mprun.executors.dask.host_directory import make_directory
from mprun.executors.dask.host_probes import KINDS, HostProbes
from mprun.executors.dask.outbox import LOG_INTERVAL, Outbox
from mprun.executors.new_launcher import start_launcher
from mprun.launcher.channel import EngineChannel
from mprun.linux import procfs

if TYPE_CHECKING:
    from socket import socket
    from typing import NoReturn

    from mprun.executors.base import Report
    from mprun.executors.local import LocalExecutor

# How often the agent says that it is there, in seconds, if it says nothing else, and how often in the time
# after which the host counts as lost, at least.
BEAT_INTERVAL = 1.0
BEATS_PER_TIMEOUT = 10
# After this time without a report, in seconds, it is looked whether the launcher was stopped.
WAKE_INTERVAL = 1.0


def beat_interval(timeout: float) -> float:
    """How often bridge and agent hear of each other, in seconds, if a host is lost after that timeout."""
    return min(BEAT_INTERVAL, timeout / BEATS_PER_TIMEOUT)


ARTIFACTS_VARIABLE = "MPRUN_TASK_DIR"


class Agent:
    """Serves one bridge over one socket, until that is not heard of for `timeout` seconds."""

    def __init__(self, sock: socket, timeout: float) -> None:
        self._channel = EngineChannel(sock)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._socket = sock.fileno()
        self._executor: LocalExecutor | None = None
        self._probes = HostProbes()
        self._poll.register(self._probes.fileno(), select.POLLIN)
        self._directory = ""
        # As long as it is open, no other agent takes the directory for abandoned.
        self._lock = -1
        self._outbox: Outbox | None = None
        self._timeout = timeout
        # The newest reading of this clock that is known to have reached the bridge.
        self._heard = self._beat = time.monotonic()
        self._is_flushed = True
        self._ended = self._is_prepared = self._is_lost = False

    def serve(self) -> None:
        """Carry out requests until the bridge asks to end, or is gone."""
        last: tuple[str, ...] = ()
        try:
            while not self._ended and self._turn():
                pass
        except Exception as error:
            # For the log of the worker, and for the user of the run.
            logging.getLogger(__name__).exception("the agent of a run has failed")
            last = ("failed", f"{type(error).__name__}: {error}")
        finally:
            if self._executor is not None:
                # While it imports, it does not read that it is to end.
                self._executor.close(kill=not self._is_prepared)
            if self._directory:
                shutil.rmtree(self._directory, ignore_errors=True)
        if self._ended:
            # Nothing is left here: the bridge waits for this.
            last = ("closed",)
        if last:
            self._send_last(last)

    def _send_last(self, message: tuple[str, ...]) -> None:
        self._channel.send(*message)
        deadline = time.monotonic() + self._timeout
        with contextlib.suppress(OSError):
            while not self._channel.flush() and time.monotonic() < deadline:
                select.select([], [self._socket], [], BEAT_INTERVAL)

    def _turn(self) -> bool:
        self._poll.modify(self._socket, select.POLLIN | (0 if self._is_flushed else select.POLLOUT))
        found = self._poll.poll(1000 * self._pause())
        now = time.monotonic()
        requests = self._channel.receive()
        if requests is None:
            return False
        # After a time in which this process could not run, the beats of that time come first.
        self._heard = max(self._heard, *(details[0] for kind, *details in requests if kind == "beat"), 0.0)
        # What else comes when it is too late may be old, and its attempts run elsewhere by now.
        is_late = now - self._heard > self._timeout + beat_interval(self._timeout)
        if is_late and not any(kind == "close" for kind, *_ in requests):
            return False
        for request in requests:
            self._handle(*request)
        if self._executor is not None and not self._is_lost:
            self._take_reports(self._executor, is_idle=not found)
        self._send(now)
        return True

    def _take_reports(self, executor: LocalExecutor, *, is_idle: bool) -> None:
        executor.flush()
        received = executor.receive()
        for report in (*received, *self._probes.take()):
            self._put(report)
        if any(isinstance(report, ExecutorLost) for report in received):
            # Its end of the socket is readable without end, and says the same each time.
            self._is_lost = True
            self._poll.unregister(executor.fileno())
        elif is_idle:
            executor.wake()

    def _put(self, report: Report) -> None:
        """Have a report sent."""
        if isinstance(report, PrepareReply):
            self._is_prepared = True
            self._channel.send("modules", self._modules())
        elif isinstance(report, Exited):
            self._probes.forget(report.key)
        if self._outbox is not None:
            self._outbox.put(report)

    def _pause(self) -> float:
        """How long to wait for the next event, in seconds."""
        if self._outbox is None:
            return beat_interval(self._timeout)
        return 0.0 if self._is_flushed and self._outbox.has_more else LOG_INTERVAL

    # ---- requests

    def _handle(self, kind: str, *details: Any) -> None:
        executor = self._executor
        if kind == "prepare":
            self._prepare(*details)
        elif kind == "close":
            self._ended = True
        elif executor is None or self._outbox is None:
            # Nothing has been prepared, or it is a beat.
            pass
        elif kind == "start":
            executor.start(self._added(self._outbox, StartRequest.from_tuple(details[0])))
        elif kind == "signal":
            key, name, title, to = details
            executor.signal(key, name, title=title, to=to)
        elif kind == "probe":
            self._probe(executor, self._outbox, ProbeRequest.from_tuple(details[0]))
        elif kind in ("cancel", "end_probe", "suspend", "resume"):
            getattr(executor, kind)(*details)
            if kind in ("suspend", "resume"):
                getattr(self._probes, kind)()

    def _added(self, outbox: Outbox, request: StartRequest) -> StartRequest:
        """The request, which the outbox knows now, with the directory for its artifacts on this host."""
        path = request.artifacts and os.path.join(self._directory, "artifacts", request.artifacts)
        outbox.add(request, path)
        if not path:
            return request
        # If it cannot be made, the end of the attempt says so.
        with contextlib.suppress(OSError):
            os.makedirs(path, 0o700, exist_ok=True)
        return request.replace(env={**request.env, ARTIFACTS_VARIABLE: path})

    def _probe(self, executor: LocalExecutor, outbox: Outbox, request: ProbeRequest) -> None:
        if request.kind in KINDS:
            self._probes.start(request)
            return
        if path := outbox.artifacts_of(request.key):
            request = request.replace(env={**request.env, ARTIFACTS_VARIABLE: path})
        outbox.begin_output(request.key, request.output)
        executor.probe(request)

    def _prepare(self, fields: tuple[Any, ...]) -> None:
        request = PrepareRequest.from_tuple(fields)
        # They have travelled as tuples.
        packed: tuple[Any, ...] = request.calls
        calls = tuple(map(Call.from_tuple, packed))
        self._directory, self._lock = make_directory(request.run_id)
        directory = self._directory
        folders = []
        for name in ("logs", "results"):
            path = os.path.join(directory, name)
            os.mkdir(path, 0o700)
            found = os.stat(path)
            folders.append((path, found.st_dev, found.st_ino))
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        logs, results = (os.open(path, flags) for path, _, _ in folders)
        self._outbox = Outbox(logs, results, request.log, self._channel.send)
        if request.cwd is not None and not os.path.isdir(request.cwd):
            lacks = (f"there is no directory {request.cwd}",)
            self._put(PrepareReply(pid=0, name="", errors=(), threads=(), differences=lacks))
            return
        here = os.stat(directory)
        executor = self._executor = start_launcher(request.run_id)
        self._poll.register(executor.fileno(), select.POLLIN)
        # After a kill, the next agent may get the same inode as soon as it has removed this directory.
        identity = f"{request.run_id} {here.st_dev}:{here.st_ino} {os.urandom(8).hex()}"
        # By these what is left here can be found, if this process is killed.
        sessions = [(pid, procfs.start_ticks(pid)) for pid in (os.getpid(), executor.pid)]
        self._channel.send("identity", identity, sessions)
        executor.prepare(
            request.replace(
                calls=calls,
                folders=tuple(folders),
                identity=identity,
                env={**request.env, "MPRUN_RUN_DIR": directory},
                tell_modules=True,
            )
        )

    # ---- what goes to the bridge

    def _send(self, now: float) -> None:
        """Send reports, and pieces of files, once those before them have gone."""
        if not self._is_flushed:
            self._is_flushed = self._channel.flush()
        sent = self._is_flushed and self._outbox is not None and self._outbox.send(now)
        if sent or now - self._beat >= beat_interval(self._timeout):
            # By the last one the bridge knows how this host's clock differs from its own.
            self._channel.send("now", time.monotonic())
            self._beat = now
            self._is_flushed = self._channel.flush()

    def _modules(self) -> dict[str, str]:
        """The hash of each file of the modules that the launcher has imported, by its path."""
        found = {}
        for path in self._executor.modules if self._executor is not None else ():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                found[path] = hashlib.sha256(file.read()).hexdigest()
        return found


def serve(descriptor: int, timeout: float) -> NoReturn:
    """Run an agent that serves this end of a socket pair; does not return."""
    import socket

    code = 1
    try:
        Agent(socket.socket(fileno=descriptor), timeout).serve()
        code = 0
    finally:
        os._exit(code)
