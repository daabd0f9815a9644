"""A process on a host of a cluster, for one run: it has a launcher, and sends what its attempts leave.

The relay in dask's worker starts it, and passes messages on. Its launcher is an ordinary one; the logs and
result files are in a temporary directory of its own, from which they are sent to the run's record: a log
while its attempt runs, the rest of it and the result files before the report of its end. What was sent is
removed. When the relay is gone, or the bridge is not heard of for too long, the agent ends the launcher, and
that kills all that it runs.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import select
import shutil
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from mprun.executors.base import (
    Call,
    ExecutorLost,
    Exited,
    PrepareReply,
    PrepareRequest,
    Probed,
    ProbeRequest,
    Started,
    StartRequest,
)
from mprun.executors.dask import artifacts, reports
from mprun.executors.dask.host_directory import make_directory
from mprun.executors.dask.host_probes import KINDS, HostProbes
from mprun.executors.new_launcher import start_launcher
from mprun.launcher.channel import EngineChannel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import socket
    from typing import NoReturn

    from mprun.executors.base import Report
    from mprun.executors.local import LocalExecutor
    from mprun.launcher.channel import AttemptKey

# How much of a file is sent at once, in bytes: more only once this has been passed on.
PIECE_BYTES = 1 << 18
# How often the logs of running attempts are looked at, in seconds.
LOG_INTERVAL = 0.05
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


class LogTail:
    """Reads a log from where the last piece of it ended."""

    def __init__(self, folder: int, name: str) -> None:
        self.name = name
        self._folder = folder
        self._file = -1
        self._offset = 0

    def read(self) -> bytes:
        """The next piece; empty if there is nothing more by now."""
        try:
            if self._file < 0:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                self._file = os.open(self.name, flags, dir_fd=self._folder)
            data = os.pread(self._file, PIECE_BYTES, self._offset)
            if not data and os.fstat(self._file).st_size < self._offset:
                # The task has truncated it.
                self._offset = 0
                data = os.pread(self._file, PIECE_BYTES, 0)
        except OSError:
            # Its process is about to create it.
            return b""
        self._offset += len(data)
        return data

    def remove(self) -> None:
        """Close the log, and remove it."""
        if self._file >= 0:
            os.close(self._file)
        with contextlib.suppress(OSError):
            os.unlink(self.name, dir_fd=self._folder)


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
        self._logs = self._results = -1
        # The name of the log, and that of the result files without a suffix, of each attempt.
        self._files: dict[AttemptKey, tuple[str, str]] = {}
        self._tails: dict[AttemptKey | None, LogTail] = {}
        # What the commands print that probe attempts now.
        self._outputs: dict[AttemptKey, LogTail] = {}
        # The directories for artifacts of attempts, and what is to be sent of the one that is next.
        self._artifacts: dict[AttemptKey, str] = {}
        self._sending_artifacts: Iterator[tuple[artifacts.Path, bytes | None]] | None = None
        # Reports that wait until the log before them is sent.
        self._reports: deque[Report] = deque()
        # The result file of which more is to be sent.
        self._sending: LogTail | None = None
        self._timeout = timeout
        # The newest reading of this clock that is known to have reached the bridge.
        self._heard = self._beat = time.monotonic()
        self._is_flushed = True
        self._next_tail = 0.0
        self._ended = self._is_prepared = self._is_lost = False

    def serve(self) -> None:
        """Carry out requests until the bridge asks to end, or is gone."""
        try:
            while not self._ended and self._turn():
                pass
        finally:
            if self._executor is not None:
                # While it imports, it does not read that it is to end.
                self._executor.close(kill=not self._is_prepared)
            if self._directory:
                shutil.rmtree(self._directory, ignore_errors=True)
        if self._ended:
            # Nothing is left here: the bridge waits for this.
            self._channel.send("closed")
            with contextlib.suppress(OSError):
                while not self._channel.flush():
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
        self._reports += received
        self._reports += self._probes.take()
        if any(isinstance(report, ExecutorLost) for report in received):
            # Its end of the socket is readable without end, and says the same each time.
            self._is_lost = True
            self._poll.unregister(executor.fileno())
        elif is_idle:
            executor.wake()

    def _pause(self) -> float:
        """How long to wait for the next event, in seconds."""
        if self._reports and self._is_flushed:
            return 0.0
        return LOG_INTERVAL if self._tails else beat_interval(self._timeout)

    # ---- requests

    def _handle(self, kind: str, *details: Any) -> None:
        executor = self._executor
        if kind == "prepare":
            self._prepare(*details)
        elif kind == "close":
            self._ended = True
        elif executor is None:
            # Nothing has been prepared, or it is a beat.
            pass
        elif kind == "start":
            request = StartRequest.from_tuple(details[0])
            self._files[request.key] = (request.log, request.result)
            executor.start(self._with_artifacts(request) if request.artifacts else request)
        elif kind == "signal":
            key, name, title, to = details
            executor.signal(key, name, title=title, to=to)
        elif kind == "probe":
            self._probe(executor, ProbeRequest.from_tuple(details[0]))
        elif kind in ("cancel", "end_probe", "suspend", "resume"):
            getattr(executor, kind)(*details)
            if kind in ("suspend", "resume"):
                getattr(self._probes, kind)()

    def _with_artifacts(self, request: StartRequest) -> StartRequest:
        """The request, with the directory for its artifacts on this host."""
        path = self._artifacts[request.key] = os.path.join(self._directory, "artifacts", request.artifacts)
        # If it cannot be made, the end of the attempt says so.
        with contextlib.suppress(OSError):
            os.makedirs(path, 0o700, exist_ok=True)
        return request.replace(env={**request.env, ARTIFACTS_VARIABLE: path})

    def _probe(self, executor: LocalExecutor, request: ProbeRequest) -> None:
        if request.kind in KINDS:
            self._probes.start(request)
            return
        if (path := self._artifacts.get(request.key)) is not None:
            request = request.replace(env={**request.env, ARTIFACTS_VARIABLE: path})
        # What the try before has printed is not read again.
        output = self._outputs[request.key] = LogTail(self._logs, request.output)
        output.remove()
        self._channel.send("new_log", request.output)
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
        self._logs, self._results = (os.open(path, flags) for path, _, _ in folders)
        self._tails[None] = LogTail(self._logs, request.log)
        if request.cwd is not None and not os.path.isdir(request.cwd):
            lacks = (f"there is no directory {request.cwd}",)
            self._reports.append(PrepareReply(pid=0, name="", errors=(), threads=(), differences=lacks))
            return
        here = os.stat(directory)
        executor = self._executor = start_launcher(request.run_id)
        self._poll.register(executor.fileno(), select.POLLIN)
        executor.prepare(
            request.replace(
                calls=calls,
                folders=tuple(folders),
                identity=f"{request.run_id} {here.st_dev}:{here.st_ino}",
                env={**request.env, "MPRUN_RUN_DIR": directory},
                tell_modules=True,
            )
        )

    # ---- what goes to the bridge

    def _send(self, now: float) -> None:
        """Send reports, and pieces of logs, as far as those before them have gone."""
        if not self._is_flushed:
            self._is_flushed = self._channel.flush()
        sent = False
        if self._is_flushed:
            sent = self._send_reports()
            if now >= self._next_tail and not self._reports:
                self._next_tail = now + LOG_INTERVAL
                sent |= self._send_pieces()
        if sent or now - self._beat >= beat_interval(self._timeout):
            # By the last one the bridge knows how this host's clock differs from its own.
            self._channel.send("now", time.monotonic())
            self._beat = now
            self._is_flushed = self._channel.flush()

    def _send_pieces(self) -> bool:
        """A piece of each log of which there is more; whether there was any."""
        found = False
        for tail in (*self._tails.values(), *self._outputs.values()):
            if data := tail.read():
                found = True
                self._channel.send("log", tail.name, data)
        return found

    def _send_reports(self) -> bool:
        sent = False
        while self._reports:
            report = self._reports[0]
            if isinstance(report, Exited):
                if report.exit_code and not report.log_error:
                    # Before anything is removed.
                    report = report.replace(log_error=self._disk_error())
                    self._reports[0] = report
                if not self._send_files(report.key) or not self._send_artifacts(report.key):
                    return True
                del self._files[report.key]
                self._probes.forget(report.key)
            elif isinstance(report, Probed) and report.key in self._outputs:
                if not self._send_output(report.key):
                    return True
            elif isinstance(report, Started):
                self._tails[report.key] = LogTail(self._logs, self._files[report.key][0])
            elif isinstance(report, (PrepareReply, ExecutorLost)):
                if isinstance(report, PrepareReply):
                    self._is_prepared = True
                    self._channel.send("modules", self._modules())
                if data := self._tails[None].read():
                    self._channel.send("log", self._tails[None].name, data)
                if isinstance(report, ExecutorLost):
                    self._channel.send("begun", [key for key in self._files if self._has_begun(key)])
            self._reports.popleft()
            self._channel.send(*reports.pack(report))
            sent = True
        return sent

    def _send_output(self, key: AttemptKey) -> bool:
        """Send what is left of what a probe has printed; False if there is more."""
        output = self._outputs[key]
        if data := output.read():
            self._channel.send("log", output.name, data)
        if len(data) == PIECE_BYTES:
            return False
        output.remove()
        del self._outputs[key]
        self._channel.send("end_log", output.name)
        return True

    def _has_begun(self, key: AttemptKey) -> bool:
        """Whether an attempt has had a process, which opens its log before it runs anything of the task."""
        log, _ = self._files[key]
        try:
            os.stat(log, dir_fd=self._logs, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _send_files(self, key: AttemptKey) -> bool:
        """Send what is left of the log of an attempt, and its result files; False if there is more."""
        log, result = self._files[key]
        tail = self._tails.get(key)
        if tail is not None:
            data = tail.read()
            if data:
                self._channel.send("log", log, data)
            if len(data) == PIECE_BYTES:
                return False
            tail.remove()
            del self._tails[key]
        for name in os.listdir(self._results):
            # `a.1` is an attempt of `a`, and `a.1.2` one of `a.1`.
            is_its = name.startswith(f"{result}.") and not name[len(result) + 1 :][:1].isdigit()
            if is_its and not self._send_file(name):
                return False
        return True

    def _send_artifacts(self, key: AttemptKey) -> bool:
        """Send the next piece of the artifacts of an attempt; whether there are no more."""
        path = self._artifacts.get(key)
        if path is None:
            return True
        error = ""
        try:
            if self._sending_artifacts is None:
                self._sending_artifacts = artifacts.pieces(path)
            for piece in self._sending_artifacts:
                self._channel.send("artifact", key, *piece)
                if piece[1] is not None:
                    return False
        except OSError as failure:
            error = failure.strerror or str(failure)
        self._sending_artifacts = None
        del self._artifacts[key]
        shutil.rmtree(path, ignore_errors=True)
        self._channel.send("end_artifacts", key, os.path.basename(path), error)
        return True

    def _disk_error(self) -> str:
        """That the disk of the logs is full, "" if it is not: a task that fails for that cannot say so."""
        found = os.fstatvfs(self._logs)
        return "" if found.f_bavail or not found.f_blocks else os.strerror(errno.ENOSPC)

    def _send_file(self, name: str) -> bool:
        """Send the next piece of a result file, and remove it after the last one; whether that was it."""
        if self._sending is None:
            self._sending = LogTail(self._results, name)
        tail = self._sending
        data = tail.read()
        is_last = len(data) < PIECE_BYTES
        self._channel.send("file", name, data, is_last)
        if is_last:
            tail.remove()
            self._sending = None
        return is_last

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
